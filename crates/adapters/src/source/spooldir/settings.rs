//! The settings of a spooled directory.

use super::deserializer::DeserializerFormat;
use millpond_flow::pattern::Pattern;
use std::path::PathBuf;
use std::time::Duration;

/// The action on a complete file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinishedFileAction {
    Rename,
    Delete,
    /// Marks it by a file in the tracker directory.
    Note,
}

/// The order of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConsumeOrder {
    Oldest,
    Youngest,
    Random,
}

pub(super) struct SpoolSettings {
    /// The source's name.
    pub(super) name: String,
    pub(super) directory: PathBuf,
    pub(super) tracker: PathBuf,
    pub(super) suffix: String,
    pub(super) finish: FinishedFileAction,
    /// Whether files named in the tracker directory count as complete, whatever the policy is now.
    pub(super) marks_in_tracker: bool,
    pub(super) include: Pattern,
    pub(super) ignore: Pattern,
    pub(super) recursive: bool,
    pub(super) order: ConsumeOrder,
    pub(super) file_header: Option<String>,
    pub(super) basename_header: Option<String>,
    pub(super) format: DeserializerFormat,
    pub(super) poll_delay: Duration,
}
