//! Reads Flume's `.properties` files as Java does, into settings with a file and line for every finding.
//!
//! Limits: a file has at most 16 MiB, a value 1 MiB after its references are replaced.
//!
//! In reading order: [`properties`] parses bytes into entries, a table of keys merges the files,
//! [`interpolation`] replaces `${…}`, the keys of one agent are sorted by section, each component finds its type
//! in the [`catalogue`] that the higher modules provide, and validation decides as Flume does what runs:
//! [`agent`]. [`load()`] is the entry point. Nothing here opens a socket, starts a component or knows how a
//! source is built.
//!
//! Invariants: no input makes reading panic or run without bound; nothing is left out or changed without a
//! finding; if the agent does not run, the findings contain all reasons.

pub mod agent;
pub mod catalogue;
pub mod channel_keys;
pub mod channels;
pub mod class_mapping;
mod component_kinds;
pub mod difference;
pub mod difference_notes;
pub mod differences;
pub mod effective_settings;
mod external_filter;
mod file;
mod filters;
mod findings;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
pub mod interpolation;
mod load_context;
pub mod loader;
pub mod properties;
mod sections;
mod tls_inheritance;
pub mod types;
mod validation;

pub use agent::AgentConfig;
pub use catalogue::{Catalogue, TypeEntry};
pub use file::{ConfigText, FileError};
pub use loader::{
    ConfigError, LoadedConfig, load, load_all, load_channel, load_merged, load_texts, settings_of,
};
