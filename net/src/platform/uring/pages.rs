//! Memory for direct I/O: aligned, and where the kernel has huge pages to give, inside one.
//!
//! What the disk is asked for in base pages is a list of as many pieces as pages: each is pinned by itself, and a virtual
//! disk's queue of 256 pieces is full with one request of a mebibyte, behind which the journal's next write then waits.
//! Out of a huge page the same request is one piece.
//!
//! Owns an arena per thread that asks for such memory (an executor), of [`ARENA_BYTES`] of address space. It grows by one huge
//! page at a time, when it has no room, and never shrinks; what finds no room comes from the heap. The kernel clears a
//! huge page when it is first touched (`platform/memory.rs`): that is done by a blocking thread. Memory may be given
//! back on any thread, without a lock: the map of free pages is of atomic words, in which everybody else only sets bits.
//!
//! Invariant: every page of the arena is free or belongs to one [`AlignedMemory`], which keeps the arena alive; only the
//! thread whose arena it is takes pages.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::platform::blocking;

/// Alignment of memory for direct I/O, in bytes.
const ALIGNMENT: usize = 4096;
/// What transparent huge pages measure on x86-64, and on arm64 with pages of 4 KiB; elsewhere it is only a step of growth.
const HUGE_BYTES: usize = 2 << 20;
/// The most that one thread's arena takes: two runs of write-behind, the journal's group and the reads ahead fit.
const ARENA_BYTES: usize = 32 << 20;
/// Less comes from the heap: a few pages are few pieces anyway.
const LENGTH_MIN: usize = 32 << 10;
/// More comes from the heap, lest one batch take the room of everybody's.
const LENGTH_MAX: usize = 4 << 20;
const PAGES_PER_HUGE: usize = HUGE_BYTES / ALIGNMENT;
const WORD_BITS: usize = u64::BITS as usize;

/// Memory aligned to 4,096 bytes, of a fixed length.
pub struct AlignedMemory {
    start: NonNull<u8>,
    layout: Layout,
    /// Where its pages go back to; `None` is the heap.
    arena: Option<Arc<Arena>>,
}

// SAFETY: it owns its memory alone, as a boxed slice does, and nothing in it belongs to a thread.
unsafe impl Send for AlignedMemory {}
// SAFETY: through a shared reference it can only be read.
unsafe impl Sync for AlignedMemory {}

impl AlignedMemory {
    /// `length` bytes (not 0), all zero.
    pub fn zeroed(length: usize) -> AlignedMemory {
        let layout = layout(length);
        if let Some(memory) = AlignedMemory::from_arena(layout) {
            // SAFETY: the memory is `length` bytes long.
            unsafe { memory.start.write_bytes(0, length) };
            return memory;
        }
        // SAFETY: the layout's size is not 0.
        AlignedMemory::from_heap(unsafe { std::alloc::alloc_zeroed(layout) }, layout)
    }

    /// `length` bytes (not 0) of which the first `filled` hold anything and the rest zeros: for a caller who overwrites
    /// those first ones, every one of them.
    pub fn to_fill(length: usize, filled: usize) -> AlignedMemory {
        let layout = layout(length);
        let memory = AlignedMemory::from_arena(layout).unwrap_or_else(|| {
            // SAFETY: the layout's size is not 0.
            AlignedMemory::from_heap(unsafe { std::alloc::alloc(layout) }, layout)
        });
        // A caller who keeps no promise reads a pattern in tests, and what another batch left elsewhere.
        if cfg!(debug_assertions) {
            // SAFETY: the memory is `length` bytes long.
            unsafe { memory.start.write_bytes(0xa5, length) };
        }
        let filled = filled.min(length);
        // SAFETY: `filled` is within the memory.
        let rest = unsafe { memory.start.add(filled) };
        // SAFETY: as many bytes are behind it.
        unsafe { rest.write_bytes(0, length - filled) };
        memory
    }

    fn from_heap(start: *mut u8, layout: Layout) -> AlignedMemory {
        let Some(start) = NonNull::new(start) else {
            std::alloc::handle_alloc_error(layout)
        };
        AlignedMemory {
            start,
            layout,
            arena: None,
        }
    }

