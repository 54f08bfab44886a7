//! A log of records in shared memory, by which one process of a server informs all others.
//!
//! A writer takes the lock, reads the records it has not read yet, and appends its own. Readers catch up before they
//! use their state; if there is nothing new, that costs one load. A full log is replaced by a snapshot of the current
//! state. Records must therefore be idempotent: reading one twice changes nothing.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use zerocopy::FromZeros;

use crate::sys::shared_memory::{SharedLock, SharedTable};

const ROOM: usize = 8 << 20;

/// Applies records, and writes a snapshot of all known state when the log is restarted.
pub(super) trait Reader: Send + Sync {
    fn read(&self, news: &[u8]);
    fn all(&self) -> Vec<Vec<u8>>;
}

pub(super) struct Journal {
    memory: SharedTable<Head, AtomicU8>,
    is_shared: AtomicBool,
    reader: OnceLock<Box<dyn Reader>>,
    /// The position up to which this process has read. Locked before the shared lock.
    place: Mutex<Place>,
    /// The version at that position.
    seen: AtomicU64,
}

#[derive(Default, Clone, Copy)]
struct Place {
    edition: u64,
    offset: usize,
}

#[derive(FromZeros)]
#[repr(C)]
struct Head {
    lock: SharedLock,
    /// The number of records written.
    version: AtomicU64,
    /// The number of restarts of the log.
    edition: AtomicU64,
    len: AtomicUsize,
}

impl Default for Journal {
    fn default() -> Self {
        let mut memory = SharedTable::<Head, AtomicU8>::new(ROOM);
        memory.head_mut().lock.prepare();
        Journal {
            memory,
            is_shared: AtomicBool::new(false),
            reader: OnceLock::new(),
            place: Mutex::default(),
            seen: AtomicU64::new(0),
        }
    }
}

impl Journal {
    pub(super) fn read_by(&self, reader: Box<dyn Reader>) {
        let _ = self.reader.set(reader);
    }

    /// Shares the log, which is empty at first, with all processes that are forked after this call.
    pub(super) fn share(&self) -> std::io::Result<()> {
        let head = self.head();
        // The lock is held during the copy, so that the copy is never held by a dead process.
        let guard = head.lock.lock();
        self.memory.share(0)?;
        head.len.store(0, Ordering::Release);
        head.edition.store(0, Ordering::Release);
        head.version.store(0, Ordering::Release);
        drop(guard);
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Place::default();
        self.seen.store(0, Ordering::Release);
        self.is_shared.store(true, Ordering::Release);
        Ok(())
    }

    /// Ends sharing: the server is one process again.
    pub(super) fn close(&self) {
        self.is_shared.store(false, Ordering::Release);
    }

    fn head(&self) -> &Head {
        self.memory.head()
    }

    fn bytes(&self, from: usize, len: usize) -> impl DoubleEndedIterator<Item = u8> {
        let end = from.saturating_add(len).min(ROOM);
        self.memory.items()[from.min(end)..end].iter().map(|byte| byte.load(Ordering::Relaxed))
    }

    /// Applies the records that other processes have written.
    pub(super) fn catch_up(&self) {
        if !self.is_shared.load(Ordering::Acquire) || self.seen.load(Ordering::Acquire) == self.version() {
            return;
        }
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let news = {
            let _held = self.head().lock.lock();
            self.unread(&mut place)
        };
        self.take_in(&news);
    }

    /// Sends a record to all processes, including this one.
    pub(super) fn tell(&self, news: Vec<u8>) {
        if !self.is_shared.load(Ordering::Acquire) {
            return self.take_in(&[news]);
        }
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let unread = {
            let _held = self.head().lock.lock();
            if self.head().len.load(Ordering::Acquire) + size_of::<u32>() + news.len() > ROOM {
                self.take_in(&self.unread(&mut place));
                self.begin_anew();
            }
            self.append(&news);
            self.unread(&mut place)
        };
        // The lock is released first: applying records may take time.
        self.take_in(&unread);
    }

