//! The journal: the state before each write, on disk before the write is made.
//!
//! One JSON object a line: first the request, then each change, synced before the kernel is asked, then the result of each
//! item. A crash or a full disk can tear a line, whose write had then not been made. `/var/lib/sipmi` for root,
//! `$XDG_STATE_HOME/sipmi` for others.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::error::{Error, Result};
use super::outcome::State;
use super::root::Root;

mod entry;

pub use entry::Entry;

/// Version 1 had no request and no results.
const VERSION: u64 = 2;
/// The begin and the end of the names that `default_path` makes.
const PREFIX: &str = "plan-";
const SUFFIX: &str = ".journal";
/// Changes every time that the machine starts.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A journal being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Holds off other plans that are applied or undone at the same time.
    _lock: nix::fcntl::Flock<File>,
}

impl Journal {
    /// Starts a journal at a path, or at a new name in the default folder. It begins with the request.
    pub fn create(root: &Root, path: Option<&Path>, request: &Value) -> Result<Self> {
        let path = path.map_or_else(|| default_path(root), Path::to_path_buf);
        let attempt = || -> io::Result<Self> {
            let folder = folder_of(&path);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let lock = lock(folder)?;
            let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
            File::open(folder)?.sync_all()?;
            Ok(Journal { path: path.clone(), file, _lock: lock })
        };
        let mut journal = attempt().map_err(|error| Error::io(&path.display().to_string(), "start", error))?;
        let boot = root.text_if_any(BOOT_ID).ok().flatten();
        let folder = root.dir().display().to_string();
        journal.append(&[json!({
            "sipmi_journal": VERSION, "root": folder, "boot_id": boot, "time": now(), "request": request})])?;
        Ok(journal)
    }

    /// Goes on with a journal, whose plan is applied again.
    pub fn reopen(path: &Path) -> Result<Self> {
        let attempt = || -> io::Result<Self> {
            let lock = lock(folder_of(path))?;
            let file = open_own(OpenOptions::new().append(true).read(true), path)?;
            Ok(Journal { path: path.to_path_buf(), file, _lock: lock })
        };
        attempt().map_err(|error| Error::io(&path.display().to_string(), "open", error))
    }

    /// Records the next changes, all in one write, and waits until they are on disk.
    pub fn record(&mut self, entries: &[Entry]) -> Result<()> {
        self.append(&entries.iter().map(Entry::to_json).collect::<Vec<_>>())
    }

    /// Records the results of items by the names of what they change.
    pub fn record_results(&mut self, results: &BTreeMap<String, State>) -> Result<()> {
        let line = |(item, state): (&String, &State)| json!({"kind": "result", "item": item, "state": state.name()});
        self.append(&results.iter().map(line).collect::<Vec<_>>())
    }

