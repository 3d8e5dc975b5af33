//! One attempt to deliver a notice.

use super::dingtalk::RobotError;
use super::notice::Notice;
use super::target::{DeliveryMethod, DeliveryTarget, WebhookSettings};
use super::{ANSWER_BYTES_MAX, BUSY_PAUSE, LEFT_BEHIND_GRACE};
use crate::monitor::alarm::alarm_record::AlarmSender;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use millpond_flow::net::endpoint::Endpoint;
use millpond_flow::net::http_post::{PostError, RequestHeaders, post};
use millpond_flow::net::tls::TlsError;
use millpond_flow::process::{ExitStatusError, Process, StderrMode};
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Why a notice was not delivered.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryError {
    #[error("{0}")]
    Post(#[from] PostError),
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// Without the reply's text, which may repeat the URL, and so secrets in it.
    #[error("the server replied {0}")]
    Status(u16),
    #[error("{0}")]
    Robot(#[from] RobotError),
    #[error("the URL cannot be used")]
    Url,
    #[error("{0}")]
    Start(millpond_flow::context::Failure),
    #[error("the command took more than {} ms and was killed", .0.as_millis())]
    Timeout(Duration),
    #[error("the command ended with {0}")]
    Ended(String),
}

impl DeliveryError {
    /// Returns whether the notice itself is refused, so that a retry is unlikely to help.
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
            | Self::Timeout(_) => false,
        }
    }

    /// Returns the least pause before the next attempt.
    pub(super) fn rest(&self) -> Duration {
        match self {
            Self::Robot(RobotError::Busy { .. }) => BUSY_PAUSE,
            _ => Duration::ZERO,
        }
    }
}

/// A target and what is needed to send to it.
pub(super) struct TargetSender {
    target: DeliveryTarget,
    sender: AlarmSender,
}

impl TargetSender {
    pub(super) fn new(target: DeliveryTarget, sender: AlarmSender) -> Self {
        Self { target, sender }
    }

    /// Returns its place for the log, without secrets.
    pub(super) fn place(&self) -> String {
        let name = self.target.name;
        match &self.target.way {
            DeliveryMethod::Webhook { to, .. } => format!("{name} {}", to.authority()),
            DeliveryMethod::DingTalk { robot, .. } => {
                let to = Endpoint::named(&robot.url);
                format!("{name} {}", to.map(|to| to.authority()).unwrap_or_default())
            }
            DeliveryMethod::Command { words, .. } => {
                // The arguments after the program may be secrets.
                format!("{name} {}", words.first().map_or("", String::as_str))
            }
        }
    }

    /// Sends a notice.
    pub(super) async fn say(&mut self, notice: &Notice, wall_ms: u64) -> Result<(), DeliveryError> {
        match self.target.way.clone() {
            DeliveryMethod::Webhook { to, request_headers, body, web } => {
                let body = match body {
                    Some((template, escape)) => template.fill(notice, &self.sender, escape),
                    None => notice.json(&self.sender).to_string(),
                };
                self.post(&to, &request_headers, body, &web).await.map(drop)
            }
            DeliveryMethod::DingTalk { robot, web } => {
                let to = Endpoint::named(&robot.url(wall_ms)).ok_or(DeliveryError::Url)?;
                let request_headers = RequestHeaders {
                    content_type: HeaderValue::from_static("application/json;charset=utf-8"),
                    accept: HeaderValue::from_static("application/json"),
                    more: HeaderMap::new(),
                };
                let body = robot.body(notice, &self.sender);
                let answer = self.post(&to, &request_headers, body, &web).await?;
                Ok(robot.taken(&answer)?)
            }
            DeliveryMethod::Command { words, timeout } => {
                run(&words, &format!("{}\n", notice.json(&self.sender)), timeout).await
            }
        }
    }

    /// Posts over a connection of its own: alarms are rare, and a kept connection would be closed
    /// by the next one.
    async fn post(
        &mut self,
        to: &Endpoint,
        request_headers: &RequestHeaders,
        body: String,
        web: &WebhookSettings,
    ) -> Result<Vec<u8>, DeliveryError> {
        let tls = match to.is_tls() {
            true => Some(web.tls.current(&format!("alarms.{}", self.target.name)).await?),
            false => None,
        };
        let body = Bytes::from(body);
        let answered =
            post(to, tls.as_ref(), request_headers, None, body, web.time_limit, ANSWER_BYTES_MAX)
                .await?;
        match answered.status {
            200..300 => Ok(answered.body),
            status => Err(DeliveryError::Status(status)),
        }
    }
}

/// Runs a command to its end, with `input` on its stdin. Processes left in its group are killed
/// with it.
async fn run(words: &[String], input: &str, time_limit: Duration) -> Result<(), DeliveryError> {
    let started = Process::start(words, StderrMode::Rated("alarms.command".to_owned()));
    let (process, mut pipes) = started.map_err(DeliveryError::Start)?;
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
        let (mut talk, exits) = (pin!(talk), process.exits_within(time_limit));
        let mut exits = pin!(exits);
        tokio::select! {
            has_exited = &mut exits => {
                // Processes that it has started may hold the pipes for any time.
                let grace = if has_exited { LEFT_BEHIND_GRACE } else { Duration::ZERO };
                let _ = timeout(grace, talk).await;
                has_exited
            }
            () = &mut talk => exits.await,
        }
    };
    let ended = process.end(true, Duration::ZERO).await;
    if !has_exited {
        return Err(DeliveryError::Timeout(time_limit));
    }
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(DeliveryError::Ended(status.to_string())),
        Err(ExitStatusError::Unknown(_) | ExitStatusError::NotReaped { .. }) => {
            Err(DeliveryError::Ended("an unknown status".to_owned()))
        }
    }
}
