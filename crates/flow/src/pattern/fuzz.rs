//! Entry point of the fuzz target; crates/agent/tests/hostile runs it too.

use super::{Pattern, Replacement};

/// Takes a pattern, a text and a replacement, separated by NUL. Matches must be ranges of the text that do not
/// overlap, and replacing every match by itself must return the text.
///
/// # Panics
/// That does not hold.
pub fn pattern(bytes: &[u8]) {
    let all = String::from_utf8_lossy(bytes);
    let mut parts = all.splitn(3, '\0');
    let [java, text, replacement] = std::array::from_fn(|_| parts.next().unwrap_or(""));
    let Ok(pattern) = Pattern::new(java) else { return };
    let Ok(found) = pattern.find_all(text).collect::<Result<Vec<_>, _>>() else { return };
    let mut behind = 0;
    for found in &found {
        let whole = found.whole();
        assert!(
            whole.start >= behind && text.get(whole.clone()).is_some(),
            "matches do not overlap"
        );
        behind = whole.end;
        for group in (0..=pattern.groups()).filter_map(|at| found.group(at)) {
            assert!(text.get(group).is_some(), "a group is text");
        }
    }
    assert_eq!(pattern.is_in(text), Ok(!found.is_empty()), "looking and finding agree");
    if pattern.is_whole(text) == Ok(true) {
        assert!(!found.is_empty(), "what matches as a whole is found");
    }
    let parts = pattern.split(text).map_or(0, |parts| parts.iter().map(|p| p.len()).sum());
    assert!(parts <= text.len(), "parts are of the text");
    let itself = Replacement::new("$0", &pattern).expect("group 0 is there");
    assert_eq!(itself.all(text, &pattern).as_deref(), Ok(text), "a match for itself");
    if let Ok(replacement) = Replacement::new(replacement, &pattern) {
        let _ = replacement.all(text, &pattern);
    }
}
