//! What the kernel reports about the storage of a directory, and the consequences.
//!
//! Not every file system that accepts `O_DIRECT` honours it. One that writes through the page cache anyway reports a
//! failed write-back once per open file description: with several writes in flight on one descriptor, the error of one
//! is taken by the sync of another, and the first returns success with its bytes gone. And a direct read there may
//! return what is not on the medium. So such storage is treated as buffered: one write at a time.

use crate::base::limits::DEVICE_BLOCK_BYTES;
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, StatxFlags};
use std::fmt;
use std::path::{Path, PathBuf};

/// How a file takes direct transfers, according to `statx` since Linux 6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DirectIo {
    /// Alignment of buffers, bytes; 0 if direct transfers are not done.
    pub(super) memory_align: u32,
    /// Alignment of offsets and lengths, bytes; 0 if direct transfers are not done.
    pub(super) offset_align: u32,
}

/// The block device under a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// The unit of its rewrites, bytes.
    pub(super) physical_block_bytes: u64,
    /// Whether it, or its partition, begins within a physical block.
    pub(super) misaligned: bool,
}

/// How a file system may keep a write from the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its remote side cannot be seen from here, but all of them honour a sync.
    Remote,
    /// It accepts `O_DIRECT` and may still write through the page cache.
    Buffers,
    /// Like `Buffers`, but a kernel that knows `STATX_DIOALIGN` reports whether a file is written so.
    BuffersUnlessTold,
}

/// The magic number of ext2, ext3 and ext4.
const EXT4: u64 = 0xef53;

/// File systems by the number in their superblock.
const FILE_SYSTEMS: [(u64, &str, Kind); 21] = [
    (0x6573_5546, "fuse", Kind::Remote),
    (0x6969, "nfs", Kind::Remote),
    (0xff53_4d42, "cifs", Kind::Remote),
    (0xfe53_4d42, "smb2", Kind::Remote),
    (0x0102_1997, "9p", Kind::Remote),
    (0x00c3_6400, "ceph", Kind::Remote),
    (0x7375_7245, "coda", Kind::Remote),
    (0x5346_414f, "afs", Kind::Remote),
    (0x786f_4256, "vboxsf", Kind::Remote),
    (0x0bd0_0bd0, "lustre", Kind::Remote),
    // With checksums, compression or mirrors it falls back to buffering; when exactly depends on the kernel.
    (0x9123_683e, "btrfs", Kind::Buffers),
    (0x2fc1_2fc1, "zfs", Kind::Buffers),
    (0x3434, "nilfs2", Kind::Buffers),
    (0x7461_636f, "ocfs2", Kind::Buffers),
    (0x0116_1970, "gfs2", Kind::Buffers),
    (0x7366_746e, "ntfs3", Kind::Buffers),
    (0xf15f, "ecryptfs", Kind::Buffers),
    // Since Linux 6.6 it accepts the flag, but it is memory.
    (0x0102_1994, "tmpfs", Kind::Buffers),
    (0x8584_58f6, "ramfs", Kind::Buffers),
    // The underlying file system decides, and mounted `volatile` not even a sync reaches it.
    (0x794c_7630, "overlayfs", Kind::Buffers),
    (0xf2f5_2010, "f2fs", Kind::BuffersUnlessTold),
];

/// Those that send `flock` to the server as a lock of the same kind as `fcntl`'s.
const ONE_KIND_OF_LOCK: [&str; 3] = ["nfs", "cifs", "smb2"];

/// Why a directory is written through the page cache although a direct write may succeed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The file system hides the storage that it uses.
    Remote(&'static str),
    /// The file system may write through the page cache in spite of O_DIRECT.
    Buffers(&'static str),
    /// The kernel says that files here are not written directly.
    NotDirect,
    /// Direct transfers need a larger alignment than the log has, bytes.
    Alignment(u32),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(name) => write!(f, "{name} promises durability only by sync"),
            Self::Buffers(name) => {
                write!(f, "{name} may write through the page cache in spite of O_DIRECT")
            }
            Self::NotDirect => f.write_str(
                "the kernel says that files here are not written directly (data journalled, \
                 compressed or encrypted by the file system?)",
            ),
            Self::Alignment(bytes) => write!(
                f,
                "direct transfers need multiples of {bytes} bytes, the log has {DEVICE_BLOCK_BYTES}"
            ),
        }
    }
}

