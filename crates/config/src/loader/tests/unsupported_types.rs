//! Flume's sources and channels that are refused for good.

use super::{loaded, one, refused, whole};
use millpond_flow::settings::Severity;

#[test]
fn what_is_refused_for_good_is_named_with_the_reason_and_what_to_use() {
    let legacy = &["not available: it speaks the protocol of Flume 0.9", "with an avro sink"][..];
    for (key, class, words) in [
        ("sources.r1", "org.apache.flume.source.avroLegacy.AvroLegacySource", legacy),
        ("sources.r1", "org.apache.flume.source.thriftLegacy.ThriftLegacySource", legacy),
        ("sources.r1", "org.apache.flume.source.twitter.TwitterSource", &["no longer exists"]),
        ("channels.c1", "jdbc", &["not available", "use the file channel"]),
    ] {
        let error = refused(&whole(&format!("a1.{key}.type = {class}")));
        let words = [&[class][..], words].concat();
        one(error.findings(), 1, &format!("a1.{key}.type"), Severity::Error, &words);
    }
}

#[test]
fn a_memory_channel_without_transactions_runs_with_them_and_a_warning() {
    let class = "org.apache.flume.channel.PseudoTxnMemoryChannel";
    let text = format!("a1.channels.c1.type = {class}\na1.channels.c1.capacity = 10");
    let loaded = loaded(&whole(&text));
    one(
        &loaded.findings,
        1,
        "a1.channels.c1.type",
        Severity::Warning,
        &["runs as a memory channel"],
    );
    let crate::agent::ChannelKind::Memory(memory) = &loaded.agent.channels[0].kind else {
        panic!("a memory channel")
    };
    assert_eq!((memory.capacity, memory.transaction_capacity), (100, 100));
}

#[test]
fn hive_is_named_with_the_way_to_the_same_tables() {
    for name in ["hive", "org.apache.flume.sink.hive.HiveSink"] {
        let error = refused(&whole(&format!("a1.sinks.k1.type = {name}")));
        let words = [
            "not available yet",
            "dt=%Y-%m-%d",
            "ALTER TABLE",
            "ADD IF NOT EXISTS PARTITION",
            "hdfs.onRename.command",
            "hdfs.onRename.url",
        ];
        one(error.findings(), 1, "a1.sinks.k1.type", Severity::Error, &words);
    }
}
