//! Creation in two phases, and the directories that make up a channel.

use super::*;
use crate::disk::LockError;
use crate::record::member::{Member, Phase};

fn claims(stage: &Stage) -> Vec<Option<Phase>> {
    let paths = std::iter::once(&stage.options.checkpoint_dir).chain(&stage.options.data_dirs);
    paths
        .map(|path| {
            let file =
                stage.disk.open_dir(path, false).ok()?.open(MEMBER_NAME, Access::Read).ok()?;
            let mut buffer = AlignedBuffer::new(1).expect("memory");
            let found =
                layout::read_slots(&*file, SlotKind::Member, &mut buffer).expect("readable");
            Some(Member::decode(&found.newest()?.payload).expect("a member").phase)
        })
        .collect()
}

/// Removes the `created` record of a directory: as if the creation had crashed before it.
fn uncreate(stage: &Stage, path: &Path) {
    let file = stage.file(path, MEMBER_NAME);
    let offset = SlotKind::Member.slot_offset(2);
    file.write_at(offset, &vec![0; SlotKind::Member.slot_bytes()]).expect("written");
}

#[test]
fn a_channel_is_made_of_directories_that_do_not_exist_yet() {
    let stage = Stage::empty(2);
    let found = stage.open();
    assert!(found.report.created && found.report.findings.is_empty());
    assert_eq!(found.stripes.len(), 2);
    assert_eq!(found.stripes[0].next_block, BlockNumber(1));
    assert_eq!((found.stripes[0].next_sequence, found.order), (Sequence(0), WriteOrder(0)));
    assert!(found.stripes.iter().all(|s| s.segments.is_empty() && s.free.is_empty()));
    let channel = found.channel;
    drop(found);
    assert_eq!(claims(&stage), [Some(Phase::Created); 3]);
    let again = stage.open();
    assert!(!again.report.created && again.report.findings.is_empty());
    assert_eq!(again.channel, channel);
}

#[test]
fn an_opening_that_may_not_create_reports_that_there_is_nothing() {
    let mut stage = Stage::empty(1);
    stage.options.create = false;
    assert!(matches!(stage.try_open(), Err(RecoveryError::NoChannel { .. })));
    assert!(!stage.options.checkpoint_dir.exists());
}

#[test]
fn r9_a_creation_that_crashed_before_anyone_said_created_is_done_again() {
    let (stage, _pens) = Stage::new(2);
    drop(_pens);
    for path in stage.options.data_dirs.iter().chain([&stage.options.checkpoint_dir]) {
        uncreate(&stage, path);
        // The first opening's checkpoint would prove that the channel was in use.
        let dir = stage.disk.open_dir(path, false).expect("there");
        dir.remove(CHECKPOINT_NAME).expect("removed");
    }
    let found = stage.open();
    assert!(found.report.created);
    assert_eq!(cases(&found), [Case::R9]);
    drop(found);
    assert_eq!(claims(&stage), [Some(Phase::Created); 3]);
}

#[test]
fn r9_a_creation_that_crashed_while_saying_created_is_finished() {
    let (stage, pens) = Stage::new(2);
    drop(pens);
    uncreate(&stage, &stage.options.data_dirs[1]);
    let found = stage.open();
    assert!(!found.report.created);
    assert_eq!((cases(&found), found.channel), (vec![Case::R9], stage.channel));
    drop(found);
    assert_eq!(claims(&stage), [Some(Phase::Created); 3]);
}

#[test]
fn r9_a_half_made_member_file_is_made_again() {
    let stage = Stage::empty(1);
    let dir = stage.disk.open_dir(&stage.options.data_dirs[0], true).expect("made");
    layout::make_zeroed(&*dir, MEMBER_NAME, 100).expect("made");
    assert!(stage.open().report.created);
}

