//! The journal: the state before each write, on disk before the write is made.
//!
//! One JSON object a line, each synced before the kernel is asked. A crash can tear only the last line, whose write had not
//! been made. `/var/lib/sipmi` for root, `$XDG_STATE_HOME/sipmi` for others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::cpuset::CpuSet;
use super::error::{Error, Result};
use super::irq::Identity;
use super::root::Root;

const VERSION: u64 = 1;
/// The suffix of the files that `default_path` names.
const SUFFIX: &str = ".journal";
/// Changes every time that the machine starts.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// One change as it was made: enough to take it back on a machine whose numbers have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `smp_affinity` of an interrupt.
    Irq {
        /// Its number then.
        number: u32,
        /// The identity of the changed item.
        identity: Identity,
        /// Where it was.
        before: CpuSet,
        /// Where it was sent.
        after: CpuSet,
    },
    /// `rps_cpus` or `xps_cpus`.
    Steering {
        /// The interface.
        interface: String,
        /// The queue.
        queue: String,
        /// The CPUs before the change.
        before: CpuSet,
        /// The CPUs after the change.
        after: CpuSet,
    },
    /// A thread.
    Thread {
        /// Its process.
        pid: u32,
        /// When that started.
        started: u64,
        /// The thread.
        tid: u32,
        /// Where it was.
        before: CpuSet,
        /// Where it was sent.
        after: CpuSet,
    },
    /// Interrupts banned by the running irqbalance's socket.
    BanLive {
        /// The daemon.
        pid: u32,
        /// Banned before.
        before: Vec<u32>,
        /// Banned after.
        after: Vec<u32>,
    },
    /// A file replaced as a whole.
    File {
        /// Its path.
        path: String,
        /// Its bytes; none if there was none.
        before: Option<Vec<u8>>,
        /// Its new bytes.
        after: Vec<u8>,
    },
}

impl Entry {
    /// As one line of the journal.
    pub fn to_json(&self) -> Value {
        match self {
            Entry::Irq { number, identity, before, after } => json!({
                "kind": "irq", "irq": number, "bus": identity.bus, "action": identity.action, "hwirq": identity.hwirq,
                "before": before.to_list(), "after": after.to_list()}),
            Entry::Steering { interface, queue, before, after } => json!({
                "kind": "steering", "interface": interface, "queue": queue,
                "before": before.to_list(), "after": after.to_list()}),
            Entry::Thread { pid, started, tid, before, after } => json!({
                "kind": "thread", "pid": pid, "started": started, "tid": tid,
                "before": before.to_list(), "after": after.to_list()}),
            Entry::BanLive { pid, before, after } => {
                json!({"kind": "ban", "pid": pid, "before": before, "after": after})
            }
            Entry::File { path, before, after } => json!({
                "kind": "file", "path": path, "before": before.as_deref().map(to_hex), "after": to_hex(after)}),
        }
    }

    /// From one line; none if it says something else.
    pub fn from_json(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
        let number = |name: &str| value.get(name)?.as_u64();
        let small = |name: &str| number(name)?.try_into().ok();
        let cpus = |name: &str| CpuSet::parse_list(value.get(name)?.as_str()?, None).ok();
        let irqs = |name: &str| -> Option<Vec<u32>> {
            value.get(name)?.as_array()?.iter().map(|irq| irq.as_u64()?.try_into().ok()).collect()
        };
        Some(match value.get("kind")?.as_str()? {
            "irq" => Entry::Irq {
                number: small("irq")?,
                identity: Identity { bus: text("bus")?, action: text("action")?, hwirq: number("hwirq") },
                before: cpus("before")?,
                after: cpus("after")?,
            },
            "steering" => Entry::Steering {
                interface: text("interface").filter(|name| !name.contains('/'))?,
                queue: text("queue").filter(|name| !name.contains('/'))?,
                before: cpus("before")?,
                after: cpus("after")?,
            },
            "thread" => Entry::Thread {
                pid: small("pid")?,
                started: number("started")?,
                tid: small("tid")?,
                before: cpus("before")?,
                after: cpus("after")?,
            },
            "ban" => Entry::BanLive { pid: small("pid")?, before: irqs("before")?, after: irqs("after")? },
            "file" => Entry::File {
                path: text("path")?,
                before: match value.get("before")? {
                    Value::Null => None,
                    hex => Some(from_hex(hex.as_str()?)?),
                },
                after: from_hex(&text("after")?)?,
            },
            _ => return None,
        })
    }
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if bytes.len().is_multiple_of(2) { bytes.chunks(2).map(byte).collect() } else { None }
}

