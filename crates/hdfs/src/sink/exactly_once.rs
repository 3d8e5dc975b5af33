//! `hdfs.exactlyOnce`: an event is written to a file only once it is known that no other file has it.
//!
//! Before a batch is written to a file, the ledger gets durably which events it has, by their places in the channel, and
//! the lengths of the file without and with it. After a crash, or when a file breaks, the file is closed ([`recovery`])
//! and its length says whether it has the batch. If so, its events are delivered: when the channel hands them out again,
//! in whatever batch and for whatever path, they are left out. If not, a part of the batch is cut off. Until that is
//! known, deliveries of these events wait.
//!
//! The ledger forgets delivered events when the channel has acknowledged them. No other sink may take from the channel: it
//! would not know what this one has delivered.
//!
//! [`recovery`]: super::recovery

use super::HdfsSink;
use millpond::Event;
use millpond_flow::event_set::EventPlace;
use millpond_flow::sink::{BatchPlace, Failure, SinkContext};

/// Tries of a batch, each after a file broke.
const TRIES_MAX: usize = 3;

impl HdfsSink {
    /// Delivers the events of `batch` that are not delivered yet.
    pub(super) async fn write_once(
        &mut self,
        context: &SinkContext,
        batch: &[Event],
    ) -> Result<(), Failure> {
        let (place, channel, places) = placed(self.place.take(), batch.len())?;
        let Some(running) = &self.running else { return Err(Failure::new("it is not started")) };
        let (ledger, limit) = (running.closing.ledger.clone(), self.settings.call_timeout);
        ledger.forget_acknowledged(channel, |ranges| place.channel.unacknowledged(ranges));
        let mut tried = 0;
        loop {
            if let Some((file, on)) = ledger.until_settled(channel, &places, limit).await {
                let on = if on.is_empty() { "the default file system" } else { &on };
                return Err(Failure::new(format!(
                    "events may be in {file} on {on}, which is not closed and looked at yet: they wait (hdfs.exactlyOnce); the log has the reason, unless hdfs.path was on another file system before"
                )));
            }
            let is_open = |place: &EventPlace| !ledger.is_delivered(channel, *place);
            let open = batch.iter().zip(&places).filter(|(_, place)| is_open(place));
            let (events, open): (Vec<Event>, Vec<EventPlace>) =
                open.map(|(event, place)| (event.clone(), *place)).unzip();
            if events.is_empty() {
                return Ok(());
            }
            let written = self.write_all(context, &events, Some((channel, &open))).await;
            tried += 1;
            match written {
                Ok(()) => return Ok(()),
                Err(failure) => {
                    // A file that broke has some of them, or not: that comes first.
                    let nothing = std::time::Duration::ZERO;
                    let in_doubt = ledger.until_settled(channel, &open, nothing).await;
                    if in_doubt.is_none() || tried >= TRIES_MAX {
                        return Err(failure);
                    }
                    tracing::warn!(
                        sink = context.name,
                        "{failure}; what the file has is found out, and the rest is written to another one"
                    );
                }
            }
        }
    }
}

/// Returns the channel and the place of each of the `count` events of a batch.
fn placed(
    place: Option<BatchPlace>,
    count: usize,
) -> Result<(BatchPlace, u128, Vec<EventPlace>), Failure> {
    let unplaced = || {
        Failure::new(
            "hdfs.exactlyOnce needs a channel of type file, and this one does not say where its events are",
        )
    };
    let place = place.ok_or_else(unplaced)?;
    let (channel, places) = place.events(count).ok_or_else(unplaced)?;
    Ok((place, channel, places))
}
