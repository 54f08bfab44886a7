//! A network or block device: its chain of drivers, bus address, NUMA node, and the interrupts it owns.
//!
//! The walk is the one of `udevadm info -a`: from `/sys/class/net/X/device` upwards, without udev.

use std::collections::BTreeSet;

use super::cpuset::CpuSet;
use super::error::Result;
use super::interrupts::InterruptTable;
use super::queue;
use super::root::Root;

/// One level of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// `/sys/devices/pci0000:00/0000:00:05.0`.
    pub path: String,
    /// The folder's own name.
    pub kernel: String,
    /// `pci`, `virtio`, `scsi`; empty if it does not say.
    pub subsystem: String,
    /// The driver bound there, or empty.
    pub driver: String,
}

/// Where the interrupts were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `msi_irqs/` of the device or a parent.
    MsiIrqs,
    /// The line interrupt in `irq`.
    Line,
    /// The bus address in the table's chip names or actions.
    TableByBus,
    /// The device's name in the table's actions.
    TableByName,
    /// The devices below this one (bond, VLAN, bridge, mapper, NVMe multipath, failover, netvsc).
    Lower,
    /// It has none (`lo`, `veth`).
    Nothing,
}

impl Source {
    /// `msi_irqs`, `irq`, `table: bus address`, `table: name`, `lower devices`, `none`.
    pub fn name(self) -> &'static str {
        match self {
            Source::MsiIrqs => "msi_irqs",
            Source::Line => "irq",
            Source::TableByBus => "table: bus address",
            Source::TableByName => "table: name",
            Source::Lower => "lower devices",
            Source::Nothing => "none",
        }
    }
}

/// A device as it is now.
#[derive(Clone, Debug)]
pub struct Device {
    /// `eth0`, `sda`.
    pub name: String,
    /// `net`, `block`, `nvme` (a controller) or `pci`.
    pub kind: &'static str,
    /// From the device upwards, as `udevadm info -a` shows.
    pub chain: Vec<Level>,
    /// The PCI address of the function it sits on (`0000:00:05.0`).
    pub bus: Option<String>,
    /// Its NUMA node; none if unknown (-1, as in most virtual machines).
    pub node: Option<u32>,
    /// The CPUs near it: of its node, or all online ones.
    pub local_cpus: CpuSet,
    /// Its interrupts in rising order.
    pub irqs: Vec<u32>,
    /// How they were found.
    pub source: Source,
    /// The devices below it: of a bond, VLAN, bridge, mapper, NVMe multipath, failover or netvsc interface.
    pub lower: Vec<Device>,
}

/// Drivers that stand on top of the one that matters: `sda` is an `ahci` disk, not an `sd` one.
const UPPER_DRIVERS: [&str; 4] = ["sd", "sr", "st", "ses"];
/// Bonds of VLANs of bonds end somewhere.
const MAX_DEPTH: usize = 8;
const MAX_LEVELS: usize = 64;
/// The folders of sysfs in which a name is looked up.
const FOLDERS: [(&str, &str); 4] = [
    ("net", "/sys/class/net"),
    ("block", "/sys/class/block"),
    ("nvme", "/sys/class/nvme"),
    ("pci", "/sys/bus/pci/devices"),
];

impl Device {
    /// Looks a device up: an interface (`eth0`), a disk or partition (`sda1`, `/dev/sda`, `/dev/mapper/x`,
    /// `/dev/disk/by-id/x`), an NVMe controller (`nvme0`), or a PCI address (`0000:81:00.0`, `81:00.0`).
    pub fn find(root: &Root, name: &str, table: Option<&InterruptTable>) -> Result<Self> {
        Self::at_depth(root, &super::device_name::canonical(root, name)?, table, MAX_DEPTH)
    }

