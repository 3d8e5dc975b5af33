//! What the sources of datagrams share: the socket, its losses, and the loop that commits what arrives.
//!
//! Limits: [`DATAGRAM_BYTES`] a datagram; [`DATAGRAMS_PER_BATCH`] a transaction, and [`DATAGRAM_BATCH_BYTES_MAX`] of
//! the memory for clients, which a source takes when it begins; [`DATAGRAM_SOCKET_BYTES`] asked for as the socket's
//! buffer.
//!
//! Nobody can be answered here. What has been received waits until the channel takes it; meanwhile datagrams
//! gather in the socket's buffer, and when that is full the system drops the newest. How many those were is
//! read once a second from the system's table of sockets. A source that stops takes what is in the buffer, and
//! counts what the channel does not take of it.

use super::filter::{Filter, TurnedAway};
use super::held_ports::{self, HeldPort, Transport};
use super::patience::{self, Ended};
use crate::base::limits::{
    CONNECTION_LINE_BYTES, DATAGRAM_BATCH_BYTES_MAX, DATAGRAM_BATCH_BYTES_MIN, DATAGRAM_BYTES,
    DATAGRAM_EVENT_BYTES_MAX, DATAGRAM_SOCKET_BYTES, DATAGRAMS_PER_BATCH,
};
use crate::base::read_whole::read_whole;
use crate::channel::BoxFuture;
use crate::codes;
use crate::event::Event;
use crate::flow::client_error_log::ClientErrorLog;
use crate::flow::source::{Failure, SourceContext};
use crate::metrics::{DropReason, SourceCounters};
use crate::wire::syslog::Present;
use rustix::net::{RecvFlags, recvfrom};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use tokio::net::UdpSocket;

/// Datagrams that are still taken after the stop signal: what the socket's buffer can hold, since
/// each takes some 512 bytes of it at least. Without an end a steady stream would keep the source.
const LAST_DATAGRAMS: usize = DATAGRAM_SOCKET_BYTES / 512;
/// Pause after a receive that failed: for want of memory, as a rule.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at what the system dropped.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of the system's table of sockets: some 20,000 of them.
const TABLE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Makes events of datagrams.
pub(crate) trait Parse: Send + Sync {
    /// Whose datagrams are taken; `None` for everybody's.
    fn filter(&self) -> Option<&Filter>;

    /// What there is to wait for before the first datagram of a sender is read; as a rule nothing.
    fn meets(&self, sender: IpAddr) -> Option<BoxFuture<'_, ()>> {
        let _ = sender;
        None
    }

    /// The event of a datagram, if there is one in it. Counts what is wrong with it and what is left out.
    fn event(
        &self,
        datagram: &[u8],
        sender: SocketAddr,
        present: &Present,
        context: &SourceContext,
    ) -> Option<Event>;
}

/// Datagrams that are committed together.
struct Batch {
    events: Vec<Event>,
    datagrams: usize,
    bytes: usize,
}

impl Batch {
    fn new() -> Self {
        Self { events: Vec::new(), datagrams: 0, bytes: 0 }
    }

    /// A datagram has come, and is this event, if it is one.
    fn add(&mut self, event: Option<Event>) {
        self.datagrams += 1;
        self.bytes += event.as_ref().map_or(0, |it| it.size_bytes() + CONNECTION_LINE_BYTES);
        self.events.extend(event);
    }

    /// Whether it takes a further one, whatever that is.
    fn has_room(&self, datagrams_max: usize, bytes_max: usize) -> bool {
        self.datagrams < datagrams_max && self.bytes + DATAGRAM_EVENT_BYTES_MAX <= bytes_max
    }
}

/// A socket, and what the system has dropped of what was sent to it.
pub(crate) struct Datagrams {
    socket: UdpSocket,
    /// The number under which the system's table has it.
    inode: Option<u64>,
    dropped: Mutex<u64>,
    /// Throttles the log of senders that may not send.
    turned_away: ClientErrorLog,
    /// Says to a reload that it is this process that has the port.
    _held: Option<HeldPort>,
}

