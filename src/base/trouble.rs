//! A cause in words that several waiters may share.

use std::fmt;
use std::sync::Arc;

/// A cause in words, cheap to copy: several commits may share one failed write.
#[derive(Clone, PartialEq, Eq)]
pub struct Trouble(Arc<str>);

impl Trouble {
    /// What happened, where, and what to do.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
