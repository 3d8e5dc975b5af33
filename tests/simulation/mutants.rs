//! Faulty doors to storage: each must be noticed, or the campaign would not notice an engine that
//! forgets the same thing.

use crate::random;
use crate::tally::Tally;
use millpond::disk::sim::Mutant;

/// Seeds within which every faulty door must be found out.
const SEEDS_MAX: u64 = 400;

#[test]
fn every_faulty_door_is_found_out() {
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        let mut tally = Tally::default();
        let found = (1..=SEEDS_MAX).find_map(|seed| {
            let words = random::run(seed, Some(mutant), &mut tally).err()?;
            Some((seed, words))
        });
        match found {
            Some((seed, words)) => println!("{mutant:?}: {seed} seeds: {words}"),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not noticed within {SEEDS_MAX} seeds: {missed:?}");
}
