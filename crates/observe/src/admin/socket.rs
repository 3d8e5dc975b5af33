//! Listens on the admin socket and accepts sessions.

use super::protocol::{AdminReply, line};
use super::session::session;
use super::{AdminState, SESSIONS_MAX};
use millpond_flow::base::files;
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io::{self, Write};
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// Sessions that may wait to be accepted.
const BACKLOG: i32 = 16;
/// Pause when sessions cannot be accepted, for example because descriptors ran out.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// The socket of a running agent; removed on drop.
#[derive(Debug)]
pub struct Admin {
    path: PathBuf,
    listening: JoinHandle<()>,
}

impl Admin {
    /// Listens on `path`, whose directory is created if it is missing. A socket left by a killed agent is replaced.
    ///
    /// # Errors
    /// Another agent listens there, the path is not a socket, or its directory cannot be created.
    pub fn listen(path: &Path, served: AdminState) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            files::create_directory(directory)?;
        }
        let listener = bind(path)?;
        let listening = tokio::spawn(accept(listener, served));
        Ok(Self { path: path.to_owned(), listening })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.listening.abort();
        // It may be removed already; an agent that ends has no use for the error.
        let _ = files::remove(&self.path);
    }
}

/// Creates a socket that only its owner can connect to, from its creation on: it gets its mode
/// before it gets its name.
fn bind(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(socket.into())
}

/// Removes a socket on which nothing listens any more.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |words: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, words));
    match connect(path) {
        Ok(_) => in_use("another agent listens there; give each agent a path of its own"),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => in_use(
            "another agent listens there and does not respond; end it, or give each agent a path of its own",
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A file that is not a socket gives this error too.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
            files::remove(path)
        }
        Err(error) => Err(error),
    }
}

/// Connects to the socket `path` without waiting: if the backlog is full because the listener does
/// not accept, the error is of the kind `WouldBlock`.
pub(super) fn connect(path: &Path) -> io::Result<Blocking> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = Blocking::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.symlink_metadata().is_ok_and(|about| about.file_type().is_socket())
}

async fn accept(listener: UnixListener, served: AdminState) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Sessions that have just ended leave room.
                    while sessions.try_join_next().is_some() {}
                    if sessions.len() < SESSIONS_MAX {
                        sessions.spawn(session(stream, served.clone()));
                    } else {
                        refuse(stream);
                    }
                }
                Err(error) => {
                    tracing::debug!("admin socket: cannot accept a session: {error}");
                    sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
}

/// Replies that there is no room for another session.
fn refuse(stream: UnixStream) {
    let words = format!("{SESSIONS_MAX} sessions are open, which is the limit; end one of them");
    // A new socket has room for one line, so this does not wait.
    let said =
        stream.into_std().and_then(|mut new| new.write_all(&line(&AdminReply::Refused(words))));
    if let Err(error) = said {
        tracing::debug!(
            "admin socket: a session is refused, and the refusal cannot be sent: {error}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AdminClient, AdminClientError, TapRequest};
    use super::*;
    use std::sync::Arc;
    use tokio::task::spawn_blocking;

    fn wanted() -> TapRequest {
        TapRequest {
            component: "k1".to_owned(),
            events_per_second: 1,
            bytes_per_second: 1,
            body_bytes: 1,
        }
    }

    #[test]
    fn a_listener_that_does_not_reply_blocks_no_other_agent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
        let deaf = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&deaf, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&deaf, 0).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = connect(&path) {
            waiting.push(stream);
            assert!(waiting.len() < 100, "they are not bounded");
        }
        let error = remove_stale(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("does not respond"), "{error}");
        let error = AdminClient::tap(&path, &wanted()).unwrap_err().to_string();
        assert!(error.contains("does not respond"), "{error}");
        assert!(is_socket(&path), "it stays");
    }

    #[tokio::test]
    async fn a_missing_directory_of_the_socket_is_created() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/agents/s");
        let served = AdminState { agent: "a".to_owned(), taps: Arc::default() };
        let _admin = Admin::listen(&path, served).unwrap();
        assert!(UnixStream::connect(&path).await.is_ok());
    }

    #[tokio::test]
    async fn a_session_beyond_the_limit_is_refused_with_a_message() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let served = AdminState { agent: "a".to_owned(), taps: Arc::default() };
        let _admin = Admin::listen(&path, served).unwrap();
        let mut open = Vec::new();
        for _ in 0..SESSIONS_MAX {
            open.push(UnixStream::connect(&path).await.unwrap());
        }
        let error =
            spawn_blocking(move || AdminClient::tap(&path, &wanted())).await.unwrap().unwrap_err();
        assert!(
            matches!(&error, AdminClientError::Refused(why) if why.contains("16 sessions")),
            "{error}"
        );
    }
}
