//! The arguments of `torture`.

use clap::{Args, Subcommand};
use millpond_tools::torture::DiskLie;
use std::path::PathBuf;

/// `torture`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct TortureArguments {
    #[command(subcommand)]
    pub command: Option<TortureCommand>,
    #[command(flatten)]
    pub run: RunArguments,
}

/// `torture …`.
#[derive(Debug, Subcommand)]
pub(super) enum TortureCommand {
    /// First phase: put and take, send every acknowledgement to another place, until the power is cut
    #[command(after_help = "Examples:\n  \
            millpond torture write --data-dirs /mnt/disk1/t,/mnt/disk2/t --acks judge.example:4600\n  \
            millpond torture write --data-dirs /mnt/disk1/t --acks /mnt/other-disk/acks\n\n\
            The acknowledgements have to outlive the power cut: on another host (`torture collect`\n\
            receives them there) or on a disk that keeps its power or is known to honour syncs.")]
    Write(WriteArguments),
    /// Receive the acknowledgements of `torture write` on another host
    #[command(after_help = "Example:\n  \
            millpond torture collect 0.0.0.0:4600 acks\n\n\
            Ends when the writer ends, sends nothing for --silence seconds, or on Ctrl-C.")]
    Collect(CollectArguments),
    /// Second phase: verify the channel after the power cut
    #[command(after_help = "Example:\n  \
            millpond torture verify --data-dirs /mnt/disk1/t,/mnt/disk2/t --acks acks\n\n\
            Exit code 0 when everything acknowledged is there, 1 when not: then a disk, its\n\
            controller or the file system reported something as safe that was not, or the\n\
            channel has a fault.")]
    Verify(VerifyArguments),
    /// A child of a run
    #[command(hide = true, after_help = "Example: (started by torture itself)")]
    Life,
}

/// `torture`, the run.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// Directories to test, one for each disk, separated by commas; empty or new
    #[arg(long, value_name = "DIR", value_delimiter = ',', required = true)]
    pub data_dirs: Vec<PathBuf>,
    /// Stop after so many seconds [default: 60, without --kills]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: Option<u64>,
    /// Stop after so many kills
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub kills: Option<u64>,
    /// Only kill from outside at random times, never at a chosen storage call
    #[arg(long)]
    pub kill9: bool,
    /// Determines what is put and taken and how each process ends; random and printed by default
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Fill the disk in every second process: maximum bytes in each directory (64M, 1G)
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub quota: Option<u64>,
    /// The report as JSON
    #[arg(long)]
    pub json: bool,
    /// Keep the files at the end
    #[arg(long)]
    pub keep: bool,
    /// Write every note of every process to a new file
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Clear directories that `torture write` left and that were not verified
    #[arg(long)]
    pub discard: bool,
    /// Simulate a disk that lies, to test the tool itself
    #[arg(long, hide = true, value_parser = lie)]
    pub lie: Option<DiskLie>,
}

/// `torture write`.
#[derive(Debug, Args)]
pub(super) struct WriteArguments {
    /// Directories to test, one for each disk, separated by commas; empty or new
    #[arg(long, value_name = "DIR", value_delimiter = ',', required = true)]
    pub data_dirs: Vec<PathBuf>,
    /// Where the acknowledgements go: HOST:PORT of a `torture collect`, or a new file
    #[arg(long, value_name = "HOST:PORT|FILE")]
    pub acks: String,
    /// Stop after so many seconds; by default it runs until the power is cut
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: Option<u64>,
    /// Determines what is put and taken; random by default
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Clear directories that an earlier write left and that were not verified
    #[arg(long)]
    pub discard: bool,
    #[arg(long, hide = true, value_parser = lie)]
    pub lie: Option<DiskLie>,
}

/// `torture collect`.
#[derive(Debug, Args)]
pub(super) struct CollectArguments {
    /// Address to listen on, such as 0.0.0.0:4600
    #[arg(value_name = "LISTEN")]
    pub listen: String,
    /// A new file for the acknowledgements
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Seconds of silence of the writer after which its power counts as cut
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(2..))]
    pub silence: u64,
}

/// `torture verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// The directories of the write
    #[arg(long, value_name = "DIR", value_delimiter = ',', required = true)]
    pub data_dirs: Vec<PathBuf>,
    /// The acknowledgements of the write
    #[arg(long, value_name = "FILE")]
    pub acks: PathBuf,
    /// Write the verdict as JSON
    #[arg(long)]
    pub json: bool,
    /// Keep the files, even if no error was found
    #[arg(long)]
    pub keep: bool,
}

/// Parses `64M` as bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale: u64 = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err("must be bytes, or end in K, M or G".to_owned()),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    number.ok_or_else(|| "must be a whole number of bytes, such as 64M".to_owned())
}

fn lie(text: &str) -> Result<DiskLie, String> {
    match text {
        "sync" => Ok(DiskLie::Sync),
        _ => Err("the only lie is sync".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        for (text, expected) in
            [("0", 0), ("17", 17), ("2k", 2048), ("64M", 64 << 20), ("1G", 1 << 30)]
        {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "M", "1.5G", "-1", "1T", "99999999999G", "1 M"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
