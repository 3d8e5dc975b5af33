//! What is shown of agents: a row for each component.

use super::agent::Agent;
use super::ask::Failing;
use super::reading::{Component, Key};
use crate::metrics::Role;
use std::cmp::Ordering;

/// Part of its capacity from which a channel is looked at.
const FILL_WEAK: f64 = 0.8;
/// The same, from which it is as good as full.
const FILL_BAD: f64 = 0.98;

/// How much a state matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// As it should be.
    Good,
    /// Not, or not yet.
    Still,
    /// Soon it will be bad.
    Weak,
    /// Somebody has to look.
    Bad,
}

/// How a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// How much that matters.
    pub weight: Weight,
    /// In a word or two.
    pub word: &'static str,
}

const fn state(weight: Weight, word: &'static str) -> State {
    State { weight, word }
}

/// One component.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The agent's name, or where it is asked.
    pub agent: String,
    /// What it is.
    pub role: Role,
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// How it is.
    pub state: State,
    /// Why, where the agent says so.
    pub why: String,
    /// Why its last try failed, if none has gone well since.
    pub failing: Option<Failing>,
    /// Events that came in, in a second.
    pub in_per_second: Option<f64>,
    /// Events that went out, in a second.
    pub out_per_second: Option<f64>,
    /// Events that wait.
    pub waiting: Option<f64>,
    /// They as a part of the capacity.
    pub fill: Option<f64>,
    /// How long the first of them has waited.
    pub oldest_seconds: Option<f64>,
    /// What failed since the process began.
    pub failures: f64,
}

/// What the rows are in order of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Agents as given; of each, sources, channels, sinks.
    #[default]
    Flow,
    /// The worst first.
    State,
    /// The fastest first.
    Rate,
    /// The channel with the most first.
    Waiting,
    /// The fullest first.
    Fill,
    /// By name.
    Name,
}

impl Sort {
    /// All of them, in the order in which a key goes through them.
    pub const ALL: [Self; 6] =
        [Self::Flow, Self::State, Self::Rate, Self::Waiting, Self::Fill, Self::Name];

    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::State => "state",
            Self::Rate => "rate",
            Self::Waiting => "waiting",
            Self::Fill => "fill",
            Self::Name => "name",
        }
    }

    /// The one behind it.
    #[must_use]
    pub fn next(self) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }
}

/// The rows of all `agents`, in order. An agent of which nothing was ever heard has none.
#[must_use]
pub fn rows(agents: &[Agent], sort: Sort) -> Vec<Row> {
    let mut rows: Vec<Row> = agents.iter().flat_map(of_agent).collect();
    let most = |n: Option<f64>| n.unwrap_or(-1.0);
    let down = |a: f64, b: f64| b.total_cmp(&a);
    let speed = |row: &Row| most(row.in_per_second).max(most(row.out_per_second));
    // Stable: what is alike stays in the order of the flow.
    rows.sort_by(|a, b| match sort {
        Sort::Flow => Ordering::Equal,
        Sort::State => b.state.weight.cmp(&a.state.weight),
        Sort::Rate => down(speed(a), speed(b)),
        Sort::Waiting => down(most(a.waiting), most(b.waiting)),
        Sort::Fill => down(most(a.fill), most(b.fill)),
        Sort::Name => (&a.name, &a.agent).cmp(&(&b.name, &b.agent)),
    });
    rows
}

fn of_agent(agent: &Agent) -> impl Iterator<Item = Row> {
    let components = agent.reading().into_iter().flat_map(|reading| &reading.components);
    let mut all: Vec<_> = components.collect();
    let place = |role: Role| match role {
        Role::Source => 0,
        Role::Channel => 1,
        Role::Sink => 2,
    };
    all.sort_by_key(|((role, name), _)| (place(*role), name.as_str()));
    all.into_iter().map(|(key, component)| row(agent, key, component))
}

