//! What a user, and the commands `check` and `dump`, may find after damage to a channel.

use super::quiescence::{self, FilesAtRest, Name, Range};
use crate::driver::Driver;
use crate::oracle;
use millpond::internal::base::random::SeededRandom;
use millpond::internal::channel::file::StepDriver;
use millpond::internal::recovery::decision_table::Case;
use millpond::internal::recovery::inspection::{self, CheckReport, WalkStep};
use millpond::internal::recovery::{self, Finding, RecoverOptions};
use millpond::{BoxFuture, Channel, Event, FileChannel, OpenError};
use millpond_sim::disk::SimDisk;
use millpond_sim::oracle::Comparison;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Rounds within which a call on a sound disk must have returned.
const ROUNDS_MAX: usize = 400;

/// Most events of one transaction of the channels at rest.
const TAKE_MAX: usize = 1000;

/// The result of an inspection: the damage and other findings, and the readable events.
struct Look {
    check: CheckReport,
    dumped: BTreeSet<Name>,
}

impl Look {
    fn damage(&self) -> impl Iterator<Item = &Finding> {
        self.check.findings.iter().filter(|f| f.case.is_damage())
    }
}

pub(crate) fn options(driver: &Driver) -> RecoverOptions {
    RecoverOptions {
        checkpoint_dir: PathBuf::from("/checkpoint"),
        data_dirs: (0..driver.setup.stripes).map(crate::driver::data_dir).collect(),
        open_degraded: true,
        open_without_missing_segments: true,
        create: false,
        segment_bytes: driver.setup.segment_bytes,
    }
}

fn look(driver: &Driver) -> Result<Look, String> {
    let (survey, check) =
        inspection::verify(&driver.disk, &options(driver)).map_err(|e| format!("check: {e}"))?;
    let mut dumped = BTreeSet::new();
    let walked = survey.walk(&mut |step| {
        if let WalkStep::Event { waiting: true, event, .. } = step {
            dumped.extend(oracle::name_of(&event));
        }
        ControlFlow::Continue(())
    });
    walked.map_err(|e| format!("dump: {e}"))?;
    Ok(Look { check, dumped })
}

/// An open channel and its driver.
struct Opened<'a> {
    driver: &'a Driver,
    channel: FileChannel,
    stepper: StepDriver,
}

impl<'a> Opened<'a> {
    /// Opens; without missing segments only if that was refused first, which `lacks` then reports.
    fn open(driver: &'a Driver, lacks: &mut bool) -> Result<Self, String> {
        let channel = match FileChannel::open(driver.options()) {
            Err(OpenError::Recovery(recovery::RecoveryError::SegmentsMissing { .. })) => {
                *lacks = true;
                let mut options = driver.options();
                options.open_without_missing_segments = true;
                FileChannel::open(options)
            }
            opened => opened,
        };
        let channel = channel.map_err(|e| format!("refused: {e}"))?;
        let stepper = channel.step_driver();
        Ok(Self { driver, channel, stepper })
    }

    fn until_ready<T>(&mut self, mut call: BoxFuture<'_, T>) -> Result<T, String> {
        for round in 0..ROUNDS_MAX {
            if let Poll::Ready(done) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Ok(done);
            }
            self.stepper.run_tasks();
            if round % 4 == 3 {
                self.stepper.keep();
            }
            self.driver.clock.advance(Duration::from_millis(1));
        }
        Err("a call hangs".to_owned())
    }

    fn commit<E: std::fmt::Display>(
        &mut self,
        call: BoxFuture<'static, Result<(), E>>,
    ) -> Result<(), String> {
        self.until_ready(call)?.map_err(|e| format!("commit: {e}"))
    }

    fn drain(&mut self) -> Result<Vec<Event>, String> {
        let mut all = Vec::new();
        loop {
            let mut take = self.channel.begin_take();
            let events = self.until_ready(take.take_async(TAKE_MAX))?;
            let events = events.map_err(|e| format!("take: {e}"))?;
            if events.is_empty() {
                return Ok(all);
            }
            all.extend(events);
            self.commit(take.commit_async())?;
        }
    }

    fn put(&mut self, event: Event) -> Result<(), String> {
        let mut put = self.channel.begin_put();
        put.put(event).map_err(|e| format!("put: {e}"))?;
        self.commit(put.commit_async())
    }

    fn close(self) -> Result<(), String> {
        self.channel.close().map_err(|e| format!("close: {e}"))
    }
}

/// Returns what the undamaged channel delivers, in order.
pub(super) fn contents(still: &FilesAtRest) -> Vec<Name> {
    let driver = still.driver.over(still.disk.kill(1));
    let mut lacks = false;
    let mut opened = Opened::open(&driver, &mut lacks).expect("a sound channel opens");
    assert!(!lacks, "a sound channel opens unasked");
    let events = opened.drain().expect("a sound channel delivers");
    events.iter().map(|e| oracle::name_of(e).expect("an event of the oracle")).collect()
}

/// What is judged in addition to the opening itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct More {
    /// The channel is repaired before it is opened.
    pub(super) mended: bool,
    /// It is closed and opened once more.
    pub(super) again: bool,
}

