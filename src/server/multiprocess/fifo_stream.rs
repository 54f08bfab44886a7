//! The bytes that a FIFO's reader has read and not served, kept for the next reader in case the first dies.
//!
//! The kernel does not note how much it has read into memory. So what lies beyond the bytes that are accounted for is
//! kept zeroed, and what is not zero there was read: no request ends with a NUL.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use zerocopy::FromZeros;

use crate::sys::descriptor::read_shared;
use crate::sys::shared_memory::SharedTable;

/// Places count from the last time that all was served; how often that was is in the upper half.
const EPOCH: u64 = 1 << 32;

pub(crate) struct FifoStream {
    memory: SharedTable<Head, AtomicU8>,
    /// The most bytes of one read.
    read_size: usize,
}

#[derive(FromZeros)]
#[repr(C)]
struct Head {
    /// How often all was served, and how much was since.
    served: AtomicU64,
    /// How much was read.
    read: AtomicU64,
}

impl FifoStream {
    /// Room for `room` bytes. Shared with processes that are forked afterwards.
    pub(crate) fn new(room: usize, read_size: usize) -> io::Result<Self> {
        Ok(FifoStream { memory: SharedTable::new_shared(room)?, read_size })
    }

    fn head(&self) -> &Head {
        self.memory.head()
    }

    fn bytes(&self) -> &[AtomicU8] {
        self.memory.items()
    }

    fn read(&self) -> usize {
        (self.head().read.load(Ordering::Acquire) as usize).min(self.bytes().len())
    }

    fn served(&self) -> usize {
        ((self.head().served.load(Ordering::Acquire) % EPOCH) as usize).min(self.read())
    }

    /// Reads from the FIFO into zeroed memory of the stream, and from there into `buffer`. The bytes count as read when
    /// [`FifoStream::note_read`] says so. Only one thread of one process, the reader, calls it.
    pub(crate) fn read_from(&self, fifo: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read() == self.bytes().len() {
            // A request that is larger than any may be is in the way.
            self.begin_anew();
        }
        let free = &self.bytes()[self.read()..];
        let free = &free[..free.len().min(buffer.len())];
        let size = read_shared(fifo, free)?;
        for (byte, shared) in buffer.iter_mut().zip(&free[..size]) {
            *byte = shared.load(Ordering::Relaxed);
        }
        Ok(size)
    }

    /// Notes that `size` bytes of it were read.
    pub(crate) fn note_read(&self, size: usize) {
        self.head().read.fetch_add(size as u64, Ordering::Release);
    }

    /// The place up to which all is served when `unserved` of the bytes read are not.
    pub(crate) fn place(&self, unserved: usize) -> u64 {
        let epoch = self.head().served.load(Ordering::Acquire) / EPOCH;
        epoch * EPOCH + self.read().saturating_sub(unserved) as u64
    }

    /// Notes that all requests up to a place are served or in flight.
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
        self.bytes()[..self.read()].iter().for_each(|byte| byte.store(0, Ordering::Relaxed));
        let epoch = self.head().served.load(Ordering::Acquire) / EPOCH;
        self.head().read.store(0, Ordering::Release);
        self.head().served.store((epoch + 1) * EPOCH, Ordering::Release);
    }

    /// The new reader takes over: gives what its predecessor has read and not served.
    pub(crate) fn take_over(&self) -> Vec<u8> {
        let load = |byte: &AtomicU8| byte.load(Ordering::Relaxed);
        let beyond = self.bytes()[self.read()..].iter().take(self.read_size);
        let read = self.read() + beyond.map(load).rposition(|byte| byte != 0).map_or(0, |last| last + 1);
        self.head().read.store(read as u64, Ordering::Release);
        self.bytes()[self.served()..read].iter().map(load).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Has the stream read bytes out of a pipe, and gives how many it took.
    fn read(stream: &FifoStream, bytes: &[u8]) -> usize {
        let (from, mut to) = io::pipe().expect("a pipe");
        to.write_all(bytes).expect("it has room");
        let mut buffer = [0; 100];
        let size = stream.read_from(&from, &mut buffer).expect("it has bytes");
        assert_eq!(buffer[..size], bytes[..size]);
        size
    }

    #[test]
    fn the_next_reader_finds_bytes_that_were_read_and_not_served() {
        let stream = FifoStream::new(100, 65_536).expect("memory");
        read(&stream, b":a:\n:b:\n");
        stream.note_read(8);
        stream.note_served(stream.place(4));
        assert_eq!(stream.take_over(), b":b:\n");
        read(&stream, b":c:\n");
        assert_eq!(stream.take_over(), b":b:\n:c:\n", "also what the dead one could not account for");
        stream.note_served(stream.place(0));
        assert_eq!(stream.take_over(), b"");
        assert!(stream.bytes().iter().all(|byte| byte.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn requests_of_a_dead_process_are_not_served_again() {
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
        assert_eq!(read(&stream, b"123456789"), 8);
    }
}
