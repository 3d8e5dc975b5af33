//! The rows on a terminal, again and again, and the keys.

use super::agent::Agent;
use super::ask::{Answer, AskError, Target};
use super::rows::{Row, Sort, Weight, rows};
use super::table::{self, alarm_words, bytes, count, shown, span};
use crate::base::clock::{Clock, SystemClock};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph};
use ratatui::{DefaultTerminal, Frame};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a key, and what was heard, may wait for the screen.
const GLANCE: Duration = Duration::from_millis(100);
/// Lines for agents, and for alarms, at most.
const AGENT_LINES_MAX: usize = 8;
const ALARM_LINES_MAX: usize = 6;

const HELP: &str = "\
 q, Esc, Ctrl-C   leave
 s, S             sort by the next, by the one before
 p, space         hold what is shown, and go on
 arrows, PgUp/Dn  move
 Home, End        first, last
 ?, h             this help

 IN/S, OUT/S   events in a second, between the last two answers
 FILL          waiting events as a part of the capacity
 OLDEST        how long the first waiting event has waited
 FAILURES      since the agent's process began";

/// What was heard of the agent with this number.
#[derive(Debug)]
pub struct Heard {
    /// Which.
    pub at: usize,
    /// What.
    pub answer: Result<Answer, AskError>,
}

