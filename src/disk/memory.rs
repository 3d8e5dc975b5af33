//! Block memory: aligned anonymous maps, written by many committers at disjoint places.
//!
//! A slab is one map, lent by a [`SlabPool`]. An [`AreaWriter`] cuts areas out of it, [`Span`] by span;
//! each span is the sole right to write its bytes and is handed to the thread that fills it.
//! When the area is closed and every span of it has been dropped, and only then,
//! [`Area::bytes`] gives the whole to read. So the drop of a span is the fill count of the log:
//! a writer that was dropped half-way still counts, and whoever wrote first is visible to
//! whoever reads.
//!
//! # Unsafe
//!
//! This is a listed file. Two facts carry it:
//!
//! * *Disjoint.* A byte belongs to at most one span: spans are made only by
//!   [`AreaWriter::reserve`], which moves the slab's bump offset forward under `&mut self` of
//!   the slab's only writer, and a span is not `Clone`. A slab's map is used again only after
//!   the slab was dropped, and spans, areas and the writer each keep the slab alive.
//! * *Published.* A shared view is made only when the dropped bytes equal the area's length.
//!   Each drop adds with `Release`, the reader loads with `Acquire`: every write to the area
//!   happens before the view, and no span is left that could write.
//!
//! In builds with debug assertions `ledger.rs` holds each access against both.
#![allow(unsafe_code)]

use super::ledger::Ledger;
use crate::base::atomic::{AtomicUsize, Ordering};
use memmap2::MmapMut;
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where slabs of block memory come from and return to.
///
/// Grows under load. Keeps unused slabs as long as all together stay below a number of bytes, and two in
/// any case: of slabs that come back as quickly as others are asked for, none is mapped anew.
#[derive(Clone, Debug)]
pub struct SlabPool(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    slab_bytes: usize,
    keep_bytes_max: usize,
    live_bytes: AtomicUsize,
    idle: Mutex<Vec<MmapMut>>,
    #[cfg(test)]
    refusals: AtomicUsize,
}

/// One map of anonymous memory, page-aligned; returns to its pool when nobody uses it.
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
    /// A pool of slabs of `slab_bytes` that keeps unused ones while they and those in use are at most
    /// `keep_bytes_max` together, or the unused ones two.
    #[must_use]
    pub fn new(slab_bytes: usize, keep_bytes_max: usize) -> Self {
        let (live_bytes, idle) = (AtomicUsize::new(0), Mutex::default());
        Self(Arc::new(Pool {
            slab_bytes,
            keep_bytes_max,
            live_bytes,
            idle,
            #[cfg(test)]
            refusals: AtomicUsize::default(),
        }))
    }

    /// The next `times` that memory is asked for there is none.
    #[cfg(test)]
    pub(crate) fn refuse(&self, times: usize) {
        self.0.refusals.store(times, Ordering::SeqCst);
    }

    /// Bytes of all slabs in use, also of those that only an event's body still pins.
    #[must_use]
    pub fn live_bytes(&self) -> usize {
        self.0.live_bytes.load(Ordering::Relaxed)
    }

    /// A writer over a slab of at least `len` bytes (the pool's own size if that is larger).
    /// What the bytes hold is unspecified.
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
        let idle = if len == self.0.slab_bytes { self.0.idle().pop() } else { None };
        let mut map = match idle {
            Some(map) => map,
            None => {
                let map = MmapMut::map_anon(len)?;
                // Fewer faults when it is first written, fewer pages to pin for each write. It
                // is advice: without large pages everything is the same and slower.
                if !cfg!(miri) {
                    let _ = map.advise(memmap2::Advice::HugePage);
                }
                map
            }
        };
        self.0.live_bytes.fetch_add(len, Ordering::Relaxed);
        let base = NonNull::from(&mut map[..]).cast::<u8>();
        let (map, pool, ledger) = (Some(map), Arc::clone(&self.0), Ledger::default());
        let slab = Slab { base, len, map, pool, ledger };
        Ok(AreaWriter { slab: Arc::new(slab), start: 0, len: 0, dropped: Arc::default() })
    }
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<MmapMut>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        }
    }
}

/// Cuts areas out of a slab, one behind the other. A slab has one writer.
#[derive(Debug)]
pub struct AreaWriter {
    slab: Arc<Slab>,
    start: usize,
    len: usize,
    dropped: Arc<AtomicUsize>,
}

/// Sole right to write some bytes of an area.
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
    /// Bytes that the present area has so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the present area has no bytes yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the slab still has.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.slab.len - self.start - self.len
    }

    /// Adds the next `len` bytes to the present area, or nothing if fewer remain.
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

    /// Closes the present area and begins the next one behind it.
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
    /// Its length, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes, to write; what they hold before is unspecified.
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
        // First: whoever sees the count may read at once.
        self.slab.ledger.give_back(self.start, self.len);
        self.dropped.fetch_add(self.len, Ordering::Release);
    }
}

impl Area {
    /// Its length, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes, once every span was dropped; `None` while someone still writes.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        if self.dropped.load(Ordering::Acquire) != self.len {
            return None;
        }
        self.slab.ledger.read(self.start, self.len, self.slab.len);
        // SAFETY: inside the slab by construction; all spans of the area are dropped and the
        // load above synchronises with their drops, so nobody writes these bytes; the region
        // stays mapped while `self.slab` lives, which the borrow of `self` outlives not.
        unsafe {
            let base = self.slab.base.as_ptr().add(self.start);
            Some(std::slice::from_raw_parts(base, self.len))
        }
    }
}

impl AsRef<[u8]> for Area {
    /// The bytes of a filled area.
    ///
    /// # Panics
    /// Someone still writes; whoever shares an area as bytes has seen [`Area::bytes`] answer.
    fn as_ref(&self) -> &[u8] {
        self.bytes().expect("an area is shared as bytes only after it was seen filled")
    }
}

/// Every order in which those who write and the one who reads can run.
#[cfg(all(test, millpond_loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::thread;

    /// Beside the bytes, which loom does not watch, each writer changes a cell that it does watch
    /// while it holds its span: were the count to let a reader in too early, or without having
    /// synchronised with a writer, loom would report the two accesses.
    #[test]
    fn a_view_exists_only_behind_every_write() {
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
                        // SAFETY: loom's cell checks the access, which is what the test is for.
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
    fn slabs_in_use_and_unused_ones_stay_within_the_pool_s_bytes_together() {
        let pool = SlabPool::new(4096, 10 * 4096);
        let slabs = |n| (0..n).map(|_| pool.writer(0).expect("memory")).collect::<Vec<_>>();
        let (nine, rest) = (slabs(9), slabs(6));
        drop(rest);
        assert_eq!(pool.0.idle().len(), 2, "for those that are asked for next");
        drop(nine);
        assert_eq!(pool.0.idle().len(), 10);
    }
}
