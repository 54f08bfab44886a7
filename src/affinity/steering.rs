//! Packet steering of a network interface: RPS and RFS of receive queues, XPS of send queues.
//!
//! Terms of Linux `Documentation/networking/scaling.rst`.

use super::cpuset::CpuSet;
use super::error::{Error, Result};
use super::irq::cpus_of;
use super::outcome::{Outcome, Reason, State};
use super::root::Root;

/// The table of flows that RFS shares between all devices.
pub const FLOW_ENTRIES: &str = "/proc/sys/net/core/rps_sock_flow_entries";

/// One queue as sysfs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteeringQueue {
    /// `rx-0`, `tx-3`.
    pub name: String,
    /// True for a receive queue.
    pub receives: bool,
    /// Its number.
    pub index: u32,
    /// `rps_cpus` or `xps_cpus`; none for the send queue of a device that has only one.
    pub cpus: Option<CpuSet>,
    /// `rps_flow_cnt`: how many flows RFS follows here; 0 is off.
    pub flows: Option<u64>,
}

/// All queues of an interface.
pub fn queues(root: &Root, interface: &str) -> Result<Vec<SteeringQueue>> {
    if interface.contains('/') || !root.exists(&format!("/sys/class/net/{interface}")) {
        return Err(Error::not_found("network interface", format!("{interface:?}"), "an entry in /sys/class/net"));
    }
    let mut found = Vec::new();
    for name in root.list(&format!("/sys/class/net/{interface}/queues"))? {
        let Some((direction, index)) = name.split_once('-') else { continue };
        let Ok(index) = index.parse() else { continue };
        let receives = direction == "rx";
        let flows = root.number(&format!("/sys/class/net/{interface}/queues/{name}/rps_flow_cnt"))?;
        let cpus = root.cpu_mask(&path(interface, &name))?;
        found.push(SteeringQueue {
            receives,
            index,
            cpus,
            flows: flows.and_then(|flows| u64::try_from(flows).ok()),
            name,
        });
    }
    found.sort_by_key(|queue| (!queue.receives, queue.index));
    Ok(found)
}

/// The file of a queue's CPUs.
pub fn path(interface: &str, queue: &str) -> String {
    let file = if queue.starts_with("rx") { "rps_cpus" } else { "xps_cpus" };
    format!("/sys/class/net/{interface}/queues/{queue}/{file}")
}

/// Sets `rps_cpus` (of `rx-N`) or `xps_cpus` (of `tx-N`). The empty set turns it off.
pub fn set_cpus(root: &Root, interface: &str, queue: &str, cpus: &CpuSet) -> Result<Outcome> {
    let path = path(interface, queue);
    let (_, possible) = cpus_of(root)?;
    let asked = CpuSet::parse_list(&cpus.to_list(), Some(possible))?;
    let before = root.cpu_mask(&path)?;
    let mut outcome = Outcome::new(format!("{interface} {queue}"), &asked);
    (outcome.before, outcome.now) = (before.clone(), before.clone());
    if before.is_none() {
        return Ok(outcome.because(
            State::Refused,
            Reason::Vanished,
            format!("{path}: this queue has no such setting"),
        ));
    }
    if let Err(error) = root.write(&path, asked.to_mask().as_bytes()) {
        let reason = Reason::of_errno(error.raw_os_error().unwrap_or_default());
        return Ok(outcome.failed(&path, &error, reason));
    }
    outcome.now = root.cpu_mask(&path)?;
    Ok(match &outcome.now {
        Some(now) if *now == asked => Outcome { state: State::Applied, ..outcome },
        // The kernel gives no packets to isolated CPUs (`housekeeping_cpumask` in `net/core/net-sysfs.c`).
        Some(now) if *now == &asked - &isolated(root)? => {
            Outcome { state: State::Applied, cut: &asked & &isolated(root)?, ..outcome }
        }
        Some(now) => {
            let detail = format!("{path}: wrote {asked}, reads back {now}");
            outcome.because(State::Refused, Reason::NotKept, detail)
        }
        None => outcome.because(State::Refused, Reason::Vanished, format!("{path}: gone after the write")),
    })
}

fn isolated(root: &Root) -> Result<CpuSet> {
    Ok(root.cpu_list("/sys/devices/system/cpu/isolated")?.unwrap_or_default())
}

/// Sets `rps_flow_cnt` of a receive queue: how many flows RFS follows there, 0 for none.
pub fn set_flows(root: &Root, interface: &str, queue: &str, flows: u64) -> Result<()> {
    let path = format!("/sys/class/net/{interface}/queues/{queue}/rps_flow_cnt");
    root.write(&path, flows.to_string().as_bytes()).map_err(|error| Error::io(&path, "write", error))
}

/// `rps_sock_flow_entries`: the size of the table that all devices' RFS shares; 0 is off.
pub fn flow_entries(root: &Root) -> Result<Option<u64>> {
    Ok(root.number(FLOW_ENTRIES)?.and_then(|number| u64::try_from(number).ok()))
}

/// Sets `rps_sock_flow_entries`; the kernel rounds up to a power of two.
pub fn set_flow_entries(root: &Root, entries: u64) -> Result<()> {
    root.write(FLOW_ENTRIES, entries.to_string().as_bytes()).map_err(|error| Error::io(FLOW_ENTRIES, "write", error))
}
