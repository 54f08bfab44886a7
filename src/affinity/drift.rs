//! Drift, the items of an applied plan that have moved since: its request is planned again on the same CPUs, and compared.
//!
//! So a restarted server, a new queue and an item that was in place before count as well as what was moved.

use super::cpuset::CpuSet;
use super::error::{Error, Result};
use super::host::Host;
use super::irqbalance::{self, Irqbalance};
use super::journal::Record;
use super::outcome::{Outcome, Reason, State};
use super::plan::{Change, Item, Plan};
use super::process::Process;
use super::request::Request;

/// A plan made again, and what of its request is not there any more.
pub(crate) struct Again {
    /// None if neither a device nor a process of the request is there.
    pub(crate) plan: Option<Plan>,
    /// The devices and processes that are gone.
    pub(crate) gone: Vec<Outcome>,
}

impl Again {
    /// The plan, or an error that names what is gone.
    pub(crate) fn into_plan(self) -> Result<Plan> {
        let gone: Vec<String> = self.gone.iter().map(ToString::to_string).collect();
        self.plan.ok_or_else(|| Error::Usage(format!("nothing of the plan is there: {}", gone.join("; "))))
    }
}

/// Plans the request of a journal again, on the CPUs that were chosen then.
pub(crate) fn plan_again(host: &Host, record: &Record) -> Result<Again> {
    let kept = record.request.as_ref().and_then(|request| Request::from_json(&host.root, request));
    let Some((mut request, missing)) = kept else {
        return Err(Error::Usage("the journal has no request to compare with, it can only be undone".into()));
    };
    let gone = |subject: &str, detail: String| {
        Outcome::new(subject, &CpuSet::new()).because(State::Refused, Reason::Vanished, detail)
    };
    let mut outcomes: Vec<Outcome> = missing.iter().map(|process| gone(process, "does not run".to_owned())).collect();
    request.devices.retain(|name| match host.device(name) {
        Ok(_) => true,
        Err(error) => {
            outcomes.push(gone(name, error.to_string()));
            false
        }
    });
    let plan = if request.is_empty() { None } else { Some(host.plan(&request)?) };
    Ok(Again { plan, gone: outcomes })
}

/// Lists the items that differ from a journal's plan, with their present CPUs.
pub fn drift(host: &Host, record: &Record) -> Result<Vec<Outcome>> {
    let Again { plan, gone } = plan_again(host, record)?;
    let mut found = gone;
    for item in plan.iter().flat_map(|plan| &plan.items) {
        found.extend(drifted(host, item, record.results.get(&item.key()).copied()));
    }
    Ok(found)
}

/// How an item differs; `result` is its state when the plan was applied.
pub(crate) fn drifted(host: &Host, item: &Item, result: Option<State>) -> Vec<Outcome> {
    // Refused then, or placed by the kernel: the plan did not move it.
    if matches!(result, Some(State::Managed | State::Refused)) {
        return Vec::new();
    }
    match &item.change {
        Change::Irq { .. } => irq(item, result).into_iter().collect(),
        Change::Steering { .. } => {
            let differs = !item.is_done();
            let outcome = Outcome { now: item.now.clone(), ..Outcome::new(item.subject(), &item.target) };
            differs
                .then(|| outcome.because(State::Refused, Reason::ChangedSince, "set to other CPUs"))
                .into_iter()
                .collect()
        }
        Change::Process(process) => threads(host, process, &item.target),
        Change::BanLive { irqs } | Change::BanFile { irqs } => {
            let Ok(balance) = Irqbalance::read(&host.root) else { return Vec::new() };
            let (banned, place) = match &item.change {
                Change::BanLive { .. } => (balance.live(&host.root).map(|(irqs, _)| irqs), "the running irqbalance"),
                _ => (
                    host.root.read(&balance.file).map(|now| irqbalance::banned_irqs(&balance.arguments(&now))),
                    balance.file.as_str(),
                ),
            };
            let left = irqs - &banned.unwrap_or_default();
            let outcome = Outcome::new(format!("irqbalance {}", item.subject()), &CpuSet::new());
            let detail = || format!("{place} may move {} of the interrupts again", left.len());
            (!left.is_empty())
                .then(|| outcome.because(State::Refused, Reason::ChangedSince, detail()))
                .into_iter()
                .collect()
        }
    }
}

fn irq(item: &Item, result: Option<State>) -> Option<Outcome> {
    let strayed = item.effective.as_ref().filter(|effective| !effective.is_subset(&item.target));
    let mut outcome = Outcome::new(format!("IRQ {} {}", item.subject(), item.label), &item.target);
    (outcome.now, outcome.effective) = (item.now.clone(), item.effective.clone());
    if item.now.as_ref() != Some(&item.target) {
        let detail = if result.is_none() { "a new interrupt, on other CPUs" } else { "set to other CPUs" };
        return Some(outcome.because(State::Refused, Reason::ChangedSince, detail));
    }
    // One that waited for its first interrupt then may wait still.
    let strayed = strayed.filter(|_| result == Some(State::Applied))?;
    Some(outcome.because(State::Refused, Reason::ChangedSince, format!("its interrupts arrive on CPU {strayed}")))
}

fn threads(host: &Host, process: &Process, target: &CpuSet) -> Vec<Outcome> {
    let strayed = |tid: u32| {
        let now = host.root.thread_affinity(process.pid, tid).ok().filter(|now| !now.is_subset(target))?;
        let subject = format!("thread {tid} of {}", process.pid);
        let outcome = Outcome { now: Some(now), ..Outcome::new(subject, target) };
        Some(outcome.because(State::Refused, Reason::ChangedSince, "may run on other CPUs"))
    };
    process.threads(&host.root).unwrap_or_default().into_iter().filter_map(strayed).collect()
}
