//! In which ways what is built here differs from Flume on purpose, type by type, for `validate` to say.
//!
//! What a configuration gets a finding for anyway (a key that is ignored, a value that is refused) is not
//! said again. docs/flume-compat.md has the same at more length; a test holds the two together.

use super::agent::{AgentConfig, Component};
use super::settings::{Finding, Place, Severity};
use super::types::Part;
use std::collections::BTreeSet;

/// One difference.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// The sort of part.
    pub part: Part,
    /// The types that have it, each by the first of its names.
    pub types: &'static [&'static str],
    /// The keys that it is about; none where it is about the type as a whole.
    pub keys: &'static [&'static str],
    /// The key that has to be set for it to matter; empty where it always does.
    pub with: &'static str,
    /// What that key has to say, one of these in any case; none where whatever it says will do.
    pub says: &'static [&'static str],
    /// What it is.
    pub what: &'static str,
}

const fn always(
    part: Part,
    types: &'static [&'static str],
    keys: &'static [&'static str],
    what: &'static str,
) -> Difference {
    Difference { part, types, keys, with: "", says: &[], what }
}

const fn with(
    with: &'static str,
    part: Part,
    types: &'static [&'static str],
    keys: &'static [&'static str],
    what: &'static str,
) -> Difference {
    Difference { part, types, keys, with, says: &[], what }
}

impl Difference {
    /// Matters only where its key says one of these.
    const fn says(self, says: &'static [&'static str]) -> Self {
        Self { says, ..self }
    }

    fn matters(&self, component: &Component) -> bool {
        let says = |value: &str| {
            self.says.is_empty() || self.says.iter().any(|word| word.eq_ignore_ascii_case(value))
        };
        let set = |key| component.settings.entries.get(key);
        self.with.is_empty() || set(self.with).is_some_and(|setting| says(&setting.value))
    }
}

const TRUE: &[&str] = &["true"];
const SCRIBE: &str = "org.apache.flume.source.scribe.ScribeSource";
const LISTENERS: &[&str] =
    &["avro", "thrift", SCRIBE, "syslogtcp", "multiport_syslogtcp", "http", "netcat"];

/// What is said of every agent.
pub const AGENT: &[&str] = &[
    "when the configuration changes only what has other settings is restarted, and one that cannot run changes nothing; Flume stops everything",
    "at a stop the sinks first empty the memory channels, for 20 s at most; Flume loses what is in them",
    "what monitors the agent listens on 127.0.0.1 unless -Dflume.monitoring.bind says otherwise; Flume on every address",
    "log4j.properties and log4j2.xml are not read; -Dflume.root.logger is",
];

