//! The machine's state, its construction, and its log lines and wakeups.

use super::block::{LogBlock, state_bytes_bound};
use super::block_completion::BlockCompletion;
use super::block_queue::BlockQueue;
use super::frame_move::FrameMove;
use super::read_window::ReadWindow;
use super::readable_block::Lease;
use super::segment_space::SegmentSpace;
use super::source_offsets::SourceOffsets;
use super::stripe::{Stripe, StripeStart, UnresolvedFrames};
use super::stripe_phase::{FailureCount, StripePhase};
use super::write_job::JobId;
use crate::base::codes::Code;
use crate::base::event_ages::EventAges;
use crate::base::histogram::DurationHistogram;
use crate::base::ids::{GroupId, MAIN_GROUP, StripeIndex, WriteOrder};
use crate::base::limits;
use crate::disk::memory::SlabPool;
use crate::record::block::block_salt;
use crate::record::body::AckBody;
use crate::record::frame::frame_salt;
use crate::record::state::StateRecord;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tracing::Level;

/// The settings of the machine, fixed for its life.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Events the channel holds at most.
    pub capacity: u64,
    /// Bytes of blocks kept in memory for readers, over all stripes.
    pub hot_window_bytes: usize,
    /// Bytes of a new segment.
    pub segment_bytes: u64,
    /// When the channel was opened: the time of arrival of the events that it holds then.
    pub opened: Duration,
}

/// A line for the log of the process.
#[derive(Debug)]
pub struct LogLine {
    /// Its level.
    pub level: Level,
    /// The code to look up, if an operator should act.
    pub code: Option<&'static Code>,
    /// The stripe it is about.
    pub stripe: StripeIndex,
    /// Its text.
    pub text: LogText,
}

/// The text of a log line, formatted when it is written: the log makes it under its lock.
pub struct LogText(Box<dyn fmt::Display + Send + Sync>);

impl fmt::Display for LogText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for LogText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What to wake and to log once the lock is released.
#[derive(Debug, Default)]
pub struct Wakeups {
    /// Lines for the log. Written under the lock, a blocked output would stop all stripes.
    pub log_lines: Vec<LogLine>,
    /// Frames of a failed write, to be copied to their new blocks before anything else.
    pub frame_moves: Vec<FrameMove>,
    /// Frames of a failed stripe are still being filled: call [`Log::finish_failures`] until it returns false.
    pub failing: bool,
    /// Blocks whose outcome is known.
    pub completions: Vec<Arc<BlockCompletion>>,
    /// Events can be lent that could not be before.
    pub takers: bool,
    /// Room may have become free, or an acknowledgement has settled.
    pub room: bool,
    /// Segments are to be made or deleted, or a stripe is to be tried again.
    pub maintenance: bool,
    /// A block will soon need another slab of memory: it is mapped before that, without the lock.
    pub memory: bool,
}

impl Wakeups {
    /// Copies the frames of failed writes. Called without the lock, before the writers are woken: they wait for filled
    /// blocks.
    pub fn copy_frames(&mut self) {
        self.frame_moves.drain(..).for_each(FrameMove::copy);
    }
}

/// The striped log.
pub struct Log {
    pub(super) settings: LogSettings,
    pub(super) stripes: Vec<Stripe>,
    /// The durable state; it only grows.
    pub(super) durable: StateRecord,
    /// Grows with every change of `durable`; shows whether a checkpoint would write anything new.
    pub(super) durable_version: u64,
    /// The write order given last.
    pub(super) order: u64,
    pub(super) next_job: u64,
    /// Events reserved, waiting or lent; without those of suspended stripes.
    pub(super) occupied: u64,
    pub(super) counts: super::LogCounts,
    /// Events waiting, and events lost to damage, when the log was opened.
    pub(super) began: (u64, u64),
    pub(super) acks: BTreeMap<u64, AckInFlight>,
    pub(super) next_ack: u64,
    /// Acknowledgements that wait for a checkpoint slot.
    pub(super) slot_queue: Vec<u64>,
    /// Source offsets in flight, or being forgotten.
    pub(super) source_offsets: SourceOffsets,
    pub(super) pool: SlabPool,
    pub(super) wakeups: Wakeups,
    pub(super) nonce: Box<dyn FnMut() -> u64 + Send>,
    /// Index of the stripe that is considered first for the next reservation.
    pub(super) rotation: usize,
}

