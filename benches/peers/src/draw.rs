//! The figures as SVG: no script, nothing from a network, light or dark as the reader has it.

use crate::page::figure;
use crate::plan::Cell;
use crate::row::Row;
use std::fmt::Write as _;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 56.0;
const HEIGHT: f64 = 200.0;
/// Between the plots of two rows: the names of cells.
const BELOW: f64 = 48.0;
const CELLS_A_ROW: usize = 3;
const LEGEND_STEP: f64 = 20.0;
const LEGEND_WIDTH: f64 = 150.0;

/// One colour per store; they can be distinguished with colour blindness too.
const COLOURS: [&str; 12] = [
    "#0072b2", "#8c8c8c", "#6b6b6b", "#b5b5b5", "#d55e00", "#009e73", "#cc79a7", "#56b4e9",
    "#e69f00", "#8a8f00", "#8b6fc8", "#a0522d",
];

const STYLE: &str = "
svg { color-scheme: light dark; }
.ground { fill: #ffffff; }
text { fill: #1f2328; font: 12px system-ui, sans-serif; }
.title { font-size: 15px; font-weight: 600; }
.small { font-size: 9px; }
.grid { stroke: #d0d7de; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117; } text { fill: #e6edf3; } .grid { stroke: #3d444d; }
}
.stem { stroke-width: 2; }
";

/// What is drawn of a store in a cell: one value as a bar, or several on a stem.
type Values = Vec<f64>;

/// Events per second of each store in each cell.
pub(crate) fn throughput(cells: &[Cell], rows: &[Row]) -> String {
    let title = "Throughput, thousand events/s";
    let more = "events put, or taken where nothing is put; medians of the rounds; each line is ten times the one below";
    drawing([title, more], cells, rows, true, |row| vec![row.rate().median / 1e3])
}

/// Times of transactions of each store in each cell.
pub(crate) fn latency(cells: &[Cell], rows: &[Row]) -> String {
    let title = "Time of a transaction with its commit, µs";
    let more = "of a put, or of a take where nothing is put; p50 (dot), p99 (bar), p99.9 (end); each line is ten times the one below";
    drawing([title, more], cells, rows, false, |row| row.latency(!row.cell.puts())[..3].to_vec())
}

fn drawing(
    [title, more]: [&str; 2],
    cells: &[Cell],
    rows: &[Row],
    bars: bool,
    values: impl Fn(&Row) -> Values,
) -> String {
    let shown: Vec<(&Row, Values)> = rows
        .iter()
        .filter(|row| row.failed.is_none() && !row.slices.is_empty())
        .map(|row| (row, values(row)))
        .collect();
    let mut names: Vec<&str> = Vec::new();
    for (row, _) in &shown {
        if !names.contains(&row.store) {
            names.push(row.store);
        }
    }
    let in_row = ((WIDTH - LEFT) / LEGEND_WIDTH) as usize;
    let legend = LEGEND_STEP * names.len().div_ceil(in_row) as f64;
    let cell_rows = cells.len().div_ceil(CELLS_A_ROW);
    let height = TOP + legend + cell_rows as f64 * (HEIGHT + BELOW) + 8.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <style>{STYLE}</style>\n<rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    write(&mut text, (LEFT, 22.0), "start", "title", title);
    write(&mut text, (LEFT, 40.0), "start", "", more);
    for (at, name) in names.iter().enumerate() {
        let x = LEFT + LEGEND_WIDTH * (at % in_row) as f64;
        let y = TOP + LEGEND_STEP * (at / in_row) as f64;
        rect(&mut text, at, (x, y - 2.0), (14.0, 10.0), name);
        write(&mut text, (x + 20.0, y + 7.0), "start", "", name);
    }
    let scale = Scale::of(shown.iter().flat_map(|(_, values)| values));
    for (number, row_of_cells) in cells.chunks(CELLS_A_ROW).enumerate() {
        let top = TOP + legend + 12.0 + number as f64 * (HEIGHT + BELOW);
        grid(&mut text, &scale, top);
        for (at, cell) in row_of_cells.iter().enumerate() {
            let group = Group { cell: *cell, at, top, bars };
            group.draw(&mut text, &scale, &names, &shown);
        }
    }
    text.push_str("</svg>\n");
    text
}

/// Powers of ten at equal distances.
struct Scale {
    first: i32,
    last: i32,
}

impl Scale {
    fn of<'a>(values: impl Iterator<Item = &'a f64>) -> Self {
        let values = values.filter(|value| value.is_finite() && **value > 0.0);
        let (low, high) = values.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
        if low > high {
            return Self { first: 0, last: 1 };
        }
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        Self { first, last: last.max(first + 1) }
    }

    /// Above the lower end of the plot.
    fn place(&self, value: f64) -> f64 {
        let share = (value.max(f64::MIN_POSITIVE).log10() - f64::from(self.first))
            / f64::from(self.last - self.first);
        share.clamp(0.0, 1.0) * HEIGHT
    }
}

fn grid(text: &mut String, scale: &Scale, top: f64) {
    for power in scale.first..=scale.last {
        let value = 10f64.powi(power);
        let y = top + HEIGHT - scale.place(value);
        let _ = writeln!(
            text,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{y:.1}\"/>",
            WIDTH - RIGHT
        );
        write(text, (LEFT - 8.0, y + 4.0), "end", "", &mark(power));
    }
}

/// The stores in one cell.
struct Group {
    cell: Cell,
    at: usize,
    top: f64,
    bars: bool,
}

impl Group {
    fn draw(&self, text: &mut String, scale: &Scale, names: &[&str], shown: &[(&Row, Values)]) {
        let width = (WIDTH - LEFT - RIGHT) / CELLS_A_ROW as f64;
        let left = LEFT + width * self.at as f64;
        let step = (width - 24.0) / names.len().max(1) as f64;
        let bottom = self.top + HEIGHT;
        for (place, name) in names.iter().enumerate() {
            let here = |(row, _): &&(&Row, Values)| row.cell == self.cell && row.store == *name;
            let Some((_, values)) = shown.iter().find(here) else { continue };
            let x = left + 12.0 + step * place as f64;
            let (first, last) = (values[0], values[values.len() - 1]);
            let words = format!("{name}, {}: {}", self.cell.title(), list(values));
            if self.bars {
                let high = scale.place(first).max(1.0);
                rect(text, place, (x, bottom - high), ((step - 3.0).max(2.0), high), &words);
                let middle = x + (step - 3.0) / 2.0;
                write(text, (middle, bottom - high - 3.0), "middle", "small", &brief(first));
            } else {
                let (x, y) = (x + step / 2.0, |value: f64| bottom - scale.place(value));
                let colour = COLOURS[place % COLOURS.len()];
                let _ = writeln!(
                    text,
                    "<line class=\"stem\" stroke=\"{colour}\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>",
                    y(first),
                    y(last)
                );
                let _ = writeln!(
                    text,
                    "<circle fill=\"{colour}\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4\"><title>{}</title></circle>",
                    y(first),
                    escaped(&words)
                );
                rect(text, place, (x - 5.0, y(values[1]) - 1.5), (10.0, 3.0), &words);
                rect(text, place, (x - 2.5, y(last) - 1.0), (5.0, 2.0), &words);
            }
        }
        let middle = left + width / 2.0;
        write(text, (middle, bottom + 20.0), "middle", "", &self.cell.title());
    }
}

fn list(values: &[f64]) -> String {
    values.iter().map(|value| figure(*value)).collect::<Vec<_>>().join(", ")
}

/// `10,000`; below one with as many digits as it takes.
fn mark(power: i32) -> String {
    match power {
        0.. => figure(10f64.powi(power).max(1.0))
            .trim_end_matches(".00")
            .trim_end_matches(".0")
            .to_owned(),
        _ => format!("{:.*}", power.unsigned_abs() as usize, 10f64.powi(power)),
    }
}

/// So short that it fits above a bar.
fn brief(value: f64) -> String {
    match value {
        v if v >= 999.5 => format!("{:.1}M", v / 1e3),
        v if v >= 9.95 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}

fn rect(text: &mut String, colour: usize, from: (f64, f64), size: (f64, f64), words: &str) {
    let _ = writeln!(
        text,
        "<rect fill=\"{}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
        COLOURS[colour % COLOURS.len()],
        from.0,
        from.1,
        size.0,
        size.1,
        escaped(words)
    );
}

fn write(text: &mut String, at: (f64, f64), anchor: &str, class: &str, words: &str) {
    let _ = writeln!(
        text,
        "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
        at.0,
        at.1,
        escaped(words)
    );
}

/// Text that XML takes as it is.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slice::Slice;

    #[test]
    fn a_drawing_has_a_bar_for_each_store_that_has_figures_and_none_for_the_others() {
        let cells = crate::plan::cells("produce:512:1:1,hot:512:1:1").unwrap();
        let mut rows: Vec<Row> = Vec::new();
        for cell in &cells {
            for store in ["a<b", "b", "c"] {
                let mut row = Row::new(store, *cell);
                row.add(Ok(Slice {
                    put: 5000,
                    taken: 20,
                    seconds: 1.0,
                    put_us: [10.0, 20.0, 300.0, 4.0],
                    take_us: [10.0, 20.0, 300.0, 4.0],
                    ..Slice::default()
                }));
                rows.push(row);
            }
        }
        rows[2].add(Err("lost".to_owned()));
        for text in [throughput(&cells, &rows), latency(&cells, &rows)] {
            assert!(text.contains(">a&lt;b</text>") && !text.contains("NaN"), "{text}");
            assert_eq!(text.matches("<text").count(), text.matches("</text>").count());
            assert_eq!(text.matches("<title>c, produce").count(), 0);
            assert!(text.matches("<title>c, hot").count() > 0);
        }
        let bars = throughput(&cells, &rows);
        assert_eq!(bars.matches("<title>").count(), 3 + 5, "legend and bars");
        assert!(bars.contains("5.0</text>") && bars.contains("0.0</text>"), "{bars}");
        let _ = throughput(&[], &[]);
    }
}
