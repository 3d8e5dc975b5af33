//! TLS handshakes leave processors for everything else.
//!
//! Limits: half of the processors, one at least, compute handshakes at the same moment; whose turn it is goes by order
//! of asking.
//!
//! A server signs in each handshake, for about a millisecond with a key of RSA, on the threads that also serve sources
//! and sinks: some thousand strangers a second who say hello would keep all of them. A handshake that waits for its
//! peer has no turn, so peers that say nothing more keep nobody out. How long one may take in all is the caller's to
//! bound.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::Poll;
use tokio::sync::Semaphore;

static TURNS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(turns()));

fn turns() -> usize {
    std::thread::available_parallelism().map_or(1, |number| (number.get() / 2).max(1))
}

/// Polls `work` in its turns only.
pub(super) async fn paced<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    loop {
        // The semaphore is never closed; were it, handshakes would go on without turns.
        let turn = TURNS.acquire().await;
        let polled = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        drop(turn);
        if let Poll::Ready(output) = polled {
            return output;
        }
        until_woken().await;
    }
}

/// Waits until the task is polled again: what `work` waits for wakes it.
async fn until_woken() {
    let mut is_polled_again = false;
    poll_fn(|_| match std::mem::replace(&mut is_polled_again, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::task::JoinSet;

    #[tokio::test(flavor = "multi_thread", worker_threads = 8)]
    async fn no_more_handshakes_compute_than_have_turns_and_those_that_wait_have_none() {
        static COMPUTING: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let mut silent = JoinSet::new();
        for _ in 0..100 {
            silent.spawn(paced(std::future::pending::<()>()));
        }
        let mut busy = JoinSet::new();
        for _ in 0..40 {
            busy.spawn(paced(async {
                for _ in 0..3 {
                    MOST.fetch_max(COMPUTING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(1));
                    COMPUTING.fetch_sub(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }));
        }
        let all = tokio::time::timeout(Duration::from_secs(60), busy.join_all()).await;
        assert_eq!(all.expect("nobody waits for the silent ones").len(), 40);
        assert!((1..=turns()).contains(&MOST.load(Ordering::SeqCst)));
    }
}