/// What is on the terminal.
pub struct Screen {
    agents: Vec<Agent>,
    sort: Sort,
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
    /// A screen for the agents at `targets`, which are asked once in `every`.
    #[must_use]
    pub fn new(targets: &[Target], sort: Sort, colours: bool, every: Duration) -> Self {
        Self {
            agents: targets.iter().map(|target| Agent::new(&target.words)).collect(),
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

    /// Shows what is `heard` until a key or `stop` ends it. The terminal is then as it was.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub fn run(mut self, heard: &mut mpsc::Receiver<Heard>, stop: &AtomicBool) -> io::Result<()> {
        let mut terminal = ratatui::try_init()?;
        let ended = self.live(&mut terminal, heard, stop);
        ratatui::restore();
        ended
    }

    fn live(
        &mut self,
        terminal: &mut DefaultTerminal,
        heard: &mut mpsc::Receiver<Heard>,
        stop: &AtomicBool,
    ) -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            while let Ok(heard) = heard.try_recv() {
                self.hear(heard);
            }
            terminal.draw(|frame| self.draw(frame))?;
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

    fn hear(&mut self, Heard { at, answer }: Heard) {
        let now = self.clock.now();
        // What is held stays as it is; the next two answers make new rates.
        if let Some(agent) = self.agents.get_mut(at).filter(|_| !self.held) {
            agent.hear(now, answer);
        }
    }

    /// Does what the key says; whether that is to leave.
    fn key(&mut self, key: KeyEvent) -> bool {
        let page = self.fits.max(1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Esc if self.helps => self.helps = false,
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('S') => {
                (1..Sort::ALL.len()).for_each(|_| self.sort = self.sort.next());
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

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let rows = rows(&self.agents, self.sort);
        let agents = self.agent_lines();
        let alarms = self.alarm_lines();
        let height =
            |lines: &[Line<'_>]| Constraint::Length(u16::try_from(lines.len()).unwrap_or(u16::MAX));
        let [head, of_agents, of_rows, of_alarms, foot] = Layout::vertical([
            Constraint::Length(1),
            height(&agents),
            Constraint::Min(3),
            height(&alarms),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(self.head(&rows), head);
        frame.render_widget(Text::from(agents), of_agents);
        self.fits = usize::from(of_rows.height).saturating_sub(2);
        self.first = self.first.min(rows.len().saturating_sub(self.fits.max(1)));
        let from = rows.get(self.first..).unwrap_or_default();
        let (table, _) = table::table(from, self.colours);
        let below_a_gap =
            Rect { y: of_rows.y + 1, height: of_rows.height.saturating_sub(1), ..of_rows };
        frame.render_widget(table, below_a_gap);
        frame.render_widget(Text::from(alarms), of_alarms);
        let more = rows.len().saturating_sub(self.first + self.fits);
        let more = if more > 0 { format!("   {more} more below") } else { String::new() };
        let words = format!(
            "q leave   s sort: {}   p {}   ? help{more}",
            self.sort.word(),
            if self.held { "go on" } else { "hold" }
        );
        frame.render_widget(Line::from(words).style(dim()), foot);
        if self.helps {
            help(frame);
        }
    }

    fn head(&self, rows: &[Row]) -> Line<'static> {
        let sum = |of: &dyn Fn(&Row) -> Option<f64>| count(rows.iter().filter_map(of).sum());
        let into =
            sum(&|row| row.in_per_second.filter(|_| row.role == crate::metrics::Role::Source));
        let out = sum(&|row| row.out_per_second.filter(|_| row.role == crate::metrics::Role::Sink));
        let waiting = sum(&|row| row.waiting);
        let held = if self.held { "   HELD" } else { "" };
        let words = format!(
            "   in {into}/s   out {out}/s   waiting {waiting}   every {} s{held}",
            self.every.as_secs_f64()
        );
        let name = Span::styled("millpond top", Style::new().add_modifier(Modifier::BOLD));
        Line::from(vec![name, Span::raw(words)])
    }

    fn agent_lines(&self) -> Vec<Line<'static>> {
        let mut lines: Vec<Line<'static>> =
            self.agents.iter().take(AGENT_LINES_MAX).map(|agent| self.agent_line(agent)).collect();
        let more: Vec<&Agent> = self.agents.iter().skip(AGENT_LINES_MAX).collect();
        if !more.is_empty() {
            let away = more.iter().filter(|agent| agent.away.is_some()).count();
            let words =
                format!("  and {} more agents, {away} of them without an answer", more.len());
            let weight = if away > 0 { Weight::Bad } else { Weight::Still };
            lines.push(Line::from(words).style(table::style(weight, self.colours)));
        }
        lines
    }

    fn agent_line(&self, agent: &Agent) -> Line<'static> {
        let (weight, word) = match (&agent.away, agent.reading(), agent.ready) {
            (Some((since, why)), ..) => {
                let ago = span(self.clock.now().saturating_sub(*since).as_secs_f64());
                (Weight::Bad, format!("no answer for {ago}: {}", shown_line(why)))
            }
            (None, None, _) => (Weight::Still, "asked".to_owned()),
            (None, Some(_), Some(false)) => (Weight::Weak, "not ready".to_owned()),
            (None, Some(_), _) => (Weight::Good, "answers".to_owned()),
        };
        let mut words = format!("  {}", agent.target);
        if let Some(reading) = agent.reading() {
            words +=
                &reading.version.as_ref().map(|v| format!("   {}", shown(v))).unwrap_or_default();
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
        Line::from(vec![
            Span::styled(shown(agent.title()), Style::new().add_modifier(Modifier::BOLD)),
            Span::raw("  "),
            Span::styled(word, table::style(weight, self.colours)),
            Span::styled(words, dim()),
            Span::styled(alarms, table::style(Weight::Bad, self.colours)),
        ])
    }

    /// Alarms first, then why components are ill.
    fn alarm_lines(&self) -> Vec<Line<'static>> {
        let alarms = self.agents.iter().flat_map(|agent| {
            let name = shown(agent.title());
            let alarms = agent.alarms.iter().map({
                let name = name.clone();
                move |alarm| format!("{name}  {}", alarm_words(alarm))
            });
            let reasons = agent.reasons.iter().filter(|_| agent.away.is_none());
            let reasons = reasons
                .map(move |(of, why)| shown_line(&format!("{name}  {of}  {}", why.join("; "))));
            alarms.chain(reasons)
        });
        let style = table::style(Weight::Bad, self.colours);
        let all: Vec<String> = alarms.collect();
        let kept = if all.len() > ALARM_LINES_MAX { ALARM_LINES_MAX - 1 } else { all.len() };
        let more = all.len() - kept;
        let mut lines: Vec<Line<'static>> =
            all.into_iter().take(kept).map(|words| Line::from(words).style(style)).collect();
        if more > 0 {
            lines.push(Line::from(format!("and {more} more")).style(style));
        }
        lines
    }
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn shown_line(text: &str) -> String {
    crate::base::visible::Visible(text).to_string().replace(['\n', '\t'], " ")
}

fn help(frame: &mut Frame<'_>) {
    let lines = u16::try_from(HELP.lines().count()).unwrap_or(u16::MAX) + 2;
    let width = HELP.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let width = u16::try_from(width).unwrap_or(u16::MAX) + 3;
    let all = frame.area();
    let area = Rect {
        x: all.x + all.width.saturating_sub(width) / 2,
        y: all.y + all.height.saturating_sub(lines) / 2,
        width: width.min(all.width),
        height: lines.min(all.height),
    };
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(HELP).block(Block::bordered().title(" keys ")), area);
}

#[cfg(test)]
mod tests {
    use super::super::Reading;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn drawn(screen: &mut Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| screen.draw(frame)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(line).map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    fn screen() -> Screen {
        let target = |words| Target::named(words).expect("a target");
        let every = Duration::from_secs(2);
        let mut screen = Screen::new(&[target("h:1"), target("h:2")], Sort::Flow, false, every);
        let mut page = "millpond_build_info{version=\"7.7\"} 1\n".to_owned();
        for at in 0..30 {
            page += &format!("millpond_sink_up{{sink=\"k{at:02}\x1b[2J\",type=\"null\"}} 1\n");
        }
        let reading = Reading::of(&page).expect("a page");
        screen.hear(Heard { at: 0, answer: Ok(Answer { reading, ..Answer::default() }) });
        screen.hear(Heard { at: 1, answer: Err(AskError::Late) });
        screen.hear(Heard { at: 9, answer: Err(AskError::Late) });
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
        assert_eq!(screen.sort, Sort::State);
        press(&mut screen, KeyCode::Char('S'));
        assert_eq!(screen.sort, Sort::Flow);
        press(&mut screen, KeyCode::Char('p'));
        screen.hear(Heard { at: 0, answer: Err(AskError::Late) });
        assert_eq!(screen.agents[0].away, None, "it is held");
        press(&mut screen, KeyCode::Char('?'));
        assert!(drawn(&mut screen, 100, 24).contains("this help"));
        assert!(!press(&mut screen, KeyCode::Esc), "closes the help first");
        assert!(!drawn(&mut screen, 100, 24).contains("this help"));
        assert!(press(&mut screen, KeyCode::Esc) && press(&mut screen, KeyCode::Char('q')));
        assert!(screen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    }
}
