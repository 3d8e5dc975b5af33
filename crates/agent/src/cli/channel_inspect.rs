//! `channel stat|check|dump`: read-only, also next to a running agent.

use super::arguments::InspectArguments;
use super::channel_absent::{no_channel, nothing_is_there};
use super::channel_open;
use super::exit::{CommandError, say, show, show_words};
use crate::agent::looking;
use millpond::Event;
use millpond::internal::base::ids::MAIN_GROUP;
use millpond::internal::base::quantity::{BinaryBytes, Quantity};
use millpond::internal::base::ranges::RangeSet;
use millpond::internal::disk::Disk;
use millpond::internal::disk::real::{LockHolder, RealDisk, lock_holder};
use millpond::internal::layout;
use millpond::internal::recovery::Finding;
use millpond::internal::recovery::decision_table::Case;
use millpond::internal::recovery::inspection::{self, Presence, Survey, SurveyedStripe, WalkStep};
use millpond_config::channels::FileChannelSettings;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

/// Bytes of a body that `dump` shows to people; `--json` has all of it.
const SHOWN_BODY_BYTES_MAX: usize = 200;

pub(super) fn stat(arguments: &InspectArguments) -> Result<(), CommandError> {
    let settings = settings_of_channel(arguments)?;
    let survey = survey(&settings)?;
    let holder = lock_holder(&settings.checkpoint_dir.join(layout::LOCK_NAME));
    if arguments.json {
        let mut found = stat_json(&survey, settings.capacity);
        found["open"] = json!(holder.is_some());
        found["open_in_process"] = match holder {
            Some(LockHolder::Process(process)) => json!(process),
            Some(LockHolder::Elsewhere) | None => Value::Null,
        };
        return show(&(found.to_string() + "\n"));
    }
    let mut text = stat_words(&survey, settings.capacity, arguments.channel.channel.as_deref());
    if let Some(holder) = holder {
        let who = match holder {
            LockHolder::Process(process) => format!("process {process}"),
            LockHolder::Elsewhere => {
                "a process in another container or on another machine".to_owned()
            }
        };
        let _ = writeln!(
            text,
            "{who} has the channel open; this shows what is on the disks, not which stripes that process has suspended: see its log, /readyz or millpond top"
        );
    }
    show_words(&text)
}

pub(super) fn check(arguments: &InspectArguments) -> Result<(), CommandError> {
    let settings = settings_of_channel(arguments)?;
    let options = looking(&settings, true);
    let (survey, check) = inspection::verify(&RealDisk::new(), &options)
        .map_err(|error| CommandError::Failed(error.to_string()))?;
    // Not damage, but the channel is not known to be sound either: a monitoring check with this
    // command must fail.
    let unread: Vec<&SurveyedStripe> = survey.stripes.iter().filter(|s| !s.available).collect();
    if arguments.json {
        let found = json!({
            "presence": presence(survey.presence),
            "sound": check.is_sound() && unread.is_empty(),
            "unread": unread.iter().map(|s| s.path.display().to_string()).collect::<Vec<_>>(),
            "blocks": check.blocks,
            "bytes": check.bytes,
            "events": check.events,
            "findings": check.findings.iter().map(finding_json).collect::<Vec<_>>(),
        });
        show(&(found.to_string() + "\n"))?;
    } else {
        let mut text = String::new();
        for finding in &check.findings {
            let weight = if finding.case.is_damage() { "damage" } else { "note" };
            let _ = writeln!(text, "{weight}: {finding}");
        }
        if survey.presence != Presence::Created {
            let _ = writeln!(text, "{}: no event was ever put", presence(survey.presence));
        }
        let [blocks, bytes, events] =
            [(check.blocks, "block"), (check.bytes, "byte"), (check.events, "event")]
                .map(|(number, what)| Quantity(number, what));
        let _ = writeln!(text, "{blocks}, {bytes}, {events} verified");
        show_words(&text)?;
    }
    match check.findings.iter().filter(|finding| finding.case.is_damage()).count() {
        0 if unread.is_empty() => Ok(()),
        0 => Err(CommandError::Failed(format!(
            "{} of {} data directories cannot be read, so nothing is known about what is on them; the notes above say why",
            unread.len(),
            survey.stripes.len()
        ))),
        places => {
            let places = Quantity(places as u64, "place");
            Err(CommandError::Failed(format!("damage in {places}")))
        }
    }
}

