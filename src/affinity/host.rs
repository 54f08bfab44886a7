//! A machine, live or captured: the front door of this module.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::cpuset::CpuSet;
use super::device::Device;
use super::error::Result;
use super::faults::Faults;
use super::interrupts::{self, InterruptTable};
use super::irq::{self, Irq};
use super::irqbalance::Irqbalance;
use super::outcome::Outcome;
use super::plan::Plan;
use super::process::{self, Process};
use super::request::Request;
use super::root::Root;
use super::topology::Topology;

/// A machine.
///
/// ```no_run
/// use sipmi::affinity::Host;
/// let host = Host::live()?;
/// let nic = host.device("eth0")?;
/// println!("{} on node {:?}, interrupts {:?}", nic.driver(), nic.node, nic.irqs);
/// # Ok::<(), sipmi::affinity::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Host {
    /// Its files.
    pub root: Root,
}

impl Host {
    /// This machine.
    pub fn live() -> Result<Self> {
        Self::at("/", None)
    }

    /// The machine below a folder: `/`, or a captured tree; with faults to rehearse failures.
    pub fn at(dir: impl Into<PathBuf>, faults: Option<Faults>) -> Result<Self> {
        Ok(Host { root: Root::new(dir, faults)? })
    }

    /// `/proc/interrupts` now.
    pub fn interrupts(&self) -> Result<InterruptTable> {
        InterruptTable::parse(&self.root.read(interrupts::PATH)?)
    }

    /// The table, or none where there is none (a captured tree without it).
    pub(crate) fn table(&self) -> Option<InterruptTable> {
        self.interrupts().ok()
    }

    /// One interrupt.
    pub fn irq(&self, number: u32) -> Result<Irq> {
        Irq::read(&self.root, number, self.table().as_ref())
    }

    /// All interrupts that have a folder in `/proc/irq` or a row in the table.
    pub fn irqs(&self) -> Result<Vec<Irq>> {
        let table = self.table();
        let mut numbers = self.root.list_numbers("/proc/irq")?;
        if numbers.is_empty() {
            numbers = table.iter().flat_map(InterruptTable::rows).filter_map(|row| row.irq()).collect();
        }
        let mut found = Vec::with_capacity(numbers.len());
        for number in numbers {
            match Irq::read(&self.root, number, table.as_ref()) {
                Ok(irq) => found.push(irq),
                // Freed while it was read.
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Sets where an interrupt may go.
    pub fn set_irq_affinity(&self, number: u32, cpus: &CpuSet) -> Result<Outcome> {
        irq::set_affinity(&self.root, number, cpus)
    }

    /// A network or block device, or a PCI function.
    pub fn device(&self, name: &str) -> Result<Device> {
        Device::find(&self.root, name, self.table().as_ref())
    }

    /// The names of all interfaces and disks.
    pub fn devices(&self) -> Result<Vec<String>> {
        let mut names = self.root.list("/sys/class/net")?;
        names.extend(self.root.list("/sys/class/block")?);
        Ok(names)
    }

    /// The names of the devices of each interrupt: interfaces, disks, else the PCI function that has it.
    pub fn devices_by_irq(&self) -> Result<BTreeMap<u32, Vec<String>>> {
        let table = self.table();
        let mut found: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for name in self.devices()? {
            let is_partition = self.root.exists(&format!("/sys/class/block/{name}/partition"));
            // Removed meanwhile, or no device of its own.
            let Ok(device) = Device::find(&self.root, &name, table.as_ref()) else { continue };
            if device.lower.is_empty() && !is_partition {
                for irq in &device.irqs {
                    found.entry(*irq).or_default().push(name.clone());
                }
            }
        }
        for function in self.root.list("/sys/bus/pci/devices")? {
            for irq in self.root.list_numbers(&format!("/sys/bus/pci/devices/{function}/msi_irqs"))? {
                found.entry(irq).or_insert_with(|| vec![function.clone()]);
            }
        }
        Ok(found)
    }

    /// One process.
    pub fn process(&self, pid: u32) -> Result<Process> {
        Process::find(&self.root, pid)
    }

    /// All processes of a name.
    pub fn processes(&self, name: &str) -> Result<Vec<Process>> {
        process::by_name(&self.root, name)
    }

    /// Packages, nodes, caches, cores.
    pub fn topology(&self) -> Result<Topology> {
        Topology::read(&self.root)
    }

    /// irqbalance's file and daemon.
    pub fn irqbalance(&self) -> Result<Irqbalance> {
        Irqbalance::read(&self.root)
    }

    /// Returns the plan of all necessary changes; changes nothing.
    pub fn plan(&self, request: &Request) -> Result<Plan> {
        Plan::make(self, request)
    }
}
