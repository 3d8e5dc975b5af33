//! Consequences of the kernel's reports, for storage that tests do not have.

use super::probe::{ProbeResult, judge_for_tests};
use super::storage::{Device, DirectIo, Facts, Reason, SharedBlocks, device, says_journalled};
use crate::disk::{Access, Disk};
use std::io;
use std::path::Path;
use std::process::Command;

const EXT4: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;

fn facts(file_system: u64) -> Facts {
    Facts {
        file_system,
        allocation_bytes: 4096,
        direct_io: None,
        journals_data: false,
        device: None,
    }
}

fn direct_io(offset_align: u32) -> Option<DirectIo> {
    Some(DirectIo { memory_align: offset_align.min(512), offset_align })
}

#[test]
fn storage_that_accepts_direct_writes_and_buffers_is_driven_as_buffered() {
    for (number, name) in [
        (0x9123_683e, "btrfs"),
        (0x2fc1_2fc1, "zfs"),
        (0x3434, "nilfs2"),
        (0x0102_1994, "tmpfs"),
        (0x794c_7630, "overlayfs"),
        (0x7366_746e, "ntfs3"),
    ] {
        // Whatever the kernel reports about a file: the next write may be treated differently.
        for direct_io in [None, direct_io(0), direct_io(4096)] {
            let reason = Facts { direct_io, ..facts(number) }.reason();
            assert_eq!(reason, Some(Reason::Buffers(name)));
        }
    }
    assert_eq!(facts(0x6969).reason(), Some(Reason::Remote("nfs")));
    let f2fs = |direct_io| Facts { direct_io, ..facts(0xf2f5_2010) }.reason();
    assert_eq!(f2fs(None), Some(Reason::Buffers("f2fs")), "an older kernel cannot tell");
    assert_eq!(f2fs(direct_io(0)), Some(Reason::NotDirect));
    assert_eq!(f2fs(direct_io(4096)), None);
    for number in [EXT4, XFS, 0x1234_5678] {
        let told_of = |direct_io| Facts { direct_io, ..facts(number) }.reason();
        assert_eq!(
            told_of(direct_io(0)),
            Some(Reason::NotDirect),
            "data=journal, encrypted, verity"
        );
        assert_eq!(told_of(direct_io(16_384)), Some(Reason::Alignment(16_384)));
        assert_eq!(told_of(direct_io(512)), None);
        assert_eq!(told_of(None), None, "then a trial tells");
    }
}

/// A kernel before 6.1 reports nothing for a file, but ext4 reports its options.
#[test]
fn ext4_that_journals_data_is_buffered_also_without_word_of_the_kernel() {
    assert!(says_journalled("rw\nbsddf\ndata=journal\ncommit=5\n"));
    assert!(!says_journalled("rw\nbsddf\ndata=ordered\ncommit=5\n"));
    let of = |journals_data, direct_io| Facts { journals_data, direct_io, ..facts(EXT4) }.reason();
    assert_eq!(of(true, None), Some(Reason::NotDirect));
    assert_eq!(of(false, None), None);
    assert_eq!(of(true, direct_io(4096)), None, "of a file the kernel knows better");
    let Some(journalled) = Mounted::ext4(&["-b", "4096"], "loop,data=journal") else { return };
    let told = Facts::of(super::open_directory(&journalled.path()).expect("opened"));
    assert!(told.journals_data, "{told:?}");
    let Some(ordered) = Mounted::ext4(&["-b", "4096"], "loop") else { return };
    assert!(!Facts::of(super::open_directory(&ordered.path()).expect("opened")).journals_data);
    let temp = tempfile::tempdir().expect("directory");
    assert!(!Facts::of(super::open_directory(temp.path()).expect("opened")).journals_data);
}

