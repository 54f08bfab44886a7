//! The table of `/proc/interrupts` (`show_interrupts` in Linux `kernel/irq/proc.c`), as bytes to rows: touches no file.

use std::collections::HashMap;

use super::cpuset::{CpuSet, MAX_CPUS};
use super::error::{Error, Result};

/// Where the kernel prints it.
pub const PATH: &str = "/proc/interrupts";

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

/// One line of the table; [`Row`] is how it is read.
#[derive(Clone, Debug)]
struct Line {
    label: Span,
    irq: Option<u32>,
    counts: Span,
    tail: Span,
}

/// All rows of `/proc/interrupts` at one moment.
///
/// ```
/// use sipmi::affinity::InterruptTable;
/// let text = "      CPU0  CPU2\n 30:    36650 16711   PCI-MSI 65537-edge      p4p1-rx-0\nERR:  0\n";
/// let table = InterruptTable::parse(text.as_bytes())?;
/// let row = table.irq(30).unwrap();
/// assert_eq!((row.counts(), row.chip(), row.actions()), (&[36650, 16711][..], "PCI-MSI", vec!["p4p1-rx-0"]));
/// assert_eq!(table.cpus().to_list(), "0,2");                       // CPU 1 is offline
/// # Ok::<(), sipmi::affinity::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct InterruptTable {
    text: String,
    cpus: Vec<u32>,
    counts: Vec<u64>,
    lines: Vec<Line>,
    /// The numbers of interrupts in rising order, each with its line.
    numbers: Vec<(u32, u32)>,
}

/// One row: an interrupt, or one of the kernel's own counters (`NMI`, `LOC`, `ERR`).
#[derive(Clone, Copy)]
pub struct Row<'a> {
    table: &'a InterruptTable,
    line: &'a Line,
}

/// The text behind the counts, taken apart. An absent part is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tail<'a> {
    /// The interrupt controller (`irq_chip`): `PCI-MSI`, `IO-APIC`, `PCI-MSIX-0000:00:05.0`, `GICv3`.
    pub chip: &'a str,
    /// The number inside that controller (`hwirq`).
    pub hwirq: Option<u64>,
    /// `edge`, `fasteoi`, `Level`, `event`: how it fires or is handled, as printed.
    pub trigger: &'a str,
    /// The actions as printed, before they are split.
    pub actions: &'a str,
}

