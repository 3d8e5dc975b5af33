//! How fast a stripe uses up its segments, which decides how large they are and how fast their zeroes are written.

use crate::base::ids::SegmentId;
use crate::base::limits::{FILL_PIECE_BYTES_MAX, FILL_PIECE_BYTES_MIN};
use crate::log::StripeReport;
use std::time::Duration;

/// While the stripe is written, a background operation on its disk is followed by a pause of this
/// many times its duration: it takes an eighth of the disk's time.
pub(super) const PAUSES_PER_PIECE: u32 = 7;

/// A segment that was used up sooner than this is followed by larger ones.
const GROW_WITHIN: Duration = Duration::from_secs(10);

/// A segment that was used up sooner than this is followed by segments of full size.
const GROW_AT_ONCE_WITHIN: Duration = Duration::from_millis(20);

/// Puts whose writes are this large on average get segments without zeroes, bytes: a write of this
/// size takes about as long as the journal write that zeroes would save (0.1 ms at 1.5 GB/s).
const LARGE_WRITE_BYTES: u64 = 128 * 1024;

/// Time for which one piece of zeroes may occupy the disk, about.
const PIECE_TIME: Duration = Duration::from_millis(1);

/// The time over which the use of a stripe is measured.
const MEASURE: Duration = Duration::from_millis(20);

/// A segment is filled in this share of the time until it is needed.
const IN_TIME: f64 = 0.7;

/// Puts that will use up all room within this time get a segment that is not filled yet.
const NEEDED_WITHIN: Duration = Duration::from_millis(20);

/// How fast a stripe uses up its segments, as measured by maintenance.
#[derive(Debug, Default)]
pub(super) struct SegmentUse {
    /// Time of the last measurement, and the bytes and writes until then.
    measured: Option<(Duration, u64, u64)>,
    /// Bytes a second; 0 until it is known.
    rate: f64,
    /// Bytes of a write, on average; 0 until it is known.
    write_bytes: u64,
    /// The segment in use, and since when.
    segment: Option<(SegmentId, Duration)>,
    /// Bytes of the next segment to create; 0 before the first measurement.
    pub len: u64,
    /// Bytes per second at which zeroes were written last; 0 before the first time.
    pub fill_rate: f64,
}

impl SegmentUse {
    /// Updates the measurement from the stripe's report.
    ///
    /// Segments have `first` bytes at first, or as many as the largest existing one, and `most`
    /// finally.
    pub(super) fn update(&mut self, now: Duration, report: &StripeReport, first: u64, most: u64) {
        self.measure(now, report);
        self.len = self.len.max(report.largest_segment.clamp(first, most));
        let Some((segment, since)) = self.segment else {
            self.segment = Some((report.last_segment, now));
            return;
        };
        if segment == report.last_segment {
            return;
        }
        // Between two measurements several may have been used up.
        let used = report.last_segment.0.saturating_sub(segment.0).max(1);
        let lasted = now.saturating_sub(since) / u32::try_from(used).unwrap_or(u32::MAX);
        self.segment = Some((report.last_segment, now));
        self.len = match lasted {
            _ if self.writes_are_large() => most,
            lasted if lasted < GROW_AT_ONCE_WITHIN => most,
            lasted if lasted < GROW_WITHIN => most.min(self.len * 2),
            _ => self.len,
        };
    }

    fn measure(&mut self, now: Duration, report: &StripeReport) {
        let (bytes, writes) = (report.bytes_written, report.writes.count());
        let Some((at, bytes_before, writes_before)) = self.measured else {
            self.measured = Some((now, bytes, writes));
            return;
        };
        let took = now.saturating_sub(at);
        if took < MEASURE {
            return;
        }
        self.measured = Some((now, bytes, writes));
        let (bytes, writes) =
            (bytes.saturating_sub(bytes_before), writes.saturating_sub(writes_before));
        self.rate = bytes as f64 / took.as_secs_f64();
        if let Some(average) = bytes.checked_div(writes) {
            self.write_bytes = average;
        }
    }

    pub(super) fn writes_are_large(&self) -> bool {
        self.write_bytes >= LARGE_WRITE_BYTES
    }

    /// Returns when the stripe will have used up all its room; `None` where that is unknown.
    fn room_used_up_after(&self, report: &StripeReport) -> Option<Duration> {
        let room = (report.room_bytes + report.free_bytes) as f64;
        (self.rate > 0.0).then(|| Duration::from_secs_f64((room / self.rate).min(3600.0)))
    }

    /// Returns the bytes of the next piece of zeroes.
    pub(super) fn piece_bytes(&self) -> u64 {
        let bytes = (self.fill_rate * PIECE_TIME.as_secs_f64()) as u64;
        bytes.clamp(FILL_PIECE_BYTES_MIN, FILL_PIECE_BYTES_MAX)
    }

    /// Returns how long after the start of a piece of `bytes`, which took `took`, the next one is
    /// due when `left` bytes must be filled before the stripe needs them.
    pub(super) fn next_piece_after(
        &self,
        report: &StripeReport,
        bytes: u64,
        took: Duration,
        left: u64,
    ) -> Duration {
        let Some(lasts) = self.room_used_up_after(report) else {
            return took * (PAUSES_PER_PIECE + 1);
        };
        let share = bytes as f64 / left.max(1) as f64;
        // Half of the disk's time at most.
        lasts.mul_f64(IN_TIME * share).max(took * 2)
    }

