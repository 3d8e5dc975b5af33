//! Space reservations for segments being created: stripes may share a file system, and each is
//! maintained by a thread of its own.

use crate::base::lock_rank::{LockRank, RankedGuard};
use crate::disk::Directory;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Bytes that segments being created will take, by file system.
///
/// Each thread checks the free space before it takes any. Two that check at the same time would
/// both find room for one, both take it, and together fall below `minimumRequiredSpace`: then puts
/// wait, on a disk that the channel itself has filled, until space is freed from outside.
#[derive(Debug, Default)]
pub(super) struct SpaceReservations(Mutex<BTreeMap<u64, u64>>);

/// One segment's reservation, held while it is being created.
#[derive(Debug)]
pub(super) struct SpaceReservation<'p> {
    of: &'p SpaceReservations,
    file_system: u64,
    bytes: u64,
    /// Bytes that must be free: its own and those reserved before.
    pub needed_bytes: u64,
}

impl SpaceReservations {
    fn lock(&self) -> RankedGuard<'_, BTreeMap<u64, u64>> {
        LockRank::SpaceReservations.lock(&self.0)
    }

    /// Reserves `bytes` on the file system of `directory`. Called before the free space is checked:
    /// what an earlier reservation has taken meanwhile then counts twice, never not at all.
    pub(super) fn reserve(&self, directory: &dyn Directory, bytes: u64) -> SpaceReservation<'_> {
        // Without an identity the creation of a segment there will hardly succeed.
        let file_system = directory.identity().map_or(0, |(device, _)| device);
        let mut pledged = self.lock();
        let sum = pledged.entry(file_system).or_insert(0);
        *sum = sum.saturating_add(bytes);
        SpaceReservation { of: self, file_system, bytes, needed_bytes: *sum }
    }
}

impl Drop for SpaceReservation<'_> {
    fn drop(&mut self) {
        let mut pledged = self.of.lock();
        if let Some(sum) = pledged.get_mut(&self.file_system) {
            *sum = sum.saturating_sub(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::disk::real::RealDisk;

    #[test]
    fn segments_of_one_file_system_need_room_for_all_of_them() {
        let top = tempfile::tempdir().unwrap();
        let open = |name: &str| RealDisk::buffered().open_dir(&top.path().join(name), true);
        let (one, two) = (open("one").unwrap(), open("two").unwrap());
        let reservations = SpaceReservations::default();
        let first = reservations.reserve(&*one, 10);
        let second = reservations.reserve(&*two, 5);
        assert_eq!((first.needed_bytes, second.needed_bytes), (10, 15));
        drop(first);
        assert_eq!(reservations.reserve(&*two, 1).needed_bytes, 6, "the first has taken its room");
        drop(second);
        assert_eq!(reservations.reserve(&*one, 1).needed_bytes, 1);
    }
}
