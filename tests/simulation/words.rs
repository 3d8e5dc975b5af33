//! Listens to what the engine says: counts the rows of the recovery table and the rare places that
//! a campaign met, and shows everything for a run that is looked at.

use millpond::base::rare::{Rare, TARGET};
use millpond::recovery::table::Case;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

thread_local! {
    // A campaign runs on one thread, the engine with it.
    static MET: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
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
        about.target() == TARGET || *about.level() <= Level::WARN || crate::random::verbose()
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let met = match event.metadata().target() {
            TARGET => Some(line.0.as_str()),
            // A finding, as people read it: the place, its row, what was done.
            _ => line.0.split(": ").find(|part| row(part).is_some()),
        };
        if let Some(name) = met {
            MET.with_borrow_mut(|met| *met.entry(name.to_owned()).or_default() += 1);
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

/// Listens from now on, and forgets what this thread met before.
pub(crate) fn listen() {
    // A second call changes nothing.
    let _ = tracing::subscriber::set_global_default(Words);
    MET.with_borrow_mut(BTreeMap::clear);
}

/// Prints how often each row of the table and each rare place was met since [`listen`], and
/// fails when one of `due` was not.
pub(crate) fn check_met(rows: &[Case], places: &[Rare]) {
    let met = MET.with_borrow(BTreeMap::clone);
    let words: Vec<String> = met.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("met: {}", words.join(", "));
    let due = rows.iter().map(Case::to_string).chain(places.iter().map(|p| format!("{p:?}")));
    let never: Vec<String> = due.filter(|name| !met.contains_key(name)).collect();
    assert!(
        never.is_empty(),
        "a campaign that never meets these proves nothing of them: {never:?}"
    );
}
