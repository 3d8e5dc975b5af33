//! Block memory: aligned anonymous maps, written by many committers at disjoint places.
//!
//! A slab is one map, lent by a [`SlabPool`]. An [`AreaWriter`] cuts areas out of it, [`Span`] by span; each span is
//! the sole right to write its bytes and is moved to the thread that fills it. When the area is closed and every span
//! of it has been dropped, and only then, [`Area::bytes`] makes the whole readable. So the drop of a span is the fill
//! count of the log: a writer that was dropped half-way still counts, and every write happens before a read.
//!
//! # Unsafe
//!
//! This is a listed file. Its safety rests on two facts:
//!
//! * *Disjoint.* A byte belongs to at most one span: spans are made only by
//!   [`AreaWriter::reserve`], which moves the slab's bump offset forward under `&mut self` of
//!   the slab's only writer, and a span is not `Clone`. A slab's map is used again only after
//!   the slab was dropped, and spans, areas and the writer each keep the slab alive.
//! * *Published.* A shared view is made only when the dropped bytes equal the area's length.
//!   Each drop adds with `Release`, the reader loads with `Acquire`: every write to the area
//!   happens before the view, and no span is left that could write.
//!
//! In builds with debug assertions `ledger.rs` checks each access against both.
#![allow(unsafe_code)]

use super::ledger::Ledger;
use crate::base::atomic::{AtomicUsize, Ordering};
use crate::base::lock_rank::{LockRank, RankedGuard};
use memmap2::MmapMut;
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

/// The pool of slabs of block memory.
///
/// Grows under load. Keeps unused slabs while the total is below a number of bytes, and always two: if slabs return as
/// fast as others are requested, none is mapped again.
#[derive(Clone, Debug)]
pub struct SlabPool(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    slab_bytes: usize,
    keep_bytes_max: usize,
    live_bytes: AtomicUsize,
    idle: Mutex<Vec<MmapMut>>,
    /// Length of `idle`, to be read without its lock.
    idle_slabs: AtomicUsize,
    /// One larger map, made in advance.
    large: Mutex<Option<MmapMut>>,
    #[cfg(test)]
    refusals: AtomicUsize,
}

/// One map of anonymous memory, page-aligned; returns to its pool when it is no longer used.
#[derive(Debug)]
struct Slab {
    base: NonNull<u8>,
    len: usize,
    map: Option<MmapMut>,
    pool: Arc<Pool>,
    ledger: Ledger,
}

// SAFETY: plain bytes owned by the map; access is governed by spans and areas, see above.
unsafe impl Send for Slab {}
// SAFETY: `&Slab` alone gives no access to any byte.
unsafe impl Sync for Slab {}

impl SlabPool {
    /// Returns a pool of slabs of `slab_bytes` that keeps unused ones while used and unused ones are at most
    /// `keep_bytes_max` together, or the unused ones two.
    #[must_use]
    pub fn new(slab_bytes: usize, keep_bytes_max: usize) -> Self {
        let (live_bytes, idle_slabs) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (idle, large) = Default::default();
        Self(Arc::new(Pool {
            slab_bytes,
            keep_bytes_max,
            live_bytes,
            idle,
            idle_slabs,
            large,
            #[cfg(test)]
            refusals: AtomicUsize::default(),
        }))
    }

    /// Refuses the next `times` requests for memory.
    #[cfg(test)]
    pub(crate) fn refuse(&self, times: usize) {
        self.0.refusals.store(times, Ordering::SeqCst);
    }

    /// Returns the bytes of all slabs in use, also of those that only an event's body pins.
    #[must_use]
    pub fn live_bytes(&self) -> usize {
        self.0.live_bytes.load(Ordering::Relaxed)
    }

