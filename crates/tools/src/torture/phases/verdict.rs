//! The second phase: what is left, compared with what was acknowledged.

use super::{AckFileHeader, LINE_BYTES_MAX, PhaseError, boot, end_of};
use crate::torture::note::Note;
use crate::torture::note_writer::{NoteWriter, RecordedNotes};
use crate::torture::oracle::{EventCounts, Oracle, OracleFindings, ViolationKind};
use crate::torture::run::damage;
use crate::torture::run_state::{RunKind, RunOrders, RunState};
use crate::torture::scratch_dirs::ScratchDirs;
use millpond::internal::base::quantity::Quantity;
use millpond_flow::base::files;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to judge, and by which acknowledgements.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// The directories of the write, in the same order.
    pub data_dirs: Vec<PathBuf>,
    /// The acknowledgements of the write.
    pub acks: PathBuf,
    /// Whether the directories are left as they are when nothing is wrong.
    pub keep: bool,
}

/// The result.
#[derive(Debug)]
pub struct VerifyReport {
    seed: u64,
    counts: EventCounts,
    waiting: u64,
    findings: OracleFindings,
    /// The machine was started again since the write.
    restarted: bool,
    /// The write was ended in order.
    closed: bool,
    /// The acknowledgements have an end mark.
    whole: bool,
    suspicions: Vec<String>,
}

/// Judges what a power cut left.
///
/// # Errors
/// The directories are not those of a write, or the acknowledgements cannot be read.
pub fn verify(options: &VerifyOptions) -> Result<VerifyReport, PhaseError> {
    let (scratch_dirs, ended) = ScratchDirs::left_by_write(&options.data_dirs)?;
    let AckFile { head, mut oracle, closed, whole } = read_acks(&options.acks)?;
    if ended && !closed {
        return Err(PhaseError::Cut { path: options.acks.clone() });
    }
    let (listed, given) = (head.directories, options.data_dirs.len());
    if listed != given {
        return Err(PhaseError::Directories { path: options.acks.clone(), listed, given });
    }
    oracle.process_died();
    look(options, head.seed, &mut oracle)?;
    if oracle.findings.total() == 0 {
        for words in damage(&options.data_dirs) {
            oracle.findings.add(ViolationKind::Damaged, words);
        }
    }
    let verdict = VerifyReport {
        seed: head.seed,
        counts: oracle.counts,
        waiting: oracle.waiting(),
        findings: oracle.findings,
        restarted: head.boot != boot(),
        closed,
        whole: closed || whole,
        suspicions: super::suspicions(&options.data_dirs),
    };
    if verdict.is_clean() && !options.keep {
        scratch_dirs.clear()?;
    }
    Ok(verdict)
}

/// The contents of a file of acknowledgements.
struct AckFile {
    head: AckFileHeader,
    oracle: Oracle,
    /// The write was ended in order.
    closed: bool,
    /// It has an end mark.
    whole: bool,
}

/// Reads every whole line.
fn read_acks(path: &Path) -> Result<AckFile, PhaseError> {
    let at = |source| PhaseError::File { path: path.to_owned(), source };
    let mut lines = BufReader::new(files::open_regular(path).map_err(at)?);
    let mut acks: Option<AckFile> = None;
    let mut number = 0;
    loop {
        let mut line = Vec::new();
        lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(at)?;
        let too_long = line.len() as u64 == LINE_BYTES_MAX;
        if line.pop() != Some(b'\n') && !too_long {
            // A line without an end was being sent when the power failed.
            break;
        }
        number += 1;
        let wrong = || PhaseError::Line { path: path.to_owned(), line: number };
        let text = std::str::from_utf8(&line).ok().filter(|_| !too_long).ok_or_else(wrong)?;
        match &mut acks {
            None => {
                let head = AckFileHeader::read(text).ok_or_else(wrong)?;
                let oracle = Oracle::new(head.seed, false);
                acks = Some(AckFile { head, oracle, closed: false, whole: false });
            }
            // Nothing follows the end mark.
            Some(acks) if acks.whole => return Err(wrong()),
            Some(acks) => match end_of(text) {
                Some(lines) if lines + 1 == number => acks.whole = true,
                Some(_) => return Err(PhaseError::Cut { path: path.to_owned() }),
                None => {
                    let note = Note::read(text).ok_or_else(wrong)?;
                    acks.closed |= note == Note::Closed;
                    acks.oracle.hear(note);
                }
            },
        }
    }
    acks.ok_or_else(|| PhaseError::Line { path: path.to_owned(), line: 1 })
}

