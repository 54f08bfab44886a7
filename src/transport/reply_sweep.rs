//! Names of reply FIFOs, and the removal of those that dead processes left behind.
//!
//! A name is `sipmi_`, the process id, 64 random bits and 16 bits that tell PID namespaces apart: the process id of
//! another container is meaningless here.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::DirEntry;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, TryLockError};

use crate::sys::process::{at_exit, random_bytes};

const PREFIX: &str = "sipmi_";
const RANDOM_DIGITS: usize = 16;
const NAMESPACE_DIGITS: usize = 4;
/// The most entries of a directory that are examined: it may hold any number of other files.
const MOST_ENTRIES: usize = 10_000;
/// The most directories that a process remembers as swept; it sweeps further ones each time.
const MOST_DIRECTORIES: usize = 64;

/// The directories with reply FIFOs of this process, each with the process that swept it.
static DIRECTORIES: LazyLock<Mutex<HashMap<PathBuf, u32>>> = LazyLock::new(Mutex::default);

/// Set when the reply FIFOs are being removed at exit; no more are created then.
static IS_EXITING: AtomicBool = AtomicBool::new(false);

/// Returns a name for a reply FIFO of this process that cannot be guessed. It has none of the bytes that servers
/// refuse.
pub(super) fn new_name() -> io::Result<String> {
    let (pid, random) = (std::process::id(), u64::from_ne_bytes(random_bytes()?));
    Ok(format!("{PREFIX}{pid}_{random:0RANDOM_DIGITS$x}{:0NAMESPACE_DIGITS$x}", namespace()))
}

/// Prepares a directory before this process creates its first reply FIFO there. Removes the FIFOs of dead processes of
/// the same user, and registers the removal of this process's FIFOs at exit.
pub(super) fn prepare(dir: &Path) -> io::Result<()> {
    if IS_EXITING.load(Ordering::SeqCst) {
        return Err(io::Error::other("the process is exiting"));
    }
    // The lock may be held by another thread, or by a thread that this forked process does not have, so it is never
    // waited for.
    let Some(mut directories) = directories() else { return Ok(()) };
    let pid = std::process::id();
    if directories.get(dir) == Some(&pid) {
        return Ok(());
    }
    if directories.is_empty() {
        at_exit(remove_at_exit);
    }
    if directories.len() < MOST_DIRECTORIES || directories.contains_key(dir) {
        directories.insert(dir.to_owned(), pid);
    }
    drop(directories);
    remove_matching(dir, is_dead);
    Ok(())
}

fn directories() -> Option<MutexGuard<'static, HashMap<PathBuf, u32>>> {
    match DIRECTORIES.try_lock() {
        Ok(directories) => Some(directories),
        Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Runs when the process exits. Calls in progress on other threads then never end.
extern "C" fn remove_at_exit() {
    IS_EXITING.store(true, Ordering::SeqCst);
    // A thread that holds the lock may never release it. The next client then removes the files.
    let Some(directories) = directories() else { return };
    let own = std::process::id();
    directories.keys().for_each(|dir| remove_matching(dir, |pid| pid == own));
}

/// Removes the reply FIFOs of this user whose process `is_wanted`.
fn remove_matching(dir: &Path, is_wanted: impl Fn(u32) -> bool) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().take(MOST_ENTRIES).flatten();
    let found = entries.filter(|entry| maker(entry.file_name().as_bytes()).is_some_and(&is_wanted));
    found.filter(is_own_fifo).for_each(|entry| {
        if let Ok(path) = CString::new(entry.path().as_os_str().as_bytes()) {
            // Another client may have removed it first.
            let _ = nix::unistd::unlink(path.as_c_str());
        }
    });
}

/// The process that created a reply FIFO of this name; `None` for other names and for processes of other namespaces.
fn maker(name: &[u8]) -> Option<u32> {
    let rest = std::str::from_utf8(name).ok()?.strip_prefix(PREFIX)?;
    let (pid, random) = rest.split_once('_')?;
    let is_random = random.len() == RANDOM_DIGITS + NAMESPACE_DIGITS && random.bytes().all(|b| b.is_ascii_hexdigit());
    let is_near = is_random && u16::from_str_radix(&random[RANDOM_DIGITS..], 16) == Ok(namespace());
    is_near.then(|| pid.parse().ok()).flatten()
}

fn is_own_fifo(entry: &DirEntry) -> bool {
    // The metadata of the entry itself, not of a link's target.
    let metadata = entry.metadata();
    let uid = nix::unistd::Uid::effective().as_raw();
    metadata.is_ok_and(|metadata| metadata.file_type().is_fifo() && metadata.uid() == uid)
}

fn is_dead(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    pid > 0 && nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH)
}

/// 16 bits of the PID namespace's number, the same for all processes that see each other's ids.
fn namespace() -> u16 {
    // Only a fork can change the namespace of a process, and the child asks again.
    static KNOWN: Mutex<Option<(u32, u16)>> = Mutex::new(None);
    let pid = std::process::id();
    let known = KNOWN.try_lock().ok().and_then(|known| *known).filter(|(asked, _)| *asked == pid);
    known.map_or_else(
        || {
            let inode = std::fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino());
            let folded = (inode ^ (inode >> 16)) as u16;
            if let Ok(mut known) = KNOWN.try_lock() {
                *known = Some((pid, folded));
            }
            folded
        },
        |(_, folded)| folded,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_process_that_made_it() {
        let name = new_name().expect("random bits");
        assert_eq!(maker(name.as_bytes()), Some(std::process::id()));
        assert_ne!(name, new_name().expect("random bits"));
    }

    #[test]
    fn names_of_others_and_of_other_namespaces_tell_no_process() {
        let elsewhere = format!("sipmi_1_{:016x}{:04x}", 1, namespace() ^ 1);
        for name in ["sipmi_1", "sipmi_1_00", "sipmi_x_00000000000000000000", "osips_rply_00000000", &elsewhere] {
            assert_eq!(maker(name.as_bytes()), None, "{name}");
        }
    }
}
