//! Why a component does not do what it is there for, in words.

use std::sync::{Mutex, PoisonError};

/// The reason, while there is one.
#[derive(Debug, Default)]
pub struct Fault(Mutex<Option<String>>);

impl Fault {
    /// From now on there is this reason.
    pub fn set(&self, reason: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.into());
    }

    /// From now on there is none.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The reason as of now.
    #[must_use]
    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
