//! What the clients of all sources may take of a process together: memory and connections.
//!
//! Limits: the two numbers that [`ClientLimits::new`] is given; [`REQUEST_ROOM_SECONDS_MAX`] for a wait.
//!
//! # The story
//!
//! A connection that comes in is [admitted](Gate::admit), which charges what a silent one takes. What its
//! requests take is [held](Connection::hold) before it is allocated and [given back](Connection::release)
//! once they are answered; state that lasts as long as the connection is [kept](Connection::keep). There
//! is one book for the process, so no number of sources or connections adds up to more than one budget.
//!
//! Where no place for a further connection is left, the one that has been silent longest gives way, those
//! that never brought anything before the others. How long it must have been silent depends on who comes: an
//! address that has brought events waits for no flood of strangers, and one with few connections not for one with
//! many. Where memory is short, requests wait; those that hold
//! much of it and send it slowly give way after a while, or waiting would be all that the others do. A
//! connection of which a request is being carried out never gives way.
//!
//! One address, and the clients of one source, have a share only: a channel that takes nothing makes the
//! sessions of its sources hold what they have, for as long as that lasts, and other sources go on. A source
//! without connections [reserves](ClientLimits::reserve) what it needs when it begins.
//!
//! Invariants: what is held never exceeds the budget, but for the base of up to [`LEAVING_MAX`] connections
//! that were told to go and have not yet gone; a wait has an end; an address or a source alone never holds so much
//! that nothing is left for another.

mod book;
#[cfg(test)]
mod tests;

use crate::base::limits::{MEMORY_LOOK_MS, REQUEST_ROOM_SECONDS_MAX};
use crate::codes;
use crate::metrics::{ClientTotals, SourceCounters};
use book::{Answer, Asked, Book};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

#[cfg(doc)]
use crate::base::limits::LEAVING_MAX;

/// The limits of a process and who uses them up.
pub struct ClientLimits {
    book: Mutex<Book>,
    began: Instant,
    totals: Arc<ClientTotals>,
    /// Permits for what connections of line protocols read beyond the least.
    pub(crate) reads: Arc<Semaphore>,
    /// Permits for lines of theirs that are events beyond the least.
    pub(crate) lines: Arc<Semaphore>,
    /// For each large request that is being understood: half of the processors are for everybody else.
    pub(crate) parsers: Arc<Semaphore>,
    connections_max: usize,
    /// Whether it was said that there are fewer places than the sources were told.
    said: AtomicBool,
}

/// Where one source lets clients in.
pub struct Gate {
    limits: Arc<ClientLimits>,
    id: u64,
}

/// Memory that a source without connections holds, until it is dropped.
pub struct Reserved {
    limits: Arc<ClientLimits>,
    bytes: usize,
}

/// One connection, as the limits know it. It is let go of when it is dropped.
pub struct Connection {
    limits: Arc<ClientLimits>,
    record: Arc<Record>,
}

/// What a connection says of itself without asking for the book.
#[derive(Debug, Default)]
struct Record {
    id: u64,
    /// When it last brought something whole, or came; milliseconds since the limits began.
    heard: AtomicU64,
    /// Whether it ever brought something whole.
    is_proven: AtomicBool,
    /// Whether a request of it is being carried out.
    is_busy: AtomicBool,
    /// Whether it has to go.
    leaves: AtomicBool,
    go: Notify,
    granted: Notify,
}

/// There is no memory for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// None became free in time.
    #[error("no memory for it became free in {REQUEST_ROOM_SECONDS_MAX} s")]
    NotInTime,
    /// There is never so much.
    #[error(
        "it takes more memory than a request may; lower the batch size of the clients, or raise millpond.clients.memoryBytes"
    )]
    TooLarge,
}

/// There is no place for a further connection, and none that could give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The source has as many as it may have.
    Source,
    /// All sources together have as many as there are file descriptors for.
    Descriptors,
    /// The memory for connections is used up.
    Memory,
    /// The source, or the address, has as much of both as it may have while there are others.
    Share,
    /// Connections that have to give way have not gone yet: it may be tried again at once.
    Leaving,
}

