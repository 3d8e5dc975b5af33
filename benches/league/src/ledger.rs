//! What a user knows of the events, and the verdict that follows from it.
//!
//! A commit that failed is in doubt, as is one that was under way at a kill: its events may be there or not. This is
//! kinder than some engines' own documents, and the same for all.

use crate::draw::{body, hash};
use crate::worker::{BODY_MOST, FILL_BODY_MOST};
use serde::Serialize;
use std::collections::BTreeSet;
use std::ops::Range;

#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    /// Its put was acknowledged.
    acked: bool,
    /// It was delivered unaltered, at least once.
    delivered: bool,
    /// A different body with its number was delivered.
    altered: bool,
    /// A take that delivered it was acknowledged.
    taken: bool,
}

/// Counts of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// Put and acknowledged.
    pub(crate) acked: u64,
    /// Put and acknowledged, and neither delivered nor altered.
    pub(crate) lost: u64,
    /// Of those, the ones outside the transaction that lost most: more than the transaction that was hit.
    pub(crate) beyond: u64,
    /// Delivered again after its take was acknowledged, or twice in one process.
    pub(crate) doubled: u64,
    /// Delivered with other bytes, or never put.
    pub(crate) altered: u64,
    /// Delivered before one that was put earlier.
    pub(crate) disordered: u64,
    /// Transactions in doubt of which a part is there.
    pub(crate) parted: u64,
}

impl Verdict {
    /// Whether there is anything that must not happen.
    pub(crate) fn harm(&self) -> bool {
        self.lost + self.doubled + self.altered + self.disordered + self.parted > 0
    }
}

/// The notes over all processes of one store.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    seed: u64,
    largest: u64,
    fates: Vec<Fate>,
    puts: Vec<Range<usize>>,
    /// Events of the take under way.
    lent: Vec<usize>,
    /// Delivered in this process and not returned.
    seen: BTreeSet<usize>,
    newest: Option<usize>,
    counted: Verdict,
}

impl Ledger {
    pub(crate) fn new(seed: u64, filling: bool) -> Self {
        Self {
            seed,
            largest: if filling { FILL_BODY_MOST } else { BODY_MOST },
            fates: Vec::new(),
            puts: Vec::new(),
            lent: Vec::new(),
            seen: BTreeSet::new(),
            newest: None,
            counted: Verdict::default(),
        }
    }

    /// Returns the number of the next event to put.
    pub(crate) fn next(&self) -> u64 {
        self.fates.len() as u64
    }

    /// Begins a new process: lent events may come again.
    pub(crate) fn begin_life(&mut self) {
        self.lent.clear();
        self.seen.clear();
        self.newest = None;
    }

    /// Reads one line of a worker, see [`crate::worker`].
    pub(crate) fn note(&mut self, line: &str) {
        let mut words = line.split(' ');
        match words.next() {
            Some("put") => {
                let mut number = || words.next()?.parse::<usize>().ok();
                if let (Some(from), Some(to)) = (number(), number()) {
                    self.fates.resize(to.max(self.fates.len()), Fate::default());
                    self.puts.push(from..to);
                }
            }
            Some("kept") => {
                let last = self.puts.last().cloned().unwrap_or(0..0);
                self.fates[last].iter_mut().for_each(|fate| fate.acked = true);
            }
            Some("got") => {
                let sequence = words.next().and_then(|word| word.parse().ok());
                let len = words.next().and_then(|word| word.parse().ok());
                let hash = words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
                self.got(sequence, len, hash);
            }
            Some("taken") => {
                for at in self.lent.drain(..) {
                    self.fates[at].taken = true;
                }
            }
            Some("untaken") => {
                for at in self.lent.drain(..) {
                    self.seen.remove(&at);
                }
                self.newest = None;
            }
            _ => {}
        }
    }

    fn got(&mut self, sequence: Option<u64>, len: Option<usize>, sum: Option<u64>) {
        let known = sequence.map(|n| n as usize).filter(|at| *at < self.fates.len());
        let Some(at) = known else {
            self.counted.altered += 1;
            return;
        };
        let right = body(self.seed, at as u64, self.largest);
        if len != Some(right.len()) || sum != Some(hash(&right)) {
            self.counted.altered += 1;
            self.fates[at].altered = true;
            return;
        }
        let fate = &mut self.fates[at];
        fate.delivered = true;
        if !self.seen.insert(at) || fate.taken {
            self.counted.doubled += 1;
        } else if self.newest.is_some_and(|newest| at < newest) {
            self.counted.disordered += 1;
        }
        self.newest = self.newest.max(Some(at));
        self.lent.push(at);
    }

