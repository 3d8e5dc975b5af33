//! The terminal in raw mode.

use super::styled_line::{StyledLine, TextStyle};
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{execute, queue};
use std::io::{self, BufWriter, Stdout, Write};

/// The alternate screen, without echo; the former contents are restored on drop, also after a
/// panic.
pub(super) struct Terminal {
    out: BufWriter<Stdout>,
    colours: bool,
    before: Vec<StyledLine>,
    width: usize,
}

impl Terminal {
    pub(super) fn take(colours: bool) -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        // From here on the terminal is restored after any error.
        let mut taken =
            Self { out: BufWriter::new(io::stdout()), colours, before: Vec::new(), width: 0 };
        execute!(taken.out, EnterAlternateScreen, Hide)?;
        Ok(taken)
    }

    /// Returns the numbers of columns and lines.
    pub(super) fn size(&self) -> io::Result<(u16, u16)> {
        terminal::size()
    }

    /// Shows `lines`; unchanged lines are not written again.
    pub(super) fn show(&mut self, lines: &[StyledLine], width: usize) -> io::Result<()> {
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
        // The error of the restoration cannot be reported anywhere.
        let _ = execute!(self.out, SetAttribute(Attribute::Reset), LeaveAlternateScreen, Show);
        let _ = terminal::disable_raw_mode();
    }
}

fn write(out: &mut impl Write, line: &StyledLine, colours: bool) -> io::Result<()> {
    for (text, look) in &line.0 {
        let (attribute, colour) = match look {
            TextStyle::Plain => (None, None),
            TextStyle::Strong => (Some(Attribute::Bold), None),
            TextStyle::Faint => (Some(Attribute::Dim), None),
            TextStyle::Good => (None, Some(Color::Green)),
            TextStyle::Weak => (Some(Attribute::Bold), Some(Color::Yellow)),
            TextStyle::Bad => (Some(Attribute::Bold), Some(Color::Red)),
        };
        if let Some(attribute) = attribute {
            queue!(out, SetAttribute(attribute))?;
        }
        if let Some(colour) = colour.filter(|_| colours) {
            queue!(out, SetForegroundColor(colour))?;
        }
        queue!(out, Print(text))?;
        if *look != TextStyle::Plain {
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
        let line = StyledLine::of("failing", TextStyle::Bad).with(" k\u{1b}[1m", TextStyle::Plain);
        let written = |colours| {
            let mut out = Vec::new();
            write(&mut out, &line, colours).expect("memory takes it");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(written(false), "\u{1b}[1mfailing\u{1b}[0m k\\u{1b}[1m\u{1b}[K");
        assert!(written(true).contains("\u{1b}[38;5;9m"), "{:?}", written(true));
    }
}