impl InterruptTable {
    /// Reads a table. Bytes that are not UTF-8 become U+FFFD. An error if the first line is not the list of online CPUs.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => String::from_utf8_lossy(bytes).into_owned(),
        };
        if u32::try_from(text.len()).is_err() {
            return Err(Error::content(PATH, "less than 4 GiB", format!("{} bytes", text.len())));
        }
        let header_end = text.find('\n').unwrap_or(text.len());
        let cpus = parse_header(&text[..header_end])?;
        let mut table = Self { cpus, counts: Vec::new(), lines: Vec::with_capacity(256), numbers: Vec::new(), text };
        table.counts.reserve(table.text.len() / 12);
        let mut at = (header_end + 1).min(table.text.len());
        while at < table.text.len() {
            let end =
                memchr::memchr(b'\n', &table.text.as_bytes()[at..]).map_or(table.text.len(), |found| at + found);
            table.read_line(at, end);
            at = end + 1;
        }
        let numbered = table.lines.iter().zip(0..).filter_map(|(line, at)| Some((line.irq?, at)));
        table.numbers = numbered.collect();
        // The kernel prints them in order; of a number that stands twice, the first line counts.
        table.numbers.sort_by_key(|(number, _)| *number);
        table.numbers.dedup_by_key(|(number, _)| *number);
        Ok(table)
    }

    /// Label up to the first colon, at most one count a CPU, and the rest. A line without colon is no row.
    fn read_line(&mut self, start: usize, end: usize) {
        let bytes = self.text.as_bytes();
        let Some(colon) = memchr::memchr(b':', &bytes[start..end]).map(|found| start + found) else { return };
        let label_at = start + bytes[start..colon].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let first_count = self.counts.len();
        let mut at = colon + 1;
        for _ in 0..self.cpus.len() {
            let mut next = at;
            while next < end && bytes[next] == b' ' {
                next += 1;
            }
            let digits = next;
            let mut value = 0_u64;
            while next < end && bytes[next].is_ascii_digit() {
                value = value.wrapping_mul(10).wrapping_add(u64::from(bytes[next] - b'0'));
                next += 1;
            }
            let ends_there = next == end || bytes[next].is_ascii_whitespace();
            if digits == next || !ends_there || next - digits > 19 {
                break;
            }
            self.counts.push(value);
            at = next;
        }
        // All offsets fit: `parse` refuses texts of 4 GiB.
        let label = Span { start: label_at as u32, end: colon as u32 };
        let irq = self.text[label_at..colon].parse().ok();
        let counts = Span { start: first_count as u32, end: self.counts.len() as u32 };
        self.lines.push(Line { label, irq, counts, tail: Span { start: at as u32, end: end as u32 } });
    }

    /// The online CPUs, which the counts of every row belong to.
    pub fn cpus(&self) -> CpuSet {
        self.cpus.iter().map(|cpu| *cpu as usize).collect()
    }

    /// The online CPUs in the order of the columns.
    pub fn columns(&self) -> &[u32] {
        &self.cpus
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns true if the table has no row.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The rows as printed.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.lines.iter().map(|line| Row { table: self, line })
    }

    /// The row at a position.
    pub fn row(&self, index: usize) -> Option<Row<'_>> {
        self.lines.get(index).map(|line| Row { table: self, line })
    }

    /// The row of an IRQ number.
    pub fn irq(&self, irq: u32) -> Option<Row<'_>> {
        let at = self.numbers.binary_search_by_key(&irq, |(number, _)| *number).ok()?;
        self.row(self.numbers[at].1 as usize)
    }

    /// Returns true if an interrupt has been counted since boot. One that never fired may never fire.
    pub fn fires(&self, number: u32) -> bool {
        self.irq(number).is_some_and(|row| row.counts().iter().any(|count| *count > 0))
    }

    /// The row of a label: `NMI`, `IPI0`, `30`.
    pub fn label(&self, label: &str) -> Option<Row<'_>> {
        self.rows().find(|row| row.label() == label)
    }

    /// Interrupts since an earlier table, per row and CPU, divided by the seconds between them.
    ///
    /// Rows are matched by label *and* actions: a number that now belongs to another device is a new row, counted from 0.
    /// Counts are 32 bits wide in the kernel (`unsigned int`), so a smaller one has wrapped. A CPU that was offline then counts from 0.
    pub fn rates(&self, earlier: &Self, seconds: f64) -> Vec<Rate> {
        let before: HashMap<(&str, &str), Row<'_>> =
            earlier.rows().map(|row| ((row.label(), row.tail().actions), row)).collect();
        let column: HashMap<u32, usize> = earlier.cpus.iter().enumerate().map(|(at, cpu)| (*cpu, at)).collect();
        let rate = |row: Row<'_>| {
            let then = before.get(&(row.label(), row.tail().actions));
            let per_cpu = self.cpus.iter().zip(row.counts()).map(|(cpu, now)| {
                let old = then.and_then(|then| then.counts().get(*column.get(cpu)?)).copied().unwrap_or_default();
                (*cpu, since(*now, old) as f64 / seconds.max(f64::MIN_POSITIVE))
            });
            Rate { label: row.label().to_owned(), irq: row.irq(), actions: row.name(), per_cpu: per_cpu.collect() }
        };
        self.rows().map(rate).collect()
    }
}

/// How often one row counted, per second.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// The row's label.
    pub label: String,
    /// The IRQ, if the row is one.
    pub irq: Option<u32>,
    /// The row's actions or description.
    pub actions: String,
    /// CPU and interrupts per second.
    pub per_cpu: Vec<(u32, f64)>,
}

