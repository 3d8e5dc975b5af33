//! The rules of the source code, checked by reading it. Each rule has a test with a snippet that
//! breaks it, so that a rule that no longer works is noticed.
//!
//! Most rules read source with comments, strings and tests blanked out ([`source`]); they are simple
//! readers, not a compiler, and may report too much rather than too little.

mod cycles;
mod documents;
mod face;
mod floors;
mod log_lines;
mod names;
mod places;
mod prose;
mod size;
mod source;

/// Fails with all complaints at once, one per line.
fn nothing_to_complain_about(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}:\n  {}", complaints.join("\n  "));
}
