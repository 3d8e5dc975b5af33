//! Making segments ahead of need: how large, and how fast their zeroes are written.
//!
//! A segment has all of its space before it is used, so a commit never meets a full disk. But the first
//! write into space that was only set aside makes the file system note that in its journal, a second write
//! for every commit. So maintenance writes zeroes first, politely: as fast as the puts beside it use segments
//! up, not faster. Where it does not get ready in time the segment is used as it is, rather than have puts
//! wait; and puts that write large blocks get it as it is at once, since filling would cost them more than
//! the journal does.
//!
//! A stripe begins with small segments. One that was used up within [`GROW_WITHIN`] is followed by segments
//! of twice its size, up to `segment_bytes`: a channel that holds little takes little space, and one that was
//! opened a moment ago does not have 128 MiB to fill beside its first puts.

use super::shared::{Shared, Tending};
use crate::base::ids::{SegmentId, StripeIndex};
use crate::base::limits::{FILL_PIECE_BYTES_MAX, FILL_PIECE_BYTES_MIN};
use crate::disk::File;
use crate::log::StripeReport;
use crate::recovery::{FreshFile, OpenError};
use std::sync::Arc;
use std::time::Duration;

/// While the stripe is written, a piece of work on its disk that nobody waits for is followed by a pause of
/// this many times what it took: it takes an eighth of the disk's time.
const PAUSES_PER_PIECE: u32 = 7;

/// A stripe counts as written until this long after a write: between two commits of a busy one there is
/// often none in flight.
const CALM: Duration = Duration::from_millis(100);

/// The longest pause of work that nobody waits for: a disk that was slow for a moment does not stop it for long.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// A segment that was used up sooner than this is followed by larger ones.
const GROW_WITHIN: Duration = Duration::from_secs(10);

/// A segment that was used up sooner than this is followed by segments of full size.
const GROW_AT_ONCE_WITHIN: Duration = Duration::from_millis(20);

/// Puts whose writes are this large on average get segments without zeroes, bytes: a write of so many
/// bytes takes about as long as the note in the journal that zeroes would save (0.1 ms at 1.5 GB/s).
const LARGE_WRITE_BYTES: u64 = 128 * 1024;

/// How long one piece of zeroes may keep the disk from commits, about.
const PIECE_TIME: Duration = Duration::from_millis(1);

/// The time over which the use of a stripe is measured.
const MEASURE: Duration = Duration::from_millis(20);

/// A segment is filled in this share of the time until it is needed.
const IN_TIME: f64 = 0.7;

/// Puts that will have used up all room within this time get a segment that is not filled yet.
const NEEDED_WITHIN: Duration = Duration::from_millis(20);

/// How fast a stripe uses its segments up, as maintenance sees it.
#[derive(Debug, Default)]
pub(super) struct SegmentUse {
    /// When it was looked at, and the bytes and writes until then.
    measured: Option<(Duration, u64, u64)>,
    /// Bytes a second; 0 until it is known.
    rate: f64,
    /// Bytes of a write, on average; 0 until it is known.
    write_bytes: u64,
    /// The segment in use, and since when.
    segment: Option<(SegmentId, Duration)>,
    /// Bytes of the next segment that is made; 0 before the first look.
    len: u64,
    /// Bytes that zeroes were written at each second, the last time; 0 before the first.
    fill_rate: f64,
}

