//! Machines as captured: interrupts, devices, topology, processes and irqbalance's file, read through one door.
#![cfg(all(feature = "net", target_os = "linux"))]

mod affinity_support;

use std::collections::BTreeSet;

use affinity_support::Machine;
use proptest::prelude::*;
use sipmi::affinity::device::Source;
use sipmi::affinity::envfile::Reader;
use sipmi::affinity::faults::Fault;
use sipmi::affinity::{CpuSet, cgroup, counters, envfile, irq, irqbalance, journal, process};

fn cpus(list: &str) -> CpuSet {
    CpuSet::parse_list(list, None).unwrap()
}

#[test]
fn devices_match_the_output_of_udevadm() {
    let machine = Machine::captured("612");
    let host = machine.host();
    let cases = [
        ("eth0", "virtio_net", "0000:00:04.0", vec![24, 25, 26]),
        ("eth1", "e1000e", "0000:00:05.0", vec![57, 58, 59]),
        ("eth2", "vmxnet3", "0000:00:06.0", (60..=68).collect()),
        ("nvme0n1", "nvme", "0000:00:01.0", (47..=55).collect()),
        ("sda", "virtio_scsi", "0000:00:03.0", (36..=46).collect()),
        ("sdb", "ahci", "0000:00:1f.2", vec![56]),
        ("/dev/sdb1", "ahci", "0000:00:1f.2", vec![56]),
        ("vda", "virtio_blk", "0000:00:02.0", (27..=35).collect()),
        ("0000:00:05.0", "e1000e", "0000:00:05.0", vec![57, 58, 59]),
    ];
    for (name, driver, bus, irqs) in cases {
        let device = host.device(name).unwrap();
        assert_eq!((device.driver(), device.bus.as_deref(), &device.irqs), (driver, Some(bus), &irqs), "{name}");
        assert_eq!((device.source, device.node), (Source::MsiIrqs, None), "{name}");
    }
    let chain: Vec<String> = host.device("sda").unwrap().chain.into_iter().map(|level| level.driver).collect();
    assert_eq!(chain, ["sd", "virtio_scsi", "virtio-pci"]);
}

#[test]
fn a_bond_a_vlan_and_a_bridge_have_the_interrupts_of_what_they_are_made_of() {
    let machine = Machine::captured("61");
    for name in ["bond0", "bond0.100", "br0"] {
        let device = machine.host().device(name).unwrap();
        assert_eq!(device.irqs, (57..=68).collect::<Vec<_>>(), "{name}");
        let leaves: Vec<&str> = device.leaves().iter().map(|leaf| leaf.name.as_str()).collect();
        assert_eq!(leaves, ["eth1", "eth2"], "{name}");
    }
    let loopback = machine.host().device("lo").unwrap();
    assert_eq!((loopback.irqs.len(), loopback.source), (0, Source::Nothing));
}

#[test]
fn an_empty_msi_irqs_falls_back_to_the_table_by_address_and_then_by_name() {
    let machine = Machine::captured("612");
    std::fs::remove_dir_all(machine.dir.join("sys/devices/pci0000:00/0000:00:05.0/msi_irqs")).unwrap();
    let by_bus = machine.host().device("eth1").unwrap();
    assert_eq!((by_bus.irqs, by_bus.source), (vec![57, 58, 59], Source::TableByBus));
    let machine = Machine::captured("61");
    for bus in ["0000:00:05.0", "0000:00:04.0"] {
        std::fs::remove_dir_all(machine.dir.join(format!("sys/devices/pci0000:00/{bus}/msi_irqs"))).unwrap();
    }
    let by_name = machine.host().device("eth1").unwrap();
    assert_eq!((by_name.irqs, by_name.source), (vec![57, 58, 59], Source::TableByName));
    let virtio = machine.host().device("eth0").unwrap();
    assert_eq!(virtio.irqs, [24, 25, 26], "virtio2, not eth0, is in the table");
}

