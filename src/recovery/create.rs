//! Making a channel, and making a directory part of one: in two phases.
//!
//! First every member durably says `creating`, with the full list; when all do, each durably says
//! `created`; the first block comes after that. So one visible member that says `created` proves
//! that a missing one is missing, and none that does proves that there is nothing to lose. A
//! directory that is added says `creating` first; then the old members take up the new list, and
//! only when all have it does the new one say `created`.

use super::buffer::Buffer;
use super::members::{self, Listed, Locking, Place, Present};
use super::plan::{self, Existing, Plan};
use super::rebuild::{self, Members, draw};
use super::slots;
use super::table::Case;
use super::vouch;
use super::{CHECKPOINT_NAME, Finding, MEMBER_NAME, OpenError, RecoverOptions};
use crate::base::ids::{StripeIndex, Uuid};
use crate::base::mutant::Broken;
use crate::base::random::Random;
use crate::disk::Disk;
use crate::record::member::{Member, MemberName, Phase, Role};
use crate::record::slot::SlotKind;
use std::path::{Path, PathBuf};

/// A stripe of the member list and its directory, if that is there.
pub(super) struct Stripe {
    pub(super) uuid: Uuid,
    pub(super) present: Option<Present>,
}

/// The directories of a channel that exists.
pub(super) struct Membership {
    pub(super) channel: Uuid,
    pub(super) created: bool,
    pub(super) checkpoint_uuid: Uuid,
    pub(super) checkpoint: Present,
    pub(super) stripes: Vec<Stripe>,
    pub(super) findings: Vec<Finding>,
    /// What the member files do not say yet, in the order in which they are to say it.
    unsaid: Vec<Member>,
}

impl Membership {
    /// Whether a directory of the channel is missing.
    pub(super) fn is_degraded(&self) -> bool {
        self.stripes.iter().any(|s| s.present.is_none())
    }

    /// Whether the stripe's directory becomes part of the channel with this opening.
    pub(super) fn adds(&self, stripe: StripeIndex) -> bool {
        let is_it = |m: &Member| m.role == Role::Stripe(stripe) && m.phase == Phase::Creating;
        self.unsaid.iter().any(is_it)
    }

    /// Completes the channel: durably writes what member files do not say yet. Not before the logs
    /// are read: an opening that is refused changes nothing.
    pub(super) fn settle(&mut self) -> Result<(), OpenError> {
        for record in std::mem::take(&mut self.unsaid) {
            let present = match record.role {
                Role::Checkpoint => Some(&mut self.checkpoint),
                Role::Stripe(index) => self.stripes[index.at()].present.as_mut(),
            };
            let is_new = record.phase == Phase::Creating;
            debug_assert!(present.is_some() || !is_new, "what cannot be read is not added");
            let Some(present) = present else { continue };
            let said = matches!(&present.claim, members::Claim::Member(m) if *m == record);
            // Records go into the places of damaged ones first: into both, if none is whole.
            let times = std::mem::take(&mut present.slots.damaged).len();
            for _ in 0..times.max(usize::from(!said)) {
                say(present, &record)?;
            }
            if is_new {
                let len = SlotKind::Checkpoint.file_bytes() as u64;
                slots::make(&*present.directory, CHECKPOINT_NAME, len)?;
            }
        }
        Ok(())
    }
}

