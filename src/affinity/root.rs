//! The one door to files and to the scheduler: a live machine, or a tree of files captured from one.
//!
//! Everything above asks with the paths of a live machine (`/proc/irq/30/node`). On a captured tree the same paths
//! are looked up below its folder, and writes do what the kernel would have done (`emulate`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::cpuset::{CpuSet, CpuSetError};
use super::error::{Error, Result};
use super::faults::{Fault, Faults};
use super::{emulate, sched};

/// Files of `/proc` and `/sys` are small; a larger one is a wrong file under that name.
const MAX_FILE: u64 = 64 << 20;
/// A folder with more entries than this is not one of ours.
const MAX_ENTRIES: usize = 1 << 20;

/// A machine's file tree, live or captured.
#[derive(Clone, Debug)]
pub struct Root {
    dir: PathBuf,
    /// The folder of a captured tree, held open: lookups in it are one system call.
    tree: Option<Arc<OwnedFd>>,
    live: bool,
    faults: Option<Arc<Faults>>,
}

impl Root {
    /// The tree below `dir`. It is live if its `proc` is a real procfs, otherwise captured.
    pub fn new(dir: impl Into<PathBuf>, faults: Option<Faults>) -> Result<Self> {
        let dir = dir.into();
        let shown = dir.display().to_string();
        let dir = fs::canonicalize(&dir).map_err(|error| Error::io(&shown, "open", error))?;
        if !dir.is_dir() {
            return Err(Error::not_found("folder", shown, "a folder with proc/ and sys/ in it"));
        }
        let live = is_procfs(&dir.join("proc"));
        let tree = if live { None } else { File::open(&dir).ok().map(|folder| Arc::new(folder.into())) };
        Ok(Self { dir, tree, live, faults: faults.map(Arc::new) })
    }

    /// Returns true if this is a running machine, and writes reach its kernel.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a path of the machine lies for this process.
    pub fn real(&self, path: &str) -> PathBuf {
        self.dir.join(path.trim_start_matches('/'))
    }

    pub(crate) fn fault(&self, path: &str) -> Option<&Fault> {
        self.faults.as_ref().and_then(|faults| faults.rule(path))
    }

