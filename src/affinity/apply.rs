//! Doing a plan: each change is journalled, written, read back, and watched until it holds.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::conflicts::Severity;
use super::cpuset::CpuSet;
use super::drift;
use super::error::{Error, Result};
use super::host::Host;
use super::interrupts::{InterruptTable, since};
use super::irq::{self, Bounds, Irq, Managed};
use super::irqbalance::Irqbalance;
use super::journal::{self, Entry, Journal, Record};
use super::locate::Locator;
use super::outcome::{Outcome, Reason, State};
use super::plan::{Change, Item, Plan};
use super::steering;
use super::undo::{self, Undone};

/// How often pending interrupts are looked at.
const STEP: Duration = Duration::from_millis(50);

/// The result of one item: one outcome, or one for each thread.
#[derive(Clone, Debug)]
pub struct Report {
    /// The item.
    pub item: Item,
    /// One outcome for the item, or one for each thread.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// The worst of its outcomes.
    pub fn state(&self) -> State {
        let has = |state: State| self.outcomes.iter().any(|outcome| outcome.state == state);
        let worst = [State::Refused, State::Pending, State::Managed].into_iter().find(|state| has(*state));
        worst.unwrap_or(State::Applied)
    }

    /// The first reason that is not success.
    pub fn detail(&self) -> &str {
        let telling = self.outcomes.iter().filter(|outcome| !outcome.detail.is_empty());
        let worst = telling.clone().find(|outcome| outcome.state == self.state());
        worst.or_else(|| telling.clone().next()).map_or("", |outcome| outcome.detail.as_str())
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({"kind": self.item.kind(), "subject": self.item.subject(), "label": self.item.label,
               "state": self.state().name(), "detail": self.detail(),
               "outcomes": self.outcomes.iter().map(Outcome::to_json).collect::<Vec<_>>()})
    }
}

/// A plan that has been applied.
#[derive(Debug)]
pub struct Applied {
    /// The plan.
    pub plan: Plan,
    /// A report for each item, updated by [`Applied::verify`].
    pub reports: Vec<Report>,
    /// The states when the plan was applied, by the names of what its items change.
    results: BTreeMap<String, State>,
    journal: PathBuf,
    /// The interrupts counted when the last write was made, and at the last look.
    counted: Option<InterruptTable>,
}

/// Applies a plan. `journal` is the file to write, none for a new one in the default folder. Conflicts that block are an
/// error before anything is written, unless `force`.
pub fn apply(plan: &Plan, journal: Option<&Path>, force: bool) -> Result<Applied> {
    let blocking: Vec<String> = plan
        .conflicts
        .iter()
        .filter(|conflict| conflict.severity == Severity::Blocks)
        .map(ToString::to_string)
        .collect();
    if !blocking.is_empty() && !force {
        return Err(Error::Usage(format!("nothing was changed, because of {}", blocking.join("; "))));
    }
    let journal = Journal::create(&plan.host.root, journal, &plan.request.to_json())?;
    apply_to(plan, journal)
}

/// Applies the plan of a journal again, and records in the same journal what that changes. After a restart of the machine
/// only the files of the old journal count, and all items are applied anew.
pub fn apply_again(host: &Host, path: &Path) -> Result<Applied> {
    let record = journal::load(&host.root, path)?;
    let mut plan = drift::plan_again(host, &record)?.into_plan()?;
    if record.rebooted {
        let mut journal = Journal::create(&host.root, None, &plan.request.to_json())?;
        let files: Vec<Entry> =
            record.entries.into_iter().filter(|entry| matches!(entry, Entry::File { .. })).collect();
        journal.record(&files)?;
        std::fs::remove_file(path).map_err(|error| Error::io(&path.display().to_string(), "remove", error))?;
        return apply_to(&plan, journal);
    }
    plan.items.retain(|item| !drift::drifted(host, item, record.results.get(&item.key()).copied()).is_empty());
    apply_to(&plan, Journal::reopen(path)?)
}

