//! Plans are taken back in any order, whole after torn journals, and without touching what other programs changed since.
#![cfg(all(feature = "net", target_os = "linux"))]

mod affinity_support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use affinity_support::Machine;
use sipmi::affinity::apply::{Applied, apply, apply_again};
use sipmi::affinity::journal::{self, Entry};
use sipmi::affinity::request::{Policy, Request};
use sipmi::affinity::{CpuSet, Host, Reason, State, drift, undo};

fn cpus(list: &str) -> CpuSet {
    CpuSet::parse_list(list, None).unwrap()
}

fn pin(host: &Host, list: &str) -> Applied {
    let request = Request {
        devices: vec!["eth1".into()],
        processes: host.processes("opensips").unwrap(),
        cpus: Some(cpus(list)),
        irq_cpus: None,
        policy: Policy::Same,
        steering: true,
        reuse_port: false,
        ban: true,
    };
    apply(&host.plan(&request).unwrap(), None, false).unwrap()
}

fn irq(machine: &Machine, number: u32) -> (String, String) {
    let read = |name: &str| machine.read(&format!("/proc/irq/{number}/{name}")).trim_end().to_owned();
    (read("smp_affinity_list"), read("effective_affinity_list"))
}

fn subjects(host: &Host, journal: &Path) -> Vec<String> {
    let record = journal::load(&host.root, journal).unwrap();
    drift::drift(host, &record).unwrap().into_iter().map(|outcome| outcome.subject).collect()
}

#[test]
fn interrupts_arrive_again_where_they_arrived_before() {
    let machine = Machine::captured("61");
    let before: Vec<_> = (57..60).map(|number| irq(&machine, number)).collect();
    assert!(before.iter().any(|(_, effective)| effective != "2"), "{before:?}");
    let applied = pin(&machine.host(), "2");
    assert_eq!(irq(&machine, 57), ("2".into(), "2".into()));
    assert!(applied.undo().unwrap().complete);
    assert_eq!((57..60).map(|number| irq(&machine, number)).collect::<Vec<_>>(), before);
}

#[test]
fn plans_are_taken_back_in_any_order() {
    for first_is_first in [true, false] {
        let machine = Machine::captured("61");
        let host = machine.host();
        let before = (irq(&machine, 57), machine.read("/proc/19905/status"));
        let (first, second) = (pin(&host, "2-3"), pin(&host, "5"));
        let order = if first_is_first { [&first, &second] } else { [&second, &first] };
        let undone = order[0].undo().unwrap();
        assert!(undone.complete, "{:?}", undone.outcomes);
        let between = if first_is_first { "5" } else { "2-3" };
        assert_eq!(irq(&machine, 57).0, between, "the other plan still holds");
        assert!(order[1].undo().unwrap().complete);
        assert_eq!((irq(&machine, 57), machine.read("/proc/19905/status")), before, "{first_is_first}");
    }
}

#[test]
fn what_another_program_has_moved_since_stays_there() {
    let machine = Machine::captured("61");
    let host = machine.host();
    let applied = pin(&host, "2");
    host.set_irq_affinity(57, &cpus("5")).unwrap();
    host.process(19905).unwrap().set_affinity(&host.root, &cpus("6"), true).unwrap();
    let undone = applied.undo().unwrap();
    assert!(undone.complete);
    let left: Vec<_> = undone.outcomes.iter().filter(|o| o.reason == Some(Reason::ChangedSince)).collect();
    assert_eq!(left.iter().map(|o| o.state).collect::<Vec<_>>(), [State::Applied; 2], "{left:?}");
    assert!(left[1].detail.contains("another program has moved it to 5 since"), "{}", left[1].detail);
    assert_eq!(irq(&machine, 57).0, "5");
    assert!(machine.read("/proc/19905/status").contains("Cpus_allowed_list:\t6\n"));
}

