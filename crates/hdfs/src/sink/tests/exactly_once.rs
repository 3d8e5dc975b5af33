//! Each event is in the renamed files once, wherever a call fails or the process ends.

use super::*;
use crate::file_system::memory::{BreakKind, HalvesLeft};
use crate::format::tests::reading;
use millpond::{
    Channel, CloseError, CommittedOffset, EventRange, Limits, MemoryChannel, MemoryOptions,
    PutTransaction, SourceOffsetError, Status, StripeIndex, TakeTransaction,
};
use std::collections::{BTreeMap, BTreeSet};

const EVENTS: u64 = 12;
const CHANNEL: u128 = 0x00c0_ffee_0000_0000_0000_0000_0000_0001;
/// A batch that waits for a file is given up by then, and comes again.
const DELIVERY_MAX: Duration = Duration::from_secs(600);

/// A durable channel that has the events `0..EVENTS` on two stripes, by turns.
struct Durable {
    acknowledged: Mutex<BTreeSet<u64>>,
    inner: MemoryChannel,
}

fn range(n: u64) -> EventRange {
    let stripe = StripeIndex(u16::try_from(n % 2).unwrap());
    EventRange { stripe, start: n / 2, end: n / 2 + 1 }
}

fn number(stripe: StripeIndex, sequence: u64) -> u64 {
    sequence * 2 + u64::from(stripe.0)
}

impl Durable {
    fn new() -> Arc<Self> {
        let inner = MemoryChannel::new(MemoryOptions::default()).unwrap();
        Arc::new(Self { acknowledged: Mutex::default(), inner })
    }

    fn acknowledge(&self, batch: &[u64]) {
        self.acknowledged.lock().unwrap().extend(batch);
    }

    fn waiting(&self) -> Vec<u64> {
        let acknowledged = self.acknowledged.lock().unwrap();
        (0..EVENTS).filter(|n| !acknowledged.contains(n)).collect()
    }
}

impl Channel for Durable {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        self.inner.begin_put()
    }

    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        self.inner.begin_take()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn status(&self) -> Status {
        self.inner.status()
    }

    fn source_offset(&self, source: &str) -> Result<Option<CommittedOffset>, SourceOffsetError> {
        self.inner.source_offset(source)
    }

    fn identity(&self) -> Option<u128> {
        Some(CHANNEL)
    }

    fn unacknowledged(&self, ranges: &[EventRange]) -> Option<Vec<EventRange>> {
        let acknowledged = self.acknowledged.lock().unwrap();
        let single = ranges.iter().flat_map(|range| {
            (range.start..range.end).map(|start| EventRange { start, end: start + 1, ..*range })
        });
        Some(single.filter(|one| !acknowledged.contains(&number(one.stripe, one.start))).collect())
    }

    fn close(&self) -> Result<(), CloseError> {
        Ok(())
    }
}

/// How a run breaks.
#[derive(Clone, Copy, Debug)]
struct Break {
    at: usize,
    how: BreakKind,
    halves_left: HalvesLeft,
    /// The call of the next process at which that one ends, too.
    again_at: Option<usize>,
}

struct Run {
    bench: Bench,
    channel: Arc<Durable>,
    pairs: Vec<(&'static str, &'static str)>,
}

impl Run {
    fn new(pairs: &[(&'static str, &'static str)], can_truncate: bool) -> Self {
        let bench = bench();
        if !can_truncate {
            bench.memory.without_truncate();
        }
        breaks::count_lines(&bench.memory);
        let mut all = vec![("hdfs.exactlyOnce", "true"), ("hdfs.rollCount", "4")];
        all.extend(pairs);
        Self { bench, channel: Durable::new(), pairs: all }
    }

