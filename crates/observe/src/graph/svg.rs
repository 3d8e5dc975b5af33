//! The graph, drawn as SVG.

use super::flow_graph::{FlowGraphs, GraphNode};
use super::layout::{AGENT_HEAD, INSET, LINE, Rectangle, layout};
use crate::svg::escaped;
use std::fmt::Write;

/// Colours follow the reader's choice of light or dark. Nodes differ by the shape of their frame,
/// not by colour alone.
const STYLE: &str = "\
text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#1b1f24}\
.name{font-weight:bold}.agent{fill:#f6f8fa;stroke:#8c959f}.source{fill:#ddf4ff;stroke:#0969da}\
.channel{fill:#fff8c5;stroke:#9a6700}.sink{fill:#dafbe1;stroke:#1a7f37}\
.group{fill:none;stroke:#57606a;stroke-dasharray:5 4}\
.flow{fill:none;stroke:#57606a;stroke-width:1.5}.hop{fill:none;stroke:#8250df;stroke-width:2.5}\
.head{fill:#57606a}.hophead{fill:#8250df}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.agent{fill:#161b22;stroke:#6e7681}\
.source{fill:#0c2d6b;stroke:#58a6ff}.channel{fill:#3b2300;stroke:#d29922}\
.sink{fill:#033a16;stroke:#3fb950}.group{stroke:#8b949e}.flow{stroke:#8b949e}.head{fill:#8b949e}\
.hop{stroke:#bc8cff}.hophead{fill:#bc8cff}}";

/// Returns the graph as SVG, for a browser or a page; it needs nothing from outside.
#[must_use]
pub fn svg(picture: &FlowGraphs) -> String {
    let layout = layout(picture);
    let (width, height) = (layout.width, layout.height);
    let names: Vec<&str> = picture.agents.iter().map(|agent| agent.name.as_str()).collect();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>Flow of {}</title>\n\
         <style>{STYLE}</style>\n<defs>",
        escaped(&names.join(", "))
    );
    for head in ["head", "hophead"] {
        let _ = write!(
            out,
            "<marker id=\"{head}\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" \
             markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">\
             <path class=\"{head}\" d=\"M0 0L8 4L0 8z\"/></marker>"
        );
    }
    out.push_str("</defs>\n");
    for (agent, laid) in picture.agents.iter().zip(&layout.agents) {
        frame(&mut out, "agent", &laid.area, 12.0);
        let at = (laid.area.x + 2.0 * INSET, laid.area.y + AGENT_HEAD - INSET);
        words(&mut out, at, "name", &format!("agent {}", agent.name));
        for (group, area) in agent.groups.iter().zip(&laid.groups) {
            frame(&mut out, "group", area, 8.0);
            let head = format!("{} ({})", group.part.title(), group.part.type_name);
            let lines = std::iter::once(&head).chain(&group.part.about);
            for (line, text) in lines.enumerate() {
                let at = (area.x + INSET, area.y + INSET / 2.0 + (line as f64 + 0.7) * LINE);
                words(&mut out, at, if line == 0 { "name" } else { "" }, text);
            }
        }
        for (source, from) in agent.sources.iter().zip(&laid.sources) {
            part(&mut out, "source", &source.whole(), from, 3.0);
            for channel in &source.channels {
                arrow(&mut out, "flow", "head", from.right(), laid.channels[*channel].left());
            }
        }
        for (channel, area) in agent.channels.iter().zip(&laid.channels) {
            part(&mut out, "channel", channel, area, 22.0);
        }
        for (sink, area) in agent.sinks.iter().zip(&laid.sinks) {
            part(&mut out, "sink", &sink.part, area, 3.0);
            arrow(&mut out, "flow", "head", laid.channels[sink.channel].right(), area.left());
        }
    }
    for hop in &picture.hops {
        let from = layout.agents[hop.from.0].sinks[hop.from.1].right();
        let to = layout.agents[hop.to.0].sources[hop.to.1].left();
        arrow(&mut out, "hop", "hophead", from, to);
    }
    out.push_str("</svg>\n");
    out
}

fn frame(out: &mut String, class: &str, area: &Rectangle, round: f64) {
    let Rectangle { x, y, width, height } = area;
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
         height=\"{height:.1}\" rx=\"{round}\"/>"
    );
}

fn part(out: &mut String, class: &str, part: &GraphNode, area: &Rectangle, round: f64) {
    frame(out, class, area, round);
    let (title, kind) = (part.title(), format!("{class} {}", part.type_name));
    let lines = [&title, &kind].into_iter().chain(&part.about);
    for (line, text) in lines.enumerate() {
        let at = (area.x + INSET, area.y + INSET + (line as f64 + 0.75) * LINE);
        words(out, at, if line == 0 { "name" } else { "" }, text);
    }
}

fn words(out: &mut String, (x, y): (f64, f64), class: &str, text: &str) {
    let _ =
        writeln!(out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(text));
}

fn arrow(out: &mut String, class: &str, head: &str, from: (f64, f64), to: (f64, f64)) {
    // An arrow that leads back to the left swings out further.
    let bend = ((to.0 - from.0) / 2.0).abs().max(40.0);
    let _ = writeln!(
        out,
        "<path class=\"{class}\" marker-end=\"url(#{head})\" d=\"M{:.1} {:.1}C{:.1} {:.1} {:.1} \
         {:.1} {:.1} {:.1}\"/>",
        from.0,
        from.1,
        from.0 + bend,
        from.1,
        to.0 - bend,
        to.1,
        to.0,
        to.1
    );
}
