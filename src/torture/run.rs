//! A run: life after life, each judged by the next.

use super::Lie;
use super::draw::{Draw, purpose};
use super::full::Full;
use super::ground::{self, Ground, GroundError, Purpose, Survey};
use super::life::{Numbers, Orders, Work};
use super::moment::Moment;
use super::note::Note;
use super::oracle::{Kind, Oracle};
use super::plan::{Ending, Plan};
use super::process::{Ended, Heard, Process};
use super::report::{FullDisk, Report};
use crate::base::clock::{Clock, SystemClock};
use crate::base::files;
use crate::base::quantity::Quantity;
use crate::disk::real::RealDisk;
use crate::recovery::{RecoverOptions, inspect};
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A child that says nothing for so long hangs. It says something every second.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// A child that has not come to its call of the door by then is killed from outside.
const CALL_PATIENCE: Duration = Duration::from_millis(600);

/// How long a child works that is to kill itself while it closes.
const WORK_BEFORE_CLOSING: Duration = Duration::from_millis(100);

/// How long the parent sleeps at most before it looks around.
const LOOK: Duration = Duration::from_millis(50);

/// Smallest quota, bytes of a data directory: a few segments and a ballast.
pub const QUOTA_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// How long a run goes on; whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Until so much time has passed.
    pub time: Option<Duration>,
    /// Until so many processes were killed.
    pub kills: Option<u64>,
}

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// One stripe each.
    pub data_dirs: Vec<PathBuf>,
    /// How long it goes on.
    pub limit: Limit,
    /// Decides everything that can be decided.
    pub seed: u64,
    /// Whether every kill comes from outside, at a random time.
    pub kill9: bool,
    /// Bytes that the test may take in each data directory; filled up now and then. At least
    /// [`QUOTA_BYTES_MIN`].
    pub quota: Option<u64>,
    /// Whether what `torture write` left may be cleared.
    pub discard: bool,
    /// Whether the directories are left as they are in the end.
    pub keep: bool,
    /// A new file that gets every note of every life, to follow what happened.
    pub record: Option<PathBuf>,
    /// A lying disk, to see the tool notice.
    pub lie: Option<Lie>,
    /// The binary whose [`super::CHILD_COMMAND`] is a child.
    pub program: PathBuf,
}

/// Why a run could not be carried out. None of these says anything about the disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TortureError {
    /// The directories.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// The quota is too small.
    #[error("--quota {bytes}: a channel needs at least {QUOTA_BYTES_MIN} bytes in each directory")]
    Quota {
        /// What was given, bytes.
        bytes: u64,
    },
    /// The record cannot be written.
    #[error("cannot write the record {path}: {source}", path = path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A child could not be started or waited for.
    #[error("cannot run a child process: {0}")]
    Process(#[source] io::Error),
}

struct Campaign<'a> {
    options: &'a RunOptions,
    ground: &'a Ground,
    stop: &'a AtomicBool,
    clock: SystemClock,
    oracle: Oracle,
    report: Report,
    opening_calls: Option<u64>,
    /// The ballast is there.
    full: bool,
    record: Option<Box<dyn Write>>,
}

/// What was heard of one life.
#[derive(Default)]
struct Life {
    dying: Option<Moment>,
    working: Option<Duration>,
    closed: bool,
    noise: Option<String>,
}

/// Runs until the limit is reached, something is found, or `stop` is set, and answers what
/// happened. `watch` is shown the report now and then; its counts of events are up to date, its
/// findings are complete in the answer only.
///
/// # Errors
/// The directories are refused, or the operating system refuses a process.
pub fn run(
    options: &RunOptions,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&Report),
) -> Result<Report, TortureError> {
    if let Some(bytes) = options.quota.filter(|bytes| *bytes < QUOTA_BYTES_MIN) {
        return Err(TortureError::Quota { bytes });
    }
    let survey = Survey::of(&options.data_dirs, Purpose::Run, options.discard)?;
    let record = options.record.as_deref().map(create_record).transpose()?;
    let ground = survey.take().inspect_err(|_| {
        // What was made for this run only; the refusal is what there is to say.
        let _ = options.record.as_deref().map(files::remove);
    })?;
    let mut campaign = Campaign::new(options, &ground, stop);
    campaign.record = record;
    while !campaign.is_over() {
        campaign.one_life(watch)?;
    }
    campaign.report.interrupted = stop.load(Ordering::SeqCst);
    campaign.finish(watch)?;
    let mut report = campaign.report;
    report.counts = campaign.oracle.counts;
    report.findings = campaign.oracle.findings;
    report.took = campaign.clock.now();
    report.kept = options.keep || !report.is_clean();
    if !report.kept {
        ground.clear()?;
    }
    Ok(report)
}

fn create_record(path: &Path) -> Result<Box<dyn Write>, TortureError> {
    let file = files::create_new(path);
    let file = file.map_err(|source| TortureError::Record { path: path.to_owned(), source })?;
    Ok(Box::new(BufWriter::new(file)))
}