fn apply_to(plan: &Plan, mut journal: Journal) -> Result<Applied> {
    let (locator, bounds) = (Locator::new(&plan.host), Bounds::of(&plan.host.root)?);
    let mut done = Doing { plan, journal: &mut journal, locator, bounds, found: None };
    let mut reports = Vec::with_capacity(plan.items.len());
    for item in &plan.items {
        // An error at one item is that item's outcome: the others are independent of it, and all are in the journal.
        let outcomes = done.item(item).unwrap_or_else(|error| vec![outcome_of(item, &error)]);
        reports.push(Report { item: item.clone(), outcomes });
    }
    let results = reports.iter().map(|report| (report.item.key(), report.state())).collect();
    // All changes are on disk; a disk that fills up now loses the results only.
    let _ = journal.record_results(&results);
    let counted = plan.host.table();
    Ok(Applied { plan: plan.clone(), reports, results, journal: journal.path().to_path_buf(), counted })
}

fn name(item: &Item) -> String {
    format!("{} {}", if item.kind() == "irq" { "IRQ" } else { item.kind() }, item.subject())
}

fn outcome_of(item: &Item, error: &Error) -> Outcome {
    let reason =
        if error.is_missing() { Reason::Vanished } else { error.errno().map_or(Reason::Other, Reason::of_errno) };
    Outcome::new(name(item), &item.target).because(State::Refused, reason, error.to_string())
}

struct Doing<'a> {
    plan: &'a Plan,
    journal: &'a mut Journal,
    locator: Locator<'a>,
    bounds: Bounds,
    /// The interrupts of the plan, looked up and journalled together before the first of them is written.
    found: Option<HashMap<u32, Irq>>,
}

