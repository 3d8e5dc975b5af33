//! Drawings as SVG: no script, nothing from a network, light or dark as the reader prefers.
//!
//! [`chart`] draws lines on axes. The programs in `benches/` that draw include this folder by its path, so it uses
//! nothing else of the crate.

pub mod chart;

/// Returns `text` as XML represents it.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML cannot represent these two.
            '\u{FFFE}' | '\u{FFFF}' => out.push('·'),
            c => out.push(c),
        }
    }
    out
}
