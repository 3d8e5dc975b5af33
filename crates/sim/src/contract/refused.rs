//! The transaction after a refused commit.

use super::waking::block_on;
use super::{Make, SHORT, Wanted, drain, put, small, with_headers};
use millpond::internal::base::limits::HEADERS_MAX;
use millpond::{Clock, Event, SystemClock};
use millpond::{CommitError, CommitFailure, PutError, PutTransaction, RefusedReason};
use std::time::Duration;

pub fn a_refused_commit_gives_the_transaction_back(make: &Make) {
    let channel = small(make, SHORT);
    put(&*channel, &["1", "2"]);
    put(&*channel, &["3", "4"]);
    let mut late = channel.begin_put();
    late.put(Event::new("5")).unwrap();
    let again = |ended: Result<(), CommitFailure>| {
        let refused = ended.unwrap_err();
        assert!(
            matches!(refused.error, CommitError::Refused(RefusedReason::Full { .. })),
            "expected a refusal, got {refused:?}"
        );
        refused.transaction.expect("it was refused")
    };
    let late = again(late.commit());
    // It can be retried, blocking or not, and extended.
    let mut late = again(block_on(late.commit_async()));
    late.put(Event::new("6")).unwrap();
    let late = again(late.commit());
    assert_eq!(drain(&*channel, 9), ["1", "2", "3", "4"]);
    late.commit().unwrap();
    assert_eq!(drain(&*channel, 9), ["5", "6"]);
}

pub fn futures_end_when_keep_alive_is_over(make: &Make) {
    let channel = small(make, SHORT);
    let clock = SystemClock::new();
    let mut take = channel.begin_take();
    assert_eq!(block_on(take.take_async(1)), Ok(Vec::new()));
    assert!(clock.now() >= SHORT);
    take.rollback();
    put(&*channel, &["1", "2"]);
    put(&*channel, &["3", "4"]);
    let clock = SystemClock::new();
    let mut late = channel.begin_put();
    late.put(Event::new("5")).unwrap();
    let refused = block_on(late.commit_async()).unwrap_err();
    assert!(
        matches!(refused.error, CommitError::Refused(RefusedReason::Full { .. })),
        "expected a refusal, got {refused:?}"
    );
    assert!(clock.now() >= SHORT);
    assert_eq!(drain(&*channel, 9), ["1", "2", "3", "4"]);
}

pub fn put_all_adds_every_event_or_none(make: &Make) {
    let channel =
        make(Wanted { capacity: 100, transaction_capacity: 5, keep_alive: Duration::ZERO });
    let events = |bodies: &[&'static str]| bodies.iter().copied().map(Event::new).collect();
    let put_all = |put: &mut dyn PutTransaction, events: Vec<Event>| {
        put.put_all(&mut events.into_iter()).map_err(|refused| (refused.index, refused.error))
    };
    let mut put = channel.begin_put();
    assert_eq!(put_all(&mut *put, Vec::new()), Ok(()));
    assert_eq!(put_all(&mut *put, events(&["1", "2"])), Ok(()));
    let full = Err((3, PutError::TransactionFull { capacity: 5 }));
    assert_eq!(put_all(&mut *put, events(&["x", "x", "x", "x", "x"])), full);
    let refused = put_all(&mut *put, vec![Event::new("x"), with_headers(HEADERS_MAX + 1)]);
    assert!(matches!(refused, Err((1, PutError::TooManyHeaders { .. }))), "{refused:?}");
    // The room of those that were refused is free again.
    assert_eq!(put_all(&mut *put, events(&["3", "4"])), Ok(()));
    put.put(Event::new("5")).unwrap();
    put.commit().unwrap();
    assert_eq!(drain(&*channel, 5), ["1", "2", "3", "4", "5"]);
}
