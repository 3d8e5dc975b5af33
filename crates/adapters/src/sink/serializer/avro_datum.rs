//! Flume's `AvroEventSerializer`: bodies that are Avro data, in container files of their schema.
//!
//! Limits: [`AVRO_SCHEMAS_KNOWN_MAX`] schemas are cached, [`AVRO_SCHEMAS_KNOWN_BYTES_MAX`] of all and
//! [`AVRO_HEADER_BYTES_MAX`] of one as text. A schema file is reread before an event is refused.
//!
//! The schema of an event is the file named by its header `flume.avro.schema.url`, otherwise the text of its header
//! `flume.avro.schema.literal`, otherwise the file of `schemaURL`. A header `flume.avro.schema.hash` must be the
//! schema's fingerprint. A file has one schema: events of another are written to another file, where Flume writes
//! them to the same file, which is then unreadable.
//!
//! Invariants: a body that is not a datum of its schema is refused, and so is an event without a schema, before
//! anything of its batch is written. No header of an event makes this open a path that the configuration does not
//! allow, or any connection; and no header blocks the channel by naming an invalid schema file, if `deadLetter` is
//! set.

use super::avro_file::AvroFile;
use super::serialize::Serializer;
use crate::wire::avro::schema::{AvroSchema, DecodeBudget, without_blanks};
use crate::wire::avro::values::AvroReader;
use millpond::Event;
use millpond_flow::base::limits::{
    AVRO_HEADER_BYTES_MAX, AVRO_SCHEMAS_KNOWN_BYTES_MAX, AVRO_SCHEMAS_KNOWN_MAX,
};
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use millpond_flow::settings::{SettingError, SettingsReader};
use millpond_flow::sink::Failure;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Its names in configurations.
pub(super) const CLASSES: [&str; 2] = [
    "org.apache.flume.sink.hdfs.AvroEventSerializer",
    "org.apache.flume.serialization.AvroEventSerializer",
];

const URL: &str = "flume.avro.schema.url";
const LITERAL: &str = "flume.avro.schema.literal";
const HASH: &str = "flume.avro.schema.hash";

/// The serializer of bodies as data.
pub(super) struct AvroDatum {
    file: AvroFile,
    schema_url: Option<String>,
    directory: Option<PathBuf>,
    /// The cache of schemas, the newest last.
    known: VecDeque<(SchemaOrigin, Arc<KnownSchema>)>,
    /// The first event of each group of the current batch, and its schema: the file begun by it gets the schema by
    /// which its events were checked, even if the schema file has changed since.
    firsts: Vec<(Event, Arc<KnownSchema>)>,
    /// The schema of the file that was begun last.
    open: Option<Arc<KnownSchema>>,
}

/// The origin of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SchemaOrigin {
    /// The file of `schemaURL`.
    Configured(PathBuf),
    /// A file below `schemaDirectory`, named by events.
    Named(PathBuf),
    Literal(String),
}

impl SchemaOrigin {
    fn is_file(&self) -> bool {
        !matches!(self, Self::Literal(_))
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Configured(path) | Self::Named(path) => path.as_os_str().len(),
            Self::Literal(text) => text.len(),
        }
    }
}

struct KnownSchema {
    schema: AvroSchema,
    text: String,
    /// The fingerprint in hexadecimal.
    hash: String,
}

impl AvroDatum {
    pub(super) fn build(reader: &mut SettingsReader<'_>, key: &str) -> Result<Self, SettingError> {
        let (url, place) = (format!("{key}.schemaURL"), format!("{key}.schemaDirectory"));
        let schema_url = reader.text(&url).map(str::to_owned);
        if let Some(Err(why)) = schema_url.as_deref().map(path_of) {
            return Err(reader.error(&url, why));
        }
        let directory = reader.text(&place).map(PathBuf::from);
        if directory.as_deref().is_some_and(|path| !is_plain(path)) {
            return Err(reader.error(&place, "is not an absolute path without .."));
        }
        let file = AvroFile::build(reader, key)?;
        let known = VecDeque::new();
        Ok(Self { file, schema_url, directory, known, firsts: Vec::new(), open: None })
    }

