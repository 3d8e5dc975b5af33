//! The layout: the position of every node, in pixels.

use super::flow_graph::{AgentGraph, FlowGraphs, GraphNode, SourceNode};

/// Height of a line of text.
pub(super) const LINE: f64 = 17.0;
/// Space between a box and its text.
pub(super) const INSET: f64 = 10.0;
/// Character width of the widest of the fonts that the drawing asks for, at its size.
const CHAR: f64 = 7.9;
/// Characters of the longest word before a type, and the blank: `channel `.
const KIND_CHARS: usize = 8;
const BOX_WIDTH_MIN: f64 = 130.0;
const GAP_ACROSS: f64 = 70.0;
const GAP_DOWN: f64 = 16.0;
/// Space above the sinks of a group for its name, and below them.
const GROUP_HEAD: f64 = 22.0;
const GROUP_FOOT: f64 = 8.0;
/// Space above the nodes of an agent for its name.
pub(super) const AGENT_HEAD: f64 = 34.0;
const AGENT_PAD: f64 = 20.0;
const MARGIN: f64 = 20.0;
const AGENT_GAP: f64 = 80.0;

/// A rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rectangle {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rectangle {
    fn shift(&mut self, x: f64, y: f64) {
        self.x += x;
        self.y += y;
    }

    /// Returns the point where arrows leave.
    pub(super) fn right(&self) -> (f64, f64) {
        (self.x + self.width, self.y + self.height / 2.0)
    }

    /// Returns the point where arrows arrive.
    pub(super) fn left(&self) -> (f64, f64) {
        (self.x, self.y + self.height / 2.0)
    }
}

/// One agent, laid out.
#[derive(Clone, Debug, Default)]
pub(super) struct LaidAgent {
    pub(super) area: Rectangle,
    pub(super) sources: Vec<Rectangle>,
    pub(super) channels: Vec<Rectangle>,
    pub(super) sinks: Vec<Rectangle>,
    pub(super) groups: Vec<Rectangle>,
}

/// A graph, laid out.
pub(super) struct GraphLayout {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) agents: Vec<LaidAgent>,
}

/// Returns the lines of a node: its name, its type, further facts.
pub(super) fn lines(part: &GraphNode) -> usize {
    2 + part.about.len()
}

/// Lays a graph out: receiving agents are to the right of sending ones.
pub(super) fn layout(picture: &FlowGraphs) -> GraphLayout {
    let mut agents: Vec<LaidAgent> = picture.agents.iter().map(lay).collect();
    let ranks = ranks(picture);
    let (mut x, mut height) = (MARGIN, 0.0_f64);
    for rank in 0..=ranks.iter().max().copied().unwrap_or(0) {
        let mut y = MARGIN;
        let mut width = 0.0_f64;
        for (laid, _) in agents.iter_mut().zip(&ranks).filter(|(_, r)| **r == rank) {
            laid.shift(x, y);
            y += laid.area.height + AGENT_GAP / 2.0;
            width = width.max(laid.area.width);
        }
        height = height.max(y - AGENT_GAP / 2.0 + MARGIN);
        x += width + AGENT_GAP;
    }
    GraphLayout { width: (x - AGENT_GAP + MARGIN).max(2.0 * MARGIN), height, agents }
}

/// Returns the number of hops that lead to each agent. Cycles are cut off after a bounded number of
/// rounds.
fn ranks(picture: &FlowGraphs) -> Vec<usize> {
    let count = picture.agents.len();
    let mut ranks = vec![0; count];
    for _ in 1..count {
        for hop in picture.hops.iter().filter(|hop| hop.from.0 != hop.to.0) {
            ranks[hop.to.0] = (ranks[hop.from.0] + 1).max(ranks[hop.to.0]).min(count - 1);
        }
    }
    // A cycle leaves gaps.
    let mut used = ranks.clone();
    used.sort_unstable();
    used.dedup();
    ranks.iter().map(|rank| used.iter().position(|u| u == rank).unwrap_or(0)).collect()
}