    fn from_arena(layout: Layout) -> Option<AlignedMemory> {
        if !(LENGTH_MIN..=LENGTH_MAX).contains(&layout.size()) {
            return None;
        }
        let arena = ARENA.with(|arena| arena.get_or_init(Arena::new).clone())?;
        let start = arena.take(layout.size().div_ceil(ALIGNMENT))?;
        Some(AlignedMemory {
            start,
            layout,
            arena: Some(arena),
        })
    }

    /// Where it begins, for the kernel to write to.
    pub(super) fn as_mut_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

fn layout(length: usize) -> Layout {
    assert!(length > 0, "memory for I/O is not empty");
    Layout::from_size_align(length, ALIGNMENT).expect("lengths are far below the address space")
}

impl Drop for AlignedMemory {
    fn drop(&mut self) {
        match &self.arena {
            Some(arena) => arena.give_back(self.start, self.layout.size().div_ceil(ALIGNMENT)),
            // SAFETY: it was allocated with this layout, and nobody uses it any more.
            None => unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) },
        }
    }
}

impl std::ops::Deref for AlignedMemory {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the memory is this long and initialised, or promised to be before anybody looks (`to_fill`).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl AsRef<[u8]> for AlignedMemory {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::ops::DerefMut for AlignedMemory {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

thread_local! {
    static ARENA: std::cell::OnceCell<Option<Arc<Arena>>> = const { std::cell::OnceCell::new() };
}

struct Arena {
    /// What was mapped: one huge page more, for the alignment.
    mapped: NonNull<libc::c_void>,
    /// Its first huge page.
    start: NonNull<u8>,
    pages: Pages,
}

// SAFETY: the mapping belongs to the arena and goes with it; each page in it has one owner at a time.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// `None` if the kernel gives no address space.
    fn new() -> Option<Arc<Arena>> {
        // SAFETY: a new private mapping touches nothing that exists.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                ARENA_BYTES + HUGE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return None;
        }
        let mapped = NonNull::new(mapped)?;
        let first = mapped.cast::<u8>();
        let to_align = first.align_offset(HUGE_BYTES);
        Some(Arc::new(Arena {
            mapped,
            // SAFETY: the mapping is a huge page longer than the arena.
            start: unsafe { first.add(to_align) },
            pages: Pages::new(),
        }))
    }

    /// So many pages in a row; otherwise `None`, and the arena grows, if it still may. On the arena's own thread.
    fn take(self: &Arc<Arena>, count: usize) -> Option<NonNull<u8>> {
        if let Some(first) = self.pages.take(count) {
            // SAFETY: the page is in the arena.
            return Some(unsafe { self.start.add(first * ALIGNMENT) });
        }
        if let Some(huge_page) = self.pages.begin_growth() {
            let arena = self.clone();
            blocking::submit(Box::new(move || arena.grow(huge_page)));
        }
        None
    }

    fn give_back(&self, start: NonNull<u8>, count: usize) {
        // SAFETY: both are in the arena's mapping.
        let offset = unsafe { start.offset_from_unsigned(self.start) };
        self.pages.give_back(offset / ALIGNMENT, count);
    }

    /// Has the kernel back one more huge page, and lets it be used.
    fn grow(&self, huge_page: usize) {
        // SAFETY: the arena is as long.
        let start = unsafe { self.start.add(huge_page * HUGE_BYTES) };
        // A kernel without huge pages, or one with none left, gives base pages: nothing is lost by that.
        // SAFETY: the range is in the arena's mapping.
        unsafe { libc::madvise(start.as_ptr().cast(), HUGE_BYTES, libc::MADV_HUGEPAGE) };
        for page in 0..PAGES_PER_HUGE {
            // SAFETY: the page is in the arena's mapping, and nobody has it yet.
            unsafe { start.add(page * ALIGNMENT).write_volatile(0) };
        }
        self.pages.end_growth();
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: nobody has memory of it any more, since that would keep it alive.
        unsafe { libc::munmap(self.mapped.as_ptr(), ARENA_BYTES + HUGE_BYTES) };
    }
}

/// Which pages of an arena are free: a bit each. Only one thread clears bits, so what it has seen free stays free until it
/// takes it; any thread may set those of pages that it owns.
struct Pages {
    free: [AtomicU64; ARENA_BYTES / ALIGNMENT / WORD_BITS],
    /// Huge pages that may be used.
    huge_pages: AtomicUsize,
    growing: AtomicBool,
}

impl Pages {
    fn new() -> Pages {
        Pages {
            free: [const { AtomicU64::new(0) }; ARENA_BYTES / ALIGNMENT / WORD_BITS],
            huge_pages: AtomicUsize::new(0),
            growing: AtomicBool::new(false),
        }
    }

