//! Flume's defaults and corrections of each value.

use super::*;
use crate::channel_keys::{ChannelKey, FILE, MEMORY, NO_ENCRYPTION, SPILLABLE, Treatment};
use millpond_flow::settings::{ConfigFinding, Settings};

const DIRS: [(&str, &str); 2] = [("checkpointDir", "/c"), ("dataDirs", "/d1")];

/// Returns the settings of `pairs` and two directories, and the findings.
fn file(pairs: &[(&str, &str)]) -> (Result<FileChannelSettings, SettingError>, Vec<ConfigFinding>) {
    let mut all = DIRS.to_vec();
    all.retain(|(key, _)| !pairs.iter().any(|(own, _)| own == key));
    all.extend(pairs);
    run(&all, FileChannelSettings::read)
}

fn run<T>(
    pairs: &[(&str, &str)],
    read: impl Fn(&mut SettingsReader<'_>) -> Result<T, SettingError>,
) -> (Result<T, SettingError>, Vec<ConfigFinding>) {
    let settings = Settings::from_pairs("c1", pairs);
    let mut reader = SettingsReader::new(&settings);
    let result = read(&mut reader);
    (result, reader.into_findings())
}

fn check<T: PartialEq + std::fmt::Debug>(
    pair: (&str, &str),
    field: impl Fn(FileChannelSettings) -> T,
    expected: T,
    warned: bool,
) {
    let (settings, findings) = file(&[pair]);
    let settings = settings.unwrap_or_else(|error| panic!("{pair:?}: {error}"));
    assert_eq!(field(settings), expected, "{pair:?}");
    assert_eq!(findings.len(), usize::from(warned), "{pair:?}: {findings:?}");
    assert!(findings.iter().all(|finding| finding.severity == Severity::Warning));
}

fn refused(pairs: &[(&str, &str)], key: &str, words: &str) {
    let error = file(pairs).0.expect_err(words);
    assert_eq!(error.key, format!("c1.{key}"), "{error}");
    assert!(error.message.contains(words), "{error}");
}

#[test]
fn a_file_channel_has_flumes_defaults() {
    let (settings, findings) = file(&[]);
    let expected = FileChannelSettings {
        checkpoint_dir: "/c".into(),
        data_dirs: vec!["/d1".into()],
        capacity: 1_000_000,
        transaction_capacity: 10_000,
        transaction_bytes_max: 64 * 1024 * 1024,
        checkpoint_interval: Duration::from_secs(30),
        max_file_size: limits::SEGMENT_BYTES_DEFAULT,
        minimum_required_space: 524_288_000,
        keep_alive: Duration::from_secs(3),
        open_degraded: false,
        open_without_missing_segments: false,
        hot_window_bytes: limits::AGENT_HOT_WINDOW_BYTES_DEFAULT,
    };
    assert_eq!(settings, Ok(expected));
    assert_eq!(findings, []);
}

#[test]
fn directories_that_are_not_configured_have_flumes_defaults() {
    let home = PathBuf::from(std::env::var_os("HOME").expect("the test has a home"));
    let (settings, _) = run(&[("checkpointDir", "")], FileChannelSettings::read);
    let settings = settings.expect("defaults");
    assert_eq!(settings.checkpoint_dir, home.join(".flume/file-channel/checkpoint"));
    assert_eq!(settings.data_dirs, [home.join(".flume/file-channel/data")]);
}

/// The defaults of the reader are those of the key's table and of the document.
#[test]
fn the_key_tables_name_the_defaults_that_are_taken() {
    let pairs = |table: &[ChannelKey]| {
        table.iter().map(|entry| (entry.key.name, entry.key.default)).collect::<Vec<_>>()
    };
    let memory = run(&pairs(&MEMORY), MemoryChannelSettings::read);
    assert_eq!(memory, run(&[], MemoryChannelSettings::read));
    let spillable = run(&[&DIRS[..], &pairs(&SPILLABLE)].concat(), SpillableSettings::read);
    assert_eq!(spillable, run(&DIRS, SpillableSettings::read));
    let usual = FILE.iter().filter(|e| e.treatment != Treatment::Refused(NO_ENCRYPTION));
    let usual = usual
        .map(|e| (e.key.name, e.key.default))
        .filter(|(k, _)| !k.ends_with("Dir") && !k.ends_with("Dirs"));
    assert_eq!(file(&usual.collect::<Vec<_>>()), file(&[]));
}

#[test]
fn values_out_of_range_are_corrected_as_flume_corrects_them() {
    check(("capacity", "0"), |f| f.capacity, 1_000_000, true);
    check(("capacity", "-5"), |f| f.capacity, 1_000_000, true);
    check(("capacity", "10000"), |f| f.capacity, 10_000, false);
    check(("transactionCapacity", "0"), |f| f.transaction_capacity, 10_000, true);
    check(("checkpointInterval", "-1"), |f| f.checkpoint_interval.as_millis(), 30_000, true);
    check(("checkpointInterval", "999"), |f| f.checkpoint_interval.as_millis(), 1_000, true);
    check(("checkpointInterval", "1000"), |f| f.checkpoint_interval.as_millis(), 1_000, false);
    check(("minimumRequiredSpace", "1048575"), |f| f.minimum_required_space, 1_048_576, true);
    check(("minimumRequiredSpace", "1048576"), |f| f.minimum_required_space, 1_048_576, false);
    check(("maxFileSize", "16384"), |f| f.max_file_size, 16_384, false);
    check(("maxFileSize", "16383"), |f| f.max_file_size, 16_384, true);
    check(
        ("maxFileSize", "9223372036854775807"),
        |f| f.max_file_size,
        limits::SEGMENT_BYTES_DEFAULT,
        false,
    );
    check(("keep-alive", "-1"), |f| f.keep_alive, Duration::ZERO, true);
    check(("keep-alive", "0"), |f| f.keep_alive, Duration::ZERO, false);
    check(("capacity", "20000 # 总容量"), |f| f.capacity, 20_000, true);
    check(("openDegraded", "true"), |f| f.open_degraded, true, false);
    let key = ("openWithoutMissingSegments", "true");
    check(key, |f| f.open_without_missing_segments, true, false);
    check(("hotWindowBytes", "1048576"), |f| f.hot_window_bytes, 1 << 20, false);
    check(("transactionBytesMax", "4096"), |f| f.transaction_bytes_max, 4096, false);
}

#[test]
fn values_that_flume_refuses_are_refused_with_their_key() {
    refused(&[("capacity", "many")], "capacity", "\"many\" is not a whole number");
    refused(
        &[("capacity", "99")],
        "capacity",
        "transactionCapacity 10000 is larger than capacity 99",
    );
    refused(
        &[("transactionCapacity", "1000001")],
        "transactionCapacity",
        "larger than capacity 1000000",
    );
    refused(&[("keep-alive", "3s")], "keep-alive", "\"3s\" is not a whole number");
    // The channel refuses these too, but only when it is opened.
    refused(&[("hotWindowBytes", "1048575")], "hotWindowBytes", "from 1048576");
    refused(&[("transactionBytesMax", "1073741825")], "transactionBytesMax", "from 1024");
    refused(&[("transactionBytesMax", "1023")], "transactionBytesMax", "from 1024");
    refused(&[("dataDirs", " , ,")], "dataDirs", "names no directory");
    refused(&[("dataDirs", "/a, /b,/a")], "dataDirs", "/a twice");
    refused(&[("dataDirs", "/a,/c")], "dataDirs", "/c is also the checkpointDir");
    let many = (0..40).map(|n| format!("/d{n}")).collect::<Vec<_>>().join(",");
    refused(&[("dataDirs", &many)], "dataDirs", "40 directories");
}

#[test]
fn data_directories_are_trimmed_and_keep_their_order() {
    let (settings, findings) = file(&[("dataDirs", "/b , /a,,/x # y")]);
    let dirs: Vec<PathBuf> = ["/b", "/a", "/x # y"].map(PathBuf::from).to_vec();
    assert_eq!(settings.expect("three directories").data_dirs, dirs);
    assert_eq!(findings, []);
}

#[test]
fn encryption_is_refused_in_every_channel_on_disk() {
    for key in ["encryption.activeKey", "encryption.keyProvider.keys.k.passwordFile", "encryption"]
    {
        refused(&[(key, "x"), ("capacity", "bad")], key, "not available");
        let (spillable, _) = run(&[(key, "x")], SpillableSettings::read);
        assert!(spillable.expect_err(key).message.contains("not available"));
    }
}

#[test]
fn keys_without_effect_are_warned_about_unless_they_say_the_usual() {
    for (key, value, warned) in [
        ("fsyncPerTransaction", "false", true),
        ("fsyncPerTransaction", "true", false),
        ("fsyncInterval", "1", true),
        ("useDualCheckpoints", "true", true),
        ("useDualCheckpoints", "FALSE", false),
        ("backupCheckpointDir", "/b", true),
        ("checkpointOnClose", "false", true),
        ("use-fast-replay", "true", true),
        ("write-timeout", "3", true),
    ] {
        check((key, value), |f| f.capacity, 1_000_000, warned);
    }
}

#[test]
fn a_memory_channel_takes_the_default_where_flume_does() {
    let read = |pairs: &[(&str, &str)]| run(pairs, MemoryChannelSettings::read);
    let (settings, findings) = read(&[]);
    let usual = MemoryChannelSettings {
        capacity: 100,
        transaction_capacity: 100,
        keep_alive: Duration::from_secs(3),
        byte_capacity: Some(limits::MEMORY_BYTE_CAPACITY_DEFAULT),
        byte_capacity_buffer_percentage: 20,
    };
    assert_eq!((settings.as_ref(), findings.len()), (Ok(&usual), 0));
    for key in [
        "capacity",
        "transactionCapacity",
        "keep-alive",
        "byteCapacity",
        "byteCapacityBufferPercentage",
    ] {
        let (settings, findings) = read(&[(key, "nonsense")]);
        assert_eq!((settings.as_ref(), findings.len()), (Ok(&usual), 1), "{key}");
        assert_eq!(findings[0].severity, Severity::Warning);
    }
    let (settings, _) = read(&[("byteCapacity", "0")]);
    assert_eq!(settings.expect("no bound").byte_capacity, None);
    // 124 bytes less 20 % are not one slot of 100.
    let (settings, findings) = read(&[("byteCapacity", "124")]);
    assert_eq!((settings.expect("no bound").byte_capacity, findings.len()), (None, 1));
    let (settings, findings) = read(&[("byteCapacity", "125")]);
    assert_eq!((settings.expect("one slot").byte_capacity, findings.len()), (Some(125), 0));
    let (settings, _) = read(&[("capacity", "99")]);
    assert!(settings.expect_err("too small").message.contains("larger than capacity 99"));
}

#[test]
fn a_spillable_channel_has_its_overflow_as_a_file_channel() {
    let read = |pairs: &[(&str, &str)]| {
        let all = [&DIRS[..], pairs].concat();
        run(&all, SpillableSettings::read)
    };
    let (settings, findings) = read(&[("overflowCapacity", "50000"), ("memoryCapacity", "0")]);
    let settings = settings.expect("legal");
    assert_eq!((settings.memory_capacity, settings.overflow_capacity), (0, 50_000));
    assert_eq!(
        (settings.overflow.capacity, settings.overflow.keep_alive),
        (50_000, Duration::ZERO)
    );
    assert_eq!(settings.overflow_timeout, Duration::from_secs(3));
    assert_eq!(settings.overflow_deactivation_percentage, 5);
    assert_eq!(findings, []);
    let (settings, findings) = read(&[("capacity", "1"), ("keep-alive", "9")]);
    assert_eq!(settings.expect("legal").overflow.capacity, 100_000_000);
    assert_eq!(findings.len(), 2, "both have no effect: {findings:?}");
    let (settings, _) = read(&[("overflowCapacity", "0")]);
    assert_eq!(settings.expect("memory only").overflow_capacity, 0);
    let (settings, _) = read(&[("overflowCapacity", "0"), ("memoryCapacity", "0")]);
    assert!(settings.expect_err("it holds nothing").message.contains("holds nothing"));
    let (settings, _) = read(&[("overflowCapacity", "9999")]);
    let error = settings.expect_err("a transaction of 10000 does not fit");
    assert_eq!(error.key, "c1.overflowCapacity");
}
