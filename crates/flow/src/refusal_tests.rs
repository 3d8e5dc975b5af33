//! What every kind of channel reports to sources when it refuses their events: full for now, or never possible.

use super::context::Intake;
use super::intake::{ChannelProcessor, NamedChannel};
use super::selector::Replicating;
use crate::base::limits::EVENT_BYTES_MAX;
use crate::metrics::SourceCounters;
use millpond::{
    Channel, CommitError, Event, FaultCause, FaultKind, FaultPlace, FileChannel,
    FileChannelOptions, MemoryChannel, MemoryOptions, PutError, RefusedReason, SpillableChannel,
    SpillableOptions,
};
use millpond_sim::contract::drain;
use millpond_sim::disk::{SimDisk, SimOptions};
use std::sync::Arc;
use std::time::Duration;

/// Every channel here has capacity for four events and for three in a transaction, of at most some 2000 bytes
/// together, and does not wait.
const TRANSACTION_BYTES: usize = 2000;

fn memory() -> Arc<dyn Channel> {
    let options = MemoryOptions {
        capacity: 4,
        transaction_capacity: 3,
        keep_alive: Duration::ZERO,
        byte_capacity: TRANSACTION_BYTES as u64,
        byte_capacity_buffer_percentage: 0,
    };
    Arc::new(MemoryChannel::new(options).unwrap())
}

fn file(capacity: u64) -> Arc<dyn Channel> {
    let mut options = FileChannelOptions::new("/c/checkpoint", ["/c/data"])
        .with_disk(Arc::new(SimDisk::new(SimOptions::new(1))));
    options.capacity = capacity;
    options.transaction_capacity = 3;
    options.transaction_bytes_max = TRANSACTION_BYTES;
    options.segment_bytes = 256 * 1024;
    options.minimum_required_space = 0;
    options.keep_alive = Duration::ZERO;
    Arc::new(FileChannel::open(options).unwrap())
}

fn spillable() -> Arc<dyn Channel> {
    let options = SpillableOptions {
        memory_capacity: 1,
        transaction_capacity: 3,
        overflow_timeout: Duration::ZERO,
        keep_alive: Duration::ZERO,
        ..SpillableOptions::default()
    };
    Arc::new(SpillableChannel::new(options, Some(file(3))).unwrap())
}

