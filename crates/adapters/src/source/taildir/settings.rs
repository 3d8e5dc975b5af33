//! The settings of tailed files.

use millpond_flow::pattern::Pattern;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A group of files.
pub(super) struct FileGroup {
    pub(super) name: String,
    pub(super) directory: PathBuf,
    pub(super) names: Pattern,
    /// The pattern as configured.
    pub(super) pattern: String,
    pub(super) headers: Arc<Vec<(String, String)>>,
}

pub(super) struct TailSettings {
    /// The source's name.
    pub(super) name: String,
    /// The agent's name.
    pub(super) agent: String,
    pub(super) groups: Vec<FileGroup>,
    pub(super) cached: bool,
    pub(super) skip_to_end: bool,
    pub(super) byte_offset_header: bool,
    pub(super) file_header: Option<String>,
    pub(super) idle: Duration,
}
