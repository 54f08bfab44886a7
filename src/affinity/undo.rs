//! Taking a journal back: by identity, never by number, and only what is still as the plan left it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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

/// How long interrupts may take to arrive where they arrived before.
const ARRIVAL: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(20);

/// The result of undoing a journal.
#[derive(Clone, Debug)]
pub struct Undone {
    /// One for each thing that was changed: processes, queues, interrupts, irqbalance.
    pub outcomes: Vec<Outcome>,
    /// True if no change is left to undo; the journal is then removed.
    pub complete: bool,
}

/// Restores the state in a journal, and removes the journal when no change is left.
///
/// An ended process, a removed device and, after a reboot, everything but files need no restoring. Items that another
/// program has moved since are left where they are; those that a later plan has moved are restored by its undo.
pub fn undo(host: &Host, path: &Path) -> Result<Undone> {
    let shown = path.display().to_string();
    let _lock = journal::lock(journal::folder_of(path)).map_err(|error| Error::io(&shown, "lock", error))?;
    let record = journal::load(&host.root, path)?;
    let changes = joined(&record.entries);
    let mut undo = Undo { host, path, locator: Locator::new(host), bounds: Bounds::of(&host.root)? };
    let mut outcomes = Vec::new();
    if record.rebooted {
        for change in changes.iter().filter(|change| !matches!(change, Entry::File { .. })) {
            let gone = Outcome::new(change.subject(), &CpuSet::new());
            outcomes.push(gone.because(State::Applied, Reason::Vanished, "the machine has been started anew since"));
        }
    } else {
        outcomes.extend(undo.threads(&changes));
        outcomes.extend(restore_born_since(host, &record.entries));
        outcomes.extend(undo.queues(&changes));
        outcomes.extend(undo.irqs(&changes));
        outcomes.extend(undo.live_bans(&changes));
    }
    outcomes.extend(undo.files(&changes));
    let complete =
        outcomes.iter().all(|outcome| outcome.state != State::Refused || outcome.reason == Some(Reason::Vanished));
    if complete {
        fs::remove_file(path).map_err(|error| Error::io(&shown, "remove", error))?;
    }
    Ok(Undone { outcomes, complete })
}

/// One change for each thing, from before the first to after the last, the last thing first.
fn joined(entries: &[Entry]) -> Vec<Entry> {
    let mut joined: Vec<Entry> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries {
        if let Some(place) = places.get(&entry.key()) {
            joined[*place] = entry.clone().since(&joined[*place]);
        } else {
            places.insert(entry.key(), joined.len());
            joined.push(entry.clone());
        }
    }
    joined.reverse();
    joined
}

fn failed(entry: &Entry, error: &Error) -> Outcome {
    let reason =
        if error.is_missing() { Reason::Vanished } else { error.errno().map_or(Reason::Other, Reason::of_errno) };
    Outcome::new(entry.subject(), &CpuSet::new()).because(State::Refused, reason, error.to_string())
}

fn vanished(entry: &Entry, asked: &CpuSet, detail: &str) -> Outcome {
    Outcome::new(entry.subject(), asked).because(State::Refused, Reason::Vanished, detail)
}

/// An interrupt that is to go back.
struct Returning<'a> {
    irq: Irq,
    before: &'a CpuSet,
    arrived: Option<&'a CpuSet>,
}

struct Undo<'a> {
    host: &'a Host,
    path: &'a Path,
    locator: Locator<'a>,
    bounds: Bounds,
}

