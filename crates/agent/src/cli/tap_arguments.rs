//! The arguments of `tap`.

use super::outside_arguments::OutsideArguments;
use clap::Args;
use millpond_flow::tap::{BODY_BYTES_MAX, EVENTS_PER_SECOND_MAX};
use std::path::PathBuf;

const BODY_MAX: i64 = BODY_BYTES_MAX as i64;
const RATE_MAX: i64 = EVENTS_PER_SECOND_MAX as i64;

/// `tap`.
#[derive(Debug, Args)]
pub(super) struct TapArguments {
    /// The component: its name, or SOURCE.name, CHANNEL.name, SINK.name
    #[arg(value_name = "COMPONENT")]
    pub component: String,
    /// Name of the agent
    #[arg(short, long)]
    pub name: String,
    /// The agent's admin socket, in place of -Dmillpond.admin.socket
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Show headers too
    #[arg(long)]
    pub headers: bool,
    /// One JSON object per line, with headers; a body that is not UTF-8 is hexadecimal, as body_hex
    #[arg(long)]
    pub json: bool,
    /// End after N events
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Maximum events per second, 1 to 1000
    #[arg(long, value_name = "EVENTS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
    pub rate: u32,
    /// Maximum bytes shown of a body, 0 to 65536
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(0..=BODY_MAX))]
    pub body: u32,
    #[command(flatten)]
    pub outside: OutsideArguments,
}