impl Doing<'_> {
    fn item(&mut self, item: &Item) -> Result<Vec<Outcome>> {
        match &item.change {
            Change::BanLive { irqs } => self.ban_live(item, irqs).map(|outcome| vec![outcome]),
            Change::BanFile { irqs } => self.ban_file(item, irqs).map(|outcome| vec![outcome]),
            Change::Irq { .. } => self.irq(item).map(|outcome| vec![outcome]),
            Change::Steering { interface, queue } => {
                self.steering(item, interface, queue).map(|outcome| vec![outcome])
            }
            Change::Process(_) => self.process(item),
        }
    }

    fn irq(&mut self, item: &Item) -> Result<Outcome> {
        let Change::Irq { number, identity } = &item.change else {
            return Err(Error::Usage("not an interrupt".into()));
        };
        let outcome = Outcome::new(format!("IRQ {number}"), &item.target);
        if item.managed == Managed::Yes {
            let detail = "placed by the kernel itself";
            let outcome = Outcome { now: item.now.clone(), before: item.now.clone(), ..outcome };
            return Ok(outcome.because(State::Managed, Reason::Managed, detail));
        }
        if self.found.is_none() {
            self.found = Some(self.find_and_record_irqs()?);
        }
        let Some(irq) = self.found.as_ref().and_then(|found| found.get(number)) else {
            let detail = format!("{}: no such interrupt any more", identity.action);
            return Ok(outcome.because(State::Refused, Reason::Vanished, detail));
        };
        irq::set_affinity_of(&self.plan.host.root, irq, &item.target, &self.bounds, self.locator.table())
    }

    /// All in one write to the journal: each waits for the disk.
    fn find_and_record_irqs(&mut self) -> Result<HashMap<u32, Irq>> {
        let (mut entries, mut found) = (Vec::new(), HashMap::new());
        for item in self.plan.items.iter().filter(|item| item.managed != Managed::Yes) {
            let Change::Irq { number, identity } = &item.change else { continue };
            let Some(irq) = self.locator.find(identity, *number) else { continue };
            let after = &item.target & &self.bounds.online;
            if let Some(before) = irq.affinity.clone().filter(|before| *before != after && !after.is_empty()) {
                let (identity, effective) = (identity.clone(), irq.effective.clone());
                entries.push(Entry::Irq { number: irq.number, identity, before, effective, after });
            }
            found.insert(*number, irq);
        }
        self.journal.record(&entries)?;
        Ok(found)
    }

    fn steering(&mut self, item: &Item, interface: &str, queue: &str) -> Result<Outcome> {
        let path = steering::path(interface, queue);
        if let Some(before) = self.plan.host.root.cpu_mask(&path)?.filter(|before| *before != item.target) {
            let (interface, queue) = (interface.to_owned(), queue.to_owned());
            self.journal.record(&[Entry::Steering { interface, queue, before, after: item.target.clone() }])?;
        }
        steering::set_cpus(&self.plan.host.root, interface, queue, &item.target)
    }

    fn process(&mut self, item: &Item) -> Result<Vec<Outcome>> {
        let Change::Process(process) = &item.change else { return Err(Error::Usage("not a process".into())) };
        let plan = self.plan;
        if !process.is_alive(&plan.host.root) {
            let outcome = Outcome::new(name(item), &item.target);
            return Ok(vec![outcome.because(
                State::Refused,
                Reason::Vanished,
                format!("/proc/{}: it has ended", process.pid),
            )]);
        }
        let (pid, started) = (process.pid, process.started);
        let mut record = |threads: &[(u32, CpuSet)]| {
            let moved = threads.iter().filter(|(_, before)| *before != item.target);
            let entry = |(tid, before): &(u32, CpuSet)| Entry::Thread {
                pid,
                started,
                tid: *tid,
                before: before.clone(),
                after: item.target.clone(),
            };
            self.journal.record(&moved.map(entry).collect::<Vec<_>>())
        };
        process.move_threads(&plan.host.root, &item.target, true, &mut record)
    }

    fn ban_live(&mut self, item: &Item, irqs: &std::collections::BTreeSet<u32>) -> Result<Outcome> {
        let root = &self.plan.host.root;
        let balance = Irqbalance::read(root)?;
        let outcome = Outcome::new(name(item), &CpuSet::new());
        let Some(pid) = balance.pid else {
            return Ok(outcome.because(State::Applied, Reason::Vanished, "irqbalance does not run any more"));
        };
        let (before, _) = balance.live(root)?;
        let after = &before | irqs;
        if after != before {
            let list = |set: &std::collections::BTreeSet<u32>| set.iter().copied().collect();
            self.journal.record(&[Entry::BanLive { pid, before: list(&before), after: list(&after) }])?;
            balance.ban_irqs_live(root, &after)?;
        }
        let (now, _) = balance.live(root)?;
        if irqs.is_subset(&now) {
            return Ok(Outcome { state: State::Applied, ..outcome });
        }
        Ok(outcome.because(State::Refused, Reason::NotKept, format!("irqbalance bans {now:?} only")))
    }

    fn ban_file(&mut self, item: &Item, irqs: &std::collections::BTreeSet<u32>) -> Result<Outcome> {
        let root = &self.plan.host.root;
        let balance = Irqbalance::read(root)?;
        let before = match root.read(&balance.file) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.is_missing() => None,
            Err(error) => return Err(error),
        };
        let after = balance.with_banned_irqs(before.as_deref().unwrap_or_default(), irqs);
        if before.as_deref() != Some(&after) {
            self.journal.record(&[Entry::File { path: balance.file.clone(), before, after: after.clone() }])?;
            root.replace(&balance.file, &after)?;
        }
        let now = balance.arguments(&root.read(&balance.file)?);
        let outcome = Outcome::new(name(item), &CpuSet::new());
        if irqs.is_subset(&super::irqbalance::banned_irqs(&now)) {
            return Ok(Outcome { state: State::Applied, ..outcome });
        }
        Ok(outcome.because(State::Refused, Reason::NotKept, format!("{} reads back as {now:?}", balance.file)))
    }
}

impl Applied {
    /// The journal that takes it back, also after a crash.
    pub fn journal(&self) -> &Path {
        &self.journal
    }

    /// Returns true if no item is refused. A pending interrupt is set, and moves when it fires the next time.
    pub fn is_complete(&self) -> bool {
        self.reports.iter().all(|report| report.state() != State::Refused)
    }

    /// Returns true if an interrupt that fires has not yet been counted on its new CPU. An interrupt that has never
    /// fired since boot may never fire, and is not waited for.
    fn is_waiting(&self) -> bool {
        let fires = |number: u32| self.counted.as_ref().is_some_and(|table| table.fires(number));
        self.reports.iter().filter(|report| report.state() == State::Pending).any(|report| {
            match &report.item.change {
                Change::Irq { number, .. } => fires(*number),
                _ => true,
            }
        })
    }

