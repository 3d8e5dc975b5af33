//! `channel repair`: quarantines what `check` finds, and reports what was lost.

use super::arguments::{ChannelArguments, MissingArguments};
use super::channel_open;
use super::exit::{CommandError, show_words};
use millpond::internal::base::quantity::Quantity;
use millpond::internal::base::random::SystemRandom;
use millpond::internal::disk::real::RealDisk;
use millpond::internal::recovery::{self, RecoverOptions, RepairReport};
use millpond::{FileChannel, SystemClock};
use std::fmt::Write as _;

pub(super) fn repair(
    arguments: &ChannelArguments,
    missing: &MissingArguments,
) -> Result<(), CommandError> {
    let settings = channel_open::settings(arguments)?;
    let options = RecoverOptions {
        checkpoint_dir: settings.checkpoint_dir.clone(),
        data_dirs: settings.data_dirs.clone(),
        // Missing directories are neither damaged nor lost.
        open_degraded: false,
        open_without_missing_segments: settings.open_without_missing_segments
            || missing.without_missing_segments,
        create: false,
        segment_bytes: settings.max_file_size,
    };
    let mended = recovery::repair(&RealDisk::new(), &SystemClock::new(), &SystemRandom, &options)
        .map_err(|error| CommandError::Failed(error.to_string()))?;
    show_words(&words(&mended))?;
    match mended.left.len() {
        0 => Ok(()),
        left => Err(CommandError::Failed(format!(
            "{left} damaged places are left as they are; make room on the disk (or delete copies that are no longer wanted), or let what waits in front of them be taken, which needs no repair; then repair again"
        ))),
    }
}

pub(super) fn restore(arguments: &ChannelArguments) -> Result<(), CommandError> {
    let settings = channel_open::settings(arguments)?;
    let mut options = channel_open::options(&settings, arguments);
    options.create = false;
    let restored =
        FileChannel::restore(options).map_err(|error| CommandError::Failed(error.to_string()))?;
    let mut text = String::new();
    for file in &restored.files {
        let _ = writeln!(text, "its events are in the channel again, removed: {}", file.display());
    }
    let _ = match (restored.files.len(), restored.unreadable.len()) {
        (0, 0) => writeln!(text, "no segment file came back after its events were given up"),
        _ => {
            let events = Quantity(restored.events, "event");
            writeln!(text, "{events} {} put again", events.was())
        }
    };
    show_words(&text)?;
    match restored.unreadable.first() {
        None => Ok(()),
        Some(first) => Err(CommandError::Failed(format!(
            "{} that came back cannot be read, the first is {}; check the disk, then run it again",
            Quantity(restored.unreadable.len() as u64, "segment file"),
            first.display()
        ))),
    }
}

fn words(mended: &RepairReport) -> String {
    let mut text = String::new();
    for place in &mended.places {
        let _ = writeln!(text, "set aside: {place}");
    }
    for made in &mended.made_again {
        let _ = writeln!(text, "made again: {made}");
    }
    for place in &mended.left {
        let _ = writeln!(text, "left: {place}");
    }
    let _ = match mended.places.len() {
        0 if mended.made_again.is_empty() => writeln!(text, "nothing to repair"),
        0 => writeln!(text, "no event was lost"),
        places => {
            let places = Quantity(places as u64, "place");
            writeln!(text, "{places} set aside, {} lost", Quantity(mended.events_lost, "event"))
        }
    };
    text
}
