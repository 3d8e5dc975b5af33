//! Each cause of a failure, the error in which a caller gets it, and what the caller can do then.

use crate::rig::{Commit, Engine, Machine, WRITE_TIMEOUT, bodies, data_dir, large};
use millpond::internal::disk::Disk;
use millpond::{
    Channel, CommitError, FaultCause, FaultKind, RefusedReason, Retry, SourceOffsetError,
    TakeError, TakeTransaction,
};
use millpond_sim::disk::{Fault, FaultTarget, SimOptions};
use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// A variant of an error, the kind of its cause, and what the caller can do.
type Outcome = (&'static str, Option<FaultKind>, Retry);

fn of_commit(ended: &Result<(), CommitError>) -> Outcome {
    let error = ended.as_ref().expect_err("fails");
    let variant = match error {
        CommitError::InDoubt(_) => "InDoubt",
        CommitError::Refused(RefusedReason::NoSpace(_)) => "NoSpace",
        CommitError::Refused(RefusedReason::NoStripe(_)) => "NoStripe",
        CommitError::Refused(RefusedReason::Stopped(_)) => "Stopped",
        CommitError::Refused(RefusedReason::Closed) => "Closed",
        CommitError::Refused(RefusedReason::Full { .. }) => "Full",
        other => panic!("{other}"),
    };
    (variant, error.cause().map(FaultCause::kind), error.retry())
}

fn of_take(lent: &Result<Vec<String>, TakeError>) -> Outcome {
    let error = lent.as_ref().expect_err("fails");
    match error {
        TakeError::Unreadable(cause) => ("Unreadable", Some(cause.kind()), error.retry()),
        TakeError::Stopped(cause) => ("Stopped", Some(cause.kind()), error.retry()),
        TakeError::Closed => ("Closed", None, error.retry()),
        other => panic!("{other}"),
    }
}

/// Returns an engine on one disk, and a take that has lent one event of three.
fn one_disk(options: SimOptions) -> (Machine, Engine, Box<dyn TakeTransaction>) {
    let machine = Machine::with(1, options);
    let mut engine = machine.open();
    engine.run_pending();
    engine.put(&bodies("e", 0..3));
    let mut take = engine.begin_take();
    assert_eq!(engine.lend(&mut *take, 1).expect("lent").len(), 1);
    (machine, engine, take)
}

/// The only disk refuses every write: the first commit is in doubt, and puts and takes after it are
/// refused alike.
#[test]
fn a_disk_that_refuses_writes_is_the_same_cause_for_puts_and_takes() {
    for (errno, variant, kind) in [
        (ErrorKind::StorageFull, "NoSpace", FaultKind::NoSpace),
        (ErrorKind::QuotaExceeded, "NoSpace", FaultKind::NoSpace),
        (ErrorKind::Other, "NoStripe", FaultKind::Io(ErrorKind::Other)),
        (ErrorKind::ReadOnlyFilesystem, "NoStripe", FaultKind::Io(ErrorKind::ReadOnlyFilesystem)),
    ] {
        let (machine, mut engine, take) = one_disk(SimOptions::new(1));
        machine.disk.fail(Fault::dead("data0").kind(errno));
        let doubt = engine.try_put(&bodies("doubt", 0..1));
        assert_eq!(of_commit(&doubt), ("InDoubt", Some(kind), Retry::MayRepeat));
        let put = engine.try_put(&bodies("refused", 0..1));
        assert_eq!(of_commit(&put), (variant, Some(kind), Retry::Later));
        let commit = Commit::begin(take.commit_async());
        let taken = engine.end(commit);
        assert_eq!(of_commit(&taken), (variant, Some(kind), Retry::Later));
        let error = taken.expect_err("refused");
        let cause = error.cause().expect("it has one");
        let place = cause.place();
        assert_eq!(place.stripe.map(|stripe| stripe.0), Some(0), "{place:?}");
        assert!(place.path.as_ref().is_some_and(|path| path.starts_with(data_dir(0))), "{place:?}");
        assert!(place.segment.is_some() && place.offset.is_some(), "{place:?}");
        let source = cause.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(errno));
        assert!(error.to_string().contains("/c/data0/segment"), "{error}");
        machine.disk.clear_faults();
        engine.pass(Duration::from_secs(60));
        engine.put(&bodies("again", 0..1));
        assert_eq!(engine.take(10).len(), 4, "what was refused or in doubt is not there");
    }
}

#[test]
fn a_full_disk_refuses_puts_with_no_space_and_no_take() {
    let machine = Machine::new(1);
    drop(machine.open());
    machine.disk.set_capacity(&data_dir(0), 3 << 20).expect("there");
    let mut engine = machine.open();
    let mut ended = (0..1000).map(|_| engine.try_put(&large("e", 0..10, 3000)));
    let refused = ended.find(Result::is_err).expect("the disk gets full");
    assert_eq!(of_commit(&refused), ("NoSpace", Some(FaultKind::NoSpace), Retry::Later));
    assert_eq!(engine.take(1).len(), 1);
}

