//! Reads spool files, also those that a crash cut.

use super::settings::{PageCodec, ParquetSettings};
use super::spool_format::{BATCH_BYTES_MAX, FRAME_HEADER_BYTES, MAGIC, checksum};
use bytes::{Buf, Bytes};
use millpond::Event;
use std::io::{self, Read, Seek, SeekFrom};

/// Bytes that a search for a further frame reads at a time.
const SEARCH_BYTES: usize = 1 << 20;

/// Why a spool file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    /// The disk failed.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// Its bytes are not those that were written.
    #[error("it is damaged at byte {at}; events after that byte may be lost")]
    Damaged {
        /// The offset.
        at: u64,
    },
    /// It was not written by this version.
    #[error("it is not a spool file of this version: {0}")]
    Unknown(String),
}

/// What a frame is.
enum Frame {
    /// Its payload; empty at the end of a file that was closed in order.
    Whole(Bytes),
    /// There are no more bytes.
    End,
    /// The bytes are not a whole frame.
    Cut,
}

/// A spool file.
pub(crate) struct SpoolReader<R> {
    file: R,
    mark: [u8; 8],
    offset: u64,
    settings: ParquetSettings,
}

impl<R: Read> SpoolReader<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// It cannot be read, or is not a spool file.
    pub(crate) fn open(mut file: R) -> Result<Self, SpoolError> {
        let mark = read_mark(&mut file)?.ok_or(SpoolError::Damaged { at: 0 })?;
        let mut offset = 16;
        let Frame::Whole(payload) = read_frame(&mut file, mark, &mut offset)? else {
            return Err(SpoolError::Damaged { at: offset });
        };
        let settings = settings(&payload).map_err(SpoolError::Unknown)?;
        Ok(Self { file, mark, offset, settings })
    }

    /// Returns the settings of the Parquet file.
    pub(crate) fn settings(&self) -> &ParquetSettings {
        &self.settings
    }

    /// Returns what tells the file from others, in hexadecimal digits.
    pub(crate) fn id(&self) -> String {
        format!("{:016x}", u64::from_le_bytes(self.mark))
    }

    /// Returns the next events; `None` at the end.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Event>>, SpoolError> {
        let at = self.offset;
        match read_frame(&mut self.file, self.mark, &mut self.offset)? {
            Frame::Whole(payload) if payload.is_empty() => Ok(None),
            Frame::Whole(payload) => events(payload).map(Some).ok_or(SpoolError::Damaged { at }),
            Frame::End => Ok(None),
            Frame::Cut => Err(SpoolError::Damaged { at }),
        }
    }
}

/// Returns how many bytes of a file, which its writer may have left in the middle of a frame, are whole frames with
/// events; 0 without one.
///
/// # Errors
/// It cannot be read, or has whole frames after one that is not: then it is damaged, and not cut.
pub(crate) fn whole_bytes<R: Read + Seek>(mut file: R) -> Result<u64, SpoolError> {
    let Some(mark) = read_mark(&mut file)? else { return Ok(0) };
    let (mut offset, mut frames) = (16, 0);
    let mut first = [0; 8];
    let has_first = file.read_exact(&mut first).is_ok();
    file.seek(SeekFrom::Start(offset))?;
    if has_first && first != mark {
        if let Frame::Whole(_) = read_frame(&mut file, first, &mut offset)? {
            return Err(SpoolError::Damaged { at: 8 });
        }
        return Ok(0);
    }
    loop {
        let at = offset;
        match read_frame(&mut file, mark, &mut offset)? {
            Frame::Whole(payload) if payload.is_empty() => {
                return Ok(if frames > 1 { offset } else { 0 });
            }
            Frame::Whole(_) => frames += 1,
            Frame::End => return Ok(if frames > 1 { at } else { 0 }),
            Frame::Cut if frame_follows(&mut file, mark, at + 1)? => {
                return Err(SpoolError::Damaged { at });
            }
            Frame::Cut => return Ok(if frames > 1 { at } else { 0 }),
        }
    }
}

