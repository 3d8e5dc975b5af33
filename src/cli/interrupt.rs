//! Ctrl-C and SIGTERM for commands that clean up before they end.

use super::words::Stop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// Whether SIGINT or SIGTERM has come. The signals no longer end the process by themselves.
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
        let (mut int, mut term) = {
            let _inside = runtime.enter();
            let int = signal(SignalKind::interrupt()).map_err(cannot)?;
            (int, signal(SignalKind::terminate()).map_err(cannot)?)
        };
        let tell = Arc::clone(&came);
        runtime.spawn(async move {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
            tell.store(true, Ordering::SeqCst);
        });
        Ok(Self { came, _runtime: runtime })
    }
}
