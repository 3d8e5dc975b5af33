//! Shared by the datagram sources: the socket, its losses, and the loop that commits what arrives.
//!
//! Limits: [`DATAGRAM_BYTES`] a datagram; [`DATAGRAMS_PER_BATCH`] a transaction, and [`DATAGRAM_BATCH_BYTES_MAX`] of
//! the memory for clients, which a source reserves at its start; [`DATAGRAM_SOCKET_BYTES`] requested as the socket's
//! buffer.
//!
//! Datagrams have no replies. What was received waits until the channel accepts it; meanwhile datagrams collect in
//! the socket's buffer, and when that is full the system drops the newest. Their number is read once a second from
//! the system's table of sockets. A source that stops commits what is in the buffer, and counts what the channel
//! refuses of it.

use super::commit_retry::{self, RetryOutcome};
use super::held_ports::{self, HeldPort, Transport};
use super::ip_filter::{FilterDenied, IpFilter};
use crate::wire::syslog::YearHint;
use millpond::{BoxFuture, Event};
use millpond_flow::base::limits::{
    CONNECTION_LINE_BYTES, DATAGRAM_BATCH_BYTES_MAX, DATAGRAM_BATCH_BYTES_MIN, DATAGRAM_BYTES,
    DATAGRAM_EVENT_BYTES_MAX, DATAGRAM_SOCKET_BYTES, DATAGRAMS_PER_BATCH,
};
use millpond_flow::base::small_file::read_whole;
use millpond_flow::client_error_log::ClientErrorLog;
use millpond_flow::codes;
use millpond_flow::metrics::{DropReason, SourceCounters};
use millpond_flow::source::{Failure, SourceContext};
use rustix::net::{RecvFlags, recvfrom};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use tokio::net::UdpSocket;

/// Datagrams still received after the stop signal: the most that the socket's buffer can hold, since each takes at
/// least some 512 bytes of it. Without a limit a steady stream would keep the source running.
const LAST_DATAGRAMS: usize = DATAGRAM_SOCKET_BYTES / 512;
/// Pause after a failed receive, usually for lack of memory.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Interval of reading the system's count of dropped datagrams.
const LOOK: Duration = Duration::from_secs(1);
/// Most bytes of the system's table of sockets: some 20,000 of them.
const TABLE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Parses datagrams into events.
pub(crate) trait ParseDatagram: Send + Sync {
    /// Returns the filter of senders; `None` allows all.
    fn filter(&self) -> Option<&IpFilter>;

    /// Returns what to wait for before the first datagram of a sender is read; usually nothing.
    fn meets(&self, sender: IpAddr) -> Option<BoxFuture<'_, ()>> {
        let _ = sender;
        None
    }

    /// Returns the event of a datagram, if it contains one. Counts errors in it and dropped parts.
    fn event(
        &self,
        datagram: &[u8],
        sender: SocketAddr,
        present: &YearHint,
        context: &SourceContext,
    ) -> Option<Event>;
}

/// Datagrams that are committed together.
struct DatagramBatch {
    events: Vec<Event>,
    datagrams: usize,
    bytes: usize,
}

impl DatagramBatch {
    fn new() -> Self {
        Self { events: Vec::new(), datagrams: 0, bytes: 0 }
    }

    /// Adds a datagram with its event, if it has one.
    fn add(&mut self, event: Option<Event>) {
        self.datagrams += 1;
        self.bytes += event.as_ref().map_or(0, |it| it.size_bytes() + CONNECTION_LINE_BYTES);
        self.events.extend(event);
    }

    /// Returns whether any further datagram fits.
    fn has_room(&self, datagrams_max: usize, bytes_max: usize) -> bool {
        self.datagrams < datagrams_max && self.bytes + DATAGRAM_EVENT_BYTES_MAX <= bytes_max
    }
}

/// A socket, and the number of datagrams that the system has dropped for it.
pub(crate) struct DatagramSocket {
    socket: UdpSocket,
    /// The inode of its row in the system's table.
    inode: Option<u64>,
    dropped: Mutex<u64>,
    /// Throttles the log of denied senders.
    denied_by: ClientErrorLog,
    /// Registers the port as held by this process, for a reload.
    _held: Option<HeldPort>,
}

