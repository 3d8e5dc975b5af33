//! A run: rounds over the devices and all workloads, one after the other.

use super::baseline::Baseline;
use super::device::{self, Devices, OfDirectory};
use super::drive::{self, Run};
use super::ground::{self, Ground, GroundError};
use super::plan::{BenchOptions, Plan, PlanError};
use super::report::{Report, Where};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a run could not be carried out, or not to its end. What it made is removed all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// What was asked for cannot be measured.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The directories cannot be used.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// A write beside the channel failed.
    #[error("cannot write {path}: {source}", path = path.display())]
    Device {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The channel did not open, did not close, or refused what it should have taken.
    #[error("the channel: {0}")]
    Channel(String),
    /// A disk does not answer.
    #[error("a disk has not answered for {seconds} s")]
    Hangs {
        /// How long it was waited for.
        seconds: u64,
    },
    /// What was made could not be removed.
    #[error("what was made could not all be removed: {0}; remove it by hand")]
    Left(GroundError),
    /// It failed, and what was made could not be removed.
    #[error("{0}; and {1}")]
    FailedAndLeft(Box<Self>, Box<Self>),
    /// There is no memory for a buffer.
    #[error("no memory for a buffer: {0}")]
    Memory(io::Error),
    /// The operating system refused a thread.
    #[error("cannot start a thread: {0}; give fewer --producers and --takers")]
    Thread(io::Error),
}

impl BenchError {
    /// Whether it failed while it was measured; else it was refused before.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Plan(_) | Self::Ground(_) | Self::Memory(_) | Self::Thread(_))
    }
}

/// How far a run is.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Steps that are done.
    pub done: u64,
    /// Steps in all.
    pub steps: u64,
    /// What is measured now.
    pub what: String,
}

/// Directories that an earlier benchmark left in `paths` because it was killed, or that one has
/// there that runs now.
#[must_use]
pub fn left_behind(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().flat_map(|path| ground::left_in(path)).collect()
}

/// Measures everything, unless `stop` ends it before; then the report has what was measured until
/// then. `made` hears of the directories that it makes, `tell` of every step.
///
/// # Errors
/// See [`BenchError`].
pub fn run(
    options: &BenchOptions,
    stop: &AtomicBool,
    made: &mut dyn FnMut(&Path),
    tell: &mut dyn FnMut(&Stage),
) -> Result<Report, BenchError> {
    let plan = Plan::new(options)?;
    let minimum = options.channel.minimum_required_space;
    let ground = Ground::make(&options.data_dirs, options.beside, options.space_bytes, minimum)?;
    ground.paths().for_each(made);
    let mut report = Report::new(options, &plan, where_it_is(options, &ground));
    let steps = plan.steps(options.rounds);
    let mut bench = Bench { options, plan, ground, stop, tell, done: 0, steps };
    let ended = bench.all(&mut report);
    let cleared = bench.ground.clear().map_err(BenchError::Left);
    match (ended, cleared) {
        (Err(failed), Err(left)) => {
            return Err(BenchError::FailedAndLeft(Box::new(failed), Box::new(left)));
        }
        (ended, cleared) => ended.and(cleared)?,
    }
    report.conclude();
    Ok(report)
}

fn where_it_is(options: &BenchOptions, ground: &Ground) -> Where {
    let direct = ground.directories().iter().map(|d| d.capabilities().direct).collect();
    Where { data_dirs: options.data_dirs.clone(), direct, file_systems: ground.file_systems() }
}

struct Bench<'r> {
    options: &'r BenchOptions,
    plan: Plan,
    ground: Ground,
    stop: &'r AtomicBool,
    tell: &'r mut dyn FnMut(&Stage),
    done: u64,
    steps: u64,
}

