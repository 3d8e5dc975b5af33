//! Tests of directory scans.

use super::*;

#[test]
fn files_of_the_first_scan_are_old_and_files_created_since_are_new() {
    let fixture = TailFixture::new();
    fixture.append("a.log", "1\n");
    // More than a kernel clock tick after the directory's last change.
    std::thread::sleep(Duration::from_millis(20));
    fixture.append("else", "1\n");
    if fixture.log("a.log").metadata().unwrap().created().is_err() {
        println!("left out taildir: the file system does not tell when a file was made");
        return;
    }
    let group = group(&fixture, r".*\.log");
    for _ in 0..2 {
        let mut names = group::GroupFiles::default();
        let mut look = || {
            let found = names.matched(&group, false, 0).unwrap();
            let mut found: Vec<(PathBuf, bool)> =
                found.into_iter().map(|file| (file.path, file.is_new)).collect();
            found.sort();
            found
        };
        assert_eq!(look(), [(fixture.log("a.log"), false)]);
        std::thread::sleep(Duration::from_millis(20));
        fixture.append("b.log", "1\n");
        assert_eq!(look(), [(fixture.log("a.log"), false), (fixture.log("b.log"), true)]);
        std::fs::remove_file(fixture.log("b.log")).unwrap();
        // The removal has changed the directory; the next first scan takes that time as the latest creation time of
        // existing files.
    }
    std::thread::sleep(Duration::from_millis(20));
    // Created by the directory's last change, and missed by the first scan because of its name.
    fixture.append("c.tmp", "1\n");
    let mut names = group::GroupFiles::default();
    names.matched(&group, false, 0).unwrap();
    fixture.rename("c.tmp", "c.log");
    let found = names.matched(&group, false, 0).unwrap();
    assert_eq!(found.iter().filter(|file| file.is_new).count(), 0, "{found:?}");
}

#[test]
fn names_are_listed_again_when_the_directory_changed_or_at_every_scan() {
    for (cached, seen) in [(true, 1), (false, 2)] {
        let fixture = TailFixture::new();
        fixture.append("a.log", "1\n");
        fixture.append("b.tmp", "1\n");
        let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let as_before = || {
            files::open(&fixture.at("logs")).unwrap().set_modified(long_ago).unwrap();
        };
        let wall_ns = 1_800_000_000_000_000_000;
        let (group, mut names) = (group(&fixture, r".*\.log"), group::GroupFiles::default());
        as_before();
        assert_eq!(names.matched(&group, cached, wall_ns).unwrap().len(), 1);
        fixture.rename("b.tmp", "b.log");
        as_before();
        let found = names.matched(&group, cached, wall_ns).unwrap().len();
        assert_eq!(found, seen, "cachePatternMatching {cached}");
        // A visible change is found by both.
        fixture.append("c.log", "1\n");
        assert_eq!(names.matched(&group, cached, wall_ns).unwrap().len(), 3);
    }
    let read = |value: Option<&str>| {
        let mut pairs = vec![("filegroups", "f1"), ("filegroups.f1", "/logs/.*")];
        pairs.extend(value.map(|value| ("cachePatternMatching", value)));
        let settings = millpond_flow::settings::Settings::from_pairs("r1", &pairs);
        settings_of(&mut SettingsReader::new(&settings)).unwrap().cached
    };
    assert_eq!([None, Some("true"), Some("false")].map(read), [true, true, false]);
}

#[tokio::test]
async fn an_unwritable_position_file_is_detected_before_a_start() {
    let fixture = TailFixture::new();
    let try_with = async |file: &str| {
        let pattern = fixture.log("log");
        let pairs = [
            ("filegroups", "f1"),
            ("filegroups.f1", pattern.to_str().unwrap()),
            ("positionFile", file),
        ];
        let source = build(&TYPE, &pairs).unwrap();
        source.preflight().await.map_err(|error| error.to_string())
    };
    assert_eq!(try_with(fixture.at("pos/new/p.json").to_str().unwrap()).await, Ok(()));
    assert!(!fixture.at("pos/new").exists(), "the check creates nothing");
    for (file, words) in
        [("/dev/null/p", "positionFile cannot be written"), ("/tmp", "is a directory")]
    {
        let error = try_with(file).await.unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
