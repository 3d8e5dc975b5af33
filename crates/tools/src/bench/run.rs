//! A run: rounds over the devices and all workloads, one after the other.

use super::baseline::PlainFileBaseline;
use super::bench_dirs::{self, BenchDirs};
use super::device::{self, DirectorySpeed, ProbeFiles};
use super::error::BenchError;
use super::measurement::{self, Measurement};
use super::plan::{BenchOptions, BenchPlan};
use super::report::{BenchReport, MachineDescription};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The progress of a run.
#[derive(Clone, Debug)]
pub struct BenchStage {
    /// Steps that are done.
    pub done: u64,
    /// Steps in all.
    pub steps: u64,
    /// The current measurement.
    pub what: String,
}

/// Returns directories in `paths` that an earlier benchmark left because it was killed, or that
/// belong to one that runs now.
#[must_use]
pub fn left_behind(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().flat_map(|path| bench_dirs::left_in(path)).collect()
}

/// Measures everything, unless `stop` ends it before; then the report has what was measured until
/// then. `made` gets the directories that it creates, `tell` every step.
///
/// # Errors
/// See [`BenchError`].
pub fn run(
    options: &BenchOptions,
    stop: &AtomicBool,
    made: &mut dyn FnMut(&Path),
    tell: &mut dyn FnMut(&BenchStage),
) -> Result<BenchReport, BenchError> {
    let plan = BenchPlan::new(options)?;
    let minimum = options.channel.minimum_required_space;
    let bench_dirs =
        BenchDirs::make(&options.data_dirs, options.beside, options.space_bytes, minimum)?;
    bench_dirs.paths().for_each(made);
    let mut report = BenchReport::new(options, &plan, where_it_is(options, &bench_dirs));
    let steps = plan.steps(options.rounds);
    let mut bench = BenchRun { options, plan, bench_dirs, stop, tell, done: 0, steps };
    let ended = bench.all(&mut report);
    let cleared = bench.bench_dirs.clear().map_err(BenchError::Left);
    match (ended, cleared) {
        (Err(failed), Err(left)) => {
            return Err(BenchError::FailedAndLeft(Box::new(failed), Box::new(left)));
        }
        (ended, cleared) => ended.and(cleared)?,
    }
    report.conclude();
    Ok(report)
}

fn where_it_is(options: &BenchOptions, bench_dirs: &BenchDirs) -> MachineDescription {
    let direct = bench_dirs.directories().iter().map(|d| d.capabilities().direct).collect();
    MachineDescription {
        data_dirs: options.data_dirs.clone(),
        direct,
        file_systems: bench_dirs.file_systems(),
    }
}

struct BenchRun<'r> {
    options: &'r BenchOptions,
    plan: BenchPlan,
    bench_dirs: BenchDirs,
    stop: &'r AtomicBool,
    tell: &'r mut dyn FnMut(&BenchStage),
    done: u64,
    steps: u64,
}

impl BenchRun<'_> {
    fn all(&mut self, report: &mut BenchReport) -> Result<(), BenchError> {
        self.begin("making the probe files".to_owned());
        let (directories, len) = (self.bench_dirs.directories(), self.plan.device_file_bytes);
        let devices = match ProbeFiles::prepare(&directories, len, self.stop) {
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
            if self.plan.compares_directories()
                && !self.measure_first_dir(round, &speeds[..1], report)?
            {
                report.interrupted = true;
                return Ok(());
            }
        }
        // Once more: so that each measurement of the channel is between two of the devices.
        report.devices.push(self.devices(&devices, "the end")?);
        Ok(())
    }

    /// Returns the plain file, when it is wanted and the run was not stopped.
    fn baseline(&self) -> Result<Option<PlainFileBaseline>, BenchError> {
        let (len, first) = (self.plan.device_file_bytes, self.bench_dirs.paths().next());
        match first {
            Some(first) if self.options.baseline && !self.is_stopped() => {
                match PlainFileBaseline::prepare(first, len, self.stop) {
                    Err(_) if self.is_stopped() => Ok(None),
                    made => made.map(Some),
                }
            }
            _ => Ok(None),
        }
    }

    /// Returns what the plain file reaches with as many threads and as large transactions.
    fn beside(
        &self,
        at: usize,
        plain: Option<&PlainFileBaseline>,
    ) -> Result<Option<f64>, BenchError> {
        let workload = &self.plan.workloads[at];
        let time = self.options.time.min(device::TIME_MAX);
        match plain {
            Some(plain) if self.plan.has_baseline(workload) => {
                plain.measure(workload, self.options.body_bytes, time)
            }
            _ => Ok(None),
        }
    }

    fn devices(
        &mut self,
        devices: &ProbeFiles,
        when: &str,
    ) -> Result<Vec<DirectorySpeed>, BenchError> {
        self.begin(format!("{when}: the devices alone"));
        let speeds = devices.measure(self.options.time)?;
        self.done += 1;
        Ok(speeds)
    }

    fn workload(
        &mut self,
        at: usize,
        round: u64,
        speed: &crate::bench::device_speed::DeviceSpeed,
    ) -> Result<Option<Measurement>, BenchError> {
        let stripes = self.bench_dirs.stripes();
        self.measure(at, round, speed, stripes)
    }

    /// Measures the fastest puts in the first directory alone; returns whether it was not stopped.
    fn measure_first_dir(
        &mut self,
        round: u64,
        first: &[DirectorySpeed],
        report: &mut BenchReport,
    ) -> Result<bool, BenchError> {
        let Some(at) = report.alone.choose(&report.workloads, &report.runs) else {
            return Ok(true);
        };
        let mut stripes = self.bench_dirs.stripes();
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
        speed: &crate::bench::device_speed::DeviceSpeed,
        stripes: Vec<PathBuf>,
    ) -> Result<Option<Measurement>, BenchError> {
        if self.is_stopped() {
            return Ok(None);
        }
        let workload = self.plan.workloads[at];
        let all = self.bench_dirs.stripes().len();
        let (plan, place) = match stripes.len() {
            few if few < all => (self.plan.in_one(), " in the first directory alone"),
            _ => (self.plan.clone(), ""),
        };
        let (round, rounds) = (round + 1, self.options.rounds);
        self.begin(format!("round {round} of {rounds}: {}{place}", workload.name()));
        let provision = plan.provision(&workload, speed);
        let directories = (self.bench_dirs.checkpoint(), stripes);
        let settings =
            measurement::options(self.options, &plan, &workload, &provision, directories);
        let run = measurement::measure(settings, &workload, self.options, &provision, self.stop)?;
        self.bench_dirs.sweep()?;
        self.done += 1;
        Ok(run)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn begin(&mut self, what: String) {
        (self.tell)(&BenchStage { done: self.done, steps: self.steps, what });
    }
}