#[test]
fn a_device_known_by_the_table_alone_is_found_by_its_whole_name() {
    let machine = Machine::captured("article");
    let device = machine.host().device("p4p1").unwrap();
    assert_eq!((device.irqs, device.source), (vec![30], Source::TableByName));
    let error = machine.host().device("p4p").unwrap_err();
    assert!(error.is_missing() && error.to_string().contains("\"p4p\""), "{error}");
    for name in ["", "..", "a/b", "../../etc", "no\0name"] {
        assert!(machine.host().device(name).unwrap_err().is_missing(), "{name:?}");
    }
}

#[test]
fn numa_node_and_local_cpus_come_from_the_function() {
    let machine = Machine::captured("612");
    machine.write("/sys/devices/pci0000:00/0000:00:05.0/numa_node", "1\n");
    let device = machine.host().device("eth1").unwrap();
    assert_eq!((device.node, device.local_cpus), (Some(1), cpus("4-7")));
}

#[test]
fn interrupts_have_all_their_files() {
    let machine = Machine::captured("612ir");
    let irq = machine.host().irq(26).unwrap();
    assert_eq!(
        (irq.affinity, irq.effective, irq.hint, irq.node),
        (Some(cpus("0-3")), Some(cpus("0")), Some(cpus("0-3")), None)
    );
    assert!(machine.host().irq(26).unwrap().remapped());
    assert_eq!(irq.spurious.unwrap().unhandled, 1);
    assert_eq!(
        (irq.chip.as_str(), irq.hwirq, irq.actions),
        ("IR-PCI-MSIX-0000:00:04.0", Some(1), vec!["virtio2-input.0".to_owned()])
    );
    assert_eq!(irq::default_affinity(&machine.host().root).unwrap(), Some(cpus("0-3")));
    assert_eq!(machine.host().irqs().unwrap().len(), 46, "also those that the table lacks");
    assert_eq!(irq::parse_spurious("count 7\nunhandled 1\nlast_unhandled 5 ms\n").last_unhandled_ms, 5);
}

#[test]
fn the_identity_of_an_interrupt_has_its_bus_address_on_old_and_new_kernels() {
    let new = Machine::captured("612").host().irq(57).unwrap().identity(None);
    assert_eq!((new.bus.as_str(), new.action.as_str(), new.hwirq), ("0000:00:05.0", "eth1-rx-0", Some(0)));
    let old = Machine::captured("61").host().irq(57).unwrap().identity(Some("0000:00:05.0"));
    assert_eq!((old.bus.as_str(), old.hwirq), ("0000:00:05.0", Some(81920)));
}

#[test]
fn topology_prints_as_a_tree() {
    let machine = Machine::captured("612");
    machine.write("/sys/devices/system/cpu/isolated", "6-7\n");
    let topology = machine.host().topology().unwrap();
    assert_eq!(topology.cache_domains(), [cpus("0-3"), cpus("4-7")]);
    assert_eq!((topology.isolated.clone(), topology.nohz_full.is_empty()), (cpus("6-7"), true));
    assert_eq!(topology.whole_cores(&cpus("0,2")), cpus("0-3"));
    assert_eq!(topology.first_threads(&cpus("0-3")), cpus("0,2"));
    let text = topology.to_string();
    assert!(text.starts_with("machine: 8 of 8 CPUs online (0-7), isolated 6-7"), "{text}");
    assert!(
        text.contains(
            "\n  package 0: 0-3\n    node 0: 0-3\n      cache domain: 0-3\n        core: 0-1\n        core: 2-3"
        ),
        "{text}"
    );
}