    /// Returns the origin of the schema of `event`, by its headers and the configuration.
    fn origin(&self, event: &Event) -> Result<SchemaOrigin, Failure> {
        let literal =
            || event.headers.get(LITERAL).map(|text| SchemaOrigin::Literal(text.to_owned()));
        if let Some(url) = event.headers.get(URL) {
            return match self.allowed(url) {
                Ok(origin) => Ok(origin),
                Err(why) => literal().ok_or_else(|| impossible(format!("its header {URL} {why}"))),
            };
        }
        let fixed = || Some(SchemaOrigin::Configured(path_of(self.schema_url.as_deref()?).ok()?));
        literal().or_else(fixed).ok_or_else(|| {
            impossible(format!(
                "it has neither the header {LITERAL} nor {URL}, and there is no schemaURL"
            ))
        })
    }

    /// Returns the origin of a URL in an event, if it is allowed.
    fn allowed(&self, url: &str) -> Result<SchemaOrigin, String> {
        let path = path_of(url)?;
        if self.schema_url.as_deref().is_some_and(|known| path_of(known).as_ref() == Ok(&path)) {
            return Ok(SchemaOrigin::Configured(path));
        }
        match &self.directory {
            Some(directory) if path.starts_with(directory) => Ok(SchemaOrigin::Named(path)),
            Some(directory) => Err(format!("is not below schemaDirectory {}", directory.display())),
            None => Err("is not allowed: schemaDirectory names no directory".to_owned()),
        }
    }

    /// Returns the schema of `event`, if its body is a datum of it.
    fn schema(&mut self, event: &Event) -> Result<Arc<KnownSchema>, Failure> {
        let origin = self.origin(event)?;
        // The schema in a header is the event's own; a file may be repaired.
        let refused = match origin {
            SchemaOrigin::Literal(_) => impossible,
            SchemaOrigin::Configured(_) | SchemaOrigin::Named(_) => refused,
        };
        let known = match self.known.iter().position(|(place, _)| *place == origin) {
            Some(at) => self.known[at].1.clone(),
            None => {
                let loaded = load(&origin).map_err(|unfit| self.failure(&origin, unfit))?;
                let known = Arc::new(loaded);
                self.remember(origin, known.clone());
                known
            }
        };
        if event.headers.get(HASH).is_some_and(|hash| !hash.eq_ignore_ascii_case(&known.hash)) {
            return Err(refused(format!(
                "its header {HASH} is not {}, the fingerprint of its schema",
                known.hash
            )));
        }
        let mut values = AvroReader::new(&event.body);
        let read = known.schema.skip(&mut values, &mut DecodeBudget::for_bytes(event.body.len()));
        match read.and_then(|()| values.end()) {
            Ok(()) => Ok(known),
            Err(error) => Err(refused(format!("its body is not a datum of its schema: {error}"))),
        }
    }

    /// Returns the events grouped by file.
    fn grouped(&mut self, batch: &[Event]) -> Result<Vec<Vec<Event>>, Failure> {
        let mut groups: Vec<(Arc<KnownSchema>, Vec<Event>)> = Vec::new();
        for event in batch {
            let known = self.schema(event)?;
            let same = |of: &Arc<KnownSchema>| Arc::ptr_eq(of, &known) || of.text == known.text;
            match groups.iter_mut().find(|(of, _)| same(of)) {
                Some((_, group)) => group.push(event.clone()),
                None => groups.push((known, vec![event.clone()])),
            }
        }
        self.firsts = groups.iter().map(|(of, group)| (group[0].clone(), of.clone())).collect();
        Ok(groups.into_iter().map(|(_, group)| group).collect())
    }

