//! Small lives, stopped at every single operation on the disk; each possible state is opened, and that opening is
//! stopped at every operation again.

use crate::counts::Tally;
use crate::driver::{Driver, Stop};
use crate::workload::{Ending, Op, Setup};
use millpond_sim::disk::{DiskMutation, FaultEffect, Model, Odds, SimDisk};

/// Images per stop: none or all of what was pending, or a random part; or a kill.
const IMAGES: usize = 5;

/// Completes what a script leaves under way.
const SETTLE: Op = Op::Settle;

fn put(count: usize, size: usize) -> Op {
    Op::Put { count, size, source: None }
}

fn take(max: usize) -> [Op; 2] {
    [Op::Take { max }, Op::Ack { at: 0 }]
}

/// A write fails although its bytes arrive, and its events move after a fence.
fn arrives(effect: FaultEffect) -> Vec<Op> {
    let fails = Op::EndWrite { at: 0, ending: Ending::Fails(effect) };
    vec![put(1, 100), put(1, 100), Op::StartWrite { stripe: 0 }, fails, Op::Tasks, SETTLE]
}

/// A short sequence of steps.
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) stripes: usize,
    pub(crate) ops: Vec<Op>,
}

/// Returns the scripts: creation alone, puts and takes, rolls and recycling, checkpoints, closing and reopening.
pub(crate) fn scripts() -> Vec<Script> {
    let script = |name, stripes, ops| Script { name, stripes, ops };
    let mut rolls = Vec::new();
    for _ in 0..5 {
        rolls.extend([put(2, 3000), SETTLE, Op::Keep]);
    }
    let mut recycles = Vec::new();
    for _ in 0..6 {
        recycles.extend([put(2, 3000), SETTLE]);
        recycles.extend(take(2));
        recycles.extend([SETTLE, Op::Keep]);
    }
    let two_in_flight = vec![
        put(1, 3000),
        Op::StartWrite { stripe: 0 },
        put(1, 70_000),
        Op::StartWrite { stripe: 0 },
        put(2, 100),
        SETTLE,
    ];
    let mut closed = vec![put(2, 100), SETTLE, put(1, 100), Op::Close];
    closed.truncate(4);
    let [take_two, ack] = take(2);
    vec![
        script("creation", 1, vec![]),
        script("creation of three stripes", 3, vec![]),
        script("a put", 1, vec![put(2, 100), SETTLE]),
        script("two puts on two stripes", 2, vec![put(2, 100), put(1, 3000), SETTLE]),
        script("a write that fails and arrives", 2, arrives(FaultEffect::All)),
        script("a write that fails and arrives later", 2, arrives(FaultEffect::Later)),
        script(
            "a position",
            1,
            vec![
                Op::Put { count: 1, size: 50, source: Some(0) },
                SETTLE,
                Op::Put { count: 0, size: 50, source: Some(0) },
                SETTLE,
            ],
        ),
        script(
            "a take over two stripes",
            2,
            vec![put(1, 100), put(1, 100), SETTLE, take_two, ack, SETTLE],
        ),
        script(
            "a take handed back",
            1,
            vec![put(2, 50), SETTLE, Op::Take { max: 1 }, Op::TakeRollback { at: 0 }, SETTLE],
        ),
        script("several writes in flight", 1, two_in_flight),
        script("rolls", 1, rolls),
        script("recycling", 1, recycles.clone()),
        script("recycling on two stripes", 2, recycles),
        script("a checkpoint", 1, vec![put(1, 100), SETTLE, Op::Checkpoint, put(1, 100), SETTLE]),
        script("closing", 2, closed),
    ]
}

fn setup(script: &Script, model: Model, mutant: Option<DiskMutation>) -> Setup {
    Setup {
        pending: true,
        segment_bytes: 24 * 1024,
        mutant,
        ..Setup::plain(script.stripes as u64, script.stripes, model)
    }
}