fn row(agent: &Agent, key: &Key, component: &Component) -> Row {
    let rate = |measure| agent.rate(key, measure);
    let sum = |measures: &[&str]| {
        measures.iter().filter_map(|m| component.value(m)).fold(0.0, |a, b| a + b)
    };
    let (into, out, failures) = match key.0 {
        Role::Source => (
            rate("accepted_events_total"),
            None,
            sum(&[
                "read_failures_total",
                "channel_write_failures_total",
                "other_failures_total",
                "optional_channel_lost_events_total",
            ]),
        ),
        Role::Channel => (
            rate("put_events_total"),
            rate("taken_events_total"),
            sum(&["put_failures_total", "take_failures_total"]),
        ),
        Role::Sink => (
            None,
            rate("delivered_events_total"),
            sum(&[
                "failed_batches_total",
                "connections_failed_total",
                "channel_read_failures_total",
            ]),
        ),
    };
    let state = match &agent.away {
        Some(_) => state(Weight::Bad, "no answer"),
        None => state_of(key.0, component),
    };
    let name = format!("{}.{}", key.0, key.1);
    let failing = agent.failing.get(&name);
    let reasons = agent.reasons.get(&name).map(|reasons| reasons.join("; "));
    Row {
        agent: agent.title().to_owned(),
        role: key.0,
        name: key.1.clone(),
        kind: component.kind.clone(),
        state,
        why: reasons.or_else(|| failing.map(Failing::words)).unwrap_or_default(),
        failing: failing.cloned(),
        in_per_second: into,
        out_per_second: out,
        waiting: component.value("waiting_events"),
        fill: component.value("fill_ratio"),
        oldest_seconds: component.value("oldest_event_age_seconds"),
        failures,
    }
}

