//! `/proc/interrupts` of real machines, row by row.
#![cfg(all(feature = "net", target_os = "linux"))]

use std::path::PathBuf;

use proptest::prelude::*;
use sipmi::affinity::interrupts::{InterruptTable, Tail};
use sipmi::affinity::queue::{bus_address, names_device, presumed_managed};
use sipmi::affinity::{Queue, QueueKind};

fn capture(name: &str) -> InterruptTable {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/hosts/captures").join(name);
    InterruptTable::parse(&std::fs::read(&path).expect("a capture")).expect("a table")
}

/// A table with a header for `cpus` CPUs and one line.
fn row(cpus: usize, line: &str) -> InterruptTable {
    let header: Vec<String> = (0..cpus).map(|cpu| format!("CPU{cpu}")).collect();
    InterruptTable::parse(format!("    {}\n{line}\n", header.join("  ")).as_bytes()).expect("a table")
}

fn tail(text: &str) -> (&str, Option<u64>, &str, &str) {
    let tail = Tail::parse(text);
    (tail.chip, tail.hwirq, tail.trigger, tail.actions)
}

#[test]
fn the_name_of_a_chip_may_hold_blanks() {
    let azure = "Hyper-V PCIe MSI 4138200989697-edge      mana_q0@pci:7870:00:00.0";
    assert_eq!(tail(azure), ("Hyper-V PCIe MSI", Some(4_138_200_989_697), "edge", "mana_q0@pci:7870:00:00.0"));
    assert_eq!(tail("RISC-V INTC   5 Edge      riscv-timer"), ("RISC-V INTC", Some(5), "Edge", "riscv-timer"));
    assert_eq!(tail("SiFive PLIC  10 Level     ttyS0, uart 2"), ("SiFive PLIC", Some(10), "Level", "ttyS0, uart 2"));
    // Without a number that a handler follows, only the first word is the chip.
    assert_eq!(tail("dummy  pcie aer 3"), ("dummy", None, "", "pcie aer 3"));
    // The kernel's own word for the chip wins.
    let known = Tail::parse_with_chip("Acme IRQ Mux  some driver", "Acme IRQ Mux");
    assert_eq!((known.chip, known.actions), ("Acme IRQ Mux", "some driver"));
    assert_eq!(Tail::parse_with_chip("PCI-MSI 1-edge eth0", "PCI").chip, "PCI-MSI");
}

#[test]
fn every_capture_parses_to_all_of_its_rows() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/hosts/captures");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if !name.contains(".interrupts") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let table = InterruptTable::parse(text.as_bytes()).unwrap();
        let lines: Vec<&str> = text.lines().skip(1).filter(|line| line.contains(':')).collect();
        assert_eq!(table.len(), lines.len(), "{name}");
        for (row, line) in table.rows().zip(lines) {
            let (label, rest) = line.split_once(':').unwrap();
            assert_eq!(row.label(), label.trim(), "{name}");
            // Another reading of the same line: as many words as there are CPUs, short rows aside.
            let words: Vec<u64> =
                rest.split_whitespace().map_while(|word| word.parse().ok()).take(table.columns().len()).collect();
            assert_eq!(row.counts(), words, "{name} {label}");
            if row.irq().is_some() {
                assert_eq!(row.counts().len(), table.columns().len(), "{name} {label}");
                let last = rest.split_whitespace().last().unwrap();
                assert!(row.actions().last().is_some_and(|action| action.ends_with(last)), "{name} {line}");
                assert!(!row.chip().is_empty() && !row.tail().trigger.is_empty(), "{name} {line}");
            }
        }
    }
    assert_eq!(seen, 10);
}

#[test]
fn counts_belong_to_the_cpus_of_the_header_when_one_is_offline() {
    let table = capture("61.interrupts_cpu1_offline");
    assert_eq!(table.cpus().to_list(), "0,2-7");
    let nic = table.irq(57).unwrap();
    assert_eq!(nic.counts(), [1, 0, 0, 11, 0, 0, 0]);
    assert_eq!(table.columns()[3], 4, "the fourth column is CPU 4");
}

#[test]
fn short_rows_have_the_counts_they_have() {
    let table = capture("612.interrupts");
    assert_eq!(table.label("ERR").unwrap().counts(), [0]);
    assert_eq!(table.label("NMI").unwrap().counts().len(), 8);
    assert_eq!(table.label("NMI").unwrap().name(), "Non-maskable interrupts");
    assert!(table.label("NMI").unwrap().actions().is_empty());
    let fiq = row(4, "FIQ:              usb_fiq");
    assert_eq!((fiq.row(0).unwrap().counts(), fiq.row(0).unwrap().name()), (&[][..], "usb_fiq".to_owned()));
}