    /// Delivers what waits in batches of `size`, until nothing waits or the process ends; true at the end of all.
    async fn process(&self, size: usize) -> bool {
        let mut sink = None;
        let work = async {
            let sink = sink.insert(self.bench.sink(&self.pairs).await);
            for _ in 0..200 {
                let batch: Vec<u64> = self.channel.waiting().into_iter().take(size).collect();
                if batch.is_empty() {
                    break;
                }
                if self.deliver(sink, &batch).await {
                    self.channel.acknowledge(&batch);
                } else {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            sink.stop(&self.bench.context).await
        };
        tokio::select! {
            biased;
            () = self.bench.memory.ended() => false,
            _ = work => true,
        }
    }

    async fn deliver(&self, sink: &mut HdfsSink, batch: &[u64]) -> bool {
        // Two buckets; that of an event is another one when it comes again in a later process.
        let turn = u64::from(self.bench.memory.has_begun_again());
        let event = |n: &u64| {
            let header = if (n + turn).is_multiple_of(3) { "a" } else { "b" };
            Event::packed(
                &[("h", header), ("timestamp", "1600000000000")],
                n.to_string().as_bytes(),
            )
        };
        let events: Vec<Event> = batch.iter().map(event).collect();
        let ranges = Some(batch.iter().map(|n| range(*n)).collect());
        sink.place(BatchPlace { channel: self.channel.clone(), ranges });
        let delivery = sink.deliver(&self.bench.context, &events);
        let delivered = tokio::time::timeout(DELIVERY_MAX, delivery).await;
        let is_delivered = matches!(delivered, Ok(Ok(())));
        // Here a process may end as well: its acknowledgement is lost.
        is_delivered
            && match self.bench.memory.pass_before().await {
                Ok(number) => self.bench.memory.pass_after(number).await.is_ok(),
                Err(_) => false,
            }
    }

    /// Begins the next process: writers are gone, and what they had not synced may be.
    async fn next(&self) {
        self.bench.settled().await;
        self.bench.memory.kill_writers();
        self.bench.memory.begin_again();
    }

    /// Runs until all is delivered, with a break; returns the calls of the process that broke.
    async fn whole(&self, at: Option<Break>) -> usize {
        if let Some(at) = at {
            self.bench.memory.break_at(at.at, at.how, at.halves_left);
        }
        let ended = self.process(5).await;
        let calls = self.bench.memory.begun();
        if !ended {
            self.next().await;
            if let Some(again_at) = at.and_then(|at| at.again_at) {
                let halves = at.map_or(0, |at| at.halves_left);
                self.bench.memory.break_at(again_at, BreakKind::EndAfter, halves);
                if self.process(4).await {
                    return calls;
                }
                self.next().await;
            }
        }
        self.process(3).await;
        // What a stop could not finish, the next start does.
        self.next().await;
        self.process(1).await;
        calls
    }

    fn check(&self, read: fn(&[u8]) -> Vec<String>, what: &str) {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        let files = self.bench.memory.all_bytes();
        let names: Vec<&String> = files.iter().map(|(path, _)| path).collect();
        for (path, bytes) in &files {
            assert!(!path.ends_with(".tmp"), "{what}: {names:?}");
            assert!(path.contains(".00c0ffee-"), "{path} names its channel");
            for body in read(bytes) {
                *times.entry(body).or_default() += 1;
            }
        }
        let expected = (0..EVENTS).map(|n| (n.to_string(), 1)).collect();
        assert_eq!(times, expected, "{what}: {names:?}");
    }
}

const KINDS: [BreakKind; 4] =
    [BreakKind::EndBefore, BreakKind::EndAfter, BreakKind::FailBefore, BreakKind::FailAfter];

/// Breaks a run at every call, in every way, and checks what the renamed files have.
async fn check(
    pairs: &[(&'static str, &'static str)],
    can_truncate: bool,
    halves: &[HalvesLeft],
    read: fn(&[u8]) -> Vec<String>,
) {
    let run = Run::new(pairs, can_truncate);
    let calls = run.whole(None).await;
    run.check(read, "without a break");
    assert!(calls > 30, "{calls}");
    for at in 1..=calls {
        for how in KINDS {
            for &halves_left in halves {
                let at = Break { at, how, halves_left, again_at: None };
                let run = Run::new(pairs, can_truncate);
                run.whole(Some(at)).await;
                run.check(read, &format!("{pairs:?} {at:?}"));
            }
        }
    }
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8(bytes.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

fn records(bytes: &[u8]) -> Vec<String> {
    let text = |(_, body): (i64, Vec<u8>)| String::from_utf8(body).unwrap();
    reading::records(bytes).into_iter().map(text).collect()
}

#[tokio::test(start_paused = true)]
async fn text_is_exactly_once_wherever_a_call_breaks() {
    check(&[("hdfs.fileType", "DataStream")], true, &[0, 1, 2], lines).await;
}

#[tokio::test(start_paused = true)]
async fn text_is_exactly_once_where_files_cannot_be_truncated() {
    check(&[("hdfs.fileType", "DataStream")], false, &[0, 1], lines).await;
}

#[tokio::test(start_paused = true)]
async fn text_is_exactly_once_after_two_ends_in_a_row() {
    for can_truncate in [true, false] {
        for at in 1..=40 {
            for again_at in 1..=14 {
                let how = BreakKind::EndAfter;
                let at = Break { at, how, halves_left: 1, again_at: Some(again_at) };
                let run = Run::new(&[("hdfs.fileType", "DataStream")], can_truncate);
                run.whole(Some(at)).await;
                run.check(lines, &format!("{at:?} {can_truncate}"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sequence_files_are_exactly_once_wherever_a_call_breaks() {
    let file = ("hdfs.fileType", "SequenceFile");
    check(&[file], true, &[1], records).await;
    check(&[file, ("hdfs.codeC", "gzip"), ("hdfs.compressionType", "RECORD")], true, &[1], records)
        .await;
    check(&[file, ("hdfs.codeC", "snappy")], true, &[1], records).await;
}

#[tokio::test(start_paused = true)]
async fn compressed_streams_are_exactly_once_wherever_a_call_breaks() {
    macro_rules! codec {
        ($name:literal) => {
            let unpacked = |bytes: &[u8]| lines(&reading::unpacked_by_name($name, bytes));
            let pairs = [("hdfs.fileType", "CompressedStream"), ("hdfs.codeC", $name)];
            check(&pairs, true, &[1], unpacked).await;
        };
    }
    codec!("deflate");
    codec!("gzip");
    codec!("bzip2");
    codec!("lz4");
    codec!("zstandard");
}

#[cfg(feature = "parquet")]
#[tokio::test(start_paused = true)]
async fn parquet_files_are_exactly_once_wherever_a_call_breaks() {
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::RowAccessor;
    let bodies = |file: &[u8]| {
        let reader = SerializedFileReader::new(bytes::Bytes::copy_from_slice(file)).unwrap();
        let rows = reader.get_row_iter(None).unwrap();
        let body = |row: ::parquet::record::Row| row.get_bytes(2).unwrap().data().to_vec();
        rows.map(|row| String::from_utf8(body(row.unwrap())).unwrap()).collect()
    };
    check(&[("hdfs.fileType", "DataStream"), ("serializer", "parquet")], true, &[1], bodies).await;
}
