//! Finding interrupts again by who they are: numbers change when a driver is bound again.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::host::Host;
use super::interrupts::InterruptTable;
use super::irq::{Identity, Irq};

/// One look at a machine's interrupts: the table is read once, each folder at most once, and all interrupts only when one
/// is not found under its old number.
pub(crate) struct Locator<'a> {
    host: &'a Host,
    table: Option<InterruptTable>,
    vectors: RefCell<HashMap<String, Rc<BTreeSet<u32>>>>,
    all: OnceCell<Vec<Irq>>,
}

impl<'a> Locator<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Locator { host, table: host.table(), vectors: RefCell::default(), all: OnceCell::new() }
    }

    /// `/proc/interrupts` as it was when this look began.
    pub(crate) fn table(&self) -> Option<&InterruptTable> {
        self.table.as_ref()
    }

    /// The interrupt that has this identity now. Its old number is looked at first; without a bus address and a hardware
    /// number, the action has to do.
    pub(crate) fn find(&self, identity: &Identity, number: u32) -> Option<Irq> {
        let vectors = self.vectors(&identity.bus);
        let here = Irq::read(&self.host.root, number, self.table()).ok();
        let here = here.and_then(|irq| Some((likeness(&irq, identity, &vectors)?, irq)));
        if let Some((EXACT, irq)) = here {
            return Some(irq);
        }
        let others = self.all().iter().filter_map(|irq| Some((likeness(irq, identity, &vectors)?, irq)));
        // Of equals, the old number, then those of the same device, then the lowest.
        let rank = |likeness: u8, irq: &Irq| (likeness, vectors.contains(&irq.number), std::cmp::Reverse(irq.number));
        let best = others.max_by_key(|(likeness, irq)| rank(*likeness, irq));
        match (here, best) {
            (Some((known, irq)), Some((other, _))) if known >= other => Some(irq),
            (_, Some((_, irq))) => Some(irq.clone()),
            (here, None) => here.map(|(_, irq)| irq),
        }
    }

    /// Returns true if an interrupt has been counted since boot. One that never fired may never fire.
    pub(crate) fn fires(&self, number: u32) -> bool {
        self.table.as_ref().is_some_and(|table| table.fires(number))
    }

    /// The vectors of the function with this address.
    fn vectors(&self, bus: &str) -> Rc<BTreeSet<u32>> {
        if let Some(known) = self.vectors.borrow().get(bus) {
            return Rc::clone(known);
        }
        let folder = format!("/sys/bus/pci/devices/{bus}/msi_irqs");
        let listed =
            if bus.is_empty() { Vec::new() } else { self.host.root.list_numbers(&folder).unwrap_or_default() };
        let listed: Rc<BTreeSet<u32>> = Rc::new(listed.into_iter().collect());
        self.vectors.borrow_mut().insert(bus.to_owned(), Rc::clone(&listed));
        listed
    }

    fn all(&self) -> &[Irq] {
        self.all.get_or_init(|| {
            let numbers = self.host.root.list_numbers("/proc/irq").unwrap_or_default();
            numbers.into_iter().filter_map(|number| Irq::read(&self.host.root, number, self.table()).ok()).collect()
        })
    }
}

/// Device, hardware number and action are the same.
const EXACT: u8 = 3;

/// How well an interrupt fits an identity; none if it is another one.
fn likeness(irq: &Irq, identity: &Identity, vectors: &BTreeSet<u32>) -> Option<u8> {
    let bus = vectors.contains(&irq.number).then_some(identity.bus.as_str());
    let other = irq.identity(bus);
    let same_bus = other.bus == identity.bus;
    let same_number = other.hwirq.is_some() && other.hwirq == identity.hwirq;
    let same_action = !identity.action.is_empty() && other.action == identity.action;
    match (same_bus, same_number, same_action) {
        (true, true, true) => Some(EXACT),
        // Renamed (`eth0` became `lan0`), or numbered anew by the controller.
        (true, true, false) if !identity.bus.is_empty() => Some(2),
        (true, false, true) => Some(1),
        _ => None,
    }
}