    fn remember(&mut self, origin: SchemaOrigin, known: Arc<KnownSchema>) {
        self.known.push_back((origin, known));
        let bytes =
            |(origin, known): &(SchemaOrigin, Arc<KnownSchema>)| origin.bytes() + known.text.len();
        let mut all: usize = self.known.iter().map(bytes).sum();
        // The newest stays, whatever its length: it is in use.
        while self.known.len() > 1
            && (self.known.len() > AVRO_SCHEMAS_KNOWN_MAX || all > AVRO_SCHEMAS_KNOWN_BYTES_MAX)
        {
            all -= self.known.pop_front().as_ref().map_or(0, bytes);
        }
    }

    /// Drops the schemas of files from the cache; returns whether there were any.
    fn drop_cached_files(&mut self) -> bool {
        let before = self.known.len();
        self.known.retain(|(origin, _)| !origin.is_file());
        self.known.len() < before
    }

    /// Returns the failure of an event without a schema: retried, or refused.
    fn failure(&self, origin: &SchemaOrigin, unfit: SchemaUnavailable) -> Failure {
        match origin {
            SchemaOrigin::Literal(_) => {
                let why = match unfit {
                    SchemaUnavailable::Wrong(why) => why,
                    SchemaUnavailable::Unread(error) => error.to_string(),
                };
                impossible(format!("its header {LITERAL}: {why}"))
            }
            SchemaOrigin::Configured(path) | SchemaOrigin::Named(path) => {
                // While schemaDirectory itself is missing, the state of its files is unknown.
                let is_there = self.directory.as_deref().is_some_and(Path::is_dir);
                let (is_of_the_name, failure) = match unfit {
                    SchemaUnavailable::Unread(error) => {
                        let what = format!("the schema {} cannot be used", path.display());
                        (is_of_the_name(&error), Failure::caused(what, error))
                    }
                    SchemaUnavailable::Wrong(why) => {
                        (true, Failure::new(format!("{}: {why}", path.display())))
                    }
                };
                match origin {
                    // The sender of an event chooses the name, and could block the channel with it.
                    SchemaOrigin::Named(_) if is_there && is_of_the_name => failure.refused(),
                    // The file may be repaired.
                    _ => failure,
                }
            }
        }
    }
}

/// The reason why there is no schema at an origin.
enum SchemaUnavailable {
    Unread(SmallFileError),
    /// The text is not a schema.
    Wrong(String),
}

/// Returns whether reading failed because of the file's name, and not because of the state of this machine.
fn is_of_the_name(error: &SmallFileError) -> bool {
    use rustix::io::Errno;
    match error {
        SmallFileError::Io(error) => matches!(
            Errno::from_io_error(error),
            Some(Errno::ACCESS | Errno::PERM | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP)
        ),
        _ => true,
    }
}

/// Returns whether a path is absolute and has no `..`.
fn is_plain(path: &Path) -> bool {
    let mut components = path.components();
    components.next() == Some(Component::RootDir)
        && components.all(|part| matches!(part, Component::Normal(_)))
}

/// Returns the path in a file URL.
fn path_of(url: &str) -> Result<PathBuf, String> {
    let Some(rest) = url.strip_prefix("file:") else {
        let what = if url.starts_with("hdfs:") { "is in HDFS" } else { "is not a file: URL" };
        return Err(format!("{what}; schemas are read from files of this machine only"));
    };
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
        None => rest,
    };
    if !is_plain(Path::new(path)) || path.contains(['%', '?', '#', '\0']) {
        return Err("names no absolute path, without .. and escapes".to_owned());
    }
    Ok(PathBuf::from(path))
}