#[test]
fn a_log_proves_that_a_channel_was_created_whatever_the_member_files_say() {
    let (mut stage, mut pens) = Stage::new(1);
    pens[0].roll(&mut stage);
    pens[0].durable(&mut stage, &[Ink::Put(2)]);
    uncreate(&stage, &stage.options.data_dirs[0]);
    uncreate(&stage, &stage.options.checkpoint_dir);
    let found = stage.open();
    assert!(!found.report.created);
    assert_eq!(waiting(&found), [(0, 2)]);
}

#[test]
fn a_log_whose_channel_cannot_be_named_is_refused_not_overwritten() {
    let (mut stage, mut pens) = Stage::new(1);
    pens[0].roll(&mut stage);
    for path in stage.options.data_dirs.iter().chain([&stage.options.checkpoint_dir]) {
        stage.disk.open_dir(path, false).expect("there").remove(MEMBER_NAME).expect("removed");
    }
    assert!(
        matches!(stage.try_open(), Err(RecoveryError::Orphan { channel, .. }) if channel == stage.channel)
    );
}

#[test]
fn r15_an_empty_directory_in_a_members_place_is_taken_for_an_unmounted_disk() {
    let (mut stage, pens) = Stage::new(2);
    drop(pens);
    let home = stage.options.data_dirs[1].clone();
    rename(&home, stage.root.path().join("away"));
    stage.disk.open_dir(&home, true).expect("made");
    let Err(RecoveryError::MemberMissing { what, .. }) = stage.try_open() else {
        panic!("refused")
    };
    assert!(what.contains("unmounted"), "{what}");
    assert_eq!(claims(&stage)[2], None);
    stage.options.open_degraded = true;
    let found = stage.open();
    assert!(!found.stripes[1].available());
    drop(found);
    assert_eq!(claims(&stage)[2], None, "nothing is created in its place");
}

#[test]
fn r15_a_directory_that_is_no_longer_listed_is_missing_too() {
    let (mut stage, pens) = Stage::new(2);
    drop(pens);
    stage.options.data_dirs.pop();
    let Err(RecoveryError::MemberMissing { what, .. }) = stage.try_open() else {
        panic!("refused")
    };
    assert_eq!(what, "not listed");
}

#[test]
fn directories_are_known_by_their_uuid_whatever_their_path_and_order() {
    let (mut stage, mut pens) = Stage::new(2);
    pens[0].roll(&mut stage);
    pens[0].durable(&mut stage, &[Ink::Put(2)]);
    let moved = stage.root.path().join("moved");
    rename(&stage.options.data_dirs[0], &moved);
    stage.options.data_dirs = vec![stage.options.data_dirs[1].clone(), moved.clone()];
    let found = stage.open();
    assert_eq!(waiting(&found), [(0, 2)]);
    assert_eq!(found.stripes[0].uuid, pens[0].uuid);
    drop(found);
    // The member list has the new path, for a later opening without the directory.
    rename(&moved, stage.root.path().join("away"));
    let Err(RecoveryError::MemberMissing { last_path, .. }) = stage.try_open() else { panic!() };
    assert_eq!(last_path, moved);
}

#[test]
fn r11_a_directory_of_another_channel_is_refused_by_name() {
    let (mut stage, pens) = Stage::new(1);
    drop(pens);
    let (other, pens) = Stage::new(1);
    drop(pens);
    stage.options.checkpoint_dir = other.options.checkpoint_dir.clone();
    match stage.try_open() {
        Err(RecoveryError::ForeignMember { path, found, expected }) => {
            assert_eq!(path, other.options.checkpoint_dir);
            assert_eq!((found, expected), (other.channel, stage.channel));
        }
        other => panic!("{:?}", other.map(|r| r.report)),
    }
}

#[test]
fn a_directory_listed_for_another_part_than_it_has_is_refused() {
    let (mut stage, pens) = Stage::new(1);
    drop(pens);
    std::mem::swap(&mut stage.options.checkpoint_dir, &mut stage.options.data_dirs[0]);
    assert!(matches!(stage.try_open(), Err(RecoveryError::WrongRole { .. })));
}

