//! Lines of a terminal: pieces of text, each with a style.

use millpond_flow::base::escape::EscapedLine;
use unicode_width::UnicodeWidthStr;

/// Most characters per cell of a cut text: most characters take one cell, some none.
const LETTERS_PER_CELL_MAX: usize = 4;

/// The style of a piece of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TextStyle {
    #[default]
    Plain,
    Strong,
    Faint,
    Good,
    Weak,
    Bad,
}

/// One line, without terminal escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StyledLine(pub(super) Vec<(String, TextStyle)>);

impl StyledLine {
    /// Returns the line with `text` appended.
    pub(super) fn with(mut self, text: &str, look: TextStyle) -> Self {
        self.0.push((shown(text), look));
        self
    }

    /// Returns a line of one style.
    pub(super) fn of(text: &str, look: TextStyle) -> Self {
        Self::default().with(text, look)
    }

    /// Returns its text, without trailing blanks.
    pub(super) fn plain(&self) -> String {
        let text: String = self.0.iter().map(|(text, _)| text.as_str()).collect();
        text.trim_end().to_owned()
    }

    /// Returns the part of it that fits into `cells`.
    pub(super) fn cut(&self, mut cells: usize) -> Self {
        let mut cut = Self::default();
        for (text, look) in &self.0 {
            let (fits, used) = fitting(text, cells);
            cells -= used;
            cut.0.push((fits.to_owned(), *look));
            if fits.len() < text.len() {
                break;
            }
        }
        cut
    }
}

/// Returns an outside text on one line.
pub(super) fn shown(text: &str) -> String {
    EscapedLine(text.replace(['\n', '\t'], " ")).to_string()
}

/// Returns the longest prefix of `text` that fits into `cells`, and its width. The width is not the
/// sum of those of its characters: some make the one before them wider, or narrower.
fn fitting(text: &str, cells: usize) -> (&str, usize) {
    let whole = text.width();
    if whole <= cells {
        return (text, whole);
    }
    let ends = text.char_indices().map(|(at, letter)| at + letter.len_utf8());
    let mut fits = ("", 0);
    for end in ends.take(LETTERS_PER_CELL_MAX * (cells + 1)) {
        let used = text[..end].width();
        if used > cells {
            break;
        }
        fits = (&text[..end], used);
    }
    fits
}

/// Returns the width of `text` in cells.
pub(super) fn cells(text: &str) -> usize {
    text.width()
}

/// Returns `text` in at most `most` cells, with a mark where it was cut.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let text = shown(text);
    if cells(&text) <= most {
        return text;
    }
    format!("{}…", fitting(&text, most.saturating_sub(1)).0)
}

/// Returns `text` padded with blanks on the left or right, up to `width` cells.
pub(super) fn padded(text: &str, width: usize, to_the_right: bool) -> String {
    let blanks = " ".repeat(width.saturating_sub(cells(text)));
    if to_the_right { blanks + text } else { text.to_owned() + &blanks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_take_two_cells_and_no_escape_passes() {
        let line =
            StyledLine::of("通道\u{1b}[2J", TextStyle::Strong).with(" x\ny ", TextStyle::Plain);
        assert_eq!(line.plain(), "通道\\u{1b}[2J x y");
        for (cells, text) in
            [(0, ""), (1, ""), (2, "通"), (3, "通"), (5, "通道\\"), (99, "通道\\u{1b}[2J x y")]
        {
            assert_eq!(line.cut(cells).plain(), text, "{cells}");
        }
        assert_eq!(shortened("通道通道", 5), "通道…");
        assert_eq!(
            StyledLine::of("a\u{202e}b\u{9b}2J\u{2028}c", TextStyle::Plain).plain(),
            r"a\u{202e}b\u{9b}2J\u{2028}c"
        );
        // The sign after it makes the heart two cells wide.
        let heart = StyledLine::of("❤\u{FE0F}x", TextStyle::Plain).with("y", TextStyle::Plain);
        for (cells, taken) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)] {
            assert_eq!(super::cells(&heart.cut(cells).plain()), taken, "{cells}");
        }
        assert_eq!(
            (padded("通", 4, false), padded("通", 4, true)),
            ("通  ".to_owned(), "  通".to_owned())
        );
    }
}
