//! The terminal while it is ours.

use super::line::{Line, Look};
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{execute, queue};
use std::io::{self, BufWriter, Stdout, Write};

/// A screen of its own, without echo; what was there comes back when it is dropped, also by a panic.
pub(super) struct Terminal {
    out: BufWriter<Stdout>,
    colours: bool,
    before: Vec<Line>,
    width: usize,
}

impl Terminal {
    pub(super) fn take(colours: bool) -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        // From here on whatever goes wrong gives it back.
        let mut taken =
            Self { out: BufWriter::new(io::stdout()), colours, before: Vec::new(), width: 0 };
        execute!(taken.out, EnterAlternateScreen, Hide)?;
        Ok(taken)
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> io::Result<(u16, u16)> {
        terminal::size()
    }

    /// Shows `lines`; those that have not changed are not written again.
    pub(super) fn show(&mut self, lines: &[Line], width: usize) -> io::Result<()> {
        if width != self.width || lines.len() != self.before.len() {
            (self.width, self.before) = (width, Vec::new());
            queue!(self.out, ResetColor, SetAttribute(Attribute::Reset), Clear(ClearType::All))?;
        }
        for (at, line) in lines.iter().enumerate() {
            let line = line.cut(width);
            if self.before.get(at) != Some(&line) {
                queue!(self.out, MoveTo(0, u16::try_from(at).unwrap_or(u16::MAX)))?;
                write(&mut self.out, &line, self.colours)?;
                if self.before.len() <= at {
                    self.before.push(line);
                } else {
                    self.before[at] = line;
                }
            }
        }
        self.out.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nobody is left to hear that it failed.
        let _ = execute!(self.out, SetAttribute(Attribute::Reset), LeaveAlternateScreen, Show);
        let _ = terminal::disable_raw_mode();
    }
}

fn write(out: &mut impl Write, line: &Line, colours: bool) -> io::Result<()> {
    for (text, look) in &line.0 {
        let (attribute, colour) = match look {
            Look::Plain => (None, None),
            Look::Strong => (Some(Attribute::Bold), None),
            Look::Faint => (Some(Attribute::Dim), None),
            Look::Good => (None, Some(Color::Green)),
            Look::Weak => (Some(Attribute::Bold), Some(Color::Yellow)),
            Look::Bad => (Some(Attribute::Bold), Some(Color::Red)),
        };
        if let Some(attribute) = attribute {
            queue!(out, SetAttribute(attribute))?;
        }
        if let Some(colour) = colour.filter(|_| colours) {
            queue!(out, SetForegroundColor(colour))?;
        }
        queue!(out, Print(text))?;
        if *look != Look::Plain {
            queue!(out, SetAttribute(Attribute::Reset))?;
        }
    }
    queue!(out, Clear(ClearType::UntilNewLine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_colours_only_where_they_are_wanted() {
        let line = Line::of("failing", Look::Bad).with(" k\u{1b}[1m", Look::Plain);
        let written = |colours| {
            let mut out = Vec::new();
            write(&mut out, &line, colours).expect("memory takes it");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(written(false), "\u{1b}[1mfailing\u{1b}[0m k\\u{1b}[1m\u{1b}[K");
        assert!(written(true).contains("\u{1b}[38;5;9m"), "{:?}", written(true));
    }
}