#[test]
fn the_same_directory_twice_is_refused_under_any_name() {
    let mut stage = Stage::empty(2);
    stage.options.data_dirs[1] = stage.options.data_dirs[0].clone();
    assert!(matches!(stage.try_open(), Err(RecoveryError::SameDirectory { .. })));
    let stage = Stage::empty(2);
    stage.disk.open_dir(&stage.options.data_dirs[0], true).expect("made");
    std::os::unix::fs::symlink(&stage.options.data_dirs[0], &stage.options.data_dirs[1])
        .expect("linked");
    assert!(matches!(stage.try_open(), Err(RecoveryError::SameDirectory { .. })));
}

#[test]
fn a_channel_in_use_is_refused_and_its_files_are_not_read() {
    let (stage, pens) = Stage::new(1);
    drop(pens);
    let _running = stage.open();
    assert!(matches!(stage.try_open(), Err(RecoveryError::Lock(LockError::Held { .. }))));
}

#[test]
fn r13_a_lost_checkpoint_directory_is_made_again() {
    let (mut stage, mut pens) = Stage::new(1);
    pens[0].roll(&mut stage);
    pens[0].durable(&mut stage, &[Ink::Put(2)]);
    rename(&stage.options.checkpoint_dir, stage.root.path().join("away"));
    let found = stage.open();
    assert_eq!(of(&found, Case::R13).len(), 2, "the directory, and its checkpoint");
    assert_eq!(waiting(&found), [(0, 2)]);
    drop(found);
    assert!(of(&stage.open(), Case::R13).is_empty());
}

#[test]
fn r9_an_added_directory_is_reported_and_nothing_else() {
    let (mut stage, mut pens) = Stage::new(1);
    pens[0].roll(&mut stage);
    pens[0].durable(&mut stage, &[Ink::Put(2)]);
    stage.options.data_dirs.push(stage.root.path().join("more"));
    let found = stage.open();
    assert_eq!((found.stripes.len(), found.state.stripes.len()), (2, 2));
    assert_eq!(waiting(&found), [(0, 2)]);
    let (root, words) = (stage.root.path(), "added to the channel as data directory 1");
    let said = found.report.findings.iter().filter(|f| f.path.starts_with(root.join("more")));
    let said: Vec<_> = said.map(|f| (f.case, &*f.words)).collect();
    assert_eq!(said, [(Case::R9, words)], "its files are not lost ones");
    let added = found.stripes[1].uuid;
    assert_eq!(found.stripes[1].next_block, BlockNumber(1));
    assert!(found.state.stripe(StripeIndex(1)).acknowledged.contains_key(&MAIN_GROUP));
    drop(found);
    let again = stage.open();
    assert!(again.report.findings.is_empty(), "{:?}", again.report.findings);
    assert_eq!(again.stripes[1].uuid, added);
}

#[test]
fn an_interrupted_adding_is_done_again_or_finished() {
    let (mut stage, pens) = Stage::new(1);
    drop(pens);
    let more = stage.root.path().join("more");
    stage.options.data_dirs.push(more.clone());
    let added = stage.open().stripes[1].uuid;
    // The new member had not recorded `created` yet: the others name it, so it is finished.
    uncreate(&stage, &more);
    let dir = stage.disk.open_dir(&more, false).expect("there");
    dir.remove(CHECKPOINT_NAME).expect("removed");
    let found = stage.open();
    assert_eq!((found.stripes.len(), found.stripes[1].uuid), (2, added));
    drop(found);
    assert_eq!(claims(&stage), [Some(Phase::Created); 3]);
}

#[test]
fn only_a_lock_that_is_held_is_blamed_on_another_agent() {
    let path = PathBuf::from("d/in_use.lock");
    let held = RecoveryError::Lock(LockError::Held { path: path.clone(), holder: Some(7) });
    assert!(held.to_string().contains("by process 7; stop the other agent"), "{held}");
    let source = std::io::ErrorKind::PermissionDenied.into();
    let refused = RecoveryError::Lock(LockError::Io { path, source }).to_string();
    assert!(
        refused.contains("this user may write") && !refused.contains("other agent"),
        "{refused}"
    );
}
