//! Sends Flume's counters to Ganglia periodically.

use super::flume::{self, FlumeComponent};
use super::settings::GangliaSettings;
use super::watched_agent::WatchedAgent;
use super::xdr::{GangliaMetric, PACKET_BYTES_MAX};
use millpond_flow::context::StopSignal;
use millpond_flow::metrics::MetricsRegistry;
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::sleep;

/// Sends at once and then after each pause, until `stop` fires.
pub(super) async fn send(ganglia: &GangliaSettings, watched: &WatchedAgent, stop: &StopSignal) {
    tracing::info!(
        "monitoring: counters go to Ganglia at {} every {} s, in the form of {}",
        ganglia.hosts.join(", "),
        ganglia.pause.as_secs(),
        if ganglia.is_3_0 { "3.0" } else { "3.1" }
    );
    let own_name = dns_lookup::get_hostname().unwrap_or_else(|_| "localhost".to_owned());
    let mut failing = BTreeSet::new();
    loop {
        let round = async {
            let packets = packets(&own_name, ganglia.is_3_0, &components(&watched.registry));
            for host in &ganglia.hosts {
                match (send_to(host, &packets).await, failing.contains(host)) {
                    (Ok(()), true) => {
                        failing.remove(host);
                        tracing::info!("monitoring: sending to Ganglia at {host} works again");
                    }
                    (Err(error), false) => {
                        failing.insert(host.clone());
                        tracing::warn!(
                            "monitoring: cannot send to Ganglia at {host}, trying again every {} s: {error}",
                            ganglia.pause.as_secs()
                        );
                    }
                    (Ok(()), false) | (Err(_), true) => {}
                }
            }
            sleep(ganglia.pause).await;
        };
        tokio::select! {
            biased;
            () = stop.wait() => return,
            () = round => {}
        }
    }
}

/// Returns the components, as on the page.
fn components(registry: &MetricsRegistry) -> Vec<FlumeComponent> {
    flume::components(&registry.snapshot())
}

/// Returns the packets for each host.
fn packets(own_name: &str, is_3_0: bool, components: &[FlumeComponent]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for component in components {
        for (attribute, value) in &component.attributes {
            let name = format!("flume.{}.{attribute}", component.key);
            let metric = GangliaMetric { host: own_name, name: &name, value };
            if is_3_0 {
                packets.push(metric.of_3_0());
            } else {
                packets.extend(metric.of_3_1());
            }
        }
    }
    // No component has a name that long; in Flume it spoils the packets after it.
    packets.retain(|packet| packet.len() <= PACKET_BYTES_MAX);
    packets
}

