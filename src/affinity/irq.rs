//! One interrupt: its files below `/proc/irq/N` and `/sys/kernel/irq/N`, read and set.

use super::cpuset::CpuSet;
use super::error::{Error, Result};
use super::interrupts::{InterruptTable, split_actions};
use super::outcome::{Outcome, Reason, State};
use super::queue::{self, Queue};
use super::root::Root;

/// An interrupt as it is now (`struct irq_desc`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Irq {
    /// Its number. Numbers change when a driver is bound again; [`Identity`] does not.
    pub number: u32,
    /// `smp_affinity`: where it may go.
    pub affinity: Option<CpuSet>,
    /// `effective_affinity`: where it goes. Absent where the kernel keeps none.
    pub effective: Option<CpuSet>,
    /// `affinity_hint`: where its driver would have it. Absent if it does not say.
    pub hint: Option<CpuSet>,
    /// NUMA node; none if the kernel does not know one (-1).
    pub node: Option<u32>,
    /// States if the kernel places the interrupt itself.
    pub managed: Managed,
    /// True if `smp_affinity` may be written: mode 0444 says no from Linux 6.12 on.
    pub writable: bool,
    /// The controller's name.
    pub chip: String,
    /// The number inside the controller.
    pub hwirq: Option<u64>,
    /// `edge`, `level`, or as the table prints it.
    pub trigger: String,
    /// The names of the drivers that requested the interrupt.
    pub actions: Vec<String>,
    /// `spurious`: interrupts since the last reset of the counter, and how many of them no driver handled.
    pub spurious: Option<Spurious>,
}

/// `/proc/irq/N/spurious`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Spurious {
    /// Interrupts counted.
    pub count: u64,
    /// Those that no action handled; 99,900 of 100,000 and the kernel turns the line off.
    pub unhandled: u64,
    /// Milliseconds after boot of the last of them.
    pub last_unhandled_ms: u64,
}

/// States if the kernel places an interrupt itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Managed {
    /// No.
    No,
    /// By its name it should be (Linux before 6.12 says so only when written to).
    Presumed,
    /// Yes: the file is not writable.
    Yes,
}

/// The parts of an interrupt that survive renumbering: the device's bus address, the action and the number inside the
/// controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// `0000:00:05.0`, or empty.
    pub bus: String,
    /// The first action, or empty.
    pub action: String,
    /// The number inside the controller.
    pub hwirq: Option<u64>,
}

impl Identity {
    /// One text for one identity.
    pub(crate) fn key(&self) -> String {
        let hwirq = self.hwirq.map(|number| number.to_string()).unwrap_or_default();
        format!("irq {} {} {hwirq}", self.bus, self.action)
    }
}

/// The folder of an interrupt.
pub fn folder(irq: u32) -> String {
    format!("/proc/irq/{irq}")
}

impl Irq {
    /// Reads an interrupt. `table` fills in what old kernels and captured trees have only there.
    pub fn read(root: &Root, number: u32, table: Option<&InterruptTable>) -> Result<Self> {
        let folder = folder(number);
        let row = table.and_then(|table| table.irq(number));
        if !root.exists(&folder) && row.is_none() {
            return Err(Error::not_found("IRQ", number, folder));
        }
        let list_path = format!("{folder}/smp_affinity_list");
        let affinity = match root.cpu_list(&list_path)? {
            Some(cpus) => Some(cpus),
            None => root.cpu_mask(&format!("{folder}/smp_affinity"))?,
        };
        let effective = effective(root, number)?;
        let sys = |name: &str| root.text_if_any(&format!("/sys/kernel/irq/{number}/{name}"));
        let chip_name = sys("chip_name")?.filter(|name| !name.is_empty());
        let tail = row.map(|row| chip_name.as_deref().map_or_else(|| row.tail(), |chip| row.tail_with_chip(chip)));
        let tail = tail.unwrap_or_default();
        let chip = chip_name.unwrap_or_else(|| tail.chip.to_owned());
        let hwirq = match sys("hwirq")? {
            Some(text) => text.trim().parse().ok(),
            None => tail.hwirq,
        };
        let trigger = sys("type")?.filter(|text| !text.is_empty()).unwrap_or_else(|| tail.trigger.to_owned());
        let actions: Vec<String> = match (row, sys("actions")?) {
            (Some(_), _) => split_actions(tail.actions).into_iter().map(str::to_owned).collect(),
            (None, Some(text)) => text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            (None, None) => Vec::new(),
        };
        let writable = root.mode(&list_path).is_none_or(|mode| mode & 0o222 != 0);
        let managed = match writable {
            false => Managed::Yes,
            true if actions.iter().any(|action| queue::presumed_managed(action)) && !root_knows_managed(root) => {
                Managed::Presumed
            }
            true => Managed::No,
        };
        Ok(Irq {
            number,
            affinity,
            effective,
            hint: root.cpu_mask(&format!("{folder}/affinity_hint"))?.filter(|cpus| !cpus.is_empty()),
            node: root.number(&format!("{folder}/node"))?.and_then(|node| u32::try_from(node).ok()),
            managed,
            writable,
            chip,
            hwirq,
            trigger,
            actions,
            spurious: root.text_if_any(&format!("{folder}/spurious"))?.map(|text| parse_spurious(&text)),
        })
    }

