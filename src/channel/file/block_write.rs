//! Runs the log's write jobs: what is left to encode, the wait for late fillers, one write.

use crate::disk::Submitted;
use crate::log::WriteJob;
use std::io;

/// Checks for late fillers before the thread yields: they only copy and checksum, which takes microseconds unless they
/// were preempted, and then spinning would keep the processor from them.
const SPINS: u32 = 64;

/// Submits the write.
pub(super) fn submit(job: &mut WriteJob) -> Submitted {
    job.encode();
    let mut checks = 0u32;
    let bytes = loop {
        if let Some(bytes) = job.bytes() {
            break bytes;
        }
        checks += 1;
        if checks > SPINS {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    };
    job.file.submit(job.offset, bytes)
}

/// Submits the write and waits until it ends.
///
/// # Errors
/// The write failed; which part of it is durable is unknown.
pub(super) fn run(job: &mut WriteJob) -> io::Result<()> {
    match submit(job) {
        Submitted::Done(result) => result,
        Submitted::Pending(token) => job.file.finish(token),
    }
}
