//! Take transactions.

use super::cold;
use super::shared::{Shared, changed};
use super::workers::Task;
use crate::base::codes;
use crate::base::limits::COLD_READ_BYTES;
use crate::base::trouble::Trouble;
use crate::channel::{BoxFuture, CommitError, Refusal, TakeError, TakeTransaction};
use crate::event::Event;
use crate::log::fate::Promise;
use crate::log::ready::Claim;
use crate::log::{Acknowledgement, Admission, Lent, Log, ReadJob};
use crate::record::body::AckBody;
use std::sync::Arc;
use std::time::Duration;

/// Lends events until they are acknowledged or handed back.
pub(super) struct FileTake {
    shared: Arc<Shared>,
    claims: Vec<Claim>,
    taken: usize,
}

/// One look at the channel.
enum Look {
    Events(Vec<Event>),
    Read(ReadJob),
    Later,
}

/// What an acknowledgement waits for.
enum Awaited {
    Frames(Vec<Promise>),
    Slot(Arc<crate::log::fate::Fate>),
}

impl FileTake {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, claims: Vec::new(), taken: 0 }
    }

    fn room(&self) -> Result<usize, TakeError> {
        let capacity = self.shared.options.transaction_capacity;
        match capacity - self.taken.min(capacity) {
            0 => Err(TakeError::TransactionFull { capacity }),
            room => Ok(room),
        }
    }

    fn look(&mut self, max: usize) -> Result<Look, TakeError> {
        if self.shared.is_closed() {
            return Err(TakeError::Closed);
        }
        let now = self.shared.now();
        loop {
            let lent = self.shared.with_log(|log| {
                let lent = log.lend(now, max);
                let ahead = log.wants_read_ahead(COLD_READ_BYTES);
                (lent, ahead)
            });
            let (lent, ahead) = lent.map_err(TakeError::Unreadable)?;
            if ahead {
                self.shared.give(Task::ReadAhead);
            }
            match lent {
                Lent::Claims(claims) => match self.keep(claims) {
                    events if events.is_empty() => {}
                    events => return Ok(Look::Events(events)),
                },
                Lent::Read(job) => return Ok(Look::Read(job)),
                Lent::Wait | Lent::Empty => return Ok(Look::Later),
            }
        }
    }

    /// The events of fresh claims. A claim that is no events although its checksum was right is
    /// set aside: the next one is delivered.
    fn keep(&mut self, claims: Vec<Claim>) -> Vec<Event> {
        let budget = self.shared.options.hot_window_bytes;
        let mut events = Vec::new();
        for claim in claims {
            let pinned = self.shared.pool.live_bytes();
            match claim.events(pinned > budget.saturating_mul(2), &mut events) {
                Ok(()) => {
                    self.taken += claim.count as usize;
                    self.claims.push(claim);
                }
                Err(refusal) => {
                    let (start, end, number) = (claim.start(), claim.end(), claim.block.number);
                    tracing::error!(
                        code = %codes::DAMAGE_SET_ASIDE,
                        channel = self.shared.name,
                        stripe = claim.block.stripe.0,
                        "block {number}, sequences {start} to {end}: {refusal}; set aside"
                    );
                    let note = self.shared.with_log(|log| log.claim_is_damaged(&claim));
                    if let Ok(Some((reservation, body))) = note {
                        reservation.fill(|out| {
                            body.encode(out);
                        });
                    }
                }
            }
        }
        events
    }

    /// Reserves and fills the acknowledgement, or says why not now.
    fn acknowledge(&mut self, body: &AckBody) -> Result<Result<Awaited, Admission>, CommitError> {
        let now = self.shared.now();
        let claims = &self.claims;
        let reserved = self.shared.with_open_log(|log| log.reserve_ack(now, body, claims));
        let reserved = match reserved {
            Ok(Some(Ok(reserved))) => reserved,
            Ok(Some(Err(admission))) => return Ok(Err(admission)),
            Ok(None) => return Err(CommitError::Refused(Refusal::Closed)),
            Err(trouble) => return Err(CommitError::Refused(Refusal::NoStripe(trouble))),
        };
        // From here on the log has the claims: committed, moved or in doubt, they are its own.
        self.claims.clear();
        Ok(Ok(match reserved {
            Acknowledgement::Slot(fate) => Awaited::Slot(fate),
            Acknowledgement::Frames(frames) => {
                let fill = |out: &mut [u8]| {
                    body.encode(out);
                };
                Awaited::Frames(frames.into_iter().map(|frame| frame.fill(fill)).collect())
            }
        }))
    }

    fn give_back(&mut self) {
        let claims = std::mem::take(&mut self.claims);
        if !claims.is_empty() {
            // A poisoned log lends nothing any more.
            let _ = self.shared.with_log(|log| log.give_back(claims));
        }
    }
}

fn refused(admission: Admission) -> CommitError {
    CommitError::Refused(match admission {
        Admission::NoStripe(trouble) | Admission::NoSpace(trouble) => Refusal::NoStripe(trouble),
        Admission::Busy
        | Admission::BehindAnother
        | Admission::Full { .. }
        | Admission::PositionTooLarge { .. } => {
            Refusal::NoSpace(Trouble::new("the log had no room in time; try again"))
        }
    })
}

