//! Rows as a table, and as JSON.

use super::agent::AgentState;
use super::agent_alarm::AgentAlarm;
use super::rows::{ComponentRow, SortOrder, StateSeverity, rows};
use super::styled_line::{StyledLine, TextStyle, cells, padded, shortened, shown};
use millpond_flow::base::escape::reorders;
use serde_json::{Value, json as object};
use std::fmt::Write;

/// Blanks between two columns.
const GAP: &str = "  ";
/// Blanks between two columns if a line would not fit otherwise.
const NARROW_GAP: &str = " ";
/// Cells of a name that are shown.
const NAME_CELLS_MAX: usize = 40;

const HEADS: [&str; 10] = [
    "AGENT",
    "COMPONENT",
    "TYPE",
    "STATE",
    "IN/S",
    "OUT/S",
    "WAITING",
    "FILL",
    "OLDEST",
    "FAILURES",
];
/// The column that has its own style.
const STATE: usize = 3;
/// Columns from this one on are numbers, aligned to the right.
const NUMBERS_FROM: usize = 4;

/// Columns of names that are shortened on a narrow screen, the first one first, and the cells that
/// each keeps.
const SHORTENED: [(usize, usize); 3] = [(2, 6), (1, 14), (0, 6)];

/// Shortens a line to `cells_max`, or as far as it can be: a gap of one cell, then names cut.
/// Returns the gap.
fn shorten(widths: &mut [usize], cells_max: usize) -> &'static str {
    let over = |widths: &[usize], gap: &str| {
        let gaps = gap.len() * widths.len().saturating_sub(1);
        (widths.iter().sum::<usize>() + gaps).saturating_sub(cells_max)
    };
    if over(widths, GAP) == 0 {
        return GAP;
    }
    for (column, least) in SHORTENED {
        let spare = widths[column].saturating_sub(least);
        widths[column] -= over(widths, NARROW_GAP).min(spare);
    }
    NARROW_GAP
}

/// Returns the style of a state.
pub(super) fn look(weight: StateSeverity) -> TextStyle {
    match weight {
        StateSeverity::Good => TextStyle::Good,
        StateSeverity::Still => TextStyle::Faint,
        StateSeverity::Weak => TextStyle::Weak,
        StateSeverity::Bad => TextStyle::Bad,
    }
}

fn texts(row: &ComponentRow) -> [String; HEADS.len()] {
    let word = |n: Option<f64>, write: fn(f64) -> String| n.map(write).unwrap_or_default();
    let role = row.role.to_string().to_lowercase();
    let name = |name: &str| shortened(name, NAME_CELLS_MAX);
    [
        name(&row.agent),
        format!("{role} {}", name(&row.name)),
        name(&row.kind),
        row.state.word.to_owned(),
        word(row.in_per_second, count),
        word(row.out_per_second, count),
        word(row.waiting, count),
        word(row.fill, percent),
        word(row.oldest_seconds, span),
        count(row.failures),
    ]
}

