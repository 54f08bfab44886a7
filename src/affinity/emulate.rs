//! Emulates the kernel's handling of a write on the files of a captured tree, so that plans can be rehearsed on it.
//!
//! Rules as measured on Linux 6.1, 6.12 and 6.18: see `docs/affinity.md`, "Writing".

use std::io;

use super::cpuset::{CpuSet, CpuSetError};
use super::faults::Fault;
use super::root::Root;

/// `PF_NO_SETAFFINITY` of Linux `include/linux/sched.h`, in field 9 of `/proc/PID/stat`.
pub const PF_NO_SETAFFINITY: u64 = 0x0400_0000;

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

fn refused(error: &CpuSetError) -> io::Error {
    errno(match error {
        CpuSetError::Overflow { .. } => libc::EOVERFLOW,
        CpuSetError::OutOfRange { .. } => libc::ERANGE,
        _ => libc::EINVAL,
    })
}

fn list(root: &Root, path: &str) -> CpuSet {
    root.cpu_list(path).ok().flatten().unwrap_or_default()
}

fn possible(root: &Root) -> usize {
    list(root, "/sys/devices/system/cpu/possible").highest().map_or(1, |top| top + 1)
}

/// Performs the write if the kernel gives the path a meaning, and returns whether it did.
pub(crate) fn write(root: &Root, path: &str, bytes: &[u8]) -> io::Result<bool> {
    let text = String::from_utf8_lossy(bytes);
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_irq = path.starts_with("/proc/irq/");
    if is_irq && matches!(name, "smp_affinity" | "smp_affinity_list") {
        let folder = &path[..path.len() - name.len()];
        return irq_affinity(root, folder, name, &text).map(|()| true);
    }
    if is_irq && name != "default_smp_affinity" {
        return Err(errno(libc::EIO));
    }
    if is_irq || matches!(name, "rps_cpus" | "xps_cpus") {
        let width = possible(root);
        let cpus = CpuSet::parse_mask(&text, Some(width)).map_err(|error| match refused(&error) {
            error if error.raw_os_error() == Some(libc::ERANGE) => errno(libc::EOVERFLOW),
            error => error,
        })?;
        if is_irq && cpus.is_empty() {
            return Err(errno(libc::EINVAL));
        }
        let printed = format!("{}\n", cpus.to_padded_mask(width));
        return root.write_plain(path, printed.as_bytes()).map(|()| true);
    }
    Ok(false)
}

fn irq_affinity(root: &Root, folder: &str, name: &str, text: &str) -> io::Result<()> {
    if !root.exists(folder) {
        return Err(errno(libc::ENOENT));
    }
    let path = format!("{folder}{name}");
    if root.mode(&path).is_some_and(|mode| mode & 0o222 == 0) {
        return Err(errno(libc::EPERM));
    }
    if text.is_empty() {
        return Ok(());
    }
    let width = possible(root);
    let parsed = if name == "smp_affinity" {
        CpuSet::parse_mask(text, Some(width))
    } else {
        CpuSet::parse_list(text, Some(width))
    };
    let cpus = parsed.map_err(|error| refused(&error))?;
    let online = list(root, "/sys/devices/system/cpu/online");
    let target = (&cpus & &online).lowest().ok_or_else(|| errno(libc::EINVAL))?;
    let target = CpuSet::from_iter([target]);
    let stuck = root.fault(&path) == Some(&Fault::Stuck);
    let effective = list(root, &format!("{folder}effective_affinity_list"));
    let mut files = vec![("smp_affinity", cpus.to_padded_mask(width)), ("smp_affinity_list", cpus.to_list())];
    // The vector stays where it is while that CPU is still allowed.
    let stays = stuck || (effective.is_subset(&cpus) && !effective.is_empty());
    if !stays {
        files.push(("effective_affinity", target.to_padded_mask(width)));
        files.push(("effective_affinity_list", target.to_list()));
    }
    for (name, text) in files {
        let path = format!("{folder}{name}");
        if root.exists(&path) {
            root.write_plain(&path, format!("{text}\n").as_bytes())?;
        }
    }
    Ok(())
}

fn status_path(root: &Root, pid: u32, tid: u32) -> String {
    let own = format!("/proc/{pid}/task/{tid}/status");
    if root.exists(&own) { own } else { format!("/proc/{tid}/status") }
}

/// `Cpus_allowed_list` of a captured thread.
pub(crate) fn affinity(root: &Root, pid: u32, tid: u32) -> io::Result<CpuSet> {
    let path = status_path(root, pid, tid);
    let text = root.text(&path).map_err(|_| errno(libc::ESRCH))?;
    let line =
        text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).ok_or_else(|| errno(libc::ESRCH))?;
    CpuSet::parse_list(line, None).map_err(|error| refused(&error))
}

/// Emulates `sched_setaffinity` with its rules for cpusets, offline CPUs and per-CPU kernel threads.
pub(crate) fn set_affinity(root: &Root, pid: u32, tid: u32, cpus: &CpuSet) -> io::Result<()> {
    let path = status_path(root, pid, tid);
    let text = root.text(&path).map_err(|_| errno(libc::ESRCH))?;
    if super::process::flags(root, pid).is_some_and(|flags| flags & PF_NO_SETAFFINITY != 0) {
        return Err(errno(libc::EINVAL));
    }
    let online = list(root, "/sys/devices/system/cpu/online");
    let allowed = super::cgroup::effective(root, pid).ok().flatten().map_or(online.clone(), |set| &set & &online);
    let granted = cpus & &allowed;
    if granted.is_empty() {
        return Err(errno(libc::EINVAL));
    }
    let width = possible(root);
    let line = |line: &str| {
        if line.starts_with("Cpus_allowed:") {
            format!("Cpus_allowed:\t{}\n", granted.to_padded_mask(width))
        } else if line.starts_with("Cpus_allowed_list:") {
            format!("Cpus_allowed_list:\t{granted}\n")
        } else {
            format!("{line}\n")
        }
    };
    let changed: String = text.lines().map(line).collect();
    root.write_plain(&path, changed.as_bytes())?;
    let leader = format!("/proc/{pid}/status");
    if tid == pid && leader != path && root.exists(&leader) {
        root.write_plain(&leader, changed.as_bytes())?;
    }
    Ok(())
}