impl Bench<'_> {
    fn all(&mut self, report: &mut Report) -> Result<(), BenchError> {
        self.begin("making the probe files".to_owned());
        let (directories, len) = (self.ground.directories(), self.plan.device_file_bytes);
        let devices = match Devices::prepare(&directories, len, self.stop) {
            Err(_) if self.is_stopped() => {
                report.interrupted = true;
                return Ok(());
            }
            devices => devices?,
        };
        let baseline = self.baseline()?;
        for round in 0..self.options.rounds {
            let speeds = self.devices(&devices, &format!("round {}", round + 1))?;
            let speed = device::together(&speeds);
            report.devices.push(speeds.clone());
            for at in 0..self.plan.workloads.len() {
                match self.workload(at, round, &speed)? {
                    Some(mut run) => {
                        run.baseline = self.beside(at, baseline.as_ref())?;
                        report.runs[at].push(run);
                    }
                    None => {
                        report.interrupted = true;
                        return Ok(());
                    }
                }
            }
            if self.plan.compares_directories() && !self.alone(round, &speeds[..1], report)? {
                report.interrupted = true;
                return Ok(());
            }
        }
        // Once more: so that each measurement of the channel stands between two of the devices.
        report.devices.push(self.devices(&devices, "the end")?);
        Ok(())
    }

    /// The plain file, when it is wanted and nobody has stopped the run.
    fn baseline(&self) -> Result<Option<Baseline>, BenchError> {
        let (len, first) = (self.plan.device_file_bytes, self.ground.paths().next());
        match first {
            Some(first) if self.options.baseline && !self.is_stopped() => {
                match Baseline::prepare(first, len, self.stop) {
                    Err(_) if self.is_stopped() => Ok(None),
                    made => made.map(Some),
                }
            }
            _ => Ok(None),
        }
    }

    /// What the plain file reaches with as many threads and as large transactions.
    fn beside(&self, at: usize, plain: Option<&Baseline>) -> Result<Option<f64>, BenchError> {
        let workload = &self.plan.workloads[at];
        let time = self.options.time.min(device::TIME_MAX);
        match plain {
            Some(plain) if self.plan.has_baseline(workload) => {
                plain.measure(workload, self.options.body_bytes, time)
            }
            _ => Ok(None),
        }
    }

    fn devices(&mut self, devices: &Devices, when: &str) -> Result<Vec<OfDirectory>, BenchError> {
        self.begin(format!("{when}: the devices alone"));
        let speeds = devices.measure(self.options.time)?;
        self.done += 1;
        Ok(speeds)
    }

    fn workload(
        &mut self,
        at: usize,
        round: u64,
        speed: &device::Speed,
    ) -> Result<Option<Run>, BenchError> {
        let stripes = self.ground.stripes();
        self.measure(at, round, speed, stripes)
    }

    /// The fastest puts in the first directory alone; whether nobody stopped it.
    fn alone(
        &mut self,
        round: u64,
        first: &[OfDirectory],
        report: &mut Report,
    ) -> Result<bool, BenchError> {
        let Some(at) = report.alone.choose(&report.workloads, &report.runs) else {
            return Ok(true);
        };
        let mut stripes = self.ground.stripes();
        stripes.truncate(1);
        let measured = self.measure(at, round, &device::together(first), stripes)?;
        if let (Some(alone), Some(together)) = (&measured, report.runs[at].last()) {
            report.alone.note(together, alone);
        }
        Ok(measured.is_some())
    }

    fn measure(
        &mut self,
        at: usize,
        round: u64,
        speed: &device::Speed,
        stripes: Vec<PathBuf>,
    ) -> Result<Option<Run>, BenchError> {
        if self.is_stopped() {
            return Ok(None);
        }
        let workload = self.plan.workloads[at];
        let all = self.ground.stripes().len();
        let (plan, place) = match stripes.len() {
            few if few < all => (self.plan.in_one(), " in the first directory alone"),
            _ => (self.plan.clone(), ""),
        };
        let (round, rounds) = (round + 1, self.options.rounds);
        self.begin(format!("round {round} of {rounds}: {}{place}", workload.name()));
        let provision = plan.provision(&workload, speed);
        let directories = (self.ground.checkpoint(), stripes);
        let settings = drive::options(self.options, &plan, &workload, &provision, directories);
        let run = drive::measure(settings, &workload, self.options, &provision, self.stop)?;
        self.ground.sweep()?;
        self.done += 1;
        Ok(run)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn begin(&mut self, what: String) {
        (self.tell)(&Stage { done: self.done, steps: self.steps, what });
    }
}
