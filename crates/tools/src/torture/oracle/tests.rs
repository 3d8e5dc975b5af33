//! The oracle reads the notes of a scenario and has to find exactly what is wrong in it.

use super::super::note::{EventSpan, Note, RefusedPut};
use super::super::transaction_shape::{PutName, TransactionShape};
use super::{Oracle, ViolationKind};

const SEED: u64 = 3;

/// Returns puts of writer 0 that fit the scenario: at least `events` events, committed, with a
/// source offset or not.
fn puts(events: u32, position: bool, count: usize) -> Vec<PutName> {
    let all = (0..).map(|number| PutName { writer: 0, number });
    let fits = |put: &PutName| {
        let shape = TransactionShape::of(SEED, *put);
        shape.events >= events && shape.position == position && !shape.rolled_back
    };
    all.filter(fits).take(count).collect()
}

fn size(put: PutName) -> u32 {
    TransactionShape::of(SEED, put).events
}

fn whole(put: PutName) -> EventSpan {
    EventSpan { put, from: 0, to: size(put) }
}

fn committed(put: PutName) -> Vec<Note> {
    vec![Note::PutAsked(put), Note::PutDone(put)]
}

/// Returns an opening that shows `spans`.
fn opening(spans: &[EventSpan], positions: &[(u32, Option<u64>)]) -> Vec<Note> {
    let events = spans.iter().map(|s| u64::from(s.to - s.from)).sum();
    let mut notes = vec![Note::Opened { us: 1, events, quarantined: 0, out_of_reach: 0, calls: 9 }];
    notes.extend(positions.iter().map(|(writer, at)| Note::Position { writer: *writer, at: *at }));
    notes.push(Note::Contents(spans.to_vec()));
    notes.push(Note::ContentsEnd);
    notes
}

fn taken(taker: u32, events: Vec<EventSpan>) -> Vec<Note> {
    vec![Note::Lent { taker, events }, Note::TakeAsked(taker), Note::TakeDone(taker)]
}

/// Reads the scenarios of one run each.
fn read_notes(runs: Vec<Vec<Vec<Note>>>) -> Oracle {
    let mut oracle = Oracle::new(SEED, true);
    for run in runs {
        run.into_iter().flatten().for_each(|note| oracle.hear(note));
        oracle.process_died();
    }
    oracle
}

#[track_caller]
fn finds(oracle: &Oracle, kind: Option<ViolationKind>) {
    let words = oracle.findings.words();
    match kind {
        None => assert_eq!(oracle.findings.total(), 0, "{words:?}"),
        Some(kind) => {
            assert!(oracle.findings.count(kind) > 0, "{words:?}");
            assert_eq!(oracle.findings.count(kind), oracle.findings.total(), "{words:?}");
        }
    }
}

#[test]
fn a_channel_that_keeps_its_word_is_not_accused() {
    let p = puts(2, false, 4);
    let runs = vec![
        vec![
            opening(&[], &[]),
            committed(p[0]),
            committed(p[1]),
            taken(0, vec![whole(p[0])]),
            vec![Note::PutAsked(p[2])],
            vec![Note::Lent { taker: 1, events: vec![whole(p[1])] }, Note::TakeAsked(1)],
        ],
        vec![
            opening(&[whole(p[1]), whole(p[2])], &[]),
            vec![Note::PutAsked(p[3]), Note::PutRefused(p[3], RefusedPut::Full)],
            vec![Note::Lent { taker: 0, events: vec![whole(p[1])] }, Note::HandedBack(0)],
            taken(1, vec![whole(p[1]), whole(p[2])]),
        ],
        vec![opening(&[], &[])],
    ];
    let oracle = read_notes(runs);
    finds(&oracle, None);
    assert_eq!((oracle.counts.doubt_there, oracle.counts.doubt_returned), (1, 1));
    assert_eq!((oracle.waiting(), oracle.next(0)), (0, p[3].number + 1));
}

#[test]
fn an_acknowledged_event_that_is_gone_is_lost() {
    let p = puts(2, false, 1)[0];
    let part = EventSpan { to: size(p) - 1, ..whole(p) };
    let oracle =
        read_notes(vec![vec![opening(&[], &[]), committed(p)], vec![opening(&[part], &[])]]);
    finds(&oracle, Some(ViolationKind::Lost));
    assert_eq!(oracle.findings.count(ViolationKind::Lost), 1);
    let last = size(p) - 1;
    let words = &oracle.findings.words()[0];
    assert!(words.contains(&format!("put {p} ")) && words.contains(&format!("{last} to {last}")));
}

#[test]
fn a_put_in_doubt_may_be_absent_and_may_not_be_there_in_part_or_later() {
    let p = puts(2, false, 1)[0];
    let asked = || vec![opening(&[], &[]), vec![Note::PutAsked(p)]];
    finds(&read_notes(vec![asked(), vec![opening(&[], &[])]]), None);
    let part = EventSpan { to: 1, ..whole(p) };
    finds(&read_notes(vec![asked(), vec![opening(&[part], &[])]]), Some(ViolationKind::Halved));
    let later = read_notes(vec![asked(), vec![opening(&[], &[])], vec![opening(&[whole(p)], &[])]]);
    finds(&later, Some(ViolationKind::Foreign));
}