fn load(origin: &SchemaOrigin) -> Result<KnownSchema, SchemaUnavailable> {
    let text = match origin {
        SchemaOrigin::Literal(text) => text.clone(),
        SchemaOrigin::Configured(path) | SchemaOrigin::Named(path) => {
            let bytes = read_whole(path, AVRO_HEADER_BYTES_MAX as u64)
                .map_err(SchemaUnavailable::Unread)?;
            String::from_utf8(bytes).map_err(|error| SchemaUnavailable::Wrong(error.to_string()))?
        }
    };
    let parsed = match text.len() {
        ..=AVRO_HEADER_BYTES_MAX => AvroSchema::parse(&text).map_err(|error| error.to_string()),
        _ => Err(format!("the schema has more than {AVRO_HEADER_BYTES_MAX} bytes")),
    };
    let schema = parsed.map_err(SchemaUnavailable::Wrong)?;
    let hash = schema.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(KnownSchema { schema, text: without_blanks(&text), hash })
}

/// Returns the refusal of an event by the text of a schema, which may be repaired where it is a file's.
fn refused(why: String) -> Failure {
    no_place(why).refused()
}

/// Returns the refusal of an event by its headers and the configuration alone.
fn impossible(why: String) -> Failure {
    no_place(why).refused_for_ever()
}

fn no_place(why: String) -> Failure {
    Failure::new(format!("an event has no place in an Avro file: {why}"))
}

impl Serializer for AvroDatum {
    fn groups(&mut self, batch: &[Event]) -> Result<Option<Vec<Vec<Event>>>, Failure> {
        let mut grouped = self.grouped(batch);
        if grouped.as_ref().is_err_and(Failure::is_refusal) && self.drop_cached_files() {
            // Files may have been repaired since they were read. The whole batch is checked again: one batch must not
            // use two states of one file.
            grouped = self.grouped(batch);
        }
        Ok(Some(grouped?))
    }

    fn may_refuse(&self) -> bool {
        true
    }

    fn goes_on(&self, event: &Event) -> bool {
        let Some(open) = &self.open else { return false };
        let known = self.origin(event).ok().and_then(|origin| {
            self.known.iter().find(|(place, _)| *place == origin).map(|(_, known)| known)
        });
        known.is_some_and(|known| known.text == open.text)
    }

    fn begin(&mut self, first: &Event, out: &mut dyn Write) -> io::Result<()> {
        let looked_up = self.firsts.iter().find(|(event, _)| event == first);
        let known = match looked_up.map(|(_, known)| known.clone()) {
            Some(known) => known,
            None => self.schema(first).map_err(io::Error::other)?,
        };
        self.file.begin(&known.text, out)?;
        self.open = Some(known);
        Ok(())
    }

    fn write(&mut self, batch: &[Event], out: &mut dyn Write) -> io::Result<()> {
        self.file.write(batch, |block, event| block.extend_from_slice(&event.body), out)
    }

    fn may_be_empty(&self) -> bool {
        false
    }