impl Datagrams {
    /// Receives on `host` and `port`, with as large a buffer as the system allows; a smaller one than was
    /// asked for is logged. `keys`: the names of the settings of both.
    pub(crate) async fn bind(
        (host, port): (&str, u16),
        keys: [&str; 2],
        source: &str,
    ) -> Result<Self, Failure> {
        let socket = open((host, port), keys).await?;
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, DATAGRAM_SOCKET_BYTES);
        // The system reports twice of what it grants: half is for its own bookkeeping.
        let granted = rustix::net::sockopt::socket_recv_buffer_size(&socket).map(|twice| twice / 2);
        if let Ok(granted) = granted
            && granted < DATAGRAM_SOCKET_BYTES
        {
            tracing::warn!(
                code = %codes::DATAGRAM_BUFFER_SMALL,
                source,
                granted,
                wanted = DATAGRAM_SOCKET_BYTES,
                "the system grants a small buffer for datagrams, and drops what has no room in it while the channel is busy; raise it with sysctl -w net.core.rmem_max={DATAGRAM_SOCKET_BYTES} and start the source again"
            );
        }
        let inode = rustix::fs::fstat(&socket).ok().map(|stat| stat.st_ino);
        let port = socket.local_addr().ok().map(|address| address.port());
        let _held = port.map(|port| HeldPort::new(Transport::Udp, port));
        let turned_away = ClientErrorLog::default();
        Ok(Self { socket, inode, dropped: Mutex::new(0), turned_away, _held })
    }

    /// Where it receives.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// Commits what arrives, until the source is to stop.
    pub(crate) async fn run(&self, context: &SourceContext, parse: &dyn Parse) {
        tokio::select! {
            () = self.receive(context, parse) => {}
            () = self.watch(&context.counters) => {}
        }
        self.count_dropped(&context.counters).await;
    }

    async fn receive(&self, context: &SourceContext, parse: &dyn Parse) {
        let reserved = context.clients.reserve(DATAGRAM_BATCH_BYTES_MAX, DATAGRAM_BATCH_BYTES_MIN);
        let mut buffer = vec![0; DATAGRAM_BYTES];
        let most = DATAGRAMS_PER_BATCH.min(context.intake.transaction_capacity()).max(1);
        let mut last_datagrams = LAST_DATAGRAMS;
        while last_datagrams > 0 {
            let received = tokio::select! {
                biased;
                received = self.socket.recv_from(&mut buffer) => received,
                () = context.stop.wait() => match self.try_receive(&mut buffer) {
                    Some(datagram) => Ok(datagram),
                    None => return,
                },
            };
            let mut next = match received {
                Ok(datagram) => Some(datagram),
                Err(error) => {
                    tracing::warn!(source = %context.name, %error, "cannot receive; trying again");
                    if context.stop.fired() {
                        return;
                    }
                    patience::rest(context, ERROR_PAUSE).await;
                    continue;
                }
            };
            let now = i64::try_from(context.clock.wall_ms()).unwrap_or(i64::MAX);
            let (mut batch, present) = (Batch::new(), Present::at(now));
            while let Some((bytes, sender)) = next {
                let mut event = None;
                if self.admits(sender, parse, context) {
                    if let Some(meeting) = parse.meets(sender.ip()) {
                        meeting.await;
                    }
                    event = parse.event(&buffer[..bytes], sender, &present, context);
                }
                batch.add(event);
                let goes_on = batch.has_room(most, reserved.bytes());
                next = if goes_on { self.try_receive(&mut buffer) } else { None };
            }
            if context.stop.fired() {
                last_datagrams = last_datagrams.saturating_sub(batch.datagrams);
            }
            if let Ended::Stopped(left) = patience::commit(context, batch.events).await {
                let lost = left + self.count_waiting(&mut buffer);
                context.counters.drops.add(DropReason::Stopped, lost as u64);
                tracing::warn!(source = %context.name, events = lost,
                    "stopped while the channel took nothing; datagrams received last are lost");
                return;
            }
        }
        // Only a stop ends it here: what still comes is more than there was when it came.
        let lost = self.count_waiting(&mut buffer);
        if lost > 0 {
            context.counters.drops.add(DropReason::Stopped, lost as u64);
            tracing::warn!(source = %context.name, events = lost,
                "stopped while datagrams kept coming; those received last are lost");
        }
    }

    /// Whether the sender of a datagram may send; one that may not is counted and logged, throttled.
    fn admits(&self, sender: SocketAddr, parse: &dyn Parse, context: &SourceContext) -> bool {
        let Some(filter) = parse.filter() else { return true };
        let Err(TurnedAway { cause, .. }) = filter.admits(sender.ip()) else { return true };
        context.counters.drops.add(DropReason::Denied, 1);
        if let Some(words) = self.turned_away.note_rule(context.clock.now(), &cause, &cause) {
            tracing::warn!(source = %context.name, peer = %sender, "{words}");
        }
        false
    }

    /// Takes a datagram that is there. The kernel is asked: what the runtime knows of the socket is as of its last
    /// look, and a stop does not wait for the next.
    fn try_receive(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let (bytes, _, sender) = recvfrom(&self.socket, buffer, RecvFlags::DONTWAIT).ok()?;
        Some((bytes, sender?.try_into().ok()?))
    }

    /// Takes what waits in the socket's buffer, and returns how many datagrams that were.
    fn count_waiting(&self, buffer: &mut [u8]) -> usize {
        (0..LAST_DATAGRAMS).take_while(|_| self.try_receive(buffer).is_some()).count()
    }

    /// Counts what the system dropped, once a second, for ever.
    async fn watch(&self, counters: &SourceCounters) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.count_dropped(counters).await;
        }
    }

    async fn count_dropped(&self, counters: &SourceCounters) {
        let (Some(inode), Some(address)) = (self.inode, self.local_addr()) else { return };
        let look = tokio::task::spawn_blocking(move || dropped(inode, address.is_ipv6()));
        let Ok(Some(now)) = look.await else { return };
        let Ok(mut before) = self.dropped.lock() else { return };
        let more = now.saturating_sub(std::mem::replace(&mut *before, now));
        counters.drops.add(DropReason::SocketBuffer, more);
    }
}