impl<'a> Campaign<'a> {
    fn new(options: &'a RunOptions, ground: &'a Ground, stop: &'a AtomicBool) -> Self {
        let report = Report {
            seed: options.seed,
            data_dirs: options.data_dirs.clone(),
            numbers: Numbers::of(options.seed, options.quota),
            took: Duration::ZERO,
            lives: 0,
            kills_by_time: 0,
            kills_by_moment: BTreeMap::new(),
            closed: 0,
            opening_us: Vec::new(),
            full: FullDisk::default(),
            counts: super::Counts::default(),
            findings: super::oracle::Findings::default(),
            interrupted: false,
            kept: false,
        };
        Self {
            options,
            ground,
            stop,
            clock: SystemClock::new(),
            oracle: Oracle::new(options.seed, true),
            report,
            opening_calls: None,
            full: false,
            record: None,
        }
    }

    fn is_over(&self) -> bool {
        let Limit { time, kills } = self.options.limit;
        self.stop.load(Ordering::SeqCst)
            || self.oracle.findings.total() > 0
            || time.is_some_and(|time| self.clock.now() >= time)
            || kills.is_some_and(|kills| self.report.kills() >= kills)
    }

    fn start(&self, work: Work, plan: Option<&Plan>) -> Result<Process, TortureError> {
        let orders = Orders {
            seed: self.options.seed,
            life: self.report.lives,
            data_dirs: self.options.data_dirs.clone(),
            work,
            next: (0..self.report.numbers.writers).map(|w| self.oracle.next(w)).collect(),
            strike: plan.and_then(Plan::strike),
            quota: self.options.quota,
            lie: self.options.lie,
        };
        Process::start(&self.options.program, &orders).map_err(TortureError::Process)
    }

    fn one_life(&mut self, watch: &mut dyn FnMut(&Report)) -> Result<(), TortureError> {
        let (seed, life) = (self.options.seed, self.report.lives);
        let quota = self.options.quota;
        let (kill9, calls) = (self.options.kill9, self.opening_calls);
        let mut plan = Plan::draw(seed, life, kill9, calls, quota.is_some());
        plan.full |= self.full;
        let began = self.clock.now();
        let mut full = quota.filter(|_| plan.full).map(|quota| Full::new(quota, self.full, began));
        let mut process = self.start(Work::PutAndTake, Some(&plan))?;
        let mut heard = Life::default();
        // Every second life with a full disk is let alone until puts have resumed.
        let patient = full.is_some() && Draw::new(seed, &[purpose::LIFE, life, 1]).one_in(2);
        let (mut last, mut killed, mut stopped) = (began, false, false);
        loop {
            let now = self.clock.now();
            if self.stop.load(Ordering::SeqCst) && !killed {
                process.kill();
                killed = true;
            }
            let waits = patient && full.as_ref().is_some_and(|full| !full.is_over());
            let due = due(&plan, began, &heard, waits);
            if !killed && due.kill.is_some_and(|at| now >= at) {
                process.kill();
                killed = true;
            }
            if !stopped && due.stop.is_some_and(|at| now >= at) {
                process.stop();
                stopped = true;
            }
            let stuck = full.as_ref().and_then(|full| full.stuck(now));
            let silent = now.saturating_sub(last) > SILENCE_MAX;
            let silent = silent.then_some("a child said nothing for 120 s");
            if let Some(words) = stuck.or(silent) {
                self.oracle.findings.add(Kind::Stuck, words);
                process.kill();
                killed = true;
            }
            let next = [due.kill, due.stop].into_iter().flatten().filter(|at| *at > now).min();
            let patience = next.map_or(LOOK, |at| (at - now).min(LOOK));
            match process.hear(patience) {
                Heard::Note(note) => {
                    last = now;
                    if let Some(full) = &mut full {
                        let with = (&mut process, self.ground);
                        full.heard(&note, now, with, &mut self.report.full)?;
                    }
                    self.note(note, now, &mut heard)?;
                }
                Heard::Noise(line) => heard.noise = Some(line),
                Heard::Nothing => {}
                Heard::End => break,
            }
        }
        self.full = full.is_some_and(|full| full.is_full());
        self.ended(process, &heard, killed)?;
        self.show(watch);
        Ok(())
    }

    fn show(&mut self, watch: &mut dyn FnMut(&Report)) {
        self.report.counts = self.oracle.counts;
        self.report.took = self.clock.now();
        watch(&self.report);
    }

    fn note(&mut self, note: Note, now: Duration, heard: &mut Life) -> Result<(), TortureError> {
        match &note {
            Note::Opened { us, calls, .. } => {
                self.report.opening_us.push(*us);
                self.opening_calls = Some(*calls);
            }
            Note::ContentsEnd => heard.working = Some(now),
            Note::Dying { moment, .. } => heard.dying = Some(*moment),
            Note::Closed => heard.closed = true,
            _ => {}
        }
        // Recorded before it is judged.
        self.write_down(&note.to_string())?;
        self.oracle.hear(note);
        Ok(())
    }

