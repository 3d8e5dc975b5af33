//! The machine's state, how it begins, and what it tells.

use super::block::{Block, OpenBlock};
use super::fate::Fate;
use super::forget::Forgetting;
use super::job::JobId;
use super::lease::{Front, Place};
use super::ready::Claim;
use super::reserve::state_bytes_bound;
use super::stripe::{Doubts, EpochStart, FreeSegment, Health, Stripe, StripeStart};
use crate::base::codes::Code;
use crate::base::ids::{GroupId, MAIN_GROUP, StripeIndex, WriteOrder};
use crate::base::limits;
use crate::base::trouble::Trouble;
use crate::disk::memory::SlabPool;
use crate::metrics::{Ages, Durations};
use crate::record::block::block_salt;
use crate::record::body::AckBody;
use crate::record::frame::frame_salt;
use crate::record::state::StateRecord;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::Level;

/// What the machine is told once.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Events the channel holds at most.
    pub capacity: u64,
    /// Bytes of blocks kept in memory for readers, over all stripes.
    pub hot_window_bytes: usize,
    /// Bytes of a segment that is made new.
    pub segment_bytes: u64,
    /// When the channel was opened: what it holds then counts as come then.
    pub opened: Duration,
}

/// A line for the log of the process.
#[derive(Clone, Debug)]
pub struct Said {
    /// How bad it is.
    pub level: Level,
    /// What to look up, where it asks for something.
    pub code: Option<&'static Code>,
    /// The stripe that it is about.
    pub stripe: StripeIndex,
    /// What there is to say.
    pub words: String,
}

/// What is to be woken and said, once the lock is left.
#[derive(Debug, Default)]
pub struct Wakes {
    /// Lines for the log: written under the lock, an output that nobody reads would stop all stripes.
    pub said: Vec<Said>,
    /// The frames of a stripe that failed wait for those who fill them: [`Log::finish_failures`] is to be
    /// called until it answers that none do.
    pub failing: bool,
    /// Blocks whose outcome is known.
    pub fates: Vec<Arc<Fate>>,
    /// Something can be lent that could not.
    pub takers: bool,
    /// Something can be reserved, or an acknowledgement has settled.
    pub room: bool,
    /// Segments are to be made, deleted, or a stripe tried again.
    pub keeper: bool,
}

/// The striped log.
pub struct Log {
    pub(super) settings: LogSettings,
    pub(super) stripes: Vec<Stripe>,
    /// What is durable: only grows.
    pub(super) durable: StateRecord,
    /// Grows with every change of `durable`; tells whether a checkpoint would say anything new.
    pub(super) durable_turn: u64,
    pub(super) order: u64,
    pub(super) next_job: u64,
    /// Events reserved, waiting or lent; those of suspended stripes excepted.
    pub(super) occupied: u64,
    pub(super) counts: super::Counts,
    /// Events that were waiting and events lost to damage when the log was opened.
    pub(super) began: (u64, u64),
    pub(super) acks: BTreeMap<u64, AckInFlight>,
    pub(super) next_ack: u64,
    /// Acknowledgements that wait for a checkpoint slot.
    pub(super) slot_queue: Vec<u64>,
    /// Sources with a position in flight, and the bytes that it would take in a state record.
    pub(super) positions_busy: BTreeMap<String, usize>,
    /// Positions of sources that are gone.
    pub(super) forgetting: Forgetting,
    pub(super) pool: SlabPool,
    pub(super) wakes: Wakes,
    pub(super) nonce: Box<dyn FnMut() -> u64 + Send>,
    pub(super) rotation: usize,
}

/// An acknowledgement on its way.
pub(super) struct AckInFlight {
    pub body: AckBody,
    pub claims: Vec<Claim>,
    /// Copies that are not durable yet.
    pub copies: usize,
    /// Whether some copy is durable: then the transaction is committed whatever comes.
    pub applied: bool,
    /// Set for an acknowledgement that goes into checkpoint slots.
    pub slot_fate: Option<Arc<Fate>>,
}

