//! Where events of a durable channel are.

use crate::base::ids::StripeIndex;

/// Consecutive events of one stripe of a durable channel. Together with [`Channel::identity`](super::Channel::identity)
/// it names them for ever: an event that is not acknowledged keeps its sequence when the channel is opened again, and no
/// sequence is used for another event.
///
/// ```
/// use millpond::{Channel, Event, EventRange, FileChannel, FileChannelOptions, StripeIndex};
///
/// # let dir = tempfile::tempdir()?;
/// # let mut options = FileChannelOptions::new(dir.path().join("checkpoint"), [dir.path().join("data")]);
/// # options.segment_bytes = 1 << 20;
/// # options.minimum_required_space = 1 << 20;
/// let channel = FileChannel::open(options)?;
/// let mut put = channel.begin_put();
/// put.put_all(&mut ["a", "b", "c"].map(Event::new).into_iter())?;
/// put.commit()?;
///
/// let mut take = channel.begin_take();
/// take.take(2)?;
/// let ranges = take.ranges().expect("a file channel is durable");
/// assert_eq!(ranges, [EventRange { stripe: StripeIndex(0), start: 0, end: 2 }]);
/// assert_eq!(channel.unacknowledged(&ranges), Some(ranges.clone()));
/// take.commit()?;
/// assert_eq!(channel.unacknowledged(&ranges), Some(vec![]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventRange {
    /// The stripe.
    pub stripe: StripeIndex,
    /// The sequence of the first event.
    pub start: u64,
    /// The sequence after the last event.
    pub end: u64,
}
