//! Keys that are set and change nothing: each is reported once, by `validate` and at the start.

use super::keys::Target;
use millpond_flow::settings::{SettingsReader, Severity};

/// Keys that never have an effect, with the value that Flume has without them, and why.
const ALWAYS: [(&str, &str, &str); 3] = [
    ("hdfs.minBlockReplicas", "", "a file is not closed because a replica is missing"),
    ("hdfs.rollTimerPoolSize", "1", "there are no such threads"),
    ("hdfs.useRawLocalFileSystem", "false", "files of this machine never get a checksum file"),
];

/// Keys of a server that authenticates.
const OF_HADOOP: [&str; 3] = ["hdfs.kerberosPrincipal", "hdfs.kerberosKeytab", "hdfs.proxyUser"];

/// Reports what is set without effect; `is_spooled` says that files are made from a spool.
pub(super) fn report(reader: &mut SettingsReader<'_>, target: &Target, is_spooled: bool) {
    for (key, default, why) in ALWAYS {
        if set(reader, key).is_some_and(|value| !value.eq_ignore_ascii_case(default)) {
            reader.find(Severity::Warning, key, format!("has no effect: {why}"));
        }
    }
    if let Some(key) = first_below(reader, "hdfs.writeFormat.") {
        reader.find(Severity::Warning, &key, "has no effect: no value of a SequenceFile has keys");
    }
    of_the_target(reader, target, is_spooled);
    of_the_format(reader);
    without(reader, &["hdfs.roundValue", "hdfs.roundUnit"], "hdfs.round is not true", |reader| {
        set(reader, "hdfs.round").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    });
    let why = "neither hdfs.onRename.command nor hdfs.onRename.url is set";
    without(reader, &["hdfs.onRename.timeout"], why, |reader| {
        ["hdfs.onRename.command", "hdfs.onRename.url"].iter().any(|key| set(reader, key).is_some())
    });
}

fn of_the_target(reader: &mut SettingsReader<'_>, target: &Target, is_spooled: bool) {
    let why = match target {
        Target::Local => "hdfs.path is on this machine",
        Target::Store(_) => "hdfs.path is in an object store",
        Target::Default | Target::Cluster(_) => "",
    };
    without(reader, &OF_HADOOP, why, |_| why.is_empty());
    without(reader, &["hdfs.config"], why, |_| *target != Target::Local);
    let is_used = is_spooled || matches!(target, Target::Store(_));
    let why = "only files in an object store and Parquet files are in a spool";
    without(reader, &["hdfs.spoolBytes"], why, |_| is_used);
}

fn of_the_format(reader: &mut SettingsReader<'_>) {
    let file_type = set(reader, "hdfs.fileType").unwrap_or("SequenceFile");
    if !file_type.eq_ignore_ascii_case("SequenceFile") {
        let why = "only a SequenceFile has values and blocks";
        return without(reader, &["hdfs.writeFormat", "hdfs.compressionType"], why, |_| false);
    }
    let why = "a SequenceFile has no serializer: set hdfs.fileType to DataStream or CompressedStream, or remove this key";
    without(reader, &["serializer"], why, |_| false);
    if let Some(key) = first_below(reader, "serializer.") {
        reader.find(Severity::Warning, &key, format!("has no effect: {why}"));
    }
}

/// Reports those of `keys` that are set, because of `why`, unless `applies`.
fn without(
    reader: &mut SettingsReader<'_>,
    keys: &[&str],
    why: &str,
    applies: impl Fn(&SettingsReader<'_>) -> bool,
) {
    if applies(reader) {
        return;
    }
    for key in keys {
        if set(reader, key).is_some() {
            reader.find(Severity::Warning, key, format!("has no effect: {why}"));
        }
    }
}

fn set<'a>(reader: &SettingsReader<'a>, key: &str) -> Option<&'a str> {
    reader.text(key).filter(|text| !text.is_empty())
}

/// Returns the first key that begins with `prefix`.
fn first_below(reader: &SettingsReader<'_>, prefix: &str) -> Option<String> {
    reader.settings().entries.keys().find(|key| key.starts_with(prefix)).cloned()
}

#[cfg(test)]
mod tests {
    use super::super::keys::HdfsSettings;
    use millpond_flow::settings::{Settings, SettingsReader, Severity};

    /// Returns the keys that are reported for a sink with these settings.
    fn reported(pairs: &[(&str, &str)]) -> Vec<String> {
        let settings = Settings::from_pairs("k1", pairs);
        let mut reader = SettingsReader::new(&settings);
        let settings = HdfsSettings::read(&mut reader).unwrap();
        super::report(&mut reader, &settings.target, settings.format.is_spooled());
        let found = reader.into_findings().into_iter().map(|finding| {
            assert_eq!(finding.severity, Severity::Warning, "{finding:?}");
            assert!(finding.message.starts_with("has no effect: "), "{finding:?}");
            finding.key.strip_prefix("k1.").unwrap().to_owned()
        });
        found.collect()
    }

    #[test]
    fn a_key_without_effect_is_reported_once_and_others_are_not() {
        let path = ("hdfs.path", "file:///x");
        for (key, value) in [
            ("hdfs.minBlockReplicas", "1"),
            ("hdfs.rollTimerPoolSize", "2"),
            ("hdfs.useRawLocalFileSystem", "true"),
            ("hdfs.writeFormat.x", "y"),
            ("hdfs.proxyUser", "u"),
            ("hdfs.config", "/etc/hadoop"),
            ("hdfs.spoolBytes", "100000000"),
            ("hdfs.roundValue", "10"),
            ("hdfs.roundUnit", "minute"),
            ("hdfs.onRename.timeout", "1000"),
            ("serializer", "TEXT"),
            ("serializer.appendNewline", "false"),
        ] {
            assert_eq!(reported(&[path, (key, value)]), [key]);
        }
        let stream = ("hdfs.fileType", "DataStream");
        assert_eq!(reported(&[path, stream, ("hdfs.writeFormat", "Text")]), ["hdfs.writeFormat"]);
        for pairs in [
            &[("hdfs.rollTimerPoolSize", "1"), ("hdfs.useRawLocalFileSystem", "false")][..],
            &[("hdfs.round", "true"), ("hdfs.roundValue", "10"), ("hdfs.roundUnit", "minute")],
            &[("hdfs.onRename.timeout", "1000"), ("hdfs.onRename.command", "/bin/true")],
            &[stream, ("serializer", "TEXT"), ("serializer.appendNewline", "false")],
            &[
                ("hdfs.writeFormat", "Text"),
                ("hdfs.codeC", "gzip"),
                ("hdfs.compressionType", "BLOCK"),
            ],
        ] {
            assert_eq!(reported(&[&[path], pairs].concat()), Vec::<String>::new(), "{pairs:?}");
        }
    }

    #[cfg(feature = "native")]
    #[test]
    fn keys_of_hadoop_have_an_effect_on_a_cluster() {
        let pairs = [
            ("hdfs.path", "hdfs://n/x"),
            ("hdfs.proxyUser", "u"),
            ("hdfs.config", "/etc/hadoop"),
            ("hdfs.kerberosPrincipal", "a@B"),
            ("hdfs.kerberosKeytab", "/k"),
        ];
        assert_eq!(reported(&pairs), Vec::<String>::new());
    }
}