/// An acknowledgement in flight.
pub(super) struct AckInFlight {
    pub body: AckBody,
    pub leases: Vec<Lease>,
    /// Copies that are not durable yet.
    pub copies: usize,
    /// Whether some copy is durable: then the transaction is committed in any case.
    pub applied: bool,
    /// Set for an acknowledgement that is written to checkpoint slots.
    pub slot_completion: Option<Arc<BlockCompletion>>,
}

impl Log {
    /// Returns a log in the state that recovery found. Nothing can be reserved on a stripe before the first block of
    /// its epoch is durable.
    #[must_use]
    pub fn new(
        settings: LogSettings,
        stripes: Vec<StripeStart>,
        durable: StateRecord,
        order: WriteOrder,
        nonce: Box<dyn FnMut() -> u64 + Send>,
    ) -> Self {
        let idle = settings.hot_window_bytes;
        let stripes: Vec<Stripe> =
            stripes.into_iter().map(|s| Stripe::new(s, &durable, settings.opened)).collect();
        let mut log = Self {
            settings,
            stripes,
            durable,
            durable_version: 1,
            order: order.0,
            next_job: 0,
            occupied: 0,
            counts: super::LogCounts::default(),
            began: (0, 0),
            acks: BTreeMap::new(),
            next_ack: 0,
            slot_queue: Vec::new(),
            source_offsets: SourceOffsets::default(),
            pool: SlabPool::new(limits::SLAB_BYTES, idle),
            wakeups: Wakeups::default(),
            nonce,
            rotation: 0,
        };
        log.occupied = log.waiting_on(Stripe::is_writable);
        log.began = (log.published(), log.quarantined());
        log
    }

    /// Returns what has to be woken since the last call.
    pub fn take_wakeups(&mut self) -> Wakeups {
        // Capacity that leaks, or is given out twice, would show only after days.
        debug_assert_eq!(
            self.occupied,
            self.waiting_on(Stripe::is_writable),
            "room is taken by the events of active stripes and nothing else"
        );
        self.wakeups.memory = self.stripes.iter().any(Stripe::needs_memory_soon);
        std::mem::take(&mut self.wakeups)
    }

    /// Returns the blocks whose outcome a committer may wait for.
    #[must_use]
    pub fn completions(&self) -> Vec<Arc<BlockCompletion>> {
        let mut completions = self.wakeups.completions.clone();
        for stripe in &self.stripes {
            completions.extend(stripe.blocks.completions().map(Arc::clone));
        }
        completions.extend(self.acks.values().filter_map(|ack| ack.slot_completion.clone()));
        completions
    }

    /// Returns the durable state, for a checkpoint.
    #[must_use]
    pub fn durable(&self) -> &StateRecord {
        &self.durable
    }

    /// Grows with every change of [`Log::durable`].
    #[must_use]
    pub fn durable_version(&self) -> u64 {
        self.durable_version
    }

    /// Returns the pool of block memory, for readers.
    #[must_use]
    pub fn pool(&self) -> &SlabPool {
        &self.pool
    }

    /// Number of stripes, suspended ones included.
    #[must_use]
    pub fn stripes(&self) -> usize {
        self.stripes.len()
    }

    /// Counts durable and reserved events on the stripes that `which` selects.
    pub(super) fn waiting_on(&self, which: impl Fn(&Stripe) -> bool) -> u64 {
        let acknowledged = |stripe: &Stripe| {
            let ranges = self.acknowledged(stripe.index, MAIN_GROUP);
            ranges.map_or(0, |r| r.frontier() + r.count_beyond())
        };
        // Void ranges of a failed write enter the durable state with the stripe's next epoch, or earlier with a fence
        // on another stripe: they must not be counted twice.
        let void = |stripe: &Stripe| {
            let (start, end) = stripe.void_at_start;
            let missing = self.durable.stripe(stripe.index).missing(start, end);
            missing.iter().map(|(start, end)| end - start).sum::<u64>()
        };
        let stripes = self.stripes.iter().filter(|stripe| which(stripe));
        stripes.map(|s| s.next_sequence.saturating_sub(acknowledged(s) + void(s))).sum()
    }

