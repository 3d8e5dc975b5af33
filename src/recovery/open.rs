//! The steps of an opening: identify the directories, read, decide, make durable, hand over.

use super::apply::hand_over::Opening;
use super::apply::membership::{self, Membership};
use super::assessment::{self, Assessment};
use super::case::Case;
use super::decide::adoption;
use super::decide::missing_segments;
use super::decide::numbers;
use super::error::RecoveryError;
use super::finding::Finding;
use super::options::RecoverOptions;
use super::read::contents::{InputDir, ReadOptions, stripe_index};
use super::read::member_rebuild::MemberLookup;
use super::read::stripe_reading::StripeReading;
use super::recovered::{Recovered, Report};
use crate::base::clock::Clock;
use crate::base::mutation::Mutation;
use crate::base::quantity::Quantity;
use crate::base::random::Random;
use crate::disk::{Access, Disk};
use crate::layout::AlignedBuffer;
use std::path::PathBuf;

/// Opens the channel: creates it if its directories are new, else recovers their contents.
///
/// # Errors
/// See [`RecoveryError`]; each says what to do, and none loses anything.
pub fn recover(
    disk: &dyn Disk,
    clock: &dyn Clock,
    random: &dyn Random,
    options: &RecoverOptions,
) -> Result<Recovered, RecoveryError> {
    recover_with(disk, clock, random, options, MemberLookup::AsWritten, Vec::new())
}

/// Opens the channel as [`recover`] does, without the data directories `without`: writing in them
/// has failed. For degraded openings.
///
/// # Errors
/// As [`recover`].
pub fn recover_without(
    disk: &dyn Disk,
    clock: &dyn Clock,
    random: &dyn Random,
    options: &RecoverOptions,
    without: Vec<PathBuf>,
) -> Result<Recovered, RecoveryError> {
    recover_with(disk, clock, random, options, MemberLookup::AsWritten, without)
}

pub(super) fn recover_with(
    disk: &dyn Disk,
    clock: &dyn Clock,
    random: &dyn Random,
    options: &RecoverOptions,
    whose: MemberLookup,
    mut without: Vec<PathBuf>,
) -> Result<Recovered, RecoveryError> {
    let start = clock.now();
    let mut recovered = loop {
        match open(disk, random, options, whose, &without) {
            Ok(recovered) => break recovered,
            Err(error) => match unwritable(options, &error, &without) {
                // An opening can be interrupted anywhere and repeated.
                Some(directory) => without.push(directory),
                None => return Err(error),
            },
        }
    };
    recovered.report.took = clock.now().saturating_sub(start);
    Ok(recovered)
}

/// Returns the data directory to leave out of a degraded opening since writing in it fails, as a
/// running channel suspends it; none if it would be the last one.
fn unwritable(
    options: &RecoverOptions,
    error: &RecoveryError,
    without: &[PathBuf],
) -> Option<PathBuf> {
    let RecoveryError::File(error) = error else { return None };
    let path = error.path().filter(|_| error.is_unwritable())?;
    let left = options.data_dirs.iter().filter(|dir| !without.contains(dir));
    if !options.open_degraded || left.clone().count() < 2 {
        return None;
    }
    left.filter(|dir| path.starts_with(dir)).max_by_key(|dir| dir.components().count()).cloned()
}

fn open(
    disk: &dyn Disk,
    random: &dyn Random,
    options: &RecoverOptions,
    whose: MemberLookup,
    without: &[PathBuf],
) -> Result<Recovered, RecoveryError> {
    let mut members = membership::assemble(disk, random, options, whose, without)?;
    let how = ReadOptions {
        channel: members.channel,
        access: Access::Write,
        segment_bytes: options.segment_bytes,
        degraded: options.open_degraded,
    };
    let (mut all, mut decision) = {
        let (checkpoint_dir, sources) = sources(&members);
        let Assessment { all, decision, misplaced, .. } =
            assessment::read(&how, &checkpoint_dir, &sources)?;
        if !misplaced.is_empty() {
            return Err(RecoveryError::Misplaced { moves: misplaced });
        }
        let present = members.stripes.iter().map(|s| s.present.as_ref());
        let paths: Vec<_> = present.map(|p| p.map(|p| p.directory.path())).collect();
        let missing = missing_segments::segments(&paths, &decision);
        let goes_on =
            options.open_without_missing_segments || Mutation::MissingUnrefused.is_active();
        if !missing.is_empty() && !goes_on {
            return Err(RecoveryError::SegmentsMissing { missing });
        }
        numbers::check(&all, &decision, members.checkpoint.directory.path(), &paths)?;
        (all, decision)
    };
    for (stripe, gathered) in members.stripes.iter_mut().zip(&all.stripes) {
        if !gathered.reading.present {
            stripe.present = None;
        }
    }
    members.complete()?;
    let present: Vec<bool> = members.stripes.iter().map(|s| s.present.is_some()).collect();
    let readings: Vec<&StripeReading> = all.stripes.iter().map(|s| &s.reading).collect();
    let adopted = adoption::adopt(&mut decision, &readings, &present);
    let mut report = Report { created: members.created, ..Report::default() };
    report.findings.append(&mut members.findings);
    report.findings.append(&mut all.findings);
    report
        .findings
        .extend(adopted.iter().zip(&members.stripes).enumerate().filter_map(adoption_finding));
    let mut opening =
        Opening { how, state: decision.state.clone(), buffer: AlignedBuffer::small()?, report };
    opening.repair_logs(&members, &all, &decision)?;
    if !members.created && !Mutation::LogNotEnded.is_active() {
        opening.end_logs(&members, &all, &decision);
    }
    Ok(opening.hand_over(members, all, decision)?)
}

/// Returns the finding about what a stripe adopted, if anything.
fn adoption_finding(
    (at, (events, stripe)): (usize, (&u64, &membership::MemberStripe)),
) -> Option<Finding> {
    let present = stripe.present.as_ref().filter(|_| *events > 0)?;
    let words = format!(
        "{} at the end of the log: kept; should a missing directory have copies, those are void when it is back",
        Quantity(*events, "event")
    );
    let mut finding = Finding::of(Case::R15, present.directory.path(), words);
    finding.stripe = Some(stripe_index(at));
    Some(finding)
}

fn sources(members: &Membership) -> (InputDir<'_>, Vec<InputDir<'_>>) {
    let checkpoint_dir = assessment::source(members.checkpoint_uuid, Some(&members.checkpoint));
    let mut stripes = Vec::new();
    for (at, stripe) in members.stripes.iter().enumerate() {
        let added = members.adds(stripe_index(at));
        stripes
            .push(InputDir { added, ..assessment::source(stripe.uuid, stripe.present.as_ref()) });
    }
    (checkpoint_dir, stripes)
}