/// Returns the head of a table and a line for each of `rows`, of `cells_max` cells if names can be
/// shortened that far.
pub(super) fn table(rows: &[ComponentRow], cells_max: usize) -> (StyledLine, Vec<StyledLine>) {
    let mut all: Vec<[String; HEADS.len()]> = rows.iter().map(texts).collect();
    let width = |column: usize| {
        let texts = all.iter().map(|texts| texts[column].as_str()).chain([HEADS[column]]);
        texts.map(cells).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let gap = shorten(&mut widths, cells_max);
    for texts in &mut all {
        for (column, _) in SHORTENED {
            texts[column] = shortened(&texts[column], widths[column]);
        }
    }
    let line = |texts: &[&str], of: &dyn Fn(usize) -> TextStyle| {
        texts.iter().enumerate().fold(StyledLine::default(), |line, (at, text)| {
            let gap = if at == 0 { "" } else { gap };
            let text = padded(text, widths[at], at >= NUMBERS_FROM);
            line.with(gap, TextStyle::Plain).with(&text, of(at))
        })
    };
    let lines = all.iter().zip(rows).map(|(texts, row)| {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let state = look(row.state.weight);
        line(&texts, &|at| if at == STATE { state } else { TextStyle::Plain })
    });
    let heads: [String; HEADS.len()] = std::array::from_fn(|at| shortened(HEADS[at], widths[at]));
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    (line(&heads, &|_| TextStyle::Strong), lines.collect())
}

/// Returns the table as plain text: below it the agents that do not reply, then alarms.
#[must_use]
pub fn text(agents: &[AgentState], sort: SortOrder) -> String {
    let (head, lines) = table(&rows(agents, sort), usize::MAX);
    let mut out = head.plain() + "\n";
    lines.iter().for_each(|line| out += &(line.plain() + "\n"));
    for agent in agents {
        if let Some((_, why)) = &agent.away {
            out += &format!("{}: no answer: {}\n", shown(agent.title()), shown(why));
        }
        for (component, why) in agent.troubles() {
            out += &format!("{}: {}: {}\n", shown(agent.title()), shown(component), shown(&why));
        }
        for alarm in &agent.alarms {
            out += &format!("{}: alarm {}\n", shown(agent.title()), alarm_words(alarm));
        }
    }
    out
}

/// Returns an alarm in one line.
pub(super) fn alarm_words(alarm: &AgentAlarm) -> String {
    let parts = [&alarm.severity, &alarm.component, &alarm.name, &alarm.words];
    let parts = parts.into_iter().filter(|part| !part.is_empty()).map(|part| shown(part));
    parts.collect::<Vec<_>>().join("  ")
}

/// Returns the agents and rows as JSON.
fn json(agents: &[AgentState], sort: SortOrder) -> Value {
    let agent = |agent: &AgentState| {
        let rows = rows(std::slice::from_ref(agent), sort);
        object!({
            "target": agent.target,
            "agent": agent.name,
            "answers": agent.away.is_none(),
            "error": agent.away.as_ref().map(|(_, why)| why),
            "ready": agent.ready,
            "version": agent.reading().and_then(|reading| reading.version.as_ref()),
            "memory_bytes": agent.reading().and_then(|reading| reading.memory_bytes),
            "components": rows.iter().map(component).collect::<Vec<_>>(),
            "alarms": agent.alarms,
        })
    };
    object!({ "agents": agents.iter().map(agent).collect::<Vec<_>>() })
}

/// Returns the JSON as one line without terminal escapes or characters that change the text
/// direction: what JSON allows unescaped is escaped too.
#[must_use]
pub fn json_line(agents: &[AgentState], sort: SortOrder) -> String {
    let mut line = String::new();
    for c in json(agents, sort).to_string().chars() {
        if c.is_control() || reorders(c) || matches!(c, '\u{2028}' | '\u{2029}') {
            let _ = write!(line, "\\u{:04x}", u32::from(c));
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line
}

fn component(row: &ComponentRow) -> Value {
    object!({
        "component": format!("{}.{}", row.role, row.name),
        "type": row.kind,
        "state": row.state.word,
        "well": row.state.weight == StateSeverity::Good,
        "reason": row.why,
        "code": row.failing.as_ref().map(|failing| &failing.code),
        "since": row.failing.as_ref().map(|failing| &failing.since),
        "in_per_second": row.in_per_second,
        "out_per_second": row.out_per_second,
        "waiting_events": row.waiting,
        "fill_ratio": row.fill,
        "oldest_seconds": row.oldest_seconds,
        "failures": row.failures,
    })
}

/// Formats a count: `9.5`, `9500`, `95.2k`, `9.52M`.
pub(super) fn count(n: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    // The sum of nothing is -0.
    let n = n.abs();
    if n < 9999.5 {
        let whole = n >= 9.95 || n.fract() == 0.0;
        return if whole { format!("{n:.0}") } else { format!("{n:.1}") };
    }
    let (mut part, mut at) = (n, 0);
    while part >= 999.5 && at + 1 < UNITS.len() {
        part /= 1000.0;
        at += 1;
    }
    let digits = if part < 9.995 { 2 } else { usize::from(part < 99.95) };
    format!("{part:.digits$}{}", UNITS[at])
}

fn percent(part: f64) -> String {
    match part * 100.0 {
        0.0 => "0%".to_owned(),
        n if n < 0.1 => "<0.1%".to_owned(),
        n if n < 9.95 => format!("{n:.1}%"),
        n => format!("{n:.0}%"),
    }
}

/// Formats a duration: `120ms`, `4.2s`, `3m04s`, `2h03m`, `3d04h`.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0}ms", s * 1000.0),
        s if s < 10.0 => format!("{s:.1}s"),
        s if s < 60.0 => format!("{s:.0}s"),
        s if s < 3600.0 => format!("{:.0}m{:02.0}s", (s / 60.0).floor(), (s % 60.0).floor()),
        s if s < 86_400.0 => {
            format!("{:.0}h{:02.0}m", (s / 3600.0).floor(), (s % 3600.0 / 60.0).floor())
        }
        s => format!("{:.0}d{:02.0}h", (s / 86_400.0).floor(), (s % 86_400.0 / 3600.0).floor()),
    }
}

/// Formats a size: `48 MiB`.
pub(super) fn bytes(n: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut part, mut at) = (n, 0);
    while part >= 1023.5 && at + 1 < UNITS.len() {
        part /= 1024.0;
        at += 1;
    }
    format!("{part:.0} {}", UNITS[at])
}

