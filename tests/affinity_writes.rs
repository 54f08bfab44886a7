//! Every answer that a kernel gives to a write has its own outcome: applied, pending, managed, or refused with a reason.
#![cfg(all(feature = "net", target_os = "linux"))]

mod affinity_support;

use affinity_support::Machine;
use sipmi::affinity::faults::Fault;
use sipmi::affinity::{CpuSet, Error, Host, Managed, Outcome, Reason, State, steering};

const NIC: u32 = 57;
const LIST: &str = "/proc/irq/57/smp_affinity_list";

fn cpus(list: &str) -> CpuSet {
    CpuSet::parse_list(list, None).unwrap()
}

fn set(host: &Host, irq: u32, list: &str) -> Outcome {
    host.set_irq_affinity(irq, &cpus(list)).unwrap()
}

fn refused(fault: Fault) -> Outcome {
    set(&Machine::captured("61").with_fault(LIST, fault), NIC, "2")
}

#[test]
fn an_interrupt_moves_and_both_files_say_so() {
    let machine = Machine::captured("61");
    let outcome = set(&machine.host(), NIC, "2-3");
    assert_eq!((outcome.state, outcome.reason), (State::Applied, None));
    assert_eq!(outcome.effective, Some(cpus("2")), "one of several is success");
    assert_eq!((machine.read(LIST), machine.read("/proc/irq/57/smp_affinity")), ("2-3\n".into(), "0c\n".into()));
}

#[test]
fn an_interrupt_that_waits_for_its_next_firing_is_pending() {
    let outcome = refused(Fault::Stuck);
    assert_eq!((outcome.state, outcome.reason), (State::Pending, Some(Reason::WaitsForInterrupt)));
    assert_eq!((outcome.now, outcome.effective), (Some(cpus("2")), Some(cpus("4"))));
}

#[test]
fn a_write_that_is_taken_and_not_kept_is_no_success() {
    let outcome = refused(Fault::Ignored);
    assert_eq!((outcome.state, outcome.reason), (State::Refused, Some(Reason::NotKept)));
}

#[test]
fn kernel_6_12_tells_managed_interrupts_by_their_mode_and_they_are_not_written() {
    let machine = Machine::captured("612");
    let host = machine.host();
    assert_eq!(host.irq(48).unwrap().managed, Managed::Yes);
    assert_eq!(host.irq(47).unwrap().managed, Managed::No, "the admin queue is not managed");
    let before = machine.read("/proc/irq/48/smp_affinity_list");
    let outcome = set(&host, 48, "1");
    assert_eq!((outcome.state, outcome.reason), (State::Managed, Some(Reason::Managed)));
    assert_eq!(machine.read("/proc/irq/48/smp_affinity_list"), before);
    for cascade in [0, 2] {
        assert_eq!(set(&host, cascade, "1").state, State::Managed, "IRQ {cascade}");
    }
}

#[test]
fn kernel_6_1_tells_managed_interrupts_by_eio_where_the_name_says_so() {
    let machine = Machine::captured("61");
    let host = machine.with_fault("/proc/irq/48/smp_affinity_list", Fault::Write(libc::EIO));
    assert_eq!(host.irq(48).unwrap().managed, Managed::Presumed);
    assert_eq!(set(&host, 48, "1").state, State::Managed);
    let timer = machine.with_fault("/proc/irq/0/smp_affinity_list", Fault::Write(libc::EIO));
    let outcome = set(&timer, 0, "1");
    assert_eq!((outcome.state, outcome.reason), (State::Refused, Some(Reason::NotMovable)));
}

#[test]
fn read_only_proc_is_known_before_the_write() {
    let outcome = refused(Fault::Write(libc::EROFS));
    assert_eq!((outcome.state, outcome.reason), (State::Refused, Some(Reason::ReadOnly)));
    assert!(outcome.detail.contains(LIST) && outcome.detail.contains("EROFS"), "{}", outcome.detail);
}

#[test]
fn each_errno_has_its_own_reason() {
    let reasons = [
        (libc::EINVAL, Reason::Offline),
        (libc::ERANGE, Reason::BeyondPossible),
        (libc::EOVERFLOW, Reason::BeyondPossible),
        (libc::ENOSPC, Reason::NoVectors),
        (libc::EACCES, Reason::Denied),
        (libc::EPERM, Reason::Denied),
        (libc::ENOENT, Reason::Vanished),
        (libc::EIO, Reason::NotMovable),
        (libc::EBUSY, Reason::Other),
    ];
    for (errno, reason) in reasons {
        let outcome = refused(Fault::Write(errno));
        assert_eq!((outcome.state, outcome.reason), (State::Refused, Some(reason)), "{}", outcome.detail);
        assert!(outcome.detail.contains(LIST), "{}", outcome.detail);
    }
}

