//! Time lines as SVG: no script, nothing from a network, light or dark as the reader has it.

use super::Line;
use std::fmt::Write as _;
use std::time::Duration;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 64.0;
const HEIGHT: f64 = 150.0;
const BELOW: f64 = 56.0;

const STYLE: &str = "
svg { color-scheme: light dark; --ink: #1f2328; --faint: #d0d7de; --ground: #ffffff; --ours: #0072b2; --floor: #8c8c8c; }
@media (prefers-color-scheme: dark) { svg { --ink: #e6edf3; --faint: #3d444d; --ground: #0d1117; --ours: #56b4e9; --floor: #8c8c8c; } }
.ground { fill: var(--ground); }
text { fill: var(--ink); font: 12px system-ui, sans-serif; }
.title { font-size: 15px; font-weight: 600; }
.grid { stroke: var(--faint); stroke-width: 1; }
.ours { stroke: var(--ours); } .floor { stroke: var(--floor); }
polyline { fill: none; stroke-width: 1.2; }
";

/// What is drawn of a time line, and how its axis is called.
type Drawn = (&'static str, fn((f64, f64), f64) -> f64);

const DRAWN: [Drawn; 2] = [
    ("thousand puts/s", |slice, seconds| slice.0 / seconds / 1e3),
    ("longest commit, ms", |slice, _| slice.1),
];

/// What a drawing says of itself: its title, and the names of its two sides, the blue one first.
pub(crate) struct Legend {
    pub(crate) title: &'static str,
    pub(crate) sides: [&'static str; 2],
}

/// An SVG of the puts per second and the longest commit in each slice, for each workload.
pub(crate) fn time_lines(legend: &Legend, cases: &[(&str, [Line; 2])], slice: Duration) -> String {
    let height = TOP + (cases.len() * DRAWN.len()) as f64 * (HEIGHT + BELOW);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>Puts and longest commits over time, {} and {}</title>\n\
         <style>{STYLE}</style>\n<rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n",
        legend.sides[0], legend.sides[1]
    );
    write(&mut text, (LEFT, 22.0), "start", "title", legend.title);
    for (at, (class, words)) in ["ours", "floor"].into_iter().zip(legend.sides).enumerate() {
        let x = LEFT + 110.0 * at as f64;
        let _ = writeln!(
            text,
            "<line class=\"{class}\" stroke-width=\"3\" x1=\"{x}\" y1=\"40\" x2=\"{}\" y2=\"40\"/>",
            x + 20.0
        );
        write(&mut text, (x + 26.0, 44.0), "start", "", words);
    }
    let mut top = TOP;
    for (name, sides) in cases {
        for (axis, value) in DRAWN {
            let values = sides.each_ref().map(|line| {
                // The last slice is not a whole one.
                let whole = &line.slices[..line.slices.len().saturating_sub(1)];
                whole.iter().map(|one| value(*one, slice.as_secs_f64())).collect::<Vec<_>>()
            });
            write(&mut text, (LEFT, top + 4.0), "start", "", &format!("{name}: {axis}"));
            plot(&mut text, top + 14.0, &values, slice);
            top += HEIGHT + BELOW;
        }
    }
    text.push_str("</svg>\n");
    text
}

fn plot(text: &mut String, top: f64, sides: &[Vec<f64>; 2], slice: Duration) {
    let most = sides.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    let step = step(most);
    let (lines, slots) = ((most / step).ceil(), sides.iter().map(Vec::len).max().unwrap_or(0));
    let (wide, bottom) = (WIDTH - LEFT - RIGHT, top + HEIGHT);
    let y = |value: f64| bottom - value / (lines * step) * HEIGHT;
    for line in 0..=lines as usize {
        let value = line as f64 * step;
        let _ = writeln!(
            text,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{0:.1}\" x2=\"{1}\" y2=\"{0:.1}\"/>",
            y(value),
            WIDTH - RIGHT
        );
        let words = if step < 1.0 { format!("{value:.1}") } else { format!("{value:.0}") };
        write(text, (LEFT - 8.0, y(value) + 4.0), "end", "", &words);
    }
    for (values, class) in sides.iter().zip(["ours", "floor"]).rev() {
        let points: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(at, value)| {
                let x = LEFT + at as f64 / slots.saturating_sub(1).max(1) as f64 * wide;
                format!("{x:.1},{:.1}", y(*value))
            })
            .collect();
        let _ = writeln!(text, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
    }
    let words = format!("{:.0} s", slots as f64 * slice.as_secs_f64());
    write(text, (LEFT, bottom + 18.0), "start", "", "0");
    write(text, (WIDTH - RIGHT, bottom + 18.0), "end", "", &words);
}

/// 1, 2 or 5 of a power of ten, so that there are three to eight lines.
fn step(most: f64) -> f64 {
    let power = 10f64.powf((most / 4.0).log10().floor());
    let fits = |step: &f64| most / step <= 8.0;
    [power, 2.0 * power, 5.0 * power].into_iter().find(fits).unwrap_or(10.0 * power)
}

fn write(text: &mut String, at: (f64, f64), anchor: &str, class: &str, words: &str) {
    let _ = writeln!(
        text,
        "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{words}</text>",
        at.0, at.1
    );
}
