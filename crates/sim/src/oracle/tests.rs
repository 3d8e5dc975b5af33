//! Each rule of the model: what it allows, and what it reports.

use super::{
    Adjacency, CommitResult, Comparison, EventState, LeaseConflict, Misplaced, PutRecord, PutState,
    Settled, TakeOutcome, UnknownEvent,
};
use PutState::{Absent, Committed, InDoubt, Requested};

fn put(state: PutState, events: &[EventState]) -> PutRecord {
    let mut put = PutRecord::new(events.len(), 5);
    put.state = state;
    put.events = events.to_vec();
    put
}

fn waiting(state: PutState) -> PutRecord {
    put(state, &[EventState::Waiting; 2])
}

#[test]
fn the_result_of_a_commit_decides_unless_an_event_was_seen_before() {
    let table = [
        (Requested, CommitResult::Committed, Ok(Committed)),
        (Requested, CommitResult::Refused, Ok(Absent)),
        (Requested, CommitResult::InDoubt, Ok(InDoubt)),
        (InDoubt, CommitResult::Committed, Ok(Committed)),
        (InDoubt, CommitResult::Refused, Ok(Absent)),
        (InDoubt, CommitResult::InDoubt, Ok(InDoubt)),
        (Committed, CommitResult::Committed, Ok(Committed)),
        (Committed, CommitResult::Refused, Err(UnknownEvent)),
        (Committed, CommitResult::InDoubt, Ok(Committed)),
    ];
    for (before, result, after) in table {
        let mut record = waiting(before);
        let returned = record.commit_returned(result, 7).map(|()| record.state);
        assert_eq!(returned, after, "{before:?} and {result:?}");
        assert_eq!(record.state, after.unwrap_or(before), "{before:?} and {result:?}");
    }
}

#[test]
fn a_seen_event_commits_its_transaction_unless_that_is_absent() {
    for (before, after) in [
        (Absent, Err(UnknownEvent)),
        (Requested, Ok(Committed)),
        (InDoubt, Ok(Committed)),
        (Committed, Ok(Committed)),
    ] {
        let mut record = waiting(before);
        assert_eq!(record.seen().map(|()| record.state), after, "{before:?}");
    }
}

#[test]
fn only_a_waiting_event_can_be_leased() {
    let states = [
        (EventState::Waiting, Ok(())),
        (EventState::Leased(3), Err(LeaseConflict::LeasedTo(3))),
        (EventState::MayBeTaken(3), Err(LeaseConflict::MayBeTaken(3))),
        (EventState::Taken, Err(LeaseConflict::Taken)),
        (EventState::Lost, Err(LeaseConflict::Lost)),
    ];
    for (before, result) in states {
        let mut record = put(Committed, &[before]);
        assert_eq!(record.lease(0, 9), result);
        let after = if result.is_ok() { EventState::Leased(9) } else { before };
        assert_eq!(record.events, [after]);
    }
}

#[test]
fn a_dead_process_holds_no_event_and_leaves_requests_in_doubt() {
    let events = [
        (EventState::Waiting, EventState::Waiting),
        (EventState::Leased(1), EventState::Waiting),
        (EventState::MayBeTaken(1), EventState::MayBeTaken(1)),
        (EventState::Taken, EventState::Taken),
        (EventState::Lost, EventState::Lost),
    ];
    let states =
        [(Absent, Absent), (Requested, InDoubt), (InDoubt, InDoubt), (Committed, Committed)];
    for (before, after) in states {
        let mut record = put(before, &events.map(|(before, _)| before));
        record.process_died();
        assert_eq!(record.state, after);
        assert_eq!(record.events, events.map(|(_, after)| after));
    }
}

#[test]
fn an_opening_shows_all_of_a_transaction_or_none_of_it() {
    let of = |state, present: &[usize]| waiting(state).resolve(|at| present.contains(&at), 7);
    let found = |was_in_doubt, missing: &[usize]| Settled::Committed {
        was_in_doubt,
        missing: missing.to_vec(),
    };
    assert_eq!(of(Absent, &[]), Settled::Unchanged);
    assert_eq!(of(Requested, &[0]), Settled::Unchanged);
    assert_eq!(of(InDoubt, &[]), Settled::FoundAbsent);
    assert_eq!(of(InDoubt, &[0, 1]), found(true, &[]));
    assert_eq!(of(InDoubt, &[1]), found(true, &[0]));
    assert_eq!(of(Committed, &[0, 1]), found(false, &[]));
    assert_eq!(of(Committed, &[0]), found(false, &[1]));
    assert_eq!(of(Committed, &[]), found(false, &[0, 1]));
    // What was taken, or lost as allowed, is not missed.
    let mut rest = put(Committed, &[EventState::Taken, EventState::Lost, EventState::Waiting]);
    assert_eq!(rest.resolve(|at| at == 2, 7), found(false, &[]));
}

