//! Files of an earlier life that have not been seen yet, and where they were left.

use super::group::Matched;
use super::identity::{Ending, Identity, Likeness};
use super::place::Entry;
use super::position_file::Line;
use crate::base::files;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

/// What was known of files before this life, by their numbers.
#[derive(Default)]
pub(super) struct Known {
    /// By their channels.
    marked: BTreeMap<u64, Vec<Marked>>,
    /// By Flume's position file, where that knows better.
    listed: BTreeMap<u64, Vec<Line>>,
    /// Of the marked ones, those that are in no journal.
    unwritten: usize,
}

#[derive(Clone, Copy)]
struct Marked {
    entry: Entry,
    /// It is in the journal that positions name.
    written: bool,
}

/// Where a file was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) pos: u64,
    pub(super) ending: Option<Ending>,
    /// The journal says so.
    pub(super) written: bool,
    /// It was written anew since.
    pub(super) rewritten: bool,
}

impl Known {
    /// Takes in files of the journal, or of a position that is later than that.
    pub(super) fn mark(&mut self, entries: impl IntoIterator<Item = Entry>, written: bool) {
        for entry in entries {
            let of_inode = self.marked.entry(entry.identity.inode).or_default();
            let device = entry.identity.device;
            let same = |known: &Marked| known.entry.identity.device == device;
            // What is later takes the place of what the journal has.
            of_inode.retain(|known| !same(known) || !known.written || written);
            of_inode.push(Marked { entry, written });
            self.unwritten += usize::from(!written);
        }
    }

    /// Takes in what Flume's position file says.
    pub(super) fn list(&mut self, lines: Vec<Line>) {
        for line in lines {
            self.listed.entry(line.inode).or_default().push(line);
        }
    }

    /// The same of files that nothing else is known of.
    pub(super) fn list_missing(&mut self, lines: Vec<Line>) {
        let marked = |line: &Line| self.marked.contains_key(&line.inode);
        let missing = lines.into_iter().filter(|line| !marked(line)).collect();
        self.list(missing);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn listed(&self) -> impl Iterator<Item = &Line> {
        self.listed.values().flatten()
    }

    /// Nothing is known by which a file could be recognised that has another name.
    pub(super) fn has_no_prints(&self) -> bool {
        self.marked.is_empty()
    }

    pub(super) fn has_print_of(&self, inode: u64) -> bool {
        let of_inode = self.marked.get(&inode);
        of_inode.is_some_and(|marked| marked.iter().any(|m| m.entry.identity.print.len > 0))
    }

    /// What the file is to those that are known.
    pub(super) fn likeness(
        &self,
        now: &Identity,
        opened: &File,
        start: &[u8],
    ) -> io::Result<Likeness> {
        Ok(self.best(now, opened, start)?.map_or(Likeness::Other, |(_, like)| like))
    }

    /// Where the file was left, which is forgotten here.
    pub(super) fn find(
        &mut self,
        now: &Identity,
        file: &Matched,
        opened: &File,
        start: &[u8],
    ) -> io::Result<Option<Left>> {
        // One that was made since is another, whatever number it got and however it begins.
        if file.is_new {
            return Ok(None);
        }
        if let Some(line) = self.line(now.inode, &file.path) {
            let marked = self.marked.remove(&now.inode).unwrap_or_default();
            self.unwritten -= marked.iter().filter(|marked| !marked.written).count();
            return Ok(Some(Left {
                pos: line.pos,
                ending: None,
                written: false,
                rewritten: false,
            }));
        }
        let Some((at, like)) = self.best(now, opened, start)? else { return Ok(None) };
        let Some(of_inode) = self.marked.get_mut(&now.inode) else { return Ok(None) };
        let Marked { entry, written } = of_inode.swap_remove(at);
        if of_inode.is_empty() {
            self.marked.remove(&now.inode);
        }
        self.unwritten -= usize::from(!written);
        let ending = entry.identity.ending.filter(|ending| ending.at == entry.pos);
        let rewritten = like == Likeness::Rewritten;
        Ok(Some(Left { pos: entry.pos, ending, written, rewritten }))
    }

    fn line(&mut self, inode: u64, path: &Path) -> Option<Line> {
        let path = files::absolute(path);
        let lines = self.listed.get_mut(&inode)?;
        let at = lines.iter().position(|line| Path::new(&line.file) == path)?;
        let line = lines.swap_remove(at);
        if lines.is_empty() {
            self.listed.remove(&inode);
        }
        Some(line)
    }

    /// The place among the files of that number of the one that it most likely is.
    fn best(
        &self,
        now: &Identity,
        opened: &File,
        start: &[u8],
    ) -> io::Result<Option<(usize, Likeness)>> {
        let mut best: Option<(usize, Likeness, bool)> = None;
        for (at, marked) in self.marked.get(&now.inode).into_iter().flatten().enumerate() {
            let like = marked.entry.identity.compare(now, opened, start)?;
            let here = marked.entry.identity.device == now.device;
            let better = match best {
                _ if like == Likeness::Other => false,
                None => true,
                Some((_, Likeness::Rewritten, _)) if like == Likeness::Same => true,
                Some((_, known, was_here)) => known == like && here && !was_here,
            };
            if better {
                best = Some((at, like, here));
            }
        }
        Ok(best.map(|(at, like, _)| (at, like)))
    }

    /// Those that are in no journal.
    pub(super) fn unwritten(&self) -> impl Iterator<Item = Entry> {
        let marked = self.marked.values().flatten();
        marked.filter(|marked| !marked.written).map(|marked| marked.entry)
    }

    pub(super) fn unwritten_count(&self) -> usize {
        self.unwritten
    }

    /// All, or those that are in no journal.
    pub(super) fn entries(&self, all: bool) -> Vec<Entry> {
        let marked = self.marked.values().flatten();
        marked.filter(|marked| all || !marked.written).map(|marked| marked.entry).collect()
    }

    /// The journal has all of them.
    pub(super) fn written(&mut self) {
        self.marked.values_mut().flatten().for_each(|marked| marked.written = true);
        self.unwritten = 0;
    }
}
