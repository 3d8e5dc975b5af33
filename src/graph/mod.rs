//! The flow of configured agents as a picture: what feeds what, and which agent sends to which.
//!
//! # Limits
//!
//! A picture has as many parts as the configurations have. A line of a part shows 48 characters at
//! most; what is longer ends in `…`. Passwords and commands are not shown.
//!
//! # The story
//!
//! [`Picture::of`] takes what validation left of each agent and keeps what is worth a look: names,
//! types, addresses, interceptors, selectors, groups. A sink that sends to where a source of a drawn
//! agent listens is joined to it ([`Hop`]). [`text()`] lists that, [`dot()`] writes it for Graphviz,
//! and [`svg()`] lays it out and draws it: sources left, channels, sinks right; agents that receive
//! stand to the right of those that send. [`json()`] gives it to programs, names whole.

mod dot;
mod json;
mod layout;
mod picture;
mod svg;
#[cfg(test)]
mod tests;
mod text;

pub use dot::dot;
pub use json::json;
pub use picture::{Agent, Group, Hop, Part, Picture, Sink, Source};
pub use svg::svg;
pub use text::text;
