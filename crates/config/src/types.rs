//! All component types of Flume 1.11, supported or not.
//!
//! So a configuration with an unsupported type gets a specific finding, and only an unknown name is called
//! unknown.

/// A kind of component that has types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentKind {
    /// A source.
    Source,
    /// A sink.
    Sink,
    /// A channel.
    Channel,
    /// A channel selector of a source.
    Selector,
    /// An interceptor of a source.
    Interceptor,
    /// A sink processor of a sink group.
    SinkProcessor,
}

impl ComponentKind {
    /// Returns its name in messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
            Self::Channel => "channel",
            Self::Selector => "channel selector",
            Self::Interceptor => "interceptor",
            Self::SinkProcessor => "sink processor",
        }
    }
}

/// The status of a Flume type that is not in the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeStatus {
    /// Available, or planned.
    Planned,
    /// Not planned; why, and what to use.
    Refused(&'static str),
    /// Flume has the name but no class for it; what to use.
    Gone(&'static str),
}

/// A Flume type.
#[derive(Clone, Copy, Debug)]
pub struct FlumeType {
    /// Its kind.
    pub part: ComponentKind,
    /// Its names: the alias first if it has one, then the class.
    pub names: &'static [&'static str],
    /// Its status.
    pub status: TypeStatus,
    /// The batch size key and its default, if Flume compares it with the channel's `transactionCapacity`.
    pub batch: Option<(&'static str, u64)>,
    /// True if a larger batch is delivered in parts, with a warning, where Flume leaves the component out.
    pub clamps_batch: bool,
    /// The feature of the build that has the type, if it is not in every build.
    pub feature: Option<&'static str>,
}

const fn of(part: ComponentKind, names: &'static [&'static str], status: TypeStatus) -> FlumeType {
    FlumeType { part, names, status, batch: None, clamps_batch: false, feature: None }
}

const fn entry(part: ComponentKind, names: &'static [&'static str]) -> FlumeType {
    of(part, names, TypeStatus::Planned)
}

const fn batched(
    part: ComponentKind,
    names: &'static [&'static str],
    key: &'static str,
    default: u64,
) -> FlumeType {
    FlumeType { batch: Some((key, default)), ..entry(part, names) }
}

const fn clamped(entry: FlumeType) -> FlumeType {
    FlumeType { clamps_batch: true, ..entry }
}

const fn with_feature(entry: FlumeType, feature: &'static str) -> FlumeType {
    FlumeType { feature: Some(feature), ..entry }
}

const fn refused(
    part: ComponentKind,
    names: &'static [&'static str],
    why: &'static str,
) -> FlumeType {
    of(part, names, TypeStatus::Refused(why))
}

const fn gone(
    part: ComponentKind,
    names: &'static [&'static str],
    instead: &'static str,
) -> FlumeType {
    of(part, names, TypeStatus::Gone(instead))
}

/// Names of the memory channel. The last is Flume's channel without transactions, for tests, which runs as one
/// with transactions.
pub const MEMORY_NAMES: &[&str] =
    &["memory", "org.apache.flume.channel.MemoryChannel", PSEUDO_TXN_CHANNEL];
/// Flume's memory channel without transactions.
pub const PSEUDO_TXN_CHANNEL: &str = "org.apache.flume.channel.PseudoTxnMemoryChannel";

const LEGACY: &str = "it speaks the protocol of Flume 0.9, retired in 2012; put a Flume 1.x agent in between, with an avro sink";

impl FlumeType {
    /// Returns what to use until the type is available.
    #[must_use]
    pub fn meanwhile(&self) -> &'static str {
        match (self.part, self.names[0]) {
            (ComponentKind::Sink, "hdfs") => {
                "; without it file_roll writes the same events into files of this machine, for hdfs dfs -put, or external hands them to a program of your own (docs/external.md)"
            }
            (ComponentKind::Sink, "hive") => {
                "; an hdfs sink reaches the same tables: let it write below the table's directory, a directory for each partition (hdfs.path = /warehouse/TABLE/dt=%Y-%m-%d), and add the partitions with ALTER TABLE TABLE ADD IF NOT EXISTS PARTITION, by the program in hdfs.onRename.command or the server in hdfs.onRename.url, which learn of each finished file (docs/hdfs.md)"
            }
            (ComponentKind::Sink, _) => {
                "; until then external hands its events to a program of your own (docs/external.md), or file_roll keeps them in files"
            }
            (ComponentKind::Source, "jms") => {
                "; without it external has a program of your own bring its messages (docs/external.md)"
            }
            (ComponentKind::Source, _) => {
                "; until then external has a program of your own bring its events (docs/external.md)"
            }
            (ComponentKind::Channel, _) => "; use the file channel, which is durable too",
            (ComponentKind::Interceptor, _) => {
                "; until then external has a program of your own do its work (docs/external.md)"
            }
            (ComponentKind::Selector | ComponentKind::SinkProcessor, _) => "",
        }
    }
}