    /// Returns whether puts wait for a segment, or will before it can be filled.
    pub(super) fn is_needed(&self, report: &StripeReport) -> bool {
        let soon = || match self.room_used_up_after(report) {
            Some(lasts) => lasts < NEEDED_WITHIN,
            None => report.room_bytes < FILL_PIECE_BYTES_MIN,
        };
        report.wants_segment > 0 || (report.free == 0 && report.writing && soon())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::histogram::DurationHistogram;
    use crate::base::ids::StripeIndex;

    const MIB: u64 = 1 << 20;

    /// Returns the report of a stripe in its `segment`-th segment, with room for `room_bytes` in
    /// it, after `writes` of `write_bytes`.
    fn report(segment: u64, room_bytes: u64, writes: u64, write_bytes: u64) -> StripeReport {
        let spread = DurationHistogram::default();
        (0..writes).for_each(|_| spread.note(Duration::from_micros(90)));
        StripeReport {
            index: StripeIndex(0),
            segments: 1,
            free: 0,
            free_bytes: 0,
            largest_segment: 4 * MIB,
            live_bytes: 4 * MIB,
            bytes_written: writes * write_bytes,
            events: 0,
            frontier: 0,
            watermark: 0,
            waits_since: None,
            lag_bytes: 0,
            writes: spread.read(),
            wants_segment: 0,
            room_bytes,
            writing: true,
            written_at: None,
            last_segment: SegmentId(segment),
            hung_writes: 0,
            suspended: None,
            no_space: None,
            lacks_space: false,
            refused_segment: None,
        }
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Returns the bytes of the next segment of a stripe measured at these times in these segments.
    fn sizes(looks: &[(u64, u64)]) -> Vec<u64> {
        let mut used = SegmentUse::default();
        let look = |(millis, segment): &(u64, u64)| {
            used.update(at(*millis), &report(*segment, MIB, *millis, 4096), 4 * MIB, 64 * MIB);
            used.len / MIB
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn segments_grow_while_each_is_used_up_within_ten_seconds() {
        let looks: Vec<_> = (1..=7).map(|segment| (segment * 100, segment)).collect();
        assert_eq!(sizes(&looks), [4, 8, 16, 32, 64, 64, 64]);
        assert_eq!(sizes(&[(0, 1), (10_000, 2), (30_000, 3)]), [4, 4, 4], "slowly used");
        assert_eq!(sizes(&[(0, 1), (12_000, 3)]), [4, 8], "two within one measurement");
        assert_eq!(sizes(&[(0, 1), (10, 2)]), [4, 64], "used up at once");
    }

    #[test]
    fn an_opened_channel_goes_on_with_the_size_that_it_had() {
        let mut used = SegmentUse::default();
        let opened = StripeReport { largest_segment: 32 * MIB, ..report(9, MIB, 0, 0) };
        used.update(at(0), &opened, 4 * MIB, 64 * MIB);
        assert_eq!(used.len, 32 * MIB);
        let oversize = StripeReport { largest_segment: 300 * MIB, ..report(9, MIB, 0, 0) };
        used.update(at(1), &oversize, 4 * MIB, 64 * MIB);
        assert_eq!(used.len, 64 * MIB, "one large transaction is not a trend");
    }

    #[test]
    fn puts_of_large_blocks_get_segments_of_full_size_without_zeroes() {
        let mut used = SegmentUse::default();
        used.update(at(0), &report(1, MIB, 0, 0), 4 * MIB, 64 * MIB);
        used.update(at(1_000), &report(2, MIB, 50, LARGE_WRITE_BYTES), 4 * MIB, 64 * MIB);
        assert!(used.writes_are_large());
        assert_eq!(used.len, 64 * MIB);
    }

    #[test]
    fn zeroes_are_written_as_fast_as_puts_use_segments_up() {
        let mut used = SegmentUse::default();
        let took = Duration::from_millis(1);
        let unknown = used.next_piece_after(&report(1, MIB, 0, 0), MIB, took, 4 * MIB);
        assert_eq!(unknown, took * 8, "an eighth of the time until the use is known");
        used.measure(at(0), &report(1, 4 * MIB, 0, 0));
        let report = report(1, 4 * MIB, 1024, 4096);
        used.measure(at(1_000), &report);
        // 4 MiB per second and 4 MiB of room: 1 s is left, of which 0.7 s for 8 MiB.
        let pace = used.next_piece_after(&report, MIB, took, 8 * MIB).as_millis();
        assert!((87..=88).contains(&pace), "{pace} ms");
        let slow = used.next_piece_after(&report, MIB, Duration::from_millis(80), 8 * MIB);
        assert_eq!(slow, Duration::from_millis(160), "half of the disk's time at most");
    }

    #[test]
    fn a_segment_is_used_unfilled_only_when_puts_would_wait_for_it() {
        let mut used = SegmentUse::default();
        assert!(!used.is_needed(&report(1, MIB, 0, 0)), "there is room");
        assert!(used.is_needed(&report(1, 4096, 0, 0)), "there is none");
        used.measure(at(0), &report(1, 0, 0, 4096));
        let room = |bytes| report(1, bytes, 256, 4096);
        used.measure(at(100), &room(0));
        // 10 MiB per second.
        assert!(used.is_needed(&room(MIB / 10)) && !used.is_needed(&room(MIB / 2)));
        let another = StripeReport { free: 1, free_bytes: MIB, ..room(0) };
        assert!(!used.is_needed(&another), "another one is ready");
        assert!(used.is_needed(&StripeReport { wants_segment: MIB, ..another }), "not that large");
    }
}
