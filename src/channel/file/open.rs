//! Opening a file channel: from the result of recovery to a running channel.

use super::checkpoint::By;
use super::commit_delay::CommitDelay;
use super::error::OpenError;
use super::options::FileChannelOptions;
use super::shared::{CheckpointDir, Parts, Shared, StripeDir, StripeMaintenance};
use crate::base::codes;
use crate::base::ids::{EpochNumber, StripeIndex};
use crate::base::lock_rank::LockRank;
use crate::base::quantity::Quantity;
use crate::layout::{self, CheckpointSlots};
use crate::log::{FreeSegment, Log, LogSettings, StripeStart};
use crate::record::Epoch;
use crate::recovery::decision_table::Case;
use crate::recovery::{self, RecoverOptions, Recovered, RecoveredStripe};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Recovers the directories, begins a new epoch on every stripe, and makes that durable.
pub(super) fn open(options: FileChannelOptions) -> Result<Arc<Shared>, OpenError> {
    options.check()?;
    let recover = recover_options(&options);
    let mut without = Vec::new();
    loop {
        let (disk, clock, random) = (&*options.disk, &*options.clock, &*options.random);
        let recovered = recovery::recover_without(disk, clock, random, &recover, without.clone())?;
        log_findings(&options, &recovered);
        let shared = Arc::new(Shared::new(parts(options.clone(), recovered)?));
        match begin(&shared) {
            Ok(()) => {
                log_write_modes(&shared);
                check_space(&shared);
                return Ok(shared);
            }
            // It is left out, as a running channel would suspend it.
            Err(OpenError::Begin { path, source }) if may_leave_out(&options, &without, &path) => {
                tracing::warn!(
                    code = %codes::OPENED_WITHOUT_DISK,
                    "writing in {} fails ({source}); opened without it: its events are out of reach",
                    path.display()
                );
                without.push(path);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Logs how the directories are written, once they will be.
fn log_write_modes(shared: &Shared) {
    let channel = shared.name.as_str();
    for directory in shared.stripe_dirs.iter().filter_map(|home| home.directory.as_ref()) {
        let path = directory.path().display();
        if directory.capabilities().direct {
            tracing::info!(channel, %path, "writes go directly to the device, each durable when it completes");
        } else {
            let reason = directory.why_buffered().unwrap_or_default();
            tracing::info!(channel, %path, %reason,
                "writes go through the page cache, one at a time with a sync after each");
        }
    }
}

/// Before the first put, not while it runs: on a disk that is already too full no put may enter.
fn check_space(shared: &Arc<Shared>) {
    if shared.options.step_driven {
        return;
    }
    for (at, home) in shared.stripe_dirs.iter().enumerate() {
        let mut maintenance = LockRank::Maintenance.lock(&home.maintenance);
        shared.check_space(StripeIndex(at as u16), &mut maintenance);
    }
}

/// Returns whether a degraded opening may continue without the data directory `path`: it is not the
/// last one.
fn may_leave_out(options: &FileChannelOptions, without: &[PathBuf], path: &PathBuf) -> bool {
    let left = options.data_dirs.iter().filter(|dir| !without.contains(dir));
    options.open_degraded && left.clone().count() > 1 && left.clone().any(|dir| dir == path)
}

/// Returns the options of recovery.
pub(super) fn recover_options(options: &FileChannelOptions) -> RecoverOptions {
    RecoverOptions {
        checkpoint_dir: options.checkpoint_dir.clone(),
        data_dirs: options.data_dirs.clone(),
        open_degraded: options.open_degraded,
        open_without_missing_segments: options.open_without_missing_segments,
        create: options.create,
        segment_bytes: options.segment_bytes(),
    }
}

/// Logs the findings: a loss is an error, the usual traces of a crash are not worth a warning.
fn log_findings(options: &FileChannelOptions, recovered: &Recovered) {
    let name = options.name.clone().unwrap_or_else(|| recovered.channel.to_string());
    let channel = name.as_str();
    let mut ordinary = 0;
    for finding in &recovered.report.findings {
        if finding.case.is_damage() {
            tracing::error!(code = %codes::OPENED_WITH_LOSS, channel, "was opened with a loss: {finding}");
        } else if finding.case == Case::R16 {
            tracing::warn!(
                code = %codes::SEGMENT_RETURNED,
                channel,
                "a segment file that came back is left alone: {finding}"
            );
        } else if finding.case.is_ordinary() {
            ordinary += 1;
            tracing::debug!(channel, "{finding}");
        } else {
            tracing::warn!(channel, "{finding}");
        }
    }
    let report = &recovered.report;
    let events: u64 = recovered
        .stripes
        .iter()
        .map(|s| {
            let state = recovered.state.stripe(s.index);
            state.missing(0, s.next_sequence.0).iter().map(|(a, b)| b - a).sum::<u64>()
        })
        .sum();
    let left = match ordinary {
        0 => String::new(),
        1 => ", 1 place repaired after a crash".to_owned(),
        places => format!(", {places} places repaired after a crash"),
    };
    tracing::info!(
        channel,
        "{}: {} waiting, {} scanned, {} written again{left}, {} ms",
        if report.created { "created" } else { "recovered" },
        Quantity(events, "event"),
        Quantity(report.blocks_scanned, "block"),
        report.blocks_rewritten,
        report.took.as_millis()
    );
}

fn parts(options: FileChannelOptions, recovered: Recovered) -> Result<Parts, OpenError> {
    let (mut stripe_dirs, mut starts, mut checkpoints) = (Vec::new(), Vec::new(), Vec::new());
    let checkpoint_dir = recovered.checkpoint_dir;
    let (owner, directory) = (checkpoint_dir.uuid, checkpoint_dir.directory);
    let checkpoint_home = CheckpointDir {
        directory: Arc::clone(&directory),
        member: checkpoint_dir.member,
        lock: checkpoint_dir.lock,
    };
    let mut state = recovered.state;
    for mut stripe in recovered.stripes {
        first_segment(&options, &mut stripe)?;
        let nonce = options.random.next_u64();
        // A void reaches up to the next sequence: over everything for which recovery found no
        // block.
        let next = state.stripe(stripe.index).next.max(stripe.next_sequence);
        state.stripe_mut(stripe.index).next = next;
        starts.push(start(&stripe, nonce, recovered.channel));
        let (directory, member, lock) = match stripe.home {
            None => (None, None, None),
            Some(home) => {
                let directory = Arc::clone(&home.directory);
                let slots =
                    CheckpointSlots::new(Some(stripe.index), stripe.uuid, directory, home.slots);
                checkpoints.push(slots);
                (Some(home.directory), home.member, Some(home.lock))
            }
        };
        let maintenance =
            StripeMaintenance { next_slot: stripe.next_slot, ..StripeMaintenance::default() };
        let (commit_delay, maintenance) = (CommitDelay::default(), Mutex::new(maintenance));
        stripe_dirs.push(StripeDir { directory, member, lock, commit_delay, maintenance });
    }
    checkpoints.push(CheckpointSlots::new(None, owner, directory, checkpoint_dir.slots));
    let settings = LogSettings {
        capacity: options.capacity,
        hot_window_bytes: options.hot_window_bytes,
        segment_bytes: options.segment_bytes(),
        opened: options.clock.now(),
    };
    let random = Arc::clone(&options.random);
    let nonce = Box::new(move || random.next_u64());
    let log = Log::new(settings, starts, state, recovered.order, nonce);
    Ok(Parts {
        options,
        channel: recovered.channel,
        log,
        stripe_dirs,
        checkpoints,
        checkpoint_home,
    })
}

/// Creates a segment for a stripe that has neither a current nor a free one, if the disk has room;
/// without room its epoch begins in a checkpoint slot.
fn first_segment(
    options: &FileChannelOptions,
    stripe: &mut RecoveredStripe,
) -> Result<(), OpenError> {
    let Some(home) = &stripe.home else { return Ok(()) };
    if !stripe.segments.is_empty() || !stripe.free.is_empty() {
        return Ok(());
    }
    let name = layout::segment_name(stripe.next_slot);
    // Short: it is filled while the caller waits. Maintenance creates full-size ones during the
    // first puts.
    let len = options.first_segment_bytes();
    match layout::make_zeroed(&*home.directory, &name, len) {
        Ok(file) => {
            stripe.free.push(FreeSegment { slot: stripe.next_slot, file, len });
            stripe.next_slot += 1;
        }
        Err(error) => {
            tracing::warn!(code = %codes::SPACE_LOW, "{error}: the channel opens, puts wait for room");
        }
    }
    Ok(())
}

fn start(stripe: &RecoveredStripe, nonce: u64, channel: crate::base::ids::Uuid) -> StripeStart {
    let number = EpochNumber(stripe.epoch_seen.0 + 1);
    let depth = |home: &recovery::RecoveredDir| home.directory.capabilities().writes_in_flight_max;
    StripeStart {
        index: stripe.index,
        uuid: stripe.uuid,
        channel,
        epoch: Epoch { number, nonce, start: stripe.next_block },
        end_offset: stripe.end_offset,
        segments: stripe.segments.clone(),
        free: stripe.free.clone(),
        next_block: stripe.next_block,
        next_sequence: stripe.next_sequence,
        last_segment: stripe.segment_seen,
        writes_in_flight_max: stripe.home.as_ref().map_or(1, depth),
        available: stripe.available(),
    }
}

/// Begins the new epoch on every stripe that is present. Only when all are durable may an event be
/// lent or a commit return: an acknowledgement written before would name sequences that an older
/// epoch could still write again.
fn begin(shared: &Arc<Shared>) -> Result<(), OpenError> {
    let stripes = (0..shared.stripe_dirs.len()).map(|index| StripeIndex(index as u16));
    for index in stripes.filter(|index| shared.stripe_dirs[index.at()].directory.is_some()) {
        if shared.write_one(index) {
            continue;
        }
        // No segment is free: the epoch is stored in the checkpoint slots until one is.
        let _ = shared.with_log(|log| log.epoch_is_in_slot(index));
    }
    // A slot that cannot be written is detected by the second attempt: the other one is written
    // then.
    let checkpoint = || shared.checkpoint(By::Here, shared.options.write_timeout);
    let written = checkpoint().or_else(|_| checkpoint());
    let fault = shared.with_log(|log| {
        let stripes = (0..log.stripes()).map(|index| StripeIndex(index as u16));
        let present = stripes.filter(|index| shared.stripe_dirs[index.at()].directory.is_some());
        let reports = present.map(|index| log.report(index));
        reports.filter_map(|report| report.suspended.map(|t| (report.index, t))).next()
    });
    let failed = |index: Option<StripeIndex>, words: String| {
        let stripe = index.and_then(|index| shared.stripe_dirs[index.at()].directory.as_ref());
        let path = stripe.map(|directory| directory.path().to_owned());
        // A fault of no stripe concerns all of them: no opening can leave it out.
        let path = path.unwrap_or_else(|| shared.options.checkpoint_dir.clone());
        OpenError::Begin { path, source: std::io::Error::other(words) }
    };
    match (fault, written) {
        (Ok(Some((index, fault))), _) => Err(failed(Some(index), fault.to_string())),
        (Err(fault), _) => Err(failed(None, fault.to_string())),
        (Ok(None), Err(error)) => Err(failed(error.stripe, error.fault.to_string())),
        (Ok(None), Ok(_)) => Ok(()),
    }
}