    /// Each batch makes a block of its own.
    fn prefers_large_batches(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::avro::container::MAGIC;
    use millpond_flow::settings::Settings;
    use std::fs::write;
    use tempfile::TempDir;

    const INT: &str = r#"{"type" : "record", "name":"R","fields":[{"name":"n","type":"int"}]}"#;
    const TEXT: &str = r#"{"type":"record","name":"S","fields":[{"name":"s","type":"string"}]}"#;

    fn built(pairs: &[(&str, &str)]) -> Result<AvroDatum, SettingError> {
        let settings = Settings::from_pairs("k1", pairs);
        AvroDatum::build(&mut SettingsReader::new(&settings), "s")
    }

    fn event(body: &'static [u8], headers: &[(&str, &str)]) -> Event {
        let mut event = Event::new(body);
        event.headers = headers.iter().copied().collect();
        event
    }

    /// Returns the bodies of each group, or the failure of one event and whether it is refused for good.
    fn grouped(
        datum: &mut AvroDatum,
        batch: &[Event],
    ) -> Result<Vec<Vec<Vec<u8>>>, (String, bool)> {
        let groups = datum.groups(batch).map_err(|failure| {
            let cause = std::error::Error::source(&failure).map(ToString::to_string);
            (format!("{failure}: {}", cause.unwrap_or_default()), failure.is_refusal())
        })?;
        let bodies = |group: Vec<Event>| group.iter().map(|event| event.body.to_vec()).collect();
        Ok(groups.expect("always in groups").into_iter().map(bodies).collect())
    }

    #[test]
    fn a_file_has_the_schema_of_its_events_and_their_bodies_unchanged() {
        let mut datum = built(&[]).unwrap();
        let batch = [event(b"\x0e", &[(LITERAL, INT)]), event(b"\x02", &[(LITERAL, INT)])];
        assert_eq!(grouped(&mut datum, &batch), Ok(vec![vec![b"\x0e".to_vec(), b"\x02".to_vec()]]));
        let mut file = Vec::new();
        datum.begin(&batch[0], &mut file).unwrap();
        datum.write(&batch, &mut file).unwrap();
        assert!(file.starts_with(MAGIC));
        let schema = without_blanks(INT);
        assert!(file.windows(schema.len()).any(|window| window == schema.as_bytes()));
        let marker = datum_marker(&file);
        assert!(file.ends_with(&[&b"\x04\x04\x0e\x02"[..], &marker].concat()));
    }

    #[test]
    fn a_file_has_the_schema_by_which_its_events_were_checked() {
        let directory = TempDir::new().unwrap();
        let place = directory.path().to_str().unwrap();
        let mut datum = built(&[("s.schemaDirectory", place)]).unwrap();
        // More than are cached, and all of them removed when the first file begins.
        let batch: Vec<Event> = (0..=AVRO_SCHEMAS_KNOWN_MAX)
            .map(|n| {
                let path = directory.path().join(n.to_string());
                write(&path, INT.replace('R', &format!("R{n}"))).unwrap();
                event(b"\x0e", &[(URL, &format!("file://{}", path.display()))])
            })
            .collect();
        assert_eq!(grouped(&mut datum, &batch).unwrap().len(), batch.len());
        drop(directory);
        let mut file = Vec::new();
        datum.begin(&batch[0], &mut file).unwrap();
        assert!(String::from_utf8_lossy(&file).contains("\"R0\""));
    }

    fn datum_marker(file: &[u8]) -> Vec<u8> {
        file[file.len() - 16..].to_vec()
    }

    #[test]
    fn events_of_another_schema_are_written_to_another_file() {
        let mut datum = built(&[]).unwrap();
        let (one, two) = (event(b"\x0e", &[(LITERAL, INT)]), event(b"\x02x", &[(LITERAL, TEXT)]));
        let blanks = event(b"\x10", &[(LITERAL, &without_blanks(INT))]);
        let batch = [one.clone(), two.clone(), blanks.clone()];
        let groups = grouped(&mut datum, &batch).unwrap();
        assert_eq!(groups, [vec![b"\x0e".to_vec(), b"\x10".to_vec()], vec![b"\x02x".to_vec()]]);
        assert!(!datum.goes_on(&one), "no file was begun");
        datum.begin(&one, &mut Vec::new()).unwrap();
        assert!(datum.goes_on(&one) && datum.goes_on(&blanks) && !datum.goes_on(&two));
    }

    #[test]
    fn events_that_would_make_the_file_unreadable_are_refused_for_good() {
        let mut datum = built(&[]).unwrap();
        let hash = AvroSchema::parse(INT).unwrap().fingerprint();
        let hash: String = hash.iter().map(|byte| format!("{byte:02X}")).collect();
        assert!(grouped(&mut datum, &[event(b"\x0e", &[(LITERAL, INT), (HASH, &hash)])]).is_ok());
        for (body, headers, word) in [
            (&b"\x0e"[..], &[][..], "schemaURL"),
            (b"\x0e", &[(LITERAL, "{")], "literal"),
            (b"", &[(LITERAL, INT)], "not a datum"),
            (b"\x0e\x0e", &[(LITERAL, INT)], "not a datum"),
            (b"\x0e", &[(LITERAL, INT), (HASH, "8d3b2687b34c371c")], "fingerprint"),
        ] {
            let sound = event(b"\x0e", &[(LITERAL, INT)]);
            let (words, refused) = grouped(&mut datum, &[sound, event(body, headers)]).unwrap_err();
            assert!(refused && words.contains(word), "{words}");
        }
    }

    #[test]
    fn a_configured_schema_is_read_and_retried_while_it_is_missing() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("r.avsc");
        let url = format!("file://{}", path.display());
        let mut datum = built(&[("s.schemaURL", &url)]).unwrap();
        let batch = [event(b"\x0e", &[]), event(b"\x10", &[(URL, &url)])];
        let (words, refused) = grouped(&mut datum, &batch).unwrap_err();
        assert!(!refused && words.contains("no such file"), "{words}");
        write(&path, "{").unwrap();
        assert!(!grouped(&mut datum, &batch).unwrap_err().1);
        write(&path, INT).unwrap();
        assert_eq!(grouped(&mut datum, &batch).unwrap().len(), 1);
        let literal = event(b"\x02x", &[(LITERAL, TEXT)]);
        assert!(grouped(&mut datum, &[literal]).is_ok(), "an event's own schema goes first");
    }

