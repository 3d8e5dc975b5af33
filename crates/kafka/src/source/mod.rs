//! `org.apache.flume.source.kafka.KafkaSource`: reads topics of Kafka.
//!
//! Limits: `batchSize` records of a batch, and [`session::BATCH_BYTES_MAX`] of their values; what librdkafka has read ahead
//! is `queued.max.messages.kbytes`. A batch has at most as many events as the channels take and have room for.
//!
//! 1. Records are collected up to `batchSize`, or for `batchDurationMillis` ([`session`]).
//! 2. They become events ([`event`]) and are put as one transaction. With durable channels the offsets are part of it
//!    ([`offsets`]).
//! 3. The offsets are committed to the group. A process that is killed between 2 and 3 repeats nothing where the channels
//!    are durable, and its last batch where they are not.
//!
//! When the group takes a partition away, what was read of it is put and committed first. While the channels refuse, the
//! source stays in the group and reads nothing more.
//!
//! Errors end [`KafkaSource::run`] with the reason; the flow calls it again.

mod event;
mod keys;
mod offsets;
mod session;
#[cfg(test)]
mod tests;

use keys::KafkaSourceSettings;
use millpond::BoxFuture;
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use session::Session;
use std::sync::Arc;

/// The type `kafka`.
pub const TYPE: SourceType = SourceType {
    names: &["kafka", "org.apache.flume.source.kafka.KafkaSource"],
    keys: &keys::KEYS,
    build: |reader| Ok(Box::new(KafkaSource(Arc::new(KafkaSourceSettings::read(reader)?)))),
};

struct KafkaSource(Arc<KafkaSourceSettings>);

impl Source for KafkaSource {
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let opened = tokio::select! {
                () = context.stop.wait() => return Ok(()),
                opened = Session::open(Arc::clone(&self.0), context) => opened,
            };
            let mut session = match opened {
                Ok(session) => session,
                Err(error) => {
                    context.waits();
                    // The flow notices the wait before the end.
                    tokio::task::yield_now().await;
                    return Err(error);
                }
            };
            context.started();
            let ended = session.read(context).await;
            session.close().await;
            ended
        })
    }
}
