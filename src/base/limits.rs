//! Every limit of the engine: a name, a unit, a reason.

/// Bytes of a device block. Blocks of the log begin and end at multiples of it: direct I/O asks
/// for 512 or 4096, and the physical block of current disks is 4096; a smaller unit would rewrite
/// the physical sector that holds acknowledged bytes.
pub const DEVICE_BLOCK_BYTES: usize = 4096;

/// Bytes a shared block may hold, header included. Four of these in flight keep a fast disk busy;
/// larger ones only lengthen the wait of the first frame.
pub const BLOCK_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that must have gathered before another write is started while one is in flight. Below it, waiting for the
/// running write gathers more frames in one block and costs less.
pub const EARLY_WRITE_BYTES: usize = 64 * 1024;

/// Size below which a write waits briefly for the clients whose commits have just returned. A larger one carries
/// enough, and gets slower with more.
pub const GATHERING_BYTES_MAX: usize = EARLY_WRITE_BYTES / 2;

/// Writes in flight on one stripe when the storage makes each durable by itself.
pub const WRITES_IN_FLIGHT_MAX: usize = 4;

/// Bytes per second that any disk is assumed to write: a large write has that much more time before it counts as hung.
/// A transaction may have a gibibyte, for which disks shared with other users have taken minutes.
pub const WRITE_BYTES_PER_SECOND_MIN: u64 = 1024 * 1024;

/// Bytes of one slab of block memory. Blocks are cut from slabs in sequence.
pub const SLAB_BYTES: usize = 4 * 1024 * 1024;

/// Default bytes of a segment. Large enough that rolls are rare, small enough that space returns
/// soon after the events are acknowledged and that a scan without a checkpoint stays short.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// Bytes of the first segments of a new stripe. The first is filled while the caller of the opening waits, a few
/// milliseconds on a fast disk; later ones grow with the use of the stripe.
pub const FIRST_SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Fewest bytes of zeroes that are written at a time into a segment that is not in use yet: smaller writes
/// cost the disk more time for each byte.
pub const FILL_PIECE_BYTES_MIN: u64 = 256 * 1024;

/// Most bytes of zeroes that are written at a time. A concurrent commit may have to wait for all of them, about 1 ms on
/// a fast disk; more, smaller writes would make more commits wait.
pub const FILL_PIECE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// Smallest segment: two header blocks, a state record and one block of events.
pub const SEGMENT_BYTES_MIN: u64 = 16 * 1024;

/// Bytes of one checkpoint slot, and so of the largest state record.
pub const STATE_BYTES_MAX: usize = 256 * 1024;

/// Ranges of acknowledged or void sequences beyond the frontiers, all stripes together: what a state record has room
/// for in addition to everything else. Each stripe has an equal share.
pub const RANGES_MAX: usize = 8192;

/// Ranges before the next event to be lent, plus leases that may each leave one, on a stripe. At this number nothing is
/// lent beyond the last until one closes. Void ranges after the next event do not count: only lending and acknowledging
/// removes them.
pub const HOLES_PER_STRIPE_MAX: usize = 256;

/// Directories of one channel.
pub const STRIPES_MAX: usize = 32;

/// Bytes of all source offsets together; they are part of every state record.
pub const SOURCE_OFFSET_BYTES_MAX: usize = 96 * 1024;

/// How long the set of existing sources must be unchanged before a channel forgets the offsets of all others. A source
/// that is removed from a configuration and added back within a day continues where it was, and so does one that a
/// wrong configuration left out.
pub const SOURCE_OFFSET_RETENTION: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// Bytes of one event's headers and body together, unless the channel's limit is lower.
pub const EVENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Default of `transactionBytesMax`: bytes of one put transaction.
pub const TRANSACTION_BYTES_MAX_DEFAULT: usize = 64 * 1024 * 1024;

/// Headers of one event.
pub const HEADERS_MAX: usize = 65_535;

/// Default bytes of the hot window: block memory kept for takers that keep up.
pub const HOT_WINDOW_BYTES_DEFAULT: usize = 48 * 1024 * 1024;

/// Bytes of one read of events that are not in memory.
pub const COLD_READ_BYTES: usize = 1024 * 1024;

/// Bytes of damaged blocks that are copied to quarantine per stripe; further ones are only reported.
pub const QUARANTINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

// Limits that depend on each other.
const _: () = assert!(BLOCK_BYTES_MAX.is_multiple_of(DEVICE_BLOCK_BYTES));
const _: () = assert!(SLAB_BYTES >= 2 * BLOCK_BYTES_MAX);
const _: () = assert!(SOURCE_OFFSET_BYTES_MAX * 2 <= STATE_BYTES_MAX);
const _: () = assert!(RANGES_MAX * 16 <= STATE_BYTES_MAX / 2);
const _: () = assert!(RANGES_MAX / STRIPES_MAX >= HOLES_PER_STRIPE_MAX);
