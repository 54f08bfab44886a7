//! Processes and their threads: found by name, pidfile, group or pid; read and moved one thread at a time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::cpuset::CpuSet;
use super::error::{Error, Result};
use super::irq::cpus_of;
use super::outcome::{Outcome, Reason, State};
use super::root::Root;
use super::{cgroup, emulate};

/// Threads can be born while others are moved; hwloc gives up after as many passes, too.
const MAX_PASSES: usize = 10;
/// `TASK_COMM_LEN` without its terminating zero.
const COMM_LEN: usize = 15;

/// A process, told apart from a later one of the same pid by its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// The kernel's name for it (`comm`, at most 15 bytes).
    pub name: String,
    /// Clock ticks after boot at which it started (field 22 of `stat`).
    pub started: u64,
    /// The role that its server reports, if it does: `attendant`, `SIP receiver`, `timer`.
    pub role: Option<String>,
    /// How it was found, which finds its successor after a restart.
    pub found_by: FoundBy,
    /// The threads that count, if not all of them: a name, or the beginning of one and `*`.
    pub only: Option<String>,
}

/// How a process was found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum FoundBy {
    /// By its pid: it has no successor.
    #[default]
    Pid,
    /// By its name.
    Name(String),
    /// By the file with the pid of its family's first process.
    Pidfile(String),
    /// By its control group.
    Cgroup(String),
}

/// Sees the threads of a pass, with where they are, before any of them is moved.
pub(crate) type BeforeEach<'a> = &'a mut dyn FnMut(&[(u32, CpuSet)]) -> Result<()>;

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Stat {
    /// `comm`, between the first `(` and the last `)`.
    pub name: String,
    /// `R`, `S`, `Z` ...
    pub state: char,
    /// Its parent.
    pub parent: u32,
    /// `PF_*` of Linux `include/linux/sched.h`.
    pub flags: u64,
    /// Clock ticks after boot.
    pub started: u64,
}

