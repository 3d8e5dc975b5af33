//! The rules of the house, held by reading its source. Each rule has a test that feeds it a snippet
//! which breaks it, so that a rule that no longer bites is noticed.
//!
//! The rules look at source with comments, strings and tests blanked out ([`source`]); they are
//! simple readers, not a compiler, and prefer to complain once too often.

mod documents;
mod floors;
mod log_lines;
mod names;
mod places;
mod size;
mod source;

/// Fails with all complaints at once, one per line.
fn nothing_to_complain_about(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}:\n  {}", complaints.join("\n  "));
}
