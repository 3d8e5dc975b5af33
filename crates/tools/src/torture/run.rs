//! A torture run: child process after child process, each judged by the next.

use super::DiskLie;
use super::crash_point::CrashPoint;
use super::full_disk::FullDiskTest;
use super::note::Note;
use super::oracle::{Oracle, ViolationKind};
use super::plan::{RunEnding, RunPlan};
use super::process::{ChildExit, ChildProcess, NoteWait};
use super::report::{FullDisk, TortureReport};
use super::run_state::{ChannelNumbers, RunKind, RunOrders};
use super::scratch_dirs::{self, CheckedDirs, DirUse, ScratchDirError, ScratchDirs};
use super::seed_stream::{SeedStream, purpose};
use millpond::internal::base::quantity::Quantity;
use millpond::internal::disk::real::RealDisk;
use millpond::internal::recovery::{RecoverOptions, inspection};
use millpond::{Clock, SystemClock};
use millpond_flow::base::files;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A child that sends no note for so long hangs. It sends one every second.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// A child that has not reached its call by then is killed from outside.
const CALL_TIMEOUT: Duration = Duration::from_millis(600);

/// How long a child that is to kill itself while closing works before that.
const WORK_BEFORE_CLOSING: Duration = Duration::from_millis(100);

/// The longest sleep of the parent between checks.
const LOOK: Duration = Duration::from_millis(50);

/// Smallest quota, bytes of a data directory: a few segments and a ballast.
pub const QUOTA_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// The limit of a run; the first one reached counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimit {
    /// Until so much time has passed.
    pub time: Option<Duration>,
    /// Until so many processes were killed.
    pub kills: Option<u64>,
}

/// The options of a run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// One stripe each.
    pub data_dirs: Vec<PathBuf>,
    /// Its limit.
    pub limit: RunLimit,
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
    /// A new file that gets every note of every child run, to follow what happened.
    pub record: Option<PathBuf>,
    /// A lying disk, to check that the tool notices.
    pub lie: Option<DiskLie>,
    /// The binary whose [`super::CHILD_COMMAND`] is a child.
    pub program: PathBuf,
}

/// Why a run could not be carried out. None of these is a verdict on the disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TortureError {
    /// The directories.
    #[error(transparent)]
    Directory(#[from] ScratchDirError),
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

struct TortureCampaign<'a> {
    options: &'a RunOptions,
    scratch_dirs: &'a ScratchDirs,
    stop: &'a AtomicBool,
    clock: SystemClock,
    oracle: Oracle,
    report: TortureReport,
    opening_calls: Option<u64>,
    /// The ballast is written.
    full: bool,
    record: Option<Box<dyn Write>>,
}

/// What was observed of one child run.
#[derive(Default)]
struct ObservedRun {
    dying: Option<CrashPoint>,
    working: Option<Duration>,
    closed: bool,
    noise: Option<String>,
}

/// Runs until the limit is reached, something is found, or `stop` is set, and returns the report.
/// `watch` gets the report from time to time; its counts of events are up to date, its findings are
/// complete only in the returned one.
///
/// # Errors
/// The directories are refused, or the operating system refuses a process.
pub fn run(
    options: &RunOptions,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&TortureReport),
) -> Result<TortureReport, TortureError> {
    if let Some(bytes) = options.quota.filter(|bytes| *bytes < QUOTA_BYTES_MIN) {
        return Err(TortureError::Quota { bytes });
    }
    let survey = CheckedDirs::of(&options.data_dirs, DirUse::Run, options.discard)?;
    let record = options.record.as_deref().map(create_record).transpose()?;
    let scratch_dirs = survey.take().inspect_err(|_| {
        // Made for this run only; the refusal is the error to return.
        let _ = options.record.as_deref().map(files::remove);
    })?;
    let mut campaign = TortureCampaign::new(options, &scratch_dirs, stop);
    campaign.record = record;
    while !campaign.is_over() {
        campaign.one_run(watch)?;
    }
    campaign.report.interrupted = stop.load(Ordering::SeqCst);
    campaign.finish(watch)?;
    let mut report = campaign.report;
    report.counts = campaign.oracle.counts;
    report.findings = campaign.oracle.findings;
    report.took = campaign.clock.now();
    report.kept = options.keep || !report.is_clean();
    if !report.kept {
        scratch_dirs.clear()?;
    }
    Ok(report)
}