    fn append(&mut self, lines: &[Value]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        text.push('\n');
        let mut attempt = || {
            let before = self.file.metadata()?.len();
            let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
            // A full disk takes a part of the lines: what follows must not be joined to it.
            written.inspect_err(|_| drop(self.file.set_len(before)))
        };
        attempt().map_err(|error| Error::io(&self.path.display().to_string(), "write", error))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens a file of this user's own: no link, and not writable for other users.
fn open_own(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    let meta = file.metadata()?;
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    let own = nix::unistd::geteuid().as_raw();
    if !meta.is_file() {
        return refuse("expected an ordinary file".to_owned());
    }
    if meta.uid() != own && meta.uid() != 0 {
        return refuse(format!("expected a file of uid {own} or of root, found one of uid {}", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        return refuse(format!(
            "expected a file that its owner alone may write, found mode {:04o}",
            meta.mode() & 0o7777
        ));
    }
    Ok(file)
}

/// One plan at a time: another one that is being applied is an error, not a wait.
pub(crate) fn lock(folder: &Path) -> io::Result<nix::fcntl::Flock<File>> {
    let mut options = OpenOptions::new();
    let file = open_own(options.write(true).create(true).truncate(false).mode(0o600), &folder.join("lock"))?;
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
    default_folder(root).join(format!("{PREFIX}{:.9}-{}{SUFFIX}", now(), std::process::id()))
}

fn is_generated(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
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
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The request of its plan; none in journals of version 1.
    pub request: Option<Value>,
    /// Seconds since 1970 when it was started.
    pub time: f64,
    /// The recorded changes, in order.
    pub entries: Vec<Entry>,
    /// The last state of each item, by the name of what it changes.
    pub results: BTreeMap<String, State>,
    /// True if the machine has been restarted since: kernel state is then gone and only files remain.
    pub rebooted: bool,
    /// How many lines are torn. Their changes were never made.
    pub torn: usize,
}

impl Record {
    /// As JSON, with the changes in words.
    pub fn to_json(&self) -> Value {
        let changes: Vec<String> = self.entries.iter().map(Entry::description).collect();
        json!({"request": self.request, "time": self.time, "changes": changes, "rebooted": self.rebooted, "torn": self.torn})
    }
}

/// Reads a journal. It must be a file that this user or root owns and other users cannot write, and no link.
pub fn load(root: &Root, path: &Path) -> Result<Record> {
    let shown = path.display().to_string();
    let mut bytes = Vec::new();
    let read = open_own(OpenOptions::new().read(true), path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(|error| Error::io(&shown, "read", error))?;
    let is_ours = path.file_name().is_some_and(|name| is_generated(&name.to_string_lossy()));
    if is_ours && !bytes.contains(&b'\n') {
        // The machine went down before its first line was whole: nothing had been changed.
        return Ok(Record::default());
    }
    parse(&shown, &bytes, root.text_if_any(BOOT_ID).ok().flatten().as_deref())
}

/// The same from bytes.
pub fn parse(shown: &str, bytes: &[u8], boot_id: Option<&str>) -> Result<Record> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let header: Value = serde_json::from_str(first).unwrap_or_default();
    if !matches!(header.get("sipmi_journal").and_then(Value::as_u64), Some(1..=VERSION)) {
        return Err(Error::content(shown, "a journal, whose first line has \"sipmi_journal\":2", first));
    }
    let booted = header.get("boot_id").and_then(Value::as_str);
    let mut record = Record {
        request: header.get("request").cloned(),
        time: header.get("time").and_then(Value::as_f64).unwrap_or_default(),
        rebooted: booted.is_some() && boot_id.is_some() && booted != boot_id,
        ..Record::default()
    };
    for line in lines {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        match (Entry::from_json(&value), result(&value)) {
            (Some(entry), _) => record.entries.push(entry),
            (None, Some((item, state))) => drop(record.results.insert(item, state)),
            (None, None) => record.torn += 1,
        }
    }
    Ok(record)
}

fn result(line: &Value) -> Option<(String, State)> {
    let state = line.get("state")?.as_str()?;
    let known = [State::Applied, State::Pending, State::Managed, State::Refused];
    let state = known.into_iter().find(|known| known.name() == state)?;
    Some((line.get("item")?.as_str()?.to_owned(), state))
}

/// Removes a journal without taking anything back.
pub fn forget(root: &Root, path: &Path) -> Result<()> {
    let shown = path.display().to_string();
    let _lock = lock(folder_of(path)).map_err(|error| Error::io(&shown, "lock", error))?;
    load(root, path)?;
    fs::remove_file(path).map_err(|error| Error::io(&shown, "remove", error))
}

/// Replaces the changes of a journal, in one step.
pub(crate) fn rewrite(path: &Path, change: &mut dyn FnMut(Entry) -> Entry) -> Result<()> {
    let shown = path.display().to_string();
    let mut attempt = || -> io::Result<()> {
        let mut text = String::new();
        open_own(OpenOptions::new().read(true), path)?.read_to_string(&mut text)?;
        let line = |line: &str| match serde_json::from_str(line).ok().as_ref().and_then(Entry::from_json) {
            Some(entry) => format!("{}\n", change(entry).to_json()),
            None => format!("{line}\n"),
        };
        let changed: String = text.lines().map(line).collect();
        let next = path.with_extension("next");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(changed.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, path)
    };
    attempt().map_err(|error| Error::io(&shown, "change", error))
}