fn all() -> [(&'static str, Arc<dyn Channel>); 3] {
    [("memory", memory()), ("file", file(4)), ("spillable", spillable())]
}

fn intake(
    channels: &[(&'static str, Arc<dyn Channel>)],
    optional: &[&str],
) -> (ChannelProcessor, Arc<SourceCounters>) {
    let names: Vec<String> = channels.iter().map(|(name, _)| (*name).to_owned()).collect();
    let (selector, _) = Replicating::new(&names, optional);
    let named = channels.iter().map(|(name, channel)| NamedChannel {
        name: (*name).to_owned(),
        channel: Arc::clone(channel),
    });
    let counters = Arc::new(SourceCounters::default());
    let channels = named.collect();
    (ChannelProcessor::new("r1", Box::new(selector), channels, Arc::clone(&counters)), counters)
}

fn events(count: usize, bytes: usize) -> Vec<Event> {
    vec![Event::new(vec![b'x'; bytes]); count]
}

#[tokio::test]
async fn a_batch_that_can_never_fit_is_refused_as_such_without_effect() {
    for (name, channel) in all() {
        let (intake, counters) = intake(&[(name, Arc::clone(&channel))], &[]);
        let refused = [
            (events(4, 1), "3 events"),
            (events(1, TRANSACTION_BYTES + 1), "2000"),
            (events(3, TRANSACTION_BYTES / 2), "2000"),
            (events(1, EVENT_BYTES_MAX + 1), "268435456"),
        ];
        let tries = refused.len() as u64;
        for (batch, limit) in refused {
            let error = intake.commit(batch).await.unwrap_err();
            assert!(error.never_fits(), "{name}: {error}");
            assert!(error.to_string().contains(limit), "{name}: {error} names its limit");
            assert_eq!(channel.status().events, 0, "{name}");
        }
        assert_eq!(counters.channel_write_fail.get(), tries);
        assert_eq!(counters.event_accepted.get(), 0);
        intake.commit(events(3, 500)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn a_full_channel_says_that_waiting_helps_and_it_does() {
    for (name, channel) in all() {
        let (intake, _) = intake(&[(name, Arc::clone(&channel))], &[]);
        let mut put = 0;
        let error = loop {
            match intake.commit(events(1, 10)).await {
                Ok(()) => put += 1,
                Err(error) => break error,
            }
            assert!(put < 100, "{name} is never full");
        };
        assert!(
            matches!(error, CommitError::Refused(RefusedReason::Full { .. })),
            "{name}: {error}"
        );
        assert!(!error.never_fits(), "{name}");
        assert_eq!(drain(&*channel, put).len(), put);
        intake.commit(events(1, 10)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn memory_full_of_bytes_says_that_waiting_helps_and_it_does() {
    let channel = memory();
    let (intake, _) = intake(&[("memory", Arc::clone(&channel))], &[]);
    intake.commit(events(1, 1500)).await.unwrap();
    let error = intake.commit(events(1, 1000)).await.unwrap_err();
    assert!(matches!(error, CommitError::Refused(RefusedReason::FullOfBytes { .. })), "{error}");
    assert!(!error.never_fits());
    drain(&*channel, 1);
    intake.commit(events(1, 1000)).await.unwrap();
}

#[tokio::test]
async fn a_closed_channel_refuses_and_that_is_not_about_the_events() {
    for (name, channel) in all() {
        let (intake, _) = intake(&[(name, Arc::clone(&channel))], &[]);
        channel.close().unwrap();
        let error = intake.commit(events(1, 1)).await.unwrap_err();
        assert_eq!(error, CommitError::Refused(RefusedReason::Closed), "{name}");
        assert!(!error.never_fits());
    }
}

#[tokio::test]
async fn an_optional_channel_that_can_never_take_an_event_keeps_no_other_from_it() {
    let channels = [("file", file(4)), ("memory", memory())];
    let (intake, counters) = intake(&channels, &["file"]);
    // By bytes alone both refuse; the encoded lengths on the disk make the difference.
    intake.commit(events(2, TRANSACTION_BYTES / 2)).await.unwrap();
    assert_eq!(channels.map(|(_, channel)| channel.status().events), [0, 2]);
    assert_eq!((counters.event_accepted.get(), counters.optional_write_fail.get()), (2, 2));
}

#[test]
fn every_refusal_is_either_about_the_events_or_about_the_channel() {
    let trouble = || FaultCause::new(FaultKind::Hung, FaultPlace::default(), "a disk");
    let too_large = PutError::TooLarge {
        bytes: 9,
        alone: 9,
        max: 8,
        setting: millpond::internal::base::setting::BYTE_CAPACITY,
    };
    for refusal in [
        RefusedReason::LargerThanChannel { events: 9, capacity: 8 },
        RefusedReason::Transaction(PutError::TransactionFull { capacity: 8 }),
        RefusedReason::Transaction(PutError::EventTooLarge { bytes: 9, max: 8 }),
        RefusedReason::Transaction(PutError::TooManyHeaders { headers: 9, max: 8 }),
        RefusedReason::Transaction(too_large),
        RefusedReason::Transaction(PutError::NoPlace(trouble())),
    ] {
        assert!(CommitError::Refused(refusal.clone()).never_fits(), "{refusal}");
    }
    for refusal in [
        // Offsets of removed sources are evicted or forgotten.
        RefusedReason::SourceOffsetTooLarge { bytes: 9, max: 8 },
        RefusedReason::Full { events: 8, capacity: 8 },
        RefusedReason::FullOfBytes { bytes: 8, capacity: 8 },
        RefusedReason::NoSpace(trouble()),
        RefusedReason::NoStripe(trouble()),
        RefusedReason::Unreachable(trouble()),
        RefusedReason::EarlierCommitFailed,
        RefusedReason::EarlierCommitPending { of: "tail".to_owned() },
        RefusedReason::Closed,
        RefusedReason::Stopped(trouble()),
    ] {
        assert!(!CommitError::Refused(refusal.clone()).never_fits(), "{refusal}");
    }
    assert!(!CommitError::InDoubt(trouble()).never_fits());
}