#[test]
fn a_cpu_that_was_offline_when_the_plan_was_made_is_not_lost() {
    let machine = Machine::captured("61");
    machine.write("/sys/devices/system/cpu/online", "0,2-7\n");
    let applied = pin(&machine.host(), "2");
    machine.write("/sys/devices/system/cpu/online", "0-7\n");
    assert!(applied.undo().unwrap().complete);
    assert_eq!(irq(&machine, 57).0, "0-7");
    assert!(machine.read("/proc/19905/status").contains("Cpus_allowed_list:\t0-7\n"));
}

#[test]
fn a_cpu_that_is_offline_when_the_plan_is_undone_is_in_the_mask_again() {
    let machine = Machine::captured("61");
    let applied = pin(&machine.host(), "2");
    machine.write("/sys/devices/system/cpu/online", "0,2-7\n");
    assert!(applied.undo().unwrap().complete);
    assert_eq!(irq(&machine, 57).0, "0-7");
}

#[test]
fn a_torn_line_costs_that_line_only() {
    let line = |queue: &str| {
        format!(
            "{{\"kind\":\"steering\",\"interface\":\"eth0\",\"queue\":\"{queue}\",\"before\":\"\",\"after\":\"1\"}}\n"
        )
    };
    let read =
        |lines: &str| journal::parse("j", format!("{{\"sipmi_journal\":2}}\n{lines}").as_bytes(), None).unwrap();
    let record = read(&format!("{}{{\"kind\":\"stee\n{}", line("rx-0"), line("rx-1")));
    assert_eq!((record.entries.len(), record.torn), (2, 1));
    assert_eq!(read(&line("rx-0").replace("eth0", "../../../etc")).entries, [], "a queue is no path");
    for foreign in ["{\"other\":1}\n", "", "\n"] {
        let error = journal::parse("j", foreign.as_bytes(), None).unwrap_err().to_string();
        assert!(error.contains("j: expected a journal"), "{error}");
    }
}

#[test]
fn a_journal_that_another_user_may_write_and_a_link_are_not_obeyed() {
    let machine = Machine::captured("61");
    let host = machine.host();
    let applied = pin(&host, "2");
    let path = applied.journal().to_path_buf();
    let refused = |path: &Path, what: &str| {
        let error = undo::undo(&host, path).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        assert!(path.symlink_metadata().is_ok() && irq(&machine, 57).0 == "2", "nothing happened");
    };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    refused(&path, "its owner alone may write, found mode 0666");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let link = path.with_file_name("link.journal");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    refused(&link, "link.journal: cannot read");
    let other = path.with_file_name("notes.txt");
    std::fs::write(&other, "not a journal\n").unwrap();
    refused(&other, "expected a journal");
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        refused(&path, "found one of uid 65534");
    }
}

#[test]
fn the_lock_follows_no_link() {
    let machine = Machine::captured("61");
    let host = machine.host();
    let folder = machine.dir.join("var/lib/sipmi");
    std::fs::create_dir_all(&folder).unwrap();
    let target = machine.dir.join("precious");
    std::os::unix::fs::symlink(&target, folder.join("lock")).unwrap();
    let error = journal::Journal::create(&host.root, None, &serde_json::Value::Null).unwrap_err();
    assert_eq!(error.errno(), Some(libc::ELOOP));
    assert!(!target.exists());
}

