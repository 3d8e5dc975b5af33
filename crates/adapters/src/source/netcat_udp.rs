//! `netcatudp`: the first line of each datagram.
//!
//! Limits and the handling of datagrams without room: [`datagrams`]. Further lines of a datagram are counted as
//! dropped.

use super::datagrams::{self, DatagramSocket, ParseDatagram};
use super::ip_filter::{FILTER_KEYS, IpFilter};
use crate::wire::syslog::YearHint;
use bytes::Bytes;
use millpond::{BoxFuture, Event};
use millpond_flow::metrics::DropReason;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

/// The type `netcatudp`.
pub const TYPE: SourceType = SourceType {
    names: &["netcatudp", "org.apache.flume.source.NetcatUdpSource"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "bind",
        kind: KeyKind::Host,
        default: "0.0.0.0",
        meaning: "Address or host name to receive on.",
    },
    Key {
        name: "port",
        kind: KeyKind::Port,
        default: "",
        meaning: "UDP port to receive on; 0 for any free one.",
    },
    Key {
        name: "remoteAddress",
        kind: KeyKind::Text,
        default: "REMOTE_ADDRESS",
        meaning: "Name of the header with the sender's address. Flume has no usable default.",
    },
    FILTER_KEYS[0],
    FILTER_KEYS[1],
];

struct NetcatUdp {
    host: String,
    port: u16,
    address_header: String,
    filter: Option<IpFilter>,
    bound: Mutex<Option<SocketAddr>>,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<NetcatUdp, SettingError> {
    let port = reader
        .number("port", 0..=u16::MAX)?
        .ok_or_else(|| reader.error("port", "is required and not set (a port to receive on)"))?;
    let header = reader.text("remoteAddress").filter(|name| !name.is_empty());
    Ok(NetcatUdp {
        host: reader.host("bind", Some("0.0.0.0"))?,
        port,
        address_header: header.unwrap_or("REMOTE_ADDRESS").to_owned(),
        filter: IpFilter::read_for_datagrams(reader)?,
        bound: Mutex::new(None),
    })
}

impl ParseDatagram for NetcatUdp {
    fn filter(&self) -> Option<&IpFilter> {
        self.filter.as_ref()
    }

    fn event(
        &self,
        datagram: &[u8],
        sender: SocketAddr,
        _: &YearHint,
        context: &SourceContext,
    ) -> Option<Event> {
        let mut lines = datagram.split(|&byte| byte == b'\n');
        let line = lines.next().unwrap_or_default();
        let more = lines.filter(|line| !line.is_empty()).count();
        if more > 0 {
            context.counters.drops.add(DropReason::ExtraLine, more as u64);
        }
        let mut event = Event::new(Bytes::copy_from_slice(line));
        event.headers.set(self.address_header.as_str(), as_java(sender));
        Some(event)
    }
}

impl Source for NetcatUdp {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(datagrams::preflight((self.host.as_str(), self.port), ["bind", "port"]))
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let place = (self.host.as_str(), self.port);
            let socket = DatagramSocket::bind(place, ["bind", "port"], &context.name).await?;
            if let Ok(mut bound) = self.bound.lock() {
                *bound = socket.local_addr();
            }
            context.started();
            socket.run(context, self).await;
            Ok(())
        })
    }
}

