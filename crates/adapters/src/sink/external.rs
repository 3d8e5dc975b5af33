//! `external`: batches are delivered by a user's own process.
//!
//! Limits and keys: those of [`millpond_flow::external`].
//!
//! The process gets a batch as one line, and replies that it is delivered, or that it is not and why. In all other
//! cases (it ends, hangs, or replies nonsense) the batch is not delivered and the process is restarted. A batch of
//! more bytes than a line is sent in several; when a later one fails, those before it are sent again with it.

use millpond::{BoxFuture, Event};
use millpond_flow::external::{BatchReply, ExternalOptions, ProcessRole, ProcessSupervisor};
use millpond_flow::settings::{SettingError, SettingsReader};
use millpond_flow::sink::{Failure, Sink, SinkContext, SinkType};

/// The type `external`.
pub const TYPE: SinkType = SinkType { names: &["external"], keys: ProcessRole::Sink.keys(), build };

struct ExternalSink {
    supervisor: ProcessSupervisor,
    batch_events: usize,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Box<dyn Sink>, SettingError> {
    let options = ExternalOptions::read(reader, ProcessRole::Sink)?;
    let batch_events = options.batch_events;
    Ok(Box::new(ExternalSink { supervisor: ProcessSupervisor::new(options), batch_events }))
}

impl ExternalSink {
    async fn deliver_all(
        &mut self,
        context: &SinkContext,
        mut left: &[Event],
    ) -> Result<(), Failure> {
        while !left.is_empty() {
            let asked = self.supervisor.request(left, Some(&context.stop)).await;
            if !self.supervisor.runs() {
                context.counters.connection_failed.add(1);
                context.counters.connection_closed.add(1);
            }
            match asked? {
                (BatchReply::Delivered, taken) => left = &left[taken..],
                (BatchReply::Refused { why, for_good }, _) => {
                    let failure = Failure::new(format!("its process refuses the batch: {why}"));
                    return Err(if for_good { failure.refused() } else { failure });
                }
                // The companion accepts only replies of a sink.
                (BatchReply::Passed(_), _) => {
                    return Err(Failure::new("its process replied as an interceptor"));
                }
            }
        }
        Ok(())
    }
}

impl Sink for ExternalSink {
    fn may_refuse(&self) -> bool {
        true
    }

    fn batch_events(&self) -> usize {
        self.batch_events
    }

    fn start<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.supervisor.start_until(self.batch_events, &context.stop).await?;
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
            if !self.supervisor.runs() {
                self.start(context).await?;
            }
            self.deliver_all(context, batch).await
        })
    }

    fn stop<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if self.supervisor.runs() {
                self.supervisor.stop().await;
                context.counters.connection_closed.add(1);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::test_support::{build, captured_log, context};

    const READY: &str = "read -r greeting; echo '{\"ready\":1}';";

    fn sink(script: &str, more: &[(&str, &str)]) -> Box<dyn Sink> {
        let pairs = [("shell", "/bin/sh -c"), ("command", script), ("restartPause", "1")];
        build(&TYPE, &[&pairs, more].concat()).unwrap()
    }

    fn batch() -> Vec<Event> {
        ["one", "two", "three"].map(Event::new).to_vec()
    }

    #[tokio::test]
    async fn a_refused_batch_is_an_error_and_the_process_stays() {
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
    async fn a_sink_whose_process_dies_delivers_with_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        let script = format!(
            "{READY} read -r line; echo \"$line\" >> {0}; [ $(wc -l < {0}) -lt 3 ] && exit 7; echo '{{\"ok\":1}}'; read -r stop",
            path.display()
        );
        let (context, mut sink) = (context(), sink(&script, &[]));
        let said = captured_log(async {
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
    async fn a_batch_larger_than_a_line_is_sent_in_several() {
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
        assert!(error.is_final() && error.to_string().contains("raise lineBytes"), "{error}");
    }
}
