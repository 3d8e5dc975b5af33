//! Limits of the memory and the connections that the clients of all sources of a process use together.
//!
//! Limits: the two arguments of [`ClientLimits::new`]; [`REQUEST_ROOM_SECONDS_MAX`] for a wait.
//!
//! # How it works
//!
//! A new connection is [admitted](SourceAdmission::admit), which charges the memory of a silent one. The memory
//! of its requests is [held](AdmittedConnection::hold) before it is allocated and
//! [released](AdmittedConnection::release) after the reply; state that lasts as long as the connection is
//! [kept](AdmittedConnection::keep). There is one accounting for the process, so no number of sources or
//! connections exceeds the one budget.
//!
//! If there is no place for a further connection, the one that has been silent longest is evicted, connections
//! that never sent anything before the others. How long it must have been silent depends on the newcomer: an
//! address that has sent events does not wait for a flood of unknown ones, and one with few connections not for
//! one with many. If memory is short, requests wait; those that hold much of it and send slowly are evicted after
//! a while, because the others would only wait. A connection with a request in progress is never evicted.
//!
//! One address, and the clients of one source, have a limited share: a channel that takes nothing makes the
//! sessions of its sources hold what they have for as long as that lasts, while other sources go on. A source
//! without connections [reserves](ClientLimits::reserve) what it needs when it begins.
//!
//! Invariants: what is held never exceeds the budget, except for the base of up to [`LEAVING_MAX`] evicted
//! connections that have not closed yet; a wait has an end; an address or a source alone never holds so much that
//! nothing is left for another.

mod accounting;
mod denied;
#[cfg(test)]
mod tests;
mod usage;

use crate::base::limits::{MEMORY_LOOK_MS, REQUEST_ROOM_SECONDS_MAX};
use crate::codes;
use crate::metrics::{ClientTotals, SourceCounters};
use accounting::{Accounts, GrantOutcome, MemoryRequest};
pub use denied::{AdmissionDenied, MemoryDenied};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
pub use usage::BusyGuard;
use usage::ConnectionUsage;

#[cfg(doc)]
use crate::base::limits::LEAVING_MAX;

/// The limits of a process and their accounting.
pub struct ClientLimits {
    accounts: Mutex<Accounts>,
    began: Instant,
    totals: Arc<ClientTotals>,
    /// Permits for what connections of line protocols read beyond the minimum.
    pub reads: Arc<Semaphore>,
    /// Permits for their lines that are events beyond the minimum.
    pub lines: Arc<Semaphore>,
    /// Permits for parsing large requests: half of the processors remain for other work.
    pub parsers: Arc<Semaphore>,
    connections_max: usize,
    /// True once it was logged that there are fewer places than the sources are configured for.
    said: AtomicBool,
}

/// The admission of clients to one source.
pub struct SourceAdmission {
    limits: Arc<ClientLimits>,
    id: u64,
}

/// Memory reserved for a source without connections, until it is dropped.
pub struct MemoryReservation {
    limits: Arc<ClientLimits>,
    bytes: usize,
}

/// An admitted connection. It is removed from the accounting when it is dropped.
pub struct AdmittedConnection {
    limits: Arc<ClientLimits>,
    record: Arc<ConnectionUsage>,
}

impl ClientLimits {
    /// Returns limits of `memory_bytes` and `connections`, shown in `totals`.
    #[must_use]
    pub fn new(memory_bytes: usize, connections: usize, totals: Arc<ClientTotals>) -> Arc<Self> {
        totals.memory_bytes_max.set(memory_bytes as u64);
        totals.connections_max.set(connections as u64);
        let (reads, lines) = (accounting::reads(memory_bytes), accounting::lines(memory_bytes));
        Arc::new(Self {
            accounts: Mutex::new(Accounts::new(memory_bytes, connections, Arc::clone(&totals))),
            began: Instant::now(),
            totals,
            reads: Arc::new(Semaphore::new(reads)),
            lines: Arc::new(Semaphore::new(lines)),
            parsers: Arc::new(Semaphore::new(parsers())),
            connections_max: connections,
            said: AtomicBool::new(false),
        })
    }

    /// Returns limits that no test reaches.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn for_tests() -> Arc<Self> {
        Self::new(crate::base::limits::CLIENT_MEMORY_BYTES_MAX, 100_000, Arc::default())
    }

    /// Returns the admission to one source, which has at most `connections_max` connections.
    #[must_use]
    pub fn gate(self: &Arc<Self>, connections_max: usize) -> SourceAdmission {
        let (id, sum) = self.accounts().open_gate(connections_max);
        if sum > self.connections_max && !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                code = %codes::FEWER_PLACES_THAN_CONFIGURED,
                configured = sum,
                possible = self.connections_max,
                "the sources' maxConnections add up to more than the limit on open files leaves for connections; raise that limit (LimitNOFILE, ulimit -n), or silent connections are closed sooner"
            );
        }
        SourceAdmission { limits: Arc::clone(self), id }
    }

    /// Returns the most bytes that one request can hold.
    #[must_use]
    pub fn request_bytes_max(&self) -> usize {
        self.accounts().request_bytes_max()
    }

    /// Returns the most connections of all sources.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// Reserves up to `bytes` of the budget for a source without connections; less if little is free, but at
    /// least `least`.
    #[must_use]
    pub fn reserve(self: &Arc<Self>, bytes: usize, least: usize) -> MemoryReservation {
        let bytes = self.accounts().reserve(bytes, least);
        MemoryReservation { limits: Arc::clone(self), bytes }
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        // No operation can panic halfway while it holds the lock.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl MemoryReservation {
    /// Returns the reserved bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        let now = self.limits.now();
        self.limits.accounts().unreserve(self.bytes, now);
    }
}

