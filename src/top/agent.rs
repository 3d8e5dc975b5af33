//! What was last heard of one agent.

use super::ask::{Answer, Failing};
use super::reading::{Key, Reading};
use std::collections::BTreeMap;
use std::time::Duration;

/// One alarm that is raised.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Alarm {
    /// Its name or number.
    pub name: String,
    /// How bad it is.
    pub severity: String,
    /// Of which component.
    pub component: String,
    /// What it says.
    pub words: String,
}

/// One agent, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    /// Where it is asked, as it was given.
    pub target: String,
    /// Its name, once it said so.
    pub name: Option<String>,
    /// Whether it says that it is ready.
    pub ready: Option<bool>,
    /// What `/readyz` says of each component.
    pub reasons: BTreeMap<String, Vec<String>>,
    /// Components whose last try failed, with why.
    pub failing: BTreeMap<String, Failing>,
    /// Its active alarms; none where it has no alarms.
    pub alarms: Vec<Alarm>,
    /// Since when it does not answer, and why.
    pub away: Option<(Duration, String)>,
    last: Option<(Duration, Reading)>,
    before: Option<(Duration, Reading)>,
}

impl Agent {
    /// The agent at `target`, of which nothing is known.
    #[must_use]
    pub fn new(target: impl Into<String>) -> Self {
        Self { target: target.into(), ..Self::default() }
    }

    /// Takes an answer that came at `now`, or why none came.
    pub fn hear<E: std::fmt::Display>(&mut self, now: Duration, heard: Result<Answer, E>) {
        match heard {
            Ok(answer) => {
                // Behind a gap there is no continuation: a rate over it would be an average of it.
                let continues = self.away.take().is_none();
                self.before = self.last.replace((now, answer.reading)).filter(|_| continues);
                // What it said of itself before is of then; its name is still its own.
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

    /// Its name, or where it is asked.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.target)
    }

    /// The last answer.
    #[must_use]
    pub fn reading(&self) -> Option<&Reading> {
        self.last.as_ref().map(|(_, reading)| reading)
    }

    /// Why components are ill, each once: what `/readyz` says of it, else why its last try failed.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (&str, String)> {
        let reasons = self.reasons.iter().map(|(of, why)| (of.as_str(), why.join("; ")));
        let more = self.failing.iter().filter(|(of, _)| !self.reasons.contains_key(*of));
        reasons.chain(more.map(|(of, failing)| (of.as_str(), failing.words())))
    }

    /// What came to a counter in a second, between the last two answers.
    pub(super) fn rate(&self, key: &Key, measure: &str) -> Option<f64> {
        let ((then, before), (now, last)) = (self.before.as_ref()?, self.last.as_ref()?);
        let value = |reading: &Reading| reading.components.get(key)?.value(measure);
        let (grown, seconds) =
            (value(last)? - value(before)?, now.saturating_sub(*then).as_secs_f64());
        // A counter that fell belongs to a process of its own.
        (grown >= 0.0 && seconds > 0.0 && self.away.is_none()).then(|| grown / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::Ready;
    use super::*;

    #[test]
    fn readiness_is_of_the_last_answer_and_the_name_stays() {
        let mut agent = Agent::new("h:1");
        let reasons = BTreeMap::from([("SINK.k1".to_owned(), vec!["x".to_owned()])]);
        let ready = Ready { agent: "a".to_owned(), ready: false, reasons, ..Ready::default() };
        let answer = Answer { ready: Some(ready), ..Answer::default() };
        agent.hear::<String>(Duration::ZERO, Ok(answer));
        assert_eq!((agent.title(), agent.ready, agent.reasons.len()), ("a", Some(false), 1));
        agent.hear::<String>(Duration::from_secs(1), Ok(Answer::default()));
        assert_eq!((agent.title(), agent.ready, agent.reasons.len()), ("a", None, 0));
    }
}