impl SegmentUse {
    /// Takes in what the stripe reports.
    ///
    /// Segments have `first` bytes in the beginning, or as many as the largest that is there, and `most` in
    /// the end.
    fn look(&mut self, now: Duration, report: &StripeReport, first: u64, most: u64) {
        self.measure(now, report);
        self.len = self.len.max(report.largest_segment.clamp(first, most));
        let Some((segment, since)) = self.segment else {
            self.segment = Some((report.last_segment, now));
            return;
        };
        if segment == report.last_segment {
            return;
        }
        // Looked at late, several may have been used up.
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

    fn writes_are_large(&self) -> bool {
        self.write_bytes >= LARGE_WRITE_BYTES
    }

    /// When the stripe will have used up all the room that it has; `None` where that is not known.
    fn lasts(&self, report: &StripeReport) -> Option<Duration> {
        let room = (report.room_bytes + report.free_bytes) as f64;
        (self.rate > 0.0).then(|| Duration::from_secs_f64((room / self.rate).min(3600.0)))
    }

    /// Bytes of the next piece of zeroes.
    fn piece_bytes(&self) -> u64 {
        let bytes = (self.fill_rate * PIECE_TIME.as_secs_f64()) as u64;
        bytes.clamp(FILL_PIECE_BYTES_MIN, FILL_PIECE_BYTES_MAX)
    }

    /// How long after the beginning of a piece of `bytes`, which took `took`, the next one is due when
    /// `left` bytes are to be filled before the stripe needs them.
    fn pace(&self, report: &StripeReport, bytes: u64, took: Duration, left: u64) -> Duration {
        let Some(lasts) = self.lasts(report) else { return took * (PAUSES_PER_PIECE + 1) };
        let share = bytes as f64 / left.max(1) as f64;
        // Half of the disk's time at most.
        lasts.mul_f64(IN_TIME * share).max(took * 2)
    }

    /// Whether puts wait for a segment, or will before it can be filled.
    fn is_needed(&self, report: &StripeReport) -> bool {
        let soon = || match self.lasts(report) {
            Some(lasts) => lasts < NEEDED_WITHIN,
            None => report.room_bytes < FILL_PIECE_BYTES_MIN,
        };
        report.wants_segment > 0 || (report.free == 0 && report.writing && soon())
    }
}

impl Shared {
    /// Bytes of the next segment that is made for the stripe, as far as its use so far tells.
    pub(super) fn next_segment_bytes(&self, report: &StripeReport, tending: &mut Tending) -> u64 {
        let (first, most) = (self.options.first_segment_bytes(), self.options.segment_bytes());
        tending.segment_use.look(self.now(), report, first, most);
        tending.segment_use.len
    }

    /// The new file for the stripe: its zeroes written, unless it needs it before.
    ///
    /// # Errors
    /// A write failed: nothing may be written to this file any more.
    pub(super) fn filled(
        &self,
        index: StripeIndex,
        mut fresh: FreshFile,
        tending: &mut Tending,
    ) -> Result<Arc<dyn File>, OpenError> {
        let mut due = Duration::ZERO;
        while !fresh.is_written() && !self.is_closed() {
            // Filling takes seconds on a slow disk, and nobody else looks meanwhile.
            self.look_at_space(index, tending);
            self.look_at_files(index, tending);
            let turn = self.keeper.turn();
            let Ok(report) = self.log().map(|log| log.report(index)) else { break };
            let began = self.now();
            self.next_segment_bytes(&report, tending);
            let wants = &mut tending.segment_use;
            if wants.is_needed(&report) || (wants.writes_are_large() && self.is_busy(&report)) {
                break;
            }
            if began < due && self.is_busy(&report) {
                self.keeper.sleep(turn, Some((due - began).min(PAUSE_MAX)));
                continue;
            }
            let left = fresh.left_bytes();
            let bytes = fresh.write_piece(wants.piece_bytes())?;
            let took = self.now().saturating_sub(began);
            wants.fill_rate = bytes as f64 / took.as_secs_f64().max(1e-6);
            due = began + wants.pace(&report, bytes, took, left);
        }
        Ok(fresh.into_file())
    }

    /// Lets commits have the disk to themselves for a while, where the stripe is written: after a piece of
    /// work on it that began at `began`, for `least` at the least. Ends early when maintenance is called
    /// since `turn`, which it is when a segment is taken into use or missed.
    pub(super) fn pause_behind(
        &self,
        report: &StripeReport,
        turn: u32,
        began: Duration,
        least: Duration,
    ) {
        if self.is_busy(report) {
            let took = self.now().saturating_sub(began);
            let pause = (took * PAUSES_PER_PIECE).max(least).min(PAUSE_MAX);
            self.keeper.sleep(turn, Some(pause));
        }
    }

