//! Text to settings: Flume's `.properties` files, read as Java reads them, with a file and a line
//! for every word said about them.
//!
//! Limits: a file has 16 MiB at most, a value 1 MiB after its references are replaced.
//!
//! The story, in reading order: [`properties`] makes entries of bytes, a table of keys joins the
//! files, [`interpolate`] replaces `${…}`, the keys of one agent are sorted by section, each part
//! finds its type in the [`catalogue`] that the floors above hand in, and validation decides as
//! Flume decides what runs: [`agent`]. [`load()`] is the door. Nothing here opens a socket, starts
//! a thread or knows how a source is built.
//!
//! What always holds: no bytes make reading panic or run without bound; nothing is left out or
//! changed without a finding; where the agent does not run the findings say why, all of them.

pub mod agent;
mod ask;
pub mod catalogue;
pub mod channel_keys;
pub mod channels;
pub mod date;
pub mod dead_letter;
pub mod differences;
pub mod effective;
mod file;
mod filters;
mod findings;
pub mod fuzz;
pub mod http_auth;
pub mod interpolate;
pub mod load;
pub mod names;
mod parts;
pub mod properties;
pub mod secret;
mod sections;
pub mod settings;
pub mod stand_ins;
pub mod tls;
pub mod types;
mod validate;

pub use agent::AgentConfig;
pub use catalogue::{Catalogue, TypeEntry};
pub use file::{FileError, Text};
pub use load::{
    LoadError, Loaded, load, load_all, load_channel, load_merged, load_texts, settings_of,
};