impl Undo<'_> {
    fn threads(&mut self, changes: &[Entry]) -> Vec<Outcome> {
        let restore = |change: &Entry| {
            let Entry::Thread { pid, started, tid, before, after } = change else { return None };
            let attempt = || {
                let process = Process::find(&self.host.root, *pid)?;
                if process.started != *started {
                    return Ok(vanished(change, before, "the pid belongs to another process now"));
                }
                match self.host.root.thread_affinity(*pid, *tid) {
                    Ok(now) if !now.is_subset(after) && !self.is_back(&now, before) => {
                        self.left(change, before, &now)
                    }
                    _ => process.set_thread_affinity(&self.host.root, *tid, before),
                }
            };
            Some(attempt().unwrap_or_else(|error| failed(change, &error)))
        };
        changes.iter().filter_map(restore).collect()
    }

    fn queues(&mut self, changes: &[Entry]) -> Vec<Outcome> {
        let restore = |change: &Entry| {
            let Entry::Steering { interface, queue, before, after } = change else { return None };
            let attempt = || match self.host.root.cpu_mask(&steering::path(interface, queue))? {
                Some(now) if !now.is_subset(after) && now != *before => self.left(change, before, &now),
                _ => steering::set_cpus(&self.host.root, interface, queue, before),
            };
            Some(attempt().unwrap_or_else(|error| failed(change, &error)))
        };
        changes.iter().filter_map(restore).collect()
    }

    /// First each vector to the CPU where it arrived, then its mask: x86 leaves a vector where it is while that CPU is in
    /// the mask, and a plan's interrupts would all stay on the plan's CPU.
    fn irqs(&mut self, changes: &[Entry]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut returning = Vec::new();
        for change in changes {
            let Entry::Irq { number, identity, before, effective, after } = change else { continue };
            let Some(irq) = self.locator.find(identity, *number) else {
                let detail = "no interrupt of this device, action and hardware number any more";
                outcomes.push(vanished(change, before, detail));
                continue;
            };
            match irq.affinity.clone().filter(|now| now != before && !self.is_ours(now, after)) {
                Some(now) => {
                    let left = self.left(change, before, &now);
                    outcomes.push(left.unwrap_or_else(|error| failed(change, &error)));
                }
                None => returning.push(Returning { irq, before, arrived: effective.as_ref() }),
            }
        }
        self.send_back(&returning);
        outcomes.extend(returning.iter().map(|returning| self.restore_irq(returning)));
        outcomes
    }

    /// Returns true if a thread may run on all CPUs of before that are online.
    fn is_back(&self, now: &CpuSet, before: &CpuSet) -> bool {
        (before & &self.bounds.online).is_subset(now)
    }

    /// Returns true if an interrupt is where its plan sent it, or where the kernel put it when those CPUs went offline.
    fn is_ours(&self, now: &CpuSet, after: &CpuSet) -> bool {
        let went_offline = now.is_disjoint(after) && (&self.bounds.online - after).is_subset(now);
        now == after || went_offline
    }

    /// Sends vectors to the CPUs where they arrived before, and waits for those that fire.
    fn send_back(&self, returning: &[Returning<'_>]) {
        let away = |irq: &Irq, arrived: &CpuSet| irq.effective.as_ref().is_some_and(|now| now != arrived);
        let mut sent = Vec::new();
        for Returning { irq, before, arrived } in returning {
            let Some(arrived) = arrived.filter(|cpus| cpus.is_subset(&(*before & &self.bounds.online))) else {
                continue;
            };
            if away(irq, arrived)
                && irq::set_affinity_of(&self.host.root, irq, arrived, &self.bounds, self.locator.table()).is_ok()
                && self.locator.fires(irq.number)
            {
                sent.push((irq.number, arrived));
            }
        }
        let end = Instant::now() + ARRIVAL;
        let is_away = |(number, arrived): &(u32, &CpuSet)| {
            irq::effective(&self.host.root, *number).is_ok_and(|now| now.is_some_and(|now| now != **arrived))
        };
        while Instant::now() < end && sent.iter().any(is_away) {
            std::thread::sleep(STEP);
        }
    }

    fn restore_irq(&self, Returning { irq, before, .. }: &Returning<'_>) -> Outcome {
        let restored = irq::restore(&self.host.root, irq, before, &self.bounds, self.locator.table());
        restored.unwrap_or_else(|error| {
            let reason = error.errno().map_or(Reason::Other, Reason::of_errno);
            Outcome::new(format!("IRQ {}", irq.number), before).because(State::Refused, reason, error.to_string())
        })
    }

    /// Reports a change by another program since. A later plan is told what to restore in this one's place.
    fn left(&self, change: &Entry, before: &CpuSet, now: &CpuSet) -> Result<Outcome> {
        let outcome = Outcome { now: Some(now.clone()), ..Outcome::new(change.subject(), before) };
        let detail = match self.hand_on(change)? {
            Some(later) => format!("{} has moved it since; its undo restores {before}", later.display()),
            None => format!("another program has moved it to {now} since; left there"),
        };
        Ok(outcome.because(State::Applied, Reason::ChangedSince, detail))
    }

    /// Gives the state before this plan to the next plan that changed the same thing.
    fn hand_on(&self, change: &Entry) -> Result<Option<PathBuf>> {
        let key = change.key();
        for later in journal::pending(journal::folder_of(self.path))? {
            if later.as_path() <= self.path {
                continue;
            }
            let Ok(record) = journal::load(&self.host.root, &later) else { continue };
            if record.entries.iter().any(|entry| entry.key() == key) {
                let mut is_first = true;
                journal::rewrite(&later, &mut |entry| {
                    let mine = entry.key() == key && std::mem::take(&mut is_first);
                    if mine { entry.since(change) } else { entry }
                })?;
                return Ok(Some(later));
            }
        }
        Ok(None)
    }

    fn live_bans(&mut self, changes: &[Entry]) -> Vec<Outcome> {
        let restore = |change: &Entry| {
            let Entry::BanLive { pid, before, after } = change else { return None };
            let restored = restore_ban(self.host, change, *pid, before, after);
            Some(restored.unwrap_or_else(|error| failed(change, &error)))
        };
        changes.iter().filter_map(restore).collect()
    }

    fn files(&mut self, changes: &[Entry]) -> Vec<Outcome> {
        let restore = |change: &Entry| {
            let Entry::File { path, before, after } = change else { return None };
            let restored = restore_file(self.host, change, path, before.as_deref(), after);
            Some(restored.unwrap_or_else(|error| failed(change, &error)))
        };
        changes.iter().filter_map(restore).collect()
    }
}