/// A write hangs, and so does each one that replaces it.
#[test]
fn writes_that_hang_are_named_as_the_cause_with_their_stripe() {
    let (_machine, mut engine, take) = one_disk(SimOptions { pending: true, ..SimOptions::new(1) });
    let mut commit = engine.begin_put(&bodies("slow", 0..1));
    let mut hung = Vec::new();
    let ended = loop {
        hung.extend(engine.stepper.start_write(0));
        engine.clock.advance(WRITE_TIMEOUT + Duration::from_secs(2));
        engine.stepper.keep();
        if let Some(ended) = commit.poll() {
            break ended;
        }
        assert!(hung.len() < 20, "the commit never ends");
    };
    assert_eq!(of_commit(&ended), ("InDoubt", Some(FaultKind::Hung), Retry::MayRepeat));
    let error = ended.expect_err("in doubt");
    let place = error.cause().expect("it has one").place();
    assert_eq!(place.stripe.map(|stripe| stripe.0), Some(0), "{place:?}");
    let commit = Commit::begin(take.commit_async()).poll().expect("refused at once");
    assert_eq!(of_commit(&commit), ("NoStripe", Some(FaultKind::Hung), Retry::Later));
}

#[test]
fn events_that_cannot_be_read_may_be_taken_later() {
    let (machine, engine, take) = one_disk(SimOptions::new(1));
    drop((engine, take));
    let mut engine = machine.open();
    machine.disk.fail(Fault::next(FaultTarget::Read, "data0").times(u64::MAX));
    let mut take = engine.begin_take();
    let lent = engine.lend(&mut *take, 1);
    let kind = FaultKind::Io(ErrorKind::Other);
    assert_eq!(of_take(&lent), ("Unreadable", Some(kind), Retry::Later));
    machine.disk.clear_faults();
    engine.pass(Duration::from_secs(2));
    assert_eq!(engine.lend(&mut *take, 5).expect("readable").len(), 3);
}

#[test]
fn an_emptied_directory_is_missing_and_not_out_of_space() {
    let (machine, mut engine, take) = one_disk(SimOptions::new(1));
    for file in machine.disk.files().iter().filter(|file| file.starts_with(data_dir(0))) {
        machine.disk.take_away(file).expect("it is there");
    }
    engine.pass(Duration::from_secs(1));
    let put = engine.try_put(&bodies("late", 0..1));
    assert_eq!(of_commit(&put), ("NoStripe", Some(FaultKind::Missing), Retry::Later));
    let commit = Commit::begin(take.commit_async());
    engine.end(commit).unwrap_or_else(|e| panic!("what waits there can still be taken: {e}"));
}

#[test]
fn a_channel_that_gave_way_says_stopped_to_every_call() {
    let (machine, mut engine, take) = one_disk(SimOptions::new(1));
    machine.disk.put_in_place(&data_dir(0).join("in_use.lock"), None).expect("it is there");
    let directory = machine.disk.open_dir(&data_dir(0), false).expect("there");
    let _other = directory.lock("in_use.lock").expect("a file of its own");
    engine.pass(Duration::from_secs(1));
    let stopped = ("Stopped", Some(FaultKind::Stopped), Retry::Reopen);
    assert_eq!(of_commit(&engine.try_put(&bodies("late", 0..1))), stopped);
    let commit = Commit::begin(take.commit_async());
    assert_eq!(of_commit(&engine.end(commit)), stopped);
    let mut take = engine.begin_take();
    assert_eq!(of_take(&engine.lend(&mut *take, 1)), stopped);
    let offset = engine.channel.source_offset("tail").expect_err("stopped");
    assert!(matches!(offset, SourceOffsetError::Stopped(_)), "{offset}");
    assert_eq!(offset.retry(), Retry::Reopen);
    let forgotten = engine.channel.forget_source_offset("tail").map(|_| ());
    assert_eq!(of_commit(&forgotten), stopped);
}

#[test]
fn a_closed_channel_says_closed_and_a_full_one_full() {
    let machine = Machine::new(1);
    let mut options = machine.options();
    (options.capacity, options.transaction_capacity) = (2, 2);
    let mut engine = machine.open_with(options);
    engine.put(&bodies("e", 0..2));
    let full = engine.try_put(&bodies("more", 0..1));
    assert_eq!(of_commit(&full), ("Full", None, Retry::Later));
    let mut take = engine.begin_take();
    engine.channel.close().expect("closes");
    let closed = ("Closed", None, Retry::Reopen);
    assert_eq!(of_commit(&engine.try_put(&bodies("late", 0..1))), closed);
    assert_eq!(of_take(&engine.lend(&mut *take, 1)), closed);
}
