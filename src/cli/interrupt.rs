//! Ctrl-C and SIGTERM for commands that clean up before they end. A second one ends them at once: a disk
//! that hangs would keep them for ever.

use super::words::{Stop, say};
use crate::agent::SAME_STOP;
use crate::agent::stop::Signals;
use crate::base::clock::{Clock, SystemClock};
use crate::base::threads;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the last words may take: who reads stderr may have stopped.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What a shell answers for a command that Ctrl-C ended.
const ENDED_AT_ONCE: i32 = 130;

/// Whether SIGINT or SIGTERM has come. The signals no longer end the process by themselves: the first is
/// a wish, a second one more than [`SAME_STOP`] later ends it with the code 130.
pub(super) struct Interrupt {
    pub(super) came: Arc<AtomicBool>,
    // Listens as long as it is there.
    _runtime: tokio::runtime::Runtime,
}

/// What keeps it from listening is no fault of what the command works on.
fn cannot(error: impl std::fmt::Display) -> Stop {
    Stop::Usage(error.to_string())
}

impl Interrupt {
    pub(super) fn listen() -> Result<Self, Stop> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(cannot)?;
        let came = Arc::new(AtomicBool::new(false));
        let mut signals = {
            let _inside = runtime.enter();
            Signals::new().map_err(cannot)?
        };
        let tell = Arc::clone(&came);
        runtime.spawn(async move {
            signals.next().await;
            tell.store(true, Ordering::SeqCst);
            let name = signals.next_after(SAME_STOP).await;
            end_at_once(name);
        });
        Ok(Self { came, _runtime: runtime })
    }
}

/// Nothing is cleaned up, and nothing waited for: not even for whoever holds stdout or stderr.
#[allow(clippy::disallowed_methods)] // the thread that would return to `main` is the one that hangs
fn end_at_once(name: &str) {
    let words =
        format!("{name} again: ended at once; what was made on the disks may have stayed there");
    let said = threads::spawn("last-words", move || say(&words));
    let until = SystemClock::new();
    while said.as_ref().is_ok_and(|said| !said.is_finished()) && until.now() < LAST_WORDS {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::exit(ENDED_AT_ONCE)
}