/// Runs the script on a new disk up to the operation `crash_at`, or to its end.
fn play(script: &Script, setup: &Setup, crash_at: Option<u64>) -> Result<(Driver, bool), String> {
    let mut driver = Driver::new(setup.clone());
    if let Some(at) = crash_at {
        driver.disk.crash_at(at);
    }
    let played = (|| {
        driver.open()?;
        for op in &script.ops {
            if driver.is_open() {
                driver.step(op)?;
            }
        }
        Ok(())
    })();
    match played {
        Ok(()) => Ok((driver, false)),
        Err(Stop::Crashed) => Ok((driver, true)),
        Err(Stop::Violation(words)) => Err(format!("{}: {words}", script.name)),
    }
}

fn images(disk: &SimDisk) -> Vec<SimDisk> {
    let mut images =
        vec![disk.crash_with(1, Odds::NONE), disk.crash_with(2, Odds::ALL), disk.kill(3)];
    images.extend((images.len()..IMAGES).map(|seed| disk.crash(seed as u64)));
    images
}

/// Opens the image and judges it; returns how many operations the opening took.
fn reopen(before: &Driver, disk: SimDisk, words: &str) -> Result<(Driver, u64), String> {
    let mut driver = before.over(disk);
    match driver.open() {
        Ok(_) => {
            let operations = driver.disk.operations();
            Ok((driver, operations))
        }
        Err(Stop::Crashed) => Err(format!("{words}: stopped unasked")),
        Err(Stop::Violation(cause)) => Err(format!("{words}: {cause}")),
    }
}

/// Tries every stop of one script under one model; within the recovery every `stride`-th.
pub(crate) fn explore(
    script: &Script,
    model: Model,
    mutant: Option<DiskMutation>,
    stride: u64,
    tally: &mut Tally,
) -> Result<(), String> {
    let setup = setup(script, model, mutant);
    let (whole, _) = play(script, &setup, None)?;
    let operations = whole.disk.operations();
    for at in 1..=operations + 1 {
        let (mut stopped, _) = play(script, &setup, Some(at))?;
        let disk = stopped.disk.clone();
        let images = images(&disk);
        stopped.die();
        for (kind, image) in images.into_iter().enumerate() {
            let words = format!("{}, {model:?}, operation {at}, image {kind}", script.name);
            if !tally.state(image.image_hash()) && kind != 2 {
                continue;
            }
            let copy = image.kill(0);
            let (_, inner) = reopen(&stopped, image, &words)?;
            if (at + kind as u64).is_multiple_of(stride) {
                explore_recovery(&stopped, &copy, inner, &words, tally)?;
            }
        }
    }
    Ok(())
}

/// Stops an opening at every operation, and opens the result.
fn explore_recovery(
    before: &Driver,
    disk: &SimDisk,
    operations: u64,
    words: &str,
    tally: &mut Tally,
) -> Result<(), String> {
    for at in 1..=operations {
        let copy = disk.kill(0);
        copy.crash_at(at);
        let mut opening = before.over(copy.clone());
        if let Err(Stop::Violation(cause)) = opening.open() {
            return Err(format!("{words}, then operation {at}: {cause}"));
        }
        let images = [copy.crash_with(at, Odds::NONE), copy.crash(at), copy.kill(at)];
        opening.die();
        for (kind, image) in images.into_iter().enumerate() {
            if tally.state(image.image_hash()) || kind == 2 {
                reopen(&opening, image, &format!("{words}, then operation {at}, image {kind}"))?;
            }
        }
    }
    Ok(())
}

#[test]
fn every_stop_of_small_lives_and_of_their_recovery_leaves_a_sound_channel() {
    let mut tally = Tally::default();
    for script in scripts() {
        for model in [Model::StrictPosix, Model::Journalling] {
            tally.runs += 1;
            if let Err(words) = explore(&script, model, None, 17, &mut tally) {
                panic!("{words}");
            }
        }
    }
    println!("{tally}");
}
