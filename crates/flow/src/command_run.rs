//! One run of a command to its end, for commands that are called once for each of many things.

use super::context::Failure;
use super::process::{Process, StderrMode};
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Time for the pipes of a command that has exited: processes that it started may hold them open for any time.
const PIPES_GRACE: Duration = Duration::from_millis(500);

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
pub enum CommandRunError {
    /// It cannot be started.
    #[error("{0}")]
    Start(Failure),
    /// It ran for longer than this, and was killed.
    #[error("the command took more than {} ms and was killed", .0.as_millis())]
    Timeout(Duration),
    /// Its exit status, which is not success or not known.
    #[error("the command ended with {0}")]
    Ended(String),
}

/// Runs the command `words` with the arguments `more`, with `input` on its standard input, and waits at most `limit` for its
/// end. Its standard output is read and ignored. Processes left in its group are killed with it.
///
/// # Errors
/// It cannot be started, takes longer, or its exit code is not 0.
pub async fn run_to_end(
    words: &[String],
    more: &[String],
    input: &str,
    stderr: StderrMode,
    limit: Duration,
) -> Result<(), CommandRunError> {
    let started = Process::start_with(words, more, stderr);
    let (process, mut pipes) = started.map_err(CommandRunError::Start)?;
    let talk = async {
        let feed = async {
            // A command that does not read its input has not failed.
            let _ = pipes.stdin.write_all(input.as_bytes()).await;
            drop(pipes.stdin);
        };
        let mut scrap = [0; 4096];
        let drain = async { while matches!(pipes.stdout.read(&mut scrap).await, Ok(1..)) {} };
        tokio::join!(feed, drain);
    };
    let has_exited = {
        let (mut talk, mut exits) = (pin!(talk), pin!(process.exits_within(limit)));
        tokio::select! {
            has_exited = &mut exits => {
                let grace = if has_exited { PIPES_GRACE } else { Duration::ZERO };
                let _ = timeout(grace, talk).await;
                has_exited
            }
            () = &mut talk => exits.await,
        }
    };
    let ended = process.end(true, Duration::ZERO).await;
    if !has_exited {
        return Err(CommandRunError::Timeout(limit));
    }
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(CommandRunError::Ended(status.to_string())),
        Err(_) => Err(CommandRunError::Ended("an unknown status".to_owned())),
    }
}
