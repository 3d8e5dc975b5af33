//! `external`: batches pass a user's process, which may drop, add and change events.
//!
//! Without a valid reply the batch has not passed: the put is refused, the source tries again, and nothing is
//! dropped. The process handles one batch at a time; others wait for their turn.

use super::{BatchInterceptor, EventFate, Interceptor, InterceptorType};
use crate::external::{BatchReply, ExternalOptions, ProcessRole, ProcessSupervisor};
use crate::settings::{SettingError, SettingsReader};
use millpond::{BoxFuture, Clock, Event, FaultCause, FaultKind, FaultPlace};
use std::sync::Arc;
use tokio::sync::Mutex;

/// The type `external`.
pub(super) const TYPE: InterceptorType = InterceptorType {
    names: &["external"],
    keys: ProcessRole::Interceptor.keys(),
    build: |reader| Ok(Box::new(build(reader)?)),
};

struct ExternalInterceptor {
    supervisor: Arc<Mutex<ProcessSupervisor>>,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<ExternalInterceptor, SettingError> {
    let supervisor =
        ProcessSupervisor::new(ExternalOptions::read(reader, ProcessRole::Interceptor)?);
    Ok(ExternalInterceptor { supervisor: Arc::new(Mutex::new(supervisor)) })
}

impl Interceptor for ExternalInterceptor {
    /// Batches go through [`BatchInterceptor`]; a single event is not changed.
    fn intercept(&self, _event: &mut Event, _clock: &dyn Clock) -> EventFate {
        EventFate::Keep
    }

    fn outside(&self) -> Option<&dyn BatchInterceptor> {
        Some(self)
    }
}

impl BatchInterceptor for ExternalInterceptor {
    fn pass(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Event>, FaultCause>> {
        let supervisor = Arc::clone(&self.supervisor);
        Box::pin(async move {
            // A caller that was dropped meanwhile takes no turn.
            let mut supervisor = supervisor.lock_owned().await;
            // In its own task: a client that disconnects meanwhile must not end the process.
            let passing = tokio::spawn(async move { pass(&mut supervisor, &events).await });
            passing.await.unwrap_or_else(|error| {
                let what = format!("a defect: {error}");
                Err(FaultCause::new(FaultKind::Internal, FaultPlace::default(), what))
            })
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.supervisor.lock().await.stop().await })
    }
}

async fn pass(
    supervisor: &mut ProcessSupervisor,
    events: &[Event],
) -> Result<Vec<Event>, FaultCause> {
    let name = supervisor.options().name.clone();
    let trouble = |why: &dyn std::fmt::Display| {
        FaultCause::new(FaultKind::External, FaultPlace::default(), format!("{name}: {why}"))
    };
    let most = supervisor.options().batch_events;
    let (mut left, mut passed) = (events, Vec::new());
    while !left.is_empty() {
        supervisor.start(None, most).await.map_err(|error| trouble(&error))?;
        let batch = &left[..left.len().min(most)];
        let asked = supervisor.request(batch, None).await.map_err(|error| trouble(&error))?;
        match asked {
            (BatchReply::Passed(events), taken) => {
                passed.extend(events);
                left = &left[taken..];
            }
            (BatchReply::Refused { why, .. }, _) => {
                return Err(trouble(&format_args!("its process refuses a batch: {why}")));
            }
            // `ask` accepts this reply from sinks only.
            (BatchReply::Delivered, _) => return Err(trouble(&"its process answered as a sink")),
        }
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::super::{ChainError, InterceptorChain};
    use super::*;
    use crate::metrics::InterceptorDrops;
    use crate::settings::Settings;
    use millpond::SystemClock;

    const READY: &str = "read -r greeting; echo '{\"ready\":1}';";

    fn chain(script: &str, more: &[(&str, &str)]) -> InterceptorChain {
        let pairs = [("shell", "/bin/sh -c"), ("command", script), ("restartPause", "1")];
        let settings = Settings::from_pairs("i1", &[&pairs, more].concat());
        let built = (TYPE.build)(&mut SettingsReader::new(&settings)).unwrap();
        let named = vec![("i1".to_owned(), built)];
        InterceptorChain::new(named, &InterceptorDrops::default(), Arc::new(SystemClock::new()))
    }

    async fn left(chain: &InterceptorChain, events: Vec<Event>) -> Result<Vec<Event>, ChainError> {
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
    async fn nothing_passes_a_failed_process_and_the_next_one_works() {
        let directory = tempfile::tempdir().unwrap();
        let been = directory.path().join("been");
        let script = format!(
            "{READY} if [ ! -e {0} ]; then touch {0}; exit 5; fi; while read -r line; do printf '%s\\n' \"$line\"; done",
            been.display()
        );
        let chain = chain(&script, &[]);
        let Err(ChainError::Outside(trouble)) = left(&chain, events(&["a"])).await else {
            panic!()
        };
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
    async fn a_refusal_is_returned_and_a_disconnect_keeps_the_process() {
        let script = format!(
            "{READY} read -r line; echo '{{\"failed\":1,\"why\":\"no\"}}'; read -r line; sleep 1; printf '%s\\n' \"$line\"; read -r line; printf '%s\\n' \"$line\"; read -r stop"
        );
        let chain = chain(&script, &[]);
        let Err(ChainError::Outside(trouble)) = left(&chain, events(&["a"])).await else {
            panic!()
        };
        assert!(trouble.to_string().contains("refuses a batch: no"), "{trouble}");
        // Cancelled halfway.
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
        let Err(ChainError::Outside(trouble)) = left(&chain, events(&["a"])).await else {
            panic!()
        };
        assert!(trouble.to_string().contains("a batch has 1 events at most"), "{trouble}");
    }
}
