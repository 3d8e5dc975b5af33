//! Workloads: a configuration of a channel and a list of steps, drawn from a seed.

use millpond::internal::base::limits::SEGMENT_BYTES_DEFAULT;
use millpond_sim::disk::{DiskMutation, Fault, FaultEffect, FaultTarget, Loss, Model, TornBlock};
use std::io;
use std::time::Duration;

/// Random numbers from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x5bf0_3635_dcf8_1e21)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn at(&mut self) -> usize {
        (self.next() >> 40) as usize
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[(self.next() % of.len() as u64) as usize]
    }

    pub(crate) fn wins(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Seeds that failed before files had space allocated, and would draw that now: their failures are found only by the
/// lives that they had then.
const BEFORE_ALLOCATING: [u64; 15] = [
    240, 393, 827, 1267, 1395, 5163, 11_348, 13_655, 14_131, 21_543, 23_954, 602_073, 700_129,
    7_000_440, 88_216_989,
];

/// Such seeds for small hot windows.
const BEFORE_SMALL_WINDOWS: [u64; 33] = [
    2,
    7,
    15,
    114,
    233,
    240,
    393,
    827,
    1169,
    1267,
    1395,
    1584,
    3377,
    5163,
    6291,
    8053,
    10_032,
    10_416,
    11_348,
    12_299,
    13_655,
    14_131,
    21_543,
    22_667,
    23_938,
    23_954,
    25_527,
    402_643,
    602_073,
    700_129,
    7_000_440,
    88_216_989,
    667_439_244,
];

/// Such seeds for shifted physical blocks and large transactions.
const BEFORE_SHIFTS: [u64; 15] =
    [2, 7, 15, 114, 240, 1169, 1584, 3377, 6291, 8053, 13_655, 14_131, 23_938, 23_954, 667_439_244];

/// A channel and its disk.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) model: Model,
    pub(crate) torn_block: TornBlock,
    /// Bytes by which physical blocks are shifted, as on file systems with blocks of 1 or 2 KiB.
    pub(crate) shift_bytes: usize,
    /// Segments of the default size, and transactions that are larger than a block may be.
    pub(crate) large: bool,
    pub(crate) direct: bool,
    pub(crate) pending: bool,
    pub(crate) allocates: bool,
    pub(crate) mutant: Option<DiskMutation>,
    pub(crate) stripes: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) hot_window_bytes: usize,
    pub(crate) capacity: u64,
    pub(crate) keep_alive: Duration,
    pub(crate) checkpoint_interval: Duration,
    pub(crate) minimum_required_space: u64,
    /// Rot only hits what a clean stop has sealed: then its whole cost is counted.
    pub(crate) sealed: bool,
    /// Sources put their next position before the commit of the last one has returned.
    pub(crate) eager_sources: bool,
    /// The disks fill up as soon as the channel is open.
    pub(crate) crammed: bool,
}

/// Enough for all events that wait in memory in these lives.
pub(crate) const LARGE_WINDOW_BYTES: usize = 1 << 20;

/// Drawn from dice of its own, like the allocation.
fn window(seed: u64) -> usize {
    let mut dice = Dice::new(seed ^ 0x77_696e_646f_7773);
    let small = dice.wins(50) && !BEFORE_SMALL_WINDOWS.contains(&seed);
    if small { dice.one(&[8, 16, 32]) * 1024 } else { LARGE_WINDOW_BYTES }
}

/// Draws the shift within the promises: if a torn physical block may damage everything in it, blocks of the log share
/// none.
fn shift(seed: u64, torn: TornBlock) -> usize {
    let mut dice = Dice::new(seed ^ 0x73_6869_6674);
    let shifted = dice.wins(40) && !BEFORE_SHIFTS.contains(&seed) && torn != TornBlock::DamageAll;
    if shifted { dice.one(&[1024, 2048, 3072]) } else { 0 }
}

