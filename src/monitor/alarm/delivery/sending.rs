//! One try to tell somebody.

use super::dingtalk::RobotError;
use super::notice::Notice;
use super::target::{Target, Way, Web};
use super::{ANSWER_BYTES_MAX, BUSY_PAUSE, LEFT_BEHIND_GRACE};
use crate::flow::process::{NoStatus, Process, Stderr};
use crate::monitor::alarm::raised::Sender;
use crate::net::endpoint::Endpoint;
use crate::net::post::{Letterhead, PostError, post};
use crate::net::tls::TlsError;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Why somebody was not told.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("{0}")]
    Post(#[from] PostError),
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// Without a word of the answer, which may repeat the URL, and so what is secret in it.
    #[error("the server answered {0}")]
    Status(u16),
    #[error("{0}")]
    Robot(#[from] RobotError),
    #[error("the URL cannot be used")]
    Url,
    #[error("{0}")]
    Start(crate::flow::context::Failure),
    #[error("the command took more than {} ms and was killed", .0.as_millis())]
    Late(Duration),
    #[error("the command ended with {0}")]
    Ended(String),
}

impl SendError {
    /// Whether the notice itself is what is refused, which the next try will hardly change.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Status(status) => (400..500).contains(status) && ![408, 429].contains(status),
            Self::Robot(RobotError::Refused { .. } | RobotError::Strange)
            | Self::Url
            | Self::Ended(_) => true,
            Self::Robot(RobotError::Busy { .. })
            | Self::Post(_)
            | Self::Tls(_)
            | Self::Start(_)
            | Self::Late(_) => false,
        }
    }

    /// How long to leave it alone at least.
    pub(super) fn rest(&self) -> Duration {
        match self {
            Self::Robot(RobotError::Busy { .. }) => BUSY_PAUSE,
            _ => Duration::ZERO,
        }
    }
}

/// A target that is told.
pub(super) struct Speaker {
    target: Target,
    sender: Sender,
}

impl Speaker {
    pub(super) fn new(target: Target, sender: Sender) -> Self {
        Self { target, sender }
    }

    /// Who it is, in words that give nothing away.
    pub(super) fn place(&self) -> String {
        let name = self.target.name;
        match &self.target.way {
            Way::Webhook { to, .. } => format!("{name} {}", to.authority()),
            Way::DingTalk { robot, .. } => {
                let to = Endpoint::named(&robot.url);
                format!("{name} {}", to.map(|to| to.authority()).unwrap_or_default())
            }
            Way::Command { words, .. } => {
                // What stands behind its name may be a secret.
                format!("{name} {}", words.first().map_or("", String::as_str))
            }
        }
    }

    /// Tells it.
    pub(super) async fn say(&mut self, notice: &Notice, wall_ms: u64) -> Result<(), SendError> {
        match self.target.way.clone() {
            Way::Webhook { to, letterhead, body, web } => {
                let body = match body {
                    Some((template, escape)) => template.fill(notice, &self.sender, escape),
                    None => notice.json(&self.sender).to_string(),
                };
                self.post(&to, &letterhead, body, &web).await.map(drop)
            }
            Way::DingTalk { robot, web } => {
                let to = Endpoint::named(&robot.url(wall_ms)).ok_or(SendError::Url)?;
                let letterhead = Letterhead {
                    content_type: HeaderValue::from_static("application/json;charset=utf-8"),
                    accept: HeaderValue::from_static("application/json"),
                    more: HeaderMap::new(),
                };
                let body = robot.body(notice, &self.sender);
                let answer = self.post(&to, &letterhead, body, &web).await?;
                Ok(robot.taken(&answer)?)
            }
            Way::Command { words, timeout } => {
                run(&words, &format!("{}\n", notice.json(&self.sender)), timeout).await
            }
        }
    }

    /// Posts over a connection of its own: alarms are rare, and a kept one would be over by the next.
    async fn post(
        &mut self,
        to: &Endpoint,
        letterhead: &Letterhead,
        body: String,
        web: &Web,
    ) -> Result<Vec<u8>, SendError> {
        let tls = match to.is_tls() {
            true => Some(web.tls.current(&format!("alarms.{}", self.target.name)).await?),
            false => None,
        };
        let body = Bytes::from(body);
        let answered =
            post(to, tls.as_ref(), letterhead, None, body, web.patience, ANSWER_BYTES_MAX).await?;
        match answered.status {
            200..300 => Ok(answered.body),
            status => Err(SendError::Status(status)),
        }
    }
}

/// Runs a command to its end, with `input` on its stdin. What it leaves behind in its group ends with it.
async fn run(words: &[String], input: &str, patience: Duration) -> Result<(), SendError> {
    let started = Process::start(words, Stderr::Rated("alarms.command".to_owned()));
    let (process, mut pipes) = started.map_err(SendError::Start)?;
    let talk = async {
        let feed = async {
            // One that reads nothing is no worse for that.
            let _ = pipes.stdin.write_all(input.as_bytes()).await;
            drop(pipes.stdin);
        };
        let mut scrap = [0; 4096];
        let drain = async { while matches!(pipes.stdout.read(&mut scrap).await, Ok(1..)) {} };
        tokio::join!(feed, drain);
    };
    let has_exited = {
        let (mut talk, exits) = (pin!(talk), process.exits_within(patience));
        let mut exits = pin!(exits);
        tokio::select! {
            has_exited = &mut exits => {
                // What it has started may hold the pipes for as long as it likes.
                let grace = if has_exited { LEFT_BEHIND_GRACE } else { Duration::ZERO };
                let _ = timeout(grace, talk).await;
                has_exited
            }
            () = &mut talk => exits.await,
        }
    };
    let ended = process.end(true, Duration::ZERO).await;
    if !has_exited {
        return Err(SendError::Late(patience));
    }
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(SendError::Ended(status.to_string())),
        Err(NoStatus::Unknown(_) | NoStatus::Unended { .. }) => {
            Err(SendError::Ended("a status that nobody knows".to_owned()))
        }
    }
}
