//! yaque: a sender and a receiver on one queue.

use super::{Deliver, Failure, Store};
use ::yaque::{Receiver, ReceiverBuilder, Sender, TryRecvError, recovery};
use std::path::Path;

pub(super) struct Yaque {
    sender: Sender,
    receiver: Receiver,
}

impl Yaque {
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let dir = dir.join("queue");
        // A killed process leaves its lock files; the manual has these calls for them. The first
        // takes a queue without any segment for one at its very end.
        if dir.join("0.q").exists() {
            recovery::recover(&dir)?;
        } else if dir.exists() {
            recovery::unlock_queue(&dir)?;
        }
        let sender = Sender::open(&dir)?;
        // It is saved after each take instead.
        let receiver = ReceiverBuilder::new().save_every_nth(None).save_every(None).open(&dir)?;
        Ok(Self { sender, receiver })
    }
}

impl Store for Yaque {
    fn put(&mut self, bodies: &[Vec<u8>]) -> Result<(), Failure> {
        self.sender.try_send_batch(bodies).map_err(|error| error.unwrap_io().into())
    }

    fn take(&mut self, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let bodies = match self.receiver.try_recv_batch_up_to(most) {
            Ok(bodies) => bodies,
            Err(TryRecvError::QueueEmpty) => return Ok(0),
            Err(TryRecvError::Io(error)) => return Err(error.into()),
        };
        deliver(&bodies);
        let taken = bodies.len();
        bodies.commit()?;
        self.receiver.save()?;
        Ok(taken)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
