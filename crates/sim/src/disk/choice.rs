//! Power cuts with a chosen outcome, not a random one: for harnesses that try every outcome.

use super::SimDisk;
use super::crash::{self, damage_torn};
use super::image::{Order, Piece};
use super::lottery::Lottery;
use super::options::{Model, TornBlock};
use super::volume::{FileId, VolumeId};
use super::world::{SharedWorld, World};
use std::collections::{BTreeMap, BTreeSet};

/// A change that a power cut may keep or drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    /// A directory whose creation was interrupted. Only together with those before it.
    Directory(VolumeId),
    /// A change of a name.
    Name(VolumeId, Order),
    /// A length.
    Length(FileId, Order),
    /// A change of names or lengths in a journal. Only together with those before it.
    Entry(VolumeId, Order),
    /// A sector of a write.
    Sector(FileId, Order, u64),
}

/// Returns what is undecided, in a deterministic order.
fn units(world: &World) -> Vec<Unit> {
    let mut units: Vec<Unit> = crash::unborn(world).into_iter().map(Unit::Directory).collect();
    for (id, volume) in &world.volumes {
        let names = volume.pending.iter().map(|change| change.order);
        let nodes = || world.files.iter().filter(|(_, node)| node.volume == *id);
        let lengths = nodes().flat_map(|(file, node)| {
            node.image.len_pending.iter().map(move |(order, _)| (*file, *order))
        });
        match world.options.model {
            Model::StrictPosix => {
                units.extend(names.map(|order| Unit::Name(*id, order)));
                units.extend(lengths.map(|(file, order)| Unit::Length(file, order)));
            }
            Model::Journalling => {
                let orders: BTreeSet<Order> =
                    names.chain(lengths.map(|(_, order)| order)).collect();
                units.extend(orders.into_iter().map(|order| Unit::Entry(*id, order)));
            }
        }
    }
    let named: BTreeSet<FileId> = world
        .volumes
        .values()
        .flat_map(|volume| {
            let changes = volume.pending.iter().filter_map(|change| change.file);
            volume.names.values().copied().chain(changes)
        })
        .collect();
    for (file, node) in world.files.iter().filter(|(file, _)| named.contains(file)) {
        let sectors = node.image.undecided().into_iter();
        units.extend(sectors.map(|(order, number, _)| Unit::Sector(*file, order, number)));
    }
    units
}

/// A machine without power, before anything was decided.
#[derive(Debug)]
pub struct Outcomes {
    world: World,
    units: Vec<Unit>,
}

impl Outcomes {
    pub(super) fn of(before: &World) -> Self {
        let world = crash::stopped(before, 0);
        let units = units(&world);
        Self { world, units }
    }

    /// Counts the changes that the power cut may keep or drop independently: names, lengths, sectors. In a journal an
    /// entry is kept only together with those before it.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.units.len()
    }

    /// Returns a number that differs between machines with different outcomes, or with different states after a kill.
    #[must_use]
    pub fn hash(&self) -> u64 {
        super::state_of(&self.world)
    }

    /// Returns the disk with the changes kept that `left` selects.
    ///
    /// # Panics
    /// `left` is not as long as [`Outcomes::undecided`] says: a bug of the harness.
    #[must_use]
    pub fn leaving(&self, seed: u64, left: &[bool]) -> SimDisk {
        SimDisk { shared: SharedWorld::new(self.decide(seed, left, false)) }
    }

    /// Like [`Outcomes::leaving`], and in each physical block that was written in part one more sector is garbage, as
    /// drawn from `seed` and as the disk's [`TornBlock`] allows. `None` if there is no such block.
    ///
    /// # Panics
    /// As [`Outcomes::leaving`].
    #[must_use]
    pub fn damaged(&self, seed: u64, left: &[bool]) -> Option<SimDisk> {
        let allowed = self.world.options.tearing().0 != TornBlock::Clean && self.tears(left);
        allowed.then(|| SimDisk { shared: SharedWorld::new(self.decide(seed, left, true)) })
    }

    /// Whether some physical block arrives in part.
    fn tears(&self, left: &[bool]) -> bool {
        let options = &self.world.options;
        let mut blocks: BTreeMap<(FileId, Order, u64), (u64, u64)> = BTreeMap::new();
        for (unit, left) in self.units.iter().zip(left) {
            if let Unit::Sector(file, order, number) = unit {
                let counts =
                    blocks.entry((*file, *order, options.physical_block(*number))).or_default();
                counts.0 += u64::from(*left);
                counts.1 += u64::from(!left);
            }
        }
        // A sector without a change is not a unit, and counts as arrived.
        let whole = |block: u64| options.sectors_of(block).count() as u64;
        let torn = |((.., block), (came, lost)): (&(FileId, Order, u64), &(u64, u64))| {
            *lost > 0 && (*came > 0 || *lost < whole(*block))
        };
        blocks.iter().any(torn)
    }

    fn decide(&self, seed: u64, left: &[bool], damage: bool) -> World {
        assert_eq!(self.units.len(), left.len(), "the harness decides each unit");
        let mut world = self.world.clone();
        world.lottery = Lottery::new(seed.wrapping_add(world.options.seed));
        let taken = self.units.iter().zip(left).filter(|(_, left)| !**left);
        let taken: BTreeSet<Unit> = taken.map(|(unit, _)| *unit).collect();
        let unborn = crash::unborn(&world);
        let born = unborn.iter().take_while(|id| !taken.contains(&Unit::Directory(**id))).count();
        crash::drop_unborn(&mut world, &unborn, born);
        decide_names(&mut world, &taken);
        decide_contents(&mut world, &taken, damage.then(|| Lottery::new(seed)));
        crash::boot(&mut world);
        world
    }
}

/// Decides names and lengths: independently, or in the order of the journal.
fn decide_names(world: &mut World, taken: &BTreeSet<Unit>) {
    let journalling = world.options.model == Model::Journalling;
    for (id, volume) in &mut world.volumes {
        let entry = |unit: &Unit| match unit {
            Unit::Entry(of, order) if of == id => Some(*order),
            _ => None,
        };
        let end = taken.iter().find_map(entry).unwrap_or(Order::MAX);
        volume.persist(|change| match journalling {
            true => change.order < end,
            false => !taken.contains(&Unit::Name(*id, change.order)),
        });
        for (file, node) in world.files.iter_mut().filter(|(_, node)| node.volume == *id) {
            for (order, len) in std::mem::take(&mut node.image.len_pending) {
                let left = match journalling {
                    true => order < end,
                    false => !taken.contains(&Unit::Length(*file, order)),
                };
                if left {
                    node.image.len_durable = node.image.len_durable.max(len);
                }
            }
        }
    }
}

fn decide_contents(world: &mut World, taken: &BTreeSet<Unit>, mut damage: Option<Lottery>) {
    let options = world.options.clone();
    for (file, node) in &mut world.files {
        for (order, pieces) in node.image.take_pending() {
            let arrived = |piece: &Piece| !taken.contains(&Unit::Sector(*file, order, piece.0));
            let arrivals: Vec<bool> = pieces.iter().map(arrived).collect();
            crash::arrive(&mut node.image, &pieces, &arrivals);
            if let Some(lottery) = &mut damage {
                damage_torn(&mut node.image, &options, lottery, 100, &pieces, &arrivals);
            }
        }
    }
}
