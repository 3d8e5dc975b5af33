//! Member files: which channel a directory belongs to.

use super::aligned_buffer::AlignedBuffer;
use super::durable_file::{create_anew, create_file, open_file};
use super::error::LayoutError;
use super::names::MEMBER_NAME;
use super::slot_file::{SlotContents, SlotFile, read_slots};
use crate::disk::{Access, Directory};
use crate::record::member::Member;
use crate::record::slot::SlotKind;

/// The claim of a directory's member file.
#[derive(Clone, Debug)]
pub(crate) enum MemberClaim {
    /// Nothing: no member file, or one that was never written.
    Nothing,
    /// Its member file has bytes, none of them whole.
    Damaged,
    /// A whole member record.
    Member(Member),
}

/// Reads the member file of a directory. The newest record that decodes counts; the payload is
/// under the slot's checksum, so a record that does not decode was written by something else.
pub(crate) fn read_member(
    directory: &dyn Directory,
    buffer: &mut AlignedBuffer,
) -> Result<(SlotContents, MemberClaim), LayoutError> {
    let slots = match open_file(directory, MEMBER_NAME, Access::Read)? {
        Some(file) => read_slots(&*file, SlotKind::Member, buffer)?,
        None => SlotContents::default(),
    };
    let member = slots.whole.iter().rev().find_map(|whole| {
        let member = Member::decode(&whole.payload).ok()?;
        (member.channel == whole.channel && member.me == whole.owner).then_some(member)
    });
    let claim = match member {
        Some(member) => MemberClaim::Member(member),
        None if slots.is_blank() => MemberClaim::Nothing,
        None => MemberClaim::Damaged,
    };
    Ok((slots, claim))
}

/// Durably writes the member record of a directory, in which `slots` were read.
pub(crate) fn write_member(
    directory: &dyn Directory,
    slots: &SlotContents,
    record: &Member,
) -> Result<SlotFile, LayoutError> {
    let kind = SlotKind::Member;
    let file = create_file(directory, MEMBER_NAME, kind.file_bytes() as u64)?;
    let mut home = slots.next_target(file);
    let payload = record
        .encode()
        .map_err(|source| LayoutError::TooLarge { path: home.file().path().to_owned(), source })?;
    let mut buffer = AlignedBuffer::small()?;
    home.write(kind, record.channel, record.me, &payload, &mut buffer)?;
    Ok(home)
}

/// Durably rewrites the member file of a directory after it was removed. A file that cannot be
/// finished is removed: without it the directory is as before the call.
///
/// # Errors
/// The file cannot be created or written.
pub(crate) fn write_member_again(
    directory: &dyn Directory,
    record: &Member,
) -> Result<(), LayoutError> {
    create_anew(directory, MEMBER_NAME, || {
        write_member(directory, &SlotContents::default(), record).map(drop)
    })
}
