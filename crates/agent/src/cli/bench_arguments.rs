//! The arguments of `bench`.

use super::outside_arguments::OutsideArguments;
use super::torture_arguments::bytes;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Most events per transaction.
const BATCH_MAX: usize = 100_000;

/// Most threads of one kind.
const THREADS_MAX: usize = 256;

/// Longest body, bytes.
const BODY_BYTES_MAX: u64 = 16 << 20;

/// `bench`.
#[derive(Debug, Args)]
#[group(id = "place", required = true, multiple = false, args = ["data_dirs", "name"])]
pub(super) struct BenchArguments {
    /// Directories to measure in, one for each disk, separated by commas
    #[arg(long, value_name = "DIR", value_delimiter = ',')]
    pub data_dirs: Vec<PathBuf>,
    /// Bytes of an event's body (200, 4K), up to 16M
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = body)]
    pub body: u64,
    /// Events per transaction, up to 100000 [default: 1,100,1000 as far as the channel allows them]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = batch)]
    pub batch: Vec<usize>,
    /// Threads that put, up to 256
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,4,16", value_parser = threads)]
    pub producers: Vec<usize>,
    /// Threads that take, up to 256; then takes are measured alone and together with puts
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = threads)]
    pub takers: Vec<usize>,
    /// Maximum seconds of each measurement, 0.05 to 3600
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    pub seconds: Duration,
    /// Rounds over all measurements, up to 100; the report shows medians
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub rounds: u64,
    /// Maximum bytes on the disks at a time (64M, 4G), all directories together
    #[arg(long, value_name = "BYTES", default_value = "4G", value_parser = bytes)]
    pub space: u64,
    /// Also measure a plain file, with a write and a sync for each transaction
    #[arg(long)]
    pub baseline: bool,
    /// Draw charts into a new file: SVG or HTML, by its name (out.svg, out.html)
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Write the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Name of the agent in the configuration
    #[arg(short, long, requires_all = ["conf_files", "channel"])]
    pub name: Option<String>,
    /// The configuration whose channel's settings and disks are used; its files are not touched
    #[arg(short = 'f', long = "conf-file", value_name = "FILE", requires = "name")]
    pub conf_files: Vec<PathBuf>,
    /// Name of the channel in the configuration
    #[arg(long, value_name = "NAME", requires = "name")]
    pub channel: Option<String>,
    #[command(flatten)]
    pub outside: OutsideArguments,
}

fn body(text: &str) -> Result<u64, String> {
    let number = bytes(text)?;
    match number {
        1..=BODY_BYTES_MAX => Ok(number),
        _ => Err(format!("must be 1 to {BODY_BYTES_MAX} bytes")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.05..=3600.0).contains(number));
    number.map(Duration::from_secs_f64).ok_or_else(|| "must be 0.05 to 3600 seconds".to_owned())
}

fn batch(text: &str) -> Result<usize, String> {
    within(text, BATCH_MAX)
}

fn threads(text: &str) -> Result<usize, String> {
    within(text, THREADS_MAX)
}

fn within(text: &str, max: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("must be a whole number from 1 to {max}"))
}