#[test]
fn what_was_acknowledged_as_taken_may_not_come_back() {
    let p = puts(2, false, 1)[0];
    let run = || vec![opening(&[], &[]), committed(p), taken(0, vec![whole(p)])];
    finds(&read_notes(vec![run(), vec![opening(&[], &[])]]), None);
    finds(&read_notes(vec![run(), vec![opening(&[whole(p)], &[])]]), Some(ViolationKind::Doubled));
    let mut again = run();
    again.push(vec![Note::Lent { taker: 1, events: vec![whole(p)] }]);
    finds(&read_notes(vec![again]), Some(ViolationKind::Doubled));
}

#[test]
fn a_part_taken_and_the_rest_there_is_right() {
    let p = puts(3, false, 1)[0];
    let (first, rest) = (EventSpan { to: 1, ..whole(p) }, EventSpan { from: 1, ..whole(p) });
    let run = || vec![opening(&[], &[]), committed(p), taken(0, vec![first])];
    finds(&read_notes(vec![run(), vec![opening(&[rest], &[])]]), None);
    finds(&read_notes(vec![run(), vec![opening(&[whole(p)], &[])]]), Some(ViolationKind::Doubled));
    let less = EventSpan { from: 2, ..whole(p) };
    finds(&read_notes(vec![run(), vec![opening(&[less], &[])]]), Some(ViolationKind::Lost));
}

#[test]
fn a_taken_event_of_a_put_taken_in_part_may_not_be_leased_again() {
    let p = puts(2, false, 1)[0];
    let first = EventSpan { to: 1, ..whole(p) };
    let lent = Note::Lent { taker: 1, events: vec![first] };
    let run = vec![opening(&[], &[]), committed(p), taken(0, vec![first]), vec![lent]];
    finds(&read_notes(vec![run]), Some(ViolationKind::Doubled));
}

#[test]
fn a_put_may_not_be_refused_after_its_events_were_delivered() {
    let p = puts(2, false, 1)[0];
    let lent = Note::Lent { taker: 0, events: vec![whole(p)] };
    let refused = Note::PutRefused(p, RefusedPut::Other);
    let run = vec![opening(&[], &[]), vec![Note::PutAsked(p), lent, refused]];
    finds(&read_notes(vec![run]), Some(ViolationKind::Foreign));
}

#[test]
fn an_acknowledgement_in_doubt_is_whole_or_not_at_all() {
    let p = puts(2, false, 2);
    let run = || {
        let lent = Note::Lent { taker: 0, events: vec![whole(p[0]), whole(p[1])] };
        vec![opening(&[], &[]), committed(p[0]), committed(p[1]), vec![lent, Note::TakeAsked(0)]]
    };
    finds(&read_notes(vec![run(), vec![opening(&[], &[])]]), None);
    finds(&read_notes(vec![run(), vec![opening(&[whole(p[0]), whole(p[1])], &[])]]), None);
    finds(
        &read_notes(vec![run(), vec![opening(&[whole(p[1])], &[])]]),
        Some(ViolationKind::Halved),
    );
}

#[test]
fn one_event_lent_to_two_takers_is_doubled() {
    let p = puts(2, false, 1)[0];
    let lent = |taker| Note::Lent { taker, events: vec![whole(p)] };
    let story = vec![opening(&[], &[]), committed(p), vec![lent(0), lent(1)]];
    finds(&read_notes(vec![story]), Some(ViolationKind::Doubled));
    let twice = vec![opening(&[], &[]), committed(p)];
    let seen = vec![opening(&[whole(p), whole(p)], &[])];
    let oracle = read_notes(vec![twice, seen]);
    assert!(oracle.findings.count(ViolationKind::Doubled) > 0);
}

#[test]
fn events_without_a_producer_are_foreign() {
    let p = puts(2, false, 1)[0];
    finds(&read_notes(vec![vec![opening(&[whole(p)], &[])]]), Some(ViolationKind::Foreign));
    let beyond = EventSpan { from: 0, to: size(p) + 1, put: p };
    let story = vec![opening(&[], &[]), committed(p)];
    finds(&read_notes(vec![story, vec![opening(&[beyond], &[])]]), Some(ViolationKind::Foreign));
    let refused =
        vec![opening(&[], &[]), vec![Note::PutAsked(p), Note::PutRefused(p, RefusedPut::Space)]];
    finds(
        &read_notes(vec![refused, vec![opening(&[whole(p)], &[])]]),
        Some(ViolationKind::Foreign),
    );
}

