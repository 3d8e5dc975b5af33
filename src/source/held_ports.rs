//! The TCP ports on which sources of this process listen: a reload must not take them for ports that somebody
//! else has.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many listen on each.
static HELD: Mutex<BTreeMap<u16, usize>> = Mutex::new(BTreeMap::new());

/// A port that is listened on until this is dropped.
#[derive(Debug)]
pub(crate) struct HeldPort(u16);

impl HeldPort {
    pub(crate) fn new(port: u16) -> Self {
        *held().entry(port).or_default() += 1;
        Self(port)
    }
}

impl Drop for HeldPort {
    fn drop(&mut self) {
        let mut held = held();
        if let Some(count) = held.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.0);
            }
        }
    }
}

/// Whether a source of this process listens on the port, at whatever address.
pub(crate) fn is_held(port: u16) -> bool {
    held().contains_key(&port)
}

fn held() -> MutexGuard<'static, BTreeMap<u16, usize>> {
    // Nothing under the lock can be left half done.
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}