/// The table.
pub const TYPES: &[FlumeType] = &[
    // Sources.
    batched(
        ComponentKind::Source,
        &["seq", "org.apache.flume.source.SequenceGeneratorSource"],
        "batchSize",
        1,
    ),
    entry(ComponentKind::Source, &["netcat", "org.apache.flume.source.NetcatSource"]),
    entry(ComponentKind::Source, &["netcatudp", "org.apache.flume.source.NetcatUdpSource"]),
    batched(
        ComponentKind::Source,
        &["exec", "org.apache.flume.source.ExecSource"],
        "batchSize",
        20,
    ),
    batched(ComponentKind::Source, &["org.apache.flume.source.StressSource"], "batchSize", 1),
    entry(ComponentKind::Source, &["avro", "org.apache.flume.source.AvroSource"]),
    entry(ComponentKind::Source, &["thrift", "org.apache.flume.source.ThriftSource"]),
    entry(ComponentKind::Source, &["syslogtcp", "org.apache.flume.source.SyslogTcpSource"]),
    entry(ComponentKind::Source, &["syslogudp", "org.apache.flume.source.SyslogUDPSource"]),
    batched(
        ComponentKind::Source,
        &["multiport_syslogtcp", "org.apache.flume.source.MultiportSyslogTCPSource"],
        "batchSize",
        100,
    ),
    batched(
        ComponentKind::Source,
        &["spooldir", "org.apache.flume.source.SpoolDirectorySource"],
        "batchSize",
        100,
    ),
    batched(
        ComponentKind::Source,
        &["taildir", "org.apache.flume.source.taildir.TaildirSource"],
        "batchSize",
        100,
    ),
    entry(ComponentKind::Source, &["http", "org.apache.flume.source.http.HTTPSource"]),
    with_feature(
        batched(
            ComponentKind::Source,
            &["jms", "org.apache.flume.source.jms.JMSSource"],
            "batchSize",
            100,
        ),
        "jms",
    ),
    // Its batches fit the channel's transactions by themselves.
    with_feature(
        entry(ComponentKind::Source, &["kafka", "org.apache.flume.source.kafka.KafkaSource"]),
        "kafka",
    ),
    entry(ComponentKind::Source, &["org.apache.flume.source.scribe.ScribeSource"]),
    refused(
        ComponentKind::Source,
        &["org.apache.flume.source.twitter.TwitterSource"],
        "the service that it read from no longer exists",
    ),
    refused(
        ComponentKind::Source,
        &["org.apache.flume.source.avroLegacy.AvroLegacySource"],
        LEGACY,
    ),
    refused(
        ComponentKind::Source,
        &["org.apache.flume.source.thriftLegacy.ThriftLegacySource"],
        LEGACY,
    ),
    // Channels.
    entry(ComponentKind::Channel, &["file", "org.apache.flume.channel.file.FileChannel"]),
    entry(ComponentKind::Channel, MEMORY_NAMES),
    entry(
        ComponentKind::Channel,
        &["spillablememory", "org.apache.flume.channel.SpillableMemoryChannel"],
    ),
    refused(
        ComponentKind::Channel,
        &["jdbc", "org.apache.flume.channel.jdbc.JdbcChannel"],
        "it keeps events in a database inside a Java process; use the file channel, which is durable too",
    ),
    with_feature(
        entry(ComponentKind::Channel, &["kafka", "org.apache.flume.channel.kafka.KafkaChannel"]),
        "kafka",
    ),
    // Sinks.
    batched(ComponentKind::Sink, &["null", "org.apache.flume.sink.NullSink"], "batchSize", 100),
    entry(ComponentKind::Sink, &["logger", "org.apache.flume.sink.LoggerSink"]),
    batched(
        ComponentKind::Sink,
        &["file_roll", "org.apache.flume.sink.RollingFileSink"],
        "sink.batchSize",
        100,
    ),
    batched(ComponentKind::Sink, &["avro", "org.apache.flume.sink.AvroSink"], "batch-size", 100),
    batched(
        ComponentKind::Sink,
        &["thrift", "org.apache.flume.sink.ThriftSink"],
        "batch-size",
        100,
    ),
    entry(ComponentKind::Sink, &["http", "org.apache.flume.sink.http.HttpSink"]),
    // Configurations for Flume before 1.11, which did not compare the two, run as they are.
    with_feature(
        clamped(batched(
            ComponentKind::Sink,
            &["hdfs", "org.apache.flume.sink.hdfs.HDFSEventSink"],
            "hdfs.batchSize",
            100,
        )),
        "hdfs",
    ),
    batched(
        ComponentKind::Sink,
        &["hive", "org.apache.flume.sink.hive.HiveSink"],
        "batchSize",
        15_000,
    ),
    batched(
        ComponentKind::Sink,
        &[
            "hbase2",
            "org.apache.flume.sink.hbase2.HBase2Sink",
            "hbase",
            "org.apache.flume.sink.hbase.HBaseSink",
            "asynchbase",
            "org.apache.flume.sink.hbase.AsyncHBaseSink",
        ],
        "batchSize",
        100,
    ),
    batched(
        ComponentKind::Sink,
        &[
            "morphline_solr",
            "org.apache.flume.sink.solr.morphline.MorphlineSolrSink",
            "org.apache.flume.sink.solr.morphline.MorphlineSink",
        ],
        "batchSize",
        1000,
    ),
    // Its batches fit the channel's transactions by themselves.
    with_feature(
        entry(ComponentKind::Sink, &["kafka", "org.apache.flume.sink.kafka.KafkaSink"]),
        "kafka",
    ),
    entry(ComponentKind::Sink, &["org.apache.flume.sink.kudu.KuduSink"]),
    entry(ComponentKind::Sink, &["irc", "org.apache.flume.sink.irc.IRCSink"]),
    gone(
        ComponentKind::Sink,
        &["elasticsearch", "org.apache.flume.sink.elasticsearch.ElasticSearchSink"],
        "Flume removed it in 1.10; use the http sink",
    ),
    gone(
        ComponentKind::Sink,
        &["org.apache.flume.sink.kite.DatasetSink"],
        "Flume removed it in 1.10; use the hdfs sink",
    ),
    // Selectors.
    entry(
        ComponentKind::Selector,
        &["replicating", "org.apache.flume.channel.ReplicatingChannelSelector"],
    ),
    entry(
        ComponentKind::Selector,
        &["multiplexing", "org.apache.flume.channel.MultiplexingChannelSelector"],
    ),
    entry(
        ComponentKind::Selector,
        &["load_balancing", "org.apache.flume.channel.LoadBalancingChannelSelector"],
    ),
    // Sink processors.
    entry(ComponentKind::SinkProcessor, &["default", "org.apache.flume.sink.DefaultSinkProcessor"]),
    entry(
        ComponentKind::SinkProcessor,
        &["failover", "org.apache.flume.sink.FailoverSinkProcessor"],
    ),
    entry(
        ComponentKind::SinkProcessor,
        &["load_balance", "org.apache.flume.sink.LoadBalancingSinkProcessor"],
    ),
    // Interceptors.
    entry(
        ComponentKind::Interceptor,
        &["timestamp", "org.apache.flume.interceptor.TimestampInterceptor$Builder"],
    ),
    entry(
        ComponentKind::Interceptor,
        &["host", "org.apache.flume.interceptor.HostInterceptor$Builder"],
    ),
    entry(
        ComponentKind::Interceptor,
        &["static", "org.apache.flume.interceptor.StaticInterceptor$Builder"],
    ),
    entry(
        ComponentKind::Interceptor,
        &["remove_header", "org.apache.flume.interceptor.RemoveHeaderInterceptor$Builder"],
    ),
    entry(
        ComponentKind::Interceptor,
        &["search_replace", "org.apache.flume.interceptor.SearchAndReplaceInterceptor$Builder"],
    ),
    entry(
        ComponentKind::Interceptor,
        &["regex_filter", "org.apache.flume.interceptor.RegexFilteringInterceptor$Builder"],
    ),
    entry(
        ComponentKind::Interceptor,
        &["regex_extractor", "org.apache.flume.interceptor.RegexExtractorInterceptor$Builder"],
    ),
    entry(
        ComponentKind::Interceptor,
        &["org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder"],
    ),
    entry(
        ComponentKind::Interceptor,
        &["org.apache.flume.sink.solr.morphline.MorphlineInterceptor$Builder"],
    ),
];

/// Returns the Flume type that `text` names, ignoring case.
#[must_use]
pub fn find(part: ComponentKind, text: &str) -> Option<&'static FlumeType> {
    TYPES
        .iter()
        .filter(|t| t.part == part)
        .find(|t| t.names.iter().any(|name| name.eq_ignore_ascii_case(text)))
}