#[test]
fn what_an_opening_found_absent_stays_absent() {
    let mut record = waiting(InDoubt);
    assert_eq!(record.resolve(|_| false, 7), Settled::FoundAbsent);
    assert_eq!(record.seen(), Err(UnknownEvent));
}

#[test]
fn an_acknowledgement_in_doubt_happened_or_did_not() {
    assert_eq!(TakeOutcome::of(0, 0), TakeOutcome::Taken);
    assert_eq!(TakeOutcome::of(0, 3), TakeOutcome::Taken);
    assert_eq!(TakeOutcome::of(3, 3), TakeOutcome::NotTaken);
    assert_eq!(TakeOutcome::of(1, 3), TakeOutcome::InPart);
    assert_eq!(TakeOutcome::of(2, 3), TakeOutcome::InPart);
}

#[test]
fn a_transaction_precedes_those_that_begin_after_its_commit_returned() {
    let begun = |at| PutRecord::new(1, at);
    let mut first = begun(1);
    first.request();
    assert!(!first.precedes(&begun(9)), "its commit has not returned");
    first.commit_returned(CommitResult::Committed, 4).unwrap();
    assert!(!first.precedes(&begun(3)), "the other had begun");
    assert!(first.precedes(&begun(5)));
    // Later results and openings do not make it later.
    first.commit_returned(CommitResult::Committed, 8).unwrap();
    first.resolve(|_| true, 8);
    assert!(first.precedes(&begun(5)));
    // Of one in doubt the opening that showed it counts.
    let mut doubt = begun(1);
    doubt.request();
    doubt.process_died();
    doubt.resolve(|_| true, 6);
    assert!(doubt.precedes(&begun(7)) && !doubt.precedes(&begun(5)));
}

#[test]
fn events_held_are_those_of_committed_transactions_that_are_not_taken() {
    let events = [
        EventState::Waiting,
        EventState::Leased(1),
        EventState::MayBeTaken(1),
        EventState::Taken,
        EventState::Lost,
    ];
    let held = |state| put(state, &events).held();
    assert_eq!([Absent, Requested, InDoubt, Committed].map(held), [0, 0, 0, 3]);
    let certain = |state| put(state, &[EventState::Waiting, EventState::Taken]).is_certain();
    assert_eq!([Absent, Requested, InDoubt, Committed].map(certain), [true, false, false, true]);
    assert!(!put(Committed, &events).is_certain());
    assert!(put(Committed, &[EventState::Taken; 2]).is_over());
    assert!(!put(Committed, &[EventState::Taken, EventState::Waiting]).is_over());
    assert!(!put(InDoubt, &[EventState::Taken]).is_over());
}

#[test]
fn events_of_a_transaction_are_adjacent_and_in_order() {
    let judged = |events: &[(char, usize)]| {
        let mut adjacency = Adjacency::new();
        events.iter().try_for_each(|(put, index)| adjacency.push(*put, *index, index + 1))
    };
    assert_eq!(judged(&[('a', 0), ('a', 1), ('b', 0), ('c', 3), ('c', 5)]), Ok(()));
    assert_eq!(judged(&[('a', 0), ('b', 0), ('a', 1)]), Err(Misplaced::Apart));
    assert_eq!(judged(&[('a', 1), ('a', 0)]), Err(Misplaced::OutOfOrder));
    assert_eq!(judged(&[('a', 1), ('a', 1)]), Err(Misplaced::OutOfOrder));
}

#[test]
fn a_comparison_names_every_difference() {
    let same = Comparison::of(&[1, 2, 3], &[1, 2, 3]);
    assert!(same.lost.is_empty() && same.unexpected.is_empty() && same.repeated.is_empty());
    assert!(same.in_order);
    let other = Comparison::of(&[1, 2, 3], &[3, 9, 1]);
    assert_eq!((other.lost, other.unexpected), ([2].into(), [9].into()));
    assert!(!other.in_order);
    let twice = Comparison::of(&[1, 2], &[1, 1, 2]);
    assert_eq!(twice.repeated, [1].into());
    // A loss and an addition do not change the order of the others.
    assert!(Comparison::of(&[1, 2, 3], &[9, 1, 3]).in_order);
}
