//! `host`: a header with the name or address of this machine.

use super::{Interceptor, InterceptorType, Verdict};
use crate::base::clock::Clock;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader, Severity};
use crate::event::Event;
use std::net::IpAddr;

/// The type `host`.
pub(super) const TYPE: InterceptorType = InterceptorType {
    names: &["host", "org.apache.flume.interceptor.HostInterceptor$Builder"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "useIP",
        kind: Kind::Boolean,
        default: "true",
        meaning: "The address that the machine's name stands for; false for its full name. Looked up once, when the agent starts.",
    },
    Key { name: "hostHeader", kind: Kind::Text, default: "host", meaning: "Name of the header." },
    Key {
        name: "preserveExisting",
        kind: Kind::Boolean,
        default: "false",
        meaning: "Whether a header of this name that is there already stays as it is.",
    },
];

struct Host {
    header: String,
    /// None when the machine's name stands for no address: then no header is set, as in Flume.
    value: Option<String>,
    preserves: bool,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Host, SettingError> {
    let by_address = reader.boolean("useIP", true);
    let value = look_up(by_address);
    if let Err(why) = &value {
        let message = format!("{why}; no header is set, as in Flume");
        reader.find(Severity::Warning, "useIP", message);
    }
    Ok(Host {
        header: reader.text("hostHeader").unwrap_or("host").to_owned(),
        value: value.ok(),
        preserves: reader.boolean("preserveExisting", false),
    })
}

/// What Java's `getLocalHost` answers: the first address of the machine's name, or the full name
/// that this address has.
fn look_up(by_address: bool) -> Result<String, String> {
    let name = dns_lookup::get_hostname()
        .map_err(|error| format!("the name of this machine cannot be had: {error}"))?;
    let address = match dns_lookup::lookup_host(&name) {
        Ok(found) => {
            let found: Vec<IpAddr> = found.collect();
            let first = found.iter().find(|address| address.is_ipv4()).or(found.first()).copied();
            first.ok_or_else(|| format!("the name of this machine, {name}, has no address"))?
        }
        Err(error) => {
            return Err(format!("the name of this machine, {name}, cannot be resolved: {error}"));
        }
    };
    if by_address {
        return Ok(address.to_string());
    }
    Ok(dns_lookup::lookup_addr(&address).unwrap_or(name))
}

impl Interceptor for Host {
    fn intercept(&self, event: &mut Event, _clock: &dyn Clock) -> Verdict {
        if let Some(value) = &self.value
            && !(self.preserves && event.headers.get(&self.header).is_some())
        {
            event.headers.set(self.header.as_str(), value.as_str());
        }
        Verdict::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;

    fn after(value: Option<&str>, preserves: bool, mut event: Event) -> Option<String> {
        let value = value.map(str::to_owned);
        let host = Host { header: "host".to_owned(), value, preserves };
        host.intercept(&mut event, &SystemClock::new());
        event.headers.get("host").map(str::to_owned)
    }

    #[test]
    fn the_machine_is_named_unless_its_name_stands_for_nothing() {
        let mut there = Event::new("");
        there.headers.set("host", "old");
        assert_eq!(after(Some("10.0.0.1"), false, there.clone()).as_deref(), Some("10.0.0.1"));
        assert_eq!(after(Some("10.0.0.1"), true, there.clone()).as_deref(), Some("old"));
        assert_eq!(after(None, false, there).as_deref(), Some("old"));
        assert_eq!(after(None, false, Event::new("")), None);
    }

    #[test]
    fn an_address_is_an_address_and_a_name_is_none() {
        // A machine whose own name is not known to it says so; that is tested above.
        if let Ok(address) = look_up(true) {
            assert!(address.parse::<IpAddr>().is_ok(), "{address}");
            assert!(!look_up(false).unwrap().is_empty());
        }
    }
}
