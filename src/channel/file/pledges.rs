//! Room promised to segments that are being made: stripes may share a file system, and each is
//! seen to by a thread of its own.

use crate::disk::Directory;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes that segments under way will take, by file system.
///
/// Each maker looks at the free space before it takes any. Two that look at the same moment would
/// both find room for one, both take it, and together go below `minimumRequiredSpace`: then puts
/// wait, on a disk that the channel itself has filled, until somebody else frees some.
#[derive(Debug, Default)]
pub(super) struct Pledges(Mutex<BTreeMap<u64, u64>>);

/// One segment's room, as long as it is being made.
#[derive(Debug)]
pub(super) struct Pledge<'p> {
    of: &'p Pledges,
    file_system: u64,
    bytes: u64,
    /// Bytes that must be there: its own and those pledged before.
    pub needed_bytes: u64,
}

impl Pledges {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pledges `bytes` on the file system of `directory`. To be asked before the free space is
    /// looked at: what an earlier pledge has taken meanwhile then counts twice, never not at all.
    pub(super) fn pledge(&self, directory: &dyn Directory, bytes: u64) -> Pledge<'_> {
        // Who cannot tell where it is will hardly be able to make a segment there.
        let file_system = directory.identity().map_or(0, |(device, _)| device);
        let mut pledged = self.lock();
        let sum = pledged.entry(file_system).or_insert(0);
        *sum = sum.saturating_add(bytes);
        Pledge { of: self, file_system, bytes, needed_bytes: *sum }
    }
}

impl Drop for Pledge<'_> {
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
        let pledges = Pledges::default();
        let first = pledges.pledge(&*one, 10);
        let second = pledges.pledge(&*two, 5);
        assert_eq!((first.needed_bytes, second.needed_bytes), (10, 15));
        drop(first);
        assert_eq!(pledges.pledge(&*two, 1).needed_bytes, 6, "the first has taken its room");
        drop(second);
        assert_eq!(pledges.pledge(&*one, 1).needed_bytes, 1);
    }
}