impl TakeTransaction for FileTake {
    fn take(&mut self, max: usize) -> Result<Vec<Event>, TakeError> {
        let max = max.min(self.room()?);
        if max == 0 {
            return Ok(Vec::new());
        }
        let deadline = self.shared.now() + self.shared.options.keep_alive;
        let mut late = false;
        loop {
            let turn = self.shared.takers.turn();
            match self.look(max)? {
                Look::Events(events) => return Ok(events),
                Look::Read(job) => cold::read(&self.shared, job),
                Look::Later => match self.patience(deadline).checked_sub(self.shared.now()) {
                    Some(left) if !left.is_zero() => self.shared.takers.sleep(turn, Some(left)),
                    // Something may have come while this thread was kept from running.
                    _ if !late && self.shared.takers.turn() != turn => late = true,
                    _ => return self.nothing(),
                },
            }
        }
    }

    fn take_async(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Event>, TakeError>> {
        Box::pin(async move {
            let max = max.min(self.room()?);
            if max == 0 {
                return Ok(Vec::new());
            }
            let deadline = self.shared.now() + self.shared.options.keep_alive;
            loop {
                let turn = self.shared.takers.turn();
                let until = match self.look(max)? {
                    Look::Events(events) => return Ok(events),
                    // Only whoever may block reads: the pool asks for the same read again.
                    Look::Read(job) => {
                        let _ = self.shared.with_log(|log| log.leave_read(job));
                        self.shared.give(Task::ReadAhead);
                        // From now, not from the deadline: once that moment is over the future
                        // would find it over at every turn, ask again at once, and spin.
                        self.shared.now() + self.shared.options.write_timeout
                    }
                    Look::Later => {
                        let until = self.patience(deadline);
                        if self.shared.now() >= until {
                            return self.nothing();
                        }
                        until
                    }
                };
                let until = Some((until, &*self.shared.options.clock));
                changed(&self.shared.takers, turn, &self.shared.timer, until).await;
            }
        })
    }

    fn taken(&self) -> usize {
        self.taken
    }

    fn commit(mut self: Box<Self>) -> Result<(), CommitError> {
        if self.claims.is_empty() {
            return Ok(());
        }
        let body = Log::ack_body(&self.claims);
        let shared = Arc::clone(&self.shared);
        let deadline = shared.now() + shared.options.write_timeout;
        loop {
            let turn = shared.room.turn();
            match self.acknowledge(&body)? {
                Ok(Awaited::Frames(frames)) => {
                    for mut frame in frames {
                        shared.wait_for(&mut frame).map_err(CommitError::InDoubt)?;
                    }
                    return Ok(());
                }
                Ok(Awaited::Slot(fate)) => {
                    return shared.wait_for_slot(&fate).map_err(CommitError::InDoubt);
                }
                Err(admission) => match deadline.checked_sub(shared.now()) {
                    Some(left) if matches!(admission, Admission::Busy) && !left.is_zero() => {
                        shared.room.sleep(turn, Some(left));
                    }
                    _ => return Err(refused(admission)),
                },
            }
        }
    }

    fn commit_async(mut self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(async move {
            if self.claims.is_empty() {
                return Ok(());
            }
            let body = Log::ack_body(&self.claims);
            let shared = Arc::clone(&self.shared);
            let deadline = shared.now() + shared.options.write_timeout;
            loop {
                let turn = shared.room.turn();
                match self.acknowledge(&body)? {
                    Ok(Awaited::Frames(frames)) => {
                        for mut frame in frames {
                            shared.settled(&mut frame).await.map_err(CommitError::InDoubt)?;
                        }
                        return Ok(());
                    }
                    Ok(Awaited::Slot(fate)) => {
                        return shared.slot_settled(&fate).await.map_err(CommitError::InDoubt);
                    }
                    Err(Admission::Busy) if shared.now() < deadline => {
                        let until = Some((deadline, &*shared.options.clock));
                        changed(&shared.room, turn, &shared.timer, until).await;
                    }
                    Err(admission) => return Err(refused(admission)),
                }
            }
        })
    }

    fn rollback(mut self: Box<Self>) {
        self.give_back();
    }
}

impl FileTake {
    /// Until when to wait: `keep-alive` is for what is not there. An event that somebody is just
    /// reading back is there, and answering that none is would be wrong.
    fn patience(&self, deadline: Duration) -> Duration {
        match self.shared.log().is_ok_and(|log| log.is_reading()) {
            true => deadline + self.shared.options.write_timeout,
            false => deadline,
        }
    }

    /// Nothing came within `keep-alive`: because nothing is there, or because it cannot be read.
    fn nothing(&self) -> Result<Vec<Event>, TakeError> {
        let trouble = self.shared.with_log(|log| log.read_trouble());
        match trouble.map_err(TakeError::Unreadable)? {
            Some((trouble, _)) => Err(TakeError::Unreadable(trouble)),
            None => Ok(Vec::new()),
        }
    }
}

impl Drop for FileTake {
    fn drop(&mut self) {
        self.give_back();
    }
}
