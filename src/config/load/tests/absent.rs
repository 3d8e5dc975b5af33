//! Sources and channels of Flume's that are refused for good.

use super::{one, refused, whole};
use crate::config::settings::Severity;

#[test]
fn what_is_refused_for_good_is_named_with_the_reason_and_what_to_use() {
    let legacy = &["not available: it speaks the protocol of Flume 0.9", "with an avro sink"][..];
    for (key, class, words) in [
        ("sources.r1", "org.apache.flume.source.avroLegacy.AvroLegacySource", legacy),
        ("sources.r1", "org.apache.flume.source.thriftLegacy.ThriftLegacySource", legacy),
        ("sources.r1", "org.apache.flume.source.twitter.TwitterSource", &["no longer exists"]),
        ("channels.c1", "jdbc", &["not available", "use the file channel"]),
        (
            "channels.c1",
            "org.apache.flume.channel.PseudoTxnMemoryChannel",
            &["no transactions", "use the memory channel"],
        ),
    ] {
        let error = refused(&whole(&format!("a1.{key}.type = {class}")));
        let words = [&[class][..], words].concat();
        one(error.findings(), 1, &format!("a1.{key}.type"), Severity::Error, &words);
    }
}