    /// The first of `count` pages in a row, no longer free; the lowest there are, so that few huge pages serve most.
    fn take(&self, count: usize) -> Option<usize> {
        let end = self.huge_pages.load(Ordering::Acquire) * PAGES_PER_HUGE;
        let mut from = 0;
        loop {
            let first = self.next(from, end, true);
            if first + count > end {
                return None;
            }
            let used = self.next(first, first + count, false);
            if used == first + count {
                self.set(first, count, false);
                return Some(first);
            }
            from = used;
        }
    }

    fn give_back(&self, first: usize, count: usize) {
        debug_assert_eq!(self.next(first, first + count, true), first + count);
        self.set(first, count, true);
    }

    /// The huge page to be made usable, if another one is allowed and none is on its way.
    fn begin_growth(&self) -> Option<usize> {
        // Acquire: whoever sees that growth has ended sees by how much.
        if self.growing.load(Ordering::Acquire) {
            return None;
        }
        let huge_pages = self.huge_pages.load(Ordering::Relaxed);
        if huge_pages == ARENA_BYTES / HUGE_BYTES {
            return None;
        }
        self.growing.store(true, Ordering::Relaxed);
        Some(huge_pages)
    }

    fn end_growth(&self) {
        let huge_pages = self.huge_pages.load(Ordering::Relaxed);
        self.set(huge_pages * PAGES_PER_HUGE, PAGES_PER_HUGE, true);
        self.huge_pages.store(huge_pages + 1, Ordering::Release);
        self.growing.store(false, Ordering::Release);
    }

    /// The first page from `from` on that is free, or not; `end` if there is none below it.
    fn next(&self, from: usize, end: usize, free: bool) -> usize {
        let mut at = from;
        while at < end {
            let word = self.free[at / WORD_BITS].load(Ordering::Acquire);
            let wanted = if free { word } else { !word };
            let wanted = wanted >> (at % WORD_BITS);
            if wanted != 0 {
                return end.min(at + wanted.trailing_zeros() as usize);
            }
            at += WORD_BITS - at % WORD_BITS;
        }
        end
    }

