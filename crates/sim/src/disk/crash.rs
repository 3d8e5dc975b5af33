//! The state after a power cut or a kill.

use super::image::{Image, Piece};
use super::lottery::{Lottery, Percent};
use super::options::{Model, SimOptions, TornBlock};
use super::sectors::sector_of;
use super::volume::{FileId, VolumeId};
use super::world::World;
use std::collections::{BTreeMap, BTreeSet};

/// Chances that pending changes have reached the medium, percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Odds {
    /// Of each pending sector, or of a pending write, or of its beginning.
    pub contents: u8,
    /// Of each pending length.
    pub lengths: u8,
    /// Of each pending name.
    pub names: u8,
}

impl Odds {
    /// Nothing pending survives.
    pub const NONE: Self = Self { contents: 0, lengths: 0, names: 0 };
    /// Everything pending survives.
    pub const ALL: Self = Self { contents: 100, lengths: 100, names: 100 };

    /// None, few, half, most or all, drawn for each kind.
    pub(super) fn drawn(lottery: &mut Lottery) -> Self {
        let mut draw = || [0, 10, 50, 90, 100][usize::try_from(lottery.below(5)).unwrap_or(0)];
        Self { contents: draw(), lengths: draw(), names: draw() }
    }
}

/// Returns the machine as it comes up after a power cut.
pub(super) fn power_cut(before: &World, seed: u64, odds: Option<Odds>) -> World {
    let mut lottery = Lottery::new(seed ^ before.options.seed.rotate_left(32));
    let odds = odds.unwrap_or_else(|| Odds::drawn(&mut lottery));
    let mut world = stopped(before, seed);
    let unborn = unborn(&world);
    let born = lottery.prefix(unborn.len(), odds.names);
    drop_unborn(&mut world, &unborn, born);
    match world.options.model {
        Model::StrictPosix => decide_independently(&mut world, &mut lottery, odds),
        Model::Journalling => decide_journals(&mut world, &mut lottery, odds),
    }
    let options = world.options.clone();
    for node in world.files.values_mut() {
        decide_contents(&mut node.image, &options, &mut lottery, odds.contents);
    }
    boot(&mut world);
    world
}

/// Returns the machine without power: writes in flight are pending like everything else.
pub(super) fn stopped(before: &World, seed: u64) -> World {
    let mut world = fresh(before, seed);
    for flight in before.flights.values() {
        let image = &mut world.node(flight.file).image;
        // A buffered one is in the cache.
        if before.options.is_direct() {
            image.stray(flight.order, &flight.pieces);
        }
    }
    // Including what a mutation held back.
    world.held = None;
    world
}

/// Restarts from the medium.
pub(super) fn boot(world: &mut World) {
    for node in world.files.values_mut() {
        node.image.boot();
    }
    for volume in world.volumes.values_mut() {
        volume.boot();
    }
    drop_nameless(world);
}

/// Returns the machine as the next process finds it after a kill: the cache is kept, and a write in flight arrived or
/// did not.
pub(super) fn kill(before: &World, seed: u64) -> World {
    let mut lottery = Lottery::new(seed ^ before.options.seed.rotate_left(32));
    let mut world = fresh(before, seed);
    for flight in before.flights.values() {
        if before.options.is_direct() {
            let arrivals = lottery.arrivals(flight.pieces.len(), 50);
            let arrived: Vec<Piece> = flight
                .pieces
                .iter()
                .zip(arrivals)
                .filter(|(_, arrived)| *arrived)
                .map(|(piece, _)| piece.clone())
                .collect();
            world.node(flight.file).image.land(&arrived);
        }
    }
    world
}

/// Returns the same storage for a new process.
fn fresh(before: &World, seed: u64) -> World {
    let mut world = before.clone();
    world.lottery = Lottery::new(seed.wrapping_add(before.options.seed));
    world.flights.clear();
    world.outcomes.clear();
    world.locks.clear();
    world.faults.clear();
    world.operations = 0;
    world.crash_at = None;
    world.crashed = false;
    world.trace = super::trace::Trace::default();
    world
}

/// Returns directories whose creation was interrupted, outermost first.
pub(super) fn unborn(world: &World) -> Vec<VolumeId> {
    let unborn = |id: &VolumeId| world.volumes.get(id).is_some_and(|volume| !volume.durable);
    world.paths.values().copied().filter(unborn).collect()
}