    /// Returns a writer over a slab of at least `len` bytes (the pool's own size if that is larger). The initial
    /// content is unspecified.
    ///
    /// # Errors
    /// The operating system has no memory left.
    pub fn writer(&self, len: usize) -> io::Result<AreaWriter> {
        #[cfg(test)]
        if self.0.refusals.load(Ordering::SeqCst) > 0 {
            self.0.refusals.fetch_sub(1, Ordering::SeqCst);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let len = len.max(self.0.slab_bytes);
        let mut map = match self.0.take_unused(len) {
            Some(map) => map,
            None => map_slab(len)?,
        };
        let len = map.len();
        self.0.live_bytes.fetch_add(len, Ordering::Relaxed);
        let base = NonNull::from(&mut map[..]).cast::<u8>();
        let (map, pool, ledger) = (Some(map), Arc::clone(&self.0), Ledger::default());
        let slab = Slab { base, len, map, pool, ledger };
        Ok(AreaWriter { slab: Arc::new(slab), start: 0, len: 0, dropped: Arc::default() })
    }
}

impl SlabPool {
    /// Maps a slab of at least `len` bytes, unless one is unused. Called without a lock, so that [`SlabPool::writer`]
    /// maps nothing under one. Where there is no memory, that says so.
    pub fn stock(&self, len: usize) {
        let Pool { slab_bytes, idle_slabs, .. } = &*self.0;
        let is_short = |large: &Option<MmapMut>| large.as_ref().is_none_or(|map| map.len() < len);
        if len <= *slab_bytes {
            if idle_slabs.load(Ordering::Relaxed) == 0
                && let Ok(map) = map_slab(*slab_bytes)
            {
                let mut idle = self.0.idle();
                idle.push(map);
                idle_slabs.store(idle.len(), Ordering::Relaxed);
            }
        } else if is_short(&self.0.large())
            && let Ok(map) = map_slab(len)
        {
            let old = self.0.large().replace(map);
            // Unmapped without the lock.
            drop(old);
        }
    }
}

impl Pool {
    fn idle(&self) -> RankedGuard<'_, Vec<MmapMut>> {
        LockRank::SlabPool.lock(&self.idle)
    }

    fn large(&self) -> RankedGuard<'_, Option<MmapMut>> {
        LockRank::SlabPool.lock(&self.large)
    }

    fn take_unused(&self, len: usize) -> Option<MmapMut> {
        if len > self.slab_bytes {
            return self.large().take_if(|map| map.len() >= len);
        }
        let mut idle = self.idle();
        let map = idle.pop();
        self.idle_slabs.store(idle.len(), Ordering::Relaxed);
        map
    }
}

fn map_slab(len: usize) -> io::Result<MmapMut> {
    #[cfg(test)]
    MAPPED_UNDER_LOG.set(MAPPED_UNDER_LOG.get() + usize::from(LockRank::Log.is_held()));
    let map = MmapMut::map_anon(len)?;
    // Fewer faults at the first write, fewer pages to pin for each write. Advice only: without large pages everything
    // works, but slower.
    if !cfg!(miri) {
        let _ = map.advise(memmap2::Advice::HugePage);
    }
    Ok(map)
}

#[cfg(test)]
thread_local! {
    /// Maps that this thread made while it held the log's lock.
    pub(crate) static MAPPED_UNDER_LOG: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Drop for Slab {
    fn drop(&mut self) {
        let Pool { slab_bytes, keep_bytes_max, .. } = *self.pool;
        let live = self.pool.live_bytes.fetch_sub(self.len, Ordering::Relaxed) - self.len;
        let room = keep_bytes_max.saturating_sub(live).max(keep_bytes_max.min(2 * slab_bytes));
        let mut idle = self.pool.idle();
        let kept = (idle.len() + 1) * slab_bytes;
        if self.len == slab_bytes && kept <= room {
            idle.extend(self.map.take());
            self.pool.idle_slabs.store(idle.len(), Ordering::Relaxed);
        }
    }
}

/// Cuts areas out of a slab in sequence. A slab has one writer.
#[derive(Debug)]
pub struct AreaWriter {
    slab: Arc<Slab>,
    start: usize,
    len: usize,
    dropped: Arc<AtomicUsize>,
}

/// The sole right to write some bytes of an area.
#[derive(Debug)]
pub struct Span {
    slab: Arc<Slab>,
    start: usize,
    len: usize,
    dropped: Arc<AtomicUsize>,
}

/// A closed area: readable once every span of it was dropped.
#[derive(Debug)]
pub struct Area {
    slab: Arc<Slab>,
    start: usize,
    len: usize,
    dropped: Arc<AtomicUsize>,
}

impl AreaWriter {
    /// Returns the bytes of the current area so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the current area has no bytes yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes left in the slab.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.slab.len - self.start - self.len
    }

    /// Adds the next `len` bytes to the current area, or nothing if fewer remain.
    #[must_use]
    pub fn reserve(&mut self, len: usize) -> Option<Span> {
        if len > self.remaining() {
            return None;
        }
        let start = self.start + self.len;
        self.len += len;
        self.slab.ledger.lend(start, len, self.slab.len);
        Some(Span { slab: Arc::clone(&self.slab), start, len, dropped: Arc::clone(&self.dropped) })
    }

    /// Closes the current area and begins the next one after it.
    #[must_use]
    pub fn close(&mut self) -> Area {
        let area = Area {
            slab: Arc::clone(&self.slab),
            start: self.start,
            len: self.len,
            dropped: std::mem::take(&mut self.dropped),
        };
        self.start += self.len;
        self.len = 0;
        area
    }
}

