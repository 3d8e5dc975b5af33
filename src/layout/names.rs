//! Names of the files of a channel.

/// Name of the lock file in every directory. Java Flume uses the same name, so that the two exclude
/// each other.
pub const LOCK_NAME: &str = "in_use.lock";
/// Name of the file that says which channel a directory belongs to.
pub const MEMBER_NAME: &str = "member";
/// Name of the file with the two checkpoint slots.
pub const CHECKPOINT_NAME: &str = "checkpoint";

/// Returns whether `name` is one of the channel's own files other than a segment or a quarantined
/// copy.
pub(crate) fn is_own_name(name: &str) -> bool {
    [LOCK_NAME, MEMBER_NAME, CHECKPOINT_NAME].contains(&name)
}

/// Returns the name of the segment file in slot `slot`.
#[must_use]
pub fn segment_name(slot: u32) -> String {
    format!("segment-{slot:05}.log")
}

/// Returns the slot of a segment file, if `name` is the name of one.
#[must_use]
pub fn segment_slot(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    let slot = digits.parse().ok()?;
    // Other spellings ("+1", "1", "000001") are foreign files.
    (segment_name(slot) == name).then_some(slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_segments() {
        for slot in [0, 7, 99_999, 100_000, u32::MAX] {
            assert_eq!(segment_slot(&segment_name(slot)), Some(slot));
        }
        for name in [
            "segment-1.log",
            "segment-000001.log",
            "segment-+0001.log",
            "segment-.log",
            "segment-99999999999.log",
            "segment-00001.log.tmp",
            "Segment-00001.log",
            "log-1",
            "",
        ] {
            assert_eq!(segment_slot(name), None, "{name}");
        }
    }
}
