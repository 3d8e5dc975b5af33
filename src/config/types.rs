//! Every type that Flume 1.11 knows by name, whether or not it can be built here.
//!
//! So a configuration that uses a type that is not there yet is told so by name, and only a
//! name that nobody knows is called unknown.

/// A sort of part that has types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
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

impl Part {
    /// The word for it.
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

/// What is to be said of a type of Flume's that cannot be built here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is there, or comes later.
    Planned,
    /// It will not come; why, and what to use.
    Refused(&'static str),
    /// Flume itself has the name and no class behind it; what to use.
    Gone(&'static str),
}

/// A type of Flume's.
#[derive(Clone, Copy, Debug)]
pub struct FlumeType {
    /// The sort.
    pub part: Part,
    /// Its names: the alias first if it has one, then the class.
    pub names: &'static [&'static str],
    /// Whether it can come.
    pub status: Status,
    /// Where Flume compares a batch size with the channel's `transactionCapacity`: the key and
    /// its default.
    pub batch: Option<(&'static str, u64)>,
}

const fn entry(part: Part, names: &'static [&'static str]) -> FlumeType {
    FlumeType { part, names, status: Status::Planned, batch: None }
}

const fn batched(
    part: Part,
    names: &'static [&'static str],
    key: &'static str,
    default: u64,
) -> FlumeType {
    FlumeType { part, names, status: Status::Planned, batch: Some((key, default)) }
}

const fn refused(part: Part, names: &'static [&'static str], why: &'static str) -> FlumeType {
    FlumeType { part, names, status: Status::Refused(why), batch: None }
}

const fn gone(part: Part, names: &'static [&'static str], instead: &'static str) -> FlumeType {
    FlumeType { part, names, status: Status::Gone(instead), batch: None }
}

/// Names of the memory channel; the last is a channel without transactions, for tests, in whose place it runs.
pub const MEMORY_NAMES: &[&str] =
    &["memory", "org.apache.flume.channel.MemoryChannel", PSEUDO_TXN_CHANNEL];
/// Flume's memory channel without transactions.
pub const PSEUDO_TXN_CHANNEL: &str = "org.apache.flume.channel.PseudoTxnMemoryChannel";

const LEGACY: &str = "it speaks the protocol of Flume 0.9, retired in 2012; put a Flume 1.x agent in between, with an avro sink";

impl FlumeType {
    /// What can be done in the place of a type that is not there yet.
    #[must_use]
    pub fn meanwhile(&self) -> &'static str {
        match (self.part, self.names[0]) {
            (Part::Sink, "hdfs") => {
                "; until then file_roll writes the same events into files of this machine, for hdfs dfs -put, or external hands them to a program of your own (docs/external.md)"
            }
            (Part::Sink, _) => {
                "; until then external hands its events to a program of your own (docs/external.md), or file_roll keeps them in files"
            }
            (Part::Source, _) => {
                "; until then external has a program of your own bring its events (docs/external.md)"
            }
            (Part::Channel, _) => "; use the file channel, which is durable too",
            (Part::Interceptor, _) => {
                "; until then external has a program of your own do its work (docs/external.md)"
            }
            (Part::Selector | Part::SinkProcessor, _) => "",
        }
    }
}

