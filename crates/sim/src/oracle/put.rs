//! What is known of one put transaction and of its events.

/// The number of a take transaction, given by the user of the model; unique among the takes of one channel.
pub type TakeId = usize;

/// What is known of a put transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PutState {
    /// Its commit was not requested, or was refused, or the transaction was rolled back or found absent: its
    /// events never come.
    Absent,
    /// Its commit was requested and has not returned.
    Requested,
    /// Its commit ended without a known result: the transaction may be there, as a whole.
    InDoubt,
    /// Its commit returned `Ok`, or one of its events was seen: it is there for good.
    Committed,
}

/// The result of a commit of a put transaction, as its caller got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitResult {
    /// `Ok`.
    Committed,
    /// An error that says that nothing was committed.
    Refused,
    /// An error that leaves open whether it was committed.
    InDoubt,
}

/// What is known of one event of a put transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventState {
    /// No take holds it.
    Waiting,
    /// A take transaction holds it.
    Leased(TakeId),
    /// The acknowledgement of that take was requested and may have happened.
    MayBeTaken(TakeId),
    /// The acknowledgement of its take returned `Ok`.
    Taken,
    /// Lost to damage of the medium, as allowed.
    Lost,
}

/// An event appeared of a transaction that is [`PutState::Absent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownEvent;

/// Why an event may not be leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseConflict {
    /// Another take holds it.
    LeasedTo(TakeId),
    /// The acknowledgement of that take was requested. It cannot have happened: if nothing else excuses it, the
    /// take was refused, and all its events wait again.
    MayBeTaken(TakeId),
    /// It was acknowledged.
    Taken,
    /// It was found lost.
    Lost,
}

/// What an opening showed of a put transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Nothing new: it was absent, or its commit is under way.
    Unchanged,
    /// It was in doubt, and no event of it is there.
    FoundAbsent,
    /// It is committed.
    Committed {
        /// Whether it was in doubt before.
        was_in_doubt: bool,
        /// Indexes of the events that wait and are not in the channel: none, unless events are lost.
        missing: Vec<usize>,
    },
}

/// What an opening showed of an acknowledgement in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeOutcome {
    /// None of its events is back: it happened. So it is with a take of no events.
    Taken,
    /// All of its events are back: it did not happen.
    NotTaken,
    /// Some are: no crash explains this.
    InPart,
}

impl TakeOutcome {
    /// Returns the outcome when `back` of the `all` events of a take in doubt are in the channel.
    pub fn of(back: usize, all: usize) -> Self {
        match back {
            0 => Self::Taken,
            back if back == all => Self::NotTaken,
            _ => Self::InPart,
        }
    }
}

/// What is known of one put transaction.
#[derive(Clone, Debug, Hash)]
pub struct PutRecord {
    /// What is known of the transaction as a whole.
    pub state: PutState,
    /// Its events, in the order in which they were put.
    pub events: Vec<EventState>,
    requested: u64,
    committed_since: Option<u64>,
}

impl PutRecord {
    /// Returns a transaction of `events` events that begins at step `now`; its commit is not requested.
    pub fn new(events: usize, now: u64) -> Self {
        Self {
            state: PutState::Absent,
            events: vec![EventState::Waiting; events],
            requested: now,
            committed_since: None,
        }
    }

    /// Records that its commit is requested.
    pub fn request(&mut self) {
        self.state = PutState::Requested;
    }

    /// Records the result of its commit.
    ///
    /// # Errors
    ///
    /// It was refused although one of its events had been seen. The record is as before.
    pub fn commit_returned(&mut self, result: CommitResult, now: u64) -> Result<(), UnknownEvent> {
        self.state = match (self.state, result) {
            (PutState::Committed, CommitResult::Refused) => return Err(UnknownEvent),
            (PutState::Committed, _) | (_, CommitResult::Committed) => PutState::Committed,
            (_, CommitResult::Refused) => PutState::Absent,
            (_, CommitResult::InDoubt) => PutState::InDoubt,
        };
        if self.state == PutState::Committed {
            self.committed_since.get_or_insert(now);
        }
        Ok(())
    }

