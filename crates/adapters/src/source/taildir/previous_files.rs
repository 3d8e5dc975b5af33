//! Files of an earlier run that have not been seen yet, and their offsets.

use super::group::MatchedFile;
use super::identity::{FileIdentity, FileMatch, TailChecksum};
use super::offset::FileEntry;
use super::position_file::PositionEntry;
use millpond_flow::base::files;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

/// The files known before this run, by inode.
#[derive(Default)]
pub(super) struct PreviousFiles {
    /// Known from the channels.
    marked: BTreeMap<u64, Vec<PreviousFile>>,
    /// Known from Flume's position file, where it is newer.
    listed: BTreeMap<u64, Vec<PositionEntry>>,
    /// Number of marked files that are not in a journal.
    unwritten: usize,
}

#[derive(Clone, Copy)]
struct PreviousFile {
    entry: FileEntry,
    /// Whether it is in the journal that source offsets name.
    written: bool,
}

/// The offset where reading of a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResumeOffset {
    pub(super) pos: u64,
    pub(super) ending: Option<TailChecksum>,
    /// Whether the journal contains it.
    pub(super) written: bool,
    /// Whether the file was rewritten since.
    pub(super) rewritten: bool,
}

impl PreviousFiles {
    /// Adds files of the journal, or of a later source offset.
    pub(super) fn mark(&mut self, entries: impl IntoIterator<Item = FileEntry>, written: bool) {
        for entry in entries {
            let of_inode = self.marked.entry(entry.identity.inode).or_default();
            let device = entry.identity.device;
            let same = |known: &PreviousFile| known.entry.identity.device == device;
            // A later entry replaces that of the journal.
            of_inode.retain(|known| !same(known) || !known.written || written);
            of_inode.push(PreviousFile { entry, written });
            self.unwritten += usize::from(!written);
        }
    }

    /// Adds the entries of Flume's position file.
    pub(super) fn list(&mut self, lines: Vec<PositionEntry>) {
        for line in lines {
            self.listed.entry(line.inode).or_default().push(line);
        }
    }

    /// Adds those entries of Flume's position file for which nothing else is known.
    pub(super) fn list_missing(&mut self, lines: Vec<PositionEntry>) {
        let marked = |line: &PositionEntry| self.marked.contains_key(&line.inode);
        let missing = lines.into_iter().filter(|line| !marked(line)).collect();
        self.list(missing);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn listed(&self) -> impl Iterator<Item = &PositionEntry> {
        self.listed.values().flatten()
    }

    /// Returns whether no checksum is known by which a renamed file could be recognised.
    pub(super) fn has_no_prints(&self) -> bool {
        self.marked.is_empty()
    }

    pub(super) fn has_print_of(&self, inode: u64) -> bool {
        let of_inode = self.marked.get(&inode);
        of_inode.is_some_and(|marked| marked.iter().any(|m| m.entry.identity.print.len > 0))
    }

    /// Compares the file to the known ones.
    pub(super) fn likeness(
        &self,
        now: &FileIdentity,
        opened: &File,
        start: &[u8],
    ) -> io::Result<FileMatch> {
        Ok(self.best(now, opened, start)?.map_or(FileMatch::Other, |(_, like)| like))
    }

    /// Removes and returns the offset of the file.
    pub(super) fn find(
        &mut self,
        now: &FileIdentity,
        file: &MatchedFile,
        opened: &File,
        start: &[u8],
    ) -> io::Result<Option<ResumeOffset>> {
        // A file created since is another one, whatever its inode and beginning.
        if file.is_new {
            return Ok(None);
        }
        if let Some(line) = self.line(now.inode, &file.path) {
            let marked = self.marked.remove(&now.inode).unwrap_or_default();
            self.unwritten -= marked.iter().filter(|marked| !marked.written).count();
            return Ok(Some(ResumeOffset {
                pos: line.pos,
                ending: None,
                written: false,
                rewritten: false,
            }));
        }
        let Some((at, like)) = self.best(now, opened, start)? else { return Ok(None) };
        let Some(of_inode) = self.marked.get_mut(&now.inode) else { return Ok(None) };
        let PreviousFile { entry, written } = of_inode.swap_remove(at);
        if of_inode.is_empty() {
            self.marked.remove(&now.inode);
        }
        self.unwritten -= usize::from(!written);
        let ending = entry.identity.ending.filter(|ending| ending.at == entry.pos);
        let rewritten = like == FileMatch::Rewritten;
        Ok(Some(ResumeOffset { pos: entry.pos, ending, written, rewritten }))
    }

    fn line(&mut self, inode: u64, path: &Path) -> Option<PositionEntry> {
        let path = files::absolute(path);
        let lines = self.listed.get_mut(&inode)?;
        let at = lines.iter().position(|line| Path::new(&line.file) == path)?;
        let line = lines.swap_remove(at);
        if lines.is_empty() {
            self.listed.remove(&inode);
        }
        Some(line)
    }

    /// Returns the index of the best match among the files with that inode.
    fn best(
        &self,
        now: &FileIdentity,
        opened: &File,
        start: &[u8],
    ) -> io::Result<Option<(usize, FileMatch)>> {
        let mut best: Option<(usize, FileMatch, bool)> = None;
        for (at, marked) in self.marked.get(&now.inode).into_iter().flatten().enumerate() {
            let like = marked.entry.identity.compare(now, opened, start)?;
            let here = marked.entry.identity.device == now.device;
            let better = match best {
                _ if like == FileMatch::Other => false,
                None => true,
                Some((_, FileMatch::Rewritten, _)) if like == FileMatch::Same => true,
                Some((_, known, was_here)) => known == like && here && !was_here,
            };
            if better {
                best = Some((at, like, here));
            }
        }
        Ok(best.map(|(at, like, _)| (at, like)))
    }

    /// Returns the files that are in no journal.
    pub(super) fn unwritten(&self) -> impl Iterator<Item = FileEntry> {
        let marked = self.marked.values().flatten();
        marked.filter(|marked| !marked.written).map(|marked| marked.entry)
    }

    pub(super) fn unwritten_count(&self) -> usize {
        self.unwritten
    }

    /// Returns all files, or those that are in no journal.
    pub(super) fn entries(&self, all: bool) -> Vec<FileEntry> {
        let marked = self.marked.values().flatten();
        marked.filter(|marked| all || !marked.written).map(|marked| marked.entry).collect()
    }

    /// Records that the journal contains all of them.
    pub(super) fn written(&mut self) {
        self.marked.values_mut().flatten().for_each(|marked| marked.written = true);
        self.unwritten = 0;
    }
}
