//! What all rounds say of one store in one cell.

use crate::plan::Cell;
use crate::slice::Slice;
use serde::Serialize;

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) store: &'static str,
    pub(crate) cell: Cell,
    /// One for each round that gave figures.
    pub(crate) slices: Vec<Slice>,
    /// What the first round that did not said.
    pub(crate) failed: Option<String>,
}

/// The median over rounds, the least and the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (values.first(), values.last()) else {
            return Self::default();
        };
        // Of an even number the mean of the two in the middle.
        let at = values.len() / 2;
        let middle = if values.len() % 2 == 1 { at } else { at - 1 };
        Self { median: (values[at] + values[middle]) / 2.0, min: *min, max: *max }
    }
}

impl Slice {
    pub(crate) fn puts_per_second(&self) -> f64 {
        self.put as f64 / self.seconds
    }

    pub(crate) fn takes_per_second(&self) -> f64 {
        self.taken as f64 / self.seconds
    }

    fn events(&self) -> f64 {
        (self.put + self.taken) as f64
    }
}

impl Row {
    pub(crate) fn new(store: &'static str, cell: Cell) -> Self {
        Self { store, cell, slices: Vec::new(), failed: None }
    }

    pub(crate) fn add(&mut self, slice: Result<Slice, String>) {
        match slice {
            Ok(slice) if slice.put + slice.taken > 0 => self.slices.push(slice),
            Ok(_) => self.fail("nothing was put or taken while it was measured".to_owned()),
            Err(words) => self.fail(words),
        }
    }

    fn fail(&mut self, words: String) {
        self.failed.get_or_insert(words);
    }

    pub(crate) fn spread(&self, figure: impl Fn(&Slice) -> f64) -> Spread {
        Spread::of(self.slices.iter().map(figure))
    }

    pub(crate) fn median(&self, figure: impl Fn(&Slice) -> f64) -> f64 {
        self.spread(figure).median
    }

    /// What the cell is about: events put per second, or taken where nothing is put.
    pub(crate) fn rate(&self) -> Spread {
        match self.cell.puts() {
            true => self.spread(Slice::puts_per_second),
            false => self.spread(Slice::takes_per_second),
        }
    }

    /// Of a put where there are puts, else of a take: p50, p99, p99.9, the longest.
    pub(crate) fn latency(&self, takes: bool) -> [f64; 4] {
        let times = |slice: &Slice| if takes { slice.take_us } else { slice.put_us };
        [0, 1, 2, 3].map(|at| self.median(|slice| times(slice)[at]))
    }

    /// Processor microseconds for each event put or taken.
    pub(crate) fn cpu(&self) -> f64 {
        self.median(|slice| slice.cpu_us / slice.events())
    }

    /// Bytes written for each byte of a body: of all puts, or of all takes where nothing is put.
    pub(crate) fn written(&self) -> f64 {
        self.median(|slice| slice.written as f64 / self.body_bytes(slice))
    }

    /// Returns the bytes that all processes wrote to the device per body byte.
    pub(crate) fn device(&self) -> Option<f64> {
        let seen = self.slices.iter().filter(|slice| slice.device.is_some());
        let each = |slice: &Slice| slice.device.unwrap_or(0) as f64 / self.body_bytes(slice);
        (seen.clone().count() > 0).then(|| Spread::of(seen.map(each)).median)
    }

    fn body_bytes(&self, slice: &Slice) -> f64 {
        let events = if self.cell.puts() { slice.put } else { slice.taken };
        (events * self.cell.body as u64) as f64
    }

    pub(crate) fn last_words(&self) -> String {
        match (&self.failed, self.slices.last()) {
            (Some(words), _) => words.clone(),
            (None, Some(slice)) => {
                let rate = match self.cell.puts() {
                    true => slice.puts_per_second(),
                    false => slice.takes_per_second(),
                };
                format!("{:.1} k/s", rate / 1e3)
            }
            (None, None) => String::new(),
        }
    }

    /// How many times as fast `self` was as `other`, the median of the rounds' own ratios.
    pub(crate) fn times(&self, other: &Self) -> Option<f64> {
        let complete = self.failed.is_none() && other.failed.is_none() && !self.slices.is_empty();
        let rate = |slice: &Slice| match self.cell.puts() {
            true => slice.puts_per_second(),
            false => slice.takes_per_second(),
        };
        let pairs = self.slices.iter().zip(&other.slices);
        complete.then(|| Spread::of(pairs.map(|(a, b)| rate(a) / rate(b))).median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_over_rounds_and_ratios_within_one() {
        let cell: Cell = "produce:100:1:1".parse().unwrap();
        let (mut a, mut b) = (Row::new("a", cell), Row::new("b", cell));
        for (ours, theirs) in [(10, 5), (20, 20), (90, 30)] {
            let slice = |put| Slice { put, seconds: 1.0, written: put * 150, ..Slice::default() };
            a.add(Ok(slice(ours)));
            b.add(Ok(slice(theirs)));
        }
        assert_eq!(a.rate(), Spread { median: 20.0, min: 10.0, max: 90.0 });
        assert_eq!(a.times(&b), Some(2.0));
        assert_eq!((a.written(), a.device()), (1.5, None));
        assert_eq!(Spread::of([1.0, 4.0, 2.0, 9.0].into_iter()).median, 3.0);
        b.add(Err("two events are missing".to_owned()));
        assert_eq!(a.times(&b), None);
        assert_eq!(b.last_words(), "two events are missing");
        b.add(Ok(Slice::default()));
        assert_eq!(b.failed.as_deref(), Some("two events are missing"));
    }
}
