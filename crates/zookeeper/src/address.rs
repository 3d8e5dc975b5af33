//! The servers of an ensemble and the path of a node, as Flume's `-z` and `-p` give them.

use millpond_flow::net::endpoint::is_loopback;
use std::fmt;

/// The most servers of an ensemble. Ensembles have three to seven, with observers a few more.
pub const SERVERS_MAX: usize = 64;

/// The default port of a server.
const PORT: u16 = 2181;

/// The path that `-p` has by default, as in Flume.
pub const BASE: &str = "/flume";

/// The place of a configuration in an ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Host and port of each server; at least one.
    servers: Vec<(String, u16)>,
    /// The node, the chroot included.
    path: String,
}

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no server.
    #[error("no server is named; write HOST:PORT, several with commas between them")]
    NoServer,
    /// There are too many servers.
    #[error("more than {SERVERS_MAX} servers are named")]
    TooManyServers,
    /// A server is not a host with a port.
    #[error("\"{0}\" is not HOST:PORT")]
    Server(String),
    /// A path of the ensemble is invalid.
    #[error("the path \"{path}\" {why}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl NodeAddress {
    /// Reads the servers and the chroot of `connect` (`host:port,host:port/chroot`) and returns the node of `agent`
    /// below `base`.
    ///
    /// # Errors
    /// `connect` names no server, or the node's path is invalid for ZooKeeper.
    ///
    /// # Examples
    /// ```
    /// use millpond_zookeeper::address::NodeAddress;
    /// let node = NodeAddress::parse("zk1:2181,zk2/prod", "/flume", "a1").unwrap();
    /// assert_eq!(node.to_string(), "zookeeper://zk1:2181,zk2:2181/prod/flume/a1");
    /// ```
    pub fn parse(connect: &str, base: &str, agent: &str) -> Result<Self, AddressError> {
        let (servers, chroot) = match connect.find('/') {
            Some(at) => connect.split_at(at),
            None => (connect, ""),
        };
        let names = servers.split(',').map(str::trim).filter(|name| !name.is_empty());
        let servers: Vec<_> = names.map(server).collect::<Result<_, _>>()?;
        if servers.is_empty() {
            return Err(AddressError::NoServer);
        }
        if servers.len() > SERVERS_MAX {
            return Err(AddressError::TooManyServers);
        }
        let chroot = chroot.trim_end_matches('/');
        if !base.starts_with('/') {
            return Err(AddressError::Path {
                path: base.to_owned(),
                why: "does not begin with a slash",
            });
        }
        let path = format!("{chroot}{}/{agent}", base.trim_end_matches('/'));
        match unusable(&path) {
            Some(why) => Err(AddressError::Path { path, why }),
            None => Ok(Self { servers, path }),
        }
    }

    /// Returns host and port of each server.
    #[must_use]
    pub fn servers(&self) -> &[(String, u16)] {
        &self.servers
    }

    /// Returns the node's path, the chroot included.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the node above, the chroot included.
    #[must_use]
    pub fn base(&self) -> &str {
        match self.path.rfind('/') {
            Some(0) | None => "/",
            Some(at) => &self.path[..at],
        }
    }

    /// Returns the servers as `host:port,host:port`.
    #[must_use]
    pub fn servers_text(&self) -> String {
        let one = |(host, port): &(String, u16)| {
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        };
        self.servers.iter().map(one).collect::<Vec<_>>().join(",")
    }

    /// Returns true if all servers are on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.servers.iter().all(|(host, _)| is_loopback(host))
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zookeeper://{}{}", self.servers_text(), self.path)
    }
}

/// Returns host and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn server(text: &str) -> Result<(String, u16), AddressError> {
    let wrong = || AddressError::Server(text.to_owned());
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            (
                host,
                if rest.is_empty() {
                    None
                } else {
                    Some(rest.strip_prefix(':').ok_or_else(wrong)?)
                },
            )
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None => PORT,
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?,
    };
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || !host.chars().all(is_name) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

/// Returns what ZooKeeper would refuse a path for.
fn unusable(path: &str) -> Option<&'static str> {
    let mut names = path.split('/').skip(1);
    if path
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}'))
    {
        Some("has characters that ZooKeeper refuses")
    } else if names.clone().any(|name| name == "." || name == "..") {
        Some("has a relative name")
    } else if names.any(str::is_empty) {
        Some("has an empty name")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(connect: &str, base: &str) -> Result<String, AddressError> {
        NodeAddress::parse(connect, base, "a1").map(|node| node.to_string())
    }

    #[test]
    fn servers_ports_chroot_and_base_make_the_path() {
        for (connect, base, whole) in [
            ("h", BASE, "zookeeper://h:2181/flume/a1"),
            ("h:1, i:2,", "/", "zookeeper://h:1,i:2/a1"),
            ("h:1/c/d/", "/b/", "zookeeper://h:1/c/d/b/a1"),
            ("[::1]:5,[::2]", "/b", "zookeeper://[::1]:5,[::2]:2181/b/a1"),
            ("h:1/", "/日志", "zookeeper://h:1/日志/a1"),
        ] {
            assert_eq!(shown(connect, base).as_deref(), Ok(whole), "{connect}");
        }
    }

    #[test]
    fn bad_addresses_are_refused_by_name() {
        for connect in ["", ",", "/c", "h:x", "h:0", "h:70000", "[::1", "[::1]x", "a b:1", "u@h:1"]
        {
            assert!(shown(connect, BASE).is_err(), "{connect}");
        }
        for base in ["flume", "", "/a//b", "/a/../b", "/./b", "/a\u{0}"] {
            assert!(matches!(shown("h:1", base), Err(AddressError::Path { .. })), "{base}");
        }
        let many = vec!["h"; SERVERS_MAX + 1].join(",");
        assert_eq!(shown(&many, BASE), Err(AddressError::TooManyServers));
    }

    #[test]
    fn only_servers_of_this_machine_are_local() {
        let is_local = |connect| NodeAddress::parse(connect, BASE, "a").unwrap().is_loopback();
        assert!(is_local("127.0.0.1:1,[::1]:2") && !is_local("127.0.0.1:1,h:2"));
    }
}