impl Log {
    /// A log as recovery left it. Nothing can be reserved on a stripe before its epoch's first
    /// block is durable.
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
            durable_turn: 1,
            order: order.0,
            next_job: 0,
            occupied: 0,
            counts: super::Counts::default(),
            began: (0, 0),
            acks: BTreeMap::new(),
            next_ack: 0,
            slot_queue: Vec::new(),
            positions_busy: BTreeMap::new(),
            forgetting: Forgetting::default(),
            pool: SlabPool::new(limits::SLAB_BYTES, idle),
            wakes: Wakes::default(),
            nonce,
            rotation: 0,
        };
        log.occupied = log.waiting_on(Stripe::is_active);
        log.began = (log.published(), log.quarantined());
        log
    }

    /// What has to be woken since the last call.
    pub fn take_wakes(&mut self) -> Wakes {
        // Capacity that leaks, or is given out twice, shows itself only after days.
        debug_assert_eq!(
            self.occupied,
            self.waiting_on(Stripe::is_active),
            "room is taken by the events of active stripes and nothing else"
        );
        std::mem::take(&mut self.wakes)
    }

    /// The blocks whose outcome somebody may wait for.
    #[must_use]
    pub fn fates(&self) -> Vec<Arc<Fate>> {
        let mut fates = self.wakes.fates.clone();
        for stripe in &self.stripes {
            let flying = stripe.in_flight.iter().map(|w| &w.block);
            let sealed = stripe.sealed.iter().map(|s| &s.block);
            let open = stripe.open.iter().map(|o| &o.block);
            let queued = stripe.failing.iter().flat_map(|f| &f.queued).map(|(block, _)| block);
            let open = open.chain(queued);
            fates.extend(flying.chain(sealed).chain(open).map(|block| Arc::clone(&block.fate)));
        }
        fates.extend(self.acks.values().filter_map(|ack| ack.slot_fate.clone()));
        fates
    }

    /// What is durable, for a checkpoint.
    #[must_use]
    pub fn durable(&self) -> &StateRecord {
        &self.durable
    }

    /// Grows with every change of [`Log::durable`].
    #[must_use]
    pub fn durable_turn(&self) -> u64 {
        self.durable_turn
    }

    /// Block memory, for readers.
    #[must_use]
    pub fn pool(&self) -> &SlabPool {
        &self.pool
    }

    /// Number of stripes, suspended ones included.
    #[must_use]
    pub fn stripes(&self) -> usize {
        self.stripes.len()
    }

    /// Events on stripes that `which` selects: durable ones and reserved ones.
    pub(super) fn waiting_on(&self, which: impl Fn(&Stripe) -> bool) -> u64 {
        let acknowledged = |stripe: &Stripe| {
            let ranges = self.acknowledged(stripe.index, MAIN_GROUP);
            ranges.map_or(0, |r| r.frontier() + r.count_beyond())
        };
        // What a failed write left void enters the durable state with the stripe's next epoch, or
        // before that with a fence on another stripe: it must not be counted twice.
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

    pub(super) fn job_id(&mut self) -> JobId {
        self.next_job += 1;
        JobId(self.next_job)
    }

    /// Has a line written to the log of the process when the lock is left.
    fn say(
        &mut self,
        level: Level,
        stripe: StripeIndex,
        code: Option<&'static Code>,
        words: String,
    ) {
        self.wakes.said.push(Said { level, code, stripe, words });
    }

    pub(super) fn say_error(&mut self, stripe: StripeIndex, code: &'static Code, words: String) {
        self.say(Level::ERROR, stripe, Some(code), words);
    }

    pub(super) fn say_warning(&mut self, stripe: StripeIndex, code: &'static Code, words: String) {
        self.say(Level::WARN, stripe, Some(code), words);
    }

    pub(super) fn say_back(&mut self, stripe: StripeIndex, words: &str) {
        self.say(Level::INFO, stripe, None, words.to_owned());
    }

    pub(super) fn changed(&mut self) {
        self.durable_turn += 1;
    }

    /// How many writes the stripe's storage takes at once, when that was found out only now.
    pub fn set_writes_in_flight_max(&mut self, stripe: StripeIndex, max: usize) {
        self.stripes[stripe.at()].writes_in_flight_max = max;
    }

    /// Segments that the stripe could take into use.
    pub fn add_segment(&mut self, stripe: StripeIndex, segment: FreeSegment) {
        let stripe = &mut self.stripes[stripe.at()];
        stripe.put_free(segment);
        self.wakes.room = true;
        // It may be what a suspended stripe waits for.
        self.wakes.keeper |= stripe.epoch_start != EpochStart::Done;
    }

    /// Says that a segment of `len` bytes could not be made. Whoever wants it still says so again;
    /// nobody else waits for it.
    pub fn refuse_segment(&mut self, index: StripeIndex, len: u64, trouble: Trouble) {
        let bound = state_bytes_bound(&self.durable, self.acks.len());
        let stripe = &mut self.stripes[index.at()];
        let known = stripe.refused_segment.as_ref().map_or(len, |(known, _)| len.min(*known));
        stripe.refused_segment = Some((known, trouble));
        stripe.wants_segment =
            if stripe.roll_planned { bound + stripe.first_queued_bytes() } else { 0 };
        self.wakes.room = true;
    }

    /// Says that nobody has asked for long for the segment that could not be made.
    pub fn forget_refused_segment(&mut self, index: StripeIndex) {
        self.stripes[index.at()].refused_segment = None;
    }

    /// Whether puts wait for space on some disk.
    #[must_use]
    pub fn lacks_space(&self) -> bool {
        let lacks = |s: &Stripe| s.no_space.is_some() || s.refused_segment.is_some();
        self.stripes.iter().any(lacks)
    }

    /// Says that there is no room for puts on the stripe's disk, or that there is again.
    pub fn set_space(&mut self, stripe: StripeIndex, trouble: Option<Trouble>) {
        let stripe = &mut self.stripes[stripe.at()];
        if stripe.no_space.is_some() && trouble.is_none() {
            self.wakes.room = true;
        }
        stripe.no_space = trouble;
    }
}

