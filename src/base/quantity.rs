//! Quantities for messages.

use std::fmt;

/// A number and a noun, with an `s` unless the number is one.
///
/// ```
/// use millpond::internal::base::quantity::Quantity;
/// assert_eq!(Quantity(1, "event").to_string(), "1 event");
/// assert_eq!(Quantity(0, "event").to_string(), "0 events");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Quantity<'a>(pub u64, pub &'a str);

impl Quantity<'_> {
    /// Returns the verb that follows, `was` or `were`.
    #[must_use]
    pub fn was(&self) -> &'static str {
        if self.0 == 1 { "was" } else { "were" }
    }

    /// Returns the quantity with that verb: `1 event was`, `2 events were`.
    #[must_use]
    pub fn with_was(&self) -> String {
        format!("{self} {}", self.was())
    }
}

impl fmt::Display for Quantity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, noun) = self;
        write!(f, "{number} {noun}{}", if *number == 1 { "" } else { "s" })
    }
}

/// Bytes in the largest unit that leaves two digits, rounded down.
///
/// ```
/// use millpond::internal::base::quantity::BinaryBytes;
/// assert_eq!(BinaryBytes(154_140_672).to_string(), "147 MiB");
/// assert_eq!(BinaryBytes(1 << 30).to_string(), "1024 MiB");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BinaryBytes(pub u64);

impl fmt::Display for BinaryBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
        let (mut part, mut at) = (self.0, 0);
        while part >= 10_240 && at + 1 < UNITS.len() {
            part /= 1024;
            at += 1;
        }
        write!(f, "{part} {}", UNITS[at])
    }
}
