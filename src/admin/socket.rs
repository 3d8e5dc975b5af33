//! Listens.

use super::session::session;
use super::{SESSIONS_MAX, Served};
use crate::base::files;
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// Sessions that may wait to be accepted.
const BACKLOG: i32 = 16;
/// Pause when sessions cannot be accepted, for want of descriptors for example.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// The socket of a running agent; gone when dropped.
#[derive(Debug)]
pub struct Admin {
    path: PathBuf,
    listening: JoinHandle<()>,
}

impl Admin {
    /// Listens on `path`. What an agent left there that was killed is replaced.
    ///
    /// # Errors
    /// It cannot: another agent listens there, something that is no socket has the name, or the directory
    /// is not there.
    pub fn listen(path: &Path, served: Served) -> io::Result<Self> {
        let listener = bind(path)?;
        let listening = tokio::spawn(accept(listener, served));
        Ok(Self { path: path.to_owned(), listening })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.listening.abort();
        // It may be gone already; an agent that ends has nobody to tell.
        let _ = files::remove(&self.path);
    }
}

/// A socket that only its owner can connect to, from its first moment on: the mode that a socket has
/// before it gets its name is the one that the name gets.
fn bind(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(socket.into())
}

/// Removes a socket on which nobody listens any more.
fn remove_stale(path: &Path) -> io::Result<()> {
    match Blocking::connect(path) {
        Ok(_) => {
            let words = "another agent listens there; give each agent a path of its own";
            Err(io::Error::new(io::ErrorKind::AddrInUse, words))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Of a file that is no socket the answer is the same.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
            files::remove(path)
        }
        Err(error) => Err(error),
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.symlink_metadata().is_ok_and(|about| about.file_type().is_socket())
}

async fn accept(listener: UnixListener, served: Served) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
            accepted = listener.accept(), if sessions.len() < SESSIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    sessions.spawn(session(stream, served.clone()));
                }
                Err(error) => {
                    tracing::debug!("admin socket: cannot accept a session: {error}");
                    sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
}
