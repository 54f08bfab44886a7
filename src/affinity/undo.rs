//! Undoing a journal, and finding later moves: by identity, never by number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::cpuset::CpuSet;
use super::error::{Error, Result};
use super::host::Host;
use super::irq::{self, Bounds, Irq};
use super::irqbalance::Irqbalance;
use super::journal::{self, Entry};
use super::locate::Locator;
use super::outcome::{Outcome, Reason, State};
use super::process::{self, Process};
use super::steering;

/// The result of undoing a journal.
#[derive(Clone, Debug)]
pub struct Undone {
    /// One for each change, the last one first.
    pub outcomes: Vec<Outcome>,
    /// True if no change is left to undo; the journal is then removed.
    pub complete: bool,
}

/// Restores the state in a journal, the last change first, and removes the journal when no change is left.
///
/// An ended process, a removed device and, after a reboot, everything but files need no restoring. A file that another
/// process has changed is not restored, and the journal stays.
pub fn undo(host: &Host, path: &Path) -> Result<Undone> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let shown = path.display().to_string();
    let _lock = journal::lock(folder).map_err(|error| Error::io(&shown, "lock", error))?;
    let record = journal::load(&host.root, path)?;
    let (locator, bounds) = (Locator::new(host), Bounds::of(&host.root)?);
    let mut outcomes = Vec::new();
    for entry in record.entries.iter().rev() {
        if record.rebooted && !matches!(entry, Entry::File { .. }) {
            let gone = Outcome::new(subject(entry), &CpuSet::new());
            outcomes.push(gone.because(State::Applied, Reason::Vanished, "the machine has been started anew since"));
            continue;
        }
        match restore(host, entry, &locator, &bounds) {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => outcomes.push(failed(entry, &error)),
        }
    }
    if !record.rebooted {
        outcomes.extend(restore_born_since(host, &record.entries));
    }
    let complete =
        outcomes.iter().all(|outcome| outcome.state != State::Refused || outcome.reason == Some(Reason::Vanished));
    if complete {
        fs::remove_file(path).map_err(|error| Error::io(&shown, "remove", error))?;
    }
    Ok(Undone { outcomes, complete })
}

/// Lists the items that differ from the journal, with their present CPUs.
pub fn drift(host: &Host, entries: &[Entry]) -> Vec<Outcome> {
    // Of several changes to one thing, the last one counts.
    let mut wanted: BTreeMap<String, &Entry> = BTreeMap::new();
    for entry in entries {
        wanted.insert(key(entry), entry);
    }
    let locator = Locator::new(host);
    wanted.into_values().filter_map(|entry| drifted(host, entry, &locator)).collect()
}

fn key(entry: &Entry) -> String {
    match entry {
        Entry::Irq { identity, .. } => format!("irq {identity:?}"),
        Entry::Thread { pid, started, tid, .. } => format!("thread {pid} {started} {tid}"),
        _ => subject(entry),
    }
}

fn subject(entry: &Entry) -> String {
    match entry {
        Entry::Irq { number, identity, .. } => format!("IRQ {number} {}", identity.action).trim_end().to_owned(),
        Entry::Steering { interface, queue, .. } => format!("{interface} {queue}"),
        Entry::Thread { pid, tid, .. } => format!("thread {tid} of {pid}"),
        Entry::BanLive { .. } => "irqbalance socket".to_owned(),
        Entry::File { path, .. } => path.clone(),
    }
}

fn failed(entry: &Entry, error: &Error) -> Outcome {
    let outcome = Outcome::new(subject(entry), &CpuSet::new());
    let reason =
        if error.is_missing() { Reason::Vanished } else { error.errno().map_or(Reason::Other, Reason::of_errno) };
    outcome.because(State::Refused, reason, error.to_string())
}

fn vanished(entry: &Entry, asked: &CpuSet, detail: &str) -> Outcome {
    Outcome::new(subject(entry), asked).because(State::Refused, Reason::Vanished, detail)
}

fn restore(host: &Host, entry: &Entry, locator: &Locator, bounds: &Bounds) -> Result<Outcome> {
    match entry {
        Entry::Irq { number, identity, before, .. } => match locator.find(identity, *number) {
            Some(now) => restore_irq(host, &now, before, bounds, locator),
            None => Ok(vanished(entry, before, "no interrupt of this device, action and hardware number any more")),
        },
        Entry::Steering { interface, queue, before, .. } => steering::set_cpus(&host.root, interface, queue, before),
        Entry::Thread { pid, started, tid, before, .. } => {
            let process = Process::find(&host.root, *pid)?;
            if process.started != *started {
                return Ok(vanished(entry, before, "the pid belongs to another process now"));
            }
            process.set_thread_affinity(&host.root, *tid, before)
        }
        Entry::BanLive { pid, before, after } => restore_ban(host, entry, *pid, before, after),
        Entry::File { path, before, after } => restore_file(host, entry, path, before.as_deref(), after),
    }
}

/// The kernel takes no set without an online CPU; then the old set cannot come back yet.
fn restore_irq(host: &Host, irq: &Irq, before: &CpuSet, bounds: &Bounds, locator: &Locator) -> Result<Outcome> {
    let mut outcome = irq::set_affinity_of(&host.root, irq, before, bounds, locator.table())?;
    if before.is_subset(&bounds.online) {
        return Ok(outcome);
    }
    if outcome.state == State::Applied || outcome.state == State::Pending {
        outcome.detail = format!("{}restored without CPUs {}, which are offline", outcome.detail, outcome.cut);
    }
    Ok(outcome)
}

