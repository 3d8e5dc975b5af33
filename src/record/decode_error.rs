//! Errors of decoders.

/// Why a decoder refused bytes. Their place (stripe, segment, offset) is known to the caller and belongs in its own
/// error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Nothing was ever written here: the header is all zeroes.
    #[error("nothing was written here, only zeroes")]
    Empty,
    /// The bytes do not begin as this structure does.
    #[error("not a structure of this kind: wrong magic number")]
    Magic,
    /// A later version of the format; the bytes are not damaged.
    #[error(
        "written in format version {found}, this program knows up to {newest}; use a newer one"
    )]
    Version {
        /// The version found.
        found: u32,
        /// The latest one this program reads.
        newest: u32,
    },
    /// The checksum does not match: torn, damaged, or written for another place.
    #[error("the checksum does not match")]
    Checksum,
    /// The bytes end before the structure does, or continue after its end.
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

impl DecodeError {
    /// Returns the error for a version above `newest`.
    pub(super) fn version(found: u32, newest: u32) -> Self {
        if found > newest { Self::Version { found, newest } } else { Self::Field("version") }
    }
}
