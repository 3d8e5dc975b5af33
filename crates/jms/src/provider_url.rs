//! The brokers that `providerURL` names.

use millpond_flow::net::endpoint::is_loopback;
use std::fmt;

/// The most brokers of one URL.
const BROKERS_MAX: usize = 16;

/// The address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) is_tls: bool,
}

impl BrokerAddress {
    /// Returns true if the broker is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "amqps" } else { "amqp" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// The brokers of a URL, and whether it has options that have no effect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProviderUrl {
    pub(crate) brokers: Vec<BrokerAddress>,
    pub(crate) has_options: bool,
}

/// Returns the brokers of `amqp://host:port`, several with commas between them, or of `failover:(…)` as Qpid JMS has
/// it; or why there are none.
pub(crate) fn parse(text: &str) -> Result<ProviderUrl, String> {
    let (inner, outer_options) = match text.trim().strip_prefix("failover:") {
        Some(rest) => {
            let rest = rest.strip_prefix("//").unwrap_or(rest);
            let rest =
                rest.strip_prefix('(').ok_or("failover: needs its brokers in parentheses")?;
            rest.split_once(')').ok_or("failover: needs its brokers in parentheses")?
        }
        None => (text.trim(), ""),
    };
    let mut has_options = !outer_options.is_empty();
    let mut brokers = Vec::new();
    for url in inner.split(',').map(str::trim).filter(|url| !url.is_empty()) {
        let (plain, options) =
            url.split_once('?').map_or((url, ""), |(plain, options)| (plain, options));
        has_options |= !options.is_empty();
        brokers.push(broker(plain)?);
    }
    match brokers.len() {
        0 => Err("it names no broker".to_owned()),
        1..=BROKERS_MAX => Ok(ProviderUrl { brokers, has_options }),
        _ => Err(format!("it names more than {BROKERS_MAX} brokers")),
    }
}

fn broker(url: &str) -> Result<BrokerAddress, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let is_tls = match scheme.to_ascii_lowercase().as_str() {
        "amqp" => false,
        "amqps" => true,
        "tcp" | "ssl" | "nio" | "vm" | "http" | "" => {
            let same = if scheme == "ssl" { "amqps" } else { "amqp" };
            return Err(format!(
                "it is an address for a Java client; write {same}://HOST:PORT with the broker's AMQP port (Artemis: the same port as tcp://, if its acceptor has AMQP; ActiveMQ Classic: 5672)"
            ));
        }
        _ => return Err(format!("\"{scheme}\" is neither amqp nor amqps")),
    };
    if rest.contains('@') {
        return Err("a user belongs in userName and passwordFile, not in the URL".to_owned());
    }
    let server = rest.trim_end_matches('/');
    let wrong = || format!("\"{server}\" is not HOST:PORT");
    let (host, port) = match server.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or_else(wrong)?;
            (host, after.strip_prefix(':'))
        }
        None => server.rsplit_once(':').map_or((server, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?,
        None if is_tls => 5671,
        None => 5672,
    };
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || !host.chars().all(is_name) {
        return Err(wrong());
    }
    Ok(BrokerAddress { host: host.to_owned(), port, is_tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let brokers = parse(text)?.brokers;
        Ok(brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn one_or_several_brokers_with_and_without_tls() {
        for (text, brokers) in [
            ("amqp://h:1", "amqp://h:1"),
            ("AMQPS://h", "amqps://h:5671"),
            ("amqp://[::1]:7/", "amqp://[::1]:7"),
            ("amqp://h, amqps://i:2", "amqp://h:5672 amqps://i:2"),
            ("failover:(amqp://h:1,amqp://i:2)?failover.x=1", "amqp://h:1 amqp://i:2"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(brokers), "{text}");
        }
        assert!(parse("amqp://h?amqp.idleTimeout=1").unwrap().has_options);
        assert!(!parse("amqp://h").unwrap().has_options);
    }

    #[test]
    fn addresses_of_java_clients_say_what_to_write() {
        for (text, word) in [
            ("tcp://h:61616", "amqp://HOST"),
            ("ssl://h:1", "amqps://HOST"),
            ("h:1", "amqp://HOST"),
        ] {
            assert!(shown(text).unwrap_err().contains(word), "{text}");
        }
        for text in
            ["", "amqp://", "amqp://h:x", "amqp://u:secret@h", "amqp://a b", "failover:amqp://h"]
        {
            let error = shown(text).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
