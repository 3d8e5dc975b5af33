//! Lines on axes, as SVG.

use super::escaped;
use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const PANEL_HEIGHT: f64 = 320.0;
const LEFT: f64 = 80.0;
const TOP: f64 = 40.0;
const PLOT_WIDTH: f64 = 640.0;
const PLOT_HEIGHT: f64 = 220.0;
const LEGEND_LEFT: f64 = LEFT + PLOT_WIDTH + 20.0;
const LEGEND_STEP: f64 = 20.0;

/// Distinguishable also with colour blindness (after Okabe and Ito), on a light and a dark
/// background. Colours are written out: image viewers do not know variables, and some do not know
/// media queries.
const STYLE: &str = "
svg { color-scheme: light dark; }
.ground { fill: #ffffff; }
text { fill: #1f2328; font: 12px system-ui, sans-serif; }
.title { font-size: 15px; font-weight: 600; }
.grid { stroke: #d0d7de; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117; } text { fill: #e6edf3; } .grid { stroke: #3d444d; }
}
.line { fill: none; stroke-width: 2; }
.c0 { stroke: #0072b2; fill: #0072b2; } .c1 { stroke: #e69f00; fill: #e69f00; }
.c2 { stroke: #009e73; fill: #009e73; } .c3 { stroke: #cc79a7; fill: #cc79a7; }
.c4 { stroke: #56b4e9; fill: #56b4e9; } .c5 { stroke: #d55e00; fill: #d55e00; }
.c6 { stroke: #8a8f00; fill: #8a8f00; } .c7 { stroke: #8b6fc8; fill: #8b6fc8; }
polyline.line { fill: none; }
";

/// Points with a name.
#[derive(Clone, Debug)]
pub struct ChartLine {
    /// For the legend.
    pub name: String,
    /// Across and up.
    pub points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AxisScale {
    Linear,
    Logarithmic,
    /// Positions are numbers of nines: 2 is 99 %.
    Nines,
}

/// One direction of a panel.
#[derive(Clone, Debug)]
pub struct ChartAxis {
    words: String,
    scale: AxisScale,
}

impl ChartAxis {
    /// Returns an axis from zero.
    #[must_use]
    pub fn linear(words: &str) -> Self {
        Self { words: words.to_owned(), scale: AxisScale::Linear }
    }

    /// Returns an axis with powers of ten at equal distances.
    #[must_use]
    pub fn logarithmic(words: &str) -> Self {
        Self { words: words.to_owned(), scale: AxisScale::Logarithmic }
    }

    /// Returns an axis of shares by the number of their nines.
    #[must_use]
    pub fn nines(words: &str) -> Self {
        Self { words: words.to_owned(), scale: AxisScale::Nines }
    }

    /// Returns the ends of the axis, and its marks, for these values.
    fn range(&self, values: impl Iterator<Item = f64>) -> AxisRange {
        let (low, high) = values
            .filter(|value| {
                value.is_finite() && (*value > 0.0 || self.scale != AxisScale::Logarithmic)
            })
            .fold((f64::MAX, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        let marks: Vec<f64> = match self.scale {
            AxisScale::Linear => {
                let step = round_step(high / 4.0);
                (0..=(high / step).ceil().max(1.0) as u32).map(|n| f64::from(n) * step).collect()
            }
            AxisScale::Logarithmic if low > high => vec![1.0, 10.0],
            AxisScale::Logarithmic => {
                let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
                (first..=last.max(first + 1)).map(|power| 10f64.powi(power)).collect()
            }
            AxisScale::Nines => (0..=(high.ceil().max(1.0) as u32)).map(f64::from).collect(),
        };
        let ends = (marks.first().copied().unwrap_or(0.0), marks.last().copied().unwrap_or(1.0));
        AxisRange { scale: self.scale, ends, marks }
    }
}

struct AxisRange {
    scale: AxisScale,
    ends: (f64, f64),
    marks: Vec<f64>,
}

impl AxisRange {
    /// Returns the position on the axis: 0 at the beginning, 1 at the end.
    fn place(&self, value: f64) -> f64 {
        let of = |value: f64| match self.scale {
            AxisScale::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
            AxisScale::Linear | AxisScale::Nines => value,
        };
        let (first, last) = (of(self.ends.0), of(self.ends.1));
        ((of(value) - first) / (last - first)).clamp(0.0, 1.0)
    }

    fn mark(&self, value: f64) -> String {
        match self.scale {
            AxisScale::Nines if value == 0.0 => "0 %".to_owned(),
            AxisScale::Nines => {
                let digits = (value as usize).saturating_sub(2);
                format!("{:.digits$} %", 100.0 - 10f64.powf(2.0 - value))
            }
            AxisScale::Linear | AxisScale::Logarithmic => short(value),
        }
    }
}

/// Returns the smallest of 1, 2, 5, 10, 20, … that is not below `least`.
fn round_step(least: f64) -> f64 {
    if least <= 0.0 || !least.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(least.log10().floor());
    let times = [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= least * 0.999_999);
    times.unwrap_or(10.0) * power
}

/// Formats `1500000` as `1.5M`.
fn short(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e3 => (v / 1e3, "k"),
        v => (v, ""),
    };
    let text = format!("{scaled:.3}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Panels, one below the other.
pub struct Canvas {
    text: String,
    panels: u32,
}

impl Canvas {
    /// Returns a canvas with room for `panels`. The title is not drawn: screen readers and tooltips have it.
    #[must_use]
    pub fn new(title: &str, panels: u32) -> Self {
        let height = PANEL_HEIGHT * f64::from(panels);
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
             <title>{}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n",
            escaped(title)
        );
        Self { text, panels: 0 }
    }

    /// Adds a panel.
    pub fn panel(&mut self, title: &str, across: &ChartAxis, up: &ChartAxis, lines: &[ChartLine]) {
        let top = PANEL_HEIGHT * f64::from(self.panels);
        self.panels += 1;
        let all = || lines.iter().flat_map(|line| &line.points);
        let (xs, ys) = (across.range(all().map(|p| p.0)), up.range(all().map(|p| p.1)));
        let _ = writeln!(self.text, "<g transform=\"translate(0 {top})\">");
        let title = format!("{title}: {}", up.words);
        self.write(LEFT, 24.0, "start", " class=\"title\"", &title);
        self.frame(&xs, &ys);
        self.write(LEFT + PLOT_WIDTH / 2.0, TOP + PLOT_HEIGHT + 36.0, "middle", "", &across.words);
        // The first line is on top.
        for (at, line) in lines.iter().enumerate().rev() {
            self.line(at, line, &xs, &ys);
        }
        self.text.push_str("</g>\n");
    }

    fn frame(&mut self, xs: &AxisRange, ys: &AxisRange) {
        for mark in &xs.marks {
            let x = LEFT + xs.place(*mark) * PLOT_WIDTH;
            self.stroke((x, TOP), (x, TOP + PLOT_HEIGHT));
            self.write(x, TOP + PLOT_HEIGHT + 18.0, "middle", "", &xs.mark(*mark));
        }
        for mark in &ys.marks {
            let y = TOP + (1.0 - ys.place(*mark)) * PLOT_HEIGHT;
            self.stroke((LEFT, y), (LEFT + PLOT_WIDTH, y));
            self.write(LEFT - 8.0, y + 4.0, "end", "", &ys.mark(*mark));
        }
    }

    fn line(&mut self, at: usize, line: &ChartLine, xs: &AxisRange, ys: &AxisRange) {
        let colour = at % 8;
        let points: Vec<String> = line
            .points
            .iter()
            .map(|(x, y)| {
                let x = LEFT + xs.place(*x) * PLOT_WIDTH;
                format!("{x:.1},{:.1}", TOP + (1.0 - ys.place(*y)) * PLOT_HEIGHT)
            })
            .collect();
        if let [point] = &points[..] {
            let (x, y) = point.split_once(',').unwrap_or(("0", "0"));
            let _ =
                writeln!(self.text, "<circle class=\"c{colour}\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>");
        } else {
            let _ = writeln!(
                self.text,
                "<polyline class=\"line c{colour}\" points=\"{}\"/>",
                points.join(" ")
            );
        }
        let y = TOP + 10.0 + LEGEND_STEP * at as f64;
        let _ = writeln!(
            self.text,
            "<rect class=\"c{colour}\" x=\"{LEGEND_LEFT}\" y=\"{}\" width=\"14\" height=\"4\"/>",
            y - 6.0
        );
        self.write(LEGEND_LEFT + 20.0, y, "start", "", &line.name);
    }

    fn stroke(&mut self, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            self.text,
            "<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        );
    }

    fn write(&mut self, x: f64, y: f64, anchor: &str, more: &str, words: &str) {
        let words = escaped(words);
        let _ = writeln!(
            self.text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{more}>{words}</text>"
        );
    }

    /// Returns the whole drawing.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_hold_all_values() {
        for high in [0.0, 0.003, 1.0, 7.0, 99.0, 101.0, 2_500_000.0] {
            let range = ChartAxis::linear("").range([0.0, high].into_iter());
            assert!((2..=7).contains(&range.marks.len()), "{high}: {:?}", range.marks);
            assert!(range.ends.1 >= high && range.place(high) <= 1.0);
        }
        let range = ChartAxis::logarithmic("").range([0.0, 0.02, 300.0].into_iter());
        assert_eq!(range.ends, (0.01, 1000.0));
        assert!((range.place(1.0) - 0.4).abs() < 1e-9, "{}", range.place(1.0));
        let nines = ChartAxis::nines("").range([0.0, 3.3].into_iter());
        let words: Vec<String> = nines.marks.iter().map(|mark| nines.mark(*mark)).collect();
        assert_eq!(words, ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert_eq!([0.0, 20.0, 1500.0, 2e6].map(short), ["0", "20", "1.5k", "2M"]);
    }

    #[test]
    fn a_drawing_has_every_line_by_name_and_nothing_that_xml_does_not_take() {
        let mut canvas = Canvas::new("t", 1);
        let line = |name: &str, points: &[(f64, f64)]| ChartLine {
            name: name.to_owned(),
            points: points.to_vec(),
        };
        let lines = [
            line("a <&\"b", &[(1.0, 1.0), (2.0, 5.0)]),
            line("one", &[(1.0, 2.0)]),
            line("none", &[]),
        ];
        canvas.panel("t", &ChartAxis::linear("x"), &ChartAxis::logarithmic("y"), &lines);
        let text = canvas.finish();
        assert!(
            text.contains(">a &lt;&amp;&quot;b</text>") && text.contains(">none</text>"),
            "{text}"
        );
        assert!(
            text.contains("<circle") && !text.contains("NaN") && !text.contains("inf"),
            "{text}"
        );
        assert!(text.contains("prefers-color-scheme: dark") && !text.contains("var("), "{text}");
        let begun = text.matches("<g ").count() + text.matches("<svg ").count();
        assert_eq!(begun, text.matches("</g>").count() + text.matches("</svg>").count());
    }
}
