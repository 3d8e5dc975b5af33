//! The screen: the rows on a terminal, refreshed, and the keys.

use super::agent::AgentState;
use super::agent_client::{AgentAddress, AgentAnswer, AskError};
use super::rows::{ComponentRow, SortOrder, StateSeverity, rows};
use super::styled_line::{StyledLine, TextStyle};
use super::table::{alarm_words, bytes, count, look, span, table};
use super::terminal::Terminal;
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use millpond::{Clock, SystemClock};
use millpond_flow::metrics::ComponentRole;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a key, and a reply, may wait for the screen.
const GLANCE: Duration = Duration::from_millis(100);
/// Lines for agents, and for alarms, at most.
const AGENT_LINES_MAX: usize = 8;
const ALARM_LINES_MAX: usize = 6;

const HELP: &[&str] = &[
    "",
    "  q, Esc, Ctrl-C   leave",
    "  s, S             sort by the next, by the one before",
    "  p, space         pause and resume the display",
    "  arrows, PgUp/Dn  move; Home, End: first, last",
    "  ?, h             this help, and back",
    "",
    "  IN/S, OUT/S      events per second, between the last two replies",
    "  FILL             waiting events as a part of the capacity",
    "  OLDEST           how long the first waiting event has waited",
    "  FAILURES         since the agent's process began",
];

/// A reply of an agent.
#[derive(Debug)]
pub struct AgentUpdate {
    /// The agent's index.
    pub at: usize,
    /// The reply.
    pub answer: Result<AgentAnswer, AskError>,
}

/// The state of the screen.
pub struct Screen {
    agents: Vec<AgentState>,
    sort: SortOrder,
    colours: bool,
    every: Duration,
    clock: SystemClock,
    held: bool,
    helps: bool,
    first: usize,
    /// Rows that fit, as of the last drawing.
    fits: usize,
}

impl Screen {
    /// Returns a screen for the agents at `targets`, which are polled every `every`.
    #[must_use]
    pub fn new(targets: &[AgentAddress], sort: SortOrder, colours: bool, every: Duration) -> Self {
        Self {
            agents: targets.iter().map(|target| AgentState::new(&target.words)).collect(),
            sort,
            colours,
            every,
            clock: SystemClock::new(),
            held: false,
            helps: false,
            first: 0,
            fits: 1,
        }
    }

