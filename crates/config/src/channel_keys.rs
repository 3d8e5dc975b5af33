//! All channel keys, with their effect here and in Flume.
//!
//! Validation and docs/flume-compat.md follow these tables; a test checks the document.

use millpond_flow::settings::{Key, KeyKind};

/// How a key is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It has the effect that its meaning describes.
    Honoured,
    /// It is read without effect; a value other than the first text here gives the second text as a warning.
    Accepted(&'static str, &'static str),
    /// A configuration that sets it is refused, with this reason.
    Refused(&'static str),
}

/// A key of a channel and its treatment.
#[derive(Clone, Copy, Debug)]
pub struct ChannelKey {
    /// The key.
    pub key: Key,
    /// Its treatment.
    pub treatment: Treatment,
}

const fn honoured(
    name: &'static str,
    kind: KeyKind,
    default: &'static str,
    meaning: &'static str,
) -> ChannelKey {
    ChannelKey { key: Key { name, kind, default, meaning }, treatment: Treatment::Honoured }
}

const fn accepted(
    name: &'static str,
    kind: KeyKind,
    default: &'static str,
    meaning: &'static str,
    why: &'static str,
) -> ChannelKey {
    ChannelKey {
        key: Key { name, kind, default, meaning },
        treatment: Treatment::Accepted(default, why),
    }
}

/// Reason for refusing `encryption.*`.
pub const NO_ENCRYPTION: &str = "encryption of the channel is not available, and events are never written in plain text where a configuration asks for encryption; remove the encryption keys and use an encrypted file system, or keep this channel on Flume";

const GENERATIONS: &str = "changes nothing: two checkpoints are always kept, in checkpointDir and in every data directory, and the log alone is enough to open the channel";
const REPLAY: &str = "changes nothing: there is one way of replay, and its time does not depend on the number of waiting events";
const TIMEOUT: &str = "changes nothing, as in Flume, which removed it in 1.5";

/// The keys of the file channel.
pub const FILE: [ChannelKey; 23] = [
    honoured(
        "checkpointDir",
        KeyKind::Path,
        "~/.flume/file-channel/checkpoint",
        "Directory of the channel's checkpoints; created when it is missing.",
    ),
    honoured(
        "dataDirs",
        KeyKind::Path,
        "~/.flume/file-channel/data",
        "Directories of the log, separated by commas, best on a disk each; created when they are missing.",
    ),
    honoured("capacity", KeyKind::Number, "1000000", "Events that the channel holds at most."),
    honoured(
        "transactionCapacity",
        KeyKind::Number,
        "10000",
        "Events of one transaction at most; not more than capacity.",
    ),
    honoured(
        "keep-alive",
        KeyKind::Number,
        "3",
        "Seconds that a put waits for room in a full channel. Flume waits so long for every event, millpond for the transaction as a whole.",
    ),
    honoured(
        "checkpointInterval",
        KeyKind::Number,
        "30000",
        "Milliseconds from one checkpoint to the next; at least 1000.",
    ),
    honoured(
        "maxFileSize",
        KeyKind::Number,
        "1623195647",
        "Upper bound of a segment file in bytes, from 16384. Segments are of 64 MiB where it allows them to be.",
    ),
    honoured(
        "minimumRequiredSpace",
        KeyKind::Number,
        "524288000",
        "Free bytes below which puts are refused; at least 1048576. Takes continue, unlike in Flume.",
    ),
    honoured(
        "transactionBytesMax",
        KeyKind::Number,
        "67108864",
        "Bytes of one put transaction at most, 1024 to 1073741824. Flume has no such key.",
    ),
    honoured(
        "hotWindowBytes",
        KeyKind::Number,
        "25165824",
        "Bytes of recent events kept in memory for sinks that keep up; at least 1048576. Flume has no such key.",
    ),
    honoured(
        "openDegraded",
        KeyKind::Boolean,
        "false",
        "Whether the channel opens although a data directory is missing. Flume has no such key.",
    ),
    honoured(
        "openWithoutMissingSegments",
        KeyKind::Boolean,
        "false",
        "Whether the channel opens although segment files are missing, and gives up what waited in them. Flume has no such key.",
    ),
    accepted(
        "useDualCheckpoints",
        KeyKind::Boolean,
        "false",
        "Whether Flume keeps a second checkpoint.",
        GENERATIONS,
    ),
    accepted(
        "backupCheckpointDir",
        KeyKind::Path,
        "",
        "Where Flume keeps its second checkpoint.",
        GENERATIONS,
    ),
    accepted(
        "compressBackupCheckpoint",
        KeyKind::Boolean,
        "false",
        "Whether Flume compresses its second checkpoint.",
        GENERATIONS,
    ),
    accepted(
        "checkpointOnClose",
        KeyKind::Boolean,
        "true",
        "Whether Flume writes a checkpoint when the channel is closed.",
        "changes nothing: a checkpoint is always written at a clean stop; it is small and its time does not depend on the number of waiting events",
    ),
    accepted(
        "fsyncPerTransaction",
        KeyKind::Boolean,
        "true",
        "Whether Flume makes every transaction durable before it replies.",
        "changes nothing: every transaction is durable before it is confirmed; concurrent transactions share one write, which makes that cheap",
    ),
    accepted(
        "fsyncInterval",
        KeyKind::Number,
        "5",
        "Seconds between syncs when Flume does not sync every transaction.",
        "changes nothing: every transaction is durable before it is confirmed",
    ),
    accepted("use-log-replay-v1", KeyKind::Boolean, "false", "Selects Flume's old replay.", REPLAY),
    accepted("use-fast-replay", KeyKind::Boolean, "false", "Selects Flume's quick replay.", REPLAY),
    accepted("write-timeout", KeyKind::Number, "", "Of Flume before 1.5.", TIMEOUT),
    accepted("checkpoint-timeout", KeyKind::Number, "", "Of Flume before 1.5.", TIMEOUT),
    ChannelKey {
        key: Key {
            name: "encryption.*",
            kind: KeyKind::Text,
            default: "",
            meaning: "Encryption of the log: keyProvider, activeKey, cipherProvider and the keys below keyProvider.",
        },
        treatment: Treatment::Refused(NO_ENCRYPTION),
    },
];

