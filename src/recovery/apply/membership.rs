//! Creation of a channel, and adding a directory to one: in two phases.
//!
//! First every member durably records `creating`, with the full list; when all have, each durably
//! records `created`; the first block comes after that. So one visible member with `created` proves
//! that a missing one is missing, and without any there is nothing to lose. An added directory
//! first records `creating`; then the old members record the new list, and only when all have it
//! does the new one record `created`.

use crate::base::ids::{StripeIndex, Uuid};
use crate::base::mutation::Mutation;
use crate::base::random::Random;
use crate::disk::Disk;
use crate::layout::{self, CHECKPOINT_NAME, LayoutError, MemberClaim};
use crate::record::member::{Member, MemberName, Phase, Role};
use crate::record::slot::SlotKind;
use crate::recovery::case::Case;
use crate::recovery::decide::plan::{self, Existing, Plan};
use crate::recovery::error::RecoveryError;
use crate::recovery::finding::Finding;
use crate::recovery::options::RecoverOptions;
use crate::recovery::read::member_evidence;
use crate::recovery::read::member_rebuild::{self, MemberLookup, draw};
use crate::recovery::read::members::{self, Listed, ListedDir, Locking, Present};
use std::path::{Path, PathBuf};

/// A stripe of the member list and its directory, if that is present.
pub(crate) struct MemberStripe {
    pub(crate) uuid: Uuid,
    pub(crate) present: Option<Present>,
}

/// The directories of a channel that exists.
pub(crate) struct Membership {
    pub(crate) channel: Uuid,
    pub(crate) created: bool,
    pub(crate) checkpoint_uuid: Uuid,
    pub(crate) checkpoint: Present,
    pub(crate) stripes: Vec<MemberStripe>,
    pub(crate) findings: Vec<Finding>,
    /// Member records not written yet, in the order of writing.
    unsaid: Vec<Member>,
}

impl Membership {
    /// Returns whether a directory of the channel is missing.
    pub(crate) fn is_degraded(&self) -> bool {
        self.stripes.iter().any(|s| s.present.is_none())
    }

    /// Returns whether the stripe's directory becomes part of the channel with this opening.
    pub(crate) fn adds(&self, stripe: StripeIndex) -> bool {
        let is_it = |m: &Member| m.role == Role::Stripe(stripe) && m.phase == Phase::Creating;
        self.unsaid.iter().any(is_it)
    }

    /// Completes the channel: durably writes the outstanding member records. Called only after the
    /// logs are read: an opening that is refused changes nothing.
    pub(crate) fn complete(&mut self) -> Result<(), RecoveryError> {
        for record in std::mem::take(&mut self.unsaid) {
            let present = match record.role {
                Role::Checkpoint => Some(&mut self.checkpoint),
                Role::Stripe(index) => self.stripes[index.at()].present.as_mut(),
            };
            let is_new = record.phase == Phase::Creating;
            debug_assert!(present.is_some() || !is_new, "what cannot be read is not added");
            let Some(present) = present else { continue };
            let said = matches!(&present.claim, MemberClaim::Member(m) if *m == record);
            // Records replace damaged ones first: both, if none is whole.
            let times = std::mem::take(&mut present.slots.damaged).len();
            for _ in 0..times.max(usize::from(!said)) {
                write_record(present, &record)?;
            }
            if is_new {
                let len = SlotKind::Checkpoint.file_bytes() as u64;
                layout::create_file(&*present.directory, CHECKPOINT_NAME, len)?;
            }
        }
        Ok(())
    }
}

/// Locks the directories, and creates the channel in them or finds out what it lacks.
pub(crate) fn assemble(
    disk: &dyn Disk,
    random: &dyn Random,
    options: &RecoverOptions,
    whose: MemberLookup,
    without: &[PathBuf],
) -> Result<Membership, RecoveryError> {
    let mut places = members::survey(disk, options, true, without)?;
    member_evidence::correct(&mut places, options.open_degraded)?;
    let rebuilt = match whose {
        MemberLookup::AsWritten => None,
        MemberLookup::OrFromLogs => member_rebuild::members(&places, random)?,
    };
    match plan::plan(&places, rebuilt, options.open_degraded)? {
        Plan::Create { interrupted } => {
            // A degraded opening goes on without a directory that cannot be read; but the channel
            // cannot be taken for new while such a directory may say otherwise.
            if let Some(fault) = places.iter_mut().find_map(|p| p.fault.take()) {
                return Err(fault);
            }
            if !options.create {
                let what = if interrupted { "its creation was interrupted" } else { "it is empty" };
                return Err(no_channel(&places, what));
            }
            create(disk, random, places, interrupted)
        }
        Plan::Open(existing) => complete(disk, random, places, existing),
    }
}

