//! Names of senders of datagrams, looked up outside the receive loop.
//!
//! Limits: [`SENDERS_MAX`] names are cached, [`LOOKUPS_MAX`] lookups run at once. The first datagram of a sender
//! waits at most [`WAIT`] for its name, and no datagram waits within [`CALM`] after a wait that timed out: senders
//! with forged addresses must not delay the others. Until its name is known a sender is identified by its address.

use crate::source::client_names::blocking_name_of;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

/// Most senders whose names are cached.
const SENDERS_MAX: usize = 1024;
/// Most lookups at once.
const LOOKUPS_MAX: usize = 4;
/// The longest that a first datagram waits for the name of its sender.
const WAIT: Duration = Duration::from_millis(100);
/// How long no datagram waits after a wait that timed out.
const CALM: Duration = Duration::from_secs(1);

/// The lookup function; it blocks.
type NameLookup = fn(IpAddr) -> Option<String>;

/// The cache of names.
#[derive(Debug)]
pub(super) struct ClientNameCache {
    known: Arc<Mutex<HashMap<IpAddr, Option<String>>>>,
    lookups: Arc<Semaphore>,
    in_vain: Mutex<Option<Instant>>,
    look_up: NameLookup,
}

impl ClientNameCache {
    /// Creates a cache that asks the system's resolver, usually DNS.
    pub(super) fn new() -> Self {
        Self::by(|address| Some(blocking_name_of(address)))
    }

    fn by(look_up: NameLookup) -> Self {
        let lookups = Arc::new(Semaphore::new(LOOKUPS_MAX));
        Self { known: Arc::default(), lookups, in_vain: Mutex::default(), look_up }
    }

    /// Returns the name of `address` if it has one and the lookup is done.
    pub(super) fn get(&self, address: IpAddr) -> Option<String> {
        lock(&self.known).get(&address).cloned().flatten()
    }

    /// Returns whether a lookup of `address` was started, whatever its result.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        lock(&self.known).contains_key(&address)
    }

    /// Starts a lookup of `address` and waits briefly for its name. At the limit of lookups nothing is started; a
    /// later datagram tries again.
    pub(super) async fn ask(&self, address: IpAddr) {
        let Ok(permit) = Arc::clone(&self.lookups).try_acquire_owned() else { return };
        let (known, look_up) = (Arc::clone(&self.known), self.look_up);
        let (done, mut ended) = watch::channel(false);
        // Later datagrams of the sender must not start a second lookup.
        remember(&known, address, None);
        tokio::task::spawn_blocking(move || {
            let name = look_up(address);
            remember(&known, address, name);
            done.send_replace(true);
            drop(permit);
        });
        let is_calm = lock(&self.in_vain).is_some_and(|at| at.elapsed() < CALM);
        if !is_calm && timeout(WAIT, ended.wait_for(|done| *done)).await.is_err() {
            *lock(&self.in_vain) = Some(Instant::now());
        }
    }
}

fn remember(known: &Mutex<HashMap<IpAddr, Option<String>>>, address: IpAddr, name: Option<String>) {
    let mut known = lock(known);
    if known.len() >= SENDERS_MAX && !known.contains_key(&address) {
        known.clear();
    }
    known.insert(address, name);
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn a_fast_lookup_names_the_first_datagram() {
        let names = ClientNameCache::by(|address| Some(format!("host-{address}")));
        assert!(!names.has(address(1)));
        names.ask(address(1)).await;
        assert_eq!(names.get(address(1)).as_deref(), Some("host-192.0.2.1"));
        assert!(names.has(address(1)) && !names.has(address(2)));
    }

    #[tokio::test]
    async fn a_resolver_that_does_not_reply_delays_no_other_sender() {
        static ANSWERS: AtomicBool = AtomicBool::new(false);
        let names = ClientNameCache::by(|_| {
            while !ANSWERS.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            None
        });
        for last in 0..100 {
            names.ask(address(last)).await;
        }
        let asked = (0..100).filter(|last| names.has(address(*last))).count();
        assert_eq!(asked, LOOKUPS_MAX, "no more are looked up at once");
        ANSWERS.store(true, Ordering::SeqCst);
    }
}