    /// Returns the part that survives renumbering. `bus` is its device's address where the device is known.
    pub fn identity(&self, bus: Option<&str>) -> Identity {
        let own =
            queue::bus_address(&self.chip).or_else(|| self.actions.iter().find_map(|name| queue::bus_address(name)));
        Identity {
            bus: bus.or(own).unwrap_or_default().to_owned(),
            action: self.actions.first().cloned().unwrap_or_default(),
            hwirq: self.hwirq,
        }
    }

    /// Returns true if the hardware steers the interrupt through interrupt remapping (`IR-` chips). It then moves at
    /// once, without waiting for the next interrupt.
    pub fn remapped(&self) -> bool {
        self.chip.starts_with("IR-")
    }

    /// The queue that its first action names.
    pub fn queue(&self) -> Option<Queue> {
        self.actions.first().and_then(|action| Queue::of(action))
    }
}

/// `effective_affinity`: where an interrupt goes now.
pub(crate) fn effective(root: &Root, number: u32) -> Result<Option<CpuSet>> {
    let folder = folder(number);
    let cpus = match root.cpu_list(&format!("{folder}/effective_affinity_list"))? {
        Some(cpus) => Some(cpus),
        None => root.cpu_mask(&format!("{folder}/effective_affinity"))?,
    };
    Ok(cpus.filter(|cpus| !cpus.is_empty()))
}

/// From Linux 6.12 on managed interrupts are not writable, so that a writable one is none, whatever its name.
fn root_knows_managed(root: &Root) -> bool {
    let Ok(release) = root.text("/proc/sys/kernel/osrelease") else { return false };
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    matches!((parts.next(), parts.next()), (Some(major), Some(minor)) if (major, minor) >= (6, 12))
}

/// `count 1240 unhandled 10 last_unhandled 389948 ms`; unknown words are passed over.
pub fn parse_spurious(text: &str) -> Spurious {
    let mut found = Spurious::default();
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    for pair in words.windows(2) {
        let Ok(number) = pair[1].parse() else { continue };
        match pair[0] {
            "count" => found.count = number,
            "unhandled" => found.unhandled = number,
            "last_unhandled" => found.last_unhandled_ms = number,
            _ => {}
        }
    }
    found
}

/// The CPUs that are online, and the number of possible ones.
pub fn cpus_of(root: &Root) -> Result<(CpuSet, usize)> {
    let online = match root.cpu_list("/sys/devices/system/cpu/online")? {
        Some(cpus) if !cpus.is_empty() => cpus,
        _ => online_by_folders(root)?,
    };
    let possible = root.cpu_list("/sys/devices/system/cpu/possible")?.unwrap_or_else(|| online.clone());
    let count = possible.highest().max(online.highest()).map_or(1, |top| top + 1);
    Ok((online, count))
}

/// Without the list (a partial capture): the folders of CPUs that are not said to be offline. CPU 0 has no `online` file
/// where it cannot be taken away.
fn online_by_folders(root: &Root) -> Result<CpuSet> {
    const FOLDER: &str = "/sys/devices/system/cpu";
    let mut online = CpuSet::new();
    for name in root.list(FOLDER)? {
        let Some(cpu) = name.strip_prefix("cpu").and_then(|number| number.parse().ok()) else { continue };
        if root.number(&format!("{FOLDER}/{name}/online"))? != Some(0) {
            online.insert(cpu);
        }
    }
    if online.is_empty()
        && let Ok(table) = InterruptTable::parse(&root.read(super::interrupts::PATH).unwrap_or_default())
    {
        online = table.cpus();
    }
    if online.is_empty() {
        return Err(Error::not_found("file", format!("{FOLDER}/online"), "the list of online CPUs"));
    }
    Ok(online)
}

/// Sets where an interrupt may go: checks, clamps to online CPUs, writes `smp_affinity_list` once and reads back.
///
/// A CPU that cannot exist and an empty set are errors of the caller. Everything else is an [`Outcome`].
pub fn set_affinity(root: &Root, number: u32, cpus: &CpuSet) -> Result<Outcome> {
    let table = InterruptTable::parse(&root.read(super::interrupts::PATH).unwrap_or_default()).ok();
    let before = Irq::read(root, number, table.as_ref())?;
    set_affinity_of(root, &before, cpus, &Bounds::of(root)?, table.as_ref())
}

