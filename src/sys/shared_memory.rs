//! Memory that forked processes share, and a lock in it that survives the death of its holder.
//!
//! A table belongs to its process until it is shared. Sharing leaves it at its address, so references into it stay
//! valid. The kernel allocates a page when it is first written, so tables are made as large as they may ever become.

use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use zerocopy::FromZeros;

/// Elements begin at a page of their own.
const PAGE: usize = 4096;

/// Zeroed memory with one `H` and any number of `E`, both of which change under shared references only: atomics.
#[derive(Debug)]
pub struct SharedTable<H, E> {
    /// Never changes; an atomic pointer is as shareable as the content is.
    start: AtomicPtr<u8>,
    len: usize,
    content: PhantomData<(H, E)>,
}

impl<H: FromZeros + Sync, E: FromZeros + Sync> SharedTable<H, E> {
    const FIRST: usize = {
        assert!(align_of::<H>() <= PAGE && align_of::<E>() <= PAGE, "pages are aligned enough");
        size_of::<H>().next_multiple_of(PAGE)
    };

    /// A table of this process alone, with `len` elements.
    ///
    /// # Panics
    /// When the system has no memory for it.
    pub fn new(len: usize) -> Self {
        Self::map(len, libc::MAP_PRIVATE).unwrap_or_else(|error| panic!("no memory: {error}"))
    }

    /// A table that processes forked later share with this one.
    pub fn new_shared(len: usize) -> io::Result<Self> {
        Self::map(len, libc::MAP_SHARED)
    }

    /// From now on, processes that are forked share the table with this one. The head and the first `used` elements are
    /// kept. A change that another thread makes during the call may be lost.
    #[cfg(target_os = "linux")]
    pub fn share(&self, used: usize) -> io::Result<()> {
        let shared = std::mem::ManuallyDrop::new(Self::new_shared(self.len)?);
        let (bytes, kept) = (Self::bytes(self.len), Self::bytes(used.min(self.len)));
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: both mappings have `bytes` bytes. The new one takes the place of the old one in one step, with the
        // same contents, and nothing else refers to where it was.
        let moved = unsafe {
            std::ptr::copy_nonoverlapping(self.start(), shared.start(), kept);
            libc::mremap(shared.start().cast(), bytes, bytes, flags, self.start())
        };
        if moved == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            drop(std::mem::ManuallyDrop::into_inner(shared));
            return Err(error);
        }
        Ok(())
    }

    /// Only Linux moves one mapping to the place of another in one step.
    #[cfg(not(target_os = "linux"))]
    pub fn share(&self, _: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The head.
    pub fn head(&self) -> &H {
        // SAFETY: zeroes are an `H`, which lies at the start of the mapping for as long as `self` lives.
        unsafe { &*self.start().cast() }
    }

    /// The head, for the only one who knows of the table yet.
    pub fn head_mut(&mut self) -> &mut H {
        // SAFETY: as above; nothing else refers to it while `self` is borrowed.
        unsafe { &mut *self.start().cast() }
    }

    /// The elements.
    pub fn items(&self) -> &[E] {
        // SAFETY: zeroes are an `E`, and the mapping has room for `len` elements behind the head.
        unsafe { std::slice::from_raw_parts(self.start().add(Self::FIRST).cast(), self.len) }
    }

    fn bytes(len: usize) -> usize {
        Self::FIRST + len * size_of::<E>()
    }

    fn map(len: usize, flags: libc::c_int) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = flags | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: the kernel chooses where the new mapping lies.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), Self::bytes(len), access, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(SharedTable { start: AtomicPtr::new(start.cast()), len, content: PhantomData })
    }
}

impl<H, E> SharedTable<H, E> {
    fn start(&self) -> *mut u8 {
        self.start.load(Ordering::Relaxed)
    }
}

impl<H, E> Drop for SharedTable<H, E> {
    fn drop(&mut self) {
        let bytes = size_of::<H>().next_multiple_of(PAGE) + self.len * size_of::<E>();
        // SAFETY: mapped by this table, into which no reference is left.
        unsafe { libc::munmap(self.start().cast(), bytes) };
    }
}

/// A reference to a part of something that it keeps alive, such as an element of a table.
pub struct SharedRef<T> {
    part: AtomicPtr<T>,
    owner: Arc<dyn Send + Sync>,
}

impl<T: Send + Sync> SharedRef<T> {
    /// The part of `owner` that `part` finds.
    pub fn new<O: Send + Sync + 'static>(owner: &Arc<O>, part: impl FnOnce(&O) -> &T) -> Self {
        let part = std::ptr::from_ref(part(owner)).cast_mut();
        SharedRef { part: AtomicPtr::new(part), owner: owner.clone() }
    }
}

impl<T> Clone for SharedRef<T> {
    fn clone(&self) -> Self {
        SharedRef { part: AtomicPtr::new(self.part.load(Ordering::Relaxed)), owner: self.owner.clone() }
    }
}

impl<T> Deref for SharedRef<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a part of the owner, which lives as long as `self`, stays in its place, and is borrowed by no one
        // mutably while there is more than one `Arc` of it.
        unsafe { &*self.part.load(Ordering::Relaxed) }
    }
}

/// A lock for several processes, to be placed in a [`SharedTable`].
///
/// The death of its holder releases it. So the data that it guards must be valid at every moment: an element is written
/// first, and counted then.
#[derive(FromZeros)]
#[repr(C)]
pub struct SharedLock([AtomicU64; WORDS]);

const WORDS: usize = size_of::<libc::pthread_mutex_t>().div_ceil(size_of::<AtomicU64>());

/// The guard of a lock.
pub struct SharedLockGuard<'a>(&'a SharedLock);

impl SharedLock {
    /// Prepares the lock for several processes. Until then it is one of this process alone.
    pub fn prepare(&mut self) {
        let mut attributes = std::mem::MaybeUninit::uninit();
        // SAFETY: the attributes are initialized before they are used and destroyed after it. The lock is borrowed
        // mutably, so no guard of it is left.
        unsafe {
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
            #[cfg(target_os = "linux")]
            libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
            libc::pthread_mutex_init(self.mutex(), attributes.as_ptr());
            libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
        }
    }

    /// Waits for the lock.
    pub fn lock(&self) -> SharedLockGuard<'_> {
        // SAFETY: zeroes are a mutex (`PTHREAD_MUTEX_INITIALIZER`), and so is what `prepare` makes. After the death of
        // a holder this thread has the lock, and the data that it guards is valid at every moment.
        unsafe {
            let locked = libc::pthread_mutex_lock(self.mutex());
            if cfg!(target_os = "linux") && locked == libc::EOWNERDEAD {
                #[cfg(target_os = "linux")]
                libc::pthread_mutex_consistent(self.mutex());
            }
        }
        SharedLockGuard(self)
    }

    fn mutex(&self) -> *mut libc::pthread_mutex_t {
        self.0.as_ptr().cast_mut().cast()
    }
}

impl Drop for SharedLockGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: this thread holds the lock.
        unsafe { libc::pthread_mutex_unlock(self.0.mutex()) };
    }
}