    /// Records that one of its events was seen: it is committed.
    ///
    /// # Errors
    ///
    /// It is absent.
    pub fn seen(&mut self) -> Result<(), UnknownEvent> {
        if self.state == PutState::Absent {
            return Err(UnknownEvent);
        }
        self.state = PutState::Committed;
        Ok(())
    }

    /// Records that `take` holds the event at `index`.
    ///
    /// # Errors
    ///
    /// The event does not wait. The record is as before.
    ///
    /// # Panics
    ///
    /// If there is no such event.
    pub fn lease(&mut self, index: usize, take: TakeId) -> Result<(), LeaseConflict> {
        match self.events[index] {
            EventState::Waiting => self.events[index] = EventState::Leased(take),
            EventState::Leased(other) => return Err(LeaseConflict::LeasedTo(other)),
            EventState::MayBeTaken(other) => return Err(LeaseConflict::MayBeTaken(other)),
            EventState::Taken => return Err(LeaseConflict::Taken),
            EventState::Lost => return Err(LeaseConflict::Lost),
        }
        Ok(())
    }

    /// Records the end of the process: a commit without a result is in doubt, and no take holds an event.
    /// Acknowledgements without a result stay in doubt.
    pub fn process_died(&mut self) {
        if self.state == PutState::Requested {
            self.state = PutState::InDoubt;
        }
        for event in &mut self.events {
            if matches!(event, EventState::Leased(_)) {
                *event = EventState::Waiting;
            }
        }
    }

    /// Settles what was in doubt by an opening that showed the whole channel; `present` tells of an index whether
    /// that event was in it. Acknowledgements in doubt must have been settled before.
    pub fn resolve(&mut self, present: impl Fn(usize) -> bool, now: u64) -> Settled {
        let was_in_doubt = match self.state {
            PutState::Absent | PutState::Requested => return Settled::Unchanged,
            PutState::InDoubt => true,
            PutState::Committed => false,
        };
        if was_in_doubt && !(0..self.events.len()).any(&present) {
            self.state = PutState::Absent;
            return Settled::FoundAbsent;
        }
        self.found(now);
        let missing = self.waiting().filter(|index| !present(*index)).collect();
        Settled::Committed { was_in_doubt, missing }
    }

    /// Records that an opening proved it: by its events or, if it has none, by the position of its source.
    pub fn found(&mut self, now: u64) {
        self.state = PutState::Committed;
        self.committed_since.get_or_insert(now);
    }

    /// Returns the indexes of the events that wait.
    pub fn waiting(&self) -> impl Iterator<Item = usize> {
        let events = self.events.iter().enumerate();
        events.filter(|(_, state)| **state == EventState::Waiting).map(|(index, _)| index)
    }

    /// Whether every event of this transaction must be delivered before any of `later`: its commit had returned
    /// when the other began. Of two whose commits were under way at the same time either may be first.
    pub fn precedes(&self, later: &Self) -> bool {
        self.committed_since.is_some_and(|since| since < later.requested)
    }

    /// Returns the step at which it began.
    pub fn requested(&self) -> u64 {
        self.requested
    }

    /// Returns how many of its events a channel must count as waiting or leased: none unless it is committed.
    pub fn held(&self) -> u64 {
        let held = |state: &&EventState| !matches!(state, EventState::Taken | EventState::Lost);
        match self.state {
            PutState::Committed => self.events.iter().filter(held).count() as u64,
            PutState::Absent | PutState::Requested | PutState::InDoubt => 0,
        }
    }

    /// Whether neither its commit nor the acknowledgement of one of its events is under way or in doubt.
    pub fn is_certain(&self) -> bool {
        matches!(self.state, PutState::Committed | PutState::Absent)
            && !self.events.iter().any(|state| matches!(state, EventState::MayBeTaken(_)))
    }

    /// Whether it is committed and all its events are acknowledged: nothing of it may come again.
    pub fn is_over(&self) -> bool {
        self.state == PutState::Committed
            && self.events.iter().all(|state| *state == EventState::Taken)
    }
}