/// Logs that the system has granted a smaller buffer than requested.
fn warn_of_small_buffer(granted: usize, source: &str) {
    if granted < DATAGRAM_SOCKET_BYTES {
        tracing::warn!(
            code = %codes::DATAGRAM_BUFFER_SMALL,
            source,
            granted,
            wanted = DATAGRAM_SOCKET_BYTES,
            "the system grants a small buffer for datagrams, and drops what has no room in it while the channel is busy; raise it with sysctl -w net.core.rmem_max={DATAGRAM_SOCKET_BYTES} and start the source again"
        );
    }
}

impl DatagramSocket {
    /// Binds to `host` and `port`, with as large a buffer as the system allows; a smaller one than requested is
    /// logged. `keys`: the names of the settings of both.
    pub(crate) async fn bind(
        (host, port): (&str, u16),
        keys: [&str; 2],
        source: &str,
    ) -> Result<Self, Failure> {
        let socket = open((host, port), keys).await?;
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, DATAGRAM_SOCKET_BYTES);
        // The system reports twice what it grants: half is for its own bookkeeping.
        let granted = rustix::net::sockopt::socket_recv_buffer_size(&socket).map(|twice| twice / 2);
        if let Ok(granted) = granted {
            warn_of_small_buffer(granted, source);
        }
        let inode = rustix::fs::fstat(&socket).ok().map(|stat| stat.st_ino);
        let port = socket.local_addr().ok().map(|address| address.port());
        let _held = port.map(|port| HeldPort::new(Transport::Udp, port));
        let denied_by = ClientErrorLog::default();
        Ok(Self { socket, inode, dropped: Mutex::new(0), denied_by, _held })
    }

    /// Returns the bound address.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// Commits what arrives, until the source is to stop.
    pub(crate) async fn run(&self, context: &SourceContext, parse: &dyn ParseDatagram) {
        tokio::select! {
            () = self.receive(context, parse) => {}
            () = self.watch(&context.counters) => {}
        }
        self.count_dropped(&context.counters).await;
    }

    async fn receive(&self, context: &SourceContext, parse: &dyn ParseDatagram) {
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
                    commit_retry::rest(context, ERROR_PAUSE).await;
                    continue;
                }
            };
            let now = i64::try_from(context.clock.wall_ms()).unwrap_or(i64::MAX);
            let (mut batch, present) = (DatagramBatch::new(), YearHint::at(now));
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
            if let RetryOutcome::Stopped(left) = commit_retry::commit(context, batch.events).await {
                let lost = left + self.count_waiting(&mut buffer);
                context.counters.drops.add(DropReason::Stopped, lost as u64);
                tracing::warn!(source = %context.name, events = lost,
                    "stopped while the channel took nothing; datagrams received last are lost");
                return;
            }
        }
        // Only a stop ends the loop here: further datagrams came after it.
        let lost = self.count_waiting(&mut buffer);
        if lost > 0 {
            context.counters.drops.add(DropReason::Stopped, lost as u64);
            tracing::warn!(source = %context.name, events = lost,
                "stopped while datagrams kept coming; those received last are lost");
        }
    }

    /// Returns whether the sender of a datagram is allowed; a denied one is counted and logged, throttled.
    fn admits(
        &self,
        sender: SocketAddr,
        parse: &dyn ParseDatagram,
        context: &SourceContext,
    ) -> bool {
        let Some(filter) = parse.filter() else { return true };
        let Err(FilterDenied { cause, .. }) = filter.admits(sender.ip()) else { return true };
        context.counters.drops.add(DropReason::Denied, 1);
        if let Some(words) = self.denied_by.note_rule(context.clock.now(), &cause, &cause) {
            tracing::warn!(source = %context.name, peer = %sender, "{words}");
        }
        false
    }

    /// Receives a waiting datagram. Calls the kernel directly: the runtime's readiness is only as of its last poll,
    /// and a stop does not wait for the next.
    fn try_receive(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let (bytes, _, sender) = recvfrom(&self.socket, buffer, RecvFlags::DONTWAIT).ok()?;
        Some((bytes, sender?.try_into().ok()?))
    }

    /// Receives what waits in the socket's buffer, and returns the number of datagrams.
    fn count_waiting(&self, buffer: &mut [u8]) -> usize {
        (0..LAST_DATAGRAMS).take_while(|_| self.try_receive(buffer).is_some()).count()
    }

    /// Counts the datagrams dropped by the system, once a second. Does not return.
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