/// Judges the channel on `disk`, where `hits` were changed. `waiting` is what it should deliver. Returns how many
/// events were lost.
pub(super) fn judge(
    still: &FilesAtRest,
    disk: SimDisk,
    hits: &[Range],
    waiting: &[Name],
    more: More,
) -> Result<usize, String> {
    let driver = still.driver.over(disk);
    let found = look(&driver);
    let mended = if more.mended { repair(&driver)? } else { None };
    let mut lacks = false;
    let (look, opened) = (found, Opened::open(&driver, &mut lacks));
    let (look, mut opened) = match (look, opened) {
        (Err(looked), Ok(_)) => return Err(format!("opened what cannot be looked at: {looked}")),
        (look, opened) => (look, opened?),
    };
    let look = look?;
    let missing = look.damage().any(|f| f.case == Case::R7);
    // A repair has continued without them already.
    if lacks != (missing && mended.is_none()) {
        return Err(format!("opened unasked: {}, missing by a look: {missing}", !lacks));
    }
    let events = opened.drain()?;
    let mut delivered = Vec::new();
    for found in &events {
        let name = oracle::name_of(found).ok_or("a foreign event")?;
        if !driver.oracle.is_as_put(name, found) {
            return Err(format!("{name:?} is altered, or was never put"));
        }
        delivered.push(name);
    }
    let Comparison { lost, unexpected: returned, repeated, in_order } =
        Comparison::of(waiting, &delivered);
    if !repeated.is_empty() {
        return Err(format!("delivered twice: {repeated:?}"));
    }
    if !returned.is_subset(&still.may_return(hits)) {
        return Err(format!("{returned:?} came back after their take"));
    }
    if returned.is_empty() && !in_order {
        return Err("the order is not as it was".to_owned());
    }
    let set: BTreeSet<Name> = delivered.iter().copied().collect();
    if look.dumped != set {
        return Err(format!("dump shows {:?}, delivered were {set:?}", look.dumped));
    }
    let counted = opened.channel.status().quarantined;
    let promised = judge_loss(still, hits, &look, &lost)?;
    if counted != promised {
        return Err(format!("{promised} promised events are lost, {counted} are counted"));
    }
    if mended.is_some_and(|events| events != promised) {
        return Err(format!("{promised} promised events are lost, mending said {mended:?}"));
    }
    if more.again || !lost.is_empty() || !returned.is_empty() {
        judge_after(&driver, opened)?;
    }
    Ok(lost.len())
}

/// Repairs; returns how many events it gave up, or `None` if it was refused.
fn repair(driver: &Driver) -> Result<Option<u64>, String> {
    let again = || {
        let random = SeededRandom::new(driver.setup.seed);
        recovery::repair(&driver.disk, &*driver.clock, &random, &options(driver))
    };
    let Ok(mended) = again() else { return Ok(None) };
    if let Some(left) = look(driver)?.damage().next() {
        return Err(format!("damaged after a repair: {left}"));
    }
    let second = again().map_err(|e| format!("the second repair: {e}"))?;
    if !second.places.is_empty() {
        return Err(format!("the second repair found {:?}", second.places));
    }
    Ok(Some(mended.events_lost))
}

/// Checks that everything lost was in a block that was hit, and is reported: as damage, with its place and sequences,
/// if some record proves that it was promised, otherwise as unknown. Returns how many were promised.
fn judge_loss(
    still: &FilesAtRest,
    hits: &[Range],
    look: &Look,
    lost: &BTreeSet<Name>,
) -> Result<u64, String> {
    let mut unexplained = lost.clone();
    let mut promised = 0;
    for block in still.hit(hits) {
        for (sequence, name) in block.events.iter().filter(|(_, name)| lost.contains(name)) {
            unexplained.remove(name);
            let named = |f: &&Finding| {
                f.stripe.is_some_and(|s| s.at() == block.stripe)
                    && f.sequences.is_some_and(|(a, b)| (a.0..b.0).contains(sequence))
            };
            let damage = look.damage().find(named);
            if !still.is_promised(block, *sequence, hits) {
                if let Some(finding) = damage {
                    return Err(format!("{name:?} was never promised: {finding}"));
                }
                continue;
            }
            promised += 1;
            let Some(finding) = damage else {
                let said = &look.check.findings;
                return Err(format!(
                    "{name:?} (sequence {sequence}) is lost without a word: {said:?}"
                ));
            };
            if finding.segment.is_none() && finding.path.as_os_str().is_empty() {
                return Err(format!("no place: {finding}"));
            }
        }
    }
    if !unexplained.is_empty() {
        return Err(format!("{unexplained:?} are lost, and nothing was done to them"));
    }
    for finding in look.damage() {
        let here = |b: &&quiescence::Block| finding.stripe.is_some_and(|s| s.at() == b.stripe);
        if still.hit(hits).find(here).is_none() && !quiescence::no_header(&finding.path, hits) {
            return Err(format!("a false alarm: {finding}"));
        }
    }
    Ok(promised)
}

/// Checks that the opened channel works like any other: taken events stay away, new ones come, and nothing is reported
/// damaged any more.
fn judge_after(driver: &Driver, mut opened: Opened<'_>) -> Result<(), String> {
    let mark = Event::new("mark");
    opened.put(mark.clone())?;
    opened.close()?;
    let again = look(driver)?;
    if let Some(finding) = again.damage().next() {
        return Err(format!("still damaged after an opening: {finding}"));
    }
    let mut lacks = false;
    let mut opened =
        Opened::open(driver, &mut lacks).map_err(|e| format!("the second time {e}"))?;
    if lacks {
        return Err("a channel that has gone on without segments is refused for them".to_owned());
    }
    let found = opened.drain()?;
    if found != [mark] {
        return Err(format!("the second time {} events came", found.len()));
    }
    opened.close()
}