/// What the kernel reports about a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The number in the file system's superblock; 0 if unknown.
    pub(super) file_system: u64,
    /// The allocation unit of the file system, bytes; 0 if unknown.
    pub(super) allocation_bytes: u64,
    /// How direct transfers are done; `None` if the kernel does not report it.
    pub(super) direct_io: Option<DirectIo>,
    /// Whether it is ext4 and journals all data: a kernel before 6.1 reports this for the device only.
    pub(super) journals_data: bool,
    /// The device; `None` if there is not exactly one, or it cannot be seen.
    pub(super) device: Option<Device>,
}

impl Facts {
    /// Asks the kernel. What it does not report is left unknown.
    pub(super) fn of(file: impl AsFd) -> Self {
        let file = file.as_fd();
        // The kernel's numbers are 32 bits wide; the field may be wider and signed.
        let file_system = rustix::fs::fstatfs(file).map_or(0, |s| s.f_type as u64 & 0xffff_ffff);
        let volume = rustix::fs::fstatvfs(file);
        let allocation_bytes =
            volume.map_or(0, |v| if v.f_frsize > 0 { v.f_frsize } else { v.f_bsize });
        let told = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok();
        let direct_io =
            told.filter(|told| told.stx_mask & StatxFlags::DIOALIGN.bits() != 0).map(|told| {
                DirectIo {
                    memory_align: told.stx_dio_mem_align,
                    offset_align: told.stx_dio_offset_align,
                }
            });
        let about = rustix::fs::fstat(file).ok().map(|about| {
            let (major, minor) = (rustix::fs::major(about.st_dev), rustix::fs::minor(about.st_dev));
            PathBuf::from(format!("/sys/dev/block/{major}:{minor}"))
        });
        let device = about.as_deref().and_then(device);
        let is_ext4 = file_system == EXT4;
        let options = about.filter(|_| is_ext4).and_then(|about| ext4_options(&about));
        let journals_data = options.is_some_and(|options| says_journalled(&options));
        Self { file_system, allocation_bytes, direct_io, journals_data, device }
    }

    fn known(&self) -> Option<(&'static str, Kind)> {
        let of_number = |(number, ..): &&(u64, _, _)| *number == self.file_system;
        FILE_SYSTEMS.iter().find(of_number).map(|(_, name, kind)| (*name, *kind))
    }

    /// Returns why files here must be written through the page cache, even if a probe succeeds. For a file with
    /// content, not an empty one: its first bytes may still be in its inode.
    pub(super) fn reason(&self) -> Option<Reason> {
        let align = |told: DirectIo| told.memory_align.max(told.offset_align);
        match (self.known(), self.direct_io) {
            (Some((name, Kind::Remote)), _) => Some(Reason::Remote(name)),
            (Some((name, Kind::Buffers)), _) | (Some((name, Kind::BuffersUnlessTold)), None) => {
                Some(Reason::Buffers(name))
            }
            (_, Some(told)) if told.offset_align == 0 => Some(Reason::NotDirect),
            (_, None) if self.journals_data => Some(Reason::NotDirect),
            (_, Some(told)) if align(told) as usize > DEVICE_BLOCK_BYTES => {
                Some(Reason::Alignment(align(told)))
            }
            _ => None,
        }
    }