#[test]
fn offline_cpus_are_cut_and_reported_and_none_online_is_refused_unwritten() {
    let machine = Machine::captured("61");
    machine.write("/sys/devices/system/cpu/online", "0,2-7\n");
    let outcome = set(&machine.host(), NIC, "1-2");
    assert_eq!((outcome.state, outcome.cut), (State::Applied, cpus("1")));
    assert_eq!(machine.read(LIST), "2\n");
    let outcome = set(&machine.host(), NIC, "1");
    assert_eq!((outcome.state, outcome.reason), (State::Refused, Some(Reason::Offline)));
    assert_eq!(machine.read(LIST), "2\n");
}

#[test]
fn an_impossible_request_is_an_error_before_any_write() {
    let machine = Machine::captured("61");
    let before = machine.read(LIST);
    let beyond = machine.host().set_irq_affinity(NIC, &cpus("200")).unwrap_err();
    assert!(matches!(beyond, Error::CpuSet(_)), "{beyond}");
    let empty = machine.host().set_irq_affinity(NIC, &CpuSet::new()).unwrap_err();
    assert!(empty.to_string().contains("at least one CPU"), "{empty}");
    let missing = machine.host().set_irq_affinity(9999, &cpus("1")).unwrap_err();
    assert!(missing.is_missing() && missing.to_string().contains("/proc/irq/9999"), "{missing}");
    assert_eq!(machine.read(LIST), before);
}

#[test]
fn masks_of_72_cpus_are_written_and_read_back() {
    let machine = Machine::captured("72");
    let outcome = set(&machine.host(), 25, "0,64-70");
    assert_eq!(outcome.state, State::Applied);
    assert_eq!(machine.read("/proc/irq/25/smp_affinity"), "7f,00000000,00000001\n");
}

#[test]
fn steering_is_read_set_and_turned_off() {
    let machine = Machine::captured("612");
    let host = machine.host();
    let queues = steering::queues(&host.root, "eth2").unwrap();
    assert_eq!(queues.len(), 16);
    assert_eq!((queues[0].name.as_str(), &queues[0].cpus, queues[0].flows), ("rx-0", &Some(CpuSet::new()), Some(0)));
    assert_eq!(steering::set_cpus(&host.root, "eth2", "rx-0", &cpus("1-2")).unwrap().state, State::Applied);
    assert_eq!(steering::queues(&host.root, "eth2").unwrap()[0].cpus, Some(cpus("1-2")));
    assert_eq!(steering::set_cpus(&host.root, "eth2", "rx-0", &CpuSet::new()).unwrap().state, State::Applied);
    let single = steering::queues(&host.root, "eth1").unwrap();
    assert_eq!(single[1].cpus, None, "the send queue of a device with one queue has no setting");
    let outcome = steering::set_cpus(&host.root, "eth1", "tx-0", &cpus("1")).unwrap();
    assert_eq!((outcome.state, outcome.reason), (State::Refused, Some(Reason::Vanished)));
    steering::set_flows(&host.root, "eth2", "rx-0", 512).unwrap();
    assert_eq!(steering::queues(&host.root, "eth2").unwrap()[0].flows, Some(512));
}

#[test]
fn einval_for_a_thread_is_told_apart_into_its_causes() {
    let machine = Machine::captured("612");
    let move_to = |host: &Host, pid: u32, list: &str| {
        let process = host.process(pid).unwrap();
        process.set_affinity(&host.root, &cpus(list), true).unwrap().remove(0)
    };
    let kernel = move_to(&machine.host(), 17, "1");
    assert_eq!((kernel.state, kernel.reason), (State::Refused, Some(Reason::KernelThread)));
    machine.write("/sys/fs/cgroup/system.slice/opensips.service/cpuset.cpus.effective", "2-5\n");
    let disjoint = move_to(&machine.host(), 19904, "0");
    assert_eq!((disjoint.state, disjoint.reason), (State::Refused, Some(Reason::Cpuset)));
    let clamped = move_to(&machine.host(), 19904, "1-2");
    assert_eq!((clamped.state, clamped.cut, clamped.now), (State::Applied, cpus("1"), Some(cpus("2"))));
    machine.write("/sys/devices/system/cpu/online", "0-5,7\n");
    let offline = move_to(&machine.host(), 19904, "6");
    assert_eq!((offline.state, offline.reason), (State::Refused, Some(Reason::Offline)));
    let denied = machine.with_fault("sched:19905", Fault::Write(libc::EPERM));
    assert_eq!(move_to(&denied, 19905, "3").reason, Some(Reason::Denied));
    let error = machine.host().process(4711).unwrap_err();
    assert!(error.is_missing() && error.to_string().contains("4711"), "{error}");
}

#[test]
fn a_thread_that_dies_meanwhile_is_left_out_and_a_process_that_dies_is_an_error() {
    let machine = Machine::captured("612");
    let host = machine.with_fault("sched:20908", Fault::Write(libc::ESRCH));
    let process = host.process(19908).unwrap();
    let outcomes = process.set_affinity(&host.root, &cpus("1"), true).unwrap();
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    let host = machine.with_fault("sched:19904", Fault::Write(libc::ESRCH));
    let error = host.process(19904).unwrap().set_affinity(&host.root, &cpus("1"), true).unwrap_err();
    assert!(error.is_missing(), "{error}");
}
