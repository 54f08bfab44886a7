//! The meaning of an interrupt's action name: the device, the direction and the number of a queue.

/// The purpose of a device's interrupt vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueKind {
    /// Receives (`eth0-rx-0`, `virtio2-input.0`).
    Rx,
    /// Sends (`eth0-tx-0`, `virtio2-output.0`).
    Tx,
    /// Both (`eth0-TxRx-3`, `mlx5_comp3`), or requests of a disk (`nvme0q3`, `virtio0-req.0`).
    Both,
    /// Set-up, link state, errors: not the traffic.
    Control,
}

impl QueueKind {
    /// `rx`, `tx`, `rxtx`, `control`.
    pub fn name(self) -> &'static str {
        match self {
            QueueKind::Rx => "rx",
            QueueKind::Tx => "tx",
            QueueKind::Both => "rxtx",
            QueueKind::Control => "control",
        }
    }
}

/// A queue as its driver names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    /// The kind of traffic on the queue.
    pub kind: QueueKind,
    /// Its number, if the name has one.
    pub index: Option<u32>,
}

/// Words of drivers with the kind of vector that they mean. The first that is found wins, so longer ones stand first.
///
/// `-` also stands for `:`, `_`, `.` and a blank, which drivers use in its place (`enp0s8f0:rx-0` of stmmac).
const WORDS: [(&str, QueueKind); 33] = [
    ("txrx", QueueKind::Both),
    ("tx-rx", QueueKind::Both),
    ("rxtx", QueueKind::Both),
    ("rx-tx", QueueKind::Both),
    ("-comp", QueueKind::Both),
    ("-ntfy-blk", QueueKind::Both),
    ("-ntfy-block", QueueKind::Both),
    ("-request", QueueKind::Both),
    ("-req", QueueKind::Both),
    // The fast path of bnx2x and qede, and the vectors of RAID controllers (mpt3sas, megaraid_sas).
    ("-fp-", QueueKind::Both),
    ("-msix", QueueKind::Both),
    ("-input", QueueKind::Rx),
    ("-output", QueueKind::Tx),
    ("-rx", QueueKind::Rx),
    ("-tx", QueueKind::Tx),
    ("config", QueueKind::Control),
    ("control", QueueKind::Control),
    ("event", QueueKind::Control),
    ("mgmnt", QueueKind::Control),
    ("misc", QueueKind::Control),
    ("-async", QueueKind::Control),
    ("-pages", QueueKind::Control),
    ("-cmd", QueueKind::Control),
    ("-lsc", QueueKind::Control),
    ("-hwc", QueueKind::Control),
    ("-mcc", QueueKind::Control),
    ("-err", QueueKind::Control),
    ("-notify", QueueKind::Control),
    ("-mac", QueueKind::Control),
    ("-wol", QueueKind::Control),
    ("-lpi", QueueKind::Control),
    ("-safety", QueueKind::Control),
    ("aerdrv", QueueKind::Control),
];

/// The prefixes of interface names that a digit follows: the kernel's own and those of biosdevname.
const NUMBERED_INTERFACES: [&str; 3] = ["eth", "em", "p"];
/// The prefixes of predictable interface names (systemd.net-naming-scheme): `enp3s0`, `wlp2s0`, `ibp1s0`.
const PREDICTABLE_INTERFACES: [&str; 3] = ["en", "wl", "ib"];

impl Queue {
    /// Reads an action name. A plain name (`eth0`, `ahci[0000:00:1f.2]`) is no queue: none.
    ///
    /// ```
    /// use sipmi::affinity::{Queue, QueueKind};
    /// assert_eq!(Queue::of("i40e-eth0-TxRx-3"), Some(Queue { kind: QueueKind::Both, index: Some(3) }));
    /// assert_eq!(Queue::of("eth0-q2-rx"), Some(Queue { kind: QueueKind::Rx, index: Some(2) }));
    /// assert_eq!(Queue::of("nvme0q0"), Some(Queue { kind: QueueKind::Control, index: Some(0) }));   // the admin queue
    /// assert_eq!(Queue::of("eth0"), None);
    /// ```
    pub fn of(action: &str) -> Option<Self> {
        if let Some(index) = nvme_queue(action) {
            let kind = if index == 0 { QueueKind::Control } else { QueueKind::Both };
            return Some(Queue { kind, index: Some(index) });
        }
        // `mlx5_comp40@pci:0000:86:00.0`: the address is no part of the queue's name.
        let name = action.split("@pci:").next().unwrap_or(action).to_ascii_lowercase();
        let name = name.replace([':', '_', '.', ' '], "-");
        if ["-ctrl", "-misc"].iter().any(|word| name.contains(word)) {
            return Some(Queue { kind: QueueKind::Control, index: None });
        }
        let by_word = WORDS.iter().find_map(|(word, kind)| {
            let at = name.rfind(word)?;
            Some((*kind, number_behind(&name[at + word.len()..]).or_else(|| numbered_queue(&name[..at]))))
        });
        let (kind, index) = by_word.or_else(|| numbered(&name).map(|index| (QueueKind::Both, Some(index))))?;
        Some(Queue { kind, index })
    }
}