    pub(super) fn acknowledged(
        &self,
        stripe: StripeIndex,
        group: GroupId,
    ) -> Option<&crate::base::ranges::RangeSet> {
        self.durable.stripe(stripe).acknowledged.get(&group)
    }

    /// Returns an upper bound in bytes for a segment header and state record at the next roll.
    pub(super) fn state_bytes_bound(&self) -> u64 {
        state_bytes_bound(&self.durable, self.acks.len())
    }

    pub(super) fn job_id(&mut self) -> JobId {
        self.next_job += 1;
        JobId(self.next_job)
    }

    /// Adds a log line, written after the lock is released.
    fn add_line(
        &mut self,
        level: Level,
        stripe: StripeIndex,
        code: Option<&'static Code>,
        text: impl fmt::Display + Send + Sync + 'static,
    ) {
        let text = LogText(Box::new(text));
        self.wakeups.log_lines.push(LogLine { level, code, stripe, text });
    }

    pub(super) fn add_error_line(
        &mut self,
        stripe: StripeIndex,
        code: &'static Code,
        text: impl fmt::Display + Send + Sync + 'static,
    ) {
        self.add_line(Level::ERROR, stripe, Some(code), text);
    }

    pub(super) fn add_warning_line(
        &mut self,
        stripe: StripeIndex,
        code: &'static Code,
        text: impl fmt::Display + Send + Sync + 'static,
    ) {
        self.add_line(Level::WARN, stripe, Some(code), text);
    }

    pub(super) fn add_recovery_line(&mut self, stripe: StripeIndex, text: &'static str) {
        self.add_line(Level::INFO, stripe, None, text);
    }

    /// Notes that the durable state has changed, so that a checkpoint would write something new.
    pub(super) fn changed(&mut self) {
        self.durable_version += 1;
    }
}

impl Stripe {
    fn new(start: StripeStart, durable: &StateRecord, opened: Duration) -> Self {
        let state = durable.stripe(start.index);
        let frontier = state.frontier();
        let group = state.acknowledged.get(&MAIN_GROUP);
        let skip_until = group.and_then(|r| r.beyond().last()).map_or(frontier, |(_, end)| end);
        let phase = if start.available { StripePhase::Starting } else { StripePhase::Missing };
        let mut stripe = Self {
            index: start.index,
            uuid: start.uuid,
            channel: start.channel,
            block_salt: block_salt(&start.channel, &start.uuid),
            phase,
            epoch: start.epoch,
            void_at_start: (0, 0),
            next_key: 1,
            next_block: start.next_block.0,
            next_sequence: start.next_sequence.0,
            space: SegmentSpace::new(
                start.segments,
                start.end_offset,
                start.last_segment,
                start.free,
            ),
            blocks: BlockQueue::new(start.writes_in_flight_max),
            writes: DurationHistogram::default(),
            ages: EventAges::new(opened),
            window: ReadWindow::new(state.watermark.block.0 + 1, skip_until),
            read_fault: None,
            no_space: None,
            rate: 200e6,
            unresolved_frames: UnresolvedFrames::default(),
            segment_unnamed: false,
            fence_placed: None,
            failures: FailureCount::default(),
            bytes_written: 0,
            written_at: None,
        };
        if frontier < stripe.next_sequence
            && let Some(segment) = stripe.space.holding_sequence(frontier)
        {
            let (first_block, first) = (segment.first_block.0, segment.first_sequence.0);
            stripe.window.seek(segment.id, first_block, first);
        }
        stripe
    }

    /// Returns a new block of this epoch, without a place yet.
    pub(super) fn new_block(&mut self) -> LogBlock {
        let key = self.next_key;
        self.next_key += 1;
        LogBlock {
            completion: BlockCompletion::new(self.index),
            epoch: self.epoch,
            key,
            salt: frame_salt(&self.uuid, self.epoch.nonce, key),
            first_sequence: self.next_sequence,
            count: 0,
            len: 0,
            frames: Vec::new(),
            solo: false,
            state: false,
            rolls: false,
        }
    }
}
