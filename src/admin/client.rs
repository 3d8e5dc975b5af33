//! The other side of the socket.

use super::lines::{Line, Request, TapRequest, line};
use super::socket::connect;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an agent may take to begin its answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How long [`Client::hear`] waits for a line before it says that there is none yet.
const GLANCE: Duration = Duration::from_millis(200);
/// Bytes of a line: a body and headers with their escapes.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// Why nothing is shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens, or not to us.
    #[error("{}: cannot connect: {cause}{}", path.display(), advice(cause))]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The agent says no.
    #[error("{0}")]
    Refused(String),
    /// The connection broke.
    #[error("the agent is gone, or does not answer: {0}")]
    Broken(#[from] io::Error),
    /// It says what is not understood.
    #[error("the agent says what is not understood here; is it of another version: {0}")]
    Strange(String),
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => "; is the agent running with -Dmillpond.admin.socket",
        io::ErrorKind::PermissionDenied => "; only the agent's user and root may",
        io::ErrorKind::ConnectionRefused => "; its agent has ended",
        io::ErrorKind::WouldBlock => "; its agent is there and does not answer",
        _ => "",
    }
}

/// A session with an agent.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    /// What has come of a line.
    begun: Vec<u8>,
    agent: String,
    component: String,
}

impl Client {
    /// Asks the agent at the socket `path` to be shown what is `wanted`.
    ///
    /// # Errors
    /// It is not.
    pub fn tap(path: &Path, wanted: &TapRequest) -> Result<Self, ClientError> {
        let stream =
            connect(path).map_err(|cause| ClientError::Connect { path: path.to_owned(), cause })?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        stream.set_write_timeout(Some(ANSWER_WAIT))?;
        // An agent that has no room says so and closes before it has read: its words are there all the same.
        let asked = (&stream).write_all(&line(&Request::Tap(wanted.clone())));
        let (agent, component) = (String::new(), String::new());
        let stream = BufReader::new(stream);
        let mut client = Self { stream, begun: Vec::new(), agent, component };
        let heard = client.hear();
        if !matches!(heard, Ok(Some(_))) {
            asked?;
        }
        match heard? {
            Some(Line::Tapped { agent, component }) => {
                (client.agent, client.component) = (agent, component);
            }
            Some(Line::Refused(why)) => return Err(ClientError::Refused(why)),
            Some(other) => return Err(ClientError::Strange(format!("{other:?}"))),
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

    /// The next line; `None` when none has come for a moment.
    ///
    /// # Errors
    /// There will be no further one.
    pub fn hear(&mut self) -> Result<Option<Line>, ClientError> {
        let left = LINE_BYTES_MAX.saturating_sub(self.begun.len() as u64);
        match self.stream.by_ref().take(left).read_until(b'\n', &mut self.begun) {
            Ok(_) if self.begun.ends_with(b"\n") => {
                let read = serde_json::from_slice(&self.begun);
                self.begun.clear();
                read.map(Some).map_err(|error| ClientError::Strange(error.to_string()))
            }
            Ok(_) if self.begun.len() as u64 >= LINE_BYTES_MAX => {
                Err(ClientError::Strange(format!("a line of more than {LINE_BYTES_MAX} bytes")))
            }
            Ok(_) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Err(error) => match error.kind() {
                // What has come of a line is kept.
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error.into()),
            },
        }
    }
}