    /// All bytes of a file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.read_raw(path).map_err(|error| Error::io(path, "read", error))
    }

    fn read_raw(&self, path: &str) -> io::Result<Vec<u8>> {
        if let Some(Fault::Read(errno)) = self.fault(path) {
            return Err(io::Error::from_raw_os_error(*errno));
        }
        let file = self.open(path)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE { Err(io::Error::from_raw_os_error(libc::EFBIG)) } else { Ok(bytes) }
    }

    /// Opens a file for reading. `O_NONBLOCK`: a FIFO planted in a captured tree must not block the reader.
    fn open(&self, path: &str) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        if let Some(tree) = &self.tree {
            let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_BENEATH);
            match openat2(tree, path.trim_start_matches('/'), how) {
                // Kernels before 5.6, filters of system calls, and absolute links, which may still lead into the tree.
                Err(Errno::ENOSYS | Errno::EPERM | Errno::EXDEV) => {}
                answer => return Ok(File::from(answer?)),
            }
        }
        OpenOptions::new().read(true).custom_flags(flags.bits()).open(self.inside(path)?)
    }

    /// On a captured tree, links must not lead out of it.
    fn inside(&self, path: &str) -> io::Result<PathBuf> {
        let real = self.real(path);
        if self.live {
            return Ok(real);
        }
        let resolved = fs::canonicalize(&real)?;
        if resolved.starts_with(&self.dir) { Ok(resolved) } else { Err(io::Error::from_raw_os_error(libc::EXDEV)) }
    }

    /// A file's text without its last line end.
    pub fn text(&self, path: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.read(path)?).trim_end_matches(['\n', '\0']).to_owned())
    }

    /// The same, or none where the file does not exist, or exists and says that it has no value.
    pub fn text_if_any(&self, path: &str) -> Result<Option<String>> {
        match self.text(path) {
            Ok(text) => Ok(Some(text)),
            Err(Error::Io { source, .. }) if is_absence(&source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A decimal number, or none. An empty file is none: captures store unreadable files as empty ones.
    pub fn number(&self, path: &str) -> Result<Option<i64>> {
        let Some(text) = self.text_if_any(path)?.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
        let number = text.trim().parse().map_err(|_| Error::content(path, "a decimal number", text.as_str()))?;
        Ok(Some(number))
    }

    /// A CPU list, or none; `(null)` (old `nohz_full`) is none.
    pub fn cpu_list(&self, path: &str) -> Result<Option<CpuSet>> {
        let Some(text) = self.text_if_any(path)?.filter(|text| text.trim() != "(null)") else { return Ok(None) };
        self.parsed(path, CpuSet::parse_list(&text, None)).map(Some)
    }

    /// A CPU mask, or none; an empty file is none.
    pub fn cpu_mask(&self, path: &str) -> Result<Option<CpuSet>> {
        let Some(text) = self.text_if_any(path)?.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
        self.parsed(path, CpuSet::parse_mask(&text, None)).map(Some)
    }

    fn parsed(&self, path: &str, set: std::result::Result<CpuSet, CpuSetError>) -> Result<CpuSet> {
        set.map_err(|error| Error::content(path, error.to_string(), self.text(path).unwrap_or_default()))
    }

    /// The names in a folder, sorted; nothing if there is no such folder.
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        let listing = self.inside(path).and_then(fs::read_dir);
        let entries = match listing {
            Ok(entries) => entries,
            Err(error) if is_absence(&error) => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(path, "list", error)),
        };
        let mut names: Vec<String> = entries
            .take(MAX_ENTRIES)
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The numeric names in a folder, in rising order: IRQs, pids, tids.
    pub fn list_numbers(&self, path: &str) -> Result<Vec<u32>> {
        let mut numbers: Vec<u32> = self.list(path)?.iter().filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Returns true if the path exists.
    pub fn exists(&self, path: &str) -> bool {
        self.inside(path).is_ok_and(|real| real.exists())
    }

    /// Where a link leads, as a path of the machine with all links followed (`readlink -f`). None if it leads nowhere.
    pub fn resolve(&self, path: &str) -> Option<String> {
        let resolved = fs::canonicalize(self.real(path)).ok()?;
        let inside = resolved.strip_prefix(&self.dir).ok()?;
        let mut shown = String::new();
        for part in inside.components() {
            if let Component::Normal(name) = part {
                shown.push('/');
                shown.push_str(&name.to_string_lossy());
            }
        }
        Some(shown)
    }

    /// The file's permission bits, or none.
    pub fn mode(&self, path: &str) -> Option<u32> {
        self.inside(path).and_then(fs::metadata).ok().map(|meta| meta.permissions().mode() & 0o7777)
    }

    /// Returns true if the file system below a path refuses all writes (EROFS), as in containers and under
    /// `ProtectKernelTunables`.
    pub fn is_read_only(&self, path: &str) -> bool {
        if let Some(Fault::Write(libc::EROFS)) = self.fault(path) {
            return true;
        }
        self.live
            && nix::unistd::access(&self.real(path), nix::unistd::AccessFlags::W_OK) == Err(nix::errno::Errno::EROFS)
    }

    /// Writes once, unbuffered: the kernel's answer belongs to exactly this call.
    pub fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        if let Some(faults) = &self.faults {
            faults.count_write();
            match faults.rule(path) {
                Some(Fault::Write(errno)) => return Err(io::Error::from_raw_os_error(*errno)),
                Some(Fault::Ignored) => return Ok(()),
                _ => {}
            }
        }
        if !self.live && emulate::write(self, path, bytes)? {
            return Ok(());
        }
        self.write_plain(path, bytes)
    }

    pub(crate) fn write_plain(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file: File = OpenOptions::new()
            .write(true)
            .truncate(!self.live)
            .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
            .open(self.inside(path)?)?;
        match file.write(bytes) {
            Ok(written) if written == bytes.len() => Ok(()),
            Ok(written) => Err(io::Error::other(format!("wrote {written} of {} bytes", bytes.len()))),
            Err(error) => Err(error),
        }
    }

    /// Replaces an ordinary file in one step: readers see the old bytes or the new ones. Keeps mode and owner.
    pub fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        if let Some(faults) = &self.faults {
            faults.count_write();
        }
        let attempt = || -> io::Result<()> {
            if let Some(Fault::Write(errno)) = self.fault(path) {
                return Err(io::Error::from_raw_os_error(*errno));
            }
            // A link stays a link: its target is replaced.
            let target = self.inside(path).or_else(|error| {
                if error.kind() == io::ErrorKind::NotFound { Ok(self.real(path)) } else { Err(error) }
            })?;
            let parent = target.parent().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
            let temporary = parent.join(format!(".sipmi-{}.tmp", std::process::id()));
            let old = fs::metadata(&target).ok();
            let mut options = OpenOptions::new();
            options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(old.as_ref().map_or(0o644, |meta| meta.mode() & 0o7777));
            let written = options.open(&temporary).and_then(|mut file| {
                file.write_all(bytes)?;
                if let Some(meta) = &old {
                    file.set_permissions(fs::Permissions::from_mode(meta.mode() & 0o7777))?;
                    std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
                }
                file.sync_all()
            });
            let renamed = written.and_then(|()| fs::rename(&temporary, &target));
            if renamed.is_err() {
                let _ = fs::remove_file(&temporary);
            }
            renamed?;
            File::open(parent)?.sync_all()
        };
        attempt().map_err(|error| Error::io(path, "replace", error))
    }

    /// The CPUs a thread may run on (`sched_getaffinity`).
    pub fn thread_affinity(&self, pid: u32, tid: u32) -> io::Result<CpuSet> {
        if self.live { sched::affinity(tid) } else { emulate::affinity(self, pid, tid) }
    }

    /// Moves a thread (`sched_setaffinity`).
    pub fn set_thread_affinity(&self, pid: u32, tid: u32, cpus: &CpuSet) -> io::Result<()> {
        if let Some(faults) = &self.faults {
            faults.count_write();
            if let Some(Fault::Write(errno)) = faults.rule(&format!("sched:{tid}")) {
                return Err(io::Error::from_raw_os_error(*errno));
            }
        }
        if self.live { sched::set_affinity(tid, cpus) } else { emulate::set_affinity(self, pid, tid, cpus) }
    }
}

/// `ENOENT` from `xps_cpus` of a device with one queue, `ENODEV` and `EINVAL` from attributes that have no value now.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::EINVAL | libc::EOPNOTSUPP | libc::ENXIO)
    )
}

fn is_procfs(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC)
}