    /// Shows the replies of `heard` until a key or `stop` ends it. The terminal is then restored.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub fn run(
        mut self,
        heard: &mut mpsc::Receiver<AgentUpdate>,
        stop: &AtomicBool,
    ) -> io::Result<()> {
        let mut terminal = Terminal::take(self.colours)?;
        while !stop.load(Ordering::Relaxed) {
            while let Ok(heard) = heard.try_recv() {
                self.hear(heard);
            }
            let (width, height) = terminal.size()?;
            let width = usize::from(width);
            terminal.show(&self.lines(width, usize::from(height)), width)?;
            if !event::poll(GLANCE)? {
                continue;
            }
            // A change of size draws anew, as everything does.
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && self.key(key)
            {
                break;
            }
        }
        Ok(())
    }

    fn hear(&mut self, AgentUpdate { at, answer }: AgentUpdate) {
        let now = self.clock.now();
        // While paused nothing changes; the rates of the first reply afterwards are over all that
        // time.
        if let Some(agent) = self.agents.get_mut(at).filter(|_| !self.held) {
            agent.hear(now, answer);
        }
    }

    /// Handles a key; returns whether to leave.
    fn key(&mut self, key: KeyEvent) -> bool {
        let page = self.fits.max(1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Esc if self.helps => self.helps = false,
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('S') => {
                (1..SortOrder::ALL.len()).for_each(|_| self.sort = self.sort.next());
            }
            KeyCode::Char('p' | ' ') => self.held = !self.held,
            KeyCode::Char('?' | 'h') => self.helps = !self.helps,
            KeyCode::Down | KeyCode::Char('j') => self.first = self.first.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.first = self.first.saturating_sub(1),
            KeyCode::PageDown => self.first = self.first.saturating_add(page),
            KeyCode::PageUp => self.first = self.first.saturating_sub(page),
            KeyCode::Home => self.first = 0,
            KeyCode::End => self.first = usize::MAX,
            _ => {}
        }
        false
    }

    /// Returns the lines of a terminal of this width and height.
    fn lines(&mut self, width: usize, height: usize) -> Vec<StyledLine> {
        let rows = rows(&self.agents, self.sort);
        let (head, table) = table(&rows, width);
        let mut above = vec![self.head(&rows)];
        above.extend(self.agent_lines());
        above.extend([StyledLine::default(), head]);
        let mut below = self.alarm_lines();
        // The footer, and at least one line of the table.
        below.truncate(height.saturating_sub(above.len() + 2));
        self.fits = height.saturating_sub(above.len() + below.len() + 1);
        self.first = self.first.min(table.len().saturating_sub(self.fits.max(1)));
        let more = table.len().saturating_sub(self.first + self.fits);
        let mut lines = above;
        if self.helps {
            lines.extend(
                HELP.iter().take(self.fits).map(|line| StyledLine::of(line, TextStyle::Plain)),
            );
        } else {
            lines.extend(table.into_iter().skip(self.first).take(self.fits));
        }
        lines.truncate(height.saturating_sub(below.len() + 1));
        lines.resize(height.saturating_sub(below.len() + 1), StyledLine::default());
        lines.extend(below);
        lines.push(self.foot(more));
        lines
    }

    fn foot(&self, more: usize) -> StyledLine {
        let (sort, hold) = (self.sort.word(), if self.held { "go on" } else { "hold" });
        let more = if more > 0 { format!("   {more} more below") } else { String::new() };
        StyledLine::of(
            &format!("q leave   s sort: {sort}   p {hold}   ? help{more}"),
            TextStyle::Faint,
        )
    }

    fn head(&self, rows: &[ComponentRow]) -> StyledLine {
        let sum =
            |of: &dyn Fn(&ComponentRow) -> Option<f64>| count(rows.iter().filter_map(of).sum());
        let into = sum(&|row| row.in_per_second.filter(|_| row.role == ComponentRole::Source));
        let out = sum(&|row| row.out_per_second.filter(|_| row.role == ComponentRole::Sink));
        let waiting = sum(&|row| row.waiting);
        let (held, every) = (if self.held { "   HELD" } else { "" }, self.every.as_secs_f64());
        let words = format!("   in {into}/s   out {out}/s   waiting {waiting}   every {every} s");
        StyledLine::of("millpond top", TextStyle::Strong)
            .with(&words, TextStyle::Plain)
            .with(held, TextStyle::Weak)
    }

    fn agent_lines(&self) -> Vec<StyledLine> {
        let mut lines: Vec<StyledLine> =
            self.agents.iter().take(AGENT_LINES_MAX).map(|agent| self.agent_line(agent)).collect();
        let more: Vec<&AgentState> = self.agents.iter().skip(AGENT_LINES_MAX).collect();
        if !more.is_empty() {
            let away = more.iter().filter(|agent| agent.away.is_some()).count();
            let words = format!("and {} more agents, {away} of them without an answer", more.len());
            lines.push(StyledLine::of(
                &words,
                if away > 0 { TextStyle::Bad } else { TextStyle::Faint },
            ));
        }
        lines
    }

    fn agent_line(&self, agent: &AgentState) -> StyledLine {
        let (weight, word) = match (&agent.away, agent.reading(), agent.ready) {
            (Some((since, why)), ..) => {
                let ago = span(self.clock.now().saturating_sub(*since).as_secs_f64());
                (StateSeverity::Bad, format!("no answer for {ago}: {why}"))
            }
            (None, None, _) => (StateSeverity::Still, "asked".to_owned()),
            (None, Some(_), Some(false)) => (StateSeverity::Weak, "not ready".to_owned()),
            (None, Some(_), _) => (StateSeverity::Good, "answers".to_owned()),
        };
        let mut words = format!("  {}", agent.target);
        if let Some(reading) = agent.reading() {
            words += &reading.version.as_ref().map(|v| format!("   {v}")).unwrap_or_default();
            words += &reading.memory_bytes.map(|n| format!("   {}", bytes(n))).unwrap_or_default();
            if reading.left_out > 0 {
                words += &format!("   {} components are not shown", reading.left_out);
            }
        }
        let alarms = match agent.alarms.len() {
            0 => String::new(),
            1 => "   1 alarm".to_owned(),
            n => format!("   {n} alarms"),
        };
        StyledLine::of(agent.title(), TextStyle::Strong)
            .with("  ", TextStyle::Plain)
            .with(&word, look(weight))
            .with(&words, TextStyle::Faint)
            .with(&alarms, TextStyle::Bad)
    }

    /// Returns the lines of alarms, and of the reasons why components are unhealthy.
    fn alarm_lines(&self) -> Vec<StyledLine> {
        let mut all = Vec::new();
        for agent in self.agents.iter().filter(|agent| agent.away.is_none()) {
            let name = agent.title();
            all.extend(agent.alarms.iter().map(|alarm| format!("{name}  {}", alarm_words(alarm))));
            all.extend(agent.troubles().map(|(of, why)| format!("{name}  {of}  {why}")));
        }
        let kept = if all.len() > ALARM_LINES_MAX { ALARM_LINES_MAX - 1 } else { all.len() };
        let more = all.len() - kept;
        all.truncate(kept);
        if more > 0 {
            all.push(format!("and {more} more"));
        }
        all.iter().map(|words| StyledLine::of(words, TextStyle::Bad)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::AgentMetrics;
    use super::*;

    fn drawn(screen: &mut Screen, width: usize, height: usize) -> String {
        let lines = screen.lines(width, height);
        assert!(lines.len() <= height.max(1), "{} lines on {height}", lines.len());
        lines.iter().map(|line| line.cut(width).plain() + "\n").collect()
    }

    fn screen() -> Screen {
        let target = |words| AgentAddress::named(words).expect("a target");
        let every = Duration::from_secs(2);
        let mut screen =
            Screen::new(&[target("h:1"), target("h:2")], SortOrder::Flow, false, every);
        let mut page = "millpond_build_info{version=\"7.7\"} 1\n".to_owned();
        for at in 0..30 {
            page += &format!("millpond_sink_up{{sink=\"k{at:02}\x1b[2J\",type=\"null\"}} 1\n");
        }
        let reading = AgentMetrics::of(&page).expect("a page");
        screen.hear(AgentUpdate {
            at: 0,
            answer: Ok(AgentAnswer { reading, ..AgentAnswer::default() }),
        });
        screen.hear(AgentUpdate { at: 1, answer: Err(AskError::Timeout) });
        screen.hear(AgentUpdate { at: 9, answer: Err(AskError::Timeout) });
        screen
    }

    fn press(screen: &mut Screen, code: KeyCode) -> bool {
        screen.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn agents_rows_and_keys_are_shown_whatever_the_size() {
        let mut screen = screen();
        let text = drawn(&mut screen, 100, 24);
        for words in [
            "h:1  answers  h:1   7.7",
            "h:2  no answer for",
            "no answer within 5 s",
            "sink k00\\u{1b}[2J",
            "s sort: flow",
            "more below",
        ] {
            assert!(text.contains(words), "no {words:?} in\n{text}");
        }
        assert!(!text.contains('\u{1b}') && !text.contains("k29"), "{text}");
        for (width, height) in [(1, 1), (5, 2), (30, 4), (400, 200)] {
            drawn(&mut screen, width, height);
        }
        press(&mut screen, KeyCode::End);
        let text = drawn(&mut screen, 100, 24);
        assert!(text.contains("k29") && !text.contains("k00"), "{text}");
    }

    #[test]
    fn keys_sort_hold_help_move_and_leave() {
        let mut screen = screen();
        assert!(!press(&mut screen, KeyCode::Char('s')));
        assert_eq!(screen.sort, SortOrder::State);
        press(&mut screen, KeyCode::Char('S'));
        assert_eq!(screen.sort, SortOrder::Flow);
        press(&mut screen, KeyCode::Char('p'));
        screen.hear(AgentUpdate { at: 0, answer: Err(AskError::Timeout) });
        assert_eq!(screen.agents[0].away, None, "it is held");
        press(&mut screen, KeyCode::Char('?'));
        assert!(drawn(&mut screen, 100, 24).contains("this help"));
        assert!(!press(&mut screen, KeyCode::Esc), "closes the help first");
        assert!(!drawn(&mut screen, 100, 24).contains("this help"));
        assert!(press(&mut screen, KeyCode::Esc) && press(&mut screen, KeyCode::Char('q')));
        assert!(screen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    }
}
