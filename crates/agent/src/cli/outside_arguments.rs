//! Where another agent is reached.

use clap::Args;
use std::path::PathBuf;

/// Settings from outside the configuration file.
#[derive(Debug, Args)]
pub(super) struct OutsideArguments {
    /// Directory of millpond.properties and of flume-env.sh, which is parsed (not run) for JAVA_OPTS and
    /// FLUME_JAVA_OPTS
    #[arg(short = 'c', long, value_name = "DIR")]
    pub conf: Option<PathBuf>,
    /// A setting for the whole process, such as -Dflume.root.logger=INFO,console
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub properties: Vec<String>,
}