/// The table.
pub const TYPES: &[FlumeType] = &[
    // Sources.
    batched(
        Part::Source,
        &["seq", "org.apache.flume.source.SequenceGeneratorSource"],
        "batchSize",
        1,
    ),
    entry(Part::Source, &["netcat", "org.apache.flume.source.NetcatSource"]),
    entry(Part::Source, &["netcatudp", "org.apache.flume.source.NetcatUdpSource"]),
    batched(Part::Source, &["exec", "org.apache.flume.source.ExecSource"], "batchSize", 20),
    batched(Part::Source, &["org.apache.flume.source.StressSource"], "batchSize", 1),
    entry(Part::Source, &["avro", "org.apache.flume.source.AvroSource"]),
    entry(Part::Source, &["thrift", "org.apache.flume.source.ThriftSource"]),
    entry(Part::Source, &["syslogtcp", "org.apache.flume.source.SyslogTcpSource"]),
    entry(Part::Source, &["syslogudp", "org.apache.flume.source.SyslogUDPSource"]),
    batched(
        Part::Source,
        &["multiport_syslogtcp", "org.apache.flume.source.MultiportSyslogTCPSource"],
        "batchSize",
        100,
    ),
    batched(
        Part::Source,
        &["spooldir", "org.apache.flume.source.SpoolDirectorySource"],
        "batchSize",
        100,
    ),
    batched(
        Part::Source,
        &["taildir", "org.apache.flume.source.taildir.TaildirSource"],
        "batchSize",
        100,
    ),
    entry(Part::Source, &["http", "org.apache.flume.source.http.HTTPSource"]),
    batched(Part::Source, &["jms", "org.apache.flume.source.jms.JMSSource"], "batchSize", 100),
    batched(Part::Source, &["org.apache.flume.source.kafka.KafkaSource"], "batchSize", 1000),
    entry(Part::Source, &["org.apache.flume.source.scribe.ScribeSource"]),
    refused(
        Part::Source,
        &["org.apache.flume.source.twitter.TwitterSource"],
        "the service that it read from no longer exists",
    ),
    refused(Part::Source, &["org.apache.flume.source.avroLegacy.AvroLegacySource"], LEGACY),
    refused(Part::Source, &["org.apache.flume.source.thriftLegacy.ThriftLegacySource"], LEGACY),
    // Channels.
    entry(Part::Channel, &["file", "org.apache.flume.channel.file.FileChannel"]),
    entry(Part::Channel, MEMORY_NAMES),
    entry(Part::Channel, &["spillablememory", "org.apache.flume.channel.SpillableMemoryChannel"]),
    refused(
        Part::Channel,
        &["jdbc", "org.apache.flume.channel.jdbc.JdbcChannel"],
        "it keeps events in a database inside a Java process; use the file channel, which is durable too",
    ),
    entry(Part::Channel, &["org.apache.flume.channel.kafka.KafkaChannel"]),
    // Sinks.
    batched(Part::Sink, &["null", "org.apache.flume.sink.NullSink"], "batchSize", 100),
    entry(Part::Sink, &["logger", "org.apache.flume.sink.LoggerSink"]),
    batched(
        Part::Sink,
        &["file_roll", "org.apache.flume.sink.RollingFileSink"],
        "sink.batchSize",
        100,
    ),
    batched(Part::Sink, &["avro", "org.apache.flume.sink.AvroSink"], "batch-size", 100),
    batched(Part::Sink, &["thrift", "org.apache.flume.sink.ThriftSink"], "batch-size", 100),
    entry(Part::Sink, &["http", "org.apache.flume.sink.http.HttpSink"]),
    batched(
        Part::Sink,
        &["hdfs", "org.apache.flume.sink.hdfs.HDFSEventSink"],
        "hdfs.batchSize",
        100,
    ),
    batched(Part::Sink, &["hive", "org.apache.flume.sink.hive.HiveSink"], "batchSize", 15_000),
    batched(Part::Sink, &["hbase2", "org.apache.flume.sink.hbase2.HBase2Sink"], "batchSize", 100),
    batched(
        Part::Sink,
        &[
            "morphline_solr",
            "org.apache.flume.sink.solr.morphline.MorphlineSolrSink",
            "org.apache.flume.sink.solr.morphline.MorphlineSink",
        ],
        "batchSize",
        1000,
    ),
    batched(Part::Sink, &["org.apache.flume.sink.kafka.KafkaSink"], "flumeBatchSize", 100),
    entry(Part::Sink, &["org.apache.flume.sink.kudu.KuduSink"]),
    entry(Part::Sink, &["irc", "org.apache.flume.sink.irc.IRCSink"]),
    gone(
        Part::Sink,
        &["elasticsearch", "org.apache.flume.sink.elasticsearch.ElasticSearchSink"],
        "Flume removed it in 1.10; use the http sink",
    ),
    gone(
        Part::Sink,
        &["hbase", "org.apache.flume.sink.hbase.HBaseSink"],
        "Flume has only hbase2 left",
    ),
    gone(
        Part::Sink,
        &["asynchbase", "org.apache.flume.sink.hbase.AsyncHBaseSink"],
        "Flume has only hbase2 left",
    ),
    gone(
        Part::Sink,
        &["org.apache.flume.sink.kite.DatasetSink"],
        "Flume removed it in 1.10; use the hdfs sink",
    ),
    // Selectors.
    entry(Part::Selector, &["replicating", "org.apache.flume.channel.ReplicatingChannelSelector"]),
    entry(
        Part::Selector,
        &["multiplexing", "org.apache.flume.channel.MultiplexingChannelSelector"],
    ),
    entry(
        Part::Selector,
        &["load_balancing", "org.apache.flume.channel.LoadBalancingChannelSelector"],
    ),
    // Sink processors.
    entry(Part::SinkProcessor, &["default", "org.apache.flume.sink.DefaultSinkProcessor"]),
    entry(Part::SinkProcessor, &["failover", "org.apache.flume.sink.FailoverSinkProcessor"]),
    entry(
        Part::SinkProcessor,
        &["load_balance", "org.apache.flume.sink.LoadBalancingSinkProcessor"],
    ),
    // Interceptors.
    entry(
        Part::Interceptor,
        &["timestamp", "org.apache.flume.interceptor.TimestampInterceptor$Builder"],
    ),
    entry(Part::Interceptor, &["host", "org.apache.flume.interceptor.HostInterceptor$Builder"]),
    entry(Part::Interceptor, &["static", "org.apache.flume.interceptor.StaticInterceptor$Builder"]),
    entry(
        Part::Interceptor,
        &["remove_header", "org.apache.flume.interceptor.RemoveHeaderInterceptor$Builder"],
    ),
    entry(
        Part::Interceptor,
        &["search_replace", "org.apache.flume.interceptor.SearchAndReplaceInterceptor$Builder"],
    ),
    entry(
        Part::Interceptor,
        &["regex_filter", "org.apache.flume.interceptor.RegexFilteringInterceptor$Builder"],
    ),
    entry(
        Part::Interceptor,
        &["regex_extractor", "org.apache.flume.interceptor.RegexExtractorInterceptor$Builder"],
    ),
    entry(Part::Interceptor, &["org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder"]),
    entry(
        Part::Interceptor,
        &["org.apache.flume.sink.solr.morphline.MorphlineInterceptor$Builder"],
    ),
];

/// The type of Flume's that `text` names, upper and lower case being the same.
#[must_use]
pub fn find(part: Part, text: &str) -> Option<&'static FlumeType> {
    TYPES
        .iter()
        .filter(|t| t.part == part)
        .find(|t| t.names.iter().any(|name| name.eq_ignore_ascii_case(text)))
}
