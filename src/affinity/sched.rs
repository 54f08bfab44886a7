//! The scheduler's two calls with masks of any size: `sched_getaffinity` and `sched_setaffinity`.
//!
//! The C library's `cpu_set_t` has 1024 bits. A kernel with more possible CPUs answers EINVAL to a buffer that
//! is too small, so the buffer grows until it fits.

use std::io;

use super::cpuset::{CpuSet, MAX_CPUS};
use crate::sys;

const FIRST_BYTES: usize = 128; // 1024 CPUs, what most kernels need

/// The CPUs that a thread may run on; tid 0 is the calling thread (`sched_getaffinity`).
pub fn affinity(tid: u32) -> io::Result<CpuSet> {
    let mut words = vec![0 as libc::c_ulong; FIRST_BYTES / size_of::<libc::c_ulong>()];
    loop {
        let bytes = words.len() * size_of::<libc::c_ulong>();
        let Err(error) = sys::cpu_mask(raw(tid)?, &mut words) else { return Ok(from_words(&words)) };
        if error.raw_os_error() != Some(libc::EINVAL) || bytes * 8 >= MAX_CPUS {
            return Err(error);
        }
        words.resize(words.len() * 2, 0);
    }
}

/// Lets a thread run on these CPUs only; tid 0 is the calling thread (`sched_setaffinity`; in C a `cpu_set_t` would be made
/// with `CPU_ZERO` and `CPU_SET`). The kernel takes the part that its cpuset allows, and refuses if there is none.
pub fn set_affinity(tid: u32, cpus: &CpuSet) -> io::Result<()> {
    sys::set_cpu_mask(raw(tid)?, &mut to_words(cpus))
}

/// Moves the calling thread.
///
/// ```
/// use sipmi::affinity::{sched, CpuSet};
/// let before = sched::current_thread()?;
/// sched::set_current_thread(&CpuSet::from_iter(before.lowest()))?;
/// assert_eq!(sched::current_thread()?.len(), 1);
/// sched::set_current_thread(&before)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn set_current_thread(cpus: &CpuSet) -> io::Result<()> {
    set_affinity(0, cpus)
}

/// The CPUs of the calling thread.
pub fn current_thread() -> io::Result<CpuSet> {
    affinity(0)
}

/// The calling thread, moved for as long as this lives; dropped in that thread, it puts it back where it was.
#[derive(Debug)]
pub struct Pinned {
    before: CpuSet,
    /// A thread can only put itself back: this keeps the guard where it was made.
    _here: std::marker::PhantomData<*const ()>,
}

impl Pinned {
    /// Moves the calling thread.
    pub fn to(cpus: &CpuSet) -> io::Result<Self> {
        let before = current_thread()?;
        set_current_thread(cpus)?;
        Ok(Pinned { before, _here: std::marker::PhantomData })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Where it was may be offline by now; then it stays.
        let _ = set_current_thread(&self.before);
    }
}

/// A tid beyond `pid_t` is no thread's.
fn raw(tid: u32) -> io::Result<libc::pid_t> {
    libc::pid_t::try_from(tid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))
}

fn to_words(cpus: &CpuSet) -> Vec<libc::c_ulong> {
    let bits = libc::c_ulong::BITS as usize;
    let mut words = vec![0; (cpus.highest().map_or(0, |top| top / bits + 1)).max(FIRST_BYTES * 8 / bits)];
    for cpu in cpus.iter() {
        words[cpu / bits] |= 1 << (cpu % bits);
    }
    words
}

fn from_words(words: &[libc::c_ulong]) -> CpuSet {
    let bits = libc::c_ulong::BITS as usize;
    let set = |word: libc::c_ulong| (0..bits).filter(move |bit| word & (1 << bit) != 0);
    words.iter().enumerate().flat_map(|(index, word)| set(*word).map(move |bit| index * bits + bit)).collect()
}
