//! `external`: batches go to a process of a user's own.
//!
//! Limits and keys: those of [`crate::flow::external`].
//!
//! The story: the process gets a batch as one line, and answers that it is delivered or that it is not,
//! and why. Whatever else it does, ends, hangs, answers nonsense, is a batch that was not delivered and a
//! process that is started again. A batch of more bytes than a line goes in several; when a later one
//! fails, those before it come again with it.

use crate::channel::BoxFuture;
use crate::config::settings::{SettingError, SettingsReader};
use crate::event::Event;
use crate::flow::external::{Answer, Companion, Options, Role};
use crate::flow::sink::{Failure, Sink, SinkContext, SinkType};

/// The type `external`.
pub const TYPE: SinkType = SinkType { names: &["external"], keys: Role::Sink.keys(), build };

struct External {
    companion: Companion,
    batch_events: usize,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Box<dyn Sink>, SettingError> {
    let options = Options::read(reader, Role::Sink)?;
    let batch_events = options.batch_events;
    Ok(Box::new(External { companion: Companion::new(options), batch_events }))
}

impl External {
    async fn deliver_all(
        &mut self,
        context: &SinkContext,
        mut left: &[Event],
    ) -> Result<(), Failure> {
        while !left.is_empty() {
            let asked = self.companion.ask(left, Some(&context.stop)).await;
            if !self.companion.runs() {
                context.counters.connection_failed.add(1);
                context.counters.connection_closed.add(1);
            }
            match asked? {
                (Answer::Delivered, taken) => left = &left[taken..],
                (Answer::Refused { why, for_good }, _) => {
                    let failure = Failure::new(format!("its process refuses the batch: {why}"));
                    return Err(if for_good { failure.refused() } else { failure });
                }
                // The asking knows which answers are a sink's.
                (Answer::Passed(_), _) => {
                    return Err(Failure::new("its process answered as an interceptor"));
                }
            }
        }
        Ok(())
    }
}

impl Sink for External {
    fn may_refuse(&self) -> bool {
        true
    }

    fn batch_events(&self) -> usize {
        self.batch_events
    }

    fn start<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.companion.start_until(self.batch_events, &context.stop).await?;
            context.counters.connection_created.add(1);
            Ok(())
        })
    }

    fn deliver<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if !self.companion.runs() {
                self.start(context).await?;
            }
            self.deliver_all(context, batch).await
        })
    }

    fn stop<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if self.companion.runs() {
                self.companion.stop().await;
                context.counters.connection_closed.add(1);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::trial::{build, context, logged};

    const READY: &str = "read -r greeting; echo '{\"ready\":1}';";

    fn sink(script: &str, more: &[(&str, &str)]) -> Box<dyn Sink> {
        let pairs = [("shell", "/bin/sh -c"), ("command", script), ("restartPause", "1")];
        build(&TYPE, &[&pairs, more].concat()).unwrap()
    }

    fn batch() -> Vec<Event> {
        ["one", "two", "three"].map(Event::new).to_vec()
    }

    #[tokio::test]
    async fn a_batch_that_is_refused_is_an_error_and_the_process_goes_on() {
        let script = format!(
            "{READY} read -r line; echo '{{\"failed\":1,\"why\":\"the table is locked\"}}'; read -r line; echo '{{\"failed\":2,\"why\":\"no such column\",\"refused\":true}}'; read -r line; echo '{{\"ok\":3}}'; read -r stop"
        );
        let (context, mut sink) = (context(), sink(&script, &[("batchSize", "3")]));
        assert_eq!(sink.batch_events(), 3);
        sink.start(&context).await.unwrap();
        let error = sink.deliver(&context, &batch()).await.unwrap_err().to_string();
        assert!(error.contains("refuses the batch: the table is locked"), "{error}");
        let error = sink.deliver(&context, &batch()).await.unwrap_err();
        assert!(error.is_refusal() && error.to_string().contains("no such column"), "{error}");
        sink.deliver(&context, &batch()).await.unwrap();
        sink.stop(&context).await.unwrap();
        let counters = &context.counters;
        assert_eq!((counters.connection_created.get(), counters.connection_closed.get()), (1, 1));
    }

    #[tokio::test]
    async fn one_whose_process_dies_delivers_with_the_next_and_says_so_once_for_each_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        let script = format!(
            "{READY} read -r line; echo \"$line\" >> {0}; [ $(wc -l < {0}) -lt 3 ] && exit 7; echo '{{\"ok\":1}}'; read -r stop",
            path.display()
        );
        let (context, mut sink) = (context(), sink(&script, &[]));
        let said = logged(async {
            while sink.deliver(&context, &batch()).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            sink.stop(&context).await.unwrap();
        })
        .await;
        let lines = std::fs::read_to_string(path).unwrap();
        assert_eq!(lines.lines().count(), 3, "{lines}");
        assert_eq!(said.matches("failed and is started again").count(), 1, "{said}");
        assert_eq!(said.matches("exit status: 7").count(), 1, "{said}");
        assert_eq!(said.matches("serves again").count(), 1, "{said}");
        assert!(context.counters.connection_failed.get() >= 2);
    }

    #[tokio::test]
    async fn a_batch_of_more_than_a_line_goes_in_several() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        let script = format!(
            "{READY} n=0; while read -r line; do case $line in *stop*) exit 0;; esac; n=$((n+1)); echo \"$line\" >> {}; echo '{{\"ok\":'$n'}}'; done",
            path.display()
        );
        let (context, mut sink) = (context(), sink(&script, &[("lineBytes", "1024")]));
        let long = vec![Event::new("x".repeat(400)); 5];
        sink.deliver(&context, &long).await.unwrap();
        let lines = std::fs::read_to_string(path).unwrap();
        assert_eq!(lines.lines().count(), 3, "two events each");
        assert!(lines.lines().all(|line| line.len() <= 1024));
        let error = sink.deliver(&context, &[Event::new("x".repeat(1024))]).await.unwrap_err();
        assert!(error.is_refusal() && error.to_string().contains("raise lineBytes"), "{error}");
    }
}
