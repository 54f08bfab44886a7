//! The process itself: random bytes, hooks at its end, its heap.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Random bytes that cannot be guessed (`getrandom(2)`).
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the kernel writes at most `N` bytes to a live local of that size.
    let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    if usize::try_from(filled) == Ok(N) { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

static FORKS: AtomicU32 = AtomicU32::new(0);

/// Counts the forks between this process and the first of its ancestors that asked. A process compares the count with
/// the one that it kept to know whether it was forked since, which `getpid(2)` would tell by a system call.
pub fn forks() -> u32 {
    extern "C" fn count() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    static IS_COUNTED: OnceLock<bool> = OnceLock::new();
    // SAFETY: the hook has the C calling convention, lives as long as the program, and only changes an atomic.
    let register = || unsafe { libc::pthread_atfork(None, None, Some(count)) == 0 };
    if *IS_COUNTED.get_or_init(register) { FORKS.load(Ordering::Relaxed) } else { std::process::id() }
}

/// Runs `hook` when the process exits; other threads may still run then (`atexit(3)`).
pub fn at_exit(hook: extern "C" fn()) {
    // SAFETY: the hook has the C calling convention and lives as long as the program.
    unsafe { libc::atexit(hook) };
}

/// Returns freed memory below the end of a heap to the system, which glibc keeps otherwise (`malloc_trim(3)`).
pub fn trim_heap() {
    // SAFETY: it touches free memory only, under the locks of the allocator.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}