#[test]
fn a_restarted_server_and_a_new_queue_are_drift_and_the_plan_is_applied_again() {
    let machine = Machine::captured("61");
    let host = machine.host();
    let before = (irq(&machine, 57), irq(&machine, 59));
    let applied = pin(&host, "2");
    let path = applied.journal().to_path_buf();
    assert!(subjects(&host, &path).is_empty());
    // The worker 19905 ended and 29905 is there in its place; an interrupt was moved, another arrives elsewhere.
    let stat = machine.read("/proc/19905/stat").replace("19905 (", "29905 (");
    machine.write("/proc/29905/stat", &stat);
    for status in ["/proc/29905/status", "/proc/29905/task/29905/status"] {
        machine.write(status, "Name:\topensips\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n");
    }
    std::fs::remove_dir_all(machine.dir.join("proc/19905")).unwrap();
    machine.write("/proc/irq/57/smp_affinity_list", "5\n");
    machine.write("/proc/irq/59/effective_affinity_list", "6\n");
    assert_eq!(subjects(&host, &path), ["IRQ 57 eth1-rx-0", "IRQ 59 eth1", "thread 29905 of 29905"]);

    let again = apply_again(&host, &path).unwrap();
    assert_eq!((again.journal(), again.reports.len()), (path.as_path(), 3));
    assert!(subjects(&host, &path).is_empty());
    assert!(undo::undo(&host, &path).unwrap().complete);
    assert_eq!((irq(&machine, 57), irq(&machine, 59)), before, "the state before the first of both");
    assert!(machine.read("/proc/29905/status").contains("Cpus_allowed_list:\t0-7\n"));
}

#[test]
fn a_device_that_is_gone_is_drift_and_a_server_that_is_gone_too() {
    let machine = Machine::captured("61");
    let host = machine.host();
    let path = pin(&host, "2").journal().to_path_buf();
    for pid in host.processes("opensips").unwrap() {
        std::fs::remove_dir_all(machine.dir.join(format!("proc/{}", pid.pid))).unwrap();
    }
    std::fs::remove_file(machine.dir.join("sys/class/net/eth1")).unwrap();
    let rows = machine.read("/proc/interrupts");
    let left: Vec<&str> = rows.lines().filter(|row| !row.contains("eth1")).collect();
    machine.write("/proc/interrupts", &format!("{}\n", left.join("\n")));
    assert_eq!(subjects(&host, &path), ["process opensips", "eth1"]);
    let error = apply_again(&host, &path).unwrap_err().to_string();
    assert!(error.starts_with("nothing of the plan is there: process opensips"), "{error}");
}

#[test]
fn after_a_new_start_of_the_machine_the_plan_is_applied_anew_and_its_files_are_still_taken_back() {
    let machine = Machine::captured("612");
    machine.write("/proc/301/stat", "301 (irqbalance) S 1 301 301 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 78 0\n");
    let host = machine.host();
    let file = machine.read("/etc/default/irqbalance");
    let old = pin(&host, "3").journal().to_path_buf();
    machine.write("/proc/sys/kernel/random/boot_id", "99999999-2222-3333-4444-555555555555\n");
    machine.write("/proc/irq/57/smp_affinity_list", "0-7\n");
    let again = apply_again(&host, &old).unwrap();
    assert!(!old.exists() && again.journal().exists());
    assert_eq!(irq(&machine, 57).0, "3");
    assert!(again.undo().unwrap().complete);
    assert_eq!((irq(&machine, 57).0, machine.read("/etc/default/irqbalance")), ("0-7".into(), file));
}

#[test]
fn a_journal_keeps_its_request_and_the_result_of_each_item() {
    let machine = Machine::captured("61");
    let host = machine.host();
    let applied = pin(&host, "2-3");
    let record = journal::load(&host.root, applied.journal()).unwrap();
    let request = record.request.unwrap();
    assert_eq!(request["processes"], serde_json::json!([{"name": "opensips"}]));
    assert_eq!((&request["cpus"], &request["devices"]), (&"2-3".into(), &serde_json::json!(["eth1"])));
    assert_eq!(record.results.len(), applied.reports.len());
    assert!(record.entries.iter().all(|entry| Entry::from_json(&entry.to_json()).as_ref() == Some(entry)));
    journal::forget(&host.root, applied.journal()).unwrap();
    assert!(!applied.journal().exists() && irq(&machine, 57).0 == "2-3", "forgotten, and nothing is moved");
}