/// The CPUs that masks can name, read once for many interrupts.
pub(crate) struct Bounds {
    pub(crate) online: CpuSet,
    possible: usize,
}

impl Bounds {
    pub(crate) fn of(root: &Root) -> Result<Self> {
        let (online, possible) = cpus_of(root)?;
        Ok(Bounds { online, possible })
    }
}

/// The same for an interrupt that has just been read.
pub(crate) fn set_affinity_of(
    root: &Root,
    before: &Irq,
    cpus: &CpuSet,
    bounds: &Bounds,
    table: Option<&InterruptTable>,
) -> Result<Outcome> {
    set(root, before, cpus, &(cpus & &bounds.online), bounds, table)
}

/// Gives an interrupt its set of before, with the CPUs in it that are offline just now: the kernel takes such a set as long
/// as one of its CPUs is online.
pub(crate) fn restore(
    root: &Root,
    now: &Irq,
    before: &CpuSet,
    bounds: &Bounds,
    table: Option<&InterruptTable>,
) -> Result<Outcome> {
    let written = if before.is_disjoint(&bounds.online) { CpuSet::new() } else { before.clone() };
    set(root, now, before, &written, bounds, table)
}

/// Writes `target`, the part of `cpus` that is to be written.
fn set(
    root: &Root,
    before: &Irq,
    cpus: &CpuSet,
    target: &CpuSet,
    bounds: &Bounds,
    table: Option<&InterruptTable>,
) -> Result<Outcome> {
    let number = before.number;
    let path = format!("{}/smp_affinity_list", folder(number));
    let asked = CpuSet::parse_list(&cpus.to_list(), Some(bounds.possible))?.require_some()?;
    let online = &bounds.online;
    let outcome = Outcome {
        before: before.affinity.clone(),
        now: before.affinity.clone(),
        effective: before.effective.clone(),
        ..Outcome::new(format!("IRQ {number}"), &asked)
    };
    if before.managed == Managed::Yes {
        let detail = format!("{path}: mode 0444, the kernel places this interrupt itself");
        return Ok(outcome.because(State::Managed, Reason::Managed, detail));
    }
    if root.is_read_only(&path) {
        let error = std::io::Error::from_raw_os_error(libc::EROFS);
        return Ok(outcome.failed(&path, &error, Reason::ReadOnly));
    }
    let mut outcome = Outcome { cut: &asked - target, ..outcome };
    if target.is_empty() {
        let detail = format!("{path}: none of {asked} is online (online: {online})");
        return Ok(outcome.because(State::Refused, Reason::Offline, detail));
    }
    if let Err(error) = root.write(&path, target.to_list().as_bytes()) {
        let errno = error.raw_os_error().unwrap_or_default();
        if before.managed == Managed::Presumed && matches!(errno, libc::EIO | libc::EPERM) {
            let detail = format!("{path}: {error}, as a managed interrupt answers");
            return Ok(outcome.because(State::Managed, Reason::Managed, detail));
        }
        return Ok(outcome.failed(&path, &error, Reason::of_errno(errno)));
    }
    match Irq::read(root, number, table) {
        Ok(now) => {
            (outcome.now, outcome.effective) = (now.affinity.clone(), now.effective.clone());
            Ok(judge(outcome, &path, target))
        }
        Err(error) if error.is_missing() => {
            Ok(outcome.because(State::Refused, Reason::Vanished, format!("{path}: gone after the write")))
        }
        Err(error) => Err(error),
    }
}

/// Applied if both files agree with what was written: the effective CPU is one of the set on x86. Without an effective
/// file the set alone counts.
pub(crate) fn judge(outcome: Outcome, path: &str, target: &CpuSet) -> Outcome {
    let Some(now) = outcome.now.clone() else {
        return outcome.because(State::Refused, Reason::Vanished, format!("{path}: gone after the write"));
    };
    if now != *target {
        let detail = format!("{path}: wrote {target}, reads back {now}");
        return outcome.because(State::Refused, Reason::NotKept, detail);
    }
    match &outcome.effective {
        Some(effective) if !effective.is_subset(target) => {
            let detail = format!("effective_affinity is still {effective}; it moves at the next interrupt");
            outcome.because(State::Pending, Reason::WaitsForInterrupt, detail)
        }
        _ => Outcome { state: State::Applied, reason: None, detail: String::new(), ..outcome },
    }
}

/// `default_smp_affinity`: the initial CPUs of a new interrupt.
pub fn default_affinity(root: &Root) -> Result<Option<CpuSet>> {
    root.cpu_mask("/proc/irq/default_smp_affinity")
}
