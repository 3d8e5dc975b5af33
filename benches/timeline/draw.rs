//! Time lines as SVG.

use super::Line;
use super::svg::chart::{Canvas, ChartAxis, ChartLine};
use std::time::Duration;

/// The label of an axis and the function that reads its value.
type Drawn = (&'static str, fn((f64, f64), f64) -> f64);

const DRAWN: [Drawn; 2] =
    [("puts/s", |slice, seconds| slice.0 / seconds), ("longest commit, ms", |slice, _| slice.1)];

/// The legend of a drawing: its title, and the names of its two sides.
pub(crate) struct Legend {
    pub(crate) title: &'static str,
    pub(crate) sides: [&'static str; 2],
}

/// Returns an SVG of the puts per second and the longest commit in each slice, for each workload.
pub(crate) fn time_lines(legend: &Legend, cases: &[(&str, [Line; 2])], slice: Duration) -> String {
    let seconds = slice.as_secs_f64();
    let mut canvas = Canvas::new(legend.title, (cases.len() * DRAWN.len()) as u32);
    for (name, sides) in cases {
        for (words, value) in DRAWN {
            let lines = legend.sides.iter().zip(sides).map(|(side, line)| {
                // The last slice is not a whole one.
                let whole = &line.slices[..line.slices.len().saturating_sub(1)];
                let points = whole.iter().enumerate();
                ChartLine {
                    name: (*side).to_owned(),
                    points: points
                        .map(|(at, one)| (at as f64 * seconds, value(*one, seconds)))
                        .collect(),
                }
            });
            let (across, up) = (ChartAxis::linear("seconds"), ChartAxis::linear(words));
            canvas.panel(name, &across, &up, &lines.collect::<Vec<_>>());
        }
    }
    canvas.finish()
}