impl Full {
    /// What limit it is, and what sets it.
    #[must_use]
    pub fn cause(self) -> &'static str {
        match self {
            Self::Source => "maxConnections of the source",
            Self::Descriptors => {
                "the process's limit on open files (ulimit -n, LimitNOFILE), a part of which is kept for channels and sinks"
            }
            Self::Memory => "the memory for clients (millpond.clients.memoryBytes)",
            Self::Share => {
                "the share that one source or one address has of all connections (the limit on open files) and of the memory for clients (millpond.clients.memoryBytes)"
            }
            Self::Leaving => "connections that give way and have not gone yet",
        }
    }
}

/// While it lives a request is being carried out.
pub struct Busy<'c>(&'c Record);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Release);
    }
}

impl ClientLimits {
    /// At most `memory_bytes` and `connections`, shown in `totals`.
    #[must_use]
    pub fn new(memory_bytes: usize, connections: usize, totals: Arc<ClientTotals>) -> Arc<Self> {
        totals.memory_bytes_max.set(memory_bytes as u64);
        totals.connections_max.set(connections as u64);
        let (reads, lines) = (book::reads(memory_bytes), book::lines(memory_bytes));
        Arc::new(Self {
            book: Mutex::new(Book::new(memory_bytes, connections, Arc::clone(&totals))),
            began: Instant::now(),
            totals,
            reads: Arc::new(Semaphore::new(reads)),
            lines: Arc::new(Semaphore::new(lines)),
            parsers: Arc::new(Semaphore::new(parsers())),
            connections_max: connections,
            said: AtomicBool::new(false),
        })
    }

    /// More than a test comes to.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Arc<Self> {
        Self::new(crate::base::limits::CLIENT_MEMORY_BYTES_MAX, 100_000, Arc::default())
    }

    /// For one source, which has `connections_max` connections at most.
    #[must_use]
    pub fn gate(self: &Arc<Self>, connections_max: usize) -> Gate {
        let (id, sum) = self.book().open_gate(connections_max);
        if sum > self.connections_max && !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                code = %codes::FEWER_PLACES_THAN_CONFIGURED,
                configured = sum,
                possible = self.connections_max,
                "the sources' maxConnections add up to more than the limit on open files leaves for connections; raise that limit (LimitNOFILE, ulimit -n), or silent connections give way sooner"
            );
        }
        Gate { limits: Arc::clone(self), id }
    }

    /// The most bytes that one request can hold.
    #[must_use]
    pub fn request_bytes_max(&self) -> usize {
        self.book().request_bytes_max()
    }

    /// Connections of all sources at most.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// Takes up to `bytes` of the budget for a source without connections; less where there is little, but `least`.
    #[must_use]
    pub fn reserve(self: &Arc<Self>, bytes: usize, least: usize) -> Reserved {
        let bytes = self.book().reserve(bytes, least);
        Reserved { limits: Arc::clone(self), bytes }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing under the lock can be left half done.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Reserved {
    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let now = self.limits.now();
        self.limits.book().unreserve(self.bytes, now);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.limits.book().close_gate(self.id);
    }
}

impl Gate {
    /// Lets a client at `address` in, whose connection takes `bytes` while it is silent; where all places
    /// are taken another one is told to go for it.
    ///
    /// # Errors
    /// There is no place, and nobody can give way.
    pub fn admit(
        &self,
        address: IpAddr,
        bytes: usize,
        counters: &Arc<SourceCounters>,
    ) -> Result<Arc<Connection>, Full> {
        let now = self.limits.now();
        let record = self.limits.book().admit(self.id, (address, bytes), counters, now)?;
        Ok(Arc::new(Connection { limits: Arc::clone(&self.limits), record }))
    }

