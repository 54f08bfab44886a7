//! Memory that a process shares with those that it forks.
#![allow(unsafe_code)] // fork(2)

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use sipmi::sys::shared_memory::{SharedLock, SharedTable};

/// Forks, runs `child`, which must not allocate, and gives its exit status.
fn forked(child: impl FnOnce()) -> i32 {
    // SAFETY: the child touches shared memory only, and exits without running anything else.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
        if pid == 0 {
            child();
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        status
    }
}

#[test]
fn a_reference_into_a_table_stays_valid_when_the_table_is_shared() {
    let table: SharedTable<AtomicI64, AtomicI64> = SharedTable::new(1 << 17);
    let (first, last) = (&table.items()[0], &table.items()[(1 << 17) - 1]);
    first.store(41, Ordering::SeqCst);
    table.head().store(1, Ordering::SeqCst);
    last.store(7, Ordering::SeqCst);
    table.share(1).expect("it can be shared");
    assert_eq!((first.load(Ordering::SeqCst), table.head().load(Ordering::SeqCst)), (41, 1));
    assert_eq!(last.load(Ordering::SeqCst), 0, "only the first element was to be kept");
    assert_eq!(forked(|| first.store(42, Ordering::SeqCst)), 0);
    assert_eq!(first.load(Ordering::SeqCst), 42);
}

#[test]
fn a_table_belongs_to_its_process_until_it_is_shared() {
    let table: SharedTable<AtomicI64, AtomicI64> = SharedTable::new(1);
    forked(|| table.head().store(42, Ordering::SeqCst));
    assert_eq!(table.head().load(Ordering::SeqCst), 0);
}

#[test]
fn the_death_of_its_holder_releases_a_lock() {
    let mut table: SharedTable<SharedLock, AtomicU64> = SharedTable::new(0);
    table.head_mut().prepare();
    let held = table.head().lock();
    table.share(0).expect("it can be shared");
    drop(held);
    forked(|| std::mem::forget(table.head().lock()));
    drop(table.head().lock());
    drop(table.head().lock());
}
