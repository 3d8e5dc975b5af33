//! The last known state of one agent.

use super::agent_alarm::AgentAlarm;
use super::agent_client::{AgentAnswer, FailingComponent};
use super::metrics_page::{AgentMetrics, ComponentKey};
use std::collections::BTreeMap;
use std::time::Duration;

/// The known state of one agent.
#[derive(Clone, Debug, Default)]
pub struct AgentState {
    /// Its address, as it was given.
    pub target: String,
    /// Its name, once known.
    pub name: Option<String>,
    /// Whether it reports that it is ready.
    pub ready: Option<bool>,
    /// What `/readyz` says of each component.
    pub reasons: BTreeMap<String, Vec<String>>,
    /// Components whose last attempt failed, with the cause.
    pub failing: BTreeMap<String, FailingComponent>,
    /// Its active alarms; none if it has no alarms.
    pub alarms: Vec<AgentAlarm>,
    /// Since when it does not reply, and why.
    pub away: Option<(Duration, String)>,
    last: Option<(Duration, AgentMetrics)>,
    before: Option<(Duration, AgentMetrics)>,
}

impl AgentState {
    /// Returns the agent at `target`, of which nothing is known.
    #[must_use]
    pub fn new(target: impl Into<String>) -> Self {
        Self { target: target.into(), ..Self::default() }
    }

    /// Takes a reply that came at `now`, or the reason that none came.
    pub fn hear<E: std::fmt::Display>(&mut self, now: Duration, heard: Result<AgentAnswer, E>) {
        match heard {
            Ok(answer) => {
                // After a gap there is no continuation: a rate over it would be an average of it.
                let continues = self.away.take().is_none();
                self.before = self.last.replace((now, answer.reading)).filter(|_| continues);
                // Its earlier reports are outdated; its name is still valid.
                (self.ready, self.reasons, self.failing) = Default::default();
                if let Some(ready) = answer.ready {
                    (self.name, self.ready) = (Some(ready.agent), Some(ready.ready));
                    (self.reasons, self.failing) = (ready.reasons, ready.failing);
                }
                self.alarms = answer.alarms;
            }
            Err(why) => {
                let since = self.away.take().map_or(now, |(since, _)| since);
                self.away = Some((since, why.to_string()));
            }
        }
    }

    /// Returns its name, or its address.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.target)
    }

    /// Returns the last reply.
    #[must_use]
    pub fn reading(&self) -> Option<&AgentMetrics> {
        self.last.as_ref().map(|(_, reading)| reading)
    }

    /// Returns why components are unhealthy, each once: what `/readyz` says of it, else why its
    /// last attempt failed.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (&str, String)> {
        let reasons = self.reasons.iter().map(|(of, why)| (of.as_str(), why.join("; ")));
        let more = self.failing.iter().filter(|(of, _)| !self.reasons.contains_key(*of));
        reasons.chain(more.map(|(of, failing)| (of.as_str(), failing.words())))
    }

    /// Returns the increase of a counter per second, between the last two replies.
    pub(super) fn rate(&self, key: &ComponentKey, measure: &str) -> Option<f64> {
        let ((then, before), (now, last)) = (self.before.as_ref()?, self.last.as_ref()?);
        let value = |reading: &AgentMetrics| reading.components.get(key)?.value(measure);
        let (grown, seconds) =
            (value(last)? - value(before)?, now.saturating_sub(*then).as_secs_f64());
        // A counter that fell belongs to a new process.
        (grown >= 0.0 && seconds > 0.0 && self.away.is_none()).then(|| grown / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::agent_client::AgentReadiness;
    use super::*;

    #[test]
    fn readiness_is_of_the_last_answer_and_the_name_stays() {
        let mut agent = AgentState::new("h:1");
        let reasons = BTreeMap::from([("SINK.k1".to_owned(), vec!["x".to_owned()])]);
        let ready = AgentReadiness {
            agent: "a".to_owned(),
            ready: false,
            reasons,
            ..AgentReadiness::default()
        };
        let answer = AgentAnswer { ready: Some(ready), ..AgentAnswer::default() };
        agent.hear::<String>(Duration::ZERO, Ok(answer));
        assert_eq!((agent.title(), agent.ready, agent.reasons.len()), ("a", Some(false), 1));
        agent.hear::<String>(Duration::from_secs(1), Ok(AgentAnswer::default()));
        assert_eq!((agent.title(), agent.ready, agent.reasons.len()), ("a", None, 0));
    }
}