impl Drop for SourceAdmission {
    fn drop(&mut self) {
        self.limits.accounts().close_gate(self.id);
    }
}

impl SourceAdmission {
    /// Admits a client at `address`, whose connection takes `bytes` while it is silent; if all places are taken
    /// another one is evicted for it.
    ///
    /// # Errors
    /// There is no place, and no connection can be evicted.
    pub fn admit(
        &self,
        address: IpAddr,
        bytes: usize,
        counters: &Arc<SourceCounters>,
    ) -> Result<Arc<AdmittedConnection>, AdmissionDenied> {
        let now = self.limits.now();
        let record = self.limits.accounts().admit(self.id, (address, bytes), counters, now)?;
        Ok(Arc::new(AdmittedConnection { limits: Arc::clone(&self.limits), record }))
    }

    /// Evicts the connection that has been silent longest, because file descriptors have run out nevertheless.
    pub fn relieve(&self) {
        let now = self.limits.now();
        self.limits.accounts().relieve(now);
    }
}

impl Drop for AdmittedConnection {
    fn drop(&mut self) {
        let now = self.limits.now();
        self.limits.accounts().leave(self.record.id, now);
    }
}

impl AdmittedConnection {
    /// Holds `bytes` in all for the current request; waits until there is memory.
    ///
    /// # Errors
    /// None became free in time, or it exceeds the largest request.
    pub async fn hold(&self, bytes: usize) -> Result<(), MemoryDenied> {
        self.grow(MemoryRequest::Held(bytes)).await
    }

    /// Like [`hold`](Self::hold), but returns false if there is no memory now.
    #[must_use]
    pub fn try_hold(&self, bytes: usize) -> bool {
        let (id, now) = (self.record.id, self.limits.now());
        self.limits.accounts().ask(id, MemoryRequest::Held(bytes), now) == GrantOutcome::Granted
    }

    /// Keeps `bytes` for the lifetime of the connection, in addition to its initial ones.
    ///
    /// # Errors
    /// As [`AdmittedConnection::hold`].
    pub async fn keep(&self, bytes: usize) -> Result<(), MemoryDenied> {
        self.grow(MemoryRequest::Kept(bytes)).await
    }

    async fn grow(&self, asked: MemoryRequest) -> Result<(), MemoryDenied> {
        let id = self.record.id;
        let now = self.limits.now();
        let first = self.limits.accounts().ask(id, asked, now);
        match first {
            GrantOutcome::Granted => return Ok(()),
            GrantOutcome::NotNow => {}
            GrantOutcome::Never => {
                self.limits.totals.refused.add(1);
                return Err(MemoryDenied::TooLarge);
            }
        }
        let waits = QueueGuard {
            limits: &self.limits,
            ticket: self.limits.accounts().wait(id, asked, now),
        };
        let granted = async {
            while !self.limits.accounts().is_granted(waits.ticket) {
                if self.leaves() {
                    return false;
                }
                let now = self.limits.now();
                self.limits.accounts().make_room(now);
                let look = Duration::from_millis(MEMORY_LOOK_MS);
                let _ = timeout(look, self.record.granted.notified()).await;
            }
            true
        };
        let time_limit = Duration::from_secs(REQUEST_ROOM_SECONDS_MAX);
        if timeout(time_limit, granted).await.unwrap_or(false) {
            return Ok(());
        }
        self.limits.totals.refused.add(1);
        Err(MemoryDenied::NotInTime)
    }

    /// Releases the memory of the current request.
    pub fn release(&self) {
        self.shrink(0);
    }

    /// Releases what the current request holds beyond `bytes`.
    pub fn shrink(&self, bytes: usize) {
        let now = self.limits.now();
        self.limits.accounts().shrink(self.record.id, bytes, now);
    }

    /// Records that it has sent a complete request, line or message.
    pub fn is_heard(&self) {
        let now = self.limits.now();
        self.record.heard.store(now, Ordering::Relaxed);
        if !self.record.is_proven.swap(true, Ordering::Relaxed) {
            self.limits.accounts().proves(self.record.id, now);
        }
    }

    /// Marks a request as in progress until the result is dropped: the connection is not evicted.
    #[must_use]
    pub fn busy(&self) -> BusyGuard<'_> {
        self.record.is_busy.store(true, Ordering::Release);
        BusyGuard(&self.record)
    }

    /// Returns true while a request is in progress.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.record.is_busy.load(Ordering::Acquire)
    }

    /// Returns true if it was evicted and has to close.
    #[must_use]
    pub fn leaves(&self) -> bool {
        self.record.leaves.load(Ordering::Acquire)
    }

    /// Returns once it was evicted.
    pub async fn evicted(&self) {
        while !self.leaves() {
            self.record.go.notified().await;
        }
        // For a repeated call.
        self.record.go.notify_one();
    }
}

/// Returns the number of large requests that are parsed at a time.
fn parsers() -> usize {
    std::thread::available_parallelism().map_or(1, |all| (all.get() / 2).max(1))
}

/// A place in the queue for memory, left when it is dropped.
struct QueueGuard<'c> {
    limits: &'c ClientLimits,
    ticket: accounting::Ticket,
}

impl Drop for QueueGuard<'_> {
    fn drop(&mut self) {
        self.limits.accounts().wait_no_more(self.ticket);
    }
}
