//! Large requests are parsed on separate threads: a runtime thread that decodes megabytes would block other clients.
//!
//! Limits: [`PARSE_ASIDE_BYTES`] is the size from which a request gets a thread; at most as many run at once as the
//! process's limits have [permits](ClientLimits) for.

use millpond_flow::base::limits::PARSE_ASIDE_BYTES;
use millpond_flow::client_limits::ClientLimits;
use std::io;
use std::sync::Arc;

/// Runs `work` over a request of `bytes` bytes; a large one waits for a permit and runs on a separate thread.
///
/// # Errors
/// It panicked, or the process is ending.
pub(crate) async fn parse_on_thread<T: Send + 'static>(
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
    async fn a_large_request_is_parsed_on_another_thread_and_a_small_one_inline() {
        let limits = ClientLimits::for_tests();
        let here = current().id();
        for (bytes, is_here) in [(PARSE_ASIDE_BYTES - 1, true), (PARSE_ASIDE_BYTES, false)] {
            let there = parse_on_thread(&limits, bytes, || current().id()).await.unwrap();
            assert_eq!(there == here, is_here, "{bytes}");
        }
        let broken = parse_on_thread(&limits, PARSE_ASIDE_BYTES, || panic!("a defect")).await;
        let _: io::Error = broken.map(|(): ()| ()).unwrap_err();
        let free = limits.parsers.available_permits();
        assert_eq!(free, ClientLimits::for_tests().parsers.available_permits(), "given back");
    }
}