/// Reads `/proc/PID/stat`. The name may hold anything, also `) R 1`.
pub fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Stat {
        name: name.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        flags: fields.get(6)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

fn stat(root: &Root, pid: u32) -> Option<Stat> {
    parse_stat(&root.text(&format!("/proc/{pid}/stat")).ok()?)
}

pub(crate) fn flags(root: &Root, pid: u32) -> Option<u64> {
    stat(root, pid).map(|stat| stat.flags)
}

impl FoundBy {
    /// JSON of [`Process::to_json`] in words: `process opensips`, `pid 71`, `the processes of /run/opensips.pid`.
    pub(crate) fn shown(kept: &Value) -> String {
        let text = |name: &str| kept.get(name).and_then(Value::as_str).unwrap_or_default();
        if let Some(pid) = kept.get("pid") {
            return format!("process {} (pid {pid})", text("name"));
        }
        let whose = match kept.get("name") {
            Some(_) => format!("process {}", text("name")),
            None => format!("processes of {}{}", text("pidfile"), text("cgroup")),
        };
        if kept.get("threads").is_some() { format!("threads {} of {whose}", text("threads")) } else { whose }
    }
}

impl Process {
    /// The process of a pid.
    pub fn find(root: &Root, pid: u32) -> Result<Self> {
        let missing = || Error::not_found("process", pid, format!("/proc/{pid}/stat"));
        let stat = stat(root, pid).ok_or_else(missing)?;
        Ok(Process { pid, name: stat.name, started: stat.started, role: None, found_by: FoundBy::Pid, only: None })
    }

    fn by(self, found_by: FoundBy) -> Self {
        Process { found_by, ..self }
    }

    /// How to find it, or its successor, later: as JSON.
    pub fn to_json(&self) -> Value {
        let mut how = match &self.found_by {
            FoundBy::Pid => json!({"pid": self.pid, "started": self.started, "name": self.name}),
            FoundBy::Name(name) => json!({"name": name}),
            FoundBy::Pidfile(path) => json!({"pidfile": path}),
            FoundBy::Cgroup(group) => json!({"cgroup": group}),
        };
        if let Some(only) = &self.only {
            how["threads"] = json!(only);
        }
        how
    }

    /// The processes that JSON of [`Process::to_json`] finds now; none of them is no error. None if it says something else.
    pub fn from_json(root: &Root, value: &Value) -> Option<Vec<Self>> {
        let text = |name: &str| value.get(name)?.as_str();
        let only = text("threads").map(str::to_owned);
        let found = if let Some(pid) = value.get("pid") {
            let (pid, started) = (u32::try_from(pid.as_u64()?).ok()?, value.get("started")?.as_u64()?);
            Process::find(root, pid).into_iter().filter(|found| found.started == started).collect()
        } else {
            let found = match (text("name"), text("pidfile"), text("cgroup")) {
                (Some(name), None, None) => by_name(root, name),
                (None, Some(path), None) => by_pidfile(root, path),
                (None, None, Some(group)) => by_cgroup(root, group),
                _ => return None,
            };
            found.unwrap_or_default()
        };
        Some(found.into_iter().map(|process| Process { only: only.clone(), ..process }).collect())
    }

    /// Returns true if the same process, not another with its pid, still runs.
    pub fn is_alive(&self, root: &Root) -> bool {
        stat(root, self.pid).is_some_and(|stat| stat.started == self.started)
    }

    /// Its threads, or those of the chosen name.
    pub fn threads(&self, root: &Root) -> Result<Vec<u32>> {
        let all = self.all_threads(root)?;
        let Some(only) = &self.only else { return Ok(all) };
        let chosen: Vec<u32> = all.into_iter().filter(|tid| self.is_named(root, *tid, only)).collect();
        if chosen.is_empty() {
            let place = format!("a name in /proc/{}/task/*/comm", self.pid);
            return Err(Error::not_found("thread", format!("{only:?}"), place));
        }
        Ok(chosen)
    }

    fn is_named(&self, root: &Root, tid: u32, only: &str) -> bool {
        let name = root.text(&format!("/proc/{}/task/{tid}/comm", self.pid)).unwrap_or_default();
        let name = name.trim_end_matches('\n');
        only.strip_suffix('*').map_or(name == only, |beginning| name.starts_with(beginning))
    }

    fn all_threads(&self, root: &Root) -> Result<Vec<u32>> {
        let tids = root.list_numbers(&format!("/proc/{}/task", self.pid))?;
        if tids.is_empty() && !root.exists(&format!("/proc/{}", self.pid)) {
            return Err(Error::not_found("process", self.pid, format!("/proc/{}/task", self.pid)));
        }
        Ok(if tids.is_empty() { vec![self.pid] } else { tids })
    }

    /// Where its first thread may run (`Cpus_allowed`), or the first one of the chosen name.
    pub fn affinity(&self, root: &Root) -> Result<CpuSet> {
        let path = format!("/proc/{}/status", self.pid);
        let first = if self.only.is_some() { self.threads(root)?.first().copied() } else { None };
        root.thread_affinity(self.pid, first.unwrap_or(self.pid))
            .map_err(|error| Error::io(&path, "read the affinity of", error))
    }

    /// The CPUs that a thread has to come back to: `Cpus_allowed`, which names offline CPUs too. A thread that may run
    /// wherever its process may is not pinned: all CPUs that the machine can have.
    fn place_of(&self, root: &Root, tid: u32) -> Option<CpuSet> {
        let status = root.text(&format!("/proc/{}/task/{tid}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let allowed = match line.map(|list| CpuSet::parse_list(list, None)) {
            Some(Ok(allowed)) => allowed,
            _ => root.thread_affinity(self.pid, tid).ok()?,
        };
        let (online, possible) = cpus_of(root).ok()?;
        let usable = cgroup::effective(root, self.pid).ok().flatten().map_or(online.clone(), |cpus| &cpus & &online);
        Some(if usable.is_subset(&allowed) { (0..possible).collect() } else { allowed })
    }

    /// Moves one thread and returns the outcome.
    pub fn set_thread_affinity(&self, root: &Root, tid: u32, cpus: &CpuSet) -> Result<Outcome> {
        let (online, possible) = cpus_of(root)?;
        let asked = CpuSet::parse_list(&cpus.to_list(), Some(possible))?.require_some()?;
        let mut outcome = Outcome::new(format!("thread {tid} of {} {}", self.name, self.pid), &asked);
        let path = format!("/proc/{}/task/{tid}", self.pid);
        outcome.before = root.thread_affinity(self.pid, tid).ok();
        outcome.now.clone_from(&outcome.before);
        if let Err(error) = root.set_thread_affinity(self.pid, tid, &asked) {
            let reason = match error.raw_os_error() {
                Some(libc::EINVAL) => self.cause_of_invalid(root, &asked, &online),
                Some(errno) => Reason::of_errno(errno),
                None => Reason::Other,
            };
            return Ok(outcome.failed(&path, &error, reason));
        }
        match root.thread_affinity(self.pid, tid) {
            Ok(now) if now.is_subset(&asked) && !now.is_empty() => {
                outcome.cut = &asked - &now;
                outcome.now = Some(now);
                outcome.state = State::Applied;
                if !outcome.cut.is_empty() {
                    outcome.detail = format!("{} cut: offline, or not in the cpuset", outcome.cut);
                }
                Ok(outcome)
            }
            Ok(now) => {
                let detail = format!("{path}: asked for {asked}, reads back {now}");
                outcome.now = Some(now);
                Ok(outcome.because(State::Refused, Reason::NotKept, detail))
            }
            Err(error) => Ok(outcome.failed(&path, &error, Reason::Vanished)),
        }
    }

    /// EINVAL has three causes.
    fn cause_of_invalid(&self, root: &Root, asked: &CpuSet, online: &CpuSet) -> Reason {
        if flags(root, self.pid).is_some_and(|flags| flags & emulate::PF_NO_SETAFFINITY != 0) {
            Reason::KernelThread
        } else if asked.is_disjoint(online) {
            Reason::Offline
        } else if cgroup::effective(root, self.pid).ok().flatten().is_some_and(|cpus| cpus.is_disjoint(asked)) {
            Reason::Cpuset
        } else {
            Reason::Other
        }
    }

    /// Moves all threads, and those born meanwhile, until the set of tids is stable. Threads that end meanwhile are left
    /// out; one outcome for every other. Without `threads` only the first thread moves, as `taskset -p` does.
    pub fn set_affinity(&self, root: &Root, cpus: &CpuSet, threads: bool) -> Result<Vec<Outcome>> {
        self.move_threads(root, cpus, threads, &mut |_| Ok(()))
    }

    /// The same; `before_each` sees the threads of every pass, with where they are, before any of them is moved.
    pub(crate) fn move_threads(
        &self,
        root: &Root,
        cpus: &CpuSet,
        threads: bool,
        before_each: BeforeEach<'_>,
    ) -> Result<Vec<Outcome>> {
        let mut done: BTreeMap<u32, Outcome> = BTreeMap::new();
        for _ in 0..MAX_PASSES {
            let tids = if threads || self.only.is_some() { self.threads(root)? } else { vec![self.pid] };
            let new: Vec<u32> = tids.into_iter().filter(|tid| !done.contains_key(tid)).collect();
            if new.is_empty() {
                break;
            }
            let where_now = |tid: &u32| Some((*tid, self.place_of(root, *tid)?));
            before_each(&new.iter().filter_map(where_now).collect::<Vec<_>>())?;
            for tid in new {
                done.insert(tid, self.set_thread_affinity(root, tid, cpus)?);
            }
            if !threads {
                break;
            }
        }
        if done.values().all(|outcome| outcome.reason == Some(Reason::Vanished)) {
            return Err(Error::not_found("process", self.pid, format!("/proc/{}; it has ended", self.pid)));
        }
        // A thread that ended meanwhile needs no place; the process itself is always told of.
        done.retain(|tid, outcome| *tid == self.pid || outcome.reason != Some(Reason::Vanished));
        Ok(done.into_values().collect())
    }
}

/// All processes of a name: `comm`, or the file name of argv\[0\]. Zombies, kernel threads and this process are left out.
pub fn by_name(root: &Root, name: &str) -> Result<Vec<Process>> {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let own = if root.is_live() { std::process::id() } else { 0 };
    let short: String = String::from_utf8_lossy(&name.as_bytes()[..name.len().min(COMM_LEN)]).into_owned();
    let mut found = Vec::new();
    for pid in root.list_numbers("/proc")? {
        let Some(stat) = stat(root, pid) else { continue };
        if pid == own || stat.state == 'Z' || stat.flags & PF_KTHREAD != 0 {
            continue;
        }
        let by_comm = stat.name == name || (name.len() > COMM_LEN && stat.name == short);
        if by_comm || argv0(root, pid).is_some_and(|argv0| argv0 == name) {
            let found_by = FoundBy::Name(name.to_owned());
            found.push(Process { pid, name: stat.name, started: stat.started, role: None, found_by, only: None });
        }
    }
    if found.is_empty() {
        return Err(Error::not_found(
            "process",
            format!("{name:?}"),
            "a name in /proc/*/comm or the first word of a command line",
        ));
    }
    Ok(found)
}

fn argv0(root: &Root, pid: u32) -> Option<String> {
    let bytes = root.read(&format!("/proc/{pid}/cmdline")).ok()?;
    // Servers rewrite their command line: `opensips: SIP receiver`.
    let first = bytes.split(|byte| *byte == 0).next()?;
    let text = String::from_utf8_lossy(first);
    Some(text.rsplit('/').next().unwrap_or_default().split([' ', ':']).next().unwrap_or_default().to_owned())
}

/// The process of a pidfile and all its descendants: the attendant and its forked processes.
pub fn by_pidfile(root: &Root, path: &str) -> Result<Vec<Process>> {
    let text = root.text(path)?;
    let pid = text.split_ascii_whitespace().next().and_then(|pid| pid.parse().ok());
    let found = family(root, pid.ok_or_else(|| Error::content(path, "a pid", text.as_str()))?)?;
    Ok(found.into_iter().map(|process| process.by(FoundBy::Pidfile(path.to_owned()))).collect())
}

/// A process and all its descendants, parents first.
pub fn family(root: &Root, pid: u32) -> Result<Vec<Process>> {
    let first = Process::find(root, pid)?;
    let mut children: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    for pid in root.list_numbers("/proc")? {
        let Some(stat) = stat(root, pid).filter(|stat| stat.state != 'Z') else { continue };
        children.entry(stat.parent).or_default().push(Process {
            pid,
            name: stat.name,
            started: stat.started,
            role: None,
            found_by: FoundBy::Pid,
            only: None,
        });
    }
    let mut seen = BTreeSet::from([pid]);
    let mut found = vec![first];
    let mut at = 0;
    while let Some(parent) = found.get(at).map(|process| process.pid) {
        let born = children.remove(&parent).unwrap_or_default();
        found.extend(born.into_iter().filter(|child| seen.insert(child.pid)));
        at += 1;
    }
    Ok(found)
}

/// The processes of a control group.
pub fn by_cgroup(root: &Root, group: &str) -> Result<Vec<Process>> {
    let pids = cgroup::processes(root, group)?;
    let found = pids.into_iter().filter_map(|pid| Process::find(root, pid).ok());
    Ok(found.map(|process| process.by(FoundBy::Cgroup(group.to_owned()))).collect())
}