fn lay(agent: &AgentGraph) -> LaidAgent {
    let mut laid = LaidAgent::default();
    let mut x = AGENT_PAD;
    let sources: Vec<GraphNode> = agent.sources.iter().map(SourceNode::whole).collect();
    let sources: Vec<&GraphNode> = sources.iter().collect();
    let channels: Vec<&GraphNode> = agent.channels.iter().collect();
    laid.sources = column(&sources, &mut x);
    laid.channels = column(&channels, &mut x);
    laid.sinks = sinks(agent, &mut x, &mut laid.groups);
    let bottom = |areas: &[Rectangle]| areas.iter().map(|a| a.y + a.height).fold(0.0, f64::max);
    let columns = [&mut laid.sources, &mut laid.channels, &mut laid.sinks];
    let tallest = columns.iter().map(|c| bottom(c)).fold(0.0, f64::max).max(bottom(&laid.groups));
    for column in [&mut laid.sources, &mut laid.channels] {
        let down = (tallest - bottom(column)) / 2.0;
        column.iter_mut().for_each(|area| area.shift(0.0, down));
    }
    let name = agent.name.chars().count() as f64 * CHAR + 2.0 * AGENT_PAD;
    let width = (x - GAP_ACROSS + AGENT_PAD).max(name + 60.0);
    laid.area = Rectangle { x: 0.0, y: 0.0, width, height: AGENT_HEAD + tallest + AGENT_PAD };
    let columns = [&mut laid.sources, &mut laid.channels, &mut laid.sinks, &mut laid.groups];
    columns.into_iter().flatten().for_each(|area| area.shift(0.0, AGENT_HEAD));
    laid
}

fn width_of<'a>(parts: impl IntoIterator<Item = &'a GraphNode>) -> f64 {
    let lines = parts.into_iter().flat_map(|part| {
        let title = part.title().chars().count();
        let text = part.about.iter().map(|line| line.chars().count());
        let kind = KIND_CHARS + part.type_name.chars().count();
        text.chain([title, kind]).map(|chars| chars as f64 * CHAR + 2.0 * INSET)
    });
    lines.fold(BOX_WIDTH_MIN, f64::max)
}

fn box_at(x: f64, y: f64, width: f64, part: &GraphNode) -> Rectangle {
    Rectangle { x, y, width, height: lines(part) as f64 * LINE + 2.0 * INSET }
}

fn column(parts: &[&GraphNode], x: &mut f64) -> Vec<Rectangle> {
    let width = width_of(parts.iter().copied());
    let mut y = 0.0;
    let mut place = |part: &&GraphNode| {
        let area = box_at(*x, y, width, part);
        y += area.height + GAP_DOWN;
        area
    };
    let areas = parts.iter().map(&mut place).collect();
    *x += width + GAP_ACROSS;
    areas
}

fn sinks(agent: &AgentGraph, x: &mut f64, groups: &mut Vec<Rectangle>) -> Vec<Rectangle> {
    let parts = agent.sinks.iter().map(|s| &s.part);
    let width = width_of(parts.chain(agent.groups.iter().map(|g| &g.part)));
    let mut areas = vec![Rectangle::default(); agent.sinks.len()];
    let mut y = 0.0;
    for group in &agent.groups {
        let top = y;
        y += GROUP_HEAD + (lines(&group.part) - 2) as f64 * LINE;
        for sink in &group.sinks {
            areas[*sink] = box_at(*x, y, width, &agent.sinks[*sink].part);
            y += areas[*sink].height + GAP_DOWN;
        }
        y += GROUP_FOOT - GAP_DOWN;
        groups.push(Rectangle { x: *x - 10.0, y: top, width: width + 20.0, height: y - top });
        y += GAP_DOWN;
    }
    let grouped = |at: &usize| agent.groups.iter().any(|group| group.sinks.contains(at));
    for at in (0..agent.sinks.len()).filter(|at| !grouped(at)) {
        areas[at] = box_at(*x, y, width, &agent.sinks[at].part);
        y += areas[at].height + GAP_DOWN;
    }
    *x += width + GAP_ACROSS;
    areas
}

impl LaidAgent {
    fn shift(&mut self, x: f64, y: f64) {
        self.area.shift(x, y);
        let parts = [&mut self.sources, &mut self.channels, &mut self.sinks, &mut self.groups];
        parts.into_iter().flatten().for_each(|area| area.shift(x, y));
    }
}
