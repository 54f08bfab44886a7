//! What a FIFO's reader has read and not served yet, kept where the next reader finds it when the first has died.
//!
//! The kernel does not note how much it has read into memory. So what lies beyond the bytes that are accounted for is
//! kept zeroed, and what is not zero there was read: no request ends with a NUL.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::shared::Region;

const FIRST: usize = 4096;
/// Places count from the last time that all was served; how often that was is in the upper half.
const EPOCH: u64 = 1 << 32;

pub(crate) struct FifoStream {
    region: Region,
    room: usize,
    /// The most bytes of one read.
    read_size: usize,
}

#[repr(C)]
struct Head {
    /// How often all was served, and how much was since.
    served: AtomicU64,
    /// How much was read.
    read: AtomicU64,
}

impl FifoStream {
    /// Room for so many bytes. Shared with processes that are forked afterwards.
    pub(crate) fn new(room: usize, read_size: usize) -> std::io::Result<Self> {
        let region = Region::new(FIRST + room);
        // SAFETY: nothing points into it yet.
        unsafe { region.share(0)? };
        Ok(FifoStream { region, room, read_size })
    }

    fn head(&self) -> &Head {
        // SAFETY: the region lives as long as `self`, and any bytes are a head.
        unsafe { self.region.at::<Head>(0).as_ref() }
    }

    fn read(&self) -> usize {
        (self.head().read.load(Ordering::Acquire) as usize).min(self.room)
    }

    fn served(&self) -> usize {
        ((self.head().served.load(Ordering::Acquire) % EPOCH) as usize).min(self.read())
    }

    /// Zeroed memory for the next read, of at most this size.
    ///
    /// # Safety
    /// Only one thread of one process, the reader, asks for it, and uses no other memory of the stream meanwhile.
    #[allow(clippy::mut_from_ref)] // the memory is shared with other processes, not with other threads
    pub(crate) unsafe fn room(&self, most: usize) -> &mut [u8] {
        if self.read() == self.room {
            // A request that is larger than any may be is in the way.
            self.begin_anew();
        }
        let read = self.read();
        let start = self.region.at::<u8>(FIRST + read);
        // SAFETY: within the region; only the reader uses it.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), most.min(self.room - read)) }
    }

    /// So many bytes of it were read.
    pub(crate) fn note_read(&self, size: usize) {
        self.head().read.fetch_add(size as u64, Ordering::Release);
    }

    /// The place up to which all is served when so many bytes of what was read are not.
    pub(crate) fn place(&self, unserved: usize) -> u64 {
        let epoch = self.head().served.load(Ordering::Acquire) / EPOCH;
        epoch * EPOCH + self.read().saturating_sub(unserved) as u64
    }

    /// All is served, or in somebody's hands, up to a place.
    pub(crate) fn note_served(&self, place: u64) {
        self.head().served.store(place, Ordering::Release);
        if (place % EPOCH) as usize >= self.read() {
            self.begin_anew();
        }
    }

    /// The reader has died, and had taken a request off the stream up to a place. It may not have noted that.
    pub(crate) fn catch_up(&self, place: u64) {
        let served = self.head().served.load(Ordering::Acquire);
        if place / EPOCH == served / EPOCH && place > served {
            self.head().served.store(place, Ordering::Release);
        }
    }

    fn begin_anew(&self) {
        let read = self.read();
        // SAFETY: within the region; only the reader uses it.
        unsafe { std::slice::from_raw_parts_mut(self.region.at::<u8>(FIRST).as_ptr(), read) }.fill(0);
        let epoch = self.head().served.load(Ordering::Acquire) / EPOCH;
        self.head().read.store(0, Ordering::Release);
        self.head().served.store((epoch + 1) * EPOCH, Ordering::Release);
    }

    /// The new reader takes over: gives what its predecessor has read and not served.
    pub(crate) fn take_over(&self) -> &[u8] {
        // SAFETY: within the region; only the reader uses it.
        let all = unsafe { std::slice::from_raw_parts(self.region.at::<u8>(FIRST).as_ptr(), self.room) };
        let beyond = &all[self.read()..all.len().min(self.read() + self.read_size)];
        let read = self.read() + beyond.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.head().read.store(read as u64, Ordering::Release);
        &all[self.served()..read]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &FifoStream, bytes: &[u8]) {
        // SAFETY: this thread is the only reader.
        let room = unsafe { stream.room(100) };
        room[..bytes.len()].copy_from_slice(bytes);
    }

    #[test]
    fn the_next_reader_finds_what_was_read_and_not_served() {
        let stream = FifoStream::new(100, 65_536).expect("memory");
        read(&stream, b":a:\n:b:\n");
        stream.note_read(8);
        stream.note_served(stream.place(4));
        assert_eq!(stream.take_over(), b":b:\n");
        read(&stream, b":c:\n");
        assert_eq!(stream.take_over(), b":b:\n:c:\n", "also what the dead one could not account for");
        stream.note_served(stream.place(0));
        assert_eq!(stream.take_over(), b"");
        // SAFETY: this thread is the only reader.
        assert!(unsafe { stream.room(100) }.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_was_in_the_hands_of_the_dead_is_not_served_again() {
        let stream = FifoStream::new(100, 65_536).expect("memory");
        read(&stream, b":a:\n:b:\n");
        stream.note_read(8);
        let taken = stream.place(4);
        stream.catch_up(taken);
        assert_eq!(stream.take_over(), b":b:\n");
        stream.note_served(stream.place(0));
        read(&stream, b":c:\n");
        stream.catch_up(taken);
        assert_eq!(stream.take_over(), b":c:\n", "that was before");
    }

    #[test]
    fn a_request_larger_than_any_may_be_does_not_stop_the_stream() {
        let stream = FifoStream::new(8, 65_536).expect("memory");
        for _ in 0..3 {
            read(&stream, b"12345678");
            stream.note_read(8);
        }
        // SAFETY: this thread is the only reader.
        assert_eq!(unsafe { stream.room(100) }.len(), 8);
    }
}