#[cfg(test)]
mod tests {
    use super::super::{AgentAlarm, AgentAnswer, AgentMetrics, AskError};
    use super::*;
    use std::time::Duration;

    fn agents() -> [AgentState; 2] {
        let page = |taken: u64| {
            format!(
                "millpond_build_info{{version=\"1\"}} 1\n\
                 millpond_channel_open{{channel=\"c\u{1b}[2J\",type=\"file\"}} 1\n\
                 millpond_channel_waiting_events{{channel=\"c\u{1b}[2J\",type=\"file\"}} 123456\n\
                 millpond_channel_fill_ratio{{channel=\"c\u{1b}[2J\",type=\"file\"}} 0.25\n\
                 millpond_channel_taken_events_total{{channel=\"c\u{1b}[2J\",type=\"file\"}} {taken}\n"
            )
        };
        let mut here = AgentState::new("h:1");
        here.name = Some("web".to_owned());
        for second in [1, 3] {
            let reading = AgentMetrics::of(&page(second * 1000)).expect("a page");
            let name = "client\tsilent".to_owned();
            let alarms =
                vec![AgentAlarm { name, severity: "major".to_owned(), ..AgentAlarm::default() }];
            here.hear(
                Duration::from_secs(second),
                Ok::<_, AskError>(AgentAnswer { reading, alarms, ready: None }),
            );
        }
        let mut gone = AgentState::new("h:2");
        gone.hear(Duration::from_secs(3), Err(AskError::Timeout));
        [here, gone]
    }

