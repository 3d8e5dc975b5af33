//! Finds the process that holds a port, as far as this user may see: `validate` next to a running
//! agent finds its ports in use.

use millpond_flow::base::files;
use millpond_flow::base::limits::PORT_HOLDER_DESCRIPTORS_MAX;
use millpond_flow::base::small_file::read_whole;
use std::collections::BTreeSet;
use std::path::Path;

/// Size limit of a list of sockets; a line has 150 bytes.
const SOCKETS_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest name of a process, bytes, with its newline: the system cuts it at 16.
const NAME_BYTES_MAX: u64 = 64;
/// Longest command line of a process, bytes.
const COMMAND_LINE_BYTES_MAX: u64 = 1024 * 1024;
/// The state of a TCP socket that listens.
const LISTENS: &str = "0A";

/// A process that has a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortHolder {
    /// Its id.
    pub(super) process: u32,
    /// Its name, as the system shows it: at most 15 bytes.
    pub(super) name: String,
}

impl PortHolder {
    /// Returns whether its command line is that of an agent of this name, `agent -n NAME`.
    pub(super) fn is_agent(&self, name: &str) -> bool {
        let line = read_whole(
            Path::new(&format!("/proc/{}/cmdline", self.process)),
            COMMAND_LINE_BYTES_MAX,
        );
        let line = String::from_utf8_lossy(&line.unwrap_or_default()).into_owned();
        names_agent(line.split('\0'), name)
    }
}

/// Returns a process that listens on the TCP `port`, or has the UDP `port` if `udp`. `None` if none
/// is found: only root can inspect other users' processes.
pub(super) fn port_holder(port: u16, udp: bool) -> Option<PortHolder> {
    let sockets = sockets(port, udp);
    let mut left = PORT_HOLDER_DESCRIPTORS_MAX;
    let processes = files::list(Path::new("/proc")).ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|process| has_one_of(*process, &sockets, &mut left))
        .map(|process| PortHolder { process, name: name(process) })
}

/// Returns the link targets of the sockets on the port.
fn sockets(port: u16, udp: bool) -> BTreeSet<String> {
    let lists = if udp { ["udp", "udp6"] } else { ["tcp", "tcp6"] };
    let mut found = BTreeSet::new();
    for list in lists {
        let text = read_whole(Path::new(&format!("/proc/net/{list}")), SOCKETS_BYTES_MAX);
        let text = String::from_utf8(text.unwrap_or_default()).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| socket(line, port, udp)));
    }
    found
}

fn socket(line: &str, port: u16, udp: bool) -> Option<String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let is_it = u16::from_str_radix(local_port, 16) == Ok(port);
    (is_it && (udp || *fields.get(3)? == LISTENS))
        .then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"")))
}

fn has_one_of(process: u32, sockets: &BTreeSet<String>, left: &mut usize) -> bool {
    let Ok(descriptors) = files::list(Path::new(&format!("/proc/{process}/fd"))) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        *left = left.saturating_sub(1);
        let target = descriptor.path().read_link().ok();
        *left > 0
            && target.is_some_and(|target| target.to_str().is_some_and(|t| sockets.contains(t)))
    })
}

fn names_agent<'a>(words: impl Iterator<Item = &'a str> + Clone, name: &str) -> bool {
    let next = words.clone().skip(1);
    let mut pairs = words.clone().zip(next);
    pairs.any(|(option, value)| ["-n", "--name"].contains(&option) && value == name)
        || words.clone().any(|word| {
            let value = word.strip_prefix("--name=").or_else(|| word.strip_prefix("-n"));
            value == Some(name)
        })
}

fn name(process: u32) -> String {
    let name = read_whole(Path::new(&format!("/proc/{process}/comm")), NAME_BYTES_MAX);
    String::from_utf8_lossy(&name.unwrap_or_default()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn the_process_that_has_a_port_is_found_with_its_name() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let holder = port_holder(port, false).unwrap();
        assert_eq!(holder.process, std::process::id());
        assert!(!holder.name.is_empty());
        let udp = UdpSocket::bind("[::1]:0").or_else(|_| UdpSocket::bind("127.0.0.1:0")).unwrap();
        let port = udp.local_addr().unwrap().port();
        assert_eq!(port_holder(port, true).map(|h| h.process), Some(std::process::id()));
        drop(tcp);
    }

    #[test]
    fn an_agent_is_known_by_the_name_on_its_command_line() {
        let is = |line: &str| names_agent(line.split(' '), "web");
        assert!(is("millpond agent -n web -f a.conf") && is("flume-ng agent -f a.conf --name web"));
        assert!(is("/usr/bin/mp agent --name=web") && is("mp agent -nweb"));
        assert!(!is("millpond agent -n web2 -f web") && !is("millpond agent -f -n") && !is(""));
    }

    #[test]
    fn a_connection_from_a_port_is_no_listener() {
        let line =
            "  1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000 0 0 777 1";
        assert_eq!(socket(line, 0x1f90, false), None);
        assert_eq!(
            socket(&line.replace(" 01 ", " 0A "), 0x1f90, false).as_deref(),
            Some("socket:[777]")
        );
        assert_eq!(socket(&line.replace(" 01 ", " 0A "), 0x1f91, false), None);
        assert_eq!(socket("sl local_address rem_address", 1, false), None);
    }
}
