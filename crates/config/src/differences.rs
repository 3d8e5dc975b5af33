//! Intended differences from Flume, by type, which `validate` reports.
//!
//! Differences that give a finding anyway (an ignored key, a refused value) are not in the table.
//! docs/flume-compat.md describes them in more detail; a test compares the two.

use super::difference::{Difference, always, with};
use super::types::ComponentKind;

const TRUE: &[&str] = &["true"];
const SCRIBE: &str = "org.apache.flume.source.scribe.ScribeSource";
const LISTENERS: &[&str] =
    &["avro", "thrift", SCRIBE, "syslogtcp", "multiport_syslogtcp", "http", "netcat"];

/// Differences of every agent.
pub const AGENT: &[&str] = &[
    "a changed configuration restarts only components with changed settings, and one that cannot run changes nothing; Flume stops everything",
    "at a stop the sinks first empty the memory channels, for 20 s at most; Flume loses their events",
    "monitoring listens on 127.0.0.1 unless -Dflume.monitoring.bind is set; Flume listens on every address",
    "log4j.properties and log4j2.xml are not read; -Dflume.root.logger is",
];

/// Differences of components.
pub const DIFFERENCES: &[Difference] = &[
    // Sources.
    always(
        ComponentKind::Source,
        LISTENERS,
        &["maxConnections"],
        "connections beyond maxConnections (20000 without the key) are closed; Flume has no limit",
    ),
    always(
        ComponentKind::Source,
        &["avro", "thrift", "http"],
        &["maxRequestBytes"],
        "a request of more than maxRequestBytes (64 MiB without the key) is refused; Flume has a limit only for thrift, 16384000 bytes",
    ),
    always(
        ComponentKind::Source,
        &["avro", "thrift", SCRIBE, "http"],
        &["requestTimeout"],
        "a client whose request takes longer than requestTimeout (120 s without the key) is disconnected; Flume has no such limit",
    ),
    always(
        ComponentKind::Source,
        &["avro"],
        &[],
        "the calls of one connection are processed in order, in Flume in parallel; a client with another protocol gets an error message",
    ),
    with(
        "ssl",
        ComponentKind::Source,
        &["avro", "thrift", "http", "syslogtcp", "multiport_syslogtcp"],
        &["ssl"],
        "TLS 1.2 and 1.3 only, without cipher suites with CBC or without forward secrecy; a handshake has 20 s",
    )
    .says(TRUE),
    always(
        ComponentKind::Source,
        &["syslogtcp", "syslogudp", "multiport_syslogtcp"],
        &[],
        "events that the channel refuses wait; Flume drops them",
    ),
    always(
        ComponentKind::Source,
        &["syslogtcp", "multiport_syslogtcp"],
        &[],
        "the last line of a client needs no newline; Flume drops it",
    ),
    always(
        ComponentKind::Source,
        &["syslogtcp", "syslogudp"],
        &[],
        "fractions of a second are decimal: .5 is half a second, in Flume five milliseconds",
    ),
    with(
        "format.search",
        ComponentKind::Source,
        &["syslogtcp", "syslogudp"],
        &["format.search", "format.replace"],
        "without format.replace the match is removed; in Flume every message is then an error",
    ),
    always(
        ComponentKind::Source,
        &["multiport_syslogtcp"],
        &[],
        "empty lines are ignored (Flume loses the whole read); a time of RFC 3164 gets the year that brings it nearest to now (in Flume 2001 or 1999 when it is more than a month away), its day needs no padding, and an invalid month loses nothing",
    ),
    always(
        ComponentKind::Source,
        &["http"],
        &[],
        "an empty document, and null in place of an event, get 400, in Flume 500; a header that is null is ignored, in Flume its event cannot leave the channel",
    ),
    with(
        "handler",
        ComponentKind::Source,
        &["http"],
        &["handler.mandatoryParameters"],
        "without handler.mandatoryParameters no parameter is required; in Flume every request to BLOBHandler then gets 500",
    )
    .says(&["org.apache.flume.source.http.BLOBHandler"]),
    with(
        "handler",
        ComponentKind::Source,
        &["http"],
        &["handler.maxBlobLength"],
        "a body longer than handler.maxBlobLength gets 413; Flume truncates it silently",
    )
    .says(&["org.apache.flume.sink.solr.morphline.BlobHandler"]),
    with(
        "host",
        ComponentKind::Source,
        &[SCRIBE],
        &["host"],
        "host is the address to listen on; Flume listens on every address",
    ),
    always(
        ComponentKind::Source,
        &["netcat"],
        &[],
        "the complete lines of one read are one transaction, in Flume one each; a line without a newline at the end of its connection is an event; Flume drops it",
    ),
    always(
        ComponentKind::Source,
        &["netcat"],
        &["encoding"],
        "complete lines before bytes that are invalid in the encoding are accepted and confirmed; Flume drops those of the same read",
    ),
    always(
        ComponentKind::Source,
        &["netcatudp"],
        &["remoteAddress"],
        "without remoteAddress the sender's address is in the header REMOTE_ADDRESS; Flume has no usable default",
    ),
    always(
        ComponentKind::Source,
        &["netcatudp"],
        &[],
        "received events wait until the channel accepts them; Flume drops them",
    ),
    always(
        ComponentKind::Source,
        &["exec"],
        &[],
        "while the channel refuses events nothing is read and the command waits; Flume loses the lines it has; the command runs in a process group of its own, which ends with the source",
    ),
    always(
        ComponentKind::Source,
        &["spooldir"],
        &[],
        "a file that grows while it is read is read to its end; one that is rewritten, cannot be read or renamed, or contains an event that no channel can hold is logged as an error and skipped, and other files are read; in Flume the source then stops until a restart",
    ),
    always(
        ComponentKind::Source,
        &["spooldir"],
        &["decodeErrorPolicy"],
        "decodeErrorPolicy = FAIL skips a file with bytes that are invalid in the encoding; in Flume the source then stops until a restart",
    ),
    always(
        ComponentKind::Source,
        &["spooldir"],
        &["consumeOrder"],
        "a listing of the directory is used for half a second, Flume makes one for every file; after a restart the file in progress comes first",
    ),
    with(
        "deserializer",
        ComponentKind::Source,
        &["spooldir"],
        &["deserializer"],
        "an event of AVRO is the datum with the bytes that it has in the file; Flume encodes it again; files that would take unlimited memory or time are skipped",
    )
    .says(&["AVRO", "org.apache.flume.serialization.AvroEventDeserializer$Builder"]),
    always(
        ComponentKind::Source,
        &["spooldir", "taildir"],
        &[],
        "the position in files is stored by the channels, in the transactions of the lines, if all required channels are file channels; a kill then neither loses nor repeats a line",
    ),
    always(
        ComponentKind::Source,
        &["taildir"],
        &[],
        "a file is identified by its inode and first bytes, so a renamed file is not read again and a truncated or replaced one is read from its start; one that is removed or renamed out of its group is read to its end; a line that no channel can hold is skipped and counted; Flume tries it forever",
    ),
    always(
        ComponentKind::Source,
        &["taildir"],
        &["filegroups", "filegroups.*"],
        "a missing directory does not delay other groups; in Flume the source does not start",
    ),
    always(
        ComponentKind::Source,
        &["taildir"],
        &["positionFile"],
        "the position file is replaced as a whole, so a kill leaves the old or the new one; Flume writes into it",
    ),
    always(
        ComponentKind::Source,
        &["taildir"],
        &["maxBatchCount"],
        "at most 64 batches are read from a file before the next file; in Flume any number without maxBatchCount",
    ),
    // Channels.
    always(
        ComponentKind::Channel,
        &["file"],
        &["keep-alive"],
        "keep-alive applies to a put transaction as a whole, in Flume to each of its events",
    ),
    always(
        ComponentKind::Channel,
        &["file", "spillablememory"],
        &["minimumRequiredSpace"],
        "below minimumRequiredSpace takes continue; in Flume they fail",
    ),
    always(
        ComponentKind::Channel,
        &["file", "spillablememory"],
        &["transactionBytesMax"],
        "a put transaction has at most transactionBytesMax bytes (64 MiB without the key); Flume has no limit",
    ),
    with(
        "hotWindowBytes",
        ComponentKind::Channel,
        &["file", "spillablememory"],
        &["hotWindowBytes"],
        "hotWindowBytes is ours; Flume ignores it",
    ),
    with(
        "openDegraded",
        ComponentKind::Channel,
        &["file", "spillablememory"],
        &["openDegraded"],
        "openDegraded is ours; Flume ignores it",
    ),
    with(
        "openWithoutMissingSegments",
        ComponentKind::Channel,
        &["file", "spillablememory"],
        &["openWithoutMissingSegments"],
        "openWithoutMissingSegments is ours; Flume ignores it",
    ),
    always(
        ComponentKind::Channel,
        &["file", "spillablememory"],
        &[],
        "files on disk have a format of their own: the files of a Flume file channel are not read, and Flume does not read these",
    ),
    always(
        ComponentKind::Channel,
        &["memory", "spillablememory"],
        &["byteCapacity"],
        "byteCapacity is 256 MiB without the key, in Flume 80 % of the Java heap",
    ),
    // Sinks.
    always(
        ComponentKind::Sink,
        &["avro", "thrift", "http", "irc", "hbase2"],
        &[],
        "events of a permanently refused batch are sent one by one, so that the others are delivered; deadLetter.directory or deadLetter.channel receives the refused ones",
    ),
    always(
        ComponentKind::Sink,
        &["hbase2"],
        &["thrift.hosts", "table"],
        "events go through a Thrift2 gateway of HBase, in Flume to the region servers; a missing table or gateway delays events, and the sink continues once it is there; in Flume it never does",
    ),
    always(
        ComponentKind::Sink,
        &["hbase2"],
        &[],
        "a repeated batch writes the same rows and repeats only the increments that were not acknowledged; in Flume it writes new rows and counts all of it again",
    ),
    with(
        "timeout",
        ComponentKind::Sink,
        &["hbase2"],
        &["timeout"],
        "timeout limits each call; in Flume only that of asynchbase",
    ),
    with(
        "serializer.suffix",
        ComponentKind::Sink,
        &["hbase2"],
        &["serializer.suffix"],
        "nano is in nanoseconds since 1970 and never twice the same; in Flume since the start of the machine",
    )
    .says(&["nano"]),
    with(
        "serializer.regex",
        ComponentKind::Sink,
        &["hbase2"],
        &["serializer.regex"],
        "an event that does not match the regex goes to the dead letters or is counted as dropped; Flume drops it silently",
    ),
    with(
        "serializer.colNames",
        ComponentKind::Sink,
        &["hbase2"],
        &["serializer.colNames"],
        "a number of columns other than that of groups is an error, and a group without a match has no column; Flume drops such events, or blocks",
    ),
    always(
        ComponentKind::Sink,
        &["file_roll"],
        &["sink.directory"],
        "sink.directory is created when it is missing; Flume does not start",
    ),
    always(
        ComponentKind::Sink,
        &["file_roll"],
        &["sink.rollInterval"],
        "no file is created while no event arrives; Flume creates an empty one for each interval",
    ),
    always(
        ComponentKind::Sink,
        &["file_roll"],
        &["sink.batchSize"],
        "acknowledged events are synced to the disk, up to 32 batches together; Flume does not sync",
    ),
    always(
        ComponentKind::Sink,
        &["file_roll"],
        &[],
        "a failed batch is truncated; at its start the sink removes empty files of its own in sink.directory that are older than a minute",
    ),
    with(
        "sink.serializer.schemaDirectory",
        ComponentKind::Sink,
        &["file_roll"],
        &["sink.serializer.schemaDirectory"],
        "a schema that an event names is read only from below schemaDirectory; Flume opens any URL that an event names",
    ),
    with(
        "sink.serializer",
        ComponentKind::Sink,
        &["file_roll"],
        &["sink.serializer.schemaURL"],
        "with AvroEventSerializer each schema has files of its own, and a body that is not a datum of its schema is refused; Flume writes unreadable files",
    )
    .says(&[
        "org.apache.flume.sink.hdfs.AvroEventSerializer",
        "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder",
        "org.apache.flume.serialization.AvroEventSerializer",
        "org.apache.flume.serialization.AvroEventSerializer$Builder",
    ]),
    always(
        ComponentKind::Sink,
        &["avro"],
        &["batch-size"],
        "a batch of more than 8 MiB is sent in several calls; the next call is sent except for its last byte while the channel acknowledges the previous one",
    ),
    always(
        ComponentKind::Sink,
        &["thrift"],
        &["batch-size"],
        "a batch of more than 8 MiB is sent in several calls",
    ),
    always(
        ComponentKind::Sink,
        &["avro"],
        &[],
        "a closed connection is detected before the next batch, a server that vanished by TCP keep-alive",
    ),
    always(
        ComponentKind::Sink,
        &["thrift"],
        &["connect-timeout"],
        "connect-timeout is honoured; in Flume it has no effect, and a connection may hang",
    ),
    with(
        "ssl",
        ComponentKind::Sink,
        &["avro", "thrift"],
        &["verify-hostname"],
        "the certificate must be for the server's name, which Flume never checks; verify-hostname = false turns this off",
    )
    .says(TRUE),
    with(
        "ssl",
        ComponentKind::Sink,
        &["avro", "thrift"],
        &["ssl"],
        "TLS 1.2 and 1.3 only, without cipher suites with CBC or without forward secrecy; a handshake has 20 s",
    )
    .says(TRUE),
    always(
        ComponentKind::Sink,
        &["irc"],
        &["nick", "user", "name"],
        "if the nickname is in use, up to three variants are tried, in Flume none; without user or name the nickname is sent, in Flume the word null",
    ),
    always(
        ComponentKind::Sink,
        &["irc"],
        &["splitlines"],
        "without splitlines line ends become blanks; in Flume the server treats the text after one as a command",
    ),
    always(
        ComponentKind::Sink,
        &["irc"],
        &[],
        "an event is acknowledged when the server has replied to a PING sent after it; a lost connection is detected and restored; a long text is sent in several lines, five at once and the others with pauses; Flume counts a sent event as delivered, received or not",
    ),
    with(
        "truststore",
        ComponentKind::Sink,
        &["http"],
        &["truststore"],
        "truststore sets the trusted certificates; Flume uses only the trust store of its Java",
    ),
    always(
        ComponentKind::Source,
        &["jms"],
        &[],
        "messages come by AMQP 1.0, so providerURL is amqp:// or amqps://; a full channel receives nothing, in Flume each try counts as a delivery and the broker sets messages aside; a broker that is absent or lost is connected again",
    ),
    with(
        "converter.charset",
        ComponentKind::Source,
        &["jms"],
        &["converter.charset"],
        "converter.charset is used; Flume ignores it",
    ),
    with(
        "maxMessageBytes",
        ComponentKind::Source,
        &["jms"],
        &["maxMessageBytes"],
        "maxMessageBytes is a key of millpond; Flume has no limit",
    ),
    always(
        ComponentKind::Sink,
        &["http"],
        &[],
        "a redirection is followed with the body; in Flume 301, 302 and 303 become a GET without it, and the event is lost; an event that is to be sent again without back-off is sent every 10 ms, in Flume without any pause",
    ),
    always(
        ComponentKind::Sink,
        &["hdfs"],
        &["hdfs.rollCount", "hdfs.rollSize"],
        "a full file is closed a second after its last event if no other event comes; Flume waits for the next one",
    ),
    with(
        "hdfs.writeFormat",
        ComponentKind::Sink,
        &["hdfs"],
        &["hdfs.writeFormat"],
        "hdfs.writeFormat ignores case; in Flume text is the name of a class, and nothing is delivered",
    ),
    with(
        "hdfs.callTimeout",
        ComponentKind::Sink,
        &["hdfs"],
        &["hdfs.callTimeout"],
        "hdfs.callTimeout = 0 is an hour, in Flume for ever",
    )
    .says(&["0"]),
    always(
        ComponentKind::Sink,
        &["hdfs"],
        &["hdfs.minBlockReplicas"],
        "no file is closed because a replica is missing, so hdfs.minBlockReplicas has no effect; Flume then makes up to 30 small files",
    ),
    with(
        "hdfs.rollTimerPoolSize",
        ComponentKind::Sink,
        &["hdfs"],
        &["hdfs.rollTimerPoolSize"],
        "hdfs.rollTimerPoolSize has no effect: there are no such threads",
    ),
    always(
        ComponentKind::Sink,
        &["hdfs"],
        &["hdfs.path", "hdfs.filePrefix"],
        "a header cannot leave hdfs.path: names . and .., control characters and, on HDFS, : become _; a relative path and a literal .. are refused",
    ),
    always(
        ComponentKind::Sink,
        &["hdfs"],
        &["hdfs.fallbackPath"],
        "an event without a path (a missing timestamp, a name that HDFS refuses) is written to hdfs.fallbackPath, without that key to the dead letters or, without those, to _no_path before the first escape of hdfs.path; in Flume it blocks all others",
    ),
    always(
        ComponentKind::Sink,
        &["hdfs"],
        &[],
        "no existing file is replaced, and a file that a crash left open is closed and renamed at the next start (hdfs.stateDirectory); in Flume it keeps .tmp for ever",
    ),
    always(
        ComponentKind::Sink,
        &["kafka"],
        &["flumeBatchSize", "kafka.flumeBatchSize", "kafka.topic"],
        "flumeBatchSize and kafka.flumeBatchSize are one key, and a batch fits the channel's transactions by itself; Flume knows the first one only and drops the sink if the batch is larger; escapes in kafka.topic are expanded also without allowTopicOverride",
    ),
    always(
        ComponentKind::Sink,
        &["kafka"],
        &["partitionIdHeader"],
        "an event that can never be sent (its topic, its partition or its size cannot be) goes to the dead letters, without deadLetter.* to ~/.flume/dead-letters; in Flume it blocks those after it, and its neighbours are sent again and again",
    ),
    always(
        ComponentKind::Sink,
        &["kafka"],
        &[],
        "acks is all unless it is set, in Flume 1; a Java setting that this client does not have is named",
    ),
    always(
        ComponentKind::Source,
        &["kafka"],
        &["batchSize"],
        "a batch fits the channel's transactions by itself, and offsets are part of the put of a durable channel, so that a killed agent repeats nothing; Flume drops the source if the batch is larger, and repeats up to a batch",
    ),
    always(
        ComponentKind::Source,
        &["kafka"],
        &["deadLetter.directory"],
        "a record that is not an event of Flume goes to the dead letters, by default in ~/.flume/dead-letters; Flume drops it",
    ),
    always(
        ComponentKind::Channel,
        &["kafka"],
        &["partitionIdHeader"],
        "an event that can never be sent (its partition or its size cannot be) is refused alone, before anything of its batch is sent; in Flume its neighbours may be in the topic and come again",
    ),
    always(
        ComponentKind::Channel,
        &["kafka"],
        &["deadLetter.directory"],
        "a record that is not an event of Flume goes to the dead letters, by default in ~/.flume/dead-letters; Flume drops it",
    ),
    // Interceptors.
    always(
        ComponentKind::Interceptor,
        &["host"],
        &[],
        "an address that is not found within 5 s sets no header and is looked up again every minute; Flume looks it up once",
    ),
    always(
        ComponentKind::Interceptor,
        &["search_replace"],
        &[],
        "a body without a match keeps its bytes; Flume decodes and encodes it, and invalid bytes are lost",
    ),
    always(
        ComponentKind::Interceptor,
        &["regex_filter"],
        &[],
        "the body is read as UTF-8, in Flume in the encoding of its Java",
    ),
    always(
        ComponentKind::Interceptor,
        &["search_replace", "regex_filter", "regex_extractor"],
        &[],
        "a pattern with lookaround, $, an atomic group or a reference is tried on texts of 16 KiB at most, for a million steps; beyond that the event passes unchanged, with a warning in the log",
    ),
    // Selectors.
    always(
        ComponentKind::Selector,
        &["multiplexing"],
        &[],
        "names of channels are separated by any blanks, in Flume by one",
    ),
    always(
        ComponentKind::Selector,
        &["load_balancing"],
        &[],
        "it can be configured by this name; in Flume 1.10 and 1.11 it cannot",
    ),
    // Sink processors.
    always(
        ComponentKind::SinkProcessor,
        &["failover"],
        &[],
        "sinks of the same priority are all used, Flume uses one of them; the penalty never overflows; after its pause a failed sink is tried with the next event, and a batch that it does not deliver is passed to the next sink at once",
    ),
    always(
        ComponentKind::SinkProcessor,
        &["load_balance"],
        &[],
        "with backoff a delivery resets a sink's pause, in Flume only an hour without failure; when all sinks are left out the group pauses",
    ),
    always(
        ComponentKind::SinkProcessor,
        &["failover", "load_balance"],
        &[],
        "the group starts when one of its sinks has started; in Flume a sink that cannot start keeps all of them from starting",
    ),
];