    fn version(&self) -> u64 {
        self.head().version.load(Ordering::Acquire)
    }

    /// Returns the records after the position and moves the position to the end. The caller holds the lock.
    fn unread(&self, place: &mut Place) -> Vec<Vec<u8>> {
        let edition = self.head().edition.load(Ordering::Acquire);
        if place.edition != edition {
            *place = Place { edition, offset: 0 };
        }
        let len = self.head().len.load(Ordering::Acquire);
        let mut news = Vec::new();
        while place.offset + size_of::<u32>() <= len {
            let prefix = self.bytes(place.offset, size_of::<u32>());
            let size = prefix.rev().fold(0, |size, byte| size << 8 | usize::from(byte));
            news.push(self.bytes(place.offset + size_of::<u32>(), size).collect());
            place.offset += size_of::<u32>() + size;
        }
        self.seen.store(self.version(), Ordering::Release);
        news
    }

    fn take_in(&self, news: &[Vec<u8>]) {
        if let Some(reader) = self.reader.get() {
            for news in news {
                reader.read(news);
            }
        }
    }

    /// Appends a record. The caller holds the lock. The length is written after the bytes, so a process that dies in
    /// between leaves no partial record.
    fn append(&self, news: &[u8]) {
        let head = self.head();
        let len = head.len.load(Ordering::Acquire);
        let size = size_of::<u32>() + news.len();
        if len + size > ROOM {
            return;
        }
        let prefix = (news.len() as u32).to_le_bytes();
        for (byte, place) in prefix.iter().chain(news).zip(&self.memory.items()[len..]) {
            place.store(*byte, Ordering::Relaxed);
        }
        head.len.store(len + size, Ordering::Release);
        head.version.fetch_add(1, Ordering::AcqRel);
    }

    fn begin_anew(&self) {
        let all = self.reader.get().map(|reader| reader.all()).unwrap_or_default();
        self.head().len.store(0, Ordering::Release);
        self.head().edition.fetch_add(1, Ordering::AcqRel);
        for news in &all {
            self.append(news);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Default, Clone)]
    struct Known(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Reader for Known {
        fn read(&self, news: &[u8]) {
            self.0.lock().expect("no test panics with it").push(news.to_vec());
        }
        fn all(&self) -> Vec<Vec<u8>> {
            vec![b"all that is known".to_vec()]
        }
    }

    fn journal() -> (Journal, Known) {
        let (journal, known) = (Journal::default(), Known::default());
        journal.read_by(Box::new(known.clone()));
        journal.share().expect("memory");
        (journal, known)
    }

    #[test]
    fn a_writer_applies_its_own_record_once() {
        let (journal, known) = journal();
        journal.tell(b"a".to_vec());
        journal.tell(Vec::new());
        journal.catch_up();
        assert_eq!(*known.0.lock().expect("no test panics with it"), [b"a".to_vec(), Vec::new()]);
    }

    #[test]
    fn records_of_other_processes_are_read_before_a_record_is_appended() {
        let (journal, known) = journal();
        journal.append(b"theirs");
        journal.tell(b"ours".to_vec());
        journal.append(b"theirs again");
        journal.catch_up();
        let expected: [&[u8]; 3] = [b"theirs", b"ours", b"theirs again"];
        assert_eq!(*known.0.lock().expect("no test panics with it"), expected);
    }

    #[test]
    fn a_full_log_is_restarted_with_a_snapshot() {
        let (journal, known) = journal();
        let large = vec![b'x'; ROOM / 4];
        (0..5).for_each(|_| journal.tell(large.clone()));
        assert_eq!(journal.head().edition.load(Ordering::Relaxed), 1);
        *journal.place.lock().expect("no test panics with it") = Place::default();
        journal.seen.store(0, Ordering::Relaxed);
        known.0.lock().expect("no test panics with it").clear();
        journal.catch_up();
        assert_eq!(known.0.lock().expect("no test panics with it")[0], b"all that is known");
    }
}
