//! Numbers that a channel cannot go on from.
//!
//! Everything is counted with 64 bits and never comes to their end. Bytes that were made up, under a right
//! checksum, can name a number near it: the next ones would wrap around, and what they name be taken for old.

use super::OpenError;
use super::decide::Decision;
use super::gather::Everything;
use super::open::{highest_epoch, segment_seen};
use std::path::Path;

/// The highest number that an opening goes on from: counting a thousand million in a second, a channel is there
/// after 146 years.
const NUMBER_MAX: u64 = 1 << 62;

/// Refuses what names a number beyond; nothing was written yet. `paths` are the stripes' directories, as far as
/// they are there, and `checkpoint_dir` is named for what belongs to none.
pub(super) fn check(
    all: &Everything,
    decision: &Decision,
    checkpoint_dir: &Path,
    paths: &[Option<&Path>],
) -> Result<(), OpenError> {
    let refuse = |path: &Path, what: &'static str, number: u64| match number {
        0..=NUMBER_MAX => Ok(()),
        _ => Err(OpenError::UsedUp { path: path.to_owned(), what, number }),
    };
    let stripes = all.stripes.iter().zip(&decision.stripes).zip(&decision.state.stripes);
    for (((gathered, verdict), state), path) in stripes.zip(paths) {
        let path = path.unwrap_or(checkpoint_dir);
        let epoch = highest_epoch(&gathered.reading, state.epoch.number);
        refuse(path, "an epoch", epoch.0)?;
        refuse(path, "a segment", segment_seen(gathered, verdict, state.watermark.segment).0)?;
        refuse(path, "a block", verdict.next_block.0)?;
        refuse(path, "a sequence", state.next.0)?;
        refuse(path, "an opening", state.opened)?;
        if gathered.inventory.next_slot == u32::MAX {
            return Err(OpenError::UsedUp {
                path: path.to_owned(),
                what: "a segment file",
                number: u64::from(u32::MAX),
            });
        }
    }
    refuse(checkpoint_dir, "a write order", decision.order.0)?;
    let positions = decision.state.positions.values();
    let highest = positions.map(|position| position.counter).max();
    refuse(checkpoint_dir, "a position's counter", highest.unwrap_or_default())
}