/// The number that follows a word: `-3`, `3`, `.0`.
fn number_behind(rest: &str) -> Option<u32> {
    let digits = rest.trim_start_matches('-');
    digits[..digits.bytes().take_while(u8::is_ascii_digit).count()].parse().ok()
}

/// The queue in `eth0-q2` (xen-netfront writes the direction behind it).
fn numbered_queue(name: &str) -> Option<u32> {
    name.rsplit_once("-q").and_then(|(_, number)| number.parse().ok())
}

/// A number alone names a pair of queues: `eth0-3` (bnx2, sfc), `eth0-q3` (be2net), `mana-q3`, `mlx4-3`.
fn numbered(name: &str) -> Option<u32> {
    if let Some(index) = numbered_queue(name) {
        return Some(index);
    }
    let (device, number) = name.rsplit_once('-')?;
    (is_interface(device) || device == "mlx4").then(|| number.parse().ok())?
}

fn is_interface(name: &str) -> bool {
    let begins = |prefixes: &[&str], is_next: fn(char) -> bool| {
        prefixes.iter().any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(is_next)))
    };
    begins(&NUMBERED_INTERFACES, |c| c.is_ascii_digit())
        || (begins(&PREDICTABLE_INTERFACES, |c| matches!(c, 'o' | 'p' | 's' | 'x' | 'P'))
            && name.contains(|c: char| c.is_ascii_digit()))
}

/// `nvme0q3` is 3.
fn nvme_queue(action: &str) -> Option<u32> {
    let rest = action.strip_prefix("nvme")?;
    let (controller, queue) = rest.split_once('q')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(controller) && is_number(queue)).then(|| queue.parse().ok())?
}

/// Drivers of RAID controllers and host bus adapters that let the kernel place their vectors (`PCI_IRQ_AFFINITY`).
const MANAGING: [&str; 5] = ["mpt3sas", "megasas", "hpsa", "smartpqi", "qla2xxx"];

/// Returns true if the kernel is known to place such a vector itself (`IRQF_AFFINITY_MANAGED`): I/O queues of `nvme`,
/// `virtio_blk`, `virtio_scsi` and of RAID controllers. Before 6.12 only the name tells it beforehand.
pub fn presumed_managed(action: &str) -> bool {
    if nvme_queue(action).is_some_and(|queue| queue > 0) {
        return true;
    }
    if MANAGING.iter().any(|driver| action.strip_prefix(driver).is_some_and(|rest| rest.contains("msix"))) {
        return true;
    }
    let Some((device, what)) = action.split_once('-') else { return false };
    device.strip_prefix("virtio").is_some_and(|number| number.parse::<u32>().is_ok())
        && (what == "request" || what == "req" || what.starts_with("req."))
}

/// Returns true if the name stands in the action as a whole word: `virtio1` is not in `virtio10-input`.
pub fn names_device(action: &str, device: &str) -> bool {
    let boundary = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
    !device.is_empty()
        && action.match_indices(device).any(|(at, _)| {
            let before = action[..at].chars().next_back();
            let after = action[at + device.len()..].chars().next();
            boundary(before) && (boundary(after) || is_nvme_suffix(device, &action[at + device.len()..]))
        })
}

/// `nvme0q3` belongs to `nvme0`.
fn is_nvme_suffix(device: &str, after: &str) -> bool {
    device.starts_with("nvme")
        && after.strip_prefix('q').is_some_and(|n| n.bytes().next().is_some_and(|b| b.is_ascii_digit()))
}

/// The PCI address (`0000:00:05.0`) at the end of a chip name or inside an action (`ahci[0000:00:1f.2]`).
pub fn bus_address(text: &str) -> Option<&str> {
    (0..text.len().saturating_sub(11)).find_map(|at| {
        let part = text.get(at..at + 12)?;
        let bytes = part.as_bytes();
        let is_hex = |range: std::ops::Range<usize>| bytes[range].iter().all(u8::is_ascii_hexdigit);
        let shape = bytes[4] == b':' && bytes[7] == b':' && bytes[10] == b'.';
        let alone = text.as_bytes().get(at + 12).is_none_or(|byte| !byte.is_ascii_hexdigit());
        let starts = at == 0 || !text.as_bytes()[at - 1].is_ascii_hexdigit();
        (shape && alone && starts && is_hex(0..4) && is_hex(5..7) && is_hex(8..10) && is_hex(11..12)).then_some(part)
    })
}