/// Opens the channel and reads its contents.
fn look(options: &VerifyOptions, seed: u64, oracle: &mut Oracle) -> Result<(), PhaseError> {
    let orders = RunOrders {
        seed,
        life: 1,
        data_dirs: options.data_dirs.clone(),
        work: RunKind::Look,
        next: Vec::new(),
        strike: None,
        quota: None,
        lie: None,
    };
    let kept = Arc::new(RecordedNotes::default());
    let begun = RunState::begin(orders, Arc::clone(&kept) as Arc<dyn NoteWriter>);
    // The notes say why it did not begin.
    if let Ok(life) = begun {
        life.end(Vec::new()).map_err(PhaseError::System)?;
    }
    kept.take().into_iter().for_each(|note| oracle.hear(note));
    Ok(())
}

impl VerifyReport {
    /// Returns whether everything acknowledged is as it must be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.total() == 0
    }

    /// Returns the report as text.
    #[must_use]
    pub fn words(&self) -> String {
        let mut text = String::new();
        let (put, taken) = (self.counts.put_acknowledged, self.counts.taken_acknowledged);
        let _ = writeln!(
            text,
            "acknowledged: {} put, {taken} taken; {} waiting",
            Quantity(put, "event"),
            self.waiting
        );
        if self.is_clean() {
            let _ =
                writeln!(text, "everything acknowledged is there, once, in order, byte for byte");
        } else {
            for kind in ViolationKind::ALL {
                let found = self.findings.count(kind);
                if found > 0 {
                    let _ = writeln!(text, "{}: {found}", kind.word());
                }
            }
            for words in self.findings.words() {
                let _ = writeln!(text, "  {words}");
            }
            let _ = writeln!(text, "{}", self.blame());
            if !self.whole {
                let _ = writeln!(
                    text,
                    "note: the acknowledgements do not say where they end, as those in a file \
                     cannot when the power goes; a copy of them that was cut short makes events \
                     that were taken look lost, so compare it with the file of the write"
                );
            }
        }
        if self.closed {
            let _ = writeln!(text, "note: the write was ended in order; nothing was cut off");
        } else if !self.restarted {
            let _ = writeln!(
                text,
                "note: the machine has not been started again since the write: this judges a killed \
                 process, not a power cut"
            );
        }
        for words in &self.suspicions {
            let _ = writeln!(text, "note: {words}");
        }
        text
    }

    /// Returns what may be at fault.
    fn blame(&self) -> &'static str {
        let forgot = [
            ViolationKind::Lost,
            ViolationKind::Doubled,
            ViolationKind::Position,
            ViolationKind::Halved,
            ViolationKind::Failed,
        ];
        if forgot.iter().any(|kind| self.findings.count(*kind) > 0) {
            "What the storage reported as written is not on the medium any more. Either something \
             below it lies about sync - a disk or controller with a write cache that loses its \
             contents, a virtual disk with cache=unsafe, a file system mounted without barriers, a \
             loop device over such a file - or the channel has a fault. Run the same test on \
             storage that is known to be honest: what stays wrong there is the channel's."
        } else {
            "What is there is not what was written. Either something below the channel altered it, \
             or the channel has a fault."
        }
    }

    /// Returns the report as JSON, one object.
    #[must_use]
    pub fn json(&self) -> Value {
        let found: BTreeMap<&str, u64> = ViolationKind::ALL
            .iter()
            .map(|kind| (kind.word(), self.findings.count(*kind)))
            .collect();
        json!({
            "clean": self.is_clean(),
            "seed": self.seed,
            "events": self.counts,
            "waiting": self.waiting,
            "lost": self.findings.count(ViolationKind::Lost),
            "doubled": self.findings.count(ViolationKind::Doubled),
            "found": found,
            "words": self.findings.words(),
            "restarted": self.restarted,
            "closed": self.closed,
            "acks_whole": self.whole,
            "suspicions": self.suspicions,
        })
    }
}
