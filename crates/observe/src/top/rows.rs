//! The rows: one for each component.

use super::agent::AgentState;
use super::agent_client::FailingComponent;
use super::metrics_page::{ComponentKey, ComponentMetrics};
use millpond_flow::metrics::ComponentRole;
use std::cmp::Ordering;

/// Fill level from which a channel is marked as weak.
const FILL_WEAK: f64 = 0.8;
/// Fill level from which it is marked as bad.
const FILL_BAD: f64 = 0.98;

/// The severity of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateSeverity {
    /// Healthy.
    Good,
    /// Not running, or not yet.
    Still,
    /// Likely to become bad soon.
    Weak,
    /// Needs attention.
    Bad,
}

/// The state of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComponentState {
    /// Its severity.
    pub weight: StateSeverity,
    /// A word or two for it.
    pub word: &'static str,
}

const fn state(weight: StateSeverity, word: &'static str) -> ComponentState {
    ComponentState { weight, word }
}

/// One component.
#[derive(Clone, Debug, PartialEq)]
pub struct ComponentRow {
    /// The agent's name, or its address.
    pub agent: String,
    /// Its role.
    pub role: ComponentRole,
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Its state.
    pub state: ComponentState,
    /// The reason, if the agent reports one.
    pub why: String,
    /// Why its last attempt failed, if none has succeeded since.
    pub failing: Option<FailingComponent>,
    /// Events that came in per second.
    pub in_per_second: Option<f64>,
    /// Events that went out per second.
    pub out_per_second: Option<f64>,
    /// Waiting events.
    pub waiting: Option<f64>,
    /// Waiting events as a part of the capacity.
    pub fill: Option<f64>,
    /// How long the oldest of them has waited.
    pub oldest_seconds: Option<f64>,
    /// Failures since the process began.
    pub failures: f64,
}

/// The sort order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
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

impl SortOrder {
    /// All orders, in the sequence in which a key cycles through them.
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

    /// Returns the next order.
    #[must_use]
    pub fn next(self) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }
}

/// Returns the rows of all `agents`, in order. An agent without any reply has none.
#[must_use]
pub fn rows(agents: &[AgentState], sort: SortOrder) -> Vec<ComponentRow> {
    let mut rows: Vec<ComponentRow> = agents.iter().flat_map(of_agent).collect();
    let most = |n: Option<f64>| n.unwrap_or(-1.0);
    let down = |a: f64, b: f64| b.total_cmp(&a);
    let speed = |row: &ComponentRow| most(row.in_per_second).max(most(row.out_per_second));
    // Stable: equal rows stay in the order of the flow.
    rows.sort_by(|a, b| match sort {
        SortOrder::Flow => Ordering::Equal,
        SortOrder::State => b.state.weight.cmp(&a.state.weight),
        SortOrder::Rate => down(speed(a), speed(b)),
        SortOrder::Waiting => down(most(a.waiting), most(b.waiting)),
        SortOrder::Fill => down(most(a.fill), most(b.fill)),
        SortOrder::Name => (&a.name, &a.agent).cmp(&(&b.name, &b.agent)),
    });
    rows
}

fn of_agent(agent: &AgentState) -> impl Iterator<Item = ComponentRow> {
    let components = agent.reading().into_iter().flat_map(|reading| &reading.components);
    let mut all: Vec<_> = components.collect();
    let place = |role: ComponentRole| match role {
        ComponentRole::Source => 0,
        ComponentRole::Channel => 1,
        ComponentRole::Sink => 2,
    };
    all.sort_by_key(|((role, name), _)| (place(*role), name.as_str()));
    all.into_iter().map(|(key, component)| row(agent, key, component))
}