impl Span {
    /// Returns its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes, for writing; their initial content is unspecified.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.slab.ledger.write(self.start, self.len);
        // SAFETY: inside the slab by `AreaWriter::reserve`; disjoint from every other span; no
        // shared view exists before this span is dropped; borrowed mutably here.
        unsafe {
            let base = self.slab.base.as_ptr().add(self.start);
            std::slice::from_raw_parts_mut(base, self.len)
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // First: a reader that sees the count may read at once.
        self.slab.ledger.give_back(self.start, self.len);
        self.dropped.fetch_add(self.len, Ordering::Release);
    }
}

impl Area {
    /// Returns its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes once every span was dropped; `None` while some are still being written.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        if self.dropped.load(Ordering::Acquire) != self.len {
            return None;
        }
        self.slab.ledger.read(self.start, self.len, self.slab.len);
        // SAFETY: inside the slab by construction; all spans of the area are dropped and the load above synchronises
        // with their drops, so nothing writes these bytes; the region stays mapped while `self.slab` lives, which
        // outlives the borrow of `self`.
        unsafe {
            let base = self.slab.base.as_ptr().add(self.start);
            Some(std::slice::from_raw_parts(base, self.len))
        }
    }
}

impl AsRef<[u8]> for Area {
    /// Returns the bytes of a filled area.
    ///
    /// # Panics
    /// Some bytes are still being written; an area is shared as bytes only after [`Area::bytes`] has returned them.
    fn as_ref(&self) -> &[u8] {
        self.bytes().expect("an area is shared as bytes only after it was seen filled")
    }
}

/// Every interleaving of the writers and the reader.
#[cfg(all(test, millpond_loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::thread;

    /// Loom does not watch the bytes; so each writer also changes a cell that it watches, while it holds its span. If
    /// the count let a reader in too early, or without synchronising with a writer, loom would report the two accesses.
    #[test]
    fn a_view_exists_only_after_every_write() {
        loom::model(|| {
            let cells = loom::sync::Arc::new([UnsafeCell::new(0u8), UnsafeCell::new(0u8)]);
            let mut writer = SlabPool::new(4096, 0).writer(4096).expect("memory");
            let spans = [writer.reserve(8).expect("room"), writer.reserve(8).expect("room")];
            let area = writer.close();
            let threads: Vec<_> = spans
                .into_iter()
                .enumerate()
                .map(|(n, mut span)| {
                    let cells = loom::sync::Arc::clone(&cells);
                    thread::spawn(move || {
                        span.bytes_mut().fill(n as u8 + 1);
                        // SAFETY: loom's cell checks the access, which is the purpose of the test.
                        cells[n].with_mut(|cell| unsafe { *cell = n as u8 + 1 });
                    })
                })
                .collect();
            if let Some(bytes) = area.bytes() {
                assert_eq!((bytes[0], bytes[8]), (1, 2));
                for (n, cell) in cells.iter().enumerate() {
                    // SAFETY: as above.
                    cell.with(|cell| assert_eq!(unsafe { *cell }, n as u8 + 1));
                }
            }
            threads.into_iter().for_each(|t| t.join().unwrap());
            assert!(area.bytes().is_some(), "all spans are dropped");
        });
    }
}

