//! The faults of the two agents, one after the other, each undone before the next.

use super::lines::Client;
use super::{BATCH, Place};
use crate::full_disk::SmallDisk;
use crate::process::{Agent, Random, signal, until};
use millpond::{Clock, SystemClock};
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Batches that a kill of the back may repeat: those that its sink had written and not yet
/// acknowledged, and one of the front's.
const REPEATED_BATCHES: u64 = 33;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// SIGKILL for the front.
    KilledFront,
    /// SIGKILL for the back.
    KilledBack,
    /// The server is down for a while.
    AwayBack,
    /// The server hangs for a while: SIGSTOP.
    HungBack,
    /// No byte is left on the disk of the front's channel.
    FullDisk,
    /// A burst: as many lines as possible.
    Burst,
}

/// In this order, repeatedly.
const FAULTS: [Fault; 6] = [
    Fault::Burst,
    Fault::KilledFront,
    Fault::HungBack,
    Fault::KilledBack,
    Fault::FullDisk,
    Fault::AwayBack,
];

/// The targets of the faults.
pub(super) struct Stage<'a, 'p> {
    pub(super) places: &'a mut [Place<'p>; 2],
    pub(super) client: &'a Client,
    /// `None` if none can be mounted.
    pub(super) disk: Option<&'a SmallDisk>,
}

/// The faults of a run.
pub(super) struct Faults {
    random: Random,
    length: Duration,
    /// How often each was done.
    done: [u64; FAULTS.len()],
}

impl Faults {
    pub(super) fn new(random: Random, length: Duration) -> Self {
        Self { random, length, done: [0; FAULTS.len()] }
    }

    /// Injects faults for the whole run. In its second half processes live on, so that growth
    /// shows.
    pub(super) fn run(&mut self, stage: &mut Stage<'_, '_>) {
        let clock = SystemClock::new();
        let mut at = 0;
        while clock.now() < self.length {
            let (which, fault) = (at % FAULTS.len(), FAULTS[at % FAULTS.len()]);
            at += 1;
            let ends_a_process =
                matches!(fault, Fault::KilledFront | Fault::KilledBack | Fault::AwayBack);
            let left_out = fault == Fault::FullDisk && stage.disk.is_none();
            if left_out || (ends_a_process && at > FAULTS.len() && clock.now() > self.length / 2) {
                continue;
            }
            self.pass(stage);
            self.inflict(fault, stage);
            self.done[which] += 1;
            self.progress(stage);
        }
        self.pass(stage);
    }

    /// A part of the run's time, 0.3 s to 8 s.
    fn while_of(&mut self) -> Duration {
        let most = (self.length / 40).clamp(Duration::from_millis(300), Duration::from_secs(8));
        let millis = u64::try_from(most.as_millis()).expect("seconds");
        Duration::from_millis(millis / 2 + self.random.below(millis / 2))
    }

    fn pass(&mut self, stage: &mut Stage<'_, '_>) {
        std::thread::sleep(self.while_of());
        for agent in stage.places.iter_mut().filter_map(|place| place.agent.as_mut()) {
            agent.assert_alive();
        }
    }

    /// Waits for an acknowledgement: otherwise the opening would be hit again and again.
    fn progress(&self, stage: &Stage<'_, '_>) {
        let answered = || stage.client.answered.load(Ordering::SeqCst);
        let before = answered();
        let words = || stage.places.iter().map(Place::words).collect();
        until("a reply after a fault", words, || answered() > before || stage.client.stopped());
    }

    fn inflict(&mut self, fault: Fault, stage: &mut Stage<'_, '_>) {
        let pause = self.while_of();
        let [front, back] = stage.places;
        match fault {
            Fault::KilledFront | Fault::KilledBack => {
                let place = if fault == Fault::KilledFront { front } else { back };
                place.take().kill();
                std::thread::sleep(pause / 4);
                place.start();
            }
            Fault::AwayBack => {
                let agent = back.take();
                let words = agent.words();
                assert_eq!(agent.terminate().code(), Some(0), "{words}");
                std::thread::sleep(pause);
                back.start();
            }
            Fault::HungBack => {
                let process = back.agent.as_ref().map(Agent::id).expect("it runs");
                signal(process, "STOP");
                std::thread::sleep(pause);
                signal(process, "CONT");
            }
            Fault::FullDisk => {
                let ballast = stage.disk.expect("there is one").fill();
                std::thread::sleep(pause);
                std::fs::remove_file(ballast).expect("removed");
            }
            Fault::Burst => {
                stage.client.bursts.store(true, Ordering::SeqCst);
                std::thread::sleep(pause);
                stage.client.bursts.store(false, Ordering::SeqCst);
            }
        }
    }

    /// Lines that may come out twice: those that each fault left in doubt.
    pub(super) fn repeats_allowed(&self) -> u64 {
        let batches = |fault: Fault| match fault {
            Fault::KilledFront => 1,
            Fault::KilledBack => REPEATED_BATCHES,
            // A request is given up after 5 s; its batch may have been written all the same.
            Fault::HungBack => 4,
            Fault::AwayBack => 2,
            Fault::FullDisk | Fault::Burst => 0,
        };
        FAULTS.iter().zip(self.done).map(|(fault, times)| batches(*fault) * times * BATCH).sum()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = FAULTS.iter().zip(self.done).map(|(fault, times)| format!("{fault:?} {times}"));
        f.write_str(&words.collect::<Vec<_>>().join(", "))
    }
}
