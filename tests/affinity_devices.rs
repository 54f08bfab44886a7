//! Devices by each of their names, and the interrupts of those that stand on others.
#![cfg(all(feature = "net", target_os = "linux"))]

mod affinity_support;

use affinity_support::Machine;
use sipmi::affinity::device::Source;

#[test]
fn a_namespace_with_multipath_has_the_interrupts_of_its_controllers() {
    let machine = Machine::captured("guest");
    let device = machine.host().device("nvme0n1").unwrap();
    assert_eq!((device.irqs.as_slice(), device.source), (&[45, 51, 52, 53, 54][..], Source::Lower));
    assert_eq!(device.lower[0].name, "nvme0c0n1");
    assert_eq!(device.driver(), "nvme");
    let plain = machine.host().device("nvme1n1").unwrap();
    assert_eq!((plain.source, plain.lower.len()), (Source::MsiIrqs, 0));
}

#[test]
fn the_controllers_of_a_subsystem_are_found_where_the_kernel_hides_the_paths() {
    let machine = Machine::captured("guest");
    std::fs::remove_file(machine.dir.join("sys/class/block/nvme0c0n1")).unwrap();
    let controller = "/sys/devices/pci0000:00/0000:00:09.0/nvme/nvme0";
    machine.link("/sys/class/nvme/nvme0", controller);
    machine.link("/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0", controller);
    let host = machine.host();
    assert_eq!(host.device("nvme0n1").unwrap().irqs, [45, 51, 52, 53, 54]);
    assert_eq!(host.device("nvme0").unwrap().irqs, [45, 51, 52, 53, 54]);
}

#[test]
fn an_interface_of_netvsc_has_the_interrupts_of_the_function_below_it() {
    let machine = Machine::captured("guest");
    let vmbus = "/sys/devices/VMBUS:00/000d3a2e";
    machine.write(&format!("{vmbus}/net/eth0/mtu"), "1500\n");
    machine.link(&format!("{vmbus}/net/eth0/device"), vmbus);
    machine.link(&format!("{vmbus}/subsystem"), "/sys/bus/vmbus");
    machine.link("/sys/class/net/eth0", &format!("{vmbus}/net/eth0"));
    let host = machine.host();
    assert_eq!(host.device("eth0").unwrap().source, Source::Nothing);
    let function = host.device("enp1s0").unwrap();
    machine.link(&format!("{vmbus}/net/eth0/lower_enp1s0"), "/sys/class/net/enp1s0");
    let device = host.device("eth0").unwrap();
    assert_eq!((device.irqs, device.source), (function.irqs, Source::Lower));
}

#[test]
fn a_failover_interface_counts_the_interrupts_of_its_standby_once() {
    let machine = Machine::captured("guest");
    let host = machine.host();
    let (standby, primary) = (host.device("ens1").unwrap(), host.device("ens2").unwrap());
    // net_failover: the master has the device of its standby, and both ports below it.
    let standby_device = "/sys/devices/pci0000:80/0000:80:00.0/0000:81:00.0/virtio5";
    machine.write(&format!("{standby_device}/net/ens9/mtu"), "1500\n");
    machine.link(&format!("{standby_device}/net/ens9/device"), standby_device);
    machine.link("/sys/class/net/ens9", &format!("{standby_device}/net/ens9"));
    for lower in ["ens1", "ens2"] {
        machine.link(&format!("{standby_device}/net/ens9/lower_{lower}"), &format!("/sys/class/net/{lower}"));
    }
    let mut both = [standby.irqs, primary.irqs].concat();
    both.sort_unstable();
    assert_eq!(host.device("ens9").unwrap().irqs, both);
}

#[test]
fn a_device_may_be_given_by_each_of_its_names() {
    let machine = Machine::captured("guest");
    let host = machine.host();
    let by_address = host.device("0000:81:00.0").unwrap().irqs;
    assert_eq!(by_address, host.device("ens1").unwrap().irqs);
    assert_eq!(by_address, host.device("81:00.0").unwrap().irqs, "the domain may be left out, as lspci does");
    assert_eq!(by_address, host.device("/sys/class/net/ens1").unwrap().irqs);

    machine.link("/sys/class/block/dm-0", "/sys/devices/virtual/block/dm-0");
    machine.write("/sys/devices/virtual/block/dm-0/dm/name", "data\n");
    machine.link("/sys/devices/virtual/block/dm-0/slaves/vda", "/sys/class/block/vda");
    let disk = host.device("vda").unwrap().irqs;
    assert_eq!(host.device("/dev/mapper/data").unwrap().irqs, disk);
    machine.write("/dev/vda", "");
    machine.symlink("/dev/disk/by-id/virtio-1", "../../vda");
    assert_eq!(host.device("/dev/disk/by-id/virtio-1").unwrap().irqs, disk);
}

#[test]
fn the_name_of_a_driver_is_answered_with_its_devices() {
    let host = Machine::captured("guest");
    let error = host.host().device("virtio_net").unwrap_err().to_string();
    let expected = "no network or block device \"virtio_net\": expected one of the devices of the driver virtio_net: enp0s2, ens1";
    assert_eq!(error, expected);
    let error = host.host().device("ahci").unwrap_err().to_string();
    assert!(error.ends_with("the driver ahci: sdc"), "{error}");
    let error = host.host().device("eth7").unwrap_err().to_string();
    assert!(
        error.starts_with("no network or block device \"eth7\": expected an interface (eth0), a disk"),
        "{error}"
    );
}