    /// Returns the verdict after a sound process has taken everything.
    pub(crate) fn verdict(&self) -> Verdict {
        let missing = |fate: &&Fate| fate.acked && !fate.delivered && !fate.altered;
        let lost = |fates: &[Fate]| fates.iter().filter(missing).count() as u64;
        let hit = self.puts.iter().map(|put| lost(&self.fates[put.clone()])).max().unwrap_or(0);
        let parted = |put: &&Range<usize>| {
            let fates = &self.fates[(*put).clone()];
            let there = fates.iter().filter(|fate| fate.delivered || fate.altered).count();
            !fates.iter().any(|fate| fate.acked) && there > 0 && there < fates.len()
        };
        Verdict {
            acked: self.fates.iter().filter(|fate| fate.acked).count() as u64,
            lost: lost(&self.fates),
            beyond: lost(&self.fates) - hit,
            parted: self.puts.iter().filter(parted).count() as u64,
            ..self.counted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn got(sequence: u64) -> String {
        let body = body(1, sequence, BODY_MOST);
        format!("got {sequence} {} {:x}", body.len(), hash(&body))
    }

    /// Processes are separated by an empty line.
    fn judged(lines: &[&str]) -> Verdict {
        let mut ledger = Ledger::new(1, false);
        for line in lines {
            if line.is_empty() {
                ledger.begin_life();
            }
            ledger.note(line);
        }
        ledger.verdict()
    }

    #[test]
    fn what_was_put_and_taken_once_is_no_harm() {
        let verdict = judged(&["put 0 2", "kept", &got(0), &got(1), "taken"]);
        assert_eq!(verdict, Verdict { acked: 2, ..Verdict::default() });
        assert!(!verdict.harm());
    }

    #[test]
    fn an_acknowledged_event_that_never_comes_is_lost_and_one_in_doubt_is_not() {
        let verdict = judged(&["put 0 2", "kept", "put 2 3", "not disk full", "put 3 4"]);
        assert_eq!(verdict, Verdict { acked: 2, lost: 2, ..Verdict::default() });
        let verdict = judged(&["put 0 2", "kept", "put 2 5", "kept"]);
        assert_eq!(verdict, Verdict { acked: 5, lost: 5, beyond: 2, ..Verdict::default() });
    }

    #[test]
    fn what_a_kill_gave_back_may_come_again_and_what_was_taken_may_not() {
        let first = ["put 0 2", "kept", &got(0), "taken", &got(1), "", &got(1), "taken", "taken"];
        assert_eq!(judged(&first).doubled, 0);
        let again = ["put 0 1", "kept", &got(0), "taken", "", &got(0), "taken"];
        assert_eq!(judged(&again).doubled, 1);
        let twice = ["put 0 1", "kept", &got(0), &got(0)];
        assert_eq!(judged(&twice).doubled, 1);
        let given_back = ["put 0 1", "kept", &got(0), "untaken", &got(0), "taken"];
        assert_eq!(judged(&given_back).doubled, 0);
    }

    #[test]
    fn other_bytes_are_altered_and_not_lost_as_well() {
        let altered = judged(&["put 0 1", "kept", "got 0 30 abc", "taken"]);
        assert_eq!((altered.altered, altered.lost), (1, 0));
        let foreign = judged(&["put 0 1", "kept", "got 77 30 abc", &got(0), "taken"]);
        assert_eq!((foreign.altered, foreign.lost), (1, 0));
        let nameless = judged(&["got ? 2 abc", "taken"]);
        assert_eq!(nameless.altered, 1);
    }

    #[test]
    fn an_earlier_event_that_comes_later_is_out_of_order_but_not_over_a_restart() {
        let put = "put 0 2";
        assert_eq!(judged(&[put, "kept", &got(1), &got(0), "taken"]).disordered, 1);
        assert_eq!(judged(&[put, "kept", &got(1), "", &got(0), "taken"]).disordered, 0);
    }

    #[test]
    fn a_transaction_in_doubt_is_there_whole_or_not_at_all() {
        assert_eq!(judged(&["put 0 2", "not x", "", &got(0), "taken"]).parted, 1);
        assert_eq!(judged(&["put 0 2", "not x", "", &got(0), &got(1), "taken"]).parted, 0);
    }
}