#[test]
fn an_l2_that_cores_share_is_a_domain_where_there_is_no_l3() {
    let machine = Machine::captured("article");
    for folder in ["sys/devices/system/cpu", "sys/devices/system/node"] {
        std::fs::remove_dir_all(machine.dir.join(folder)).unwrap();
    }
    for cpu in 0..4 {
        let pair = if cpu < 2 { "3" } else { "c" };
        let folder = format!("/sys/devices/system/cpu/cpu{cpu}");
        machine.write(&format!("{folder}/topology/physical_package_id"), "-1\n");
        machine.write(&format!("{folder}/topology/core_id"), &format!("{cpu}\n"));
        machine.write(&format!("{folder}/cache/index0/level"), "1\n");
        machine.write(&format!("{folder}/cache/index0/shared_cpu_map"), &format!("{:x}\n", 1 << cpu));
        machine.write(&format!("{folder}/cache/index2/level"), "2\n");
        machine.write(&format!("{folder}/cache/index2/shared_cpu_map"), &format!("{pair}\n"));
        // The capture tool stores unreadable files as empty ones.
        machine.write(&format!("{folder}/topology/cluster_id"), "");
        machine.write(&format!("{folder}/cache/index2/id"), "");
    }
    machine.write("/sys/devices/system/node/node0/cpumap", "3\n");
    machine.write("/sys/devices/system/node/node1/cpumap", "c\n");
    machine.write("/sys/devices/system/cpu/cpu3/online", "0\n");
    let topology = machine.host().topology().unwrap();
    assert_eq!(topology.online, cpus("0-2"));
    assert_eq!(topology.cache_domains(), [cpus("0-1"), cpus("2")]);
    assert_eq!(topology.nodes.values().cloned().collect::<Vec<_>>(), [cpus("0-1"), cpus("2-3")]);
    assert!(topology.cpus.iter().all(|cpu| cpu.package == 0), "-1 is a package that is not known");
}

#[test]
fn servers_are_found_by_name_pidfile_and_group() {
    let machine = Machine::captured("612");
    let root = &machine.host().root;
    let pids = |found: Vec<process::Process>| found.into_iter().map(|process| process.pid).collect::<Vec<_>>();
    let all: Vec<u32> = (19904..=19908).collect();
    assert_eq!(pids(process::by_name(root, "opensips").unwrap()), all);
    assert_eq!(pids(process::by_pidfile(root, "/run/opensips/opensips.pid").unwrap()), all);
    assert_eq!(pids(process::by_cgroup(root, "system.slice/opensips.service").unwrap()), all);
    assert!(process::by_name(root, "kamailio").unwrap_err().is_missing());
    assert!(process::by_cgroup(root, "no.slice").unwrap_err().is_missing());
    machine.write("/run/opensips/opensips.pid", "not a pid\n");
    let error = process::by_pidfile(root, "/run/opensips/opensips.pid").unwrap_err().to_string();
    assert!(error.contains("opensips.pid: expected a pid, found \"not a pid\""), "{error}");
}

#[test]
fn cpusets_of_both_versions_are_read_and_a_group_without_one_asks_its_parent() {
    let machine = Machine::captured("612");
    let effective = |machine: &Machine| cgroup::effective(&machine.host().root, 19904).unwrap();
    assert_eq!(effective(&machine), Some(cpus("0-7")));
    machine.write("/sys/fs/cgroup/system.slice/cpuset.cpus.effective", "2-5\n");
    assert_eq!(effective(&machine), Some(cpus("2-5")));
    machine.write(
        "/proc/mounts",
        "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
    );
    machine.write("/proc/19904/cgroup", "3:cpuset,cpu:/sip\n0::/\n");
    machine.write("/sys/fs/cgroup/cpuset/sip/cpuset.effective_cpus", "1-2\n");
    assert_eq!(effective(&machine), Some(cpus("1-2")));
}