impl Rate {
    /// Interrupts per second on all CPUs.
    pub fn total(&self) -> f64 {
        self.per_cpu.iter().map(|(_, rate)| rate).sum()
    }
}

/// Returns the increase of a 32-bit counter that may have wrapped once.
pub fn since(now: u64, before: u64) -> u64 {
    match (now.checked_sub(before), u32::try_from(now), u32::try_from(before)) {
        (Some(added), _, _) => added,
        (None, Ok(now), Ok(before)) => u64::from(now.wrapping_sub(before)),
        (None, _, _) => now,
    }
}

fn parse_header(line: &str) -> Result<Vec<u32>> {
    let cpu = |word: &str| word.strip_prefix("CPU")?.parse::<u32>().ok().filter(|cpu| (*cpu as usize) < MAX_CPUS);
    let cpus: Option<Vec<u32>> = line.split_ascii_whitespace().map(cpu).collect();
    match cpus {
        Some(cpus) if !cpus.is_empty() => Ok(cpus),
        _ => Err(Error::content(PATH, "a first line of CPU0 CPU1 ...", line)),
    }
}

impl<'a> Row<'a> {
    fn text(&self, span: Span) -> &'a str {
        &self.table.text[span.start as usize..span.end as usize]
    }

    /// The text before the colon: `30`, `NMI`, `IPI0`.
    pub fn label(&self) -> &'a str {
        self.text(self.line.label)
    }

    /// The IRQ number; none for the kernel's own counters.
    pub fn irq(&self) -> Option<u32> {
        self.line.irq
    }

    /// Interrupts since boot, one number for each of [`InterruptTable::columns`]; fewer for `ERR`, `MIS`, `FIQ`.
    pub fn counts(&self) -> &'a [u64] {
        &self.table.counts[self.line.counts.start as usize..self.line.counts.end as usize]
    }

    /// The text behind the counts, taken apart.
    pub fn tail(&self) -> Tail<'a> {
        let text = self.text(self.line.tail).trim();
        if self.irq().is_some() { Tail::parse(text) } else { Tail { actions: text, ..Tail::default() } }
    }

    /// The same, with the chip's name known from `/sys/kernel/irq/N/chip_name`.
    pub fn tail_with_chip(&self, chip: &str) -> Tail<'a> {
        if self.irq().is_some() { Tail::parse_with_chip(self.text(self.line.tail), chip) } else { self.tail() }
    }

    /// The interrupt controller, or nothing.
    pub fn chip(&self) -> &'a str {
        self.tail().chip
    }

    /// The actions (`irqaction`), in other words who asked for this interrupt. None for the kernel's own counters.
    pub fn actions(&self) -> Vec<&'a str> {
        match self.irq() {
            Some(_) => split_actions(self.tail().actions),
            None => Vec::new(),
        }
    }

    /// The actions as printed; for the kernel's own counters their descriptions.
    pub fn name(&self) -> String {
        self.tail().actions.to_owned()
    }
}

pub(super) fn split_actions(text: &str) -> Vec<&str> {
    text.split(", ").map(str::trim).filter(|action| !action.is_empty()).collect()
}

/// Old kernels and Xen glue the handler to the chip: `PCI-MSI-edge`, `xen-percpu-virq`.
const GLUED: [&str; 8] = ["-edge", "-fasteoi", "-level", "-msi-x", "-virq", "-ipi", "-event", "-msi"];

impl<'a> Tail<'a> {
    /// Splits `PCI-MSI 65537-edge      eth0-rx-0`; never fails, unknown parts become the actions.
    pub fn parse(text: &'a str) -> Self {
        let text = text.trim();
        let (chip, _) = text.split_at(chip_length(text));
        Self::parse_behind(text, chip)
    }