/// The table.
pub const DIFFERENCES: &[Difference] = &[
    // Sources.
    always(
        Part::Source,
        LISTENERS,
        &["maxConnections"],
        "connections beyond maxConnections (20000 without the key) are closed; Flume has no limit",
    ),
    always(
        Part::Source,
        &["avro", "thrift", "http"],
        &["maxRequestBytes"],
        "a request of more than maxRequestBytes (64 MiB without the key) is refused; Flume has no limit but for thrift, 16384000 bytes",
    ),
    always(
        Part::Source,
        &["avro", "thrift", SCRIBE, "http"],
        &["requestTimeout"],
        "a client whose request takes longer than requestTimeout (120 s without the key) is cut off; Flume has no such limit",
    ),
    always(
        Part::Source,
        &["avro"],
        &[],
        "the calls of one connection are carried out in order, in Flume side by side; a client with another protocol is answered in words",
    ),
    with(
        "ssl",
        Part::Source,
        &["avro", "thrift", "http", "syslogtcp", "multiport_syslogtcp"],
        &["ssl"],
        "TLS 1.2 and 1.3 only, without cipher suites with CBC or without forward secrecy; a handshake has 20 s",
    )
    .says(TRUE),
    always(
        Part::Source,
        &["syslogtcp", "syslogudp", "multiport_syslogtcp"],
        &[],
        "what the channel does not take waits; Flume drops it",
    ),
    always(
        Part::Source,
        &["syslogtcp", "multiport_syslogtcp"],
        &[],
        "the last line of a client needs no newline; Flume drops it",
    ),
    always(
        Part::Source,
        &["syslogtcp", "syslogudp"],
        &[],
        "a fraction of a second is read as one: .5 is half a second, in Flume five milliseconds",
    ),
    with(
        "format.search",
        Part::Source,
        &["syslogtcp", "syslogudp"],
        &["format.search", "format.replace"],
        "without format.replace what is found is taken out; in Flume every message is an error then",
    ),
    always(
        Part::Source,
        &["multiport_syslogtcp"],
        &[],
        "empty lines are nothing (Flume loses the whole read); a time of RFC 3164 gets the year that brings it nearest to now (in Flume 2001 or 1999 when it is far away), its day needs no padding, and a month that there is not loses nothing",
    ),
    always(
        Part::Source,
        &["http"],
        &[],
        "an empty document, and null in the place of an event, are answered 400, in Flume 500; a header that is null is not a header, in Flume its event cannot leave the channel",
    ),
    with(
        "handler",
        Part::Source,
        &["http"],
        &["handler.mandatoryParameters"],
        "without handler.mandatoryParameters no parameter is needed; in Flume every request to BLOBHandler is answered 500 then",
    )
    .says(&["org.apache.flume.source.http.BLOBHandler"]),
    with(
        "handler",
        Part::Source,
        &["http"],
        &["handler.maxBlobLength"],
        "a body longer than handler.maxBlobLength is answered 413; Flume cuts it in silence",
    )
    .says(&["org.apache.flume.sink.solr.morphline.BlobHandler"]),
    with(
        "host",
        Part::Source,
        &[SCRIBE],
        &["host"],
        "host says where to listen; Flume listens on every address",
    ),
    always(
        Part::Source,
        &["netcat"],
        &[],
        "the complete lines of one read are one transaction, in Flume one each; a line without an end when its connection ends is an event, which Flume drops",
    ),
    always(
        Part::Source,
        &["netcat"],
        &["encoding"],
        "complete lines in front of bytes that are no text are taken and answered; Flume drops those of the same read",
    ),
    always(
        Part::Source,
        &["netcatudp"],
        &["remoteAddress"],
        "without remoteAddress the sender's address is in the header REMOTE_ADDRESS; Flume has no usable default",
    ),
    always(
        Part::Source,
        &["netcatudp"],
        &[],
        "what has been received waits until the channel takes it; Flume drops it",
    ),
    always(
        Part::Source,
        &["exec"],
        &[],
        "while the channel refuses nothing more is read and the command waits, where Flume loses the lines it has; the command runs in a process group of its own, which ends with the source",
    ),
    always(
        Part::Source,
        &["spooldir"],
        &[],
        "a file that grows while it is read is read to its end; one that is rewritten, cannot be read or renamed, or holds what no channel can hold is named in an error and set aside, and the others go on; in Flume the source is dead then",
    ),
    always(
        Part::Source,
        &["spooldir"],
        &["decodeErrorPolicy"],
        "decodeErrorPolicy = FAIL sets aside the file with bytes that are no text; in Flume the source is dead then",
    ),
    always(
        Part::Source,
        &["spooldir"],
        &["consumeOrder"],
        "a listing of the directory counts for half a second, Flume makes one for every file; after a restart the file in progress goes first",
    ),
    with(
        "deserializer",
        Part::Source,
        &["spooldir"],
        &["deserializer"],
        "an event of AVRO is the datum as it stands in the file, which Flume encodes anew; files that would take memory or time without bound are set aside",
    )
    .says(&["AVRO", "org.apache.flume.serialization.AvroEventDeserializer$Builder"]),
    always(
        Part::Source,
        &["spooldir", "taildir"],
        &[],
        "how far files were read is kept by the channels, in the transactions of the lines, where all required ones are file channels; a kill then neither loses nor repeats a line there",
    ),
    always(
        Part::Source,
        &["taildir"],
        &[],
        "a file is known by its inode and first bytes, so a renamed one is not read again and a cut or replaced one is read from its start; one that is removed or renamed out of its group is read to its end; a line that no channel can hold is left out and counted, where Flume tries it for ever",
    ),
    always(
        Part::Source,
        &["taildir"],
        &["filegroups", "filegroups.*"],
        "a directory that is not there keeps no other group waiting; in Flume the source does not start",
    ),
    always(
        Part::Source,
        &["taildir"],
        &["positionFile"],
        "the position file is replaced as a whole, so a kill leaves the old or the new one; Flume writes into it",
    ),
    always(
        Part::Source,
        &["taildir"],
        &["maxBatchCount"],
        "a file has 64 batches at most before the next one has its turn; in Flume as many as there are without maxBatchCount",
    ),
    // Channels.
    always(
        Part::Channel,
        &["file"],
        &["keep-alive"],
        "keep-alive is for a put transaction as a whole, in Flume for each of its events",
    ),
    always(
        Part::Channel,
        &["file", "spillablememory"],
        &["minimumRequiredSpace"],
        "below minimumRequiredSpace takes go on; in Flume they fail",
    ),
    always(
        Part::Channel,
        &["file", "spillablememory"],
        &["transactionBytesMax"],
        "a put transaction has transactionBytesMax at most (64 MiB without the key); Flume has no limit",
    ),
    with(
        "hotWindowBytes",
        Part::Channel,
        &["file", "spillablememory"],
        &["hotWindowBytes"],
        "hotWindowBytes is ours; Flume ignores it",
    ),
    with(
        "openDegraded",
        Part::Channel,
        &["file", "spillablememory"],
        &["openDegraded"],
        "openDegraded is ours; Flume ignores it",
    ),
    with(
        "openWithoutMissingSegments",
        Part::Channel,
        &["file", "spillablememory"],
        &["openWithoutMissingSegments"],
        "openWithoutMissingSegments is ours; Flume ignores it",
    ),
    always(
        Part::Channel,
        &["file", "spillablememory"],
        &[],
        "files on disk are of a format of their own: what waits in a file channel of Flume is not read, and Flume does not read these",
    ),
    always(
        Part::Channel,
        &["memory", "spillablememory"],
        &["byteCapacity"],
        "byteCapacity is 256 MiB without the key, in Flume 80 % of the Java heap",
    ),
    // Sinks.
    always(
        Part::Sink,
        &["avro", "thrift", "http", "irc"],
        &[],
        "events of a batch that is refused for good are tried one by one, so that the others go; deadLetter.directory or deadLetter.channel takes the refused ones out of the way",
    ),
    always(
        Part::Sink,
        &["file_roll"],
        &["sink.directory"],
        "sink.directory is made when it is missing; Flume does not start",
    ),
    always(
        Part::Sink,
        &["file_roll"],
        &["sink.rollInterval"],
        "no file is made while nothing comes; Flume makes an empty one for each interval",
    ),
    always(
        Part::Sink,
        &["file_roll"],
        &["sink.batchSize"],
        "what is acknowledged is synced to the disk, up to 32 batches together; Flume does not sync",
    ),
    always(
        Part::Sink,
        &["file_roll"],
        &[],
        "what a failed batch has written is cut off again; at its start the sink removes empty files of its own in sink.directory that are older than a minute",
    ),
    with(
        "sink.serializer.schemaDirectory",
        Part::Sink,
        &["file_roll"],
        &["sink.serializer.schemaDirectory"],
        "a schema that an event names is read from below schemaDirectory only; Flume opens whatever URL an event names",
    ),
    with(
        "sink.serializer",
        Part::Sink,
        &["file_roll"],
        &["sink.serializer.schemaURL"],
        "with AvroEventSerializer each schema has files of its own, and a body that is not a datum of its schema is refused; Flume writes files that nobody can read",
    )
    .says(&[
        "org.apache.flume.sink.hdfs.AvroEventSerializer",
        "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder",
        "org.apache.flume.serialization.AvroEventSerializer",
        "org.apache.flume.serialization.AvroEventSerializer$Builder",
    ]),
    always(
        Part::Sink,
        &["avro"],
        &["batch-size"],
        "a batch of more than 8 MiB goes in several calls; the next call is sent, but for its last byte, while the channel acknowledges the one before",
    ),
    always(
        Part::Sink,
        &["thrift"],
        &["batch-size"],
        "a batch of more than 8 MiB goes in several calls",
    ),
    always(
        Part::Sink,
        &["avro"],
        &[],
        "a server that has hung up is noticed before the next batch, one that is gone without a word by the kernel's keep-alive",
    ),
    always(
        Part::Sink,
        &["thrift"],
        &["connect-timeout"],
        "connect-timeout counts; in Flume it has no effect, and a connection may hang",
    ),
    with(
        "ssl",
        Part::Sink,
        &["avro", "thrift"],
        &["verify-hostname"],
        "the certificate must be for the server's name, which Flume never looks at; verify-hostname = false for Flume's way",
    )
    .says(TRUE),
    with(
        "ssl",
        Part::Sink,
        &["avro", "thrift"],
        &["ssl"],
        "TLS 1.2 and 1.3 only, without cipher suites with CBC or without forward secrecy; a handshake has 20 s",
    )
    .says(TRUE),
    always(
        Part::Sink,
        &["irc"],
        &["nick", "user", "name"],
        "where the nickname is taken up to three like it are tried, in Flume none; it stands for a user and a name that are not set, in Flume the word null",
    ),
    always(
        Part::Sink,
        &["irc"],
        &["splitlines"],
        "without splitlines line ends become blanks; in Flume the server takes what follows one as a command",
    ),
    always(
        Part::Sink,
        &["irc"],
        &[],
        "an event is acknowledged when the server has answered a PING after it; a lost connection is noticed and made again; a long text goes in several lines, of many five go at once and the others with pauses; Flume takes for delivered what it has sent, whoever heard it",
    ),
    with(
        "truststore",
        Part::Sink,
        &["http"],
        &["truststore"],
        "truststore says whom to trust; Flume has the trust store of its Java only",
    ),
    always(
        Part::Sink,
        &["http"],
        &[],
        "a redirection is followed with the body; in Flume 301, 302 and 303 become a GET without it, and the event is lost; an event that is to be sent again at once is sent every 10 ms, in Flume without any pause",
    ),
    // Interceptors.
    always(
        Part::Interceptor,
        &["host"],
        &[],
        "an address that is not found within 5 s sets no header and is looked up again every minute; Flume looks once",
    ),
    always(
        Part::Interceptor,
        &["search_replace"],
        &[],
        "a body in which nothing is found stays byte for byte; Flume decodes and encodes it, and bytes that are no text are lost",
    ),
    always(
        Part::Interceptor,
        &["regex_filter"],
        &[],
        "the body is read as UTF-8, in Flume in the encoding of its Java",
    ),
    always(
        Part::Interceptor,
        &["search_replace", "regex_filter", "regex_extractor"],
        &[],
        "a pattern with lookaround, $, an atomic group or a reference is tried on texts of 16 KiB at most, for a million steps; beyond that the event passes as it is, with a warning in the log",
    ),
    // Selectors.
    always(
        Part::Selector,
        &["multiplexing"],
        &[],
        "names of channels are separated by any blanks, in Flume by one",
    ),
    always(
        Part::Selector,
        &["load_balancing"],
        &[],
        "it can be configured by this name; in Flume 1.10 and 1.11 it cannot",
    ),
    // Sink processors.
    always(
        Part::SinkProcessor,
        &["failover"],
        &[],
        "sinks of the same priority are all used, Flume uses one of them; the penalty never overflows; a failed sink is tried as soon as there is an event, and what it does not deliver goes to the next one at once",
    ),
    always(
        Part::SinkProcessor,
        &["load_balance"],
        &[],
        "with backoff a delivery makes a sink's pause short again, in Flume only an hour without failure; when all are left out the group rests",
    ),
    always(
        Part::SinkProcessor,
        &["failover", "load_balance"],
        &[],
        "the group starts when one of its sinks has; in Flume one that cannot start keeps all of them down",
    ),
];

