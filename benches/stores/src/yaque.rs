//! yaque: a sender and a receiver on one queue.

use crate::{Bytes, Deliver, Failure, Setup, Store, locked};
use ::yaque::{Receiver, ReceiverBuilder, Sender, TryRecvError, recovery};
use std::sync::Mutex;

pub(crate) struct Yaque {
    sender: Mutex<Sender>,
    receiver: Mutex<Receiver>,
}

impl Yaque {
    pub(crate) fn open(setup: &Setup) -> Result<Self, Failure> {
        let dir = setup.dir().join("queue");
        // A killed process leaves its lock files; the manual has these calls for them. The first takes a queue without
        // any segment for one at its very end.
        if dir.join("0.q").exists() {
            recovery::recover(&dir)?;
        } else if dir.exists() {
            recovery::unlock_queue(&dir)?;
        }
        let sender = Mutex::new(Sender::open(&dir)?);
        // It is saved after each take instead.
        let receiver = ReceiverBuilder::new().save_every_nth(None).save_every(None).open(&dir)?;
        Ok(Self { sender, receiver: Mutex::new(receiver) })
    }
}

impl Store for Yaque {
    fn put(&self, _: usize, bodies: &[Bytes]) -> Result<(), Failure> {
        locked(&self.sender).try_send_batch(bodies).map_err(|error| error.unwrap_io().into())
    }

    fn take(&self, _: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let mut receiver = locked(&self.receiver);
        let bodies = match receiver.try_recv_batch_up_to(most) {
            Ok(bodies) => bodies,
            Err(TryRecvError::QueueEmpty) => return Ok(0),
            Err(TryRecvError::Io(error)) => return Err(error.into()),
        };
        bodies.iter().for_each(|body| deliver(body));
        let taken = bodies.len();
        bodies.commit()?;
        receiver.save()?;
        Ok(taken)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
