//! The ports on which sources of this process listen or receive: a reload must not take them for ports that somebody
//! else has.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many listen on each.
static HELD: Mutex<BTreeMap<(Transport, u16), usize>> = Mutex::new(BTreeMap::new());

/// TCP and UDP have ports of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// A port that is listened on until this is dropped.
#[derive(Debug)]
pub(crate) struct HeldPort(Transport, u16);

impl HeldPort {
    pub(crate) fn new(transport: Transport, port: u16) -> Self {
        *held().entry((transport, port)).or_default() += 1;
        Self(transport, port)
    }
}

impl Drop for HeldPort {
    fn drop(&mut self) {
        let mut held = held();
        let key = (self.0, self.1);
        if let Some(count) = held.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&key);
            }
        }
    }
}

/// Whether a source of this process listens on the port, at whatever address.
pub(crate) fn is_held(transport: Transport, port: u16) -> bool {
    held().contains_key(&(transport, port))
}

fn held() -> MutexGuard<'static, BTreeMap<(Transport, u16), usize>> {
    // Nothing under the lock can be left half done.
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}