/// Returns whether there is a whole frame at `from` or later.
fn frame_follows<R: Read + Seek>(file: &mut R, mark: [u8; 8], from: u64) -> io::Result<bool> {
    let mut begin = from;
    loop {
        file.seek(SeekFrom::Start(begin))?;
        let mut piece = Vec::new();
        file.by_ref().take(SEARCH_BYTES as u64).read_to_end(&mut piece)?;
        for at in piece.windows(mark.len()).enumerate().filter(|(_, found)| *found == mark) {
            let mut offset = begin + at.0 as u64;
            file.seek(SeekFrom::Start(offset))?;
            if let Frame::Whole(_) = read_frame(file, mark, &mut offset)? {
                return Ok(true);
            }
        }
        if piece.len() < SEARCH_BYTES {
            return Ok(false);
        }
        // A mark may be on the border.
        begin += (SEARCH_BYTES - mark.len() + 1) as u64;
    }
}

/// Reads the mark; `None` if the file has not even that.
fn read_mark(file: &mut impl Read) -> Result<Option<[u8; 8]>, SpoolError> {
    let mut head = Vec::new();
    file.take(16).read_to_end(&mut head)?;
    let Some((magic, mark)) = head.split_at_checked(8).filter(|(_, mark)| mark.len() == 8) else {
        return Ok(None);
    };
    if magic != MAGIC {
        let written = magic.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if written < MAGIC.len() && magic[..written] == MAGIC[..written] {
            // What a crash leaves of a file whose length was written before its bytes.
            return Ok(None);
        }
        return Err(SpoolError::Unknown("it begins with other bytes".to_owned()));
    }
    Ok(mark.try_into().ok())
}

fn read_frame(file: &mut impl Read, mark: [u8; 8], offset: &mut u64) -> io::Result<Frame> {
    let mut header = Vec::with_capacity(FRAME_HEADER_BYTES);
    file.take(FRAME_HEADER_BYTES as u64).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(Frame::End);
    }
    if header.len() < FRAME_HEADER_BYTES || header[..8] != mark {
        return Ok(Frame::Cut);
    }
    let length: [u8; 4] = header[8..12].try_into().unwrap_or_default();
    let sum: [u8; 4] = header[12..].try_into().unwrap_or_default();
    let bytes = u32::from_le_bytes(length) as usize;
    if bytes > BATCH_BYTES_MAX {
        return Ok(Frame::Cut);
    }
    // Grows with what is there, whatever the length says.
    let mut payload = Vec::new();
    file.take(bytes as u64).read_to_end(&mut payload)?;
    if payload.len() < bytes || checksum(length, &payload) != u32::from_le_bytes(sum) {
        return Ok(Frame::Cut);
    }
    *offset += (FRAME_HEADER_BYTES + bytes) as u64;
    Ok(Frame::Whole(payload.into()))
}

/// Returns the settings that a file has.
fn settings(json: &[u8]) -> Result<ParquetSettings, String> {
    let json: serde_json::Value =
        serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let text = json["schema"].as_str().ok_or("it has no schema")?;
    let of_event = json["ofEvent"].as_bool().ok_or("it does not say what its rows are")?;
    let codec = json["compression"].as_str().and_then(PageCodec::named);
    let codec = codec.ok_or("its compression is not known")?;
    let bytes = json["rowGroupBytes"].as_u64().and_then(|bytes| usize::try_from(bytes).ok());
    ParquetSettings::new(text.to_owned(), of_event, codec, bytes.unwrap_or_default())
}

/// Returns the events of a frame; `None` if its bytes are not events.
fn events(mut frame: Bytes) -> Option<Vec<Event>> {
    let mut all = Vec::new();
    while frame.has_remaining() {
        let mut event = Event::default();
        for _ in 0..number(&mut frame)? {
            let (name, value) = (piece(&mut frame)?, piece(&mut frame)?);
            event.headers.set(std::str::from_utf8(&name).ok()?, std::str::from_utf8(&value).ok()?);
        }
        event.body = piece(&mut frame)?;
        all.push(event);
    }
    Some(all)
}

fn number(frame: &mut Bytes) -> Option<usize> {
    frame.try_get_u32_le().ok().map(|number| number as usize)
}

fn piece(frame: &mut Bytes) -> Option<Bytes> {
    let length = number(frame)?;
    (length <= frame.len()).then(|| frame.split_to(length))
}