/// Tries to receive on `host` and `port`, and keeps nothing; a port on which a source of this process receives is not
/// tried. `keys`: as for [`Datagrams::bind`].
///
/// # Errors
/// It cannot be received on.
pub(crate) async fn preflight(place: (&str, u16), keys: [&str; 2]) -> Result<(), Failure> {
    if place.1 == 0 || held_ports::is_held(Transport::Udp, place.1) {
        return Ok(());
    }
    open(place, keys).await.map(drop)
}

async fn open(
    (host, port): (&str, u16),
    [host_key, port_key]: [&str; 2],
) -> Result<UdpSocket, Failure> {
    UdpSocket::bind((host, port)).await.map_err(|error| {
        let what = format!(
            "cannot receive on {host}:{port}; choose an address of this machine ({host_key}) and a free port ({port_key})"
        );
        Failure::caused(what, error)
    })
}

/// How many datagrams the system has dropped for the socket of this number.
fn dropped(inode: u64, is_ipv6: bool) -> Option<u64> {
    let table = if is_ipv6 { "/proc/net/udp6" } else { "/proc/net/udp" };
    let text = read_whole(Path::new(table), TABLE_BYTES_MAX).ok()?;
    drops_in(&String::from_utf8_lossy(&text), inode)
}

/// The last column of the row with this number in its tenth.
fn drops_in(table: &str, inode: u64) -> Option<u64> {
    let inode = inode.to_string();
    let rows = table.lines().skip(1).map(|row| row.split_ascii_whitespace());
    let mut row = rows.map(Iterator::collect::<Vec<_>>).find(|row| row.get(9) == Some(&&*inode))?;
    row.pop()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_read_from_the_row_of_the_socket() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n \
            731: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 23456 2 0000000000000000 7\n \
            732: 0100007F:1F91 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 23457 2 0000000000000000 90\n";
        assert_eq!(drops_in(table, 23457), Some(90));
        assert_eq!(drops_in(table, 23456), Some(7));
        assert_eq!(drops_in(table, 1000), None, "the user's number is not the socket's");
        assert_eq!(drops_in("", 1), None);
    }

    #[test]
    fn a_batch_has_a_bounded_number_of_datagrams_and_bytes() {
        let of = |bytes: usize, bytes_max: usize| {
            let mut batch = Batch::new();
            while batch.has_room(1000, bytes_max) {
                batch.add(Some(Event::new(vec![b'x'; bytes])));
            }
            assert!(batch.bytes <= bytes_max);
            batch.events.len()
        };
        assert_eq!(of(100, DATAGRAM_BATCH_BYTES_MAX), 1000);
        assert_eq!(of(64_000, DATAGRAM_BATCH_BYTES_MAX), 13);
        assert_eq!(of(3 * DATAGRAM_BYTES, DATAGRAM_BATCH_BYTES_MIN), 2);
        let mut nothing = Batch::new();
        for _ in 0..1000 {
            nothing.add(None);
        }
        assert!(!nothing.has_room(1000, DATAGRAM_BATCH_BYTES_MAX), "those that are left out count");
    }

    #[tokio::test]
    async fn a_port_of_somebody_else_is_found_out_and_one_of_this_process_is_not() {
        let others = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = others.local_addr().unwrap().port();
        let keys = ["bind", "port"];
        let error = preflight(("127.0.0.1", port), keys).await.unwrap_err().to_string();
        assert!(error.contains("cannot receive on 127.0.0.1"), "{error}");
        let own = Datagrams::bind(("127.0.0.1", 0), keys, "r1").await.unwrap();
        let port = own.local_addr().unwrap().port();
        preflight(("127.0.0.1", port), keys).await.unwrap();
        drop(own);
        preflight(("127.0.0.1", port), keys).await.unwrap();
    }

    #[tokio::test]
    async fn what_has_no_room_in_the_buffer_is_counted() {
        let socket = Datagrams::bind(("127.0.0.1", 0), ["bind", "port"], "r1").await.unwrap();
        // As small as the system makes it.
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket.socket, 1).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        sender.connect(socket.local_addr().unwrap()).await.unwrap();
        let sent = 500;
        for _ in 0..sent {
            sender.send(&[b'x'; 100]).await.unwrap();
        }
        let counters = SourceCounters::default();
        socket.count_dropped(&counters).await;
        socket.count_dropped(&counters).await;
        let dropped = counters.drops.get(DropReason::SocketBuffer);
        socket.socket.readable().await.unwrap();
        let waiting = socket.count_waiting(&mut [0; 200]) as u64;
        assert!(dropped > 0, "{waiting} of {sent} wait");
        assert_eq!(dropped + waiting, sent, "each is either in the buffer or counted");
    }
}