    /// Returns the name of the file system if it has only one kind of lock, so that `fcntl` and `flock` on one file
    /// exclude each other.
    pub(super) fn one_kind_of_lock(&self) -> Option<&'static str> {
        self.known().map(|(name, _)| name).filter(|name| ONE_KIND_OF_LOCK.contains(name))
    }

    /// Returns how a physical block of the device may hold parts of two blocks of the log, which a power cut can then
    /// tear together; `None` if it cannot, or nothing is known of the device.
    ///
    /// Blocks of the log begin at multiples of [`DEVICE_BLOCK_BYTES`] in their file. They do so on the device as well
    /// if the file system allocates whole physical blocks, and itself begins at one. Otherwise no offset in a file
    /// helps: each extent of a file may be shifted by another number of bytes.
    pub(super) fn shared_blocks(&self) -> Option<SharedBlocks> {
        let device = self.device?;
        let (physical, log) = (device.physical_block_bytes, DEVICE_BLOCK_BYTES as u64);
        if physical == 0 {
            return None;
        }
        if !log.is_multiple_of(physical) {
            return Some(SharedBlocks::LargePhysicalBlock { physical });
        }
        if device.misaligned {
            return Some(SharedBlocks::Misaligned { physical });
        }
        let unit = self.allocation_bytes;
        (unit > 0 && !unit.is_multiple_of(physical))
            .then_some(SharedBlocks::SmallAllocation { physical, unit })
    }
}

/// How blocks of the log may share a physical block of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SharedBlocks {
    /// A physical block is larger than the log's.
    LargePhysicalBlock {
        /// Unit of the device's rewrites, bytes.
        physical: u64,
    },
    /// The partition begins within a physical block.
    Misaligned {
        /// Unit of the device's rewrites, bytes.
        physical: u64,
    },
    /// The file system allocates smaller units.
    SmallAllocation {
        /// Unit of the device's rewrites, bytes.
        physical: u64,
        /// Allocation unit of the file system, bytes.
        unit: u64,
    },
}

impl fmt::Display for SharedBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LargePhysicalBlock { physical } => write!(
                f,
                "the device rewrites {physical} bytes together, blocks of the log are of \
                 {DEVICE_BLOCK_BYTES}; use a device with physical blocks of {DEVICE_BLOCK_BYTES} bytes"
            ),
            Self::Misaligned { physical } => write!(
                f,
                "the partition does not begin at a multiple of the device's physical block \
                 ({physical} bytes); make the partition anew, beginning at a multiple of 1 MiB"
            ),
            Self::SmallAllocation { physical, unit } => write!(
                f,
                "the file system gives out space in units of {unit} bytes on a device with physical \
                 blocks of {physical}; create it again with blocks of {physical} bytes \
                 (mkfs.ext4 -b {physical}, mkfs.xfs -b size={physical})"
            ),
        }
    }
}

/// Returns all mount options of ext4 on the device that `about` describes: the list of mounts leaves out the file
/// system's own defaults.
fn ext4_options(about: &Path) -> Option<String> {
    let device = std::fs::read_link(about).ok()?;
    let options = Path::new("/proc/fs/ext4").join(device.file_name()?).join("options");
    std::fs::read_to_string(options).ok()
}

/// Whether `options` of ext4, one per line, journal all data: it then accepts direct writes and buffers them.
pub(super) fn says_journalled(options: &str) -> bool {
    options.lines().any(|option| option.trim() == "data=journal")
}

/// Returns the device that `about` describes, a directory of sysfs: of a disk, or of a partition inside its disk's.
pub(super) fn device(about: &Path) -> Option<Device> {
    let number = |file: &str| -> Option<i64> {
        std::fs::read_to_string(about.join(file)).ok()?.trim().parse().ok()
    };
    let physical = number("queue/physical_block_size")
        .or_else(|| number("../queue/physical_block_size"))
        .and_then(|bytes| u64::try_from(bytes).ok())?;
    // -1 if a device made of several begins at different offsets of them.
    let misaligned = number("alignment_offset").is_some_and(|bytes| bytes != 0);
    Some(Device { physical_block_bytes: physical, misaligned })
}