const BYTE_CAPACITY: ChannelKey = honoured(
    "byteCapacity",
    KeyKind::Number,
    "268435456",
    "Bytes of all bodies in memory at most; 0 for no bound. Flume's default is 80 % of its Java heap.",
);

const BYTE_CAPACITY_BUFFER: ChannelKey = honoured(
    "byteCapacityBufferPercentage",
    KeyKind::Number,
    "20",
    "Share of byteCapacity, in percent, that is set aside for headers.",
);

/// The keys of the memory channel.
pub const MEMORY: [ChannelKey; 5] = [
    honoured("capacity", KeyKind::Number, "100", "Events that the channel holds at most."),
    honoured(
        "transactionCapacity",
        KeyKind::Number,
        "100",
        "Events of one transaction at most; not more than capacity.",
    ),
    honoured(
        "keep-alive",
        KeyKind::Number,
        "3",
        "Seconds that a put waits for room and a take for an event.",
    ),
    BYTE_CAPACITY,
    BYTE_CAPACITY_BUFFER,
];

/// The keys of the spillable channel in addition to those of the file channel.
pub const SPILLABLE: [ChannelKey; 7] = [
    honoured(
        "memoryCapacity",
        KeyKind::Number,
        "10000",
        "Events kept in memory at most; 0 keeps all on disk.",
    ),
    honoured(
        "overflowCapacity",
        KeyKind::Number,
        "100000000",
        "Events kept on disk at most; 0 keeps all in memory. It replaces capacity.",
    ),
    honoured(
        "overflowTimeout",
        KeyKind::Number,
        "3",
        "Seconds that a put waits for room in memory before it goes to disk.",
    ),
    honoured(
        "overflowDeactivationThreshold",
        KeyKind::Number,
        "5",
        "Free memory, in percent, from which puts go to memory again.",
    ),
    honoured(
        "avgEventSize",
        KeyKind::Number,
        "500",
        "Expected bytes of an event, for the account of byteCapacity.",
    ),
    BYTE_CAPACITY,
    BYTE_CAPACITY_BUFFER,
];

const fn keys<const N: usize>(table: &[ChannelKey; N]) -> [Key; N] {
    let mut keys = [table[0].key; N];
    let mut at = 0;
    while at < N {
        keys[at] = table[at].key;
        at += 1;
    }
    keys
}

const fn joined<const A: usize, const B: usize, const N: usize>(
    first: &[ChannelKey; A],
    second: &[ChannelKey; B],
) -> [Key; N] {
    assert!(A + B == N, "the sum of both tables");
    let mut keys = [first[0].key; N];
    let mut at = 0;
    while at < N {
        keys[at] = if at < A { first[at].key } else { second[at - A].key };
        at += 1;
    }
    keys
}

/// The keys of the file channel, for a catalogue.
pub static FILE_KEYS: [Key; FILE.len()] = keys(&FILE);

/// The keys of the memory channel, for a catalogue.
pub static MEMORY_KEYS: [Key; MEMORY.len()] = keys(&MEMORY);

/// The keys of the spillable channel, for a catalogue.
pub static SPILLABLE_KEYS: [Key; SPILLABLE.len() + FILE.len()] = joined(&SPILLABLE, &FILE);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_has_every_channel_key_with_its_treatment() {
        let document = include_str!("../../../docs/flume-compat.md");
        for (section, table) in [
            ("## File channel keys", &FILE[..]),
            ("## Memory channel keys", &MEMORY[..]),
            ("## Spillable memory channel keys", &SPILLABLE[..]),
        ] {
            let body = document.split(section).nth(1).expect(section);
            let body = body.split("\n## ").next().expect("split gives one part");
            for ChannelKey { key, treatment } in table {
                let row = body
                    .lines()
                    .find(|line| line.starts_with(&format!("| `{}` |", key.name)))
                    .unwrap_or_else(|| panic!("{section}: no row of {}", key.name));
                let word = match treatment {
                    Treatment::Honoured => "honoured",
                    Treatment::Accepted(..) => "accepted",
                    Treatment::Refused(_) => "refused",
                };
                assert!(row.contains(word), "{section}: {} is {word}: {row}", key.name);
                let default = if key.default.is_empty() { "–" } else { key.default };
                assert!(row.contains(default), "{section}: {}: {default}: {row}", key.name);
            }
        }
    }

    #[test]
    fn a_key_stands_once_in_its_table_with_a_meaning() {
        for keys in [&FILE_KEYS[..], &MEMORY_KEYS[..], &SPILLABLE_KEYS[..]] {
            let names: BTreeSet<_> = keys.iter().map(|key| key.name).collect();
            assert_eq!(names.len(), keys.len());
            assert!(keys.iter().all(|key| key.meaning.ends_with('.')));
        }
    }
}
