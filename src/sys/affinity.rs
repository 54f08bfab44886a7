//! CPU masks of any size: nix and the C library stop at the 1024 bits of a `cpu_set_t`.

use std::io;

/// Reads the CPU mask of a thread into `words` (`sched_getaffinity(2)`). `EINVAL`: the mask does not fit.
pub(crate) fn cpu_mask(tid: libc::pid_t, words: &mut [libc::c_ulong]) -> io::Result<()> {
    mask_call(libc::SYS_sched_getaffinity, tid, words)
}

/// Sets the CPU mask of a thread (`sched_setaffinity(2)`). The kernel ignores bits beyond its own width.
pub(crate) fn set_cpu_mask(tid: libc::pid_t, words: &mut [libc::c_ulong]) -> io::Result<()> {
    mask_call(libc::SYS_sched_setaffinity, tid, words)
}

fn mask_call(number: libc::c_long, tid: libc::pid_t, words: &mut [libc::c_ulong]) -> io::Result<()> {
    // SAFETY: both calls read or write at most `size_of_val(words)` bytes of `words`.
    let result = unsafe { libc::syscall(number, tid, size_of_val(words), words.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