    #[test]
    fn a_repaired_schema_counts_before_an_event_is_refused() {
        let directory = TempDir::new().unwrap();
        let (fixed, named) = (directory.path().join("f.avsc"), directory.path().join("n.avsc"));
        [&fixed, &named].iter().for_each(|path| write(path, INT).unwrap());
        let url = |path: &Path| format!("file:{}", path.display());
        let place = directory.path().display().to_string();
        let settings = [("s.schemaURL", url(&fixed)), ("s.schemaDirectory", place)];
        let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let mut datum = built(&settings).unwrap();
        let at_name = |body| event(body, &[(URL, url(&named).as_str())]);
        let (old, new) =
            ([event(b"\x0e", &[]), at_name(b"\x0e")], [event(b"\x02x", &[]), at_name(b"\x02x")]);
        assert_eq!(grouped(&mut datum, &old).unwrap().len(), 1);
        assert!(grouped(&mut datum, &new).unwrap_err().1);
        datum.begin(&old[0], &mut Vec::new()).unwrap();
        [&fixed, &named].iter().for_each(|path| write(path, TEXT).unwrap());
        assert_eq!(grouped(&mut datum, &new).unwrap().len(), 1);
        assert!(!datum.goes_on(&new[0]), "the open file has the schema of before");
        write(&fixed, INT).unwrap();
        let mixed = [new[0].clone(), old[0].clone()];
        assert!(grouped(&mut datum, &mixed).unwrap_err().1, "a file has one state at a time");
    }

    #[test]
    fn an_event_with_a_bad_schema_name_does_not_block_forever() {
        let directory = TempDir::new().unwrap();
        let inner = directory.path().join("schemas");
        std::fs::create_dir(&inner).unwrap();
        write(inner.join("broken.avsc"), "{").unwrap();
        write(inner.join("bytes.avsc"), b"\xff").unwrap();
        let place = inner.display().to_string();
        let mut datum = built(&[("s.schemaDirectory", &place)]).unwrap();
        let long = "x".repeat(300);
        for name in ["nothing.avsc", "", "broken.avsc", "bytes.avsc", "broken.avsc/x", &long] {
            let url = format!("file:{place}/{name}");
            let (words, refused) =
                grouped(&mut datum, &[event(b"\x0e", &[(URL, &url)])]).unwrap_err();
            assert!(refused, "{words}");
        }
        std::fs::remove_dir_all(&inner).unwrap();
        let url = format!("file:{place}/r.avsc");
        let away = grouped(&mut datum, &[event(b"\x0e", &[(URL, &url)])]);
        assert!(!away.unwrap_err().1, "the directory itself is missing: events wait");
    }