/// Tries to bind to `host` and `port` without keeping the socket; a port on which a source of this process receives
/// is not tried. `keys`: as for [`DatagramSocket::bind`].
///
/// # Errors
/// It cannot be bound.
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

/// Returns the number of datagrams that the system has dropped for the socket with this inode.
fn dropped(inode: u64, is_ipv6: bool) -> Option<u64> {
    let table = if is_ipv6 { "/proc/net/udp6" } else { "/proc/net/udp" };
    let text = read_whole(Path::new(table), TABLE_BYTES_MAX).ok()?;
    drops_in(&String::from_utf8_lossy(&text), inode)
}

/// Returns the last column of the row with this inode in its tenth.
fn drops_in(table: &str, inode: u64) -> Option<u64> {
    let inode = inode.to_string();
    let rows = table.lines().skip(1).map(|row| row.split_ascii_whitespace());
    let mut row = rows.map(Iterator::collect::<Vec<_>>).find(|row| row.get(9) == Some(&&*inode))?;
    row.pop()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_flow::log_capture::captured_log;

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
            let mut batch = DatagramBatch::new();
            while batch.has_room(1000, bytes_max) {
                batch.add(Some(Event::new(vec![b'x'; bytes])));
            }
            assert!(batch.bytes <= bytes_max);
            batch.events.len()
        };
        assert_eq!(of(100, DATAGRAM_BATCH_BYTES_MAX), 1000);
        assert_eq!(of(64_000, DATAGRAM_BATCH_BYTES_MAX), 13);
        assert_eq!(of(3 * DATAGRAM_BYTES, DATAGRAM_BATCH_BYTES_MIN), 2);
        let mut nothing = DatagramBatch::new();
        for _ in 0..1000 {
            nothing.add(None);
        }
        assert!(!nothing.has_room(1000, DATAGRAM_BATCH_BYTES_MAX), "dropped datagrams count");
    }

    #[tokio::test]
    async fn preflight_detects_a_foreign_port_and_ignores_one_of_this_process() {
        let others = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = others.local_addr().unwrap().port();
        let keys = ["bind", "port"];
        let error = preflight(("127.0.0.1", port), keys).await.unwrap_err().to_string();
        assert!(error.contains("cannot receive on 127.0.0.1"), "{error}");
        let own = DatagramSocket::bind(("127.0.0.1", 0), keys, "r1").await.unwrap();
        let port = own.local_addr().unwrap().port();
        preflight(("127.0.0.1", port), keys).await.unwrap();
        drop(own);
        preflight(("127.0.0.1", port), keys).await.unwrap();
    }

    #[tokio::test]
    async fn a_buffer_smaller_than_requested_is_warned_about_once() {
        let said =
            async |granted| captured_log(async { warn_of_small_buffer(granted, "r1") }).await;
        assert_eq!(said(DATAGRAM_SOCKET_BYTES).await, "");
        let line = said(DATAGRAM_SOCKET_BYTES - 1).await;
        assert!(line.contains("WARN") && line.contains("code=MP-"), "{line}");
        assert!(line.contains("rmem_max=4194304") && line.contains("granted=4194303"), "{line}");
        // The limit of this machine decides whether a source logs it.
        let mut granted = 0;
        let line = captured_log(async {
            let bound =
                DatagramSocket::bind(("127.0.0.1", 0), ["bind", "port"], "r1").await.unwrap();
            granted = rustix::net::sockopt::socket_recv_buffer_size(&bound.socket).unwrap() / 2;
        });
        let lines = line.await.matches("a small buffer for datagrams").count();
        assert_eq!(lines, usize::from(granted < DATAGRAM_SOCKET_BYTES));
    }

    #[tokio::test]
    async fn datagrams_without_room_in_the_buffer_are_counted() {
        let socket = DatagramSocket::bind(("127.0.0.1", 0), ["bind", "port"], "r1").await.unwrap();
        // The smallest buffer that the system allows.
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
