//! The process itself: random bytes, hooks at its end, its heap.

use std::io;

/// Random bytes that cannot be guessed (`getrandom(2)`).
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the kernel writes at most `N` bytes to a live local of that size.
    let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    if usize::try_from(filled) == Ok(N) { Ok(bytes) } else { Err(io::Error::last_os_error()) }
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
