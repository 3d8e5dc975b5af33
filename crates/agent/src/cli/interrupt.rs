//! Ctrl-C and SIGTERM for commands that clean up before they end. A second signal ends them at
//! once: a disk that hangs would block them for ever.

use super::exit::{CommandError, say};
use crate::agent::SAME_STOP;
use crate::agent::stop::StopSignals;
use millpond::internal::base::threads;
use millpond::{Clock, SystemClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the last message may take: the reader of stderr may have stopped.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The exit code of a command that Ctrl-C ended, as in shells.
const ENDED_AT_ONCE: i32 = 130;

/// Whether SIGINT or SIGTERM has come. The signals no longer end the process by themselves: the
/// first is a request, a second one more than [`SAME_STOP`] later ends it with the code 130.
pub(super) struct Interrupt {
    pub(super) came: Arc<AtomicBool>,
    // Listens as long as it exists.
    _runtime: tokio::runtime::Runtime,
}

/// A failure to listen is not a fault of what the command works on.
fn cannot(error: impl std::fmt::Display) -> CommandError {
    CommandError::Usage(error.to_string())
}

impl Interrupt {
    pub(super) fn listen() -> Result<Self, CommandError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(cannot)?;
        let came = Arc::new(AtomicBool::new(false));
        let mut signals = {
            let _inside = runtime.enter();
            StopSignals::new().map_err(cannot)?
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

/// Nothing is cleaned up, and nothing waited for: not even a lock on stdout or stderr.
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
