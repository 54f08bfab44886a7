//! The names by which a device can be given, and the errors for unknown names.

use super::device::{device_folder, walk};
use super::error::{Error, Result};
use super::queue;
use super::root::Root;

/// The name in sysfs: `/dev/mapper/data` is `dm-0`, `/dev/disk/by-id/nvme-X` is `nvme0n1`, `81:00.0` is `0000:81:00.0`.
/// Any other name stays as it is.
pub(super) fn canonical(root: &Root, name: &str) -> Result<String> {
    if let Some(device) = name.strip_prefix("/dev/") {
        return device_file(root, device);
    }
    if let Some(class) = name.strip_prefix("/sys/") {
        return Ok(class.trim_end_matches('/').rsplit('/').next().unwrap_or(name).to_owned());
    }
    let with_domain = format!("0000:{name}");
    let is_address = queue::bus_address(&with_domain) == Some(with_domain.as_str());
    Ok(if is_address { with_domain } else { name.to_owned() })
}

/// Resolves a file below `/dev` to its device. A mapper's name is also known by `dm/name`, where `/dev` was not
/// captured.
fn device_file(root: &Root, device: &str) -> Result<String> {
    if let Some(target) = root.resolve(&format!("/dev/{device}"))
        && let Some(target) = target.strip_prefix("/dev/").filter(|target| !target.contains('/'))
    {
        return Ok(target.to_owned());
    }
    if let Some(mapped) = device.strip_prefix("mapper/") {
        for disk in root.list("/sys/class/block")?.into_iter().filter(|disk| disk.starts_with("dm-")) {
            if root.text_if_any(&format!("/sys/class/block/{disk}/dm/name"))?.as_deref() == Some(mapped) {
                return Ok(disk);
            }
        }
    }
    Ok(device.to_owned())
}

/// The error for a name that is no device. A driver's name gives the interfaces and disks that it drives.
pub(super) fn unknown(root: &Root, name: &str) -> Error {
    const EXPECTED: &str =
        "an interface (eth0), a disk (sda, /dev/mapper/x, /dev/disk/by-id/x) or a PCI address (81:00.0)";
    let driven = driven_by(root, name);
    let expected = if driven.is_empty() {
        EXPECTED.to_owned()
    } else {
        format!("one of the devices of the driver {name}: {}", driven.join(", "))
    };
    Error::not_found("network or block device", format!("{name:?}"), expected)
}

/// The interfaces, disks and NVMe controllers whose driver has this name, in the order of their names.
pub(super) fn driven_by(root: &Root, driver: &str) -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["net", "block", "nvme"].into_iter().filter(|_| !driver.is_empty()) {
        for name in root.list(&format!("/sys/class/{kind}")).unwrap_or_default() {
            let path = root.resolve(&format!("/sys/class/{kind}/{name}"));
            let start = path.and_then(|path| device_folder(root, kind, &path));
            if start.is_some_and(|start| walk(root, &start).iter().any(|level| level.driver == driver)) {
                found.push(name);
            }
        }
    }
    found
}