    /// Descriptors have run out all the same: whoever has been silent longest is told to go.
    pub fn relieve(&self) {
        let now = self.limits.now();
        self.limits.book().relieve(now);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let now = self.limits.now();
        self.limits.book().leave(self.record.id, now);
    }
}

impl Connection {
    /// Holds `bytes` for the request in hand, if it does not hold as many: waits until there is memory.
    ///
    /// # Errors
    /// None became free in time, or there is never so much.
    pub async fn hold(&self, bytes: usize) -> Result<(), NoRoom> {
        self.grow(Asked::Held(bytes)).await
    }

    /// The same, if there is memory now.
    #[must_use]
    pub fn try_hold(&self, bytes: usize) -> bool {
        let (id, now) = (self.record.id, self.limits.now());
        self.limits.book().ask(id, Asked::Held(bytes), now) == Answer::Granted
    }

    /// Keeps `bytes` for as long as the connection lasts, beside those that it came in with.
    ///
    /// # Errors
    /// As [`Connection::hold`].
    pub async fn keep(&self, bytes: usize) -> Result<(), NoRoom> {
        self.grow(Asked::Kept(bytes)).await
    }

    async fn grow(&self, asked: Asked) -> Result<(), NoRoom> {
        let id = self.record.id;
        let now = self.limits.now();
        let first = self.limits.book().ask(id, asked, now);
        match first {
            Answer::Granted => return Ok(()),
            Answer::NotNow => {}
            Answer::Never => {
                self.limits.totals.refused.add(1);
                return Err(NoRoom::TooLarge);
            }
        }
        let waits = Waits { limits: &self.limits, ticket: self.limits.book().wait(id, asked) };
        let granted = async {
            while !self.limits.book().is_granted(waits.ticket) {
                if self.leaves() {
                    return false;
                }
                let now = self.limits.now();
                self.limits.book().make_room(now);
                let look = Duration::from_millis(MEMORY_LOOK_MS);
                let _ = timeout(look, self.record.granted.notified()).await;
            }
            true
        };
        let patience = Duration::from_secs(REQUEST_ROOM_SECONDS_MAX);
        if timeout(patience, granted).await.unwrap_or(false) {
            return Ok(());
        }
        self.limits.totals.refused.add(1);
        Err(NoRoom::NotInTime)
    }

    /// Gives back what the request held.
    pub fn release(&self) {
        self.shrink(0);
    }

    /// Gives back what it holds beyond `bytes`.
    pub fn shrink(&self, bytes: usize) {
        let now = self.limits.now();
        self.limits.book().shrink(self.record.id, bytes, now);
    }

    /// It has brought a request, a line or a message that is whole.
    pub fn is_heard(&self) {
        let now = self.limits.now();
        self.record.heard.store(now, Ordering::Relaxed);
        if !self.record.is_proven.swap(true, Ordering::Relaxed) {
            self.limits.book().proves(self.record.id, now);
        }
    }

    /// A request is being carried out, until the answer is dropped: it does not give way.
    #[must_use]
    pub fn busy(&self) -> Busy<'_> {
        self.record.is_busy.store(true, Ordering::Release);
        Busy(&self.record)
    }

    /// Whether a request is being carried out.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.record.is_busy.load(Ordering::Acquire)
    }

    /// Whether it has to give way to others.
    #[must_use]
    pub fn leaves(&self) -> bool {
        self.record.leaves.load(Ordering::Acquire)
    }

    /// Returns once it has to give way to others.
    pub async fn told_to_go(&self) {
        while !self.leaves() {
            self.record.go.notified().await;
        }
        // For who asks again.
        self.record.go.notify_one();
    }
}

/// Large requests that are understood at a time.
fn parsers() -> usize {
    std::thread::available_parallelism().map_or(1, |all| (all.get() / 2).max(1))
}

/// A place in the queue for memory, left when it is dropped.
struct Waits<'c> {
    limits: &'c ClientLimits,
    ticket: book::Ticket,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.limits.book().wait_no_more(self.ticket);
    }
}
