//! Memory that forked processes have in common, and a lock in it that outlives whoever dies with it in hand.
//!
//! A region is the process' own until it is shared, which leaves it where it is: what points into it stays good.
//! Pages that nobody has written to cost nothing, so regions are made as large as they may ever have to be.

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// A piece of zeroed memory, from a page's start on.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a region is an address and a size; what lies there is for its users to share.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// A region of this process alone.
    ///
    /// # Panics
    /// When the system has no room for it, as for any other memory.
    pub fn new(len: usize) -> Self {
        let start = map(std::ptr::null_mut(), len, libc::MAP_PRIVATE);
        let start = start.unwrap_or_else(|error| panic!("no memory: {error}"));
        Region { start, len }
    }

    /// From now on processes that are forked have it in common with this one.
    ///
    /// `used`: how many bytes of it have ever been written to.
    ///
    /// # Safety
    /// No other thread reads or writes what lies in it meanwhile.
    pub unsafe fn share(&self, used: usize) -> io::Result<()> {
        // SAFETY: the first bytes of the mapping, which stay mapped.
        let contents = unsafe { std::slice::from_raw_parts(self.start.as_ptr(), used.min(self.len)) }.to_vec();
        map(self.start.as_ptr().cast(), self.len, libc::MAP_SHARED | libc::MAP_FIXED)?;
        // SAFETY: the same bytes of the new mapping, which has the old one's place.
        unsafe { std::ptr::copy_nonoverlapping(contents.as_ptr(), self.start.as_ptr(), contents.len()) };
        Ok(())
    }

    /// The place of a `T`, so many bytes from the start.
    ///
    /// # Panics
    /// When it would not fit.
    pub fn at<T>(&self, offset: usize) -> NonNull<T> {
        assert!(offset.is_multiple_of(align_of::<T>()) && offset + size_of::<T>() <= self.len, "outside the region");
        // SAFETY: within the mapping, as was just checked.
        unsafe { self.start.add(offset) }.cast()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by this region, whose users are gone.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

fn map(place: *mut libc::c_void, len: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = flags | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: the kernel chooses the place, or it is that of a mapping of ours, which is to be replaced.
    let start = unsafe { libc::mmap(place, len, access, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// A lock for several processes, to be placed in a [`Region`].
///
/// Whoever dies with it in hand has let go of it. What it guards must be right at every moment, therefore: written
/// first, and then counted.
#[repr(transparent)]
pub struct SharedLock(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: it is a mutex.
unsafe impl Sync for SharedLock {}

/// The lock in hand.
pub struct Held<'a>(&'a SharedLock);

impl SharedLock {
    /// Makes it anew.
    ///
    /// # Safety
    /// No thread holds it or waits for it, in any process.
    pub unsafe fn reset(&self) {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attributes are initialised before they are used and destroyed after; the mutex is in
        // memory that stays, and nobody uses it meanwhile.
        unsafe {
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
            #[cfg(target_os = "linux")]
            libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
            libc::pthread_mutex_init(self.0.get(), attributes.as_ptr());
            libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
        }
    }

    /// Waits for the lock.
    pub fn hold(&self) -> Held<'_> {
        // SAFETY: initialised by `reset`.
        let result = unsafe { libc::pthread_mutex_lock(self.0.get()) };
        #[cfg(target_os = "linux")]
        if result == libc::EOWNERDEAD {
            // SAFETY: this thread has the lock now; what it guards is right at every moment.
            unsafe { libc::pthread_mutex_consistent(self.0.get()) };
        }
        let _ = result;
        Held(self)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: this thread has it in hand.
        unsafe { libc::pthread_mutex_unlock(self.0.0.get()) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    /// Forks, runs `child`, which must not allocate, and gives how it ended.
    fn forked(child: impl FnOnce()) -> i32 {
        // SAFETY: the child touches shared memory only, and ends without running anything else.
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
    fn what_points_into_a_region_stays_good_when_it_is_shared() {
        let region = Region::new(1 << 20);
        // SAFETY: the region outlives the reference, and any bytes are an AtomicI64.
        let number: &AtomicI64 = unsafe { region.at::<AtomicI64>(64).as_ref() };
        number.store(41, Ordering::SeqCst);
        // SAFETY: there is no other thread that knows of it.
        unsafe { region.share(4096) }.expect("it can be shared");
        assert_eq!(number.load(Ordering::SeqCst), 41);
        assert_eq!(forked(|| number.store(42, Ordering::SeqCst)), 0);
        assert_eq!(number.load(Ordering::SeqCst), 42);
    }

    #[test]
    fn whoever_dies_with_the_lock_in_hand_has_let_go_of_it() {
        let region = Region::new(4096);
        // SAFETY: there is no other thread that knows of it.
        unsafe { region.share(0) }.expect("it can be shared");
        // SAFETY: the region outlives the reference, and `reset` makes the mutex.
        let lock: &SharedLock = unsafe { region.at::<SharedLock>(0).as_ref() };
        // SAFETY: there is no other thread that knows of it.
        unsafe { lock.reset() };
        forked(|| std::mem::forget(lock.hold()));
        drop(lock.hold());
        drop(lock.hold());
    }
}