#[test]
fn arm_rows_without_a_blank_after_the_colon_are_read() {
    let table = capture("node_exporter_aarch64.interrupts");
    assert_eq!(table.label("IPI0").unwrap().counts()[0], 2_768_808_080);
    assert_eq!(table.label("IPI3").unwrap().name(), "CPU stop (for crash dump) interrupts");
    assert_eq!(table.label("Err").unwrap().counts(), [0]);
    let nic = table.irq(58).unwrap();
    assert_eq!(
        (nic.chip(), nic.tail().hwirq, nic.tail().trigger, nic.actions()),
        ("ITS-MSI", Some(81921), "Edge", vec!["eth0-Tx-Rx-0"])
    );
    assert_eq!(table.irq(50).unwrap().chip(), "ARMH0061:00");
}

#[test]
fn tails_of_every_generation_and_platform_are_taken_apart() {
    assert_eq!(tail("IO-APIC   2-edge      timer"), ("IO-APIC", Some(2), "edge", "timer"));
    assert_eq!(tail("IO-APIC   9-fasteoi   acpi"), ("IO-APIC", Some(9), "fasteoi", "acpi"));
    assert_eq!(tail("IO-APIC-edge  timer"), ("IO-APIC", None, "edge", "timer"));
    assert_eq!(tail("PCI-MSI-edge      p4p1"), ("PCI-MSI", None, "edge", "p4p1"));
    assert_eq!(tail("PCI-MSI 65537-edge      virtio2-input.0"), ("PCI-MSI", Some(65537), "edge", "virtio2-input.0"));
    assert_eq!(
        tail("PCI-MSIX-0000:00:05.0   0-edge      eth1-rx-0"),
        ("PCI-MSIX-0000:00:05.0", Some(0), "edge", "eth1-rx-0")
    );
    assert_eq!(
        tail("IR-PCI-MSIX-0000:01:00.0    1-edge      mlx5_comp0@pci:0000:01:00.0"),
        ("IR-PCI-MSIX-0000:01:00.0", Some(1), "edge", "mlx5_comp0@pci:0000:01:00.0")
    );
    assert_eq!(tail("DMAR-MSI   0-edge      dmar0"), ("DMAR-MSI", Some(0), "edge", "dmar0"));
    assert_eq!(tail("GICv3  27 Level     kvm guest vtimer"), ("GICv3", Some(27), "Level", "kvm guest vtimer"));
    assert_eq!(tail("GIC-0 136 Level     mmci-pl18x (cmd)"), ("GIC-0", Some(136), "Level", "mmci-pl18x (cmd)"));
    assert_eq!(
        tail("MSI-INTA 1716234 Level     485c0100.dma-controller chan6"),
        ("MSI-INTA", Some(1_716_234), "Level", "485c0100.dma-controller chan6")
    );
    assert_eq!(
        tail("xen-pirq    -msi-x     ena-mgmnt@pci:0000:00:03.0"),
        ("xen-pirq", None, "msi-x", "ena-mgmnt@pci:0000:00:03.0")
    );
    assert_eq!(tail("xen-percpu-virq      timer0"), ("xen-percpu", None, "virq", "timer0"));
    assert_eq!(tail("xen-dyn    -event     vif0-q0-tx"), ("xen-dyn", None, "event", "vif0-q0-tx"));
    assert_eq!(
        tail("xen-dyn-lateeoi     Edge    -event     evtchn:xenstored"),
        ("xen-dyn-lateeoi", None, "Edge    -event", "evtchn:xenstored")
    );
    assert_eq!(tail("SIRQC     24      in-band irq work"), ("SIRQC", Some(24), "", "in-band irq work"));
    assert_eq!(
        tail("IR-PCI-MSI-0000:00:19.0      0 oob-edge      eno1"),
        ("IR-PCI-MSI-0000:00:19.0", Some(0), "oob-edge", "eno1")
    );
    assert_eq!(
        tail("SIPIC      0 oob  out-of-band function call IPI"),
        ("SIPIC", Some(0), "oob", "out-of-band function call IPI")
    );
    assert_eq!(tail("PCI-MSIX-0000:27:00.0   2-edge    "), ("PCI-MSIX-0000:27:00.0", Some(2), "edge", ""));
    assert_eq!(tail(""), ("", None, "", ""));
}

