//! Listens to the trace events of the engine and its disk: counts the rows of the recovery table, the coverage marks
//! and the faults that a campaign met, and prints everything for a run under examination.

use millpond::internal::base::coverage_mark::{CoverageMark, TARGET};
use millpond::internal::layout::LayoutError;
use millpond::internal::recovery::RecoveryError;
use millpond::internal::recovery::decision_table::Case;
use millpond_sim::disk;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

/// How often each thing was met, by name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What was met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Met {
    /// Rows and coverage marks.
    pub(crate) engine: Counts,
    /// Faults of calls to the disk, or of its bytes.
    pub(crate) faults: Counts,
}

impl Met {
    pub(crate) fn add(&mut self, other: &Self) {
        let pairs = [(&mut self.engine, &other.engine), (&mut self.faults, &other.faults)];
        for (sum, part) in pairs {
            for (name, count) in part {
                *sum.entry(name.clone()).or_default() += count;
            }
        }
    }

    /// Returns which of these were never met.
    pub(crate) fn never<'a>(&self, due: impl IntoIterator<Item = &'a String>) -> Vec<&'a String> {
        let met =
            |name: &&String| self.engine.contains_key(*name) || self.faults.contains_key(*name);
        due.into_iter().filter(|name| !met(name)).collect()
    }
}

thread_local! {
    // A life runs on one thread, the engine with it.
    static MET: RefCell<Met> = RefCell::default();
}

struct Words;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = field.name();
        // Writing to a string cannot fail.
        let _ = match name {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Words {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        [TARGET, disk::TARGET].contains(&about.target())
            || *about.level() <= Level::DEBUG
            || crate::random::verbose()
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        match event.metadata().target() {
            TARGET => met(&line.0),
            disk::TARGET => count_fault(&line.0),
            // A finding, as people read it: the place, its row, what was done.
            _ => line.0.split(": ").filter(|part| row(part).is_some()).take(1).for_each(met),
        }
        if crate::random::verbose() {
            eprintln!("    {} {}", event.metadata().level(), line.0);
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn row(name: &str) -> Option<Case> {
    Case::ALL.into_iter().find(|case| case.to_string() == name)
}

fn count(counts: &mut Counts, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}

fn met(name: &str) {
    MET.with_borrow_mut(|met| count(&mut met.engine, name));
}

/// Counts a fault of the disk.
pub(crate) fn count_fault(name: &str) {
    MET.with_borrow_mut(|met| count(&mut met.faults, name));
}

/// Counts the row of the table that refused an opening, if there was one.
pub(crate) fn refused(error: &RecoveryError) -> Option<Case> {
    let case = match error {
        RecoveryError::SegmentsMissing { .. } => Case::R7,
        RecoveryError::File(LayoutError::Read { .. }) => Case::R8,
        RecoveryError::File(LayoutError::Newer { .. }) => Case::R10,
        RecoveryError::ForeignMember { .. }
        | RecoveryError::WrongRole { .. }
        | RecoveryError::Misplaced { .. } => Case::R11,
        RecoveryError::MemberMissing { .. } => Case::R15,
        _ => return None,
    };
    met(&case.to_string());
    Some(case)
}

/// Starts listening, and resets what this thread met before.
pub(crate) fn start_recording() {
    // A second call changes nothing.
    let _ = tracing::subscriber::set_global_default(Words);
    MET.take();
}

/// Returns what this thread met since [`start_recording`] or the last call.
pub(crate) fn take_met() -> Met {
    MET.take()
}

/// Returns the names of rows and coverage marks.
pub(crate) fn names(rows: &[Case], places: &[CoverageMark]) -> Vec<String> {
    rows.iter().map(Case::to_string).chain(places.iter().map(|p| format!("{p:?}"))).collect()
}

/// Returns counts in one line.
pub(crate) fn listed(counts: &Counts) -> String {
    let words: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    words.join(", ")
}

/// Prints how often each row of the table and each coverage mark was met since [`start_recording`], and fails if one of them was
/// not.
pub(crate) fn check_met(rows: &[Case], places: &[CoverageMark]) {
    let met = take_met();
    println!("met: {}", listed(&met.engine));
    let due = names(rows, places);
    let never = met.never(&due);
    assert!(
        never.is_empty(),
        "a campaign that never meets these proves nothing of them: {never:?}"
    );
}
