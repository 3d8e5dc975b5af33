//! The striped log as a pure machine: no threads, no clock, no disk of its own.
//!
//! [`Log`] holds the stripes of a channel. It never blocks, reads no clock and calls nothing: it is given
//! the time, gives out [`WriteJob`]s and [`ReadJob`]s to be run outside the lock, and says in [`Wakeups`]
//! what to wake afterwards. `channel::file` drives it.
//!
//! Each part of a stripe that has rules of its own is a machine with private fields and tests of its own:
//! `stripe_phase` (whether the stripe can be written, with a table of transitions), `segment_space` (room in
//! segments), `read_window` with `tail_cache` (what can be lent), `source_offsets`. The other files are the
//! steps of [`Log`], in the order of the write path: `reservation`, `write_start`, `write_completion`,
//! `write_failure`, `resumption`; then `lease` for takes, `checkpoint_plan` for checkpoints, and `segment_supply` and
//! `stripe_report` for maintenance.
//!
//! # The write path
//!
//! 1. A put transaction collects and checks its events; a commit with a source offset takes its turn
//!    among the commits of its source (`channel/file/commit_order.rs`).
//! 2. Lock. [`Log::reserve_put`] checks the capacity, chooses the stripe with the earliest expected
//!    completion, and reserves header and payload of a frame in its open block. Unlock.
//! 3. [`Reservation::fill`](block::Reservation::fill) encodes straight into the block's memory and seals
//!    the frame; dropped, it voids the frame. The committer keeps a
//!    [`CommitTicket`](block_completion::CommitTicket).
//! 4. A blocking caller leads the group commit; a future wakes one that waits or hands the write to a
//!    pool thread (`channel/file/group_commit.rs`).
//! 5. Lock. The commit delay may hold the write for commits that are about to come
//!    (`channel/file/commit_delay.rs`); the thread that leads then sleeps without the lock and asks again.
//! 6. Otherwise [`Log::next_write`] starts an epoch or rolls to a fresh segment (a write of its own, begun when none of
//!    the stripe is in flight), or seals the open block and starts it: number, write order, segment and offset. Unlock.
//! 7. The channel floor runs the job (`channel/file/block_write.rs`): [`WriteJob::encode`] writes the block's header,
//!    and the state record of a new segment; late fillers are waited for; all of it is written once: direct and
//!    synchronous where the disk allows, else a write and a sync.
//! 8. Lock. [`Log::complete`] marks the write done and publishes every block that is complete without a
//!    gap: the watermark moves, effects enter the durable state, events the read window, tickets are
//!    resolved, passed segments are recycled. A leader whose own commit is still open starts the next write; another
//!    one picks a thread for it. Unlock.
//! 9. [`Log::take_wakeups`] names the committers, takers and maintenance to wake, after the
//!    thread that writes next.
//! 10. A write that failed or hangs ends the stripe's epoch once its frames are filled: the blocks that are not durable
//!     are removed from the stripe, which is suspended; its next epoch will start at the watermark + 1. A fence is
//!     written on another stripe, and the frames follow it there with their origin; they are copied without the lock
//!     ([`Wakeups::copy_frames`]). The only stripe goes on in a fresh
//!     segment; where nothing can be written, commits end in doubt. Maintenance brings the stripe back
//!     ([`Log::retry_suspended`]).
//!
//! # Invariants
//!
//! * A block's sequences are fixed when it opens; its number, place and write order when its write
//!   starts. `(epoch nonce, number, segment, offset)` is written with one content only.
//! * The durable state names only what lies at or below a watermark, transactions whole.
//! * A segment's first block is a state record, started only when nothing is in flight on the
//!   stripe; so only a stripe's last segment can be torn.
//! * The first block of an epoch is written alone.
//! * A reserved frame is never withdrawn: it becomes durable, void, moved or in doubt.

pub mod block;
pub mod block_completion;
mod block_queue;
mod checkpoint_plan;
mod frame_move;
mod interface;
pub mod lease;
mod lost_segment;
mod machine;
pub mod read_window;
pub mod readable_block;
mod reservation;
mod resumption;
mod segment_space;
mod segment_supply;
pub mod source_offsets;
mod source_progress;
mod stripe;
mod stripe_phase;
mod stripe_report;
mod tail_cache;
mod write_completion;
mod write_failure;
pub mod write_job;
mod write_start;

pub use checkpoint_plan::CheckpointPlan;
pub use frame_move::FrameMove;
pub use interface::{Acknowledgement, LogCounts, PendingWrite};
pub use lease::{LeaseOutcome, ReadJob, ReadOutcome};
pub use machine::{Log, LogLine, LogSettings, Wakeups};
pub use reservation::{PutShape, ReserveError};
pub use segment_space::{FreeSegment, LiveSegment};
pub use stripe::StripeStart;
pub use stripe_report::StripeReport;
pub use write_job::WriteJob;