#[test]
fn blocks_that_may_share_a_physical_block_are_named_with_what_to_do() {
    let shared = |allocation_bytes, physical_block_bytes, misaligned| {
        let device = Some(Device { physical_block_bytes, misaligned });
        Facts { allocation_bytes, device, ..facts(EXT4) }.shared_blocks()
    };
    for (unit, physical) in [(4096, 4096), (4096, 512), (1024, 512), (1024, 1024), (65_536, 4096)] {
        assert_eq!(shared(unit, physical, false), None, "{unit} on {physical}");
    }
    for unit in [1024, 2048] {
        let found = shared(unit, 4096, false).expect("they may share one");
        assert_eq!(found, SharedBlocks::SmallAllocation { physical: 4096, unit });
        let words = found.to_string();
        assert!(words.contains(&format!("units of {unit} bytes")), "{words}");
        assert!(words.contains("mkfs.ext4 -b 4096"), "{words}");
    }
    let found = shared(4096, 4096, true).expect("all are shifted");
    assert!(found.to_string().contains("beginning at a multiple of 1 MiB"), "{found}");
    let found = shared(16_384, 16_384, false).expect("larger than the log's");
    assert_eq!(found, SharedBlocks::LargePhysicalBlock { physical: 16_384 });
    assert_eq!(facts(EXT4).shared_blocks(), None, "nothing is known of the device");
}

/// Warnings. Without the agent there is no subscriber for a single thread.
mod warnings {
    use super::*;
    use crate::disk::real::probe::{judge_for_tests, probe_on};
    use rustix::fs::{Mode, OFlags};
    use std::fmt;
    use std::sync::{Arc, Mutex};

    /// Collects the warnings of the thread that it is set for.
    #[derive(Clone, Default)]
    struct Warnings(Arc<Mutex<String>>);

