//! Lines of a terminal: pieces of text, each with its look.

use crate::base::visible::OneLine;
use unicode_width::UnicodeWidthStr;

/// Letters of a text that is cut, for each cell: most take one, some none.
const LETTERS_PER_CELL_MAX: usize = 4;

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Look {
    #[default]
    Plain,
    Strong,
    Faint,
    Good,
    Weak,
    Bad,
}

/// One line, without what tells a terminal what to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line(pub(super) Vec<(String, Look)>);

impl Line {
    /// The same with `text` behind it.
    pub(super) fn with(mut self, text: &str, look: Look) -> Self {
        self.0.push((shown(text), look));
        self
    }

    /// A line of one look.
    pub(super) fn of(text: &str, look: Look) -> Self {
        Self::default().with(text, look)
    }

    /// Its text, without blanks at the end.
    pub(super) fn plain(&self) -> String {
        let text: String = self.0.iter().map(|(text, _)| text.as_str()).collect();
        text.trim_end().to_owned()
    }

    /// What of it fits into `cells`.
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

/// Text of others on one line.
pub(super) fn shown(text: &str) -> String {
    OneLine(text.replace(['\n', '\t'], " ")).to_string()
}

/// The beginning of `text` that takes no more than `cells`, and what it takes. That is not the sum of what
/// its letters take: some make the one before them wider, or narrower.
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

/// Cells that `text` takes.
pub(super) fn cells(text: &str) -> usize {
    text.width()
}

/// `text` in no more than `most` cells, with a mark where it was cut.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let text = shown(text);
    if cells(&text) <= most {
        return text;
    }
    format!("{}…", fitting(&text, most.saturating_sub(1)).0)
}

/// `text` with blanks to the left or right of it, up to `width` cells.
pub(super) fn padded(text: &str, width: usize, to_the_right: bool) -> String {
    let blanks = " ".repeat(width.saturating_sub(cells(text)));
    if to_the_right { blanks + text } else { text.to_owned() + &blanks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_take_two_cells_and_no_escape_passes() {
        let line = Line::of("通道\u{1b}[2J", Look::Strong).with(" x\ny ", Look::Plain);
        assert_eq!(line.plain(), "通道\\u{1b}[2J x y");
        for (cells, text) in
            [(0, ""), (1, ""), (2, "通"), (3, "通"), (5, "通道\\"), (99, "通道\\u{1b}[2J x y")]
        {
            assert_eq!(line.cut(cells).plain(), text, "{cells}");
        }
        assert_eq!(shortened("通道通道", 5), "通道…");
        assert_eq!(
            Line::of("a\u{202e}b\u{9b}2J\u{2028}c", Look::Plain).plain(),
            r"a\u{202e}b\u{9b}2J\u{2028}c"
        );
        // The sign behind it makes the heart two cells wide.
        let heart = Line::of("❤\u{FE0F}x", Look::Plain).with("y", Look::Plain);
        for (cells, taken) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)] {
            assert_eq!(super::cells(&heart.cut(cells).plain()), taken, "{cells}");
        }
        assert_eq!(
            (padded("通", 4, false), padded("通", 4, true)),
            ("通  ".to_owned(), "  通".to_owned())
        );
    }
}
