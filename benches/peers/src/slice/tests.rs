//! Stores that are broken on purpose have no figures, and the sound one has.

use super::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use stores::{Bytes, Deliver};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Sound,
    /// Leaves out the last event of its first transaction.
    Drops,
    /// Delivers one body with another byte.
    Alters,
    /// Delivers two words of a body the wrong way round: a sum does not see that.
    Swaps,
    /// Delivers one event twice.
    Repeats,
    /// Returns an error for one put.
    Refuses,
    /// Forgets everything when it is closed.
    Forgets,
}

/// A queue in memory, which outlives its being closed.
struct Queue {
    waiting: Arc<Mutex<VecDeque<Vec<u8>>>>,
    fault: Fault,
    done: AtomicBool,
}

impl Queue {
    fn first(&self, fault: Fault) -> bool {
        self.fault == fault && !self.done.swap(true, Ordering::Relaxed)
    }
}

impl Store for Queue {
    fn put(&self, _: usize, bodies: &[Bytes]) -> Result<(), Failure> {
        if self.first(Fault::Refuses) {
            return Err("it is full".into());
        }
        let kept = bodies.len() - usize::from(self.first(Fault::Drops));
        let mut waiting = self.waiting.lock().unwrap();
        waiting.extend(bodies[..kept].iter().map(|body| body.to_vec()));
        Ok(())
    }

    fn take(&self, _: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let mut waiting = self.waiting.lock().unwrap();
        let most = most.min(waiting.len());
        let mut taken = 0;
        for mut body in waiting.drain(..most) {
            if self.first(Fault::Alters) {
                body[30] ^= 1;
            }
            if self.first(Fault::Swaps) {
                body[16..32].rotate_left(8);
            }
            deliver(&body);
            taken += 1;
            if self.first(Fault::Repeats) {
                deliver(&body);
            }
        }
        Ok(taken)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        if self.first(Fault::Forgets) {
            self.waiting.lock().unwrap().clear();
        }
        Ok(())
    }
}

fn measured(cell: &str, fault: Fault) -> Result<Slice, String> {
    let dir = tempfile::tempdir().unwrap();
    let task = Task {
        store: "queue".to_owned(),
        cell: cell.parse().unwrap(),
        dirs: vec![dir.path().to_owned()],
        seconds: 0.05,
        bytes: 1 << 20,
        fill: false,
    };
    let waiting = Arc::default();
    let open = |_: &Setup| -> Result<Box<dyn Store>, Failure> {
        let waiting = Arc::clone(&waiting);
        Ok(Box::new(Queue { waiting, fault, done: AtomicBool::new(false) }))
    };
    if task.cell.workload == Workload::Cold {
        let fill = Task { fill: true, ..task.clone() };
        measure(&fill, &open).map_err(|error| error.to_string())?;
    }
    measure(&task, &open).map_err(|error| error.to_string())
}

#[test]
fn a_sound_store_is_measured_and_all_its_events_are_verified() {
    for cell in ["produce:64:10:4", "hot:64:10:4", "cold:64:10:4", "mixed:64:10:4"] {
        let slice = measured(cell, Fault::Sound).unwrap();
        assert!(slice.put + slice.taken > 0 && slice.seconds > 0.0, "{cell}: {slice:?}");
        assert!(slice.verified >= slice.put.max(slice.taken), "{cell}: {slice:?}");
        assert!(slice.put * 64 <= 1 << 20, "{cell}: {slice:?}");
    }
}

#[test]
fn a_store_that_does_not_give_back_what_was_put_has_no_figures() {
    let words = |cell: &str, fault| measured(cell, fault).map(|_| ()).unwrap_err();
    for cell in ["produce:64:10:4", "hot:64:10:4", "cold:64:10:4", "mixed:64:10:4"] {
        assert!(words(cell, Fault::Drops).contains("came out"), "{cell}");
        assert!(words(cell, Fault::Repeats).contains("came out"), "{cell}");
        let altered = words(cell, Fault::Alters);
        assert!(altered.contains("other bytes") || altered.contains("were not put"), "{altered}");
        assert_eq!(words(cell, Fault::Refuses), "it is full", "{cell}");
    }
    // What is taken while it is measured is summed only; what comes after is compared.
    assert!(words("produce:64:10:4", Fault::Swaps).contains("were not put"));
    assert!(words("produce:64:10:4", Fault::Forgets).contains("and 0 came out"));
}

#[test]
fn what_a_process_says_is_heard() {
    let slice = Slice { put: 3, seconds: 0.5, device: Some(9), ..Slice::default() };
    let heard = heard(&format!("a warning\n{}\n", say(&Ok(slice)))).unwrap();
    assert_eq!((heard.put, heard.device), (3, Some(9)));
    let failed = super::heard(&say(&Err("a \"disk\" died".into())));
    assert_eq!(failed.unwrap_err(), "a \"disk\" died");
    assert!(super::heard("").unwrap_err().contains("nothing"));
    assert!(super::heard("Killed").unwrap_err().contains("Killed"));
}