fn restore_ban(host: &Host, entry: &Entry, pid: u32, before: &[u32], after: &[u32]) -> Result<Outcome> {
    let outcome = Outcome::new(entry.subject(), &CpuSet::new());
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

/// The bytes from before if the file is as this plan left it; otherwise the edited file without this plan's bans.
fn restore_file(host: &Host, entry: &Entry, path: &str, before: Option<&[u8]>, after: &[u8]) -> Result<Outcome> {
    let outcome = Outcome::new(entry.subject(), &CpuSet::new());
    let now = match host.root.read(path) {
        Ok(bytes) => bytes,
        // Removed by another hand: nothing of ours is left in it.
        Err(error) if error.is_missing() => return Ok(Outcome { state: State::Applied, ..outcome }),
        Err(error) => return Err(error),
    };
    if Some(now.as_slice()) == before {
        return Ok(Outcome { state: State::Applied, ..outcome });
    }
    if now == after {
        match before {
            Some(bytes) => host.root.replace(path, bytes)?,
            None => fs::remove_file(host.root.real(path)).map_err(|error| Error::io(path, "remove", error))?,
        }
        return Ok(Outcome { state: State::Applied, ..outcome });
    }
    let balance = Irqbalance::read(&host.root)?;
    let cleaned = balance.without_bans_between(&now, before.unwrap_or_default(), after);
    if cleaned != now {
        host.root.replace(path, &cleaned)?;
    }
    let detail = "edited by another hand since: only the bans of this plan are taken out";
    Ok(outcome.because(State::Applied, Reason::ChangedSince, detail))
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