/// Keeps the first `born` of them and drops the others.
pub(super) fn drop_unborn(world: &mut World, unborn: &[VolumeId], born: usize) {
    for (at, id) in unborn.iter().enumerate() {
        if at < born {
            world.volume(*id).durable = true;
        } else {
            world.paths.retain(|_, volume| volume != id);
            world.volumes.remove(id);
            world.files.retain(|_, node| node.volume != *id);
        }
    }
}

/// Decides every name and every length independently of earlier ones.
fn decide_independently(world: &mut World, lottery: &mut Lottery, odds: Odds) {
    for volume in world.volumes.values_mut() {
        volume.persist(|_| lottery.wins(odds.names));
    }
    let sector = world.options.sector_bytes as u64;
    for node in world.files.values_mut() {
        let image = &mut node.image;
        for (_, len) in std::mem::take(&mut image.len_pending) {
            if !lottery.wins(odds.lengths) || len <= image.len_durable {
                continue;
            }
            // The file may have grown on the medium in steps.
            let steps = (len - image.len_durable) / sector;
            let short = odds.lengths < 100 && lottery.wins(30);
            image.len_durable = if short { len - lottery.below(steps + 1) * sector } else { len };
        }
    }
}

/// Keeps names and lengths of a directory in the order of its journal, up to some point.
fn decide_journals(world: &mut World, lottery: &mut Lottery, odds: Odds) {
    for (id, volume) in &mut world.volumes {
        let mut orders: BTreeSet<u64> = volume.pending.iter().map(|change| change.order).collect();
        let nodes = || world.files.values().filter(|node| node.volume == *id);
        orders.extend(nodes().flat_map(|node| &node.image.len_pending).map(|(order, _)| *order));
        let count = lottery.prefix(orders.len(), odds.names);
        let last = count.checked_sub(1).and_then(|at| orders.iter().nth(at)).copied();
        let up_to = last.unwrap_or(0);
        volume.persist(|change| change.order <= up_to);
        for node in world.files.values_mut().filter(|node| node.volume == *id) {
            node.image.persist_len(up_to);
        }
    }
}

/// Decides the pending writes of a file: each whole, in part, or not at all.
fn decide_contents(
    image: &mut Image,
    options: &SimOptions,
    lottery: &mut Lottery,
    chance: Percent,
) {
    for pieces in image.take_pending().into_values() {
        let arrivals = lottery.arrivals(pieces.len(), chance);
        arrive(image, &pieces, &arrivals);
        if options.tearing().0 != TornBlock::Clean {
            damage_torn(image, options, lottery, 50, &pieces, &arrivals);
        }
    }
}

/// Puts the selected sectors of a write on the medium.
pub(super) fn arrive(image: &mut Image, pieces: &[Piece], arrivals: &[bool]) {
    for ((number, sector), arrived) in pieces.iter().zip(arrivals) {
        if *arrived {
            image.durable.set(*number, sector.clone());
        }
    }
}

/// Damages torn blocks: in a physical block of which only some sectors arrived, any other may be garbage, because the
/// device was rewriting the whole block.
pub(super) fn damage_torn(
    image: &mut Image,
    options: &SimOptions,
    lottery: &mut Lottery,
    chance: Percent,
    pieces: &[Piece],
    arrivals: &[bool],
) {
    let mut blocks: BTreeMap<u64, (BTreeSet<u64>, BTreeSet<u64>)> = BTreeMap::new();
    for ((number, _), arrived) in pieces.iter().zip(arrivals) {
        let (came, lost) = blocks.entry(options.physical_block(*number)).or_default();
        if *arrived {
            came.insert(*number)
        } else {
            lost.insert(*number)
        };
    }
    for (block, (came, lost)) in blocks {
        if came.is_empty() || lost.is_empty() || !lottery.wins(chance) {
            continue;
        }
        let victims: Vec<u64> = match options.tearing().0 {
            TornBlock::DamageAll => {
                let all = options.sectors_of(block);
                all.filter(|number| !came.contains(number)).collect()
            }
            TornBlock::Clean | TornBlock::DamageWritten => lost.into_iter().collect(),
        };
        let at = usize::try_from(lottery.below(victims.len() as u64)).unwrap_or(0);
        if let Some(number) = victims.get(at) {
            let mut bytes = vec![0; options.sector_bytes];
            bytes.fill_with(|| lottery.next().to_le_bytes()[0]);
            image.durable.set(*number, sector_of(&bytes));
        }
    }
}

/// Drops files without a name.
fn drop_nameless(world: &mut World) {
    let named: BTreeSet<FileId> =
        world.volumes.values().flat_map(|volume| volume.seen.values().copied()).collect();
    world.files.retain(|id, _| named.contains(id));
}
