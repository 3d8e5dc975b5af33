//! The only place that starts threads: each has a name and a handle that is joined.

use std::io;
use std::thread::JoinHandle;

/// Starts a thread called `name` (at most 15 bytes show in the system's tools).
///
/// # Errors
/// The operating system refused another thread.
pub fn spawn<F, T>(name: &str, run: F) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}
