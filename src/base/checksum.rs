//! CRC-32 (IEEE), salted with the place of the bytes, so that stale or misplaced bytes never pass.

use crc32fast::Hasher;

/// Start value of a checksum: the CRC of the place the bytes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(u32);

impl Salt {
    /// Salt of bytes that belong to `place`, any bytes that name it uniquely.
    #[must_use]
    pub fn of(place: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(place);
        Self(hasher.finalize())
    }

    /// Returns the checksum of the concatenated `parts` at this place.
    #[must_use]
    pub fn checksum(self, parts: &[&[u8]]) -> u32 {
        let mut hasher = Hasher::new_with_initial(self.0);
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    }
}
