//! One attempt to deliver a notice.

use super::dingtalk::RobotError;
use super::notice::Notice;
use super::target::{DeliveryMethod, DeliveryTarget, WebhookSettings};
use super::{ANSWER_BYTES_MAX, BUSY_PAUSE};
use crate::monitor::alarm::alarm_record::AlarmSender;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use millpond_flow::command_run::{CommandRunError, run_to_end};
use millpond_flow::net::endpoint::Endpoint;
use millpond_flow::net::http_post::{PostError, RequestHeaders, post};
use millpond_flow::net::tls::TlsError;
use millpond_flow::process::StderrMode;
use std::time::Duration;

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
    Command(#[from] CommandRunError),
}

impl DeliveryError {
    /// Returns whether the notice itself is refused, so that a retry is unlikely to help.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Status(status) => (400..500).contains(status) && ![408, 429].contains(status),
            Self::Robot(RobotError::Refused { .. } | RobotError::Strange)
            | Self::Url
            | Self::Command(CommandRunError::Ended(_)) => true,
            Self::Robot(RobotError::Busy { .. })
            | Self::Post(_)
            | Self::Tls(_)
            | Self::Command(_) => false,
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
                let input = format!("{}\n", notice.json(&self.sender));
                let stderr = StderrMode::Rated("alarms.command".to_owned());
                Ok(run_to_end(&words, &[], &input, stderr, timeout).await?)
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