#[test]
fn several_actions_on_one_line_are_several_and_no_action_is_none() {
    let actions = |line: &str, cpus: usize| -> Vec<String> {
        row(cpus, line).row(0).unwrap().actions().into_iter().map(str::to_owned).collect()
    };
    assert_eq!(
        actions("16:  0  0   IO-APIC  16-fasteoi   uhci_hcd:usb5, uhci_hcd:usb11, ahci[0000:02:00.0]", 2),
        ["uhci_hcd:usb5", "uhci_hcd:usb11", "ahci[0000:02:00.0]"]
    );
    assert_eq!(
        actions("43:  1  0   ITS-MSI 16384 Edge      PCIe PME, aerdrv, pciehp", 2),
        ["PCIe PME", "aerdrv", "pciehp"]
    );
    assert_eq!(actions("67:  0  163  0  1  PCI-MSIX-0000:27:00.0   2-edge    ", 4), Vec::<String>::new());
    assert_eq!(actions("20:  0  0  PCI-MSI 5-edge      nvme 0 io5", 2), ["nvme 0 io5"]);
    assert_eq!(
        actions("524544:  0  0  SIPIC      0 oob  out-of-band function call IPI", 2),
        ["out-of-band function call IPI"]
    );
}

#[test]
fn a_chip_whose_name_starts_with_a_digit_is_no_count() {
    let table = row(2, " 36:  5  6  48002000.gpio   7 Edge      button");
    let row = table.row(0).unwrap();
    assert_eq!((row.counts(), row.chip(), row.tail().hwirq), (&[5, 6][..], "48002000.gpio", Some(7)));
}

#[test]
fn rates_are_keyed_by_number_and_name_and_counters_may_wrap() {
    let table = |text: &str| InterruptTable::parse(text.as_bytes()).unwrap();
    let before = table("  CPU0 CPU1\n 9: 4294967290 10 PCI-MSI 1-edge  eth0\n10: 500 0 PCI-MSI 2-edge  old\n");
    let after = table("  CPU0 CPU1\n 9: 4 30 PCI-MSI 1-edge  eth0\n10: 7 0 PCI-MSI 2-edge  new\n");
    let rates = after.rates(&before, 2.0);
    assert_eq!(rates[0].per_cpu, [(0, 5.0), (1, 10.0)], "4294967290 to 4 is 10 interrupts");
    assert_eq!(rates[1].per_cpu, [(0, 3.5), (1, 0.0)], "another device's counts are not subtracted");
    let offline = table("  CPU1\n 9: 40 PCI-MSI 1-edge  eth0\n");
    assert_eq!(offline.rates(&after, 1.0)[0].per_cpu, [(1, 10.0)], "columns are matched by CPU");
}

