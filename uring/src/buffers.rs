//! The buffers that a ring's sockets receive into: one at a time belongs either to the kernel or to a [`Received`].

use io_uring::types::BufRingEntry;
use io_uring::{IoUring, Submitter};
use memmap2::MmapMut;
use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

/// Bytes that were received. Their buffer goes back to the kernel when this is dropped.
pub struct Received {
    buffers: Rc<Buffers>,
    id: u16,
    len: u32,
}

/// Memory for receiving: a list of free buffers that the kernel reads, and the buffers.
///
/// Invariant: a buffer that is in the list, or was taken from it by the kernel without a completion that says so, is
/// not touched here; any other is named by exactly one [`Received`].
pub(crate) struct Buffers {
    /// Page aligned. Read by the kernel up to `tail`.
    list: *mut BufRingEntry,
    /// `count` times `len` bytes.
    memory: *mut u8,
    /// A power of two.
    count: u16,
    len: u32,
    /// How many buffers have been put into the list, ever; wraps.
    tail: Cell<u16>,
    /// What the pointers point into, dropped last.
    _list: MmapMut,
    _memory: MmapMut,
}

/// The number of the one group of buffers a ring has.
pub(crate) const GROUP: u16 = 0;

impl Buffers {
    /// `count` buffers (a power of two) of `len` bytes, all of them given to the kernel. Memory is taken from the system
    /// as it is first used.
    pub(crate) fn register(ring: &IoUring, count: u16, len: u32) -> io::Result<Rc<Buffers>> {
        assert!(count.is_power_of_two(), "the kernel takes powers of two");
        let mut list = MmapMut::map_anon(usize::from(count) * size_of::<BufRingEntry>())?;
        let mut memory = MmapMut::map_anon(usize::from(count) * len as usize)?;
        let buffers = Rc::new(Buffers {
            list: list.as_mut_ptr().cast(),
            memory: memory.as_mut_ptr(),
            count,
            len,
            tail: Cell::new(0),
            _list: list,
            _memory: memory,
        });
        let submitter: Submitter<'_> = ring.submitter();
        // SAFETY: `list` is `count` zeroed entries, and page aligned because it is a mapping of its own. The ring is
        // closed before the mapping goes: `Ring` drops its `IoUring` first, or leaks the buffers.
        unsafe { submitter.register_buf_ring_with_flags(buffers.list as u64, count, GROUP, 0)? };
        for id in 0..count {
            buffers.give_back(id);
        }
        Ok(buffers)
    }

    /// What the kernel has received into buffer `id`.
    ///
    /// # Safety
    ///
    /// The kernel has just said so: it has taken `id` from the list, has written `len` bytes, and has not been given it
    /// back since.
    pub(crate) unsafe fn received(self: &Rc<Buffers>, id: u16, len: u32) -> Received {
        assert!(id < self.count && len <= self.len, "the kernel names buffers that it was given");
        Received { buffers: self.clone(), id, len }
    }

    /// Puts a buffer that is not in use into the list.
    fn give_back(&self, id: u16) {
        let tail = self.tail.get();
        let place = usize::from(tail & (self.count - 1));
        // SAFETY: `place < count`, so the entry is inside `_list`. The kernel does not read it now: at most
        // `count - 1` other buffers are in the list, so what stood here has been taken. The address is inside `_memory`,
        // because `id < count`. Fields are written in place: the tail shares the first entry's memory.
        unsafe {
            let entry = &mut *self.list.add(place);
            entry.set_addr(self.memory.add(usize::from(id) * self.len as usize) as u64);
            entry.set_len(self.len);
            entry.set_bid(id);
        }
        self.tail.set(tail.wrapping_add(1));
        // SAFETY: `list` is the address of the first entry, where the kernel looks for the tail, and the tail is aligned.
        // It is only written by this thread, and read by the kernel. Release: the entry is written before.
        unsafe {
            let shared = BufRingEntry::tail(self.list).cast_mut();
            AtomicU16::from_ptr(shared).store(self.tail.get(), Ordering::Release);
        }
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let buffers = &*self.buffers;
        // SAFETY: the buffer is inside `_memory` (`Buffers::received` has checked), its bytes are initialized (zeroes at
        // first), and nobody writes to it while this `Received` is there, which is as long as the slice is borrowed.
        unsafe {
            let start = buffers.memory.add(usize::from(self.id) * buffers.len as usize);
            std::slice::from_raw_parts(start, self.len as usize)
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.buffers.give_back(self.id);
    }
}
