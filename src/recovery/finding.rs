//! Findings: one place each, and what was decided about it.

use super::case::Case;
use crate::base::ids::{SegmentId, Sequence, StripeIndex};
use std::fmt;
use std::path::PathBuf;

/// One place, and what was decided about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The row of the table.
    pub case: Case,
    /// The stripe, if the finding is about one.
    pub stripe: Option<StripeIndex>,
    /// The directory or file.
    pub path: PathBuf,
    /// The segment, if the finding is about one.
    pub segment: Option<SegmentId>,
    /// Offset in the file, bytes, if the finding is about a place.
    pub offset: Option<u64>,
    /// The sequences concerned, `start..end`, if any.
    pub sequences: Option<(Sequence, Sequence)>,
    /// What was found and what was done, as text.
    pub words: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {}", self.path.display(), self.case, self.words)?;
        if let Some(offset) = self.offset {
            write!(f, " (offset {offset})")?;
        }
        if let Some((start, end)) = self.sequences {
            write!(f, " (sequences {start} to {})", end.0.saturating_sub(1))?;
        }
        Ok(())
    }
}

impl Finding {
    /// Returns a finding about a file or directory as a whole.
    pub(crate) fn of(case: Case, path: impl Into<PathBuf>, words: impl Into<String>) -> Self {
        Self {
            case,
            stripe: None,
            path: path.into(),
            segment: None,
            offset: None,
            sequences: None,
            words: words.into(),
        }
    }
}