#[test]
fn links_out_of_a_captured_tree_are_not_followed() {
    let machine = Machine::captured("article");
    std::fs::remove_file(machine.dir.join("proc/irq/default_smp_affinity")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", machine.dir.join("proc/irq/default_smp_affinity")).unwrap();
    let error = irq::default_affinity(&machine.host().root).unwrap_err();
    assert_eq!(error.errno(), Some(libc::EXDEV), "{error}");
}

#[test]
fn the_right_irqbalance_file_is_found_on_each_distribution() {
    let machine = Machine::captured("612");
    let file = |machine: &Machine| machine.host().irqbalance().unwrap().file;
    assert_eq!(file(&machine), "/etc/default/irqbalance");
    std::fs::remove_file(machine.dir.join("etc/default/irqbalance")).unwrap();
    for (release, expected) in [
        ("ID=debian\n", "/etc/default/irqbalance"),
        ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "/etc/sysconfig/irqbalance"),
        ("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n", "/etc/sysconfig/irqbalance"),
    ] {
        machine.write("/etc/os-release", release);
        assert_eq!(file(&machine), expected, "{release}");
    }
    machine.write("/etc/sysconfig/irqbalance", "IRQBALANCE_BANNED_CPUS=3\n");
    assert_eq!(file(&machine), "/etc/sysconfig/irqbalance");
    assert_eq!(machine.host().irqbalance().unwrap().banned_cpus, cpus("0-1"));
    machine.write(
        "/lib/systemd/system/irqbalance.service",
        "[Service]\nEnvironmentFile=-/usr/lib/irqbalance/defaults.env\nEnvironmentFile=-/etc/sysconfig/irqbalance\n",
    );
    machine.write(
        "/etc/systemd/system/irqbalance.service.d/own.conf",
        "[Service]\nEnvironmentFile=\nEnvironmentFile=/etc/irqbalance/mine.env\n",
    );
    machine.write("/etc/irqbalance/mine.env", "IRQBALANCE_ARGS=\"--banirq=7 -i 9\"\n");
    let balance = machine.host().irqbalance().unwrap();
    assert_eq!((balance.file.as_str(), balance.banned_irqs), ("/etc/irqbalance/mine.env", BTreeSet::from([7, 9])));
}

#[test]
fn irqbalance_edits_change_one_line_and_keep_every_other_byte() {
    let machine = Machine::captured("612");
    let original = "# note: \\\n  continued = here\n; also a comment\r\nIRQBALANCE_ARGS='--deepestcache=2'  \n\tODD = x\\\n y\nIRQBALANCE_BANNED_CPULIST=\nlast=1";
    machine.write("/etc/default/irqbalance", original);
    let host = machine.host();
    host.irqbalance().unwrap().ban_irqs(&host.root, &BTreeSet::from([57, 58])).unwrap();
    let edited = machine.read("/etc/default/irqbalance");
    assert_eq!(
        edited,
        original.replace(
            "IRQBALANCE_ARGS='--deepestcache=2'  ",
            "IRQBALANCE_ARGS=\"--deepestcache=2 --banirq=57 --banirq=58\""
        )
    );
    host.irqbalance().unwrap().ban_cpus(&host.root, &cpus("2-3")).unwrap();
    assert_eq!(machine.read("/etc/default/irqbalance"), edited.replace("BANNED_CPULIST=", "BANNED_CPULIST=\"2-3\""));
    let again = machine.read("/etc/default/irqbalance");
    host.irqbalance().unwrap().ban_irqs(&host.root, &BTreeSet::from([57])).unwrap();
    assert_eq!(machine.read("/etc/default/irqbalance"), again, "banned already");
}

#[test]
fn a_mask_that_is_set_is_kept_in_step_with_the_list() {
    let machine = Machine::captured("612");
    machine.write("/etc/default/irqbalance", "IRQBALANCE_BANNED_CPUS=1\nIRQBALANCE_BANNED_CPULIST=0\n");
    let host = machine.host();
    host.irqbalance().unwrap().ban_cpus(&host.root, &cpus("2")).unwrap();
    assert_eq!(
        machine.read("/etc/default/irqbalance"),
        "IRQBALANCE_BANNED_CPUS=\"5\"\nIRQBALANCE_BANNED_CPULIST=\"0,2\"\n"
    );
}

#[test]
fn a_value_that_irqbalance_cannot_read_bans_no_cpu_and_does_not_block_a_ban() {
    for text in ["IRQBALANCE_BANNED_CPUS=0x3\n", "IRQBALANCE_BANNED_CPULIST=-\n", "IRQBALANCE_BANNED_CPULIST=4-N\n"] {
        let machine = Machine::captured("612");
        machine.write("/etc/default/irqbalance", text);
        let host = machine.host();
        assert_eq!(host.irqbalance().unwrap().banned_cpus.to_list(), "", "{text}");
        host.irqbalance().unwrap().ban_cpus(&host.root, &cpus("2-3")).unwrap();
        assert_eq!(host.irqbalance().unwrap().banned_cpus.to_list(), "2-3", "{text}");
    }
}