fn row(agent: &AgentState, key: &ComponentKey, component: &ComponentMetrics) -> ComponentRow {
    let rate = |measure| agent.rate(key, measure);
    let sum = |measures: &[&str]| {
        measures.iter().filter_map(|m| component.value(m)).fold(0.0, |a, b| a + b)
    };
    let (into, out, failures) = match key.0 {
        ComponentRole::Source => (
            rate("accepted_events_total"),
            None,
            sum(&[
                "read_failures_total",
                "channel_write_failures_total",
                "other_failures_total",
                "optional_channel_lost_events_total",
            ]),
        ),
        ComponentRole::Channel => (
            rate("put_events_total"),
            rate("taken_events_total"),
            sum(&["put_failures_total", "take_failures_total"]),
        ),
        ComponentRole::Sink => (
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
        Some(_) => state(StateSeverity::Bad, "no answer"),
        None => state_of(key.0, component),
    };
    let name = format!("{}.{}", key.0, key.1);
    let failing = agent.failing.get(&name);
    let reasons = agent.reasons.get(&name).map(|reasons| reasons.join("; "));
    ComponentRow {
        agent: agent.title().to_owned(),
        role: key.0,
        name: key.1.clone(),
        kind: component.kind.clone(),
        state,
        why: reasons.or_else(|| failing.map(FailingComponent::words)).unwrap_or_default(),
        failing: failing.cloned(),
        in_per_second: into,
        out_per_second: out,
        waiting: component.value("waiting_events"),
        fill: component.value("fill_ratio"),
        oldest_seconds: component.value("oldest_event_age_seconds"),
        failures,
    }
}

fn state_of(role: ComponentRole, component: &ComponentMetrics) -> ComponentState {
    use StateSeverity::{Bad, Good, Still, Weak};
    let is = |measure| component.is(measure);
    if role == ComponentRole::Channel {
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
    use super::super::{AgentAnswer, AgentMetrics, AskError};
    use super::*;
    use std::time::Duration;

    fn answer(delivered: u64, waiting: u64) -> AgentAnswer {
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
        AgentAnswer { reading: AgentMetrics::of(&page).expect("a page"), ..AgentAnswer::default() }
    }

    fn at_second(at: u64) -> Duration {
        Duration::from_secs(at)
    }

    fn names(agents: &[AgentState], sort: SortOrder) -> Vec<String> {
        rows(agents, sort).into_iter().map(|row| row.name).collect()
    }

    #[test]
    fn two_replies_make_rates_and_a_gap_or_a_restart_makes_none() {
        let mut agents = [AgentState::new("h:1")];
        let rate = |agents: &[AgentState]| rows(agents, SortOrder::Flow)[3].out_per_second;
        agents[0].hear(at_second(10), Ok::<_, AskError>(answer(100, 7)));
        assert_eq!((rate(&agents), rows(&agents, SortOrder::Flow)[1].waiting), (None, Some(7.0)));
        agents[0].hear(at_second(12), Ok::<_, AskError>(answer(150, 7)));
        assert_eq!(rate(&agents), Some(25.0));
        agents[0].hear(at_second(14), Ok::<_, AskError>(answer(3, 7)));
        assert_eq!(rate(&agents), None, "it was started again");
        agents[0].hear(at_second(16), Err(AskError::Timeout));
        agents[0].hear(at_second(18), Err(AskError::NotMillpond));
        let all = rows(&agents, SortOrder::Flow);
        assert!(
            all.iter().all(|row| row.state == state(StateSeverity::Bad, "no answer")),
            "{all:?}"
        );
        assert_eq!((all.len(), rate(&agents)), (4, None));
        let (since, why) = agents[0].away.clone().expect("away");
        assert_eq!((since, why.contains("not a millpond agent")), (at_second(16), true));
        agents[0].hear(at_second(1000), Ok::<_, AskError>(answer(9000, 7)));
        assert_eq!((rate(&agents), &agents[0].away), (None, &None));
    }

    #[test]
    fn components_stand_in_the_order_that_is_asked_for() {
        let mut agents = [AgentState::new("h:1"), AgentState::new("h:2"), AgentState::new("h:3")];
        for (at, waiting) in [(0, 7), (1, 9)] {
            for second in [1, 2] {
                agents[at].hear(at_second(second), Ok::<_, AskError>(answer(second * 10, waiting)));
            }
        }
        assert_eq!(
            names(&agents, SortOrder::Flow),
            ["r1", "c1", "k0", "k1", "r1", "c1", "k0", "k1"]
        );
        assert_eq!(
            names(&agents, SortOrder::State),
            ["r1", "k0", "r1", "k0", "c1", "c1", "k1", "k1"]
        );
        assert_eq!(names(&agents, SortOrder::Rate)[..2], ["k1", "k1"]);
        assert_eq!(names(&agents, SortOrder::Name)[..2], ["c1", "c1"]);
        assert_eq!(rows(&agents, SortOrder::Waiting)[0].agent, "h:2");
        assert_eq!(names(&agents, SortOrder::Fill)[..2], ["c1", "c1"]);
        let mut sort = SortOrder::Flow;
        SortOrder::ALL.iter().for_each(|_| sort = sort.next());
        assert_eq!(sort, SortOrder::Flow);
    }

    #[test]
    fn a_state_says_what_matters_most() {
        let page = |lines: &str| format!("millpond_build_info{{version=\"1\"}} 1\n{lines}");
        let of = |lines: &str| {
            let reading = AgentMetrics::of(&page(lines)).expect("a page");
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