    impl tracing::field::Visit for Warnings {
        fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
            self.0.lock().expect("no panic").push_str(&format!("{}={value:?} ", field.name()));
        }
    }

    impl tracing::Subscriber for Warnings {
        fn enabled(&self, about: &tracing::Metadata<'_>) -> bool {
            *about.level() == tracing::Level::WARN
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            event.record(&mut self.clone());
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    /// Returns the warnings of this thread while `work` runs.
    fn said(work: impl FnOnce()) -> String {
        let warnings = Warnings::default();
        let listening = tracing_subscriber::util::SubscriberInitExt::set_default(warnings.clone());
        work();
        drop(listening);
        warnings.0.lock().expect("no panic").clone()
    }

    #[test]
    fn blocks_that_may_share_a_physical_block_are_warned_about_and_no_others() {
        let temp = tempfile::tempdir().expect("directory");
        let directory = rustix::fs::open(temp.path(), OFlags::DIRECTORY, Mode::empty());
        let directory = directory.expect("opened");
        let said = |misaligned| {
            let device = Some(Device { physical_block_bytes: 4096, misaligned });
            let facts = Facts { device, ..facts(EXT4) };
            said(|| drop(probe_on(&facts, &directory, Path::new("/mnt/d"))))
        };
        assert_eq!(said(false), "");
        let said = said(true);
        assert_eq!(said.matches("code=").count(), 1, "{said}");
        assert!(said.contains("code=MP-1108") && said.contains("/mnt/d: a power cut"), "{said}");
        assert!(said.contains("beginning at a multiple of 1 MiB"), "{said}");
    }

    #[test]
    fn a_trial_that_was_not_possible_is_warned_about_once_and_a_failed_one_is_not() {
        let said = |kind: io::ErrorKind| {
            let tried = Err(("a direct open was refused", kind.into()));
            said(|| drop(judge_for_tests(tried, || None, Path::new("/mnt/d"))))
        };
        assert_eq!(said(io::ErrorKind::InvalidInput), "");
        let said = said(io::ErrorKind::StorageFull);
        assert_eq!(said.matches("code=").count(), 1, "{said}");
        assert!(said.contains("code=MP-1109") && said.contains("/mnt/d: "), "{said}");
        assert!(said.contains("a direct open was refused"), "{said}");
    }
}

#[test]
fn a_device_is_described_as_the_kernel_describes_disks_and_partitions() {
    let temp = tempfile::tempdir().expect("directory");
    let write = |file: &str, text: &str| {
        let path = temp.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    write("sda/queue/physical_block_size", "4096\n");
    write("sda/alignment_offset", "0\n");
    write("sda/sda1/alignment_offset", "3584\n");
    write("sda/sda2/alignment_offset", "0\n");
    write("dm-0/queue/physical_block_size", "4096\n");
    write("dm-0/alignment_offset", "-1\n");
    let of = |path: &str| device(&temp.path().join(path));
    let is = |misaligned| Some(Device { physical_block_bytes: 4096, misaligned });
    assert_eq!(of("sda"), is(false));
    assert_eq!(of("sda/sda1"), is(true), "begins at sector 63");
    assert_eq!(of("sda/sda2"), is(false));
    assert_eq!(of("dm-0"), is(true));
    assert_eq!(of("nowhere"), None);
}

fn refused(error: io::Error) -> (&'static str, io::Error) {
    ("a direct open was refused", error)
}

#[test]
fn a_disk_that_is_full_at_opening_is_tried_by_a_file_that_is_there() {
    let path = Path::new("/d");
    let full = || Err(refused(io::ErrorKind::StorageFull.into()));
    let invalid = || Err(refused(io::ErrorKind::InvalidInput.into()));
    let descriptors = || Err(refused(io::Error::from_raw_os_error(libc::EMFILE)));
    let direct = judge_for_tests(Ok(()), || panic!("not asked"), path);
    assert!(direct.is_settled && direct.capabilities.direct);
    assert_eq!(judge_for_tests(invalid(), || panic!("not asked"), path), ProbeResult::BUFFERED);
    for shortage in [full, descriptors] {
        assert_eq!(judge_for_tests(shortage(), || Some(Ok(())), path), direct);
        assert_eq!(judge_for_tests(shortage(), || Some(invalid()), path), ProbeResult::BUFFERED);
        for nothing in [None, Some(full())] {
            let found = judge_for_tests(shortage(), || nothing, path);
            assert!(!found.is_settled && !found.capabilities.direct, "{found:?}");
        }
    }
}

/// An ext4 file system in a file, mounted with `options`; unmounted when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// Returns `None`, with a message, if the test may not mount.
    #[allow(clippy::print_stderr)] // printed, so that a skipped test is seen
    fn ext4(make: &[&str], options: &str) -> Option<Self> {
        let temp = tempfile::tempdir().expect("directory");
        let (image, at) = (temp.path().join("image"), temp.path().join("disk"));
        std::fs::create_dir(&at).expect("made");
        std::fs::File::create(&image).and_then(|f| f.set_len(24 << 20)).expect("an image");
        let run =
            |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let made = run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).args(make).arg(&image))
            && run(Command::new("mount").args(["-o", options]).arg(&image).arg(&at));
        if !made {
            eprintln!("left out storage: this user may not mount a file system");
        }
        made.then_some(Self(temp))
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("disk")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

#[test]
fn ext4_that_journals_data_takes_direct_writes_and_is_driven_as_buffered() {
    let Some(journalled) = Mounted::ext4(&["-b", "4096"], "loop,data=journal") else { return };
    let path = journalled.path();
    let opened = super::file::open_at(
        super::open_directory(&path).expect("opened"),
        "a",
        super::file::OpenMode::DirectCreate,
    );
    let file = opened.expect("the flag is accepted");
    if Facts::of(&file).direct_io.is_none() {
        return; // This kernel cannot tell.
    }
    let dir = super::RealDisk::new().open_dir(&path, false).expect("opened");
    assert_eq!(dir.capabilities(), super::probe::BUFFERED);
}

#[test]
fn a_directory_on_a_full_disk_is_direct_once_a_file_can_be_made() {
    let Some(small) = Mounted::ext4(&["-b", "4096", "-O", "^has_journal"], "loop") else { return };
    let path = small.path();
    let fill = || {
        let block = vec![7; 1 << 16];
        let mut file = std::fs::File::create(path.join("filler")).expect("made");
        while io::Write::write_all(&mut file, &block).is_ok() {}
        let mut rest = std::fs::File::create(path.join("rest")).expect("made");
        while io::Write::write_all(&mut rest, &block[..512]).is_ok() {}
    };
    let sub = path.join("channel");
    std::fs::create_dir(&sub).expect("made");
    fill();
    let dir = super::RealDisk::new().open_dir(&sub, false).expect("opened");
    assert!(!dir.capabilities().direct, "it could not be tried, and no file is there to read");
    std::fs::remove_file(path.join("filler")).expect("removed");
    dir.create("segment").expect("made").write_at(0, &vec![0; 1 << 16]).expect("room again");
    assert!(dir.capabilities().direct, "tried again when a file was made");
    // A channel that existed before has files to read: it is direct from the start.
    fill();
    let dir = super::RealDisk::new().open_dir(&sub, false).expect("opened");
    assert!(dir.capabilities().direct);
    assert!(dir.open("segment", Access::Read).is_ok());
}
