//! What looks at a directory make of the files there.

use super::*;

#[test]
fn what_the_first_look_sees_was_there_and_what_was_made_since_is_new() {
    let ground = Ground::new();
    ground.append("a.log", "1\n");
    // Further than a tick of the kernel's clock from the directory's last change.
    std::thread::sleep(Duration::from_millis(20));
    ground.append("else", "1\n");
    if ground.log("a.log").metadata().unwrap().created().is_err() {
        println!("left out taildir: the file system does not tell when a file was made");
        return;
    }
    let group = group(&ground, r".*\.log");
    for _ in 0..2 {
        let mut names = group::Names::default();
        let mut look = || {
            let found = names.matched(&group, false, 0).unwrap();
            let mut found: Vec<(PathBuf, bool)> =
                found.into_iter().map(|file| (file.path, file.is_new)).collect();
            found.sort();
            found
        };
        assert_eq!(look(), [(ground.log("a.log"), false)]);
        std::thread::sleep(Duration::from_millis(20));
        ground.append("b.log", "1\n");
        assert_eq!(look(), [(ground.log("a.log"), false), (ground.log("b.log"), true)]);
        std::fs::remove_file(ground.log("b.log")).unwrap();
        // The removal has changed the directory, which the next first look takes for the time up to
        // which everything in it was made.
    }
    std::thread::sleep(Duration::from_millis(20));
    // Made by the directory's last change, and missed by the first look for its name.
    ground.append("c.tmp", "1\n");
    let mut names = group::Names::default();
    names.matched(&group, false, 0).unwrap();
    ground.rename("c.tmp", "c.log");
    let found = names.matched(&group, false, 0).unwrap();
    assert_eq!(found.iter().filter(|file| file.is_new).count(), 0, "{found:?}");
}

#[test]
fn names_are_listed_again_when_the_directory_changed_or_at_every_look() {
    for (cached, seen) in [(true, 1), (false, 2)] {
        let ground = Ground::new();
        ground.append("a.log", "1\n");
        ground.append("b.tmp", "1\n");
        let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let as_before = || {
            files::open(&ground.at("logs")).unwrap().set_modified(long_ago).unwrap();
        };
        let wall_ns = 1_800_000_000_000_000_000;
        let (group, mut names) = (group(&ground, r".*\.log"), group::Names::default());
        as_before();
        assert_eq!(names.matched(&group, cached, wall_ns).unwrap().len(), 1);
        ground.rename("b.tmp", "b.log");
        as_before();
        let found = names.matched(&group, cached, wall_ns).unwrap().len();
        assert_eq!(found, seen, "cachePatternMatching {cached}");
        // A change that shows is seen with either.
        ground.append("c.log", "1\n");
        assert_eq!(names.matched(&group, cached, wall_ns).unwrap().len(), 3);
    }
    let read = |value: Option<&str>| {
        let mut pairs = vec![("filegroups", "f1"), ("filegroups.f1", "/logs/.*")];
        pairs.extend(value.map(|value| ("cachePatternMatching", value)));
        let settings = crate::config::settings::Settings::from_pairs("r1", &pairs);
        settings_of(&mut SettingsReader::new(&settings)).unwrap().cached
    };
    assert_eq!([None, Some("true"), Some("false")].map(read), [true, true, false]);
}

#[tokio::test]
async fn a_position_file_that_cannot_be_written_is_found_out_before_a_start() {
    let ground = Ground::new();
    let try_with = async |file: &str| {
        let pattern = ground.log("log");
        let pairs = [
            ("filegroups", "f1"),
            ("filegroups.f1", pattern.to_str().unwrap()),
            ("positionFile", file),
        ];
        let source = build(&TYPE, &pairs).unwrap();
        source.preflight().await.map_err(|error| error.to_string())
    };
    assert_eq!(try_with(ground.at("pos/new/p.json").to_str().unwrap()).await, Ok(()));
    assert!(!ground.at("pos/new").exists(), "nothing is made by trying");
    for (file, words) in
        [("/dev/null/p", "positionFile cannot be written"), ("/tmp", "is a directory")]
    {
        let error = try_with(file).await.unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
