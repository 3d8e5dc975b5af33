//! What the brokers say of a topic.

use rdkafka::error::KafkaError;
use rdkafka::metadata::{Metadata, MetadataPartition, MetadataTopic};

/// Returns the numbers of the partitions of the topic that was asked for.
pub(super) fn partition_numbers(found: &Metadata) -> Result<Vec<i32>, KafkaError> {
    let topics = found.topics();
    match topics.first().and_then(MetadataTopic::error) {
        Some(error) => Err(KafkaError::MetadataFetch(error.into())),
        None => {
            let all = topics.iter().flat_map(MetadataTopic::partitions);
            Ok(all.map(MetadataPartition::id).collect())
        }
    }
}
