//! The protocol of external processes, and character sets: bytes to values and back.

pub mod charset;
pub mod external;
