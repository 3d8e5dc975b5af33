//! Reads all directories and decides what they mean: the part that opening and inspection share.

use super::decide::decision;
use super::decide::headerless_segments;
use super::decide::misplaced_segments;
use super::decide::returned_segments::{self, ReturnedSegment};
use super::decide::verdict::Decision;
use super::error::RecoveryError;
use super::read::contents::{InputDir, LogContents, ReadOptions};
use super::read::members::Present;
use super::read::read_logs;
use super::read::returned_candidates;
use super::read::segment_file::Subject;
use super::read::stripe_reading::StripeReading;
use crate::base::ids::{SegmentId, Uuid};
use crate::layout::AlignedBuffer;
use std::path::PathBuf;

/// Returns the directory to read of the member `uuid`.
pub(crate) fn source(uuid: Uuid, present: Option<&Present>) -> InputDir<'_> {
    InputDir {
        uuid,
        directory: present.map(|p| &*p.directory),
        entries: present.map_or(&[], |p| &p.entries),
        added: false,
    }
}

/// What was read, and the decision.
pub(crate) struct Assessment {
    pub(crate) all: LogContents,
    pub(crate) decision: Decision,
    /// By stripe, the segments that came back after their events were given up.
    pub(crate) returned: Vec<Vec<ReturnedSegment>>,
    /// Segments that are in another directory than theirs: source and destination.
    pub(crate) misplaced: Vec<(PathBuf, PathBuf)>,
}

/// Reads everything and decides.
pub(crate) fn read(
    how: &ReadOptions,
    checkpoint_dir: &InputDir<'_>,
    sources: &[InputDir<'_>],
) -> Result<Assessment, RecoveryError> {
    let mut all = read_logs::read_all(how, checkpoint_dir, sources)?;
    let mut decision = decide(&all);
    // A checksum that fails once may be a failed read. And a segment in which no event is missing
    // may still hold events put after the last record that names it.
    let named = all.joined.stripes.iter().map(|s| s.watermark.segment);
    let lacks = all.stripes.iter().zip(named).map(|(s, id)| s.reading.lacks(id));
    let doubtful = decision.stripes.iter().zip(lacks).map(|(v, lacks)| v.is_damaged() || lacks);
    let doubtful: Vec<bool> = doubtful.collect();
    if doubtful.contains(&true) {
        read_logs::read_again(how, sources, &doubtful, &mut all)?;
        decision = decide(&all);
    }
    for (gathered, verdict) in all.stripes.iter_mut().zip(&decision.stripes) {
        headerless_segments::correct_headers(gathered, verdict);
    }
    headerless_segments::withdraw_findings(&mut all, &decision);
    headerless_segments::note_damaged_copies(&mut all, &decision);
    let misplaced = misplaced_segments::report_moves(&mut all, sources, &decision);
    let returned = set_returned_aside(how, sources, &mut all, &mut decision)?;
    Ok(Assessment { all, decision, returned, misplaced })
}

fn set_returned_aside(
    how: &ReadOptions,
    sources: &[InputDir<'_>],
    all: &mut LogContents,
    decision: &mut Decision,
) -> Result<Vec<Vec<ReturnedSegment>>, RecoveryError> {
    let mut buffer = AlignedBuffer::small()?;
    let subjects: Vec<Subject> = sources
        .iter()
        .enumerate()
        .map(|(at, source)| read_logs::subject(how, source, at))
        .collect();
    let candidates: Vec<_> = subjects
        .iter()
        .zip(&all.stripes)
        .map(|(subject, found)| {
            returned_candidates::candidates(subject, found, &decision.state, &mut buffer)
        })
        .collect();
    let uuids: Vec<Uuid> = subjects.iter().map(|subject| subject.uuid).collect();
    let returned = returned_segments::judge(&candidates, &uuids, &decision.state);
    for ((subject, found), verdict) in subjects.iter().zip(&returned).zip(&mut decision.stripes) {
        all.findings.extend(found.iter().map(|segment| segment.finding(subject)));
        let is_apart = |id: &SegmentId| found.iter().any(|segment| segment.id == *id);
        verdict.live.retain(|id| !is_apart(id));
        verdict.dead.retain(|id| !is_apart(id));
    }
    Ok(returned)
}

fn decide(all: &LogContents) -> Decision {
    let readings: Vec<&StripeReading> = all.stripes.iter().map(|s| &s.reading).collect();
    decision::decide(&readings, &all.joined)
}
