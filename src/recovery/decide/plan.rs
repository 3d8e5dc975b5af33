//! The plan of an opening: which directories make up the channel, and whether it is new. Decided
//! before anything is written.

use crate::base::ids::Uuid;
use crate::base::limits::STRIPES_MAX;
use crate::layout::{LayoutError, MemberClaim};
use crate::record::member::{MemberName, Phase, Role};
use crate::recovery::case::Case;
use crate::recovery::error::RecoveryError;
use crate::recovery::finding::Finding;
use crate::recovery::read::members::{Listed, ListedDir};
use std::path::{Path, PathBuf};

/// What is done with the listed directories.
#[derive(Debug)]
pub(crate) enum Plan {
    /// No visible member says that the channel was created, and no directory has a log: create it.
    Create {
        /// Whether an earlier creation was interrupted.
        interrupted: bool,
    },
    /// The channel exists.
    Open(Existing),
}

/// An existing channel.
#[derive(Debug)]
pub(crate) struct Existing {
    pub(crate) channel: Uuid,
    /// The member list, each with the index of the listed directory that it is.
    pub(crate) members: Vec<(MemberName, Option<usize>)>,
    /// Listed directories that are to become members.
    pub(crate) added: Vec<usize>,
    pub(crate) findings: Vec<Finding>,
}

/// Decides. `rebuilt` is a member list made from the logs; it counts where no member file is
/// readable.
///
/// # Errors
/// A member is missing, foreign, or listed in another role.
pub(crate) fn plan(
    places: &[ListedDir],
    rebuilt: Option<Vec<MemberName>>,
    open_degraded: bool,
) -> Result<Plan, RecoveryError> {
    let created = |p: &&ListedDir| p.is_created();
    let data = places.iter().filter(|p| p.listed == Listed::Data).find(created);
    let Some(first) = data.or_else(|| places.iter().find(created)) else {
        let begun = |p: &ListedDir| {
            p.present.as_ref().is_some_and(|p| !matches!(p.claim, MemberClaim::Nothing))
        };
        return Ok(Plan::Create { interrupted: places.iter().any(begun) });
    };
    let channel = first.identity().expect("a created member has an identity").channel;
    refuse_foreign(places, channel)?;
    refuse_copies(places)?;
    let names = member_list(places, channel)
        .or(rebuilt)
        .ok_or_else(|| RecoveryError::Orphan { path: first.path.clone(), channel })?;
    let mut existing =
        Existing { channel, members: Vec::new(), added: Vec::new(), findings: Vec::new() };
    let mut taken = vec![false; places.len()];
    for name in names {
        let at = find(places, channel, &name, &taken)?;
        if let Some(at) = at {
            taken[at] = true;
            existing.note_rebuilt(&places[at], &name);
        }
        existing.members.push((name, at));
    }
    existing.decide_checkpoint_dir(places, &mut taken);
    let missing = existing.missing_stripes(places, &taken, open_degraded)?;
    existing.place_the_rest(places, &taken, missing > 0)?;
    Ok(Plan::Open(existing))
}

fn refuse_foreign(places: &[ListedDir], expected: Uuid) -> Result<(), RecoveryError> {
    for place in places.iter().filter(|p| p.is_created()) {
        let found = place.identity().expect("a created member has an identity").channel;
        if found != expected {
            return Err(RecoveryError::ForeignMember { path: place.path.clone(), found, expected });
        }
    }
    Ok(())
}

/// Refuses a data directory that is a copy of another: the files do not tell which of them is the
/// member.
fn refuse_copies(places: &[ListedDir]) -> Result<(), RecoveryError> {
    let created = || places.iter().filter(|p| p.listed == Listed::Data && p.is_created());
    for (at, place) in created().enumerate() {
        let twin = created().skip(at + 1).find(|other| other.identity() == place.identity());
        if let (Some(twin), Some(is)) = (twin, place.identity()) {
            let (path, other) = (place.path.clone(), twin.path.clone());
            return Err(RecoveryError::Twins {
                path,
                other,
                member: is.owner,
                channel: is.channel,
            });
        }
    }
    Ok(())
}

/// Returns the newest member list: lists only grow. A list that says `created` counts before one
/// that does not: a directory whose adding was interrupted is not a member yet.
fn member_list(places: &[ListedDir], channel: Uuid) -> Option<Vec<MemberName>> {
    places
        .iter()
        .filter_map(ListedDir::member)
        .filter(|m| m.channel == channel)
        .max_by_key(|m| (m.phase == Phase::Created, m.members.len()))
        .map(|m| m.members.clone())
}

/// Returns the listed directory that is the member `name`.
fn find(
    places: &[ListedDir],
    channel: Uuid,
    name: &MemberName,
    taken: &[bool],
) -> Result<Option<usize>, RecoveryError> {
    let is_it = |p: &ListedDir| {
        p.identity().is_some_and(|id| id.channel == channel && id.owner == name.uuid)
    };
    // A member file without one whole byte, at the path where the member was last seen.
    let was_it = |p: &ListedDir| {
        p.identity().is_none()
            && p.path.to_string_lossy() == name.path
            && p.present.as_ref().is_some_and(|p| matches!(p.claim, MemberClaim::Damaged))
    };
    let free = |at: &usize| !taken[*at];
    let all = || (0..places.len()).filter(free);
    let Some(at) =
        all().find(|at| is_it(&places[*at])).or_else(|| all().find(|at| was_it(&places[*at])))
    else {
        return Ok(None);
    };
    let (place, role) = (&places[at], Listed::of(name.role));
    if place.listed != role {
        return Err(RecoveryError::WrongRole {
            path: place.path.clone(),
            channel,
            found: role.word(),
            listed: place.listed.word(),
        });
    }
    Ok(Some(at))
}