/// Locks the directories, and creates the channel in them or finds out what it lacks.
pub(super) fn assemble(
    disk: &dyn Disk,
    random: &dyn Random,
    options: &RecoverOptions,
    whose: Members,
    without: &[PathBuf],
) -> Result<Membership, OpenError> {
    let mut places = members::survey(disk, options, true, without)?;
    vouch::correct(&mut places, options.open_degraded)?;
    let rebuilt = match whose {
        Members::AsWritten => None,
        Members::OrFromLogs => rebuild::members(&places, random)?,
    };
    match plan::plan(&places, rebuilt, options.open_degraded)? {
        Plan::Create { interrupted } => {
            // A degraded opening goes on without a directory that cannot be read; but nothing
            // proves that the channel is new as long as one may say otherwise.
            if let Some(trouble) = places.iter_mut().find_map(|p| p.trouble.take()) {
                return Err(trouble);
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

/// The error for those who may not create a channel.
pub(super) fn no_channel(places: &[Place], what: &str) -> OpenError {
    let path = places.first().map(|p| p.path.clone()).unwrap_or_default();
    OpenError::NoChannel { path, what: what.to_owned() }
}

/// Makes the directories that are not there, and locks them. The name of one that is there and
/// has no part in a channel yet is made durable: whoever made it may have been killed before.
fn make_missing(
    disk: &dyn Disk,
    places: &mut [Place],
    which: impl Fn(usize) -> bool,
) -> Result<(), OpenError> {
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
            .map_err(|source| OpenError::Directory { path: place.path.clone(), source })?;
        if place.present.is_none() {
            members::unique(&mut seen, &place.path, &*directory)?;
        }
        if place.present.as_ref().is_none_or(|present| present.lock.is_none()) {
            place.present = Some(members::look(directory, Locking::Always)?);
        }
        if place.is_created() {
            let words = "it was not there a moment ago and belongs to a channel; open again";
            let source = std::io::Error::other(words);
            return Err(OpenError::Directory { path: place.path.clone(), source });
        }
    }
    Ok(())
}

/// A new channel in the directories of a Flume file channel would hide the events that wait there, and
/// write over its checkpoint.
fn refuse_flumes(places: &[Place]) -> Result<(), OpenError> {
    for place in places {
        let entries = place.present.iter().flat_map(|present| &present.entries);
        if let Some(entry) = entries.filter(|e| e.is_file).find(|e| is_flumes(&e.name)) {
            let (path, file) = (place.path.clone(), entry.name.clone());
            return Err(OpenError::FlumeChannel { path, file });
        }
    }
    Ok(())
}

/// Whether Flume's file channel gives a file this name: its logs (`log-12`, `log-12.meta`), and what lies beside
/// its checkpoint.
fn is_flumes(name: &str) -> bool {
    let number = name.strip_prefix("log-").map(|rest| rest.strip_suffix(".meta").unwrap_or(rest));
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        || ["checkpoint.meta", "inflightputs", "inflighttakes"].contains(&name)
}

fn create(
    disk: &dyn Disk,
    random: &dyn Random,
    mut places: Vec<Place>,
    interrupted: bool,
) -> Result<Membership, OpenError> {
    refuse_flumes(&places)?;
    make_missing(disk, &mut places, |_| true)?;
    let mut stripe = 0;
    let members: Vec<MemberName> =
        places.iter().map(|place| name_of(place, random, &mut stripe)).collect();
    let channel = draw(random);
    for phase in [Phase::Creating, Phase::Created] {
        if phase == Phase::Creating && Broken::OnePhase.is_chosen() {
            continue;
        }
        for (place, name) in places.iter_mut().zip(&members) {
            let present = place.present.as_mut().expect("all directories were made");
            let record = record(channel, name, phase, &members);
            say(present, &record)?;
            if phase == Phase::Creating {
                slots::make(
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
    Ok(gather(channel, true, ats, places, findings))
}

fn complete(
    disk: &dyn Disk,
    random: &dyn Random,
    mut places: Vec<Place>,
    mut existing: Existing,
) -> Result<Membership, OpenError> {
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
        // Two members of one id would be taken for copies of each other.
        while existing.members.iter().any(|(member, _)| member.uuid == name.uuid) {
            name.uuid = draw(random);
        }
        let words = format!("added to the channel as data directory {}", stripe - 1);
        existing.findings.push(Finding::of(Case::R9, &places[at].path, words));
        existing.members.push((name, Some(at)));
    }
    let list: Vec<MemberName> = existing.members.iter().map(|(m, _)| m.clone()).collect();
    // New members first say `creating`, then the old ones take up the list, then the new ones
    // say `created`.
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
    let found = gather(channel, false, existing.members, places, existing.findings);
    Ok(Membership { unsaid, ..found })
}

fn gather(
    channel: Uuid,
    created: bool,
    members: Vec<(MemberName, Option<usize>)>,
    places: Vec<Place>,
    findings: Vec<Finding>,
) -> Membership {
    let mut present: Vec<Option<Present>> = places.into_iter().map(|p| p.present).collect();
    let mut checkpoint = None;
    let mut stripes: Vec<(StripeIndex, Stripe)> = Vec::new();
    for (name, at) in members {
        let present = at.and_then(|at| present[at].take());
        match name.role {
            Role::Checkpoint => checkpoint = present.map(|p| (name.uuid, p)),
            Role::Stripe(index) => {
                stripes.push((index, Stripe { uuid: name.uuid, present }));
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

/// Durably writes what a directory says of itself.
fn say(present: &mut Present, record: &Member) -> Result<(), OpenError> {
    let kind = SlotKind::Member;
    let file = slots::make(&*present.directory, MEMBER_NAME, kind.file_bytes() as u64)?;
    let mut home = present.slots.home(file);
    let path = || home.file.path().to_owned();
    let payload =
        record.encode().map_err(|refusal| OpenError::TooLarge { path: path(), refusal })?;
    let mut buffer = Buffer::small()?;
    slots::write(&mut home, kind, record.channel, record.me, &payload, &mut buffer)?;
    present.slots.wrote(&home);
    present.claim = members::Claim::Member(record.clone());
    Ok(())
}

fn record(channel: Uuid, name: &MemberName, phase: Phase, members: &[MemberName]) -> Member {
    Member { channel, me: name.uuid, role: name.role, phase, members: members.to_vec() }
}

fn name_of(place: &Place, random: &dyn Random, stripe: &mut usize) -> MemberName {
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