fn create_record(path: &Path) -> Result<Box<dyn Write>, TortureError> {
    let file = files::create_new(path);
    let file = file.map_err(|source| TortureError::Record { path: path.to_owned(), source })?;
    Ok(Box::new(BufWriter::new(file)))
}

impl<'a> TortureCampaign<'a> {
    fn new(options: &'a RunOptions, scratch_dirs: &'a ScratchDirs, stop: &'a AtomicBool) -> Self {
        let report = TortureReport {
            seed: options.seed,
            data_dirs: options.data_dirs.clone(),
            numbers: ChannelNumbers::of(options.seed, options.quota),
            took: Duration::ZERO,
            lives: 0,
            kills_by_time: 0,
            kills_by_moment: BTreeMap::new(),
            closed: 0,
            opening_us: Vec::new(),
            full: FullDisk::default(),
            counts: super::EventCounts::default(),
            findings: super::oracle::OracleFindings::default(),
            interrupted: false,
            kept: false,
        };
        Self {
            options,
            scratch_dirs,
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
        let RunLimit { time, kills } = self.options.limit;
        self.stop.load(Ordering::SeqCst)
            || self.oracle.findings.total() > 0
            || time.is_some_and(|time| self.clock.now() >= time)
            || kills.is_some_and(|kills| self.report.kills() >= kills)
    }

    fn start(&self, work: RunKind, plan: Option<&RunPlan>) -> Result<ChildProcess, TortureError> {
        let orders = RunOrders {
            seed: self.options.seed,
            life: self.report.lives,
            data_dirs: self.options.data_dirs.clone(),
            work,
            next: (0..self.report.numbers.writers).map(|w| self.oracle.next(w)).collect(),
            strike: plan.and_then(RunPlan::strike),
            quota: self.options.quota,
            lie: self.options.lie,
        };
        ChildProcess::start(&self.options.program, &orders).map_err(TortureError::Process)
    }

    fn one_run(&mut self, watch: &mut dyn FnMut(&TortureReport)) -> Result<(), TortureError> {
        let (seed, life) = (self.options.seed, self.report.lives);
        let quota = self.options.quota;
        let (kill9, calls) = (self.options.kill9, self.opening_calls);
        let mut plan = RunPlan::draw(seed, life, kill9, calls, quota.is_some());
        plan.full |= self.full;
        let began = self.clock.now();
        let mut full =
            quota.filter(|_| plan.full).map(|quota| FullDiskTest::new(quota, self.full, began));
        let mut process = self.start(RunKind::PutAndTake, Some(&plan))?;
        let mut heard = ObservedRun::default();
        // Every second child run with a full disk continues until puts have resumed.
        let patient = full.is_some() && SeedStream::new(seed, &[purpose::LIFE, life, 1]).one_in(2);
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
                self.oracle.findings.add(ViolationKind::Stuck, words);
                process.kill();
                killed = true;
            }
            let next = [due.kill, due.stop].into_iter().flatten().filter(|at| *at > now).min();
            let time_limit = next.map_or(LOOK, |at| (at - now).min(LOOK));
            match process.hear(time_limit) {
                NoteWait::Note(note) => {
                    last = now;
                    if let Some(full) = &mut full {
                        let with = (&mut process, self.scratch_dirs);
                        full.advance(&note, now, with, &mut self.report.full)?;
                    }
                    self.note(note, now, &mut heard)?;
                }
                NoteWait::Noise(line) => heard.noise = Some(line),
                NoteWait::Nothing => {}
                NoteWait::End => break,
            }
        }
        self.full = full.is_some_and(|full| full.is_full());
        self.ended(process, &heard, killed)?;
        self.show(watch);
        Ok(())
    }

    fn show(&mut self, watch: &mut dyn FnMut(&TortureReport)) {
        self.report.counts = self.oracle.counts;
        self.report.took = self.clock.now();
        watch(&self.report);
    }

    fn note(
        &mut self,
        note: Note,
        now: Duration,
        heard: &mut ObservedRun,
    ) -> Result<(), TortureError> {
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

    /// Counts how a child run ended.
    fn ended(
        &mut self,
        process: ChildProcess,
        heard: &ObservedRun,
        killed: bool,
    ) -> Result<(), TortureError> {
        self.write_down(&format!("# life {} has ended", self.report.lives))?;
        let (ended, words) = process.end().map_err(TortureError::Process)?;
        self.oracle.process_died();
        self.report.lives += 1;
        if let Some(line) = &heard.noise {
            let words = format!("a child said \"{}\"", line.escape_debug());
            self.oracle.findings.add(ViolationKind::Failed, words);
        }
        match (ended, heard.dying) {
            (ChildExit::Killed, Some(moment)) => {
                *self.report.kills_by_moment.entry(moment).or_default() += 1;
            }
            (ChildExit::Killed, None) => self.report.kills_by_time += 1,
            (ChildExit::Well, _) if heard.closed || killed => self.report.closed += 1,
            _ if self.oracle.findings.total() > 0 => {}
            (ChildExit::Well, _) => {
                self.oracle
                    .findings
                    .add(ViolationKind::Failed, "a child ended without closing its channel");
            }
            (ChildExit::Otherwise(code, signal), _) => {
                let how = match (code, signal) {
                    (Some(code), _) => format!("exit code {code}"),
                    (_, signal) => format!("signal {}", signal.unwrap_or_default()),
                };
                let words = format!("a child ended by itself, with {how}: {words}");
                self.oracle.findings.add(ViolationKind::Failed, words);
            }
        }
        Ok(())
    }

    /// Does the last child runs: everything is taken, then nothing may be left, and every byte is
    /// sound.
    fn finish(&mut self, watch: &mut dyn FnMut(&TortureReport)) -> Result<(), TortureError> {
        self.scratch_dirs.empty()?;
        for work in [RunKind::Drain, RunKind::Look] {
            if self.oracle.findings.total() > 0 {
                return Ok(());
            }
            let process = self.start(work, None)?;
            let mut heard = ObservedRun::default();
            let mut last = self.clock.now();
            loop {
                let heard_now = process.hear(LOOK);
                let now = self.clock.now();
                match heard_now {
                    NoteWait::Note(note) => {
                        last = now;
                        self.note(note, now, &mut heard)?;
                    }
                    NoteWait::Noise(line) => heard.noise = Some(line),
                    NoteWait::Nothing if now.saturating_sub(last) > SILENCE_MAX => {
                        self.oracle
                            .findings
                            .add(ViolationKind::Stuck, "a child said nothing for 120 s");
                        return Ok(());
                    }
                    NoteWait::Nothing => {}
                    NoteWait::End => break,
                }
            }
            self.ended(process, &heard, false)?;
        }
        let left = self.oracle.waiting();
        if left > 0 && self.oracle.findings.total() == 0 {
            let words = format!("{} left after everything was taken", Quantity(left, "event"));
            self.oracle.findings.add(ViolationKind::Count, words);
        }
        self.check_bytes();
        self.show(watch);
        Ok(())
    }

    fn check_bytes(&mut self) {
        for words in damage(&self.options.data_dirs) {
            self.oracle.findings.add(ViolationKind::Damaged, words);
        }
    }
}

