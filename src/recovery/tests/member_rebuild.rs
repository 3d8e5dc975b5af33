//! Member files that are all lost, and directories that are copies of others.

use super::*;
use crate::disk::LockError;

/// Returns two stripes with a log each and different epochs.
fn log() -> Stage {
    let (mut stage, mut pens) = Stage::new(2);
    pens[1].epoch.nonce = 22;
    for pen in &mut pens {
        pen.roll(&mut stage);
        pen.durable(&mut stage, &[Ink::Put(3)]);
    }
    for pen in &mut pens {
        pen.roll(&mut stage);
        pen.durable(&mut stage, &[Ink::Put(2)]);
    }
    stage
}

fn forget_members(stage: &Stage) {
    for path in stage.options.data_dirs.iter().chain([&stage.options.checkpoint_dir]) {
        stage.disk.open_dir(path, false).expect("there").remove(MEMBER_NAME).expect("removed");
    }
}

fn mended(stage: &Stage) -> Result<RepairReport, RecoveryError> {
    repair(&*stage.disk, &ManualClock::default(), &stage.random, &stage.options)
}

/// Returns why the member list cannot be rebuilt.
fn unknown(stage: &Stage) -> String {
    match mended(stage) {
        Err(RecoveryError::MembersUnknown { channel, why }) => {
            assert_eq!(channel, stage.channel);
            for path in &stage.options.data_dirs {
                assert!(!path.join(MEMBER_NAME).exists(), "a refusal has made {path:?} a member");
            }
            why
        }
        other => panic!("{other:?}"),
    }
}

fn waiting_of(found: &Recovered) -> Vec<Vec<(u64, u64)>> {
    let of = |state: &crate::record::state::StripeState| state.missing(0, state.next.0);
    found.state.stripes.iter().map(of).collect()
}

#[test]
fn r14_when_all_member_files_are_lost_a_repair_makes_them_again_from_the_logs() {
    for (opened, turned, without_checkpoints) in
        [(false, false, false), (true, false, false), (true, true, false), (true, true, true)]
    {
        let mut stage = log();
        let uuids: Vec<Uuid> =
            if opened { stage.open().stripes.iter().map(|s| s.uuid).collect() } else { Vec::new() };
        forget_members(&stage);
        if without_checkpoints {
            stage.lose_checkpoints();
        }
        if turned {
            stage.options.data_dirs.reverse();
        }
        let Err(error @ RecoveryError::Orphan { .. }) = stage.try_open() else { panic!("refused") };
        assert!(error.to_string().contains("millpond channel repair"), "{error}");
        let made = mended(&stage).expect("the logs agree");
        let members = made.made_again.iter().filter(|f| f.case == Case::R14).count();
        assert_eq!(members, if without_checkpoints { 2 } else { 3 }, "{:?}", made.made_again);
        assert_eq!((made.places.len(), made.events_lost), (0, 0), "{:?}", made.places);
        let found = stage.open();
        assert!(of(&found, Case::R14).is_empty(), "they are written");
        assert_eq!(found.channel, stage.channel);
        assert_eq!(waiting_of(&found), [[(0, 5)], [(0, 5)]]);
        if opened {
            let again: Vec<Uuid> = found.stripes.iter().map(|s| s.uuid).collect();
            assert_eq!(again, uuids, "each directory has its old place");
        }
    }
}

#[test]
fn r14_member_files_are_not_made_again_where_the_logs_do_not_tell_all() {
    let mut stage = log();
    forget_members(&stage);
    let second = stage.options.data_dirs.pop().expect("two");
    let why = unknown(&stage);
    assert!(why.contains("2 data directories, 1 are listed"), "{why}");

    stage.options.data_dirs.push(stage.root.path().join("none"));
    let why = unknown(&stage);
    assert!(why.contains("none holds no log"), "{why}");

    stage.options.data_dirs[1] = second;
    for name in ["segment-00000.log", "segment-00001.log"] {
        let file = stage.file(&stage.options.data_dirs[1], name);
        flip(&*file, SEGMENT_HEADER_BYTES as u64 + 40);
    }
    let why = unknown(&stage);
    assert!(why.contains("tell which of the data directories it is"), "{why}");
    for name in ["segment-00000.log", "segment-00001.log"] {
        let file = stage.file(&stage.options.data_dirs[1], name);
        flip(&*file, SEGMENT_HEADER_BYTES as u64 + 40);
    }
    mended(&stage).expect("whole again, they agree");
    assert_eq!(waiting_of(&stage.open()), [[(0, 5)], [(0, 5)]]);
}