    /// Inspects every interrupt and thread again, and updates the report. A pending item becomes applied when its
    /// effective CPU, or the counts since the last call, show it. An item that another process moved becomes refused
    /// (`changed since`).
    pub fn verify(&mut self) -> Result<()> {
        let host = self.plan.host.clone();
        let locator = Locator::new(&host);
        let (online, _) = irq::cpus_of(&host.root)?;
        for report in &mut self.reports {
            match &report.item.change {
                Change::Irq { number, identity } => {
                    let Some(outcome) = report.outcomes.first_mut() else { continue };
                    if !matches!(outcome.state, State::Applied | State::Pending) {
                        continue;
                    }
                    let target = &report.item.target & &online;
                    let path = irq::folder(*number);
                    let Some(now) = locator.find(identity, *number) else {
                        *outcome =
                            outcome.clone().because(State::Refused, Reason::Vanished, format!("{path}: gone since"));
                        continue;
                    };
                    (outcome.now, outcome.effective) = (now.affinity, now.effective);
                    let judged = irq::judge(outcome.clone(), &path, &target);
                    *outcome = match judged.reason {
                        Some(Reason::NotKept) => {
                            let now = judged.now.clone().unwrap_or_default();
                            judged.because(
                                State::Refused,
                                Reason::ChangedSince,
                                format!("{path}: another process moved it to {now}"),
                            )
                        }
                        Some(Reason::WaitsForInterrupt) => {
                            by_counts(judged, *number, &target, self.counted.as_ref(), locator.table())
                        }
                        _ => judged,
                    };
                }
                Change::Process(process) => {
                    for outcome in report.outcomes.iter_mut().filter(|outcome| outcome.state == State::Applied) {
                        let tid =
                            outcome.subject.split(' ').nth(1).and_then(|tid| tid.parse().ok()).unwrap_or(process.pid);
                        let Ok(now) = host.root.thread_affinity(process.pid, tid) else { continue };
                        let strayed = !now.is_subset(&report.item.target);
                        outcome.now = Some(now.clone());
                        if strayed {
                            let detail = format!("another process moved it to {now}");
                            *outcome = outcome.clone().because(State::Refused, Reason::ChangedSince, detail);
                        }
                    }
                }
                _ => {}
            }
        }
        self.counted = locator.table().cloned();
        Ok(())
    }

    /// Verifies until nothing is pending any more or the time is over; with `watch`, for all of that time. `go_on` is asked
    /// between looks and ends it early.
    pub fn settle(&mut self, time: Duration, watch: bool, go_on: &mut dyn FnMut() -> bool) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            self.verify()?;
            if (!self.is_waiting() && !watch) || Instant::now() >= end || !go_on() {
                return Ok(());
            }
            std::thread::sleep(STEP.min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// Lists the items that have moved since they were applied.
    pub fn drift(&self) -> Result<Vec<Outcome>> {
        let request = Some(self.plan.request.to_json());
        drift::drift(&self.plan.host, &Record { request, results: self.results.clone(), ..Record::default() })
    }

    /// Takes it back.
    pub fn undo(&self) -> Result<Undone> {
        undo::undo(&self.plan.host, &self.journal)
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({"journal": self.journal.display().to_string(), "complete": self.is_complete(),
               "items": self.reports.iter().map(Report::to_json).collect::<Vec<_>>()})
    }
}

/// Counts tell where an interrupt really arrives, also where `effective_affinity` lags or lies.
fn by_counts(
    outcome: Outcome,
    number: u32,
    target: &CpuSet,
    before: Option<&InterruptTable>,
    now: Option<&InterruptTable>,
) -> Outcome {
    let (Some(before), Some(now)) = (before, now) else { return outcome };
    let (Some(old), Some(new)) = (before.irq(number), now.irq(number)) else { return outcome };
    if old.tail().actions != new.tail().actions || before.columns() != now.columns() {
        return outcome;
    }
    let arrived = |inside: bool| -> u64 {
        let rows = now.columns().iter().zip(new.counts().iter().zip(old.counts()));
        rows.filter(|(cpu, _)| target.contains(**cpu as usize) == inside)
            .map(|(_, (new, old))| since(*new, *old))
            .sum()
    };
    match (arrived(true), arrived(false)) {
        (0, 0) => outcome,
        (_, 0) => {
            Outcome { state: State::Applied, reason: None, detail: "seen to arrive there".to_owned(), ..outcome }
        }
        (_, elsewhere) => {
            let detail = format!("{elsewhere} interrupts still arrived elsewhere since the last look");
            outcome.because(State::Pending, Reason::WaitsForInterrupt, detail)
        }
    }
}