    /// The same, with the chip's name known from `/sys/kernel/irq/N/chip_name`.
    pub fn parse_with_chip(text: &'a str, chip: &str) -> Self {
        let text = text.trim();
        let is_chip = text.strip_prefix(chip).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if is_chip { Self::parse_behind(text, &text[..chip.len()]) } else { Self::parse(text) }
    }

    fn parse_behind(text: &'a str, chip: &'a str) -> Self {
        let mut tail = Tail { chip, ..Tail::default() };
        let rest = tail.take_hwirq(&text[chip.len()..]);
        let rest = tail.take_trigger(text, rest);
        tail.actions = rest.trim();
        if tail.hwirq.is_none()
            && tail.trigger.is_empty()
            && let Some(end) = GLUED.iter().find_map(|end| chip.ends_with(end).then_some(end.len()))
        {
            tail.trigger = &chip[chip.len() - end + 1..];
            tail.chip = &chip[..chip.len() - end];
        }
        tail
    }

    /// Digits that end in a blank, the line's end or `-handler`; `485c0100.dma-controller` is an action.
    fn take_hwirq(&mut self, rest: &'a str) -> &'a str {
        let trimmed = rest.trim_start();
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = trimmed.split_at(digits);
        if digits == 0 || !(after.is_empty() || after.starts_with([' ', '\t', '-'])) {
            return rest;
        }
        match number.parse() {
            Ok(number) => {
                self.hwirq = Some(number);
                after
            }
            Err(_) => rest,
        }
    }

    /// `-edge` glued to the number, ` Level` one blank behind it, ` Edge    -event`, or `-msi-x` behind the chip.
    fn take_trigger(&mut self, text: &'a str, rest: &'a str) -> &'a str {
        let behind_number = self.hwirq.is_some();
        let blanks = rest.len() - rest.trim_start().len();
        let (first, after) = word(rest.trim_start());
        if let Some(handler) = first.strip_prefix('-').filter(|handler| !handler.is_empty()) {
            self.trigger = handler;
            return after;
        }
        let known = TRIGGERS.contains(&first);
        if first.is_empty() || !(known || (behind_number && blanks == 1)) {
            return rest;
        }
        self.trigger = first;
        let (second, behind) = word(after.trim_start());
        if second.len() > 1 && second.starts_with('-') {
            // Both stand in one text: `Edge    -event` is shown as it is.
            let start = offset(text, first);
            let end = offset(text, second) + second.len();
            self.trigger = text.get(start..end).unwrap_or(first);
            return behind;
        }
        after
    }
}

/// How far the chip's name goes. Some hold blanks (`Hyper-V PCIe MSI`, `RISC-V INTC`, `SiFive PLIC`): such a name ends
/// before the number with its handler, `4138200989697-edge` or `5 Edge`.
fn chip_length(text: &str) -> usize {
    let words: Vec<&str> = text.split_whitespace().take(LONGEST_CHIP + 2).collect();
    let first = words.first().map_or(0, |word| word.len());
    if words.get(1).is_none_or(|second| {
        second.starts_with(|c: char| c == '-' || c.is_ascii_digit()) || TRIGGERS.contains(second)
    }) {
        return first;
    }
    let Some(number) = (2..words.len()).find(|at| is_numbered(words[*at], words.get(at + 1))) else { return first };
    let last = words[number - 1];
    offset(text, last) + last.len()
}

/// The words that a chip's name has at most.
const LONGEST_CHIP: usize = 4;
/// As `CONFIG_GENERIC_IRQ_SHOW_LEVEL` prints them.
const TRIGGERS: [&str; 3] = ["Edge", "Level", "None"];

/// `65537-edge`, or `5` where the next word is a trigger.
fn is_numbered(word: &str, next: Option<&&str>) -> bool {
    match word.split_once('-') {
        Some((number, handler)) => is_number(number) && ["edge", "level", "fasteoi"].contains(&handler),
        None => is_number(word) && next.is_some_and(|next| TRIGGERS.contains(next)),
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}