impl Existing {
    fn note_rebuilt(&mut self, place: &ListedDir, name: &MemberName) {
        match place.member() {
            None => self.findings.push(Finding::of(
                Case::R14,
                &place.path,
                format!("no readable member file; this is member {} by its log or its path, the file is written again", name.uuid),
            )),
            Some(_) if place.present.as_ref().is_some_and(|p| !p.slots.damaged.is_empty()) => {
                self.findings.push(Finding::of(
                    Case::R14,
                    &place.path,
                    "one of the two records in its member file is damaged; the other one suffices, and an opening writes it again",
                ));
            }
            Some(member) if member.phase == Phase::Creating => self.findings.push(Finding::of(
                Case::R9,
                &place.path,
                "the last step of the channel's creation had been interrupted; finished",
            )),
            Some(_) => {}
        }
    }

    /// Settles the checkpoint directory: it never has the only copy of anything, so a new one is as
    /// good.
    fn decide_checkpoint_dir(&mut self, places: &[ListedDir], taken: &mut [bool]) {
        let listed = places.iter().position(|p| p.listed == Listed::Checkpoint);
        let lost =
            self.members.iter_mut().find(|(m, at)| m.role == Role::Checkpoint && at.is_none());
        if let (Some((name, at)), Some(listed)) = (lost, listed.filter(|l| !taken[*l])) {
            taken[listed] = true;
            *at = Some(listed);
            let words = format!(
                "the checkpoint directory (last seen as {}) is missing or empty; made again: opening may take longer once, nothing is lost",
                name.path
            );
            self.findings.push(Finding::of(Case::R13, &places[listed].path, words));
        }
    }

    /// Counts missing data directories; refuses the first unless the opening is degraded.
    fn missing_stripes(
        &mut self,
        places: &[ListedDir],
        taken: &[bool],
        open_degraded: bool,
    ) -> Result<usize, RecoveryError> {
        let missing: Vec<_> =
            self.members.iter().filter(|(_, at)| at.is_none()).map(|(m, _)| m.clone()).collect();
        let instead = in_place_of(places, taken, &missing);
        for (name, here) in missing.iter().zip(instead) {
            let what = describe_missing(here);
            if !open_degraded {
                return Err(RecoveryError::MemberMissing {
                    channel: self.channel,
                    member: name.uuid,
                    role: Listed::of(name.role).word(),
                    last_path: PathBuf::from(&name.path),
                    what,
                });
            }
            let words = format!(
                "data directory {} is {what}; opened without it: its events are out of reach until it is back",
                name.uuid
            );
            let unreadable = |place: &ListedDir| {
                matches!(place.fault, Some(RecoveryError::File(LayoutError::Read { .. })))
            };
            let case = if here.is_some_and(unreadable) { Case::R8 } else { Case::R15 };
            let mut finding = Finding::of(case, &name.path, words);
            if let Role::Stripe(index) = name.role {
                finding.stripe = Some(index);
            }
            self.findings.push(finding);
        }
        Ok(missing.len())
    }

    /// Adds the listed directories that are not members, unless members are missing.
    fn place_the_rest(
        &mut self,
        places: &[ListedDir],
        taken: &[bool],
        degraded: bool,
    ) -> Result<(), RecoveryError> {
        for (at, place) in places.iter().enumerate().filter(|(at, _)| !taken[*at]) {
            if place.is_created() {
                // Its member file names this channel, whose list does not name it.
                return Err(RecoveryError::Orphan {
                    path: place.path.clone(),
                    channel: self.channel,
                });
            }
            if !degraded {
                self.added.push(at);
            }
        }
        let count = self.members.iter().filter(|(m, _)| m.role != Role::Checkpoint).count()
            + self.added.len();
        if count > STRIPES_MAX {
            return Err(RecoveryError::DirectoryCount { count, max: STRIPES_MAX });
        }
        Ok(())
    }
}

/// Returns the listed directory in the place of each missing member: at its last path, or else one
/// of the remaining.
fn in_place_of<'a>(
    places: &'a [ListedDir],
    taken: &[bool],
    missing: &[MemberName],
) -> Vec<Option<&'a ListedDir>> {
    let mut rest: Vec<&ListedDir> = places
        .iter()
        .zip(taken)
        .filter(|(p, taken)| !**taken && p.listed == Listed::Data)
        .map(|(place, _)| place)
        .collect();
    let mut found = vec![None; missing.len()];
    // A path may be written in a shorter form now: a directory that matches one member by path is
    // assigned to no other.
    let was_there =
        |place: &ListedDir, name: &MemberName| Path::new(&name.path).ends_with(&place.path);
    let any = |_: &ListedDir, _: &MemberName| true;
    for fits in [was_there as fn(&ListedDir, &MemberName) -> bool, any] {
        for (name, found) in missing.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            let at = rest.iter().position(|place| fits(place, name));
            *found = at.map(|at| rest.remove(at));
        }
    }
    found
}

fn describe_missing(here: Option<&ListedDir>) -> String {
    match here {
        None => "not listed".to_owned(),
        Some(ListedDir { fault: Some(error), .. }) => format!("not readable ({error})"),
        Some(place) if place.present.is_none() => {
            format!("missing ({} does not exist)", place.path.display())
        }
        Some(place) => {
            format!("missing ({} is empty: an unmounted disk?)", place.path.display())
        }
    }
}
