//! `millpond top`: the current state of several agents on one screen.
//!
//! # Limits
//!
//! [`TARGETS_MAX`] agents, [`PAGE_BYTES_MAX`] per page, [`COMPONENTS_MAX`] components and
//! [`ALARMS_MAX`] alarms of each; of an agent the last two readings are kept, and of a component
//! the numbers that are shown. A connection has [`CONNECT`], all requests of one round have
//! [`ROUND`]. An agent that does not reply delays neither other agents nor the screen.
//!
//! # How it works
//!
//! [`ask()`] gets the page for Prometheus from an [`AgentAddress`]; [`exposition`] parses it, and
//! what is shown of it is an [`AgentMetrics`]. It also gets `/readyz` and the alarms of `/alarms`,
//! if they exist. An [`AgentState`] is the last known state of an agent, or why there is none; two
//! readings of it give rates. [`ComponentRow`]s are made of that, sorted, and put into a [`table`]:
//! once, for scripts, or repeatedly on a [`screen`].
//!
//! # Invariants
//!
//! - Names are not trusted: their control characters never reach the terminal.
//! - The terminal is restored, also after a panic and a signal.

mod agent;
mod agent_alarm;
mod agent_client;
mod exposition;
mod metrics_page;
mod rows;
mod screen;
mod styled_line;
mod table;
mod terminal;

pub use agent::AgentState;
pub use agent_alarm::AgentAlarm;
pub use agent_client::{
    AgentAccess, AgentAddress, AgentAddressError, AgentAnswer, AskError, FailingComponent, ask,
};
pub use metrics_page::AgentMetrics;
pub use rows::{ComponentRow, ComponentState, SortOrder, StateSeverity, rows};
pub use screen::{AgentUpdate, Screen};
pub use table::{json_line, text};

use std::time::Duration;

/// Most agents that are watched at once.
pub const TARGETS_MAX: usize = 256;
/// Size limit of a page, bytes.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Components of an agent that are shown; more are counted.
const COMPONENTS_MAX: usize = 2000;
/// Active alarms of an agent that are shown.
const ALARMS_MAX: usize = 100;
/// Timeout of a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// Timeout of all requests to an agent in one round.
const ROUND: Duration = Duration::from_secs(5);