/// Returns an address as Java prints it: a slash before it, IPv6 in full between brackets.
fn as_java(address: SocketAddr) -> String {
    let mut text = String::from("/");
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let _ = write!(text, "{ip}");
        }
        IpAddr::V6(ip) => {
            for (i, segment) in ip.segments().into_iter().enumerate() {
                let _ = write!(text, "{}{segment:x}", if i == 0 { '[' } else { ':' });
            }
            text.push(']');
        }
    }
    let _ = write!(text, ":{}", address.port());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::test_support::{CommitReply, SourceHarness, bodies};
    use millpond_flow::settings::Settings;
    use tokio::net::UdpSocket;

    fn source(pairs: &[(&str, &str)]) -> NetcatUdp {
        let mut all = vec![("bind", "127.0.0.1"), ("port", "0")];
        all.extend(pairs);
        let settings = Settings::from_pairs("r1", &all);
        build(&mut SettingsReader::new(&settings)).unwrap()
    }

    async fn sender(harness: &SourceHarness, source: &NetcatUdp) -> UdpSocket {
        harness.until_started().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = source.bound.lock().unwrap().unwrap();
        socket.connect(address).await.unwrap();
        socket
    }

    #[tokio::test]
    async fn a_datagram_is_its_first_line_and_its_senders_address() {
        let (harness, source) = (SourceHarness::new(), source(&[("remoteAddress", "peer")]));
        let mut peer = String::new();
        let script = async {
            let socket = sender(&harness, &source).await;
            for datagram in [&b"one\n"[..], b"two", b"", b"first\nsecond\n", b"\xff\0"] {
                socket.send(datagram).await.unwrap();
            }
            peer = format!("/{}", socket.local_addr().unwrap());
            harness.until_events(5).await;
        };
        harness.run(&source, script).await.unwrap();
        let events = harness.events();
        assert_eq!(bodies(&events)[..4], ["one", "two", "", "first"]);
        assert_eq!(&events[4].body[..], b"\xff\0");
        let drops = &harness.context.counters.drops;
        assert_eq!(drops.get(DropReason::ExtraLine), 1, "the second line");
        for event in events {
            assert_eq!((event.headers.len(), event.headers.get("peer")), (1, Some(peer.as_str())));
        }
    }

    #[tokio::test]
    async fn the_largest_datagram_comes_whole() {
        let (harness, source) = (SourceHarness::new(), source(&[]));
        let script = async {
            let socket = sender(&harness, &source).await;
            socket.send(&[b'x'; 65_507]).await.unwrap();
            harness.until_events(1).await;
        };
        harness.run(&source, script).await.unwrap();
        assert_eq!(harness.events()[0].body.len(), 65_507);
        assert!(harness.events()[0].headers.get("REMOTE_ADDRESS").is_some());
    }

    #[tokio::test]
    async fn received_datagrams_wait_for_the_channel_and_come_together() {
        let (harness, source) = (SourceHarness::with_capacity(4), source(&[]));
        harness.reply_with([CommitReply::Full]);
        let script = async {
            let socket = sender(&harness, &source).await;
            socket.send(b"0").await.unwrap();
            harness.until_tries(1).await;
            for i in 1..6 {
                socket.send(i.to_string().as_bytes()).await.unwrap();
            }
            harness.until_events(6).await;
        };
        harness.run(&source, script).await.unwrap();
        assert_eq!(bodies(&harness.events()), ["0", "1", "2", "3", "4", "5"]);
        assert_eq!(harness.batches(), [1, 4, 1]);
    }

    #[tokio::test]
    async fn datagrams_received_before_a_stop_are_taken_or_counted() {
        for (reply, taken) in [(CommitReply::Take, 21), (CommitReply::Full, 0)] {
            let (harness, source) = (SourceHarness::new(), source(&[]));
            harness.reply_with([CommitReply::Held]);
            harness.always(reply);
            let script = async {
                let socket = sender(&harness, &source).await;
                socket.send(b"0").await.unwrap();
                harness.until_tries(1).await;
                if reply == CommitReply::Full {
                    harness.set_room(0);
                }
                for _ in 0..20 {
                    socket.send(b"later").await.unwrap();
                }
                // They wait in the socket: the source waits for the channel.
                harness.stop();
                harness.release();
            };
            harness.run(&source, script).await.unwrap();
            assert_eq!(harness.events().len(), taken, "{reply:?}");
            let stopped = harness.context.counters.drops.get(DropReason::Stopped);
            assert_eq!(stopped, 21 - taken as u64, "{reply:?}");
        }
    }

    /// During a commit more datagrams arrive than the next batch takes, also after the stop.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_steady_stream_does_not_keep_the_source_from_stopping() {
        let (harness, source) = (SourceHarness::new(), source(&[]));
        harness.always(CommitReply::Slow(5));
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let over = std::sync::atomic::AtomicBool::new(false);
        let ended = std::thread::scope(|scope| {
            let (socket, over) = (&socket, &over);
            let script = async {
                harness.until_started().await;
                socket.connect(source.bound.lock().unwrap().unwrap()).unwrap();
                scope.spawn(move || {
                    while !over.load(std::sync::atomic::Ordering::SeqCst) {
                        // Sending fails once the source has stopped.
                        let _ = socket.send(b"x");
                    }
                });
                harness.until_events(100).await;
            };
            let ended = tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(harness.run(&source, script))
            });
            over.store(true, std::sync::atomic::Ordering::SeqCst);
            ended
        });
        ended.unwrap();
    }

    #[test]
    fn addresses_are_printed_as_java_does() {
        assert_eq!(as_java("127.0.0.1:5".parse().unwrap()), "/127.0.0.1:5");
        assert_eq!(as_java("[::1]:5".parse().unwrap()), "/[0:0:0:0:0:0:0:1]:5");
        assert_eq!(as_java("[::ffff:10.1.2.3]:5".parse().unwrap()), "/10.1.2.3:5");
    }

    #[test]
    fn a_port_is_required() {
        let settings = Settings::from_pairs("r1", &[("bind", "127.0.0.1")]);
        assert!(build(&mut SettingsReader::new(&settings)).is_err());
    }
}
