//! What a refused commit leaves.

use super::super::{CommitError, CommitFailure, Refusal};
use super::waking::block_on;
use super::{Make, SHORT, drain, put, small};
use crate::base::clock::{Clock, SystemClock};
use crate::event::Event;

pub(crate) fn a_refused_commit_gives_the_transaction_back(make: &Make) {
    let channel = small(make, SHORT);
    put(&*channel, &["1", "2"]);
    put(&*channel, &["3", "4"]);
    let mut late = channel.begin_put();
    late.put(Event::new("5")).unwrap();
    let again = |ended: Result<(), CommitFailure>| {
        let refused = ended.unwrap_err();
        assert!(
            matches!(refused.error, CommitError::Refused(Refusal::Full { .. })),
            "expected a refusal, got {refused:?}"
        );
        refused.transaction.expect("it was refused")
    };
    let late = again(late.commit());
    // It can be tried again, either way, and grow.
    let mut late = again(block_on(late.commit_async()));
    late.put(Event::new("6")).unwrap();
    let late = again(late.commit());
    assert_eq!(drain(&*channel, 9), ["1", "2", "3", "4"]);
    late.commit().unwrap();
    assert_eq!(drain(&*channel, 9), ["5", "6"]);
}

pub(crate) fn futures_end_when_keep_alive_is_over(make: &Make) {
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
        matches!(refused.error, CommitError::Refused(Refusal::Full { .. })),
        "expected a refusal, got {refused:?}"
    );
    assert!(clock.now() >= SHORT);
    assert_eq!(drain(&*channel, 9), ["1", "2", "3", "4"]);
}