/// A directory may have been added after all present segments had begun.
#[test]
fn r14_a_checkpoint_that_knows_of_more_directories_than_the_logs_is_believed() {
    for at in 0..3 {
        let stage = log();
        let stripes = stage.open().stripes;
        let owner = stripes.get(at).map_or(Uuid([7; 16]), |stripe| stripe.uuid);
        drop(stripes);
        forget_members(&stage);
        let Stage { options, channel, .. } = &stage;
        let path = options.data_dirs.iter().chain([&options.checkpoint_dir]).nth(at);
        let file = stage.file(path.expect("three directories"), CHECKPOINT_NAME);
        let mut home = SlotFile::new(Arc::clone(&file), 9);
        let state = StateRecord::new(3);
        write_state(&mut home, *channel, owner, &state);
        let why = unknown(&stage);
        assert!(why.contains("2 data directories") && why.contains("of 3"), "{why}");
        assert!(why.contains(&file.path().display().to_string()), "{why}");
        let fewer = StateRecord::new(1);
        for _ in 0..2 {
            write_state(&mut home, *channel, owner, &fewer);
        }
        mended(&stage).expect("it was written before the second directory was added");
    }
}

/// Copies the files of one directory over those of another.
fn copy(stage: &Stage, from: usize, to: usize) {
    let from = stage.disk.open_dir(&stage.options.data_dirs[from], false).expect("there");
    let to = stage.disk.open_dir(&stage.options.data_dirs[to], false).expect("there");
    for entry in to.list().expect("listed") {
        to.remove(&entry.name).expect("removed");
    }
    for entry in from.list().expect("listed") {
        let mut bytes = vec![0; entry.len as usize];
        from.open(&entry.name, Access::Read).expect("there").read_at(0, &mut bytes).expect("read");
        to.create(&entry.name).expect("made").write_at(0, &bytes).expect("written");
    }
}

#[test]
fn a_directory_that_is_a_copy_of_another_is_called_that() {
    let mut stage = log();
    copy(&stage, 0, 1);
    for degraded in [false, true] {
        stage.options.open_degraded = degraded;
        let Err(error) = stage.try_open() else { panic!("opened") };
        let words = error.to_string();
        assert!(matches!(error, RecoveryError::Twins { .. }), "{words}");
        for path in &stage.options.data_dirs {
            assert!(words.contains(&path.display().to_string()), "{words}");
        }
    }
    forget_members(&stage);
    let why = unknown(&stage);
    assert!(why.contains("both are data directory 0"), "{why}");
}

#[test]
fn r15_of_two_directories_that_are_missing_each_is_described_by_its_own_place() {
    let mut stage = log();
    let [first, second] = [0, 1].map(|at| stage.options.data_dirs[at].clone());
    rename(&first, stage.root.path().join("away0"));
    rename(&second, stage.root.path().join("away1"));
    let channel = stage.disk.open_dir(stage.root.path(), false).expect("there");
    channel.create("data0").expect("a file in the directory's place");
    stage.options.open_degraded = true;
    let seen = crate::recovery::inspection::survey(&*stage.disk, &stage.options)
        .expect("it can be looked at");
    let about = |path: &Path| {
        let found = seen.findings.iter().find(|f| f.path == path && f.case == Case::R15);
        found.map(|f| f.words.clone()).unwrap_or_default()
    };
    assert!(about(&first).contains("Not a directory"), "{}", about(&first));
    assert!(about(&second).contains("does not exist"), "{}", about(&second));
    assert!(!about(&second).contains("data0"), "{}", about(&second));
}

#[test]
fn a_lock_refused_by_a_read_only_file_system_names_it() {
    let source = std::io::Error::from_raw_os_error(30);
    let path = PathBuf::from("d/in_use.lock");
    let words = RecoveryError::Lock(LockError::Io { path, source }).to_string();
    assert!(words.contains("Read-only file system") && words.contains("mounted"), "{words}");
}