    #[test]
    fn the_table_is_plain_text_with_what_is_away_and_what_is_raised_below() {
        let expected = "\
AGENT  COMPONENT               TYPE  STATE  IN/S  OUT/S  WAITING  FILL  OLDEST  FAILURES
web    channel c\\u{1b}[2J  file  open          1000     123k   25%                0
web: alarm major client silent
h:2: no answer: no answer within 5 s
";
        let text = text(&agents(), SortOrder::Flow);
        let words = |text: &str| -> Vec<Vec<String>> {
            text.lines().map(|l| l.split_whitespace().map(str::to_owned).collect()).collect()
        };
        assert_eq!(words(&text), words(expected), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let ends: Vec<Option<usize>> = text
            .lines()
            .take(2)
            .zip(["FILL", "25%"])
            .map(|(l, w)| Some(l.find(w)? + w.len()))
            .collect();
        assert!(ends[0].is_some() && ends[0] == ends[1], "numbers stand to the right:\n{text}");
    }

    #[test]
    fn on_eighty_columns_names_give_way_and_numbers_stay_whole() {
        let page = "millpond_build_info{version=\"1\"} 1\n\
                    millpond_source_up{source=\"a-source-with-a-long-name\",type=\"multiport_syslogtcp\"} 1\n\
                    millpond_channel_open{channel=\"memory-channel-1\",type=\"file\"} 1\n\
                    millpond_channel_waiting_events{channel=\"memory-channel-1\",type=\"file\"} 123456\n\
                    millpond_channel_fill_ratio{channel=\"memory-channel-1\",type=\"file\"} 0.00001\n";
        let mut agent = AgentState::new("collector-of-the-north.example:41414");
        let reading = AgentMetrics::of(page).expect("a page");
        agent.hear(
            Duration::from_secs(1),
            Ok::<_, AskError>(AgentAnswer { reading, ..AgentAnswer::default() }),
        );
        let all = rows(std::slice::from_ref(&agent), SortOrder::Flow);
        let (head, lines) = table(&all, 80);
        assert!(
            cells(&head.plain()) <= 80 && head.plain().ends_with("FAILURES"),
            "{}",
            head.plain()
        );
        for line in lines {
            let plain = line.plain();
            assert!(cells(&plain) <= 80 && plain.ends_with(" 0"), "{plain}");
        }
        let (wide, _) = table(&all, 200);
        assert!(
            wide.plain().contains("COMPONENT") && wide.plain().contains(GAP),
            "{}",
            wide.plain()
        );
    }

    #[test]
    fn programs_get_numbers_and_reasons() {
        let value = json(&agents(), SortOrder::Flow);
        let here = &value["agents"][0];
        assert_eq!((&here["agent"], &here["answers"]), (&"web".into(), &true.into()));
        let channel = &here["components"][0];
        assert_eq!(channel["component"], "CHANNEL.c\u{1b}[2J");
        assert_eq!(
            (&channel["waiting_events"], &channel["out_per_second"]),
            (&123_456.0.into(), &1000.0.into())
        );
        assert_eq!((&channel["in_per_second"], &channel["well"]), (&Value::Null, &true.into()));
        let gone = &value["agents"][1];
        assert_eq!((&gone["target"], &gone["answers"]), (&"h:2".into(), &false.into()));
        assert_eq!(
            (&gone["error"], &gone["agent"]),
            (&"no answer within 5 s".into(), &Value::Null)
        );
    }

    #[test]
    fn json_tells_a_terminal_nothing_and_says_the_same() {
        let mut agents = agents();
        let name = "a\u{9b}31m\u{202e}b\u{2028}é";
        agents[0].name = Some(name.to_owned());
        let line = json_line(&agents, SortOrder::Flow);
        assert!(line.contains("a\\u009b31m\\u202eb\\u2028é"), "{line}");
        assert!(line.ends_with("}\n") && !line.trim_end().contains(char::is_control), "{line:?}");
        let read: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            (&read["agents"][0]["agent"], &read),
            (&name.into(), &json(&agents, SortOrder::Flow))
        );
    }

    #[test]
    fn numbers_are_short_words() {
        for (n, word) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (9.96, "10"),
            (9999.0, "9999"),
            (9999.6, "10.0k"),
            (123_456.0, "123k"),
            (999_600.0, "1.00M"),
            (5e15, "5000T"),
        ] {
            assert_eq!(count(n), word);
        }
        for (n, word) in [(0.0, "0%"), (0.0004, "<0.1%"), (0.05, "5.0%"), (1.0, "100%")] {
            assert_eq!(percent(n), word);
        }
        for (n, word) in [
            (0.12, "120ms"),
            (4.21, "4.2s"),
            (59.0, "59s"),
            (184.0, "3m04s"),
            (7384.0, "2h03m"),
            (273_600.0, "3d04h"),
        ] {
            assert_eq!(span(n), word);
        }
        assert_eq!(bytes(48.0 * 1024.0 * 1024.0), "48 MiB");
    }
}