/// Returns the damage that a read of every byte of the channel in `data_dirs` finds.
pub(super) fn damage(data_dirs: &[PathBuf]) -> Vec<String> {
    let options = RecoverOptions {
        checkpoint_dir: scratch_dirs::checkpoint(data_dirs),
        data_dirs: scratch_dirs::stripes(data_dirs),
        open_degraded: false,
        open_without_missing_segments: false,
        create: false,
        segment_bytes: millpond_flow::base::limits::SEGMENT_BYTES_DEFAULT,
    };
    let checked = inspection::survey(&RealDisk::read_only(), &options).and_then(|s| s.check());
    match checked {
        Ok(check) => {
            let damage = check.findings.iter().filter(|finding| finding.case.is_damage());
            damage.map(ToString::to_string).collect()
        }
        Err(error) => vec![error.to_string()],
    }
}

/// When a child run is to be killed from outside, or asked to stop.
struct DueAction {
    kill: Option<Duration>,
    stop: Option<Duration>,
}

fn due(plan: &RunPlan, began: Duration, heard: &ObservedRun, waits: bool) -> DueAction {
    let (kill, stop) = match plan.ending {
        _ if waits => (None, None),
        RunEnding::AtTime(after) => (Some(began + after), None),
        RunEnding::Close(after) => (None, heard.working.map(|at| at + after)),
        RunEnding::AtCall(strike) if strike.moment == CrashPoint::Closing => {
            (None, heard.working.map(|at| at + WORK_BEFORE_CLOSING))
        }
        RunEnding::AtCall(_) => (heard.working.map(|at| at + CALL_TIMEOUT), None),
    };
    DueAction { kill, stop }
}