fn state_of(role: Role, component: &Component) -> State {
    use Weight::{Bad, Good, Still, Weak};
    let is = |measure| component.is(measure);
    if role == Role::Channel {
        let fill = component.value("fill_ratio").unwrap_or(0.0);
        return match () {
            () if is("unhealthy") => state(Bad, "unhealthy"),
            () if !is("open") => state(Still, "not open"),
            () if is("suspended") => state(Bad, "disk failing"),
            () if is("out_of_space") => state(Bad, "disk full"),
            () if fill >= FILL_BAD => state(Bad, "full"),
            () if fill >= FILL_WEAK => state(Weak, "filling up"),
            () => state(Good, "open"),
        };
    }
    match () {
        () if is("failing") => state(Bad, "failing"),
        () if is("up") => state(Good, "running"),
        () if is("done") || is("stop_time_seconds") => state(Still, "done"),
        () if is("start_time_seconds") => state(Bad, "resting"),
        () => state(Still, "starting"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Answer, AskError, Reading};
    use super::*;
    use std::time::Duration;

    fn answer(delivered: u64, waiting: u64) -> Answer {
        let page = format!(
            "millpond_build_info{{version=\"1\"}} 1\n\
             millpond_sink_up{{sink=\"k1\",type=\"avro\"}} 1\n\
             millpond_sink_delivered_events_total{{sink=\"k1\",type=\"avro\"}} {delivered}\n\
             millpond_sink_up{{sink=\"k0\",type=\"null\"}} 1\n\
             millpond_sink_failing{{sink=\"k0\",type=\"null\"}} 1\n\
             millpond_channel_open{{channel=\"c1\",type=\"file\"}} 1\n\
             millpond_channel_waiting_events{{channel=\"c1\",type=\"file\"}} {waiting}\n\
             millpond_channel_fill_ratio{{channel=\"c1\",type=\"file\"}} 0.9\n\
             millpond_source_start_time_seconds{{source=\"r1\",type=\"seq\"}} 5\n"
        );
        Answer { reading: Reading::of(&page).expect("a page"), ..Answer::default() }
    }

    fn heard(at: u64) -> Duration {
        Duration::from_secs(at)
    }

    fn names(agents: &[Agent], sort: Sort) -> Vec<String> {
        rows(agents, sort).into_iter().map(|row| row.name).collect()
    }

    #[test]
    fn two_answers_make_rates_and_a_gap_or_a_restart_makes_none() {
        let mut agents = [Agent::new("h:1")];
        let rate = |agents: &[Agent]| rows(agents, Sort::Flow)[3].out_per_second;
        agents[0].hear(heard(10), Ok::<_, AskError>(answer(100, 7)));
        assert_eq!((rate(&agents), rows(&agents, Sort::Flow)[1].waiting), (None, Some(7.0)));
        agents[0].hear(heard(12), Ok::<_, AskError>(answer(150, 7)));
        assert_eq!(rate(&agents), Some(25.0));
        agents[0].hear(heard(14), Ok::<_, AskError>(answer(3, 7)));
        assert_eq!(rate(&agents), None, "it was started again");
        agents[0].hear(heard(16), Err(AskError::Late));
        agents[0].hear(heard(18), Err(AskError::Stranger));
        let all = rows(&agents, Sort::Flow);
        assert!(all.iter().all(|row| row.state == state(Weight::Bad, "no answer")), "{all:?}");
        assert_eq!((all.len(), rate(&agents)), (4, None));
        let (since, why) = agents[0].away.clone().expect("away");
        assert_eq!((since, why.contains("no millpond agent")), (heard(16), true));
        agents[0].hear(heard(1000), Ok::<_, AskError>(answer(9000, 7)));
        assert_eq!((rate(&agents), &agents[0].away), (None, &None));
    }

    #[test]
    fn components_stand_in_the_order_that_is_asked_for() {
        let mut agents = [Agent::new("h:1"), Agent::new("h:2"), Agent::new("h:3")];
        for (at, waiting) in [(0, 7), (1, 9)] {
            for second in [1, 2] {
                agents[at].hear(heard(second), Ok::<_, AskError>(answer(second * 10, waiting)));
            }
        }
        assert_eq!(names(&agents, Sort::Flow), ["r1", "c1", "k0", "k1", "r1", "c1", "k0", "k1"]);
        assert_eq!(names(&agents, Sort::State), ["r1", "k0", "r1", "k0", "c1", "c1", "k1", "k1"]);
        assert_eq!(names(&agents, Sort::Rate)[..2], ["k1", "k1"]);
        assert_eq!(names(&agents, Sort::Name)[..2], ["c1", "c1"]);
        assert_eq!(rows(&agents, Sort::Waiting)[0].agent, "h:2");
        assert_eq!(names(&agents, Sort::Fill)[..2], ["c1", "c1"]);
        let mut sort = Sort::Flow;
        Sort::ALL.iter().for_each(|_| sort = sort.next());
        assert_eq!(sort, Sort::Flow);
    }

    #[test]
    fn a_state_says_what_matters_most() {
        let page = |lines: &str| format!("millpond_build_info{{version=\"1\"}} 1\n{lines}");
        let of = |lines: &str| {
            let reading = Reading::of(&page(lines)).expect("a page");
            let ((role, _), component) = reading.components.iter().next().expect("a component");
            state_of(*role, component).word
        };
        let channel = "millpond_channel_open{channel=\"c\"} 1\n";
        for (lines, word) in [
            ("millpond_channel_open{channel=\"c\"} 0", "not open"),
            (channel, "open"),
            (&format!("{channel}millpond_channel_fill_ratio{{channel=\"c\"}} 0.8"), "filling up"),
            (&format!("{channel}millpond_channel_fill_ratio{{channel=\"c\"}} 1"), "full"),
            (&format!("{channel}millpond_stripe_out_of_space{{channel=\"c\"}} 1"), "disk full"),
            (&format!("{channel}millpond_stripe_suspended{{channel=\"c\"}} 1"), "disk failing"),
            (&format!("{channel}millpond_channel_unhealthy{{channel=\"c\"}} 1"), "unhealthy"),
            ("millpond_sink_up{sink=\"k\"} 0", "starting"),
            ("millpond_source_done{source=\"r\"} 1", "done"),
        ] {
            assert_eq!(of(lines), word, "{lines}");
        }
    }
}
