//! How many messages the broker may send before the next ones are asked for.
//!
//! A message that was sent counts as an attempt of delivery, and a broker gives up after some attempts. So none is
//! asked for that the channel has no room for.

/// Bytes of messages that wait in memory for their commit, as far as their sizes are known beforehand: those of the
/// largest recent one are assumed.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The messages that are asked for first, before any size is known.
const FIRST: u32 = 8;

/// Batches that are asked for at once: one is committed while the next one arrives.
const BATCHES: usize = 2;

/// Messages that have to be committed one by one after one that was too large, before more are asked for at once.
const CAREFUL: u32 = 32;

/// The credit of one source.
#[derive(Debug)]
pub(crate) struct Credit {
    batch: usize,
    /// How many may be asked for at once; grows while messages arrive.
    most: u32,
    /// Bytes of the largest recent message.
    largest: usize,
    /// Messages that are still asked for one by one.
    careful: u32,
}

impl Credit {
    pub(crate) fn new(batch: usize) -> Self {
        Self { batch: batch.max(1), most: FIRST, largest: 1, careful: 0 }
    }

    /// Returns how many messages may be on the way, with `room` for so many events in the channels.
    pub(crate) fn target(&self, room: u64) -> u32 {
        if self.careful > 0 {
            return u32::from(room > 0);
        }
        let by_bytes = (BYTES_MAX / self.largest.max(1)).max(1);
        let wanted = (self.batch * BATCHES).min(by_bytes);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX).min(self.most);
        u32::try_from(room).unwrap_or(u32::MAX).min(wanted)
    }

    /// Records a batch of `messages` that was committed; the largest one had `largest` bytes.
    pub(crate) fn committed(&mut self, messages: usize, largest: usize) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        self.careful = self.careful.saturating_sub(messages);
        self.most = self.most.saturating_mul(2);
        // A large one is forgotten slowly.
        self.largest = largest.max(self.largest - self.largest / 16);
    }

    /// Asks for messages one by one: one was too large, and the link with all that were on the way is gone.
    pub(crate) fn one_by_one(&mut self) {
        self.careful = CAREFUL;
        self.most = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_asked_for_than_fits() {
        let mut credit = Credit::new(100);
        assert_eq!((credit.target(1000), credit.target(3), credit.target(0)), (FIRST, 3, 0));
        for _ in 0..10 {
            credit.committed(100, 1000);
        }
        assert_eq!((credit.target(1000), credit.target(3), credit.target(0)), (200, 3, 0));
    }

    #[test]
    fn large_messages_lower_the_number_and_are_forgotten() {
        let mut credit = Credit::new(1000);
        for _ in 0..12 {
            credit.committed(1, 16 * 1024 * 1024);
        }
        assert_eq!(credit.target(u64::MAX), 4);
        for _ in 0..200 {
            credit.committed(1, 100);
        }
        assert!(credit.target(u64::MAX) > 1000);
    }

    #[test]
    fn after_one_that_was_too_large_they_come_one_by_one() {
        let mut credit = Credit::new(10);
        credit.one_by_one();
        for _ in 0..CAREFUL {
            assert_eq!((credit.target(9), credit.target(0)), (1, 0));
            credit.committed(1, 10);
        }
        assert!(credit.target(90) > 1);
    }
}
