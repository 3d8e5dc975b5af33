//! Errors of the Kafka clients.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::fmt::Display;

/// What to do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It may succeed later.
    Retriable,
    /// The broker refuses this record, and will refuse it again.
    Refused,
    /// The transaction has to be aborted; its records may then be sent again.
    Abort,
    /// Another producer has the transactional id now.
    Fenced,
    /// The client can do nothing more; a new one can.
    Fatal,
}

/// An error of a Kafka client: what it did, and what Kafka says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {cause}")]
pub struct ClientError {
    /// What to do.
    pub kind: ErrorKind,
    doing: String,
    cause: String,
    /// True if it may be the fault of another record that was sent together with this one.
    pub(crate) shared: bool,
    /// True if the topic is not there or may not be used, rather than the record.
    pub(crate) topic: bool,
    /// True if the topic is not there.
    pub(crate) is_topic_missing: bool,
}

impl ClientError {
    pub(super) fn new(kind: ErrorKind, doing: &str, cause: &dyn Display) -> Self {
        Self {
            kind,
            doing: doing.to_owned(),
            cause: cause.to_string(),
            shared: false,
            topic: false,
            is_topic_missing: false,
        }
    }

    /// Returns the error of a call that a defect ended.
    pub(crate) fn defect(cause: &dyn Display) -> Self {
        Self::new(ErrorKind::Fatal, "calling the Kafka client", cause)
    }

    /// Returns the error of what has not ended in time.
    pub(crate) fn timed_out(doing: &str, what: &dyn Display) -> Self {
        Self::new(ErrorKind::Retriable, doing, what)
    }

    /// Returns the error of a note of delivered events in Kafka that cannot be read.
    pub(crate) fn unreadable_note(group: &str) -> Self {
        let cause = format!(
            "the metadata of its offset is not a note of delivered events; set another kafka.producer.transactional.id, or delete the group {group}"
        );
        Self::new(ErrorKind::Fatal, "reading which events are delivered", &cause)
    }

    /// Returns the error of an operation. `last` is what the client reported last by itself, which often has the
    /// reason.
    pub(super) fn of(doing: &str, error: &KafkaError, last: Option<&str>) -> Self {
        let code = error.rdkafka_error_code();
        let kind = match error {
            KafkaError::Transaction(error) if error.is_fatal() => fatal_kind(error.code()),
            KafkaError::Transaction(error) if error.txn_requires_abort() => ErrorKind::Abort,
            KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => ErrorKind::Fatal,
            _ => code.map_or(ErrorKind::Retriable, kind_of),
        };
        let said = match error {
            KafkaError::Transaction(error) => error.string(),
            KafkaError::ClientConfig(_, what, name, _) => format!("{name}: {what}"),
            error => code.map_or_else(|| error.to_string(), words),
        };
        let cause = match last {
            Some(last) if kind == ErrorKind::Retriable => format!("{said} ({last})"),
            _ => said,
        };
        Self {
            kind,
            doing: doing.to_owned(),
            cause,
            shared: code.is_some_and(|code| {
                matches!(
                    code,
                    Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidRecord
                )
            }),
            is_topic_missing: code.is_some_and(|code| {
                matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic)
            }),
            topic: code.is_some_and(|code| {
                matches!(
                    code,
                    Code::UnknownTopicOrPartition
                        | Code::UnknownTopic
                        | Code::TopicAuthorizationFailed
                )
            }),
        }
    }
}

/// Returns what a code means in words.
fn words(code: Code) -> String {
    let what = match code {
        Code::MessageSizeTooLarge => {
            "the record is larger than the broker or the topic takes (max.message.bytes, max.request.size)"
        }
        Code::UnknownPartition => "the topic has no such partition",
        Code::UnknownTopic | Code::UnknownTopicOrPartition => {
            "the broker has no such topic or partition"
        }
        Code::InvalidTopic => "that is not a name of a topic",
        Code::TopicAuthorizationFailed => "the broker does not allow this user to use the topic",
        Code::GroupAuthorizationFailed => {
            "the broker does not allow this user to use the consumer group"
        }
        Code::ISRInsufficient | Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            "too few replicas are in sync (min.insync.replicas)"
        }
        Code::MessageTimedOut
        | Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::TimedOutQueue => "the brokers have not confirmed it in time",
        Code::AllBrokersDown | Code::BrokerTransportFailure => "no broker can be reached",
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "the broker does not accept the user or the password"
        }
        _ => return format!("{code}"),
    };
    what.to_owned()
}

fn fatal_kind(code: Code) -> ErrorKind {
    match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => ErrorKind::Fenced,
        _ => ErrorKind::Fatal,
    }
}

fn kind_of(code: Code) -> ErrorKind {
    match code {
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidTopic
        | Code::UnknownPartition
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::TopicAuthorizationFailed
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::InvalidMessageSize
        | Code::UnsupportedForMessageFormat
        | Code::PolicyViolation => ErrorKind::Refused,
        Code::Fenced | Code::ProducerFenced => ErrorKind::Fenced,
        Code::Fatal | Code::UnsupportedFeature | Code::GaplessGuarantee => ErrorKind::Fatal,
        _ => ErrorKind::Retriable,
    }
}