/// Returns the error where no channel may be created.
pub(crate) fn no_channel(places: &[ListedDir], what: &str) -> RecoveryError {
    let path = places.first().map(|p| p.path.clone()).unwrap_or_default();
    RecoveryError::NoChannel { path, what: what.to_owned() }
}

/// Creates the missing directories and locks them. The name of an existing one that has no part in
/// a channel yet is made durable: its creator may have been killed before a sync.
fn make_missing(
    disk: &dyn Disk,
    places: &mut [ListedDir],
    which: impl Fn(usize) -> bool,
) -> Result<(), RecoveryError> {
    let mut seen = Vec::new();
    for place in places.iter().filter(|p| p.present.is_some()) {
        let present = place.present.as_ref().expect("filtered");
        members::unique(&mut seen, &place.path, &*present.directory)?;
    }
    for (_, place) in places.iter_mut().enumerate().filter(|(at, _)| which(*at)) {
        if place.is_created() {
            continue;
        }
        let directory = disk
            .open_dir(&place.path, true)
            .map_err(|source| RecoveryError::Directory { path: place.path.clone(), source })?;
        if place.present.is_none() {
            members::unique(&mut seen, &place.path, &*directory)?;
        }
        if place.present.as_ref().is_none_or(|present| present.lock.is_none()) {
            place.present = Some(members::look(directory, Locking::Always)?);
        }
        if place.is_created() {
            let words =
                "it did not exist when the opening began and belongs to a channel; open again";
            let source = std::io::Error::other(words);
            return Err(RecoveryError::Directory { path: place.path.clone(), source });
        }
    }
    Ok(())
}

/// Refuses the directories of a Flume file channel: a new channel there would hide the waiting
/// events and overwrite its checkpoint.
fn refuse_flume_channel(places: &[ListedDir]) -> Result<(), RecoveryError> {
    for place in places {
        let entries = place.present.iter().flat_map(|present| &present.entries);
        if let Some(entry) = entries.filter(|e| e.is_file).find(|e| is_flume_file(&e.name)) {
            let (path, file) = (place.path.clone(), entry.name.clone());
            return Err(RecoveryError::FlumeChannel { path, file });
        }
    }
    Ok(())
}

/// Returns whether Flume's file channel uses this file name: its logs (`log-12`, `log-12.meta`),
/// and the files next to its checkpoint.
fn is_flume_file(name: &str) -> bool {
    let number = name.strip_prefix("log-").map(|rest| rest.strip_suffix(".meta").unwrap_or(rest));
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        || ["checkpoint.meta", "inflightputs", "inflighttakes"].contains(&name)
}

fn create(
    disk: &dyn Disk,
    random: &dyn Random,
    mut places: Vec<ListedDir>,
    interrupted: bool,
) -> Result<Membership, RecoveryError> {
    refuse_flume_channel(&places)?;
    make_missing(disk, &mut places, |_| true)?;
    let mut stripe = 0;
    let members: Vec<MemberName> =
        places.iter().map(|place| name_of(place, random, &mut stripe)).collect();
    let channel = draw(random);
    for phase in [Phase::Creating, Phase::Created] {
        if phase == Phase::Creating && Mutation::OnePhase.is_active() {
            continue;
        }
        for (place, name) in places.iter_mut().zip(&members) {
            let present = place.present.as_mut().expect("all directories were made");
            let record = record(channel, name, phase, &members);
            write_record(present, &record)?;
            if phase == Phase::Creating {
                layout::create_file(
                    &*present.directory,
                    CHECKPOINT_NAME,
                    SlotKind::Checkpoint.file_bytes() as u64,
                )?;
            }
        }
    }
    let mut findings = Vec::new();
    if interrupted {
        let words = "an earlier creation of the channel had been interrupted before anything could be put; done again";
        findings.push(Finding::of(Case::R9, &places[0].path, words));
    }
    let ats = members.into_iter().enumerate().map(|(at, name)| (name, Some(at))).collect();
    Ok(collect_members(channel, true, ats, places, findings))
}