#[test]
fn a_ban_keeps_the_isolated_and_nohz_full_cpus_that_irqbalance_protects_by_itself() {
    let machine = Machine::captured("612");
    machine.write("/sys/devices/system/cpu/isolated", "4-5\n");
    machine.write("/sys/devices/system/cpu/nohz_full", "6\n");
    machine.write("/etc/default/irqbalance", "");
    let host = machine.host();
    assert_eq!(host.irqbalance().unwrap().protected_cpus.to_list(), "4-6");
    host.irqbalance().unwrap().ban_cpus(&host.root, &cpus("2-3")).unwrap();
    assert_eq!(machine.read("/etc/default/irqbalance"), "IRQBALANCE_BANNED_CPUS=\"7c\"\n");
    // An administrator who has set a variable has turned that protection off.
    machine.write("/etc/default/irqbalance", "IRQBALANCE_BANNED_CPULIST=-\n");
    host.irqbalance().unwrap().ban_cpus(&host.root, &cpus("2-3")).unwrap();
    assert_eq!(machine.read("/etc/default/irqbalance"), "IRQBALANCE_BANNED_CPULIST=\"2-3\"\n");
}

#[test]
fn the_list_is_written_where_the_installed_version_knows_it() {
    let machine = Machine::captured("612");
    machine.write("/etc/default/irqbalance", "");
    machine.write("/usr/sbin/irqbalance", "\x7fELF ... IRQBALANCE_BANNED_CPULIST ...");
    let host = machine.host();
    host.irqbalance().unwrap().ban_cpus(&host.root, &cpus("2-3")).unwrap();
    assert_eq!(machine.read("/etc/default/irqbalance"), "IRQBALANCE_BANNED_CPULIST=\"2-3\"\n");
}

#[test]
fn exported_variables_count_where_a_shell_reads_the_file() {
    let text = "export IRQBALANCE_BANNED_CPUS=1\n";
    let machine = Machine::captured("612");
    machine.write("/etc/default/irqbalance", text);
    let host = machine.host();
    host.irqbalance().unwrap().ban_cpus(&host.root, &cpus("2")).unwrap();
    assert_eq!(machine.read("/etc/default/irqbalance"), "export IRQBALANCE_BANNED_CPUS=\"5\"\n");
    // systemd passes such a line over.
    machine.write("/etc/default/irqbalance", text);
    machine
        .write("/usr/lib/systemd/system/irqbalance.service", "[Service]\nEnvironmentFile=-/etc/default/irqbalance\n");
    assert_eq!(host.irqbalance().unwrap().banned_cpus.to_list(), "");
    host.irqbalance().unwrap().ban_cpus(&host.root, &cpus("2")).unwrap();
    assert_eq!(machine.read("/etc/default/irqbalance"), format!("{text}IRQBALANCE_BANNED_CPUS=\"4\"\n"));
}

#[test]
fn a_failed_replacement_leaves_the_old_file_and_no_other() {
    let machine = Machine::captured("612");
    let host = machine.with_fault("/etc/default/irqbalance", Fault::Write(libc::ENOSPC));
    let before = machine.read("/etc/default/irqbalance");
    let error = host.irqbalance().unwrap().ban_cpus(&host.root, &cpus("1")).unwrap_err();
    assert_eq!(error.errno(), Some(libc::ENOSPC), "{error}");
    assert_eq!(machine.read("/etc/default/irqbalance"), before);
    assert_eq!(std::fs::read_dir(machine.dir.join("etc/default")).unwrap().count(), 1);
}

#[test]
fn environment_files_follow_systemd() {
    let value = |text: &str| envfile::get(text.as_bytes(), "A", Reader::Systemd);
    assert_eq!(value("A=1\nA=2\n").as_deref(), Some("2"));
    assert_eq!(value("A=\"x \\\"y\\\" \\$z\"\n").as_deref(), Some("x \"y\" $z"));
    assert_eq!(value("A='it\\'\n").as_deref(), Some("it\\"));
    assert_eq!(value("A=one\\\ntwo  \n").as_deref(), Some("onetwo"));
    assert_eq!(value("#A=1\n;A=2\nno assignment\n"), None);
    assert_eq!(value("  A = 'b' c # d\n").as_deref(), Some("b c # d"));
    assert_eq!(value("A=").as_deref(), Some(""));
}

