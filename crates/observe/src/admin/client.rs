//! The client side of the admin socket.

use super::protocol::{AdminReply, AdminRequest, TapRequest, line};
use super::socket::connect;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an agent may take to begin its reply.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How long [`AdminClient::hear`] waits for a line before it returns `None`.
const GLANCE: Duration = Duration::from_millis(200);
/// Longest line in bytes: a body and headers with their escapes.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminClientError {
    /// Nothing listens on the socket, or access is denied.
    #[error("{}: cannot connect: {cause}{}", path.display(), advice(cause))]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// The agent refused the request.
    #[error("{0}")]
    Refused(String),
    /// The connection failed.
    #[error("the agent is gone, or does not reply: {0}")]
    Broken(#[from] io::Error),
    /// The agent sent a reply of an unknown form.
    #[error("the agent's reply is not understood; is it of another version: {0}")]
    Strange(String),
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => "; is the agent running with -Dmillpond.admin.socket",
        io::ErrorKind::PermissionDenied => "; only the agent's user and root may",
        io::ErrorKind::ConnectionRefused => "; its agent has ended",
        io::ErrorKind::WouldBlock => "; its agent runs and does not respond",
        _ => "",
    }
}

/// A session with an agent.
#[derive(Debug)]
pub struct AdminClient {
    stream: BufReader<UnixStream>,
    /// The part of the next line that was read so far.
    begun: Vec<u8>,
    agent: String,
    component: String,
}

impl AdminClient {
    /// Asks the agent at the socket `path` to show the events that `wanted` describes.
    ///
    /// # Errors
    /// The connection fails, or the agent refuses.
    pub fn tap(path: &Path, wanted: &TapRequest) -> Result<Self, AdminClientError> {
        let stream = connect(path)
            .map_err(|cause| AdminClientError::Connect { path: path.to_owned(), cause })?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        stream.set_write_timeout(Some(ANSWER_WAIT))?;
        // An agent without room says so and closes before it reads: its reply can be read all the
        // same.
        let asked = (&stream).write_all(&line(&AdminRequest::Tap(wanted.clone())));
        let (agent, component) = (String::new(), String::new());
        let stream = BufReader::new(stream);
        let mut client = Self { stream, begun: Vec::new(), agent, component };
        let heard = client.hear();
        if !matches!(heard, Ok(Some(_))) {
            asked?;
        }
        match heard? {
            Some(AdminReply::Tapped { agent, component }) => {
                (client.agent, client.component) = (agent, component);
            }
            Some(AdminReply::Refused(why)) => return Err(AdminClientError::Refused(why)),
            Some(other) => return Err(AdminClientError::Strange(format!("{other:?}"))),
            None => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
        client.stream.get_ref().set_read_timeout(Some(GLANCE))?;
        Ok(client)
    }

    /// The agent's name.
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// The component, as in `SINK.k1`.
    #[must_use]
    pub fn component(&self) -> &str {
        &self.component
    }

    /// Returns the next line; `None` when none has come within [`GLANCE`].
    ///
    /// # Errors
    /// The session is over.
    pub fn hear(&mut self) -> Result<Option<AdminReply>, AdminClientError> {
        let left = LINE_BYTES_MAX.saturating_sub(self.begun.len() as u64);
        match self.stream.by_ref().take(left).read_until(b'\n', &mut self.begun) {
            Ok(_) if self.begun.ends_with(b"\n") => {
                let read = serde_json::from_slice(&self.begun);
                self.begun.clear();
                read.map(Some).map_err(|error| AdminClientError::Strange(error.to_string()))
            }
            Ok(_) if self.begun.len() as u64 >= LINE_BYTES_MAX => Err(AdminClientError::Strange(
                format!("a line of more than {LINE_BYTES_MAX} bytes"),
            )),
            Ok(_) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Err(error) => match error.kind() {
                // The part of a line that was read is kept.
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error.into()),
            },
        }
    }
}