#[cfg(all(test, not(millpond_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_area_reads_only_when_every_span_was_dropped() {
        let mut writer = SlabPool::new(8192, 8192).writer(0).expect("memory");
        let mut a = writer.reserve(4000).expect("room");
        let mut b = writer.reserve(96).expect("room");
        let first = writer.close();
        assert!(writer.reserve(4097).is_none());
        let mut c = writer.reserve(4096).expect("room");
        assert_eq!(writer.remaining(), 0);
        a.bytes_mut().fill(1);
        b.bytes_mut().fill(2);
        c.bytes_mut().fill(3);
        drop(a);
        assert!(first.bytes().is_none());
        drop(b);
        let bytes = first.bytes().expect("filled");
        assert_eq!((bytes.len(), bytes[0], bytes[4000]), (4096, 1, 2));
        let second = writer.close();
        assert!(second.bytes().is_none());
        drop(c);
        assert_eq!(second.as_ref(), [3u8; 4096]);
    }

    #[test]
    fn many_threads_fill_one_area() {
        let mut writer = SlabPool::new(4096, 0).writer(64 * 1024).expect("memory");
        let spans: Vec<_> = (0..16).map(|_| writer.reserve(4096).expect("room")).collect();
        let area = writer.close();
        std::thread::scope(|scope| {
            for (i, mut span) in spans.into_iter().enumerate() {
                scope.spawn(move || span.bytes_mut().fill(i as u8));
            }
            while area.bytes().is_none() {
                std::thread::yield_now();
            }
            let bytes = area.bytes().expect("filled");
            assert!(bytes.iter().enumerate().all(|(at, b)| *b == (at / 4096) as u8));
        });
    }

    #[test]
    fn a_slab_returns_to_its_pool_when_the_last_user_is_gone() {
        let pool = SlabPool::new(8192, 8192);
        let mut writer = pool.writer(0).expect("memory");
        let span = writer.reserve(10).expect("room");
        let area = writer.close();
        drop(writer);
        drop(span);
        assert_eq!(pool.live_bytes(), 8192);
        drop(area);
        assert_eq!((pool.live_bytes(), pool.0.idle().len()), (0, 1));
        let (one, two) = (pool.writer(0).expect("memory"), pool.writer(0).expect("memory"));
        drop((one, two));
        assert_eq!(pool.0.idle().len(), 1, "the second is given back to the system");
    }

    #[test]
    fn what_is_stocked_is_used_first_and_a_large_slab_only_for_a_large_request() {
        let pool = SlabPool::new(8192, 0);
        pool.stock(0);
        pool.stock(20_000);
        pool.stock(12_000);
        pool.stock(0);
        assert_eq!((pool.live_bytes(), pool.0.idle().len()), (0, 1), "one is enough");
        let large = pool.writer(16_000).expect("memory");
        assert_eq!(large.remaining(), 20_000, "the larger one was kept");
        let small = pool.writer(1).expect("memory");
        assert_eq!((small.remaining(), pool.0.idle().len()), (8192, 0));
        assert!(pool.0.large().is_none());
        pool.stock(0);
        assert_eq!(pool.0.idle().len(), 1);
    }

    #[test]
    fn slabs_in_use_and_unused_ones_stay_within_the_pool_s_bytes_together() {
        let pool = SlabPool::new(4096, 10 * 4096);
        let slabs = |n| (0..n).map(|_| pool.writer(0).expect("memory")).collect::<Vec<_>>();
        let (nine, rest) = (slabs(9), slabs(6));
        drop(rest);
        assert_eq!(pool.0.idle().len(), 2, "kept for the next requests");
        drop(nine);
        assert_eq!(pool.0.idle().len(), 10);
    }
}