#[test]
fn counters_are_read_where_columns_differ_between_kernels() {
    let new = "0000000a 00000001 00000002 0 0 0 0 0 0 00000003 0 0 00000004 0 0\n";
    let line = counters::parse_softnet(new, &[0])[0];
    assert_eq!((line.cpu, line.processed, line.dropped, line.squeezed, line.received_rps), (4, 10, 1, 2, 3));
    let old = counters::parse_softnet("0a 0 0 0 0 0 0 0 0 0 0\n0b 0 0 0 0 0 0 0 0 0 0\n", &[0, 2]);
    assert_eq!(old.iter().map(|line| (line.cpu, line.processed)).collect::<Vec<_>>(), [(0, 10), (2, 11)]);
    let snmp = "Udp: InDatagrams RcvbufErrors\nUdp: 5 7\nUdpLite: InDatagrams RcvbufErrors\nUdpLite: 1 1\n";
    assert_eq!(counters::snmp(snmp, "Udp", "RcvbufErrors"), Some(7));
    assert_eq!(counters::snmp("Udp:", "Udp", "RcvbufErrors"), None);
    let snmp6 = "Ip6InReceives                   \t9\nUdp6RcvbufErrors                \t4\n";
    assert_eq!(counters::snmp6(snmp6, "Udp6RcvbufErrors"), Some(4));
    assert_eq!(counters::snmp6("Udp6RcvbufErrors", "Udp6RcvbufErrors"), None);
    assert_eq!(counters::run_delay("432599 17452103 2\n"), Some(17_452_103));
    assert_eq!(counters::run_delay("432599"), None);
}

#[cfg(target_endian = "little")]
#[test]
fn drops_of_sockets_are_read_with_their_addresses() {
    let head = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
    let four = "  431: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 6275545 2 00000000e2a9e35f 12\n";
    let six = "  431: 00000000000000000000000001000000:13C4 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 77 2 0 3\n";
    let drops = counters::socket_drops(&format!("{head}{four}{six}torn\n"));
    let found: Vec<(&str, u64)> = drops.iter().map(|(socket, drops)| (socket.as_str(), *drops)).collect();
    assert_eq!(found, [("127.0.0.1:8080 6275545", 12), ("[::1]:5060 77", 3)]);
}

#[test]
fn a_process_name_may_hold_anything() {
    let stat = process::parse_stat("7 (a) R 1 (b) S 3 7 7 0 -1 67108864 0 0 0 0 0 0 0 0 20 0 1 0 555 0 0").unwrap();
    assert_eq!(
        (stat.name.as_str(), stat.state, stat.parent, stat.flags, stat.started),
        ("a) R 1 (b", 'S', 3, 0x0400_0000, 555)
    );
}

proptest! {
    #[test]
    fn an_edit_sets_its_key_and_leaves_all_others(text in "([A-C]=[a-z\"'\\\\ ]{0,6}\n|#[a-z\\\\]{0,4}\n|\n|[a-z]{1,3}\n){0,6}", value in "[ -~]{0,20}") {
        let before = envfile::parse(text.as_bytes());
        let changed = envfile::set(text.as_bytes(), "A", &value, Reader::Systemd);
        prop_assert_eq!(envfile::get(&changed, "B", Reader::Systemd), before.iter().rev().find(|a| a.key == "B" && !a.is_exported).map(|a| a.value.clone()));
        prop_assert_eq!(envfile::get(&changed, "A", Reader::Systemd), Some(value));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
        let _ = envfile::set(&bytes, "KEY", "value", Reader::Systemd);
        let _ = journal::parse("a journal", &bytes, None);
        let _ = (process::parse_stat(&text), cgroup::parse_memberships(&text), cgroup::parse_mounts(&text));
        let _ = (irq::parse_spurious(&text), irqbalance::parse_setup(&text), irqbalance::banned_irqs(&text));
        let _ = (counters::parse_softnet(&text, &[0]), counters::snmp(&text, "Udp", "x"), counters::context_switches(&text));
    }
}