fn complete(
    disk: &dyn Disk,
    random: &dyn Random,
    mut places: Vec<ListedDir>,
    mut existing: Existing,
) -> Result<Membership, RecoveryError> {
    let channel = existing.channel;
    let wanted: Vec<usize> =
        existing.members.iter().filter_map(|(_, at)| *at).chain(existing.added.clone()).collect();
    make_missing(disk, &mut places, |at| wanted.contains(&at))?;
    for (name, at) in &mut existing.members {
        if let Some(at) = at {
            name.path = path_text(&places[*at].path);
        }
    }
    let old = existing.members.len();
    let mut stripe = existing.members.iter().filter(|(m, _)| m.role != Role::Checkpoint).count();
    for at in existing.added {
        let mut name = name_of(&places[at], random, &mut stripe);
        // Two members with one id would be taken for copies of each other.
        while existing.members.iter().any(|(member, _)| member.uuid == name.uuid) {
            name.uuid = draw(random);
        }
        let words = format!("added to the channel as data directory {}", stripe - 1);
        existing.findings.push(Finding::of(Case::R9, &places[at].path, words));
        existing.members.push((name, Some(at)));
    }
    let list: Vec<MemberName> = existing.members.iter().map(|(m, _)| m.clone()).collect();
    // New members first record `creating`, then the old ones the new list, then the new ones
    // `created`.
    let news = &existing.members[old..];
    let steps = news
        .iter()
        .map(|m| (m, Phase::Creating))
        .chain(existing.members[..old].iter().map(|m| (m, Phase::Created)))
        .chain(news.iter().map(|m| (m, Phase::Created)));
    let unsaid = steps
        .filter(|((_, at), _)| at.is_some())
        .map(|((name, _), phase)| record(channel, name, phase, &list))
        .collect();
    let found = collect_members(channel, false, existing.members, places, existing.findings);
    Ok(Membership { unsaid, ..found })
}

fn collect_members(
    channel: Uuid,
    created: bool,
    members: Vec<(MemberName, Option<usize>)>,
    places: Vec<ListedDir>,
    findings: Vec<Finding>,
) -> Membership {
    let mut present: Vec<Option<Present>> = places.into_iter().map(|p| p.present).collect();
    let mut checkpoint = None;
    let mut stripes: Vec<(StripeIndex, MemberStripe)> = Vec::new();
    for (name, at) in members {
        let present = at.and_then(|at| present[at].take());
        match name.role {
            Role::Checkpoint => checkpoint = present.map(|p| (name.uuid, p)),
            Role::Stripe(index) => {
                stripes.push((index, MemberStripe { uuid: name.uuid, present }));
            }
        }
    }
    stripes.sort_by_key(|(index, _)| *index);
    let (checkpoint_uuid, checkpoint) =
        checkpoint.expect("the checkpoint directory is listed, and was made when it was missing");
    let stripes = stripes.into_iter().map(|(_, s)| s).collect();
    let unsaid = Vec::new();
    Membership { channel, created, checkpoint_uuid, checkpoint, stripes, findings, unsaid }
}

/// Durably writes the member record of a directory.
fn write_record(present: &mut Present, record: &Member) -> Result<(), LayoutError> {
    let home = layout::write_member(&*present.directory, &present.slots, record)?;
    present.slots.record_write(&home);
    present.claim = MemberClaim::Member(record.clone());
    Ok(())
}

fn record(channel: Uuid, name: &MemberName, phase: Phase, members: &[MemberName]) -> Member {
    Member { channel, me: name.uuid, role: name.role, phase, members: members.to_vec() }
}

fn name_of(place: &ListedDir, random: &dyn Random, stripe: &mut usize) -> MemberName {
    let role = match place.listed {
        Listed::Checkpoint => Role::Checkpoint,
        Listed::Data => {
            let index = u16::try_from(*stripe).expect("the number of directories is bounded");
            *stripe += 1;
            Role::Stripe(StripeIndex(index))
        }
    };
    MemberName { uuid: draw(random), role, path: path_text(&place.path) }
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
