//! Plans on captured machines: made, repeated, applied, watched, undone by identity, and taken back from any point of a crash.
#![cfg(all(feature = "net", target_os = "linux"))]

mod affinity_support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use affinity_support::Machine;
use sipmi::affinity::apply::apply;
use sipmi::affinity::conflicts::Severity;
use sipmi::affinity::faults::{Fault, Faults};
use sipmi::affinity::plan::{Change, Plan};
use sipmi::affinity::request::{Policy, Request};
use sipmi::affinity::{CpuSet, Host, Reason, State, journal, undo};

fn cpus(list: &str) -> CpuSet {
    CpuSet::parse_list(list, None).unwrap()
}

fn request(host: &Host, devices: &[&str], list: Option<&str>) -> Request {
    Request {
        devices: devices.iter().map(ToString::to_string).collect(),
        processes: host.processes("opensips").unwrap(),
        cpus: list.map(cpus),
        steering: true,
        ban: true,
        ..Request::default()
    }
}

fn plan(host: &Host, devices: &[&str], list: Option<&str>) -> Plan {
    host.plan(&request(host, devices, list)).unwrap()
}

/// Every affinity of the machine, by path.
fn state(machine: &Machine) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![machine.dir.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            let name = entry.file_name().into_string().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file()
                && matches!(
                    name.as_str(),
                    "smp_affinity_list" | "smp_affinity" | "status" | "rps_cpus" | "xps_cpus" | "irqbalance"
                )
            {
                found.insert(entry.path(), std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    found
}

fn journals(machine: &Machine) -> Vec<PathBuf> {
    journal::pending(&machine.dir.join("var/lib/sipmi")).unwrap()
}

#[test]
fn without_cpus_the_cache_domain_nearest_to_the_device_is_chosen() {
    let machine = Machine::captured("612");
    machine.write("/sys/devices/pci0000:00/0000:00:05.0/numa_node", "1\n");
    let plan = plan(&machine.host(), &["eth1"], None);
    assert_eq!((plan.irq_cpus, plan.process_cpus, plan.chosen), (cpus("4-7"), cpus("4-7"), true));
    machine.write("/sys/devices/system/cpu/isolated", "4-5\n");
    let plan = self::plan(&machine.host(), &["eth1"], None);
    assert_eq!(plan.irq_cpus, cpus("6-7"), "an administrator chose the load of isolated CPUs");
}

/// One core a socket, as most virtual machines have: each CPU has an L3 of its own.
fn with_one_domain_a_cpu(machine: &Machine) {
    for cpu in 0..8 {
        let folder = format!("/sys/devices/system/cpu/cpu{cpu}");
        machine.write(&format!("{folder}/cache/index3/shared_cpu_list"), &format!("{cpu}\n"));
        machine.write(&format!("{folder}/topology/physical_package_id"), &format!("{cpu}\n"));
    }
}

#[test]
fn a_cache_domain_that_is_too_small_widens_to_its_node_and_the_plan_says_so() {
    let machine = Machine::captured("612");
    with_one_domain_a_cpu(&machine);
    machine.write("/sys/devices/pci0000:00/0000:00:05.0/numa_node", "1\n");
    let plan = plan(&machine.host(), &["eth1"], None);
    assert_eq!((&plan.irq_cpus, &plan.process_cpus), (&cpus("4-7"), &cpus("4-7")));
    let shown = plan.to_string();
    let why = "(node 1: the nearest cache domain has 1 CPU for 2 queues and 5 processes)";
    assert!(shown.lines().next().unwrap().contains(why), "{shown}");
}

#[test]
fn a_node_that_is_too_small_widens_to_all_usable_cpus() {
    let machine = Machine::captured("612");
    with_one_domain_a_cpu(&machine);
    for node in 0..2 {
        machine.write(&format!("/sys/devices/system/node/node{node}/cpulist"), &format!("{node}\n"));
    }
    machine.write("/sys/devices/system/cpu/isolated", "7\n");
    let plan = plan(&machine.host(), &["eth2"], None);
    assert_eq!(plan.irq_cpus, cpus("0-6"));
    assert!(plan.choice.starts_with("all usable CPUs: the nearest cache domain has 1 CPU"), "{}", plan.choice);
}

#[test]
fn fewer_cpus_than_queues_or_processes_are_a_warning() {
    let machine = Machine::captured("612");
    let warning = |list: &str| {
        let plan = plan(&machine.host(), &["eth1"], Some(list));
        plan.conflicts.iter().find(|conflict| conflict.what == "cpus").map(|conflict| conflict.detail.clone())
    };
    assert_eq!(warning("2").as_deref(), Some("2 queues share CPUs 2, 5 processes share CPUs 2"));
    assert_eq!(warning("2-3").as_deref(), Some("5 processes share CPUs 2-3"));
    assert_eq!(warning("0-4"), None);
}

#[test]
fn a_plan_without_a_device_is_near_to_nothing_and_leaves_no_cpu_out() {
    let machine = Machine::captured("612");
    let plan = plan(&machine.host(), &[], None);
    assert_eq!((&plan.process_cpus, plan.choice.as_str()), (&cpus("0-7"), "all usable CPUs, as no device is named"));
}

#[test]
fn packet_steering_of_before_that_leaves_the_plan_is_turned_off_or_warned_of() {
    let machine = Machine::captured("612");
    // As many queues as CPUs, so that the plan needs no RPS.
    machine.write("/sys/class/net/eth2/queues/rx-0/rps_cpus", "f0\n");
    let host = machine.host();
    let plan = plan(&host, &["eth2"], Some("0-3"));
    let item = plan.items.iter().find(|item| item.subject() == "eth2 rx-0").expect("an item");
    assert!(item.target.is_empty(), "{plan}");
    let without = host.plan(&Request { steering: false, ..request(&host, &["eth2"], Some("0-3")) }).unwrap();
    let warning = without.conflicts.iter().find(|conflict| conflict.what == "steering").expect("a warning");
    assert_eq!(warning.detail, "eth2 rx-0 has rps_cpus 4-7: its packets leave the CPUs of this plan");
    apply(&plan, None, false).unwrap();
    assert_eq!(machine.read("/sys/class/net/eth2/queues/rx-0/rps_cpus").trim().trim_matches(['0', ',']), "");
}

#[test]
fn isolated_cpus_take_no_rps_and_siblings_outside_of_what_was_asked_are_told() {
    let machine = Machine::captured("612");
    machine.write("/sys/devices/system/cpu/isolated", "3\n");
    let host = machine.host();
    let plan = plan(&host, &["eth1"], Some("0-3"));
    let details: Vec<&str> = plan.conflicts.iter().map(|conflict| conflict.detail.as_str()).collect();
    assert!(details.contains(&"CPUs 3 are isolated: the kernel gives them no packets by RPS"), "{details:?}");
    let siblings =
        host.plan(&Request { policy: Policy::Siblings, ..request(&host, &["eth2"], Some("0,2")) }).unwrap();
    let details: Vec<&str> = siblings.conflicts.iter().map(|conflict| conflict.detail.as_str()).collect();
    assert!(
        details.contains(&"CPUs 1,3 were not asked for: they are the siblings of those that were"),
        "{details:?}"
    );
}

#[test]
fn a_plan_that_is_repeated_does_not_shrink_and_has_nothing_to_do() {
    let machine = Machine::captured("612");
    let first = plan(&machine.host(), &["eth2", "sdb"], None);
    apply(&first, None, false).unwrap();
    let second = plan(&machine.host(), &["eth2", "sdb"], None);
    assert_eq!((&second.irq_cpus, &second.process_cpus), (&first.irq_cpus, &first.process_cpus));
    assert!(second.items.iter().all(sipmi::affinity::plan::Item::is_done), "{second}");
}

#[test]
fn a_nic_and_a_disk_are_one_plan_and_managed_queues_are_left_alone() {
    let machine = Machine::captured("612");
    let plan = plan(&machine.host(), &["eth2", "nvme0n1"], Some("2-3"));
    let irqs: Vec<u32> = plan.irqs().into_iter().collect();
    assert_eq!(irqs, std::iter::once(47).chain(60..=68).collect::<Vec<_>>());
    let before = state(&machine);
    let applied = apply(&plan, None, false).unwrap();
    assert!(applied.is_complete(), "{:?}", applied.to_json());
    let managed = applied.reports.iter().filter(|report| report.state() == State::Managed).count();
    assert_eq!(managed, 8);
    assert_eq!(machine.host().irq(60).unwrap().affinity, Some(cpus("2-3")));
    assert_eq!(machine.host().process(19908).unwrap().affinity(&machine.host().root).unwrap(), cpus("2-3"));
    assert!(applied.drift().unwrap().is_empty());
    assert!(applied.undo().unwrap().complete);
    assert_eq!(state(&machine), before);
    assert!(journals(&machine).is_empty());
}

fn targets(plan: &Plan, kind: &str) -> Vec<String> {
    plan.items.iter().filter(|item| item.kind() == kind).map(|item| item.target.to_list()).collect()
}

#[test]
fn the_policy_auto_sizes_interrupt_cpus_to_queues_and_workers_in_whole_cores() {
    let machine = Machine::captured("612");
    let host = machine.host();
    let auto = |list: Option<&str>, workers: usize| {
        let mut request = Request { policy: Policy::Auto, ..request(&host, &["eth2"], list) };
        request.processes.truncate(workers);
        host.plan(&request).unwrap()
    };
    // Two threads a core, eight queues: the share of the queues, half of the CPUs at most.
    assert_eq!(divided(&auto(Some("0-7"), 5)), ("0-3".into(), "4-7".into()));
    assert_eq!(divided(&auto(Some("0-5"), 5)), ("0-3".into(), "4-5".into()));
    assert_eq!(divided(&auto(None, 5)), ("0-3".into(), "4-7".into()));
    let plan = auto(Some("0-7"), 5);
    assert_eq!(targets(&plan, "irq"), ["0", "1", "2", "3", "0", "1", "2", "3", "0-3"]);
    let shown = plan.to_string();
    assert!(shown.contains("\n0     eth2-rxtx-0, eth2-rxtx-4\n"), "{shown}");
    assert!(shown.contains("\n4-7                             5 opensips\n"), "{shown}");
    // Few CPUs are not divided; without processes there is nothing to divide for.
    assert_eq!(divided(&auto(Some("4-7"), 5)), ("4-7".into(), "4-7".into()));
    assert_eq!(divided(&auto(Some("0-7"), 0)), ("0-7".into(), "0-7".into()));
    assert_eq!(auto(Some("0-7"), 5).request.irq_cpus, Some(cpus("0-3")), "made again, it is divided in the same way");
}

fn divided(plan: &Plan) -> (String, String) {
    (plan.irq_cpus.to_list(), plan.process_cpus.to_list())
}

#[test]
fn the_policy_auto_of_one_queue_is_same() {
    let machine = Machine::captured("612");
    let plan =
        machine.host().plan(&Request { policy: Policy::Auto, ..request(&machine.host(), &["sdb"], None) }).unwrap();
    assert_eq!((plan.policy, &plan.irq_cpus), (Policy::Same, &plan.process_cpus));
}

#[test]
fn policies_share_cpus_as_they_say() {
    let machine = Machine::captured("612");
    let host = machine.host();
    let siblings =
        host.plan(&Request { policy: Policy::Siblings, ..request(&host, &["eth2"], Some("0-3")) }).unwrap();
    assert_eq!((siblings.irq_cpus, siblings.process_cpus), (cpus("0,2"), cpus("1,3")));
    let spread = host
        .plan(&Request { policy: Policy::Spread, reuse_port: true, ..request(&host, &["eth2"], Some("4-7")) })
        .unwrap();
    let target = |kind: &str| -> Vec<String> {
        spread.items.iter().filter(|item| item.kind() == kind).map(|item| item.target.to_list()).collect()
    };
    assert_eq!(target("irq"), ["4", "5", "6", "7", "4", "5", "6", "7", "4-7"]);
    assert_eq!(target("process"), ["4", "5", "6", "7", "4"]);
    assert_eq!(target("xps"), ["4", "5", "6", "7", "4", "5", "6", "7"]);
    let flat = Machine::captured("61");
    let plan = flat
        .host()
        .plan(&Request { policy: Policy::Siblings, ..request(&flat.host(), &["eth2"], Some("0-3")) })
        .unwrap();
    assert!(plan.conflicts.iter().any(|conflict| conflict.what == "siblings"), "{plan}");
}

#[test]
fn the_attendant_is_moved_first_and_roles_are_shown() {
    let machine = Machine::captured("612");
    let host = machine.host();
    let mut request = request(&host, &[], Some("1"));
    for process in &mut request.processes {
        process.role = Some(if process.pid == 19907 { "attendant" } else { "SIP receiver" }.to_owned());
    }
    let plan = host.plan(&request).unwrap();
    assert!(matches!(&plan.items[0].change, Change::Process(process) if process.pid == 19907));
    assert!(plan.to_string().contains("opensips: attendant"), "{plan}");
}

#[test]
fn conflicts_are_listed_before_anything_is_written() {
    let machine = Machine::captured("612");
    machine.write("/sys/fs/cgroup/system.slice/opensips.service/cpuset.cpus.effective", "4-7\n");
    machine.write("/sys/devices/system/cpu/online", "0-6\n");
    machine.write("/proc/300/stat", "300 (tuned) S 1 300 300 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 77 0\n");
    machine.write("/proc/301/stat", "301 (irqbalance) S 1 301 301 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 78 0\n");
    machine.write("/etc/tuned/active_profile", "network-latency\n");
    machine.write("/sys/devices/system/cpu/isolated", "2\n");
    let host = machine.with_fault("/proc/irq", Fault::Write(libc::EROFS));
    let plan = plan(&host, &["eth1", "nvme0n1", "lo"], Some("2,7"));
    let found: BTreeMap<&str, Severity> =
        plan.conflicts.iter().map(|conflict| (conflict.what, conflict.severity)).collect();
    let expected = [
        ("cpus", Severity::Warns),
        ("cpuset", Severity::Blocks),
        ("device", Severity::Warns),
        ("irqbalance", Severity::Warns),
        ("isolated", Severity::Warns),
        ("managed", Severity::Handled),
        ("offline", Severity::Warns),
        ("read-only", Severity::Blocks),
        ("tuned", Severity::Warns),
    ];
    assert_eq!(found, BTreeMap::from(expected), "{plan}");
    let before = state(&machine);
    let error = apply(&plan, None, false).unwrap_err().to_string();
    assert!(error.starts_with("nothing was changed, because of") && error.contains("read-only"), "{error}");
    assert_eq!((state(&machine), journals(&machine).len()), (before, 0));
}

#[test]
fn too_many_interrupts_for_the_vectors_of_one_cpu_are_a_conflict() {
    let machine = Machine::captured("72");
    for irq in 1000..1201 {
        machine.write(&format!("/proc/irq/{irq}/effective_affinity_list"), "3\n");
        machine.write(&format!("/sys/kernel/irq/{irq}/chip_name"), "PCI-MSIX-0000:00:01.0\n");
    }
    let bus = machine.dir.join("sys/devices/pci0000:00/0000:00:09.0");
    std::fs::create_dir_all(machine.dir.join("sys/class/net")).unwrap();
    std::fs::create_dir_all(bus.join("net/eth8")).unwrap();
    std::fs::create_dir_all(bus.join("msi_irqs")).unwrap();
    std::fs::write(bus.join("msi_irqs/25"), "msix\n").unwrap();
    std::os::unix::fs::symlink("../..", bus.join("net/eth8/device")).unwrap();
    std::os::unix::fs::symlink(
        "../../devices/pci0000:00/0000:00:09.0/net/eth8",
        machine.dir.join("sys/class/net/eth8"),
    )
    .unwrap();
    let plan = plan(&machine.host(), &["eth8"], Some("3"));
    assert!(plan.conflicts.iter().any(|conflict| conflict.what == "vectors"), "{plan}");
}

#[test]
fn one_refused_item_does_not_keep_the_others_back() {
    let machine = Machine::captured("612");
    let host = machine.with_fault("/proc/irq/58/smp_affinity_list", Fault::Write(libc::ENOSPC));
    let applied = apply(&plan(&host, &["eth1"], Some("2")), None, false).unwrap();
    let states: Vec<(String, State)> = applied
        .reports
        .iter()
        .filter(|report| report.item.kind() == "irq")
        .map(|report| (report.item.subject(), report.state()))
        .collect();
    assert_eq!(states, [("57".into(), State::Applied), ("58".into(), State::Refused), ("59".into(), State::Applied)]);
    assert_eq!(applied.reports[1].outcomes[0].reason, Some(Reason::NoVectors));
    assert!(!applied.is_complete());
}

#[test]
fn pending_becomes_applied_when_the_counts_say_so() {
    let machine = Machine::captured("61");
    let host = machine.with_fault("/proc/irq/57/smp_affinity_list", Fault::Stuck);
    let mut applied = apply(&plan(&host, &["eth1"], Some("2")), None, false).unwrap();
    assert_eq!(applied.reports[0].state(), State::Pending);
    applied.settle(Duration::ZERO, false, &mut || true).unwrap();
    assert_eq!(applied.reports[0].state(), State::Pending);
    let table = machine.read("/proc/interrupts");
    let row = table.lines().find(|line| line.trim_start().starts_with("57:")).unwrap().to_owned();
    let elsewhere = " 57: 0 0 0 0 9 0 0 0 PCI-MSI 81920-edge      eth1-rx-0";
    machine.write("/proc/interrupts", &table.replace(&row, elsewhere));
    applied.verify().unwrap();
    assert!(
        applied.reports[0].detail().contains("7 interrupts still arrived elsewhere"),
        "{}",
        applied.reports[0].detail()
    );
    let there = " 57: 0 0 5 0 9 0 0 0 PCI-MSI 81920-edge      eth1-rx-0";
    machine.write("/proc/interrupts", &table.replace(&row, there));
    applied.verify().unwrap();
    assert_eq!(applied.reports[0].state(), State::Applied);
}

#[test]
fn a_pending_interrupt_is_success_and_one_that_never_fired_is_not_waited_for() {
    let machine = Machine::captured("61");
    let table = machine.read("/proc/interrupts");
    let row = table.lines().find(|line| line.trim_start().starts_with("57:")).unwrap().to_owned();
    machine.write("/proc/interrupts", &table.replace(&row, " 57: 0 0 0 0 0 0 0 0 PCI-MSI 81920-edge      eth1-rx-0"));
    let host = machine.with_fault("/proc/irq/57/smp_affinity_list", Fault::Stuck);
    let mut applied = apply(&plan(&host, &["eth1"], Some("2")), None, false).unwrap();
    let mut looks = 0;
    let mut count = || {
        looks += 1;
        looks < 3
    };
    applied.settle(Duration::from_secs(60), false, &mut count).unwrap();
    assert_eq!((applied.reports[0].state(), looks), (State::Pending, 0));
    assert!(applied.is_complete());
}

#[test]
fn later_changes_by_other_programs_are_seen_by_verify_and_drift() {
    let machine = Machine::captured("61");
    let host = machine.host();
    let mut applied = apply(&plan(&host, &["eth1"], Some("2")), None, false).unwrap();
    host.set_irq_affinity(57, &cpus("5")).unwrap();
    host.process(19905).unwrap().set_affinity(&host.root, &cpus("6"), true).unwrap();
    applied.verify().unwrap();
    let moved: Vec<String> = applied
        .reports
        .iter()
        .filter(|report| report.state() == State::Refused)
        .map(|report| report.item.subject())
        .collect();
    assert_eq!(moved, ["57", "19905"]);
    let drift: Vec<String> =
        applied.drift().unwrap().iter().map(|outcome| format!("{} {:?}", outcome.subject, outcome.now)).collect();
    assert_eq!(drift, ["IRQ 57 eth1-rx-0 Some(CpuSet(\"5\"))", "thread 19905 of 19905 Some(CpuSet(\"6\"))"]);
}

#[test]
fn a_cpu_that_goes_offline_takes_its_pins_with_it_and_the_plan_is_applied_again() {
    let machine = Machine::captured("61");
    let host = machine.host();
    let applied = apply(&plan(&host, &["eth1"], Some("2-3")), None, false).unwrap();
    // Linux 6.1 shows this after CPU 3 and CPU 2 went offline and came back: all CPUs but those.
    for irq in 57..60 {
        machine.write(&format!("/proc/irq/{irq}/smp_affinity_list"), "0-1,4-7\n");
    }
    assert_eq!(applied.drift().unwrap().len(), 3);
    let again = apply(&plan(&host, &["eth1"], Some("2-3")), None, false).unwrap();
    assert!(again.is_complete() && again.drift().unwrap().is_empty());
    assert!(again.undo().unwrap().complete && applied.undo().unwrap().complete);
    assert_eq!(machine.read("/proc/irq/57/smp_affinity_list"), "0-7\n");
}

#[test]
fn a_device_that_vanishes_between_plan_and_apply_is_told_item_by_item() {
    let machine = Machine::captured("612");
    let host = machine.host();
    let plan = plan(&host, &["eth2"], Some("2"));
    let table = machine.read("/proc/interrupts");
    let without: String = table.split_inclusive('\n').filter(|line| !line.contains("eth2-")).collect();
    machine.write("/proc/interrupts", &without);
    for irq in 60..=68 {
        std::fs::remove_dir_all(machine.dir.join(format!("proc/irq/{irq}"))).unwrap();
    }
    std::fs::remove_dir_all(machine.dir.join("sys/devices/pci0000:00/0000:00:06.0")).unwrap();
    let applied = apply(&plan, None, false).unwrap();
    let gone = |report: &&sipmi::affinity::apply::Report| report.outcomes[0].reason == Some(Reason::Vanished);
    assert_eq!(applied.reports.iter().filter(gone).count(), 9 + 8, "interrupts and send queues");
    assert!(
        applied
            .reports
            .iter()
            .filter(|report| report.item.kind() == "process")
            .all(|report| report.state() == State::Applied)
    );
    assert!(applied.undo().unwrap().complete);
    assert!(host.device("eth2").unwrap_err().is_missing());
}

#[test]
fn undo_finds_interrupts_by_identity_after_their_numbers_have_changed() {
    let machine = Machine::captured("612");
    let host = machine.host();
    let applied = apply(&plan(&host, &["eth1"], Some("3")), None, false).unwrap();
    // The driver is bound again: 57 to 59 become 157 to 159, and another device gets 57.
    let table = machine.read("/proc/interrupts");
    let renumbered: String = table
        .lines()
        .map(|line| {
            let mut line = line.to_owned();
            for irq in 57..60 {
                line = line.replace(&format!(" {irq}:"), &format!("{}:", irq + 100));
            }
            line + "\n"
        })
        .collect();
    machine.write("/proc/interrupts", &renumbered);
    let msi = machine.dir.join("sys/devices/pci0000:00/0000:00:05.0/msi_irqs");
    for irq in 57..60 {
        for folder in ["proc/irq", "sys/kernel/irq"] {
            let folder = machine.dir.join(folder);
            std::fs::rename(folder.join(irq.to_string()), folder.join((irq + 100).to_string())).unwrap();
        }
        std::fs::rename(msi.join(irq.to_string()), msi.join((irq + 100).to_string())).unwrap();
    }
    machine.write("/proc/irq/57/smp_affinity_list", "6\n");
    machine.write("/sys/kernel/irq/57/actions", "another\n");
    assert!(applied.drift().unwrap().is_empty(), "still where they were put, under other numbers");
    let undone = applied.undo().unwrap();
    assert!(undone.complete, "{:?}", undone.outcomes);
    assert_eq!(machine.read("/proc/irq/157/smp_affinity_list"), "0-1\n");
    assert_eq!(machine.read("/proc/irq/57/smp_affinity_list"), "6\n", "the other device's interrupt stays");
}

#[test]
fn undo_leaves_what_is_gone_and_takes_its_own_words_only_out_of_an_edited_file() {
    let machine = Machine::captured("612");
    machine.write("/proc/301/stat", "301 (irqbalance) S 1 301 301 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 78 0\n");
    let host = machine.host();
    let applied = apply(&plan(&host, &["eth1"], Some("3")), None, false).unwrap();
    assert!(machine.read("/etc/default/irqbalance").contains("--banirq=59"));
    std::fs::remove_dir_all(machine.dir.join("proc/19906")).unwrap();
    let edited = machine.read("/etc/default/irqbalance") + "# the administrator was here\n";
    machine.write("/etc/default/irqbalance", &edited);
    let undone = applied.undo().unwrap();
    assert!(undone.complete, "{:?}", undone.outcomes);
    let told: Vec<_> = undone.outcomes.iter().filter_map(|o| o.reason).collect();
    assert_eq!(told, [Reason::Vanished, Reason::ChangedSince]);
    let left = machine.read("/etc/default/irqbalance");
    assert!(left.ends_with("# the administrator was here\n") && !left.contains("--banirq="), "{left}");
    assert!(journals(&machine).is_empty());
}

#[test]
fn after_a_new_start_of_the_machine_only_files_are_taken_back() {
    let machine = Machine::captured("612");
    machine.write("/proc/301/stat", "301 (irqbalance) S 1 301 301 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 78 0\n");
    let before = machine.read("/etc/default/irqbalance");
    let applied = apply(&plan(&machine.host(), &["eth1"], Some("3")), None, false).unwrap();
    machine.write("/proc/sys/kernel/random/boot_id", "99999999-2222-3333-4444-555555555555\n");
    assert!(applied.undo().unwrap().complete);
    assert_eq!(machine.read("/etc/default/irqbalance"), before);
    assert_eq!(machine.read("/proc/irq/57/smp_affinity_list"), "3\n");
}

#[test]
fn workers_and_threads_born_after_the_plan_go_back_with_their_family() {
    let machine = Machine::captured("612");
    let applied = apply(&plan(&machine.host(), &["eth1"], Some("3")), None, false).unwrap();
    let status = machine.read("/proc/19904/status");
    machine.write("/proc/19999/stat", &machine.read("/proc/19905/stat").replace("19905 (", "19999 ("));
    machine.write("/proc/19999/status", &status);
    machine.write("/proc/19999/task/19999/status", &status);
    machine.write("/proc/19905/task/29905/status", &status);
    assert!(applied.undo().unwrap().complete);
    for path in ["/proc/19999/status", "/proc/19905/task/29905/status"] {
        assert!(machine.read(path).contains("Cpus_allowed_list:\t0-7"), "{path}");
    }
}

/// Not a test by itself: the process that is killed, started by the test below.
#[test]
fn the_process_that_is_killed() {
    let (Ok(dir), Ok(writes)) = (std::env::var("SIPMI_KILLED_IN"), std::env::var("SIPMI_KILLED_AFTER")) else {
        return;
    };
    let faults = Faults::new([]).kill_after(writes.parse().unwrap());
    let host = Host::at(dir, Some(faults)).unwrap();
    let applied = apply(&plan(&host, &["eth2"], Some("2-3")), None, false).unwrap();
    assert!(applied.is_complete());
}

#[test]
fn killed_between_any_two_writes_a_plan_is_taken_back_from_its_journal() {
    let machine = Machine::captured("612");
    machine.write("/proc/301/stat", "301 (irqbalance) S 1 301 301 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 78 0\n");
    let before = state(&machine);
    let mut finished = false;
    let mut killed = 0;
    for writes in 0..100 {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_is_killed"])
            .env("SIPMI_KILLED_IN", &machine.dir)
            .env("SIPMI_KILLED_AFTER", writes.to_string())
            .output()
            .unwrap();
        finished = child.status.success();
        if !finished {
            use std::os::unix::process::ExitStatusExt;
            assert_eq!(child.status.signal(), Some(libc::SIGKILL), "{}", String::from_utf8_lossy(&child.stdout));
            killed += 1;
        }
        let journals = journals(&machine);
        assert_eq!(journals.len(), 1, "after {writes} writes");
        let undone = undo::undo(&machine.host(), &journals[0]).unwrap();
        assert!(undone.complete, "after {writes} writes: {:?}", undone.outcomes);
        assert_eq!(state(&machine), before, "after {writes} writes");
        if finished {
            break;
        }
    }
    assert!(finished && killed >= 24, "every write was a point to die at, and there were {killed}");
}

#[test]
fn two_plans_at_the_same_time_are_one_too_many() {
    let machine = Machine::captured("612");
    let folder = machine.dir.join("var/lib/sipmi");
    let held = journal::Journal::create(&machine.host().root, None, &serde_json::Value::Null).unwrap();
    let error = apply(&plan(&machine.host(), &["eth1"], Some("3")), None, false).unwrap_err().to_string();
    assert!(error.contains("another plan is being applied"), "{error}");
    drop(held);
    assert!(Path::new(&folder).exists());
    assert!(apply(&plan(&machine.host(), &["eth1"], Some("3")), None, false).is_ok());
}