    fn at_depth(root: &Root, name: &str, table: Option<&InterruptTable>, depth: usize) -> Result<Self> {
        let missing = || super::device_name::unknown(root, name);
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(missing());
        }
        let Some((kind, path)) =
            FOLDERS.iter().find_map(|(kind, dir)| Some((*kind, root.resolve(&format!("{dir}/{name}"))?)))
        else {
            // Where sysfs knows it as a driver, a row that begins with its name (`ahci[0000:00:1f.2]`) is not the device.
            let table = table.filter(|_| super::device_name::driven_by(root, name).is_empty());
            return match table.filter(|table| rows_naming(table, name).next().is_some()) {
                Some(table) => Ok(Self::from_table(root, name, table)),
                None => Err(missing()),
            };
        };
        let start = device_folder(root, kind, &path);
        let chain = start.map(|start| walk(root, &start)).unwrap_or_default();
        let bus =
            chain.iter().map(|level| level.kernel.as_str()).find(|name| queue::bus_address(name) == Some(*name));
        let mut device = Device {
            name: name.to_owned(),
            kind,
            bus: bus.map(str::to_owned),
            node: None,
            local_cpus: CpuSet::new(),
            irqs: Vec::new(),
            source: Source::Nothing,
            lower: Vec::new(),
            chain,
        };
        device.place(root)?;
        device.find_irqs(root, table)?;
        if depth > 0 {
            for lower in lower_names(root, kind, &path, name)? {
                // A port may vanish while its bond is read.
                match Self::at_depth(root, &lower, table, depth - 1) {
                    Ok(lower) => device.lower.push(lower),
                    Err(error) if error.is_missing() => {}
                    Err(error) => return Err(error),
                }
            }
            device.join_lower();
        }
        if device.local_cpus.is_empty() {
            device.local_cpus = root.cpu_list("/sys/devices/system/cpu/online")?.unwrap_or_default();
        }
        Ok(device)
    }

    /// Only the table knows it: a captured table, or a kernel without sysfs.
    fn from_table(root: &Root, name: &str, table: &InterruptTable) -> Self {
        Device {
            name: name.to_owned(),
            kind: "net",
            chain: Vec::new(),
            bus: None,
            node: None,
            local_cpus: root
                .cpu_list("/sys/devices/system/cpu/online")
                .ok()
                .flatten()
                .unwrap_or_else(|| table.cpus()),
            irqs: rows_naming(table, name).collect(),
            source: Source::TableByName,
            lower: Vec::new(),
        }
    }

    /// The driver that does the work: `virtio_net`, `ahci`, `nvme`; empty for a device without one.
    pub fn driver(&self) -> &str {
        let drivers = || self.chain.iter().map(|level| level.driver.as_str()).filter(|driver| !driver.is_empty());
        let found = drivers().find(|driver| !UPPER_DRIVERS.contains(driver)).or_else(|| drivers().next());
        found.or_else(|| self.lower.first().map(Device::driver)).unwrap_or_default()
    }

    /// The device itself, or, for a bond, VLAN, bridge or mapper, all it is made of.
    pub fn leaves(&self) -> Vec<&Device> {
        if self.lower.is_empty() { vec![self] } else { self.lower.iter().flat_map(Device::leaves).collect() }
    }

    fn place(&mut self, root: &Root) -> Result<()> {
        for level in &self.chain {
            if let Some(node) = root.number(&format!("{}/numa_node", level.path))? {
                self.node = u32::try_from(node).ok();
                self.local_cpus = match self.node {
                    Some(node) => root.cpu_list(&format!("/sys/devices/system/node/node{node}/cpulist"))?,
                    None => root.cpu_list(&format!("{}/local_cpulist", level.path))?,
                }
                .unwrap_or_default();
                return Ok(());
            }
        }
        Ok(())
    }

    fn find_irqs(&mut self, root: &Root, table: Option<&InterruptTable>) -> Result<()> {
        for level in &self.chain {
            let vectors = root.list_numbers(&format!("{}/msi_irqs", level.path))?;
            if !vectors.is_empty() {
                (self.irqs, self.source) = (vectors, Source::MsiIrqs);
                return Ok(());
            }
        }
        if let Some(table) = table {
            if let Some(bus) = self.bus.clone() {
                let of_bus = |text: &str| queue::bus_address(text) == Some(bus.as_str());
                let rows = table
                    .rows()
                    .filter(|row| of_bus(row.chip()) || row.actions().iter().any(|action| of_bus(action)));
                self.irqs = rows.filter_map(|row| row.irq()).collect();
                self.source = Source::TableByBus;
            }
            if self.irqs.is_empty() && !self.chain.is_empty() {
                // `virtio0-input.0` names the bus device, `eth0-rx-0` the interface, `nvme0q1` the controller.
                let virtio = self.chain.iter().map(|level| level.kernel.as_str()).filter(|name| is_device_name(name));
                let names: BTreeSet<&str> = virtio.chain([self.name.as_str()]).collect();
                self.irqs = names.iter().flat_map(|name| rows_naming(table, name)).collect();
                self.source = Source::TableByName;
            }
        }
        if self.irqs.is_empty() {
            for level in &self.chain {
                let line = root.number(&format!("{}/irq", level.path))?.and_then(|irq| u32::try_from(irq).ok());
                if let Some(irq) = line.filter(|irq| *irq > 0) {
                    self.irqs = vec![irq];
                    self.source = Source::Line;
                    break;
                }
            }
        }
        self.irqs.sort_unstable();
        self.irqs.dedup();
        if self.irqs.is_empty() {
            self.source = Source::Nothing;
        }
        Ok(())
    }

    fn join_lower(&mut self) {
        if self.lower.is_empty() {
            return;
        }
        let lower = self.lower.iter().flat_map(|lower| lower.irqs.iter().copied());
        // A failover interface and its standby are one device: each interrupt counts once.
        let irqs: BTreeSet<u32> = lower.chain(self.irqs.iter().copied()).collect();
        self.irqs = irqs.into_iter().collect();
        self.source = Source::Lower;
        let nodes: BTreeSet<Option<u32>> = self.lower.iter().map(|lower| lower.node).collect();
        self.node = if nodes.len() == 1 { nodes.into_iter().next().flatten() } else { None };
        self.local_cpus = self.lower.iter().fold(CpuSet::new(), |all, lower| &all | &lower.local_cpus);
    }
}