async fn send_to(host: &str, packets: &[Vec<u8>]) -> io::Result<()> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let address = lookup_host(host).await?.next().ok_or_else(unknown)?;
    let from: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(from).await?;
    // Not connected: an absent receiver must not stop the remaining packets, as usual with UDP.
    for packet in packets {
        socket.send_to(packet, address).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::FlowGraph;
    use millpond_flow::metrics::{ComponentId, ComponentRole, MetricsRegistry};
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::watch;
    use tokio::time::timeout;

    /// Reads a packet as a receiver does.
    struct PacketReader<'a>(&'a [u8]);

    impl PacketReader<'_> {
        fn number(&mut self) -> u32 {
            let (number, rest) = self.0.split_first_chunk::<4>().expect("four bytes");
            self.0 = rest;
            u32::from_be_bytes(*number)
        }

        fn text(&mut self) -> String {
            let len = self.number() as usize;
            let (text, rest) = self.0.split_at(len.next_multiple_of(4));
            self.0 = rest;
            assert!(text[len..].iter().all(|byte| *byte == 0), "padding");
            String::from_utf8(text[..len].to_vec()).expect("text")
        }

        fn numbers<const N: usize>(&mut self) -> [u32; N] {
            std::array::from_fn(|_| self.number())
        }
    }

    /// Returns names and values of packets in the form of 3.0, with their types.
    fn read_3_0(packet: &[u8]) -> (String, (String, String)) {
        let mut cursor = PacketReader(packet);
        assert_eq!(cursor.number(), 0);
        let (kind, name, value) = (cursor.text(), cursor.text(), cursor.text());
        assert_eq!((cursor.text(), cursor.numbers()), (String::new(), [3, 60, 0]));
        assert!(cursor.0.is_empty());
        (name, (kind, value))
    }

    /// Reads a pair of packets in the form of 3.1.
    fn read_3_1(pair: &[Vec<u8>], host: &str) -> (String, (String, String)) {
        let [is, value] = pair else { panic!("a pair") };
        let mut is = PacketReader(is);
        assert_eq!((is.number(), is.text()), (128, host.to_owned()));
        let name = is.text();
        assert_eq!(is.number(), 0);
        let kind = is.text();
        assert_eq!((is.text(), is.text()), (name.clone(), String::new()));
        assert_eq!(is.numbers(), [3, 60, 0, 1]);
        assert_eq!((is.text(), is.text()), ("GROUP".to_owned(), "flume".to_owned()));
        assert!(is.0.is_empty());
        let mut value = PacketReader(value);
        assert_eq!((value.number(), value.text()), (133, host.to_owned()));
        assert_eq!(
            (value.text(), value.number(), value.text()),
            (name.clone(), 0, "%s".to_owned())
        );
        let text = value.text();
        assert!(value.0.is_empty());
        (name, (kind, text))
    }

    fn registry() -> MetricsRegistry {
        let registry = MetricsRegistry::default();
        let kind = "file";
        registry.keep(&[ComponentId { role: ComponentRole::Channel, name: "c1".to_owned(), kind }]);
        let counters = registry.channel("c1");
        counters.size.set(3);
        counters.capacity.set(9);
        counters.open.set(1);
        registry
    }

    #[test]
    fn packets_of_both_forms_say_what_flume_shows() {
        let components = components(&registry());
        let old: BTreeMap<_, _> =
            packets("h", true, &components).iter().map(|packet| read_3_0(packet)).collect();
        let new: BTreeMap<_, _> = packets("h", false, &components)
            .chunks(2)
            .map(|pair| read_3_1(pair, "h"))
            .map(|(name, is)| (format!("h.{name}"), is))
            .collect();
        assert_eq!(old, new);
        assert_eq!(old.len(), components.iter().map(|c| c.attributes.len()).sum::<usize>());
        for (attribute, kind, value) in [
            ("ChannelSize", "float", "3"),
            ("ChannelFillPercentage", "float", "33.33333333333333"),
            ("Open", "string", "true"),
            ("Type", "string", "CHANNEL"),
        ] {
            let found = &old[&format!("h.flume.CHANNEL.c1.{attribute}")];
            assert_eq!(*found, (kind.to_owned(), value.to_owned()), "{attribute}");
        }
    }

    #[test]
    fn what_fits_no_packet_is_left_out_and_spoils_no_other() {
        let component =
            |key: String| FlumeComponent { key, attributes: vec![("A", "1".to_owned())] };
        let components =
            [component("x".repeat(PACKET_BYTES_MAX)), component("CHANNEL.c1".to_owned())];
        assert_eq!(packets("h", true, &components).len(), 1);
        assert_eq!(packets("h", false, &components).len(), 2);
    }

    #[tokio::test]
    async fn every_host_is_sent_to_repeatedly_although_one_has_no_address() {
        let receiver = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let at = receiver.local_addr().expect("bound");
        let settings = GangliaSettings {
            hosts: vec!["no-host.invalid:1".to_owned(), at.to_string()],
            pause: Duration::from_millis(1),
            is_3_0: true,
        };
        let registry = Arc::new(registry());
        let watched = WatchedAgent {
            name: "a".to_owned(),
            registry: Arc::clone(&registry),
            threads: Vec::new(),
            stopping: Arc::default(),
            alarms: Default::default(),
            flow: watch::channel(FlowGraph::default()).1,
            history: Arc::default(),
        };
        let (stop, signal) = StopSignal::new();
        let sending = tokio::spawn(async move { send(&settings, &watched, &signal).await });
        let until = async |size: &str| {
            let mut packet = [0; PACKET_BYTES_MAX];
            loop {
                let len = receiver.recv(&mut packet).await.expect("a packet");
                let (name, (_, value)) = read_3_0(&packet[..len]);
                if name.ends_with(".flume.CHANNEL.c1.ChannelSize") && value == size {
                    return;
                }
            }
        };
        let time_limit = Duration::from_secs(60);
        timeout(time_limit, until("3")).await.expect("the first round");
        registry.channel("c1").size.set(4);
        timeout(time_limit, until("4")).await.expect("a later one");
        stop.send_replace(true);
        timeout(time_limit, sending).await.expect("it ends").expect("no panic");
    }
}
