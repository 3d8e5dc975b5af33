//! Newtypes for every id: a stripe's number cannot be passed for a segment's.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// Returns the next number. Ids are 64 bits wide and never wrap in practice; saturating keeps a damaged
            /// record from overflowing.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Number of an event within its stripe. Never reused.
    Sequence
);
number!(
    /// Number of a block within its stripe, counted over all epochs.
    BlockNumber
);
number!(
    /// Number of a segment within its stripe. A recycled file gets a new one.
    ///
    /// ```
    /// use millpond::SegmentId;
    ///
    /// assert_eq!(SegmentId(7).next(), SegmentId(8));
    /// assert_eq!(SegmentId(7).to_string(), "7");
    /// ```
    SegmentId
);
number!(
    /// Number of an epoch of a stripe: grows at each opening and after each failed write.
    EpochNumber
);
number!(
    /// Position of a block among the blocks of all stripes, given when its write starts.
    WriteOrder
);

/// Bits of an epoch's number that count within its era.
const ERA_BITS: u32 = 32;

impl EpochNumber {
    /// Returns its era. Every opening without some directory begins a new one: what the missing directory knows is of
    /// an earlier era.
    #[must_use]
    pub const fn era(self) -> u64 {
        self.0 >> ERA_BITS
    }

    /// Returns the last number of its era.
    #[must_use]
    pub const fn last_of_era(self) -> Self {
        Self(self.0 | ((1 << ERA_BITS) - 1))
    }

    /// Returns the first number of its era.
    #[must_use]
    pub const fn first_of_era(self) -> Self {
        Self(self.era() << ERA_BITS)
    }
}

/// Place of a stripe in the channel's member list, from 0.
///
/// ```
/// use millpond::{FileChannelOptions, StripeIndex};
///
/// let options = FileChannelOptions::new("/c1/checkpoint", ["/disk1/c1", "/disk2/c1"]);
/// let stripe = StripeIndex(1);
/// assert_eq!(options.data_dirs[stripe.at()].to_str(), Some("/disk2/c1"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StripeIndex(pub u16);

impl StripeIndex {
    /// Returns the index for vectors.
    #[must_use]
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for StripeIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Id of a reader group. `main` is 1; ids are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// The reader group that every channel has.
pub const MAIN_GROUP: GroupId = GroupId(1);

/// 128 random bits that name a channel or a member directory.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