impl Setup {
    /// Makes a channel of production size in a few of the lives: each of its steps moves megabytes.
    pub(crate) fn sometimes_large(self) -> Self {
        let mut dice = Dice::new(self.seed ^ 0x6c_6172_6765);
        if !dice.wins(1) || BEFORE_SHIFTS.contains(&self.seed) {
            return self;
        }
        let segment_bytes = dice.one(&[SEGMENT_BYTES_DEFAULT, 4 << 20]);
        Self { large: true, segment_bytes, minimum_required_space: 0, ..self }
    }

    /// Returns a small channel on a sound disk.
    pub(crate) fn plain(seed: u64, stripes: usize, model: Model) -> Self {
        Self {
            seed,
            model,
            torn_block: TornBlock::DamageAll,
            shift_bytes: 0,
            large: false,
            direct: true,
            pending: false,
            allocates: false,
            mutant: None,
            stripes,
            segment_bytes: 32 * 1024,
            hot_window_bytes: LARGE_WINDOW_BYTES,
            capacity: 1000,
            keep_alive: Duration::ZERO,
            checkpoint_interval: Duration::from_secs(30),
            minimum_required_space: 0,
            sealed: true,
            eager_sources: false,
            crammed: false,
        }
    }

    pub(crate) fn drawn(seed: u64, dice: &mut Dice) -> Self {
        let torn = dice.one(&[TornBlock::Clean, TornBlock::DamageWritten, TornBlock::DamageAll]);
        let direct = dice.wins(75);
        Self {
            seed,
            model: dice.one(&[Model::StrictPosix, Model::Journalling]),
            // See docs/durability.md: without direct I/O, a second power cut during the recovery, on a disk that loses
            // a whole block to it, is beyond the engine's promises.
            torn_block: if direct { torn } else { TornBlock::Clean },
            shift_bytes: shift(seed, torn),
            large: false,
            direct,
            pending: dice.wins(75),
            // Drawn from dice of its own, so that older seeds draw what they always did.
            allocates: Dice::new(!seed).wins(40) && !BEFORE_ALLOCATING.contains(&seed),
            mutant: None,
            stripes: dice.one(&[1, 1, 2, 2, 3]),
            segment_bytes: dice.one(&[16, 20, 32, 64]) * 1024,
            hot_window_bytes: window(seed),
            capacity: dice.one(&[20, 100, 1000, 1000]),
            keep_alive: Duration::from_millis(dice.one(&[0, 5, 100])),
            checkpoint_interval: Duration::from_millis(dice.one(&[1, 20, 500, 30_000])),
            minimum_required_space: dice.one(&[0, 0, 64 * 1024]),
            sealed: true,
            eager_sources: false,
            crammed: false,
        }
    }
}

/// How a write in flight ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    Good,
    Fails(FaultEffect),
    Hangs,
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Put { count: usize, size: usize, source: Option<usize> },
    PutRollback { count: usize, size: usize },
    DropCall { at: usize },
    Take { max: usize },
    TakeMore { at: usize, max: usize },
    Ack { at: usize },
    TakeRollback { at: usize },
    StartWrite { stripe: usize },
    EndWrite { at: usize, ending: Ending },
    EndHung { at: usize },
    Keep,
    Tasks,
    Checkpoint,
    Advance { ms: u64 },
    Poll,
    PollSome { odd: bool },
    Fail(Fault),
    Capacity { stripe: usize, more: u64 },
    Heal,
    Settle,
    Close,
}

const KINDS: usize = 18;

/// The frequency of each kind of step in one run: some never, so that runs differ.
#[derive(Clone, Debug)]
pub(crate) struct Taste {
    weights: [u64; KINDS],
    sizes: [usize; 3],
    stripes: usize,
}

impl Taste {
    pub(crate) fn drawn(setup: &Setup, dice: &mut Dice) -> Self {
        let base: [u64; KINDS] = [30, 2, 2, 10, 4, 12, 3, 20, 25, 4, 6, 8, 3, 6, 20, 3, 3, 3];
        let mut weights = base.map(|w| w * dice.one(&[1, 2, 2, 4]));
        let faulty = dice.wins(50);
        for (kind, weight) in weights.iter_mut().enumerate() {
            let rare = [1, 2, 6, 12, 13, 14].contains(&kind) && dice.wins(30);
            if rare || (kind >= 15 && !faulty) {
                *weight = 0;
            }
        }
        let mut sizes = dice.one(&[[20, 100, 300], [20, 500, 3000], [100, 1000, 9000]]);
        if setup.large {
            sizes = [100, 300_000, 2_000_000];
        }
        Self { weights, sizes, stripes: setup.stripes }
    }

