//! An allocator that can say how much memory some work takes.

use std::{
    alloc::{GlobalAlloc, Layout},
    sync::atomic::{AtomicBool, AtomicIsize, Ordering},
};

/// An allocator that hands everything to another one and, between [`start`](Self::start) and [`stop`](Self::stop),
/// counts the bytes asked for.
///
/// While it does not count, a call costs one read of a flag that nobody writes. All threads are counted together; what
/// is freed counts as given back even where it was allocated before the start.
///
/// # Example
///
/// ```
/// use crossbatch_math::counting::Counting;
/// use std::alloc::System;
///
/// #[global_allocator]
/// static ALLOCATOR: Counting<System> = Counting::new(System);
///
/// ALLOCATOR.start();
/// drop(vec![0u8; 5000]);
/// drop(vec![0u8; 7000]);
/// let peak = ALLOCATOR.stop();
/// assert!((7000..9000).contains(&peak), "the two were never there together: {peak}");
/// ```
#[derive(Debug)]
pub struct Counting<A> {
    inner: A,
    counts: AtomicBool,
    current: AtomicIsize,
    peak: AtomicIsize,
}

impl<A> Counting<A> {
    /// Wraps `inner`; nothing is counted yet.
    pub const fn new(inner: A) -> Self {
        Self {
            inner,
            counts: AtomicBool::new(false),
            current: AtomicIsize::new(0),
            peak: AtomicIsize::new(0),
        }
    }

    /// Counts from here on, from 0.
    pub fn start(&self) {
        self.current.store(0, Ordering::Relaxed);
        self.peak.store(0, Ordering::Relaxed);
        self.counts.store(true, Ordering::SeqCst);
    }

    /// Ends the count; returns the most bytes that were in use at once beyond those at the start.
    pub fn stop(&self) -> usize {
        self.counts.store(false, Ordering::SeqCst);
        // Never negative: it starts at 0 and only rises.
        self.peak.load(Ordering::Relaxed).unsigned_abs()
    }

    fn add(&self, bytes: usize) {
        if self.counts.load(Ordering::Relaxed) {
            // No allocation is larger than isize::MAX.
            let bytes = bytes.cast_signed();
            let current = self.current.fetch_add(bytes, Ordering::Relaxed) + bytes;
            self.peak.fetch_max(current, Ordering::Relaxed);
        }
    }

    fn subtract(&self, bytes: usize) {
        if self.counts.load(Ordering::Relaxed) {
            self.current.fetch_sub(bytes.cast_signed(), Ordering::Relaxed);
        }
    }
}

// SAFETY: every call goes to `inner` as it came, which keeps the contract; counting touches only atomics, never
// allocates and never unwinds.
#[allow(unsafe_code)]
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.add(layout.size());
        // SAFETY: the caller's promises are `inner`'s.
        unsafe { self.inner.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.add(layout.size());
        // SAFETY: the caller's promises are `inner`'s.
        unsafe { self.inner.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.subtract(layout.size());
        // SAFETY: the caller's promises are `inner`'s.
        unsafe { self.inner.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // A block that has to move is there twice while it does.
        self.add(size);
        self.subtract(layout.size());
        // SAFETY: the caller's promises are `inner`'s.
        unsafe { self.inner.realloc(block, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::System;

    /// A block of `size` bytes from `allocator`.
    #[allow(unsafe_code)]
    fn block(allocator: &Counting<System>, size: usize) -> (*mut u8, Layout) {
        let layout = Layout::from_size_align(size, 8).unwrap();
        // SAFETY: the layout has a size.
        (unsafe { allocator.alloc(layout) }, layout)
    }

    #[allow(unsafe_code)]
    fn free(allocator: &Counting<System>, (block, layout): (*mut u8, Layout)) {
        // SAFETY: the block came from this allocator with this layout.
        unsafe { allocator.dealloc(block, layout) }
    }

    #[test]
    fn the_peak_is_of_what_is_there_at_once_since_the_start() {
        let allocator = Counting::new(System);
        let before = block(&allocator, 1000);
        allocator.start();
        let first = block(&allocator, 100);
        free(&allocator, first);
        let second = block(&allocator, 300);
        free(&allocator, second);
        assert_eq!(allocator.stop(), 300);

        // What was there before and goes makes room, but no debt.
        allocator.start();
        free(&allocator, before);
        let third = block(&allocator, 400);
        assert_eq!(allocator.stop(), 0);
        free(&allocator, third);
    }

    #[test]
    #[allow(unsafe_code)]
    fn a_block_that_grows_is_counted_while_it_moves() {
        let allocator = Counting::new(System);
        allocator.start();
        let (old, layout) = block(&allocator, 100);
        // SAFETY: the block came from this allocator with this layout; the size is not 0.
        let grown = unsafe { allocator.realloc(old, layout, 250) };
        assert_eq!(allocator.stop(), 350);
        free(&allocator, (grown, Layout::from_size_align(250, 8).unwrap()));
    }
}
