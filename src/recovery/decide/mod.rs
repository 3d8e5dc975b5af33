//! Deciding: what the data read means. Pure, without the disk.
//!
//! [`plan`] decides which directories make up the channel, and whether it is new. [`decision`]
//! decides on the logs: which blocks belong to them ([`epochs`]), what each place means
//! ([`decision_table`]), which events an opening without a directory adopts ([`adoption`]). The
//! result is a [`verdict`]. Segments that need more than the table have files of their own:
//! without a header, missing, in another directory than theirs, or back after they were given up.
//! [`numbers`] are those from which the channel goes on.

pub(super) mod adoption;
pub(super) mod decision;
pub mod decision_table;
pub(super) mod epochs;
pub(super) mod headerless_segments;
pub(super) mod misplaced_segments;
pub(super) mod missing_segments;
pub(super) mod numbers;
pub(super) mod plan;
pub mod returned_segments;
pub(super) mod verdict;