/// A journal being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Holds off other plans that are applied or undone at the same time.
    _lock: nix::fcntl::Flock<File>,
}

impl Journal {
    /// Starts a journal at a path, or at a new name in the default folder.
    pub fn create(root: &Root, path: Option<&Path>) -> Result<Self> {
        let path = path.map_or_else(|| default_path(root), Path::to_path_buf);
        let shown = path.display().to_string();
        let attempt = || -> io::Result<Self> {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let lock = lock(folder)?;
            let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
            let boot = root.text_if_any(BOOT_ID).ok().flatten();
            let header = json!({"sipmi_journal": VERSION, "root": root.dir().display().to_string(), "boot_id": boot, "time": now()});
            file.write_all(format!("{header}\n").as_bytes())?;
            file.sync_all()?;
            File::open(folder)?.sync_all()?;
            Ok(Journal { path: path.clone(), file, _lock: lock })
        };
        attempt().map_err(|error| Error::io(&shown, "start the journal", error))
    }

    /// Records the next changes, all in one write, and waits until they are on disk.
    pub fn record(&mut self, entries: &[Entry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut lines = String::new();
        for entry in entries {
            lines.push_str(&entry.to_json().to_string());
            lines.push('\n');
        }
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| Error::io(&self.path.display().to_string(), "write", error))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// One plan at a time: another one that is being applied is an error, not a wait.
pub(crate) fn lock(folder: &Path) -> io::Result<nix::fcntl::Flock<File>> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"))?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => io::Error::other("another plan is being applied or undone just now"),
        errno => errno.into(),
    })
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Where journals lie if nothing else is said; those of a captured tree lie in the tree.
pub fn default_folder(root: &Root) -> PathBuf {
    if !root.is_live() {
        return root.real("/var/lib/sipmi");
    }
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/lib/sipmi");
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    state.unwrap_or_else(std::env::temp_dir).join("sipmi")
}

fn default_path(root: &Root) -> PathBuf {
    // Nanoseconds keep the names of one second apart and in order.
    default_folder(root).join(format!("plan-{:.9}-{}{SUFFIX}", now(), std::process::id()))
}

/// The journals in a folder that have not been undone, oldest first.
pub fn pending(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(&folder.display().to_string(), "list", error)),
    };
    let is_journal = |path: &PathBuf| path.to_string_lossy().ends_with(SUFFIX);
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_journal).collect();
    found.sort();
    Ok(found)
}

/// A journal as it was found.
#[derive(Clone, Debug)]
pub struct Record {
    /// The recorded changes, in order.
    pub entries: Vec<Entry>,
    /// True if the machine has been restarted since: kernel state is then gone and only files remain.
    pub rebooted: bool,
}

/// Reads a journal. A last line without its end was never acted upon and is left out.
pub fn load(root: &Root, path: &Path) -> Result<Record> {
    let shown = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| Error::io(&shown, "read", error))?;
    parse(&shown, &bytes, root.text_if_any(BOOT_ID).ok().flatten().as_deref())
}

/// The same from bytes.
pub fn parse(shown: &str, bytes: &[u8], boot_id: Option<&str>) -> Result<Record> {
    let text = String::from_utf8_lossy(bytes);
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines().enumerate();
    if bytes.is_empty() || (whole.is_empty() && !text.contains('\n')) {
        // Torn in its first line: nothing had been changed.
        return Ok(Record { entries: Vec::new(), rebooted: false });
    }
    let header: Value = lines.next().and_then(|(_, line)| serde_json::from_str(line).ok()).unwrap_or_default();
    if header.get("sipmi_journal").and_then(Value::as_u64) != Some(VERSION) {
        return Err(Error::content(
            shown,
            "a first line with \"sipmi_journal\":1",
            whole.lines().next().unwrap_or_default(),
        ));
    }
    let booted = header.get("boot_id").and_then(Value::as_str);
    let rebooted = booted.is_some() && boot_id.is_some() && booted != boot_id;
    let entry = |(number, line): (usize, &str)| {
        let value = serde_json::from_str(line).ok();
        value
            .as_ref()
            .and_then(Entry::from_json)
            .ok_or_else(|| Error::content(shown, format!("a journal entry in line {}", number + 1), line))
    };
    Ok(Record { entries: lines.map(entry).collect::<Result<_>>()?, rebooted })
}
