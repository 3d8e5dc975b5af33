//! The contents and length of one file: visible, durable and pending.

use super::lottery::Lottery;
use super::sectors::{Sector, Sectors, sector_of};
use std::collections::{BTreeMap, BTreeSet};

/// Position of a change among all changes of the disk.
pub(super) type Order = u64;

/// One content that a sector may have after a crash.
#[derive(Clone, Debug)]
struct Version {
    write: Order,
    sector: Sector,
    /// Left by a failed write: no sync brings it to the medium, but it may land there.
    stray: bool,
}

/// What a reader sees of sectors that a failed sync lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The new bytes, as long as the machine runs.
    KeepsNew,
    /// The old bytes, from now on.
    RevertsToOld,
    /// The new bytes once more, then the old ones.
    DropsAtNextRead,
}

/// A sector's number and new content.
pub(super) type Piece = (u64, Sector);

#[derive(Clone, Debug)]
pub(super) struct Image {
    sector_bytes: usize,
    pub(super) seen: Sectors,
    pub(super) durable: Sectors,
    /// Versions not durable yet, by sector, oldest first.
    pending: BTreeMap<u64, Vec<Version>>,
    /// Lost sectors whose next read is the last to see them.
    leaving: BTreeSet<u64>,
    pub(super) len_seen: u64,
    pub(super) len_durable: u64,
    /// The length that open descriptors assume after the file was truncated.
    pub(super) len_given: u64,
    /// Lengths not durable yet, oldest first.
    pub(super) len_pending: Vec<(Order, u64)>,
}

impl Image {
    pub(super) fn new(sector_bytes: usize) -> Self {
        Self {
            sector_bytes,
            seen: Sectors::default(),
            durable: Sectors::default(),
            pending: BTreeMap::new(),
            leaving: BTreeSet::new(),
            len_seen: 0,
            len_durable: 0,
            len_given: 0,
            len_pending: Vec::new(),
        }
    }