pub(super) fn dump(arguments: &InspectArguments) -> Result<(), CommandError> {
    let survey = survey(&settings_of_channel(arguments)?)?;
    // The walk does not find a missing segment.
    survey.findings.iter().filter(|f| f.case.is_damage()).for_each(|f| say(&f.to_string()));
    let place = |f: &Finding| (f.stripe, f.segment, f.offset);
    let said: Vec<_> = survey.findings.iter().map(place).collect();
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let walked = survey.walk(&mut |step| {
        match step {
            WalkStep::Event { stripe, sequence, segment, offset, waiting: true, event } => {
                let place = (stripe.0, sequence.0, segment.0, offset);
                let line = if arguments.json {
                    event_json(place, &event)
                } else {
                    event_words(place, &event)
                };
                written = writeln!(out, "{line}");
            }
            WalkStep::Finding(finding) if said.contains(&place(&finding)) => {}
            WalkStep::Finding(finding) => say(&finding.to_string()),
            // Taken events are gone; source offsets are in `stat`.
            WalkStep::Event { .. } | WalkStep::SourceOffset { .. } => {}
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    written.and_then(|()| out.flush()).map_err(|error| CommandError::stdout(&error))?;
    walked.map_err(|error| CommandError::Failed(error.to_string()))
}

/// Returns the settings of the channel. If no directory exists, a warning says so: no event was
/// ever put, which is sound, but the path may be mistyped.
fn settings_of_channel(arguments: &InspectArguments) -> Result<FileChannelSettings, CommandError> {
    let settings = channel_open::settings(&arguments.channel)?;
    if nothing_is_there(&settings) {
        say(&format!("warning: {}", no_channel(&settings)));
    }
    Ok(settings)
}

fn survey(settings: &FileChannelSettings) -> Result<Survey, CommandError> {
    // The inspection of what is there says nothing about what is missing.
    inspection::survey(&RealDisk::new(), &looking(settings, true))
        .map_err(|error| CommandError::Failed(error.to_string()))
}

fn presence(presence: Presence) -> &'static str {
    match presence {
        Presence::Empty => "empty",
        Presence::HalfCreated => "half created",
        Presence::Created => "created",
    }
}

/// The numbers of one stripe in `stat`.
struct StripeNumbers {
    watermark: u64,
    frontier: u64,
    bytes: u64,
    damaged_events: u64,
}

fn numbers(survey: &Survey, stripe: &SurveyedStripe) -> StripeNumbers {
    let mut numbers = StripeNumbers { watermark: 0, frontier: 0, bytes: 0, damaged_events: 0 };
    if let Some(state) = survey.state.stripes.get(stripe.index.at()) {
        numbers.watermark = state.watermark.sequence.0;
        numbers.frontier = state.acknowledged.get(&MAIN_GROUP).map_or(0, RangeSet::frontier);
        numbers.damaged_events = state.damaged_events;
    }
    numbers.bytes = stripe.segments.iter().map(|segment| segment.len).sum();
    numbers
}

fn stat_json(survey: &Survey, capacity: u64) -> Value {
    let stripe = |stripe: &SurveyedStripe| {
        let numbers = numbers(survey, stripe);
        let segment = |segment: &inspection::SurveyedSegment| {
            json!({
                "id": segment.id.0,
                "file": segment.path.display().to_string(),
                "bytes": segment.len,
                "first_sequence": segment.first_sequence.0,
                "end_sequence": segment.end_sequence.0,
            })
        };
        json!({
            "stripe": stripe.index.0,
            "directory": stripe.path.display().to_string(),
            "available": stripe.available,
            "events": stripe.waiting,
            "bytes": numbers.bytes,
            "watermark": numbers.watermark,
            "frontier": numbers.frontier,
            "damaged_events": numbers.damaged_events.saturating_sub(missing_events(survey, stripe)),
            "missing_events": missing_events(survey, stripe),
            "segments": stripe.segments.iter().map(segment).collect::<Vec<_>>(),
            "free_segments": stripe.free_segments,
        })
    };
    let positions = survey.state.source_offsets.iter();
    let positions = positions.filter(|(_, position)| !position.is_tombstone());
    let positions = positions.map(|(source, position)| {
        json!({ "source": source, "counter": position.counter, "hex": hex(&position.bytes) })
    });
    json!({
        "presence": presence(survey.presence),
        "channel": survey.channel.to_string(),
        "events": reachable(survey),
        "out_of_reach": waiting(survey, false),
        "bytes": survey.stripes.iter().map(|s| numbers(survey, s).bytes).sum::<u64>(),
        "capacity": capacity,
        "stripes": survey.stripes.iter().map(stripe).collect::<Vec<_>>(),
        "positions": positions.collect::<Vec<_>>(),
        "findings": survey.findings.iter().map(finding_json).collect::<Vec<_>>(),
    })
}

fn stat_words(survey: &Survey, capacity: u64, name: Option<&str>) -> String {
    if survey.presence != Presence::Created {
        return format!(
            "{}: no event was ever put; capacity {capacity}\n",
            presence(survey.presence)
        );
    }
    let events = reachable(survey);
    let percent = u128::from(events) * 100 / u128::from(capacity.max(1));
    let name = name.map_or_else(String::new, |name| format!("{name} "));
    let mut text = format!(
        "channel {name}{}: {} waiting, {percent} % of its capacity of {capacity}\n",
        survey.channel,
        Quantity(events, "event"),
    );
    for stripe in &survey.stripes {
        let numbers = numbers(survey, stripe);
        let health = if stripe.available { "readable" } else { "out of reach" };
        let _ = writeln!(
            text,
            "stripe {} {}: {health}, {} waiting, frontier {}, watermark {}, {}, {} bytes in all, {} more ready{}",
            stripe.index,
            stripe.path.display(),
            Quantity(stripe.waiting, "event"),
            numbers.frontier,
            numbers.watermark,
            Quantity(stripe.segments.len() as u64, "segment"),
            numbers.bytes,
            stripe.free_segments,
            space(&stripe.path),
        );
        let missing = missing_events(survey, stripe);
        if missing > 0 {
            let events = Quantity(missing, "event");
            let _ = writeln!(text, "  {events} out of reach: a segment file is missing");
        }
        let lost = numbers.damaged_events.saturating_sub(missing);
        if lost > 0 {
            let events = Quantity(lost, "event");
            let _ = writeln!(
                text,
                "  {events} lost to damage, or given up with a missing segment file, since the channel was created"
            );
        }
    }
    for (source, position) in &survey.state.source_offsets {
        if !position.is_tombstone() {
            let _ = writeln!(text, "offset of source {source}: {} bytes", position.bytes.len());
        }
    }
    for finding in &survey.findings {
        let _ = writeln!(text, "{finding}");
    }
    text
}

/// Returns the events of the stripe that waited in segment files that are missing now; they are
/// back when the files are.
fn missing_events(survey: &Survey, stripe: &SurveyedStripe) -> u64 {
    let missing = survey.findings.iter();
    let missing = missing.filter(|f| f.case == Case::R7 && f.stripe == Some(stripe.index));
    missing.filter_map(|f| f.sequences).map(|(start, end)| end.0.saturating_sub(start.0)).sum()
}

/// Returns the free space of a directory's disk as text, if known.
fn space(directory: &Path) -> String {
    let open = RealDisk::read_only().open_dir(directory, false);
    let Ok(space) = open.and_then(|directory| directory.space()) else { return String::new() };
    let percent = u128::from(space.available_bytes) * 100 / u128::from(space.total_bytes.max(1));
    format!("; {} are free on its disk, {percent} %", BinaryBytes(space.available_bytes))
}

fn reachable(survey: &Survey) -> u64 {
    waiting(survey, true)
}

fn waiting(survey: &Survey, available: bool) -> u64 {
    survey.stripes.iter().filter(|s| s.available == available).map(|s| s.waiting).sum()
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "case": format!("{:?}", finding.case),
        "damage": finding.case.is_damage(),
        "stripe": finding.stripe.map(|stripe| stripe.0),
        "path": finding.path.display().to_string(),
        "segment": finding.segment.map(|segment| segment.0),
        "offset": finding.offset,
        "first_sequence": finding.sequences.map(|(start, _)| start.0),
        "end_sequence": finding.sequences.map(|(_, end)| end.0),
        "words": finding.words,
    })
}