    /// Whether commits write the stripe, now or just before. A driver without threads waits for nobody.
    pub(super) fn is_busy(&self, report: &StripeReport) -> bool {
        let just_before = || report.written_at.is_some_and(|at| self.now() < at + CALM);
        !self.options.manual && (report.writing || just_before())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Durations;

    const MIB: u64 = 1 << 20;

    /// A stripe in its `segment`-th segment, with room for `room_bytes` in it, after `writes` of `write_bytes`.
    fn report(segment: u64, room_bytes: u64, writes: u64, write_bytes: u64) -> StripeReport {
        let spread = Durations::default();
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

    /// Bytes of the next segment of a stripe that is looked at, at these times, in these segments.
    fn sizes(looks: &[(u64, u64)]) -> Vec<u64> {
        let mut used = SegmentUse::default();
        let look = |(millis, segment): &(u64, u64)| {
            used.look(at(*millis), &report(*segment, MIB, *millis, 4096), 4 * MIB, 64 * MIB);
            used.len / MIB
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn segments_grow_while_each_is_used_up_within_ten_seconds() {
        let looks: Vec<_> = (1..=7).map(|segment| (segment * 100, segment)).collect();
        assert_eq!(sizes(&looks), [4, 8, 16, 32, 64, 64, 64]);
        assert_eq!(sizes(&[(0, 1), (10_000, 2), (30_000, 3)]), [4, 4, 4], "slowly used");
        assert_eq!(sizes(&[(0, 1), (12_000, 3)]), [4, 8], "two in the time of one look");
        assert_eq!(sizes(&[(0, 1), (10, 2)]), [4, 64], "used up at once");
    }

    #[test]
    fn an_opened_channel_goes_on_with_the_size_that_it_had() {
        let mut used = SegmentUse::default();
        let opened = StripeReport { largest_segment: 32 * MIB, ..report(9, MIB, 0, 0) };
        used.look(at(0), &opened, 4 * MIB, 64 * MIB);
        assert_eq!(used.len, 32 * MIB);
        let oversize = StripeReport { largest_segment: 300 * MIB, ..report(9, MIB, 0, 0) };
        used.look(at(1), &oversize, 4 * MIB, 64 * MIB);
        assert_eq!(used.len, 64 * MIB, "one large transaction makes no rule");
    }

    #[test]
    fn puts_of_large_blocks_get_segments_of_full_size_without_zeroes() {
        let mut used = SegmentUse::default();
        used.look(at(0), &report(1, MIB, 0, 0), 4 * MIB, 64 * MIB);
        used.look(at(1_000), &report(2, MIB, 50, LARGE_WRITE_BYTES), 4 * MIB, 64 * MIB);
        assert!(used.writes_are_large());
        assert_eq!(used.len, 64 * MIB);
    }

    #[test]
    fn zeroes_are_written_as_fast_as_puts_use_segments_up() {
        let mut used = SegmentUse::default();
        let took = Duration::from_millis(1);
        let unknown = used.pace(&report(1, MIB, 0, 0), MIB, took, 4 * MIB);
        assert_eq!(unknown, took * 8, "an eighth of the time until the use is known");
        used.measure(at(0), &report(1, 4 * MIB, 0, 0));
        let report = report(1, 4 * MIB, 1024, 4096);
        used.measure(at(1_000), &report);
        // 4 MiB a second and 4 MiB of room: 1 s is left, of which 0.7 s for 8 MiB.
        let pace = used.pace(&report, MIB, took, 8 * MIB).as_millis();
        assert!((87..=88).contains(&pace), "{pace} ms");
        let slow = used.pace(&report, MIB, Duration::from_millis(80), 8 * MIB);
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
        // 10 MiB a second.
        assert!(used.is_needed(&room(MIB / 10)) && !used.is_needed(&room(MIB / 2)));
        let another = StripeReport { free: 1, free_bytes: MIB, ..room(0) };
        assert!(!used.is_needed(&another), "another one is ready");
        assert!(used.is_needed(&StripeReport { wants_segment: MIB, ..another }), "not that large");
    }
}