/// What differs for the parts of an agent, as notes: of each type once, at the first part that has it.
#[must_use]
pub fn notes(config: &AgentConfig) -> Vec<Finding> {
    let mut said = BTreeSet::new();
    let mut notes = Vec::new();
    for (part, component) in parts(config) {
        let matters = |d: &Difference| {
            d.part == part && d.types.contains(&component.type_name) && d.matters(component)
        };
        for (at, difference) in DIFFERENCES.iter().enumerate().filter(|(_, d)| matters(d)) {
            if said.insert((at, component.type_name)) {
                notes.push(note(component, difference));
            }
        }
    }
    notes.extend(AGENT.iter().map(|what| Finding {
        severity: Severity::Note,
        place: Place::nowhere(),
        key: config.name.clone(),
        message: unlike_flume(what),
    }));
    notes
}

fn parts(config: &AgentConfig) -> Vec<(Part, &Component)> {
    let mut parts = Vec::new();
    for source in &config.sources {
        parts.push((Part::Source, &source.component));
        parts.extend(source.interceptors.iter().map(|i| (Part::Interceptor, i)));
        parts.push((Part::Selector, &source.selector));
    }
    parts.extend(config.channels.iter().map(|c| (Part::Channel, &c.component)));
    parts.extend(config.sinks.iter().map(|s| (Part::Sink, &s.component)));
    parts.extend(config.sink_groups.iter().map(|g| (Part::SinkProcessor, &g.processor)));
    parts
}

/// The difference at the first of its keys that is set, else at the type.
fn note(component: &Component, difference: &Difference) -> Finding {
    let settings = &component.settings;
    let set = difference.keys.iter().find_map(|key| settings.entries.get_key_value(*key));
    let (key, place) = set.map_or(("type", &component.place), |(key, s)| (key.as_str(), &s.place));
    Finding {
        severity: Severity::Note,
        place: place.clone(),
        key: format!("{}.{key}", settings.prefix),
        message: unlike_flume(difference.what),
    }
}

fn unlike_flume(what: &str) -> String {
    format!("unlike Flume: {what}")
}