fn is_device_name(name: &str) -> bool {
    let number = name.strip_prefix("virtio").or_else(|| name.strip_prefix("nvme"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn rows_naming<'a>(table: &'a InterruptTable, name: &'a str) -> impl Iterator<Item = u32> + 'a {
    let named = move |actions: Vec<&str>| actions.iter().any(|action| queue::names_device(action, name));
    table.rows().filter(move |row| named(row.actions())).filter_map(|row| row.irq())
}

/// Where the walk starts. A partition's disk has the `device` link.
pub(super) fn device_folder(root: &Root, kind: &str, path: &str) -> Option<String> {
    if kind == "pci" {
        return Some(path.to_owned());
    }
    root.resolve(&format!("{path}/device")).or_else(|| {
        let disk = path.rsplit_once('/').map(|(disk, _)| disk)?;
        if root.exists(&format!("{path}/partition")) { root.resolve(&format!("{disk}/device")) } else { None }
    })
}

/// Upwards until the PCI function: a bridge above it has interrupts of its own, which are not the device's.
pub(super) fn walk(root: &Root, start: &str) -> Vec<Level> {
    let base = |link: String| link.rsplit('/').next().unwrap_or_default().to_owned();
    let mut levels = Vec::new();
    let mut path = start.to_owned();
    while path.starts_with("/sys/devices/") && levels.len() < MAX_LEVELS {
        let kernel = path.rsplit('/').next().unwrap_or_default().to_owned();
        let link = |name: &str| root.resolve(&format!("{path}/{name}")).map(base).unwrap_or_default();
        let level = Level { subsystem: link("subsystem"), driver: link("driver"), kernel, path: path.clone() };
        let is_function = queue::bus_address(&level.kernel) == Some(level.kernel.as_str());
        if is_function || !level.driver.is_empty() || !level.subsystem.is_empty() || levels.is_empty() {
            levels.push(level);
        }
        if is_function {
            break;
        }
        let Some((parent, _)) = path.rsplit_once('/') else { break };
        path = parent.to_owned();
    }
    levels
}

/// `lower_eth1` of bonds, VLANs and bridges; `slaves/` of device mapper and md; nothing for devices that stand on hardware.
fn lower_names(root: &Root, kind: &str, path: &str, name: &str) -> Result<Vec<String>> {
    let names = root.list(path)?;
    let mut lower: Vec<String> =
        names.iter().filter_map(|entry| entry.strip_prefix("lower_").map(str::to_owned)).collect();
    if kind == "block" {
        lower.extend(root.list(&format!("{path}/slaves"))?);
        lower.extend(nvme_paths(root, path, name)?);
    }
    if kind == "net" && lower.is_empty() {
        lower.extend(root.list(&format!("{path}/brif"))?);
        let bond = root.text_if_any(&format!("{path}/bonding/slaves"))?.unwrap_or_default();
        lower.extend(bond.split_ascii_whitespace().map(str::to_owned));
        // A VLAN of a kernel without these links: `eth1.100`.
        if let Some((parent, _)) = name.split_once('.')
            && lower.is_empty()
            && !root.exists(&format!("{path}/device"))
            && root.exists(&format!("/sys/class/net/{parent}"))
        {
            lower.push(parent.to_owned());
        }
    }
    lower.retain(|lower| lower != name);
    Ok(lower)
}

/// The paths of an NVMe namespace with native multipath: `nvme0n1` of a subsystem is reached by `nvme0c0n1`, `nvme0c1n1`.
/// Where the kernel does not show these, the controllers of the subsystem.
fn nvme_paths(root: &Root, path: &str, name: &str) -> Result<Vec<String>> {
    let Some((subsystem, _)) = path.rsplit_once('/').filter(|(parent, _)| parent.contains("/nvme-subsystem/")) else {
        return Ok(Vec::new());
    };
    let Some((device, namespace)) = name.rsplit_once('n') else { return Ok(Vec::new()) };
    let is_path = |other: &str| {
        let controller = other.strip_prefix(device).and_then(|rest| rest.strip_prefix('c'));
        controller
            .and_then(|rest| rest.split_once('n'))
            .is_some_and(|(controller, of)| controller.parse::<u32>().is_ok() && of == namespace)
    };
    let paths: Vec<String> = root.list("/sys/class/block")?.into_iter().filter(|other| is_path(other)).collect();
    if !paths.is_empty() {
        return Ok(paths);
    }
    Ok(root.list(subsystem)?.into_iter().filter(|entry| is_device_name(entry)).collect())
}
