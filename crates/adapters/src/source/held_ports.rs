//! Ports on which sources of this process listen or receive. A reload must not report them as taken by another
//! process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Number of listeners per port.
static HELD: Mutex<BTreeMap<(Transport, u16), usize>> = Mutex::new(BTreeMap::new());

/// The transport of a port: TCP and UDP ports are separate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// Registration of a listening port; ends on drop.
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

/// Returns whether a source of this process listens on the port, at any address.
pub(crate) fn is_held(transport: Transport, port: u16) -> bool {
    held().contains_key(&(transport, port))
}

fn held() -> MutexGuard<'static, BTreeMap<(Transport, u16), usize>> {
    // No update under the lock can be left half done.
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}
