//! `DataStream` and `CompressedStream`: what a serializer writes, as it is or compressed.

use super::codec::Codec;
use super::{FileFormat, FormatError};
use millpond::Event;
use millpond_adapters::sink::serializer::Serializer;

/// Writes what a serializer writes. With a codec each batch is at least one complete member or block.
pub(super) struct StreamFormat {
    pub(super) serializer: Box<dyn Serializer>,
    pub(super) codec: Option<Codec>,
    /// The beginning of the file, which goes into the first member.
    pub(super) pending_header: Vec<u8>,
}

const SERIALIZER: &str = "what the serializer writes";

impl StreamFormat {
    /// Checks `events`; returns those that need different files, if they cannot share one.
    fn groups(&mut self, events: &[Event]) -> Result<Option<Vec<Vec<Event>>>, FormatError> {
        self.serializer.groups(events).map_err(|failure| {
            let cause = failure.to_string();
            if failure.is_final() {
                FormatError::NoFile { cause }
            } else if failure.is_refusal() {
                FormatError::Encode { format: SERIALIZER, cause }
            } else {
                FormatError::NotNow { cause }
            }
        })
    }
}

impl FileFormat for StreamFormat {
    fn begin(&mut self, first: &Event, out: &mut Vec<u8>) -> Result<(), FormatError> {
        // An event that fits in no file is found before the file has a header.
        self.groups(std::slice::from_ref(first))?;
        self.pending_header.clear();
        let target = if self.codec.is_some() { &mut self.pending_header } else { out };
        self.serializer.begin(first, target).map_err(FormatError::encode(SERIALIZER))
    }

    fn append_batch(&mut self, events: &[Event], out: &mut Vec<u8>) -> Result<(), FormatError> {
        let groups = self.groups(events)?;
        let fits = |group: &Vec<Event>| self.serializer.goes_on(&group[0]);
        if groups.is_some_and(|groups| !groups.iter().all(fits)) {
            return Err(FormatError::OtherSchema);
        }
        let Some(codec) = self.codec else {
            return self.serializer.write(events, out).map_err(FormatError::encode(SERIALIZER));
        };
        let (serializer, header) = (&mut self.serializer, &self.pending_header);
        let fill = |writer: &mut dyn std::io::Write| {
            writer.write_all(header)?;
            serializer.write(events, writer)
        };
        codec.compress(fill, out).map_err(FormatError::encode(codec.name()))?;
        self.pending_header = Vec::new();
        Ok(())
    }
}
