//! The table of all keys.

use crate::format;
use millpond_flow::settings::{Key, KeyKind, joined, key};

/// All keys.
pub(super) const KEYS: [Key; 53] = joined(&[&OWN_KEYS, &format::KEYS]);

const OWN_KEYS: [Key; 37] = [
    key(
        "hdfs.path",
        KeyKind::Path,
        "",
        "Directory of the files, as hdfs://, viewfs://, file://, s3a://, gs:// or abfs:// URL, with escapes; without a scheme on fs.defaultFS of Hadoop's configuration, or on this machine.",
    ),
    key("hdfs.filePrefix", KeyKind::Text, "FlumeData", "Beginning of each name, with escapes."),
    key(
        "hdfs.fileSuffix",
        KeyKind::Text,
        "",
        "End of each name, with its dot; replaces the extension of the codec.",
    ),
    key("hdfs.inUsePrefix", KeyKind::Text, "", "Put before the name while the file is open."),
    key("hdfs.inUseSuffix", KeyKind::Text, ".tmp", "Put after the name while the file is open."),
    key(
        "hdfs.emptyInUseSuffix",
        KeyKind::Boolean,
        "false",
        "True: nothing is put after the name while the file is open.",
    ),
    key(
        "hdfs.timeZone",
        KeyKind::Text,
        "",
        "Zone of the dates in paths; that of the machine if it is not set.",
    ),
    key(
        "hdfs.rollInterval",
        KeyKind::Number,
        "30",
        "Seconds after which an open file is closed; 0 for never.",
    ),
    key(
        "hdfs.rollSize",
        KeyKind::Number,
        "1024",
        "Bytes of bodies with which a file is closed; 0 for never.",
    ),
    key(
        "hdfs.rollCount",
        KeyKind::Number,
        "10",
        "Events with which a file is closed; 0 for never.",
    ),
    key(
        "hdfs.idleTimeout",
        KeyKind::Number,
        "0",
        "Seconds without an event after which a file is closed; 0 for never.",
    ),
    key(
        "hdfs.batchSize",
        KeyKind::Number,
        "100",
        "Events of a batch. What waits in the channel is written up to 16 batches at a time.",
    ),
    key(
        "hdfs.maxOpenFiles",
        KeyKind::Number,
        "5000",
        "Open files at most, 1 to 100000; then the least recently used one is closed.",
    ),
    key(
        "hdfs.minBlockReplicas",
        KeyKind::Number,
        "",
        "Accepted without effect: a file is not closed because a replica is missing.",
    ),
    key(
        "hdfs.threadsPoolSize",
        KeyKind::Number,
        "10",
        "Calls of the file system at a time in a delivery, 1 to 1000.",
    ),
    key("hdfs.rollTimerPoolSize", KeyKind::Number, "1", "Accepted without effect."),
    key(
        "hdfs.kerberosPrincipal",
        KeyKind::Text,
        "",
        "Principal of Kerberos; _HOST in it is the name of this machine.",
    ),
    key("hdfs.kerberosKeytab", KeyKind::Path, "", "Key table of the principal."),
    key("hdfs.proxyUser", KeyKind::Text, "", "User to act for."),
    key("hdfs.round", KeyKind::Boolean, "false", "Whether times in paths are rounded down."),
    key("hdfs.roundValue", KeyKind::Number, "1", "Units to round to: 1 to 60, hours 1 to 24."),
    key("hdfs.roundUnit", KeyKind::Word, "second", "second, minute or hour."),
    key(
        "hdfs.useLocalTimeStamp",
        KeyKind::Boolean,
        "false",
        "Whether the clock counts and not the header timestamp.",
    ),
    key(
        "hdfs.closeTries",
        KeyKind::Number,
        "0",
        "Tries to close and rename a file until the next start; 0 for no limit.",
    ),
    key(
        "hdfs.retryInterval",
        KeyKind::Number,
        "180",
        "Longest pause in seconds between these tries; the first ones come sooner. 0 for one try.",
    ),
    key(
        "hdfs.callTimeout",
        KeyKind::Number,
        "30000",
        "Milliseconds that a call of the file system may take; 0 for an hour.",
    ),
    key(
        "hdfs.useRawLocalFileSystem",
        KeyKind::Boolean,
        "false",
        "Accepted without effect: files of this machine never get a checksum file.",
    ),
    key(
        "hdfs.config",
        KeyKind::Path,
        "",
        "Directory of core-site.xml and hdfs-site.xml; HADOOP_CONF_DIR if it is not set. Flume has no such key.",
    ),
    key(
        "hdfs.fallbackPath",
        KeyKind::Path,
        "",
        "Directory without escapes for events that have no path, as for a missing timestamp. Without it and without deadLetter.*, _no_path in the part of hdfs.path before its first escape. Flume has no such key.",
    ),
    key(
        "hdfs.stateDirectory",
        KeyKind::Path,
        "~/.flume/hdfs-sink",
        "Directory of this machine with the list of open files, by which the next start closes and renames what a crash left. Flume has no such key.",
    ),
    key(
        "hdfs.exactlyOnce",
        KeyKind::Boolean,
        "false",
        "Whether each event is in the renamed files once, whatever fails; see docs/hdfs.md. The sink is then the only one of a file channel. Flume has no such key.",
    ),
    key(
        "hdfs.spoolBytes",
        KeyKind::Number,
        "10737418240",
        "Most bytes of files in hdfs.stateDirectory that are not uploaded to an object store yet; then events wait in the channel. Flume has no such key.",
    ),
    key(
        "hdfs.onRename.command",
        KeyKind::Text,
        "",
        "Command that is run for each renamed file, split at blanks, with its URL, directory and partition (dt=…/h=…) as arguments; exit code 0 acknowledges. Flume has no such key.",
    ),
    key(
        "hdfs.onRename.url",
        KeyKind::Text,
        "",
        "URL (http or https) that gets a POST of JSON for each renamed file; a status of 200 to 299 acknowledges. Flume has no such key.",
    ),
    key(
        "hdfs.onRename.timeout",
        KeyKind::Number,
        "60000",
        "Milliseconds that such a call may take, at most an hour. Flume has no such key.",
    ),
    key(
        "hdfs.writeFormat.*",
        KeyKind::Text,
        "",
        "Accepted without effect: no serializer has such keys.",
    ),
    key("serializer.*", KeyKind::Text, "", "Keys of the serializer."),
];