/// Stripe, sequence, segment, offset.
type EventLocation = (u16, u64, u64, u64);

/// Returns an event as JSON: the body is in `body` if it is UTF-8, else hexadecimal in `body_hex`.
fn event_json((stripe, sequence, segment, offset): EventLocation, event: &Event) -> String {
    let headers: serde_json::Map<String, Value> =
        event.headers.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let (key, body) = match std::str::from_utf8(&event.body) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => ("body_hex", hex(&event.body)),
    };
    json!({
        "stripe": stripe, "sequence": sequence, "segment": segment, "offset": offset,
        "headers": headers, key: body,
    })
    .to_string()
}

fn event_words((stripe, sequence, segment, offset): EventLocation, event: &Event) -> String {
    let mut text =
        format!("stripe {stripe} sequence {sequence} (segment {segment}, offset {offset}) {{");
    for (n, (name, value)) in event.headers.iter().enumerate() {
        let comma = if n == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{}={}", name.escape_debug(), value.escape_debug());
    }
    let shown = &event.body[..event.body.len().min(SHOWN_BODY_BYTES_MAX)];
    let _ = write!(text, "}} {}", shown.escape_ascii());
    if shown.len() < event.body.len() {
        let _ = write!(text, " ... ({} bytes)", event.body.len());
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_that_are_no_text_are_shown_whole_and_harmless() {
        let event = Event::new(vec![0xff, 0x1b, b'a']);
        let json = event_json((1, 2, 3, 4), &event);
        assert!(
            json.contains("\"body_hex\":\"ff1b61\"") && json.contains("\"sequence\":2"),
            "{json}"
        );
        let words = event_words((1, 2, 3, 4), &event);
        assert!(words.ends_with("{} \\xff\\x1ba"), "{words}");
        let mut event = Event::new(vec![b'x'; 300]);
        event.headers.set("k", "v\n");
        let words = event_words((0, 0, 0, 0), &event);
        assert!(words.contains("{k=v\\n}") && words.ends_with("(300 bytes)"), "{words}");
    }
}
