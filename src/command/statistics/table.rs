//! The table of values and names, in memory that processes may share.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU16, AtomicUsize, Ordering};

use zerocopy::FromZeros;

use crate::sys::shared_memory::{SharedLock, SharedTable};

/// The growth of a counter: only upwards, or in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Growth {
    /// A count of events, which can be reset.
    Incremental,
    /// A state, such as requests in progress or a maximum.
    NonIncremental,
}

impl Growth {
    /// `incremental` or `non-incremental`, as `list_statistics` shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Growth::Incremental => "incremental",
            Growth::NonIncremental => "non-incremental",
        }
    }
}

/// The most statistics in the table.
pub(super) const MOST: usize = 1 << 16;
/// The longest name in the table. A statistic with a longer name counts in its own process alone.
pub(super) const LONGEST: usize = 240;

/// The values and their names, in memory that processes may share.
pub(super) struct StatsTable {
    memory: SharedTable<Head, Entry>,
}

#[derive(FromZeros)]
#[repr(C)]
struct Head {
    lock: SharedLock,
    len: AtomicUsize,
}

/// All fields but the value are written before the entry is counted, and never change.
#[derive(FromZeros)]
#[repr(C)]
pub(super) struct Entry {
    pub(super) value: AtomicI64,
    pub(super) rank: AtomicU16,
    is_incremental: AtomicBool,
    group_len: AtomicU8,
    name_len: AtomicU8,
    name: [AtomicU8; LONGEST],
}

impl Entry {
    fn write(&self, group: &[u8], name: &[u8], growth: Growth, rank: u16) {
        self.value.store(0, Ordering::Relaxed);
        self.rank.store(rank, Ordering::Relaxed);
        self.is_incremental.store(growth == Growth::Incremental, Ordering::Relaxed);
        self.group_len.store(group.len() as u8, Ordering::Relaxed);
        self.name_len.store(name.len() as u8, Ordering::Relaxed);
        for (byte, place) in group.iter().chain(name).zip(&self.name) {
            place.store(*byte, Ordering::Relaxed);
        }
    }

    fn is(&self, group: &[u8], name: &[u8], rank: u16) -> bool {
        let lens =
            (usize::from(self.group_len.load(Ordering::Relaxed)), self.name_len.load(Ordering::Relaxed).into());
        self.rank.load(Ordering::Relaxed) == rank
            && lens == (group.len(), name.len())
            && group.iter().chain(name).zip(&self.name).all(|(byte, place)| *byte == place.load(Ordering::Relaxed))
    }

    pub(super) fn growth(&self) -> Growth {
        if self.is_incremental.load(Ordering::Relaxed) { Growth::Incremental } else { Growth::NonIncremental }
    }

    pub(super) fn group_and_name(&self) -> (Vec<u8>, Vec<u8>) {
        let len = |len: &AtomicU8| usize::from(len.load(Ordering::Relaxed));
        let read = |places: &[AtomicU8]| places.iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
        let (group, rest) = self.name.split_at(len(&self.group_len).min(LONGEST));
        (read(group), read(&rest[..len(&self.name_len).min(rest.len())]))
    }
}

impl StatsTable {
    pub(super) fn new() -> Self {
        let mut memory = SharedTable::<Head, Entry>::new(MOST);
        memory.head_mut().lock.prepare();
        StatsTable { memory }
    }

    pub(super) fn share(&self) -> std::io::Result<()> {
        // The lock is held during the copy, so that the copy is never held by a dead process.
        let _held = self.memory.head().lock.lock();
        self.memory.share(self.len())
    }

    pub(super) fn len(&self) -> usize {
        self.memory.head().len.load(Ordering::Acquire).min(MOST)
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.memory.items()[..self.len()]
    }

    /// Locks the table against additions, also those of other processes.
    pub(super) fn lock(&self) -> impl Drop + '_ {
        self.memory.head().lock.lock()
    }

    /// The value of an entry.
    pub(super) fn value(&self, number: usize) -> &AtomicI64 {
        &self.memory.items()[number].value
    }

    /// The index of an entry; `None` if there is none.
    pub(super) fn find(&self, group: &[u8], name: &[u8], rank: u16) -> Option<usize> {
        self.entries().iter().position(|entry| entry.is(group, name, rank))
    }

    /// Adds an entry and returns its index; `None` if the table is full. The caller holds the lock.
    pub(super) fn add(&self, group: &[u8], name: &[u8], growth: Growth, rank: u16) -> Option<usize> {
        let number = self.len();
        if group.len() + name.len() > LONGEST || number == MOST {
            return None;
        }
        self.memory.items()[number].write(group, name, growth, rank);
        self.memory.head().len.store(number + 1, Ordering::Release);
        Some(number)
    }
}
