//! Names of senders of datagrams, looked up beside the loop that receives them.
//!
//! Limits: [`SENDERS_MAX`] names are kept, [`LOOKUPS_MAX`] are looked up at once. The first datagram of a sender waits for
//! its name no longer than [`WAIT`], and none waits within [`CALM`] of a wait that was in vain: who sends from
//! invented addresses must not hold up the others. Until its name is known a sender goes by its address.

use crate::source::client_names::blocking_name_of;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

/// Senders whose names are kept.
const SENDERS_MAX: usize = 1024;
/// Names that are looked up at once.
const LOOKUPS_MAX: usize = 4;
/// How long a first datagram waits for the name of its sender.
const WAIT: Duration = Duration::from_millis(100);
/// After a wait in vain nobody waits for so long.
const CALM: Duration = Duration::from_secs(1);

/// How a name is looked up; blocks.
type LookUp = fn(IpAddr) -> Option<String>;

/// The names that are known.
#[derive(Debug)]
pub(super) struct Names {
    known: Arc<Mutex<HashMap<IpAddr, Option<String>>>>,
    lookups: Arc<Semaphore>,
    in_vain: Mutex<Option<Instant>>,
    look_up: LookUp,
}

impl Names {
    /// Names by DNS, or as the system looks them up otherwise.
    pub(super) fn new() -> Self {
        Self::by(|address| Some(blocking_name_of(address)))
    }

    fn by(look_up: LookUp) -> Self {
        let lookups = Arc::new(Semaphore::new(LOOKUPS_MAX));
        Self { known: Arc::default(), lookups, in_vain: Mutex::default(), look_up }
    }

    /// The name of `address`, where it has one and it is known by now.
    pub(super) fn get(&self, address: IpAddr) -> Option<String> {
        lock(&self.known).get(&address).cloned().flatten()
    }

    /// Whether it was looked up already, whatever came of it.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        lock(&self.known).contains_key(&address)
    }

    /// Has the name of `address` looked up, and waits for it a moment. Where too many are being looked up,
    /// a later datagram asks again.
    pub(super) async fn ask(&self, address: IpAddr) {
        let Ok(permit) = Arc::clone(&self.lookups).try_acquire_owned() else { return };
        let (known, look_up) = (Arc::clone(&self.known), self.look_up);
        let (done, mut ended) = watch::channel(false);
        // A later datagram of the sender must not ask again meanwhile.
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
    async fn a_name_that_comes_at_once_is_there_for_the_first_datagram() {
        let names = Names::by(|address| Some(format!("host-{address}")));
        assert!(!names.has(address(1)));
        names.ask(address(1)).await;
        assert_eq!(names.get(address(1)).as_deref(), Some("host-192.0.2.1"));
        assert!(names.has(address(1)) && !names.has(address(2)));
    }

    #[tokio::test]
    async fn resolvers_that_do_not_answer_hold_up_nobody() {
        static ANSWERS: AtomicBool = AtomicBool::new(false);
        let names = Names::by(|_| {
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