    /// Returns the taste without failures.
    pub(crate) fn calm(mut self) -> Self {
        self.weights[15..].fill(0);
        self
    }

    /// Whether calls to the disk may fail.
    pub(crate) fn fails(&self) -> bool {
        self.weights[15] > 0
    }

    /// Draws the next step.
    pub(crate) fn draw(&self, dice: &mut Dice) -> Op {
        let mut at = dice.below(self.weights.iter().sum());
        let mut kind = 0;
        while at >= self.weights[kind] {
            at -= self.weights[kind];
            kind += 1;
        }
        match kind {
            0 => self.put(dice),
            1 => Op::PutRollback { count: dice.one(&[1, 2, 5]), size: 50 },
            2 => Op::DropCall { at: dice.at() },
            3 => Op::Take { max: dice.one(&[1, 2, 5, 20]) },
            4 => Op::TakeMore { at: dice.at(), max: dice.one(&[1, 3, 10]) },
            5 => Op::Ack { at: dice.at() },
            6 => Op::TakeRollback { at: dice.at() },
            7 => Op::StartWrite { stripe: dice.at() % self.stripes },
            8 => self.end_write(dice),
            9 => Op::Keep,
            10 => Op::Tasks,
            11 => Op::Advance {
                ms: dice.one(if self.fails() {
                    &[1, 10, 100, 3000, 50_000]
                } else {
                    &[1, 2, 10, 20, 50]
                }),
            },
            12 => Op::Checkpoint,
            13 => Op::PollSome { odd: dice.wins(50) },
            14 => Op::Poll,
            15 => Op::Fail(fault(dice)),
            16 => Op::Capacity {
                stripe: dice.at(),
                more: dice.one(&[0, 0, 4096, 20_000, 70_000, 1 << 20]),
            },
            _ if dice.wins(33) => Op::Heal,
            _ => Op::EndHung { at: dice.at() },
        }
    }

    fn put(&self, dice: &mut Dice) -> Op {
        let source = dice.wins(20).then(|| dice.at() % 2);
        let count = if dice.wins(5) { 0 } else { dice.one(&[1, 1, 2, 3, 7]) };
        Op::Put { count, size: dice.one(&self.sizes), source }
    }

    fn end_write(&self, dice: &mut Dice) -> Op {
        let ending = match dice.below(40) {
            0 if self.fails() => Ending::Fails(effect(dice)),
            1 if self.fails() => Ending::Hangs,
            _ => Ending::Good,
        };
        Op::EndWrite { at: dice.at(), ending }
    }
}

fn effect(dice: &mut Dice) -> FaultEffect {
    let loss = dice.one(&[Loss::KeepsNew, Loss::RevertsToOld, Loss::DropsAtNextRead]);
    dice.one(&[
        FaultEffect::Nothing,
        FaultEffect::Part,
        FaultEffect::All,
        FaultEffect::Later,
        FaultEffect::Lost(loss),
    ])
}

/// Draws a failure of one or a few calls.
pub(crate) fn fault(dice: &mut Dice) -> Fault {
    let on = dice.one(&[
        FaultTarget::Submit,
        FaultTarget::Submit,
        FaultTarget::Finish,
        FaultTarget::Finish,
        FaultTarget::Write,
        FaultTarget::Sync,
        FaultTarget::SyncDir,
        FaultTarget::Create,
        FaultTarget::Remove,
        FaultTarget::Open,
        FaultTarget::Space,
        FaultTarget::Read,
    ]);
    let path = dice.one(&["", "data0", "data1", "checkpoint", "segment"]);
    let kind = dice.one(&[io::ErrorKind::Other, io::ErrorKind::StorageFull]);
    Fault::next(on, path)
        .after(dice.one(&[0, 0, 1, 3]))
        .times(dice.one(&[1, 1, 2, 5]))
        .kind(kind)
        .effect(effect(dice))
}
