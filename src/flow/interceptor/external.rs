//! `external`: batches pass a process of a user's own, which may drop, add and change events.
//!
//! What it does not answer in order has not passed: the put is refused, the source tries again, and
//! nothing is dropped. One batch is with the process at a time; others wait for their turn.

use super::{Interceptor, InterceptorType, Outside, Verdict};
use crate::base::clock::Clock;
use crate::base::trouble::Trouble;
use crate::channel::BoxFuture;
use crate::config::settings::{SettingError, SettingsReader};
use crate::event::Event;
use crate::flow::external::{Answer, Companion, Options, Role};
use std::sync::Arc;
use tokio::sync::Mutex;

/// The type `external`.
pub(super) const TYPE: InterceptorType = InterceptorType {
    names: &["external"],
    keys: Role::Interceptor.keys(),
    build: |reader| Ok(Box::new(build(reader)?)),
};

struct External {
    companion: Arc<Mutex<Companion>>,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<External, SettingError> {
    let companion = Companion::new(Options::read(reader, Role::Interceptor)?);
    Ok(External { companion: Arc::new(Mutex::new(companion)) })
}

impl Interceptor for External {
    /// Batches go [`Outside`]; a single event on its way stays as it is.
    fn intercept(&self, _event: &mut Event, _clock: &dyn Clock) -> Verdict {
        Verdict::Keep
    }

    fn outside(&self) -> Option<&dyn Outside> {
        Some(self)
    }
}

impl Outside for External {
    fn pass(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Event>, Trouble>> {
        let companion = Arc::clone(&self.companion);
        Box::pin(async move {
            // Whoever is gone before the turn comes has no turn.
            let mut companion = companion.lock_owned().await;
            // In a task of its own: a client that hangs up meanwhile must not cost the process its life.
            let passing = tokio::spawn(async move { pass(&mut companion, &events).await });
            passing.await.unwrap_or_else(|error| Err(Trouble::new(format!("a defect: {error}"))))
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.companion.lock().await.stop().await })
    }
}

async fn pass(companion: &mut Companion, events: &[Event]) -> Result<Vec<Event>, Trouble> {
    let name = companion.options().name.clone();
    let trouble = |why: &dyn std::fmt::Display| Trouble::new(format!("{name}: {why}"));
    let most = companion.options().batch_events;
    let (mut left, mut passed) = (events, Vec::new());
    while !left.is_empty() {
        companion.start(None, most).await.map_err(|error| trouble(&error))?;
        let batch = &left[..left.len().min(most)];
        let asked = companion.ask(batch, None).await.map_err(|error| trouble(&error))?;
        match asked {
            (Answer::Passed(events), taken) => {
                passed.extend(events);
                left = &left[taken..];
            }
            (Answer::Refused { why, .. }, _) => {
                return Err(trouble(&format_args!("its process refuses a batch: {why}")));
            }
            // The asking knows which answers are an interceptor's.
            (Answer::Delivered, _) => return Err(trouble(&"its process answered as a sink")),
        }
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::super::{Chain, Stuck};
    use super::*;
    use crate::base::clock::SystemClock;
    use crate::config::settings::Settings;
    use crate::metrics::InterceptorDrops;

    const READY: &str = "read -r greeting; echo '{\"ready\":1}';";

    fn chain(script: &str, more: &[(&str, &str)]) -> Chain {
        let pairs = [("shell", "/bin/sh -c"), ("command", script), ("restartPause", "1")];
        let settings = Settings::from_pairs("i1", &[&pairs, more].concat());
        let built = (TYPE.build)(&mut SettingsReader::new(&settings)).unwrap();
        let named = vec![("i1".to_owned(), built)];
        Chain::new(named, &InterceptorDrops::default(), Arc::new(SystemClock::new()))
    }

    async fn left(chain: &Chain, events: Vec<Event>) -> Result<Vec<Event>, Stuck> {
        Ok(chain.pass(events).await?.events)
    }

    fn events(bodies: &[&str]) -> Vec<Event> {
        bodies.iter().map(|body| Event::new((*body).to_owned())).collect()
    }

    #[tokio::test]
    async fn events_are_changed_dropped_and_added_batch_by_batch() {
        let script = format!(
            "{READY} while read -r line; do printf '%s\\n' \"$line\" | sed 's/{{\"headers\":{{}},\"body\":\"drop\"}},//; s/\"body\":\"/\"body\":\"new /g; s/]}}$/,{{\"body\":\"more\"}}]}}/'; done"
        );
        let chain = chain(&script, &[("batchSize", "2")]);
        let passed = left(&chain, events(&["drop", "a", "b"])).await;
        assert_eq!(passed, Ok(events(&["new a", "more", "new b", "more"])));
        chain.stop().await;
    }

    #[tokio::test]
    async fn one_that_fails_lets_nothing_pass_and_the_next_process_does() {
        let directory = tempfile::tempdir().unwrap();
        let been = directory.path().join("been");
        let script = format!(
            "{READY} if [ ! -e {0} ]; then touch {0}; exit 5; fi; while read -r line; do printf '%s\\n' \"$line\"; done",
            been.display()
        );
        let chain = chain(&script, &[]);
        let Err(Stuck::Outside(trouble)) = left(&chain, events(&["a"])).await else { panic!() };
        assert!(trouble.to_string().contains("exit status: 5"), "{trouble}");
        let passed = loop {
            match left(&chain, events(&["a"])).await {
                Ok(passed) => break passed,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
            }
        };
        assert_eq!(passed, events(&["a"]));
        chain.stop().await;
    }

    #[tokio::test]
    async fn a_refusal_is_passed_on_and_a_client_that_hangs_up_costs_the_process_nothing() {
        let script = format!(
            "{READY} read -r line; echo '{{\"failed\":1,\"why\":\"no\"}}'; read -r line; sleep 1; printf '%s\\n' \"$line\"; read -r line; printf '%s\\n' \"$line\"; read -r stop"
        );
        let chain = chain(&script, &[]);
        let Err(Stuck::Outside(trouble)) = left(&chain, events(&["a"])).await else { panic!() };
        assert!(trouble.to_string().contains("refuses a batch: no"), "{trouble}");
        // Dropped in the middle.
        let short = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(short, left(&chain, events(&["b"]))).await.is_err());
        assert_eq!(left(&chain, events(&["c"])).await, Ok(events(&["c"])));
        chain.stop().await;
    }

    #[tokio::test]
    async fn an_answer_of_too_many_events_is_a_failure() {
        let script = format!(
            "{READY} read -r line; echo '{{\"batch\":1,\"events\":[{{\"body\":\"1\"}},{{\"body\":\"2\"}}]}}'; read -r stop"
        );
        let chain = chain(&script, &[("answerEvents", "1")]);
        let Err(Stuck::Outside(trouble)) = left(&chain, events(&["a"])).await else { panic!() };
        assert!(trouble.to_string().contains("a batch has 1 events at most"), "{trouble}");
    }
}
