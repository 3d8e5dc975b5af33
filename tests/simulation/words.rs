//! Listens to what the engine and its disk say: counts the rows of the recovery table, the rare
//! places and the faults that a campaign met, and shows everything for a run that is looked at.

use millpond::base::rare::{Rare, TARGET};
use millpond::disk::sim;
use millpond::recovery::OpenError;
use millpond::recovery::table::Case;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

/// How often each thing was met, by its name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What was met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Met {
    /// Rows and places.
    pub(crate) engine: Counts,
    /// What befell calls to the disk, or its bytes.
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

    /// Which of these were met never.
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
        // A string takes what is written to it.
        let _ = match name {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Words {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        [TARGET, sim::TARGET].contains(&about.target())
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
            sim::TARGET => befell(&line.0),
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

/// Notes something that befell the disk.
pub(crate) fn befell(name: &str) {
    MET.with_borrow_mut(|met| count(&mut met.faults, name));
}

/// Notes the row of the table that refused an opening, if it was one.
pub(crate) fn refused(error: &OpenError) -> Option<Case> {
    let case = match error {
        OpenError::SegmentsMissing { .. } => Case::R7,
        OpenError::Unreadable { .. } => Case::R8,
        OpenError::Newer { .. } => Case::R10,
        OpenError::ForeignMember { .. }
        | OpenError::WrongRole { .. }
        | OpenError::Misplaced { .. } => Case::R11,
        OpenError::MemberMissing { .. } => Case::R15,
        _ => return None,
    };
    met(&case.to_string());
    Some(case)
}

/// Listens from now on, and forgets what this thread met before.
pub(crate) fn listen() {
    // A second call changes nothing.
    let _ = tracing::subscriber::set_global_default(Words);
    MET.take();
}

/// What this thread met since [`listen`] or the last call of this.
pub(crate) fn heard() -> Met {
    MET.take()
}

/// Names of rows and places.
pub(crate) fn names(rows: &[Case], places: &[Rare]) -> Vec<String> {
    rows.iter().map(Case::to_string).chain(places.iter().map(|p| format!("{p:?}"))).collect()
}

/// Counts in one line.
pub(crate) fn listed(counts: &Counts) -> String {
    let words: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    words.join(", ")
}

/// Prints how often each row of the table and each rare place was met since [`listen`], and
/// fails when one of `due` was not.
pub(crate) fn check_met(rows: &[Case], places: &[Rare]) {
    let met = heard();
    println!("met: {}", listed(&met.engine));
    let due = names(rows, places);
    let never = met.never(&due);
    assert!(
        never.is_empty(),
        "a campaign that never meets these proves nothing of them: {never:?}"
    );
}