    /// Returns the sectors of `bytes` at `offset`, merged with the existing content.
    pub(super) fn pieces(&self, offset: u64, bytes: &[u8]) -> Vec<Piece> {
        let unit = self.sector_bytes;
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let number = at / unit as u64;
            let within = usize::try_from(at % unit as u64).unwrap_or(0);
            let take = (unit - within).min(bytes.len() - done);
            let part = &bytes[done..done + take];
            let sector = if take == unit {
                sector_of(part)
            } else {
                let mut whole = self.seen.get(number).map_or(vec![0; unit], |old| old.to_vec());
                whole[within..within + take].copy_from_slice(part);
                sector_of(&whole)
            };
            pieces.push((number, sector));
            done += take;
        }
        pieces
    }

    /// Writes into the cache: visible, not durable.
    pub(super) fn write(&mut self, write: Order, offset: u64, bytes: &[u8]) {
        let pieces = self.pieces(offset, bytes);
        self.cache(write, &pieces);
        let end = offset + bytes.len() as u64;
        if end > self.len_seen {
            self.len_seen = end;
            self.len_pending.push((write, end));
        }
    }

    /// Puts pieces into the cache.
    pub(super) fn cache(&mut self, write: Order, pieces: &[Piece]) {
        for (number, sector) in pieces {
            self.seen.set(*number, sector.clone());
            self.leaving.remove(number);
            let version = Version { write, sector: sector.clone(), stray: false };
            self.pending.entry(*number).or_default().push(version);
        }
    }

    /// Puts pieces on the medium, bypassing the cache; pending versions there are superseded.
    pub(super) fn land(&mut self, pieces: &[Piece]) {
        for (number, sector) in pieces {
            self.seen.set(*number, sector.clone());
            self.durable.set(*number, sector.clone());
            self.pending.remove(number);
            self.leaving.remove(number);
        }
    }

    /// Extends a truncated file again for bytes written after its end, durably.
    pub(super) fn reach(&mut self, pieces: &[Piece]) {
        let end = pieces.last().map_or(0, |(number, _)| (number + 1) * self.sector_bytes as u64);
        if end > self.len_seen {
            (self.len_seen, self.len_durable) = (end, end);
        }
    }

    /// Leaves pieces in flight: not visible, but a crash may show that they landed.
    pub(super) fn stray(&mut self, write: Order, pieces: &[Piece]) {
        for (number, sector) in pieces {
            let version = Version { write, sector: sector.clone(), stray: true };
            self.pending.entry(*number).or_default().push(version);
        }
    }

    /// Makes the cached versions durable that `which` (write, sector) selects. Older versions of a sector are dropped.
    pub(super) fn persist(&mut self, mut which: impl FnMut(Order, u64) -> bool) {
        let durable = &mut self.durable;
        self.pending.retain(|number, versions| {
            let chosen = versions.iter().rposition(|v| !v.stray && which(v.write, *number));
            if let Some(at) = chosen {
                durable.set(*number, versions[at].sector.clone());
                versions.drain(..=at);
            }
            !versions.is_empty()
        });
    }

    /// Applies a sync that failed and marked everything clean, or all of one write: each sector arrived or is lost.
    pub(super) fn lose(
        &mut self,
        loss: Loss,
        lottery: &mut Lottery,
        chance: u8,
        only: Option<Order>,
    ) {
        let is_meant = |write| only.is_none_or(|only| only == write);
        self.persist(|write, _| is_meant(write) && lottery.wins(chance));
        let durable = &self.durable;
        let (seen, leaving) = (&mut self.seen, &mut self.leaving);
        self.pending.retain(|number, versions| {
            if versions.iter().any(|v| !v.stray && is_meant(v.write)) {
                match loss {
                    Loss::KeepsNew => {}
                    Loss::RevertsToOld => seen.set(*number, durable.get(*number)),
                    Loss::DropsAtNextRead => {
                        leaving.insert(*number);
                    }
                }
                versions.retain(|v| v.stray || !is_meant(v.write));
            }
            !versions.is_empty()
        });
    }

    /// Makes lengths up to that change durable.
    pub(super) fn persist_len(&mut self, up_to: Order) {
        let count = self.len_pending.partition_point(|(order, _)| *order <= up_to);
        for (_, len) in self.len_pending.drain(..count) {
            self.len_durable = self.len_durable.max(len);
        }
    }

    /// Reads what is visible; a direct read of a sector without cached changes reads the medium.
    pub(super) fn read(&mut self, offset: u64, buffer: &mut [u8], direct: bool) -> usize {
        let unit = self.sector_bytes as u64;
        let there = self.len_seen.saturating_sub(offset).min(buffer.len() as u64);
        let there = usize::try_from(there).unwrap_or(buffer.len());
        let (first, end) = (offset / unit, (offset + there as u64).div_ceil(unit));
        if self.pending.range(first..end).next().is_none() && self.leaving.is_empty() {
            // Nearly every read: nothing is pending here.
            let from = if direct { &self.durable } else { &self.seen };
            from.copy(offset, self.sector_bytes, &mut buffer[..there]);
            return there;
        }
        let mut done = 0;
        while done < there {
            let at = offset + done as u64;
            let number = at / unit;
            let within = usize::try_from(at % unit).unwrap_or(0);
            let take = (self.sector_bytes - within).min(there - done);
            let dirty = self.pending.get(&number).is_some_and(|all| all.iter().any(|v| !v.stray));
            let from = if direct && !dirty { &self.durable } else { &self.seen };
            let target = &mut buffer[done..done + take];
            match from.get(number) {
                Some(bytes) => target.copy_from_slice(&bytes[within..within + take]),
                None => target.fill(0),
            }
            if self.leaving.remove(&number) {
                self.seen.set(number, self.durable.get(number));
            }
            done += take;
        }
        there
    }

    /// Flips bits of one byte, on the medium and in the visible content.
    pub(super) fn flip(&mut self, at: u64, mask: u8) {
        let number = at / self.sector_bytes as u64;
        let within = usize::try_from(at % self.sector_bytes as u64).unwrap_or(0);
        for sectors in [&mut self.durable, &mut self.seen] {
            let old = sectors.get(number);
            let mut bytes = old.map_or(vec![0; self.sector_bytes], |old| old.to_vec());
            bytes[within] ^= mask;
            sectors.set(number, sector_of(&bytes));
        }
    }

    /// Truncates the file to `len` bytes, on the medium and in the visible content.
    pub(super) fn cut(&mut self, len: u64) {
        self.persist(|_, _| true);
        self.seen.cut(len, self.sector_bytes);
        self.durable.cut(len, self.sector_bytes);
        self.leaving.clear();
        self.len_pending.clear();
        (self.len_seen, self.len_durable) = (len, len);
    }

    /// Returns versions that a crash may keep and that would change something, by write; a version equal to the
    /// existing bytes is not one.
    pub(super) fn undecided(&self) -> Vec<(Order, u64, Sector)> {
        let mut undecided = Vec::new();
        for (number, versions) in &self.pending {
            let there = self.durable.get(*number);
            if versions.iter().any(|v| v.sector != there) {
                undecided.extend(versions.iter().map(|v| (v.write, *number, v.sector.clone())));
            }
        }
        undecided.sort_unstable_by_key(|(write, number, _)| (*write, *number));
        undecided
    }

    /// Takes out everything pending, as writes in their order, each with its pieces.
    pub(super) fn take_pending(&mut self) -> BTreeMap<Order, Vec<Piece>> {
        let mut writes: BTreeMap<Order, Vec<Piece>> = BTreeMap::new();
        for (number, versions) in std::mem::take(&mut self.pending) {
            for version in versions {
                writes.entry(version.write).or_default().push((number, version.sector));
            }
        }
        writes
    }

    /// Restarts from the medium, as a machine after power-on.
    pub(super) fn boot(&mut self) {
        self.durable.cut(self.len_durable, self.sector_bytes);
        self.seen = self.durable.clone();
        self.len_seen = self.len_durable;
        self.pending.clear();
        self.leaving.clear();
        self.len_pending.clear();
        self.len_given = 0;
    }
}