fn restore_ban(host: &Host, entry: &Entry, pid: u32, before: &[u32], after: &[u32]) -> Result<Outcome> {
    let outcome = Outcome::new(subject(entry), &CpuSet::new());
    let balance = Irqbalance::read(&host.root)?;
    if balance.pid != Some(pid) {
        return Ok(outcome.because(
            State::Refused,
            Reason::Vanished,
            "that irqbalance does not run any more; its bans went with it",
        ));
    }
    let (now, _) = balance.live(&host.root)?;
    // Bans that other programs added meanwhile stay.
    let ours: BTreeSet<u32> = after.iter().copied().filter(|irq| !before.contains(irq)).collect();
    balance.ban_irqs_live(&host.root, &(&now - &ours))?;
    let (left, _) = balance.live(&host.root)?;
    if left.is_disjoint(&ours) {
        return Ok(Outcome { state: State::Applied, ..outcome });
    }
    Ok(outcome.because(State::Refused, Reason::NotKept, format!("irqbalance still bans {left:?}")))
}

fn restore_file(host: &Host, entry: &Entry, path: &str, before: Option<&[u8]>, after: &[u8]) -> Result<Outcome> {
    let outcome = Outcome::new(subject(entry), &CpuSet::new());
    let now = match host.root.read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.is_missing() => None,
        Err(error) => return Err(error),
    };
    if now.as_deref() == before {
        return Ok(Outcome { state: State::Applied, ..outcome });
    }
    if now.as_deref() != Some(after) {
        let detail = format!("{path}: another process has changed it since; not changed");
        return Ok(outcome.because(State::Refused, Reason::ChangedSince, detail));
    }
    match before {
        Some(bytes) => host.root.replace(path, bytes)?,
        None => fs::remove_file(host.root.real(path)).map_err(|error| Error::io(path, "remove", error))?,
    }
    Ok(Outcome { state: State::Applied, ..outcome })
}

/// Threads and workers that were born after the plan inherited its CPUs; they go where their process was.
fn restore_born_since(host: &Host, entries: &[Entry]) -> Vec<Outcome> {
    let mut known: BTreeSet<(u32, u32)> = BTreeSet::new();
    let mut leaders: BTreeMap<u32, (u64, CpuSet, CpuSet)> = BTreeMap::new();
    for entry in entries {
        let Entry::Thread { pid, started, tid, before, after } = entry else { continue };
        known.insert((*pid, *tid));
        leaders.entry(*pid).or_insert_with(|| (*started, before.clone(), after.clone()));
    }
    let mut outcomes = Vec::new();
    for (pid, (started, before, after)) in &leaders {
        let Ok(family) = process::family(&host.root, *pid) else { continue };
        if family.first().is_none_or(|first| first.started != *started) {
            continue;
        }
        for process in family.iter().filter(|process| process.pid == *pid || !leaders.contains_key(&process.pid)) {
            for tid in process.threads(&host.root).unwrap_or_default() {
                let now = host.root.thread_affinity(process.pid, tid);
                let inherited = now.is_ok_and(|now| now.is_subset(after) && now != *before);
                if inherited && known.insert((process.pid, tid)) {
                    outcomes.extend(process.set_thread_affinity(&host.root, tid, before));
                }
            }
        }
    }
    outcomes
}

fn drifted(host: &Host, entry: &Entry, locator: &Locator) -> Option<Outcome> {
    match entry {
        Entry::Irq { number, identity, after, .. } => {
            let Some(irq) = locator.find(identity, *number) else {
                return Some(vanished(
                    entry,
                    after,
                    "no interrupt of this device, action and hardware number any more",
                ));
            };
            let mut outcome = Outcome::new(subject(entry), after);
            (outcome.now, outcome.effective) = (irq.affinity.clone(), irq.effective);
            let moved = irq.affinity.as_ref() != Some(after);
            moved.then(|| {
                outcome.because(
                    State::Refused,
                    Reason::ChangedSince,
                    format!("IRQ {} is on other CPUs now", irq.number),
                )
            })
        }
        Entry::Steering { interface, queue, after, .. } => {
            let now = host.root.cpu_mask(&steering::path(interface, queue)).ok().flatten();
            let mut outcome = Outcome::new(subject(entry), after);
            outcome.now.clone_from(&now);
            (now.as_ref() != Some(after))
                .then(|| outcome.because(State::Refused, Reason::ChangedSince, "set to other CPUs"))
        }
        Entry::Thread { pid, started, tid, after, .. } => {
            let alive = Process::find(&host.root, *pid).is_ok_and(|process| process.started == *started);
            // A thread that ended has not moved.
            let now = if alive { host.root.thread_affinity(*pid, *tid).ok()? } else { return None };
            let mut outcome = Outcome::new(subject(entry), after);
            outcome.now = Some(now.clone());
            (!now.is_subset(after))
                .then(|| outcome.because(State::Refused, Reason::ChangedSince, "may run on other CPUs now"))
        }
        Entry::BanLive { pid, after, .. } => {
            let balance = Irqbalance::read(&host.root).ok()?;
            let outcome = Outcome::new(subject(entry), &CpuSet::new());
            if balance.pid != Some(*pid) {
                let detail = "irqbalance has been started anew or ended: bans by socket are lost";
                return Some(outcome.because(State::Refused, Reason::Vanished, detail));
            }
            let (now, _) = balance.live(&host.root).ok()?;
            let lost = after.iter().any(|irq| !now.contains(irq));
            lost.then(|| outcome.because(State::Refused, Reason::ChangedSince, "some of the bans are lifted"))
        }
        Entry::File { path, after, .. } => {
            let same = host.root.read(path).is_ok_and(|now| now == *after);
            let outcome = Outcome::new(subject(entry), &CpuSet::new());
            (!same).then(|| outcome.because(State::Refused, Reason::ChangedSince, format!("{path}: changed since")))
        }
    }
}
