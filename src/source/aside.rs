//! Large requests are understood on threads of their own: a runtime's thread that decodes megabytes serves nobody
//! else meanwhile.
//!
//! Limits: [`PARSE_ASIDE_BYTES`] for what is understood at once; as many at a time as the process's limits have
//! [permits](ClientLimits) for.

use crate::base::limits::PARSE_ASIDE_BYTES;
use crate::flow::client_limits::ClientLimits;
use std::io;
use std::sync::Arc;

/// Does `work` over a request of `bytes` bytes, when it is its turn where these are many.
///
/// # Errors
/// It panicked, or the process ends.
pub(crate) async fn aside<T: Send + 'static>(
    limits: &ClientLimits,
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    if bytes < PARSE_ASIDE_BYTES {
        return Ok(work());
    }
    let turn = Arc::clone(&limits.parsers).acquire_owned().await.map_err(io::Error::other)?;
    let worked = tokio::task::spawn_blocking(move || {
        let made = work();
        drop(turn);
        made
    });
    worked.await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::current;

    #[tokio::test]
    async fn a_large_request_is_understood_on_another_thread_and_a_small_one_at_once() {
        let limits = ClientLimits::for_tests();
        let here = current().id();
        for (bytes, is_here) in [(PARSE_ASIDE_BYTES - 1, true), (PARSE_ASIDE_BYTES, false)] {
            let there = aside(&limits, bytes, || current().id()).await.unwrap();
            assert_eq!(there == here, is_here, "{bytes}");
        }
        let broken = aside(&limits, PARSE_ASIDE_BYTES, || panic!("a defect")).await;
        let _: io::Error = broken.map(|(): ()| ()).unwrap_err();
        let free = limits.parsers.available_permits();
        assert_eq!(free, ClientLimits::for_tests().parsers.available_permits(), "given back");
    }
}
