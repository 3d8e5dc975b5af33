//! Limits the processors that TLS handshakes use.
//!
//! Limits: at most half of the processors, and at least one, compute handshakes at the same time, in FIFO order.
//!
//! A server signs in each handshake, for about a millisecond with an RSA key, on the threads that also serve
//! sources and sinks: some thousand new connections a second would use all of them. A handshake that waits for
//! its peer holds no permit, so silent peers block no other peer. The caller limits the total time of a handshake.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::Poll;
use tokio::sync::Semaphore;

static TURNS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(turns()));

fn turns() -> usize {
    std::thread::available_parallelism().map_or(1, |number| (number.get() / 2).max(1))
}

/// Polls `work` only while holding a permit.
pub(super) async fn paced<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    loop {
        // The semaphore is never closed; if it were, handshakes would go on without permits.
        let turn = TURNS.acquire().await;
        let polled = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        drop(turn);
        if let Poll::Ready(output) = polled {
            return output;
        }
        until_woken().await;
    }
}

/// Waits until the task is polled again; it is woken by what `work` waits for.
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
    async fn handshakes_compute_only_with_a_permit_and_hold_none_while_waiting() {
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
        assert_eq!(all.expect("silent peers delay no other").len(), 40);
        assert!((1..=turns()).contains(&MOST.load(Ordering::SeqCst)));
    }
}
