//! Why a component does not work, as text.

use std::sync::{Mutex, PoisonError};

/// The current fault of a component, if there is one.
#[derive(Debug, Default)]
pub struct FaultGauge(Mutex<Option<String>>);

impl FaultGauge {
    /// Sets the fault.
    pub fn set(&self, reason: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.into());
    }

    /// Removes the fault.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns the current fault.
    #[must_use]
    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
