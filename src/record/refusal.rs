//! Why bytes are not what they should be.

/// Why a decoder refused bytes. Where they lie (stripe, segment, offset) is known to the caller,
/// who read them, and belongs into its own error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing was ever written here: the header is all zeroes.
    #[error("nothing was written here, only zeroes")]
    Empty,
    /// The bytes do not begin as this structure does.
    #[error("not a structure of this kind: wrong magic number")]
    Magic,
    /// A later version of the format; nothing is wrong with the bytes.
    #[error(
        "written in format version {found}, this program knows up to {newest}; use a newer one"
    )]
    Version {
        /// The version that was found.
        found: u32,
        /// The latest one this program reads.
        newest: u32,
    },
    /// The checksum does not fit: torn, damaged, or written for another place.
    #[error("the checksum does not match")]
    Checksum,
    /// The bytes end before the structure does, or go on behind its end.
    #[error("shorter or longer than it says")]
    Length,
    /// A length or count is beyond its limit.
    #[error("a length or count is beyond its limit")]
    Bounds,
    /// A name or value is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A field has a value that is never written.
    #[error("the field \"{0}\" has a value that is never written")]
    Field(&'static str),
}

impl Refusal {
    /// A version that is none of those up to `newest`.
    pub(super) fn version(found: u32, newest: u32) -> Self {
        if found > newest { Self::Version { found, newest } } else { Self::Field("version") }
    }
}