impl Stripe {
    fn new(start: StripeStart, durable: &StateRecord, opened: Duration) -> Self {
        let state = durable.stripe(start.index);
        let frontier = state.frontier();
        let group = state.acknowledged.get(&MAIN_GROUP);
        let skip_until = group.and_then(|r| r.beyond().last()).map_or(frontier, |(_, end)| end);
        let health = if start.available { Health::Active } else { Health::Missing };
        let mut stripe = Self {
            index: start.index,
            uuid: start.uuid,
            channel: start.channel,
            block_salt: block_salt(&start.channel, &start.uuid),
            health,
            epoch: start.epoch,
            epoch_start: EpochStart::Due,
            void_at_start: (0, 0),
            next_key: 1,
            next_block: start.next_block.0,
            next_sequence: start.next_sequence.0,
            last_segment: start.last_segment.0,
            segments: start.segments.into(),
            free: start.free,
            segment_bytes: 0,
            end_offset: start.end_offset,
            tail_room: 0,
            roll_planned: false,
            writer: None,
            open: None,
            sealed: std::collections::VecDeque::new(),
            in_flight: std::collections::VecDeque::new(),
            zombies: Vec::new(),
            failed: Vec::new(),
            failing: None,
            to_reopen: Vec::new(),
            lost: Vec::new(),
            writes_in_flight_max: start.writes_in_flight_max,
            writes: Durations::default(),
            ages: Ages::new(opened),
            front: Front::new(skip_until),
            read_trouble: None,
            no_space: None,
            wants_segment: 0,
            refused_segment: None,
            rate: 200e6,
            doubts: Doubts::default(),
            slot_wanted: false,
            segment_unnamed: false,
            fence_placed: None,
            strikes: 0,
            failed_at: Duration::ZERO,
            bytes_written: 0,
            written_at: None,
        };
        stripe.tail_room = stripe.segment_room();
        stripe.seek(frontier, state.watermark.block.0);
        stripe
    }

    /// Puts the reading end at the segment that holds `frontier`.
    fn seek(&mut self, frontier: u64, last_durable: u64) {
        let holds = self.segments.iter().rfind(|s| s.first_sequence.0 <= frontier);
        let segment = holds.or(self.segments.front());
        self.front.next_block = last_durable + 1;
        if frontier < self.next_sequence
            && let Some(segment) = segment
        {
            self.front.next_block = segment.first_block.0;
            let offset = crate::record::segment::SEGMENT_HEADER_BYTES as u64;
            let sequence = segment.first_sequence.0;
            self.front.place = Place { segment: segment.id, offset, sequence, ..Place::default() };
        }
    }

    /// A fresh block of this life, not yet placed.
    pub(super) fn new_block(&mut self) -> Block {
        let key = self.next_key;
        self.next_key += 1;
        Block {
            fate: Fate::new(self.index),
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

    /// Opens a block that may have `room` bytes.
    pub(super) fn open_block(&mut self, pool: &SlabPool, block: Block, room: usize) -> bool {
        debug_assert!(self.open.is_none(), "one block is open at a time");
        // A block is contiguous memory: what a slab has left must hold all that may come.
        let too_small = |w: &crate::disk::memory::AreaWriter| w.remaining() < room;
        if self.writer.as_ref().is_none_or(too_small) {
            match pool.writer(room) {
                Ok(writer) => self.writer = Some(writer),
                Err(_) => return false,
            }
        }
        let writer = self.writer.as_mut().expect("made above");
        self.open = OpenBlock::new(writer, block, room);
        self.open.is_some()
    }

    /// A segment of `len` bytes is free now.
    pub(super) fn has_come(&mut self, len: u64) {
        if len >= self.wants_segment {
            self.wants_segment = 0;
        }
        self.refused_segment.take_if(|(refused, _)| len >= *refused);
    }

    /// When the stripe may be tried again, if it is suspended.
    pub(super) fn retry_at(&self) -> Option<Duration> {
        match &self.health {
            Health::Suspended { retry_at, .. } => Some(*retry_at),
            Health::Active | Health::Missing => None,
        }
    }
}