    #[test]
    fn schemas_are_cached_up_to_a_number_and_a_total_size() {
        let mut datum = built(&[]).unwrap();
        let of = |number: usize, blanks: usize| {
            let doc = "d".repeat(blanks);
            format!(r#"{{"type":"record","name":"R{number}","doc":"{doc}","fields":[]}}"#)
        };
        for number in 0..AVRO_SCHEMAS_KNOWN_MAX + 3 {
            assert!(grouped(&mut datum, &[event(b"", &[(LITERAL, &of(number, 0))])]).is_ok());
        }
        assert_eq!(datum.known.len(), AVRO_SCHEMAS_KNOWN_MAX);
        // Twice: as in a header, and as in files.
        let third = AVRO_SCHEMAS_KNOWN_BYTES_MAX / 6;
        for number in 0..4 {
            let literal = of(number, third.min(AVRO_HEADER_BYTES_MAX - 100));
            assert!(grouped(&mut datum, &[event(b"", &[(LITERAL, &literal)])]).is_ok());
            let bytes = datum.known.iter().map(|(origin, known)| origin.bytes() + known.text.len());
            assert!(bytes.sum::<usize>() <= AVRO_SCHEMAS_KNOWN_BYTES_MAX);
        }
        assert!(datum.known.len() < AVRO_SCHEMAS_KNOWN_MAX);
    }

    #[test]
    fn no_header_opens_a_path_that_the_configuration_does_not_allow() {
        let (inside, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        for directory in [&inside, &outside] {
            write(directory.path().join("r.avsc"), INT).unwrap();
        }
        let (inner, outer) = (inside.path().display(), outside.path().display());
        let name = outside.path().file_name().unwrap().to_str().unwrap();
        let allow = inner.to_string();
        let mut open = built(&[("s.schemaDirectory", allow.as_str())]).unwrap();
        let mut closed = built(&[]).unwrap();
        let good = format!("file:{inner}/r.avsc");
        assert!(grouped(&mut open, &[event(b"\x0e", &[(URL, &good)])]).is_ok());
        for url in [
            good,
            format!("file:{outer}/r.avsc"),
            format!("file://{inner}/../{name}/r.avsc"),
            format!("file:{inner}/%2e%2e/{name}/r.avsc"),
            format!("file://otherhost{inner}/r.avsc"),
            "file:r.avsc".to_owned(),
            "/etc/passwd".to_owned(),
            "http://127.0.0.1:1/r.avsc".to_owned(),
            "hdfs://namenode/r.avsc".to_owned(),
            format!("jar:file:{inner}/r.avsc"),
        ] {
            let alone = event(b"\x0e", &[(URL, &url)]);
            assert!(grouped(&mut closed, std::slice::from_ref(&alone)).unwrap_err().1, "{url}");
            let is_good = url.ends_with("/r.avsc") && url == format!("file:{inner}/r.avsc");
            let found = grouped(&mut open, &[alone]);
            assert_eq!(found.is_ok(), is_good, "{url}");
            assert!(is_good || found.unwrap_err().1, "{url}");
            let said = event(b"\x02x", &[(URL, &url), (LITERAL, TEXT)]);
            assert!(grouped(&mut closed, &[said]).is_ok(), "it says itself what it is");
        }
    }

    #[test]
    fn a_configured_schema_that_is_not_a_local_file_is_refused() {
        for (url, word) in [
            ("hdfs://namenode/r.avsc", "HDFS"),
            ("http://host/r.avsc", "not a file: URL"),
            ("r.avsc", "not a file: URL"),
            ("file:r.avsc", "absolute"),
            ("file:/a/../r.avsc", "absolute"),
        ] {
            let error = built(&[("s.schemaURL", url)]).err().unwrap();
            assert!(error.to_string().contains(word), "{error}");
            assert_eq!(error.key, "k1.s.schemaURL");
        }
        assert!(built(&[("s.schemaDirectory", "relative")]).is_err());
    }
}
