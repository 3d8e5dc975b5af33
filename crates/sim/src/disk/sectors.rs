//! Bytes by sector, shared between the images of a disk, with a digest.

use millpond::internal::base::zeroes::is_zero;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Bytes of one sector; `None` is zeroes, which take no memory.
pub(super) type Sector = Option<Content>;

/// The bytes of a sector that is not all zeroes.
#[derive(Clone, Debug, Eq)]
pub(super) struct Content {
    digest: u64,
    bytes: Arc<[u8]>,
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Hash for Content {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.bytes == other.bytes
    }
}

/// Returns a sector with these bytes.
pub(super) fn sector_of(bytes: &[u8]) -> Sector {
    (!is_zero(bytes)).then(|| Content { digest: digest(bytes), bytes: bytes.into() })
}

/// Returns a digest of the bytes. Each step is a bijection, so bytes that differ in one word never share it.
fn digest(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(bytes.len() as u64, |sum, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        scatter(sum ^ u64::from_le_bytes(word))
    })
}

fn scatter(word: u64) -> u64 {
    let word = (word ^ (word >> 32)).wrapping_mul(0x9fb2_1c65_1e98_df25);
    word ^ (word >> 28)
}

/// Sectors by number; a missing one is zeroes. A copy costs nothing until one of the two changes: a crash has many
/// outcomes, and most of the disk is equal in all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Sectors {
    map: Arc<BTreeMap<u64, Content>>,
    /// Sum over the sectors, updated with each change.
    digest: u64,
}

impl Sectors {
    pub(super) fn get(&self, number: u64) -> Sector {
        self.map.get(&number).cloned()
    }

    pub(super) fn set(&mut self, number: u64, sector: Sector) {
        if self.map.get(&number) == sector.as_ref() {
            return;
        }
        let map = Arc::make_mut(&mut self.map);
        let old = match sector {
            Some(content) => {
                self.digest = self.digest.wrapping_add(placed(number, &content));
                map.insert(number, content)
            }
            None => map.remove(&number),
        };
        self.digest = self.digest.wrapping_sub(old.map_or(0, |old| placed(number, &old)));
    }

    /// Zeroes everything from byte `len` on.
    pub(super) fn cut(&mut self, len: u64, sector_bytes: usize) {
        let (whole, rest) = (len / sector_bytes as u64, len % sector_bytes as u64);
        let beyond: Vec<u64> = self.map.range(whole..).map(|(number, _)| *number).collect();
        for number in beyond {
            let last = self.get(number).filter(|_| rest > 0 && number == whole);
            let kept = last.and_then(|last| {
                let mut bytes = last.to_vec();
                // Below the sector's length by the remainder above.
                bytes[usize::try_from(rest).unwrap_or(sector_bytes)..].fill(0);
                sector_of(&bytes)
            });
            self.set(number, kept);
        }
    }

    /// Copies the bytes from `offset` on.
    pub(super) fn copy(&self, offset: u64, sector_bytes: usize, into: &mut [u8]) {
        into.fill(0);
        let unit = sector_bytes as u64;
        let end = offset + into.len() as u64;
        for (number, content) in self.map.range(offset / unit..end.div_ceil(unit)) {
            let start = number * unit;
            let (from, to) = (start.max(offset), (start + unit).min(end));
            let within = |at: u64, base: u64| usize::try_from(at - base).unwrap_or(usize::MAX);
            into[within(from, offset)..within(to, offset)]
                .copy_from_slice(&content[within(from, start)..within(to, start)]);
        }
    }

    /// Returns a digest of the bytes and their positions.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }
}

/// Returns a sector's part of the digest of its file.
fn placed(number: u64, content: &Content) -> u64 {
    scatter(scatter(content.digest ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}