#[test]
fn queues_are_known_by_the_names_that_drivers_give_them() {
    let queue = |name: &str| Queue::of(name).map(|queue| (queue.kind, queue.index));
    assert_eq!(queue("eth0-TxRx-3"), Some((QueueKind::Both, Some(3))));
    assert_eq!(queue("i40e-eth0-TxRx-3"), Some((QueueKind::Both, Some(3))));
    assert_eq!(queue("eth0-Tx-Rx-7"), Some((QueueKind::Both, Some(7))));
    assert_eq!(queue("eth2-rxtx-0"), Some((QueueKind::Both, Some(0))));
    assert_eq!(queue("eth0-rx-0"), Some((QueueKind::Rx, Some(0))));
    assert_eq!(queue("virtio2-input.0"), Some((QueueKind::Rx, Some(0))));
    assert_eq!(queue("virtio2-output.0"), Some((QueueKind::Tx, Some(0))));
    assert_eq!(queue("virtio2-config"), Some((QueueKind::Control, None)));
    assert_eq!(queue("mlx5_comp40@pci:0000:86:00.0"), Some((QueueKind::Both, Some(40))));
    assert_eq!(queue("mlx5_async0@pci:0000:01:00.1"), Some((QueueKind::Control, Some(0))));
    assert_eq!(queue("ice-0000:65:00.0:ctrl-TxRx-0"), Some((QueueKind::Control, None)));
    assert_eq!(queue("gve-ntfy-blk0@pci:0000:00:04.0"), Some((QueueKind::Both, Some(0))));
    assert_eq!(queue("ena-mgmnt@pci:0000:00:05.0"), Some((QueueKind::Control, None)));
    assert_eq!(queue("nvme0q3"), Some((QueueKind::Both, Some(3))));
    assert_eq!(queue("eth2-event-8"), Some((QueueKind::Control, Some(8))));
    // stmmac, bnx2x, bnx2 and sfc, be2net, mana, mlx4, xen-netfront, cxgb4, and the RAID controllers.
    assert_eq!(queue("enp0s8f0:rx-0"), Some((QueueKind::Rx, Some(0))));
    assert_eq!(queue("enp0s8f0:tx-3"), Some((QueueKind::Tx, Some(3))));
    assert_eq!(queue("enp0s8f0:lpi"), Some((QueueKind::Control, None)));
    assert_eq!(queue("eth3-fp-0"), Some((QueueKind::Both, Some(0))));
    assert_eq!(queue("em1-2"), Some((QueueKind::Both, Some(2))));
    assert_eq!(queue("enp4s0f1np1-7"), Some((QueueKind::Both, Some(7))));
    assert_eq!(queue("eth4-q5"), Some((QueueKind::Both, Some(5))));
    assert_eq!(queue("mana_q9@pci:7870:00:00.0"), Some((QueueKind::Both, Some(9))));
    assert_eq!(queue("mana_hwc@pci:7870:00:00.0"), Some((QueueKind::Control, None)));
    assert_eq!(queue("mlx4-12@pci:0000:04:00.0"), Some((QueueKind::Both, Some(12))));
    assert_eq!(queue("mlx4-async@pci:0000:04:00.0"), Some((QueueKind::Control, None)));
    assert_eq!(queue("eth0-q1-tx"), Some((QueueKind::Tx, Some(1))));
    assert_eq!(queue("eth5-Rx11"), Some((QueueKind::Rx, Some(11))));
    assert_eq!(queue("eth5-FWeventq"), Some((QueueKind::Control, None)));
    assert_eq!(queue("mpt3sas0-msix4"), Some((QueueKind::Both, Some(4))));
    assert_eq!(queue("i801_smbus"), None);
    assert_eq!(queue("pcie-dpc-0"), None);
    assert_eq!(queue("ahci[0000:00:1f.2]"), None);
    assert_eq!(queue("eth1"), None);
}

#[test]
fn a_device_is_named_by_a_whole_word_only() {
    assert!(names_device("virtio1-input.0", "virtio1"));
    assert!(!names_device("virtio10-input.0", "virtio1"));
    assert!(names_device("i40e-eth0-TxRx-3", "eth0"));
    assert!(!names_device("veth0", "eth0"));
    assert!(names_device("nvme0q3", "nvme0"));
    assert!(!names_device("nvme01q3", "nvme0"));
    assert!(!names_device("anything", ""));
}

#[test]
fn managed_vectors_are_presumed_by_name_only_where_drivers_manage_them() {
    for name in ["nvme0q1", "virtio0-req.0", "virtio1-request", "megasas0-msix7"] {
        assert!(presumed_managed(name), "{name}");
    }
    for name in ["nvme0q0", "virtio0-config", "virtio2-input.0", "eth0-TxRx-1", "virtio-req", "myvirtio0-request"] {
        assert!(!presumed_managed(name), "{name}");
    }
}

#[test]
fn bus_addresses_are_found_in_chips_and_actions() {
    assert_eq!(bus_address("PCI-MSIX-0000:00:05.0"), Some("0000:00:05.0"));
    assert_eq!(bus_address("ahci[0000:00:1f.2]"), Some("0000:00:1f.2"));
    assert_eq!(bus_address("mlx5_comp40@pci:0000:86:00.0"), Some("0000:86:00.0"));
    assert_eq!(bus_address("PCI-MSI"), None);
    assert_eq!(bus_address("\u{e9}\u{e9}0000:00:05.0"), Some("0000:00:05.0"));
}

#[test]
fn a_table_that_is_none_is_an_error_with_its_path() {
    for text in ["", "hello\n", "CPU0 CPUx\n", "CPU99999999\n"] {
        let error = InterruptTable::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("/proc/interrupts: expected a first line of CPU0 CPU1"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut text = b"  CPU0 CPU3\n".to_vec();
        text.extend(&bytes);
        let table = InterruptTable::parse(&text).unwrap();
        for row in table.rows() {
            let _ = (row.tail(), row.actions(), row.irq());
        }
        let _ = table.rates(&table, 1.0);
        let _ = InterruptTable::parse(&bytes);
    }

    #[test]
    fn no_tail_or_name_makes_a_reader_panic(text in ".{0,60}") {
        let _ = (Tail::parse(&text), Queue::of(&text), bus_address(&text), presumed_managed(&text), names_device(&text, "eth0"));
    }
}