    fn write_down(&mut self, line: &str) -> Result<(), TortureError> {
        let Some(record) = &mut self.record else { return Ok(()) };
        let path = || self.options.record.clone().unwrap_or_default();
        writeln!(record, "{line}").map_err(|source| TortureError::Record { path: path(), source })
    }

    /// A life is over: counts how it ended.
    fn ended(&mut self, process: Process, heard: &Life, killed: bool) -> Result<(), TortureError> {
        self.write_down(&format!("# life {} has ended", self.report.lives))?;
        let (ended, words) = process.end().map_err(TortureError::Process)?;
        self.oracle.process_died();
        self.report.lives += 1;
        if let Some(line) = &heard.noise {
            let words = format!("a child said \"{}\"", line.escape_debug());
            self.oracle.findings.add(Kind::Failed, words);
        }
        match (ended, heard.dying) {
            (Ended::Killed, Some(moment)) => {
                *self.report.kills_by_moment.entry(moment).or_default() += 1;
            }
            (Ended::Killed, None) => self.report.kills_by_time += 1,
            (Ended::Well, _) if heard.closed || killed => self.report.closed += 1,
            _ if self.oracle.findings.total() > 0 => {}
            (Ended::Well, _) => {
                self.oracle.findings.add(Kind::Failed, "a child ended without closing its channel");
            }
            (Ended::Otherwise(code, signal), _) => {
                let how = match (code, signal) {
                    (Some(code), _) => format!("exit code {code}"),
                    (_, signal) => format!("signal {}", signal.unwrap_or_default()),
                };
                let words = format!("a child ended by itself, with {how}: {words}");
                self.oracle.findings.add(Kind::Failed, words);
            }
        }
        Ok(())
    }

    /// The last lives: everything is taken, then nothing may be left, and every byte is sound.
    fn finish(&mut self, watch: &mut dyn FnMut(&Report)) -> Result<(), TortureError> {
        self.ground.empty()?;
        for work in [Work::Drain, Work::Look] {
            if self.oracle.findings.total() > 0 {
                return Ok(());
            }
            let process = self.start(work, None)?;
            let mut heard = Life::default();
            let mut last = self.clock.now();
            loop {
                let heard_now = process.hear(LOOK);
                let now = self.clock.now();
                match heard_now {
                    Heard::Note(note) => {
                        last = now;
                        self.note(note, now, &mut heard)?;
                    }
                    Heard::Noise(line) => heard.noise = Some(line),
                    Heard::Nothing if now.saturating_sub(last) > SILENCE_MAX => {
                        self.oracle.findings.add(Kind::Stuck, "a child said nothing for 120 s");
                        return Ok(());
                    }
                    Heard::Nothing => {}
                    Heard::End => break,
                }
            }
            self.ended(process, &heard, false)?;
        }
        let left = self.oracle.waiting();
        if left > 0 && self.oracle.findings.total() == 0 {
            let words = format!("{} left after everything was taken", Quantity(left, "event"));
            self.oracle.findings.add(Kind::Count, words);
        }
        self.check_bytes();
        self.show(watch);
        Ok(())
    }

    fn check_bytes(&mut self) {
        for words in damage(&self.options.data_dirs) {
            self.oracle.findings.add(Kind::Damaged, words);
        }
    }
}

/// Damage that a look at every byte of the channel in `data_dirs` finds.
pub(super) fn damage(data_dirs: &[PathBuf]) -> Vec<String> {
    let options = RecoverOptions {
        checkpoint_dir: ground::checkpoint(data_dirs),
        data_dirs: ground::stripes(data_dirs),
        open_degraded: false,
        open_without_missing_segments: false,
        create: false,
        segment_bytes: crate::base::limits::SEGMENT_BYTES_DEFAULT,
    };
    let checked = inspect::survey(&RealDisk::read_only(), &options).and_then(|s| s.check());
    match checked {
        Ok(check) => {
            let damage = check.findings.iter().filter(|finding| finding.case.is_damage());
            damage.map(ToString::to_string).collect()
        }
        Err(error) => vec![error.to_string()],
    }
}

/// When a life is to be killed from outside, or asked to stop.
struct Due {
    kill: Option<Duration>,
    stop: Option<Duration>,
}

fn due(plan: &Plan, began: Duration, heard: &Life, waits: bool) -> Due {
    let (kill, stop) = match plan.ending {
        _ if waits => (None, None),
        Ending::AtTime(after) => (Some(began + after), None),
        Ending::Close(after) => (None, heard.working.map(|at| at + after)),
        Ending::AtCall(strike) if strike.moment == Moment::Closing => {
            (None, heard.working.map(|at| at + WORK_BEFORE_CLOSING))
        }
        Ending::AtCall(_) => (heard.working.map(|at| at + CALL_PATIENCE), None),
    };
    Due { kill, stop }
}
