//! The process that has an endpoint open, if permissions allow to find it. Of several processes the first.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::FileId;

/// The process that reads a FIFO. Clients, and this process while it probes, open it for writing only.
pub(super) fn of_fifo(path: &Path) -> Option<u32> {
    let wanted = FileId::of(&std::fs::metadata(path).ok()?);
    first(|fd| is_readable(fd) && std::fs::metadata(fd).is_ok_and(|metadata| FileId::of(&metadata) == wanted))
}

/// Returns true if a descriptor is open for reading: its link in /proc has the permissions of the open file.
fn is_readable(fd: &Path) -> bool {
    std::fs::symlink_metadata(fd).is_ok_and(|link| link.permissions().mode() & 0o400 != 0)
}

/// The process that has the socket bound to a path.
pub(super) fn of_socket(path: &Path) -> Option<u32> {
    let table = std::fs::read("/proc/net/unix").ok()?;
    let line = table.split(|byte| *byte == b'\n').find(|line| {
        // Num RefCount Protocol Flags Type St Inode Path
        line.ends_with(path.as_os_str().as_bytes()) && line[..line.len() - path.as_os_str().len()].ends_with(b" ")
    })?;
    let inode = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty()).nth(6)?;
    let wanted = PathBuf::from(format!("socket:[{}]", String::from_utf8_lossy(inode)));
    first(|fd| std::fs::read_link(fd).is_ok_and(|link| link == wanted))
}

fn first(is_it: impl Fn(&Path) -> bool) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let owners = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).filter(|pid| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.map(|fd| fd.path()).any(|fd| is_it(&fd))
    });
    owners.min()
}
