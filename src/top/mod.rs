//! `millpond top`: several agents on one screen, as of now.
//!
//! # Limits
//!
//! [`TARGETS_MAX`] agents, [`PAGE_BYTES_MAX`] a page, [`COMPONENTS_MAX`] components and [`ALARMS_MAX`]
//! alarms of each; of an agent the last two readings are kept, and of a component the numbers that are
//! shown. A connection has [`CONNECT`], everything that is asked in one round has [`ROUND`]. An agent that
//! does not answer holds up nobody else, nor the screen.
//!
//! # The story
//!
//! [`ask()`] gets the page for Prometheus from a [`Target`]; [`exposition`] takes it apart, and what is shown
//! of it is a [`Reading`]. With it come what `/readyz` names and the alarms of `/alarms`, where there are
//! any. An [`Agent`] is what was last heard of one, or why nothing is; two readings of it make rates.
//! [`Row`]s are made of that, sorted, and put into a [`table`]: once, for scripts, or again and again on a
//! [`screen`].
//!
//! # Invariants
//!
//! - Names are hostile: control characters of theirs never reach the terminal.
//! - The terminal is left as it was found, also after a panic and a signal.

mod agent;
mod ask;
mod exposition;
mod line;
mod reading;
mod rows;
mod screen;
mod table;
mod terminal;

pub use agent::{Agent, Alarm};
pub use ask::{Access, Answer, AskError, Failing, Target, TargetError, ask};
pub use reading::Reading;
pub use rows::{Row, Sort, State, Weight, rows};
pub use screen::{Heard, Screen};
pub use table::{json_line, text};

use std::time::Duration;

/// Agents that are watched at once.
pub const TARGETS_MAX: usize = 256;
/// Bytes of a page.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Components of an agent that are shown; more are counted.
const COMPONENTS_MAX: usize = 2000;
/// Active alarms of an agent that are shown.
const ALARMS_MAX: usize = 100;
/// For a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// Everything that is asked of an agent in one round.
const ROUND: Duration = Duration::from_secs(5);