    /// Release and acquire: what an owner wrote into its pages comes before what the next one does with them.
    fn set(&self, first: usize, count: usize, free: bool) {
        let mut at = first;
        while at < first + count {
            let bit = at % WORD_BITS;
            let bits = (first + count - at).min(WORD_BITS - bit);
            let mask = (u64::MAX >> (WORD_BITS - bits)) << bit;
            let word = &self.free[at / WORD_BITS];
            match free {
                true => word.fetch_or(mask, Ordering::Release),
                false => word.fetch_and(!mask, Ordering::Acquire),
            };
            at += bits;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn grown(huge_pages: usize) -> Pages {
        let pages = Pages::new();
        for number in 0..huge_pages {
            assert_eq!(pages.begin_growth(), Some(number));
            assert_eq!(pages.begin_growth(), None, "one at a time");
            pages.end_growth();
        }
        pages
    }

    #[test]
    fn pages_are_the_lowest_in_a_row_and_belong_to_one() {
        let pages = grown(2);
        assert_eq!(pages.take(100), Some(0));
        assert_eq!(pages.take(60), Some(100));
        assert_eq!(pages.take(800), Some(160), "across huge pages");
        assert_eq!(pages.take(65), None);
        assert_eq!(pages.take(64), Some(960));
        pages.give_back(100, 60);
        assert_eq!(pages.take(61), None);
        assert_eq!(pages.take(1), Some(100));
        pages.give_back(0, 100);
        assert_eq!(pages.take(101), None);
        assert_eq!(pages.take(99), Some(0));
        assert_eq!(pages.take(1), Some(99));
    }

    #[test]
    fn an_arena_grows_to_its_bound() {
        let pages = grown(ARENA_BYTES / HUGE_BYTES);
        assert_eq!(pages.begin_growth(), None);
        assert_eq!(pages.take(ARENA_BYTES / ALIGNMENT), Some(0));
        assert_eq!(pages.take(1), None);
    }

    /// Random work against a plain list of who has what.
    #[test]
    fn no_page_has_two_owners() {
        let pages = grown(3);
        let mut taken: Vec<(usize, usize)> = Vec::new();
        let mut random = 1u64;
        let mut refused = 0;
        for _ in 0..20_000 {
            random = random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let choice = (random >> 33) as usize;
            if choice.is_multiple_of(2) && !taken.is_empty() {
                let (first, count) = taken.swap_remove(choice / 2 % taken.len());
                pages.give_back(first, count);
                continue;
            }
            let count = choice / 2 % 200 + 1;
            let Some(first) = pages.take(count) else {
                refused += 1;
                continue;
            };
            assert!(first + count <= 3 * PAGES_PER_HUGE);
            let mut others = taken.iter();
            assert!(others.all(|(other, size)| first + count <= *other || other + size <= first));
            taken.push((first, count));
        }
        assert!(refused > 0);
        for (first, count) in taken {
            pages.give_back(first, count);
        }
        assert_eq!(pages.take(3 * PAGES_PER_HUGE), Some(0), "nothing is lost");
    }

    /// One thread takes, others give back what they were handed: each page says who has it.
    #[test]
    fn pages_given_back_on_other_threads_are_taken_once() {
        let pages = std::sync::Arc::new(grown(2));
        let owned: std::sync::Arc<Vec<AtomicBool>> = std::sync::Arc::new(
            (0..2 * PAGES_PER_HUGE)
                .map(|_| AtomicBool::new(false))
                .collect(),
        );
        let (to_others, handed): (Vec<_>, Vec<_>) = (0..3)
            .map(|_| std::sync::mpsc::sync_channel::<(usize, usize)>(8))
            .unzip();
        let others: Vec<_> = handed
            .into_iter()
            .map(|handed| {
                let (pages, owned) = (pages.clone(), owned.clone());
                std::thread::spawn(move || {
                    for (first, count) in handed {
                        for page in first..first + count {
                            assert!(owned[page].swap(false, Ordering::Relaxed));
                        }
                        pages.give_back(first, count);
                    }
                })
            })
            .collect();
        let mut taken = 0;
        while taken < 100_000 {
            let count = taken % 97 + 1;
            let Some(first) = pages.take(count) else {
                std::thread::yield_now();
                continue;
            };
            for page in first..first + count {
                assert!(!owned[page].swap(true, Ordering::Relaxed), "two owners");
            }
            to_others[taken % 3].send((first, count)).unwrap();
            taken += 1;
        }
        drop(to_others);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(pages.take(2 * PAGES_PER_HUGE), Some(0), "nothing is lost");
    }

    #[test]
    fn memory_comes_from_the_arena_once_it_has_grown_and_goes_back_from_any_thread() {
        let first = AlignedMemory::to_fill(LENGTH_MIN, LENGTH_MIN);
        assert!(first.arena.is_none(), "nobody waits for growth");
        let mut tries = 0;
        let mut memory = loop {
            let memory = AlignedMemory::zeroed(LENGTH_MIN);
            if memory.arena.is_some() {
                break memory;
            }
            tries += 1;
            assert!(tries < 30_000, "it never grows");
            std::thread::sleep(Duration::from_millis(1));
        };
        assert!(memory.start.addr().get().is_multiple_of(ALIGNMENT));
        memory.fill(7);
        let place = memory.start;
        std::thread::spawn(move || assert!(memory.iter().all(|byte| *byte == 7)))
            .join()
            .unwrap();
        let again = AlignedMemory::zeroed(LENGTH_MIN);
        assert_eq!(again.start, place);
        assert!(again.iter().all(|byte| *byte == 0));
        assert!(AlignedMemory::zeroed(LENGTH_MIN - 1).arena.is_none());
        assert!(AlignedMemory::zeroed(LENGTH_MAX + 1).arena.is_none());
    }
}