#[test]
fn without_announcements_a_later_put_is_in_doubt_and_still_has_to_be_whole() {
    let p = puts(2, false, 1)[0];
    for (seen, kind) in
        [(whole(p), None), (EventSpan { to: 1, ..whole(p) }, Some(ViolationKind::Halved))]
    {
        let mut oracle = Oracle::new(SEED, false);
        opening(&[seen], &[]).into_iter().for_each(|note| oracle.hear(note));
        finds(&oracle, kind);
    }
}

#[test]
fn order_is_that_of_the_commits() {
    let p = puts(2, false, 2);
    let one_after_the_other = || vec![opening(&[], &[]), committed(p[0]), committed(p[1])];
    let seen = |a, b| vec![opening(&[whole(a), whole(b)], &[])];
    finds(&read_notes(vec![one_after_the_other(), seen(p[0], p[1])]), None);
    finds(
        &read_notes(vec![one_after_the_other(), seen(p[1], p[0])]),
        Some(ViolationKind::Disordered),
    );
    // Commits that were in flight together may come in any order.
    let together = || {
        let notes =
            [Note::PutAsked(p[0]), Note::PutAsked(p[1]), Note::PutDone(p[1]), Note::PutDone(p[0])];
        vec![opening(&[], &[]), notes.to_vec()]
    };
    finds(&read_notes(vec![together(), seen(p[1], p[0])]), None);
    let first = EventSpan { to: 1, ..whole(p[0]) };
    let rest = EventSpan { from: 1, ..whole(p[0]) };
    // Nor does the rest of a transaction that was taken in part before the crash have precedence.
    let in_part = || {
        let mut run = one_after_the_other();
        run.push(taken(0, vec![EventSpan { to: 1, ..whole(p[1]) }]));
        run
    };
    let rest_first = [EventSpan { from: 1, ..whole(p[1]) }, whole(p[0])];
    finds(
        &read_notes(vec![in_part(), vec![opening(&rest_first, &[])]]),
        Some(ViolationKind::Disordered),
    );
    let turned = vec![opening(&[rest, first], &[])];
    let alone = vec![opening(&[], &[]), committed(p[0])];
    finds(&read_notes(vec![alone, turned]), Some(ViolationKind::Disordered));
    let apart = vec![opening(&[first, whole(p[1]), rest], &[])];
    let oracle = read_notes(vec![together(), apart]);
    assert!(oracle.findings.count(ViolationKind::Disordered) > 0);
}

#[test]
fn a_position_fits_its_events() {
    let p = puts(2, true, 2);
    let at = |put: PutName| Some(put.number);
    let run = || vec![opening(&[], &[]), committed(p[0]), vec![Note::PutAsked(p[1])]];
    let seen = |spans: &[EventSpan], position| vec![opening(spans, &[(0, position)])];
    finds(&read_notes(vec![run(), seen(&[whole(p[0])], at(p[0]))]), None);
    finds(&read_notes(vec![run(), seen(&[whole(p[0]), whole(p[1])], at(p[1]))]), None);
    finds(&read_notes(vec![run(), seen(&[whole(p[0])], None)]), Some(ViolationKind::Position));
    finds(&read_notes(vec![run(), seen(&[whole(p[0])], at(p[1]))]), Some(ViolationKind::Position));
    let behind = seen(&[whole(p[0]), whole(p[1])], at(p[0]));
    finds(&read_notes(vec![run(), behind]), Some(ViolationKind::Position));
}

#[test]
fn counts_have_to_fit_the_contents() {
    let p = puts(2, false, 1)[0];
    let mut notes = opening(&[whole(p)], &[]);
    notes[0] = Note::Opened { us: 1, events: 1, quarantined: 0, out_of_reach: 0, calls: 1 };
    let oracle = read_notes(vec![vec![opening(&[], &[]), committed(p)], vec![notes]]);
    finds(&oracle, Some(ViolationKind::Count));
}

#[test]
fn notes_of_another_run_are_accused_and_break_nothing() {
    let put = puts(1, false, 1)[0];
    let far = PutName { number: u64::MAX, ..put };
    let more = EventSpan { to: size(put) + 5, ..whole(put) };
    let notes = [
        opening(&[], &[(put.writer, Some(u64::MAX))]),
        committed(put),
        committed(far),
        vec![Note::Lent { taker: 1, events: vec![more] }, Note::HandedBack(1)],
    ];
    assert!(read_notes(vec![notes.to_vec()]).findings.count(ViolationKind::Count) > 0);
}

/// The writer was delayed between its commit and its note.
#[test]
fn a_put_taken_before_its_acknowledgement_counts() {
    let p = puts(1, true, 1)[0];
    let story = vec![
        opening(&[], &[]),
        vec![Note::PutAsked(p)],
        taken(0, vec![whole(p)]),
        vec![Note::PutDone(p)],
    ];
    let oracle = read_notes(vec![story.clone(), vec![opening(&[], &[(0, Some(p.number))])]]);
    finds(&oracle, None);
    assert_eq!(oracle.counts.put_acknowledged, u64::from(size(p)));
    let forgotten = read_notes(vec![story, vec![opening(&[], &[(0, None)])]]);
    finds(&forgotten, Some(ViolationKind::Position));
}
