//! The CPUs that control groups leave to a process: cpusets of v1 and v2, which can both be mounted.

use super::cpuset::CpuSet;
use super::error::Result;
use super::root::Root;

/// One line of `/proc/PID/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Empty for v2 (`0::/path`).
    pub controllers: Vec<String>,
    /// The group.
    pub path: String,
}

/// Reads `/proc/PID/cgroup`; lines of another shape are passed over.
pub fn parse_memberships(text: &str) -> Vec<Membership> {
    let line = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let controllers = controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Some(Membership { controllers, path: path.to_owned() })
    };
    text.lines().filter_map(line).collect()
}

/// Where hierarchies are mounted, from `/proc/mounts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// The v2 hierarchy.
    pub unified: Option<String>,
    /// The v1 hierarchy that has the cpuset controller.
    pub cpuset: Option<String>,
}

/// Reads `/proc/mounts`.
pub fn parse_mounts(text: &str) -> Mounts {
    let mut mounts = Mounts::default();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, point, kind, options, ..] = fields.as_slice() else { continue };
        match *kind {
            "cgroup2" if mounts.unified.is_none() => mounts.unified = Some((*point).to_owned()),
            "cgroup" if options.split(',').any(|option| option == "cpuset") => {
                mounts.cpuset = Some((*point).to_owned());
            }
            "cpuset" => mounts.cpuset = Some((*point).to_owned()),
            _ => {}
        }
    }
    mounts
}

fn mounts(root: &Root) -> Result<Mounts> {
    Ok(parse_mounts(&root.text_if_any("/proc/mounts")?.unwrap_or_default()))
}

/// The systemd service that a process belongs to: the last `.service` in the path of its group.
pub fn unit(root: &Root, pid: u32) -> Result<Option<String>> {
    let text = root.text_if_any(&format!("/proc/{pid}/cgroup"))?.unwrap_or_default();
    let unit = |path: &str| path.split('/').rfind(|part| part.ends_with(".service")).map(str::to_owned);
    Ok(parse_memberships(&text).iter().find_map(|membership| unit(&membership.path)))
}

/// `cpuset.cpus.effective` (v2) or `cpuset.effective_cpus` (v1) of a process; none where no cpuset applies.
pub fn effective(root: &Root, pid: u32) -> Result<Option<CpuSet>> {
    let text = root.text_if_any(&format!("/proc/{pid}/cgroup"))?.unwrap_or_default();
    let mounts = mounts(root)?;
    let mut found: Option<CpuSet> = None;
    for member in parse_memberships(&text) {
        let is_unified = member.controllers.is_empty();
        let mount = if is_unified {
            mounts.unified.as_deref()
        } else if member.controllers.iter().any(|name| name == "cpuset") {
            mounts.cpuset.as_deref()
        } else {
            None
        };
        let Some(mount) = mount else { continue };
        if let Some(cpus) = upwards(root, mount, &member.path, is_unified)? {
            found = Some(found.map_or_else(|| cpus.clone(), |other| &other & &cpus));
        }
    }
    Ok(found)
}

/// The group's own file, or that of the nearest group above that has one.
fn upwards(root: &Root, mount: &str, path: &str, is_unified: bool) -> Result<Option<CpuSet>> {
    // A group outside this namespace shows as `/../name`: only the mount's own root is visible then.
    let mut group = if path.split('/').any(|part| part == "..") { "" } else { path.trim_end_matches('/') };
    let files: &[&str] =
        if is_unified { &["cpuset.cpus.effective"] } else { &["cpuset.effective_cpus", "cpuset.cpus"] };
    loop {
        for file in files {
            let cpus = root.cpu_list(&format!("{mount}{group}/{file}"))?;
            if let Some(cpus) = cpus.filter(|cpus| !cpus.is_empty()) {
                return Ok(Some(cpus));
            }
        }
        let Some((parent, _)) = group.rsplit_once('/') else { return Ok(None) };
        group = parent;
    }
}

/// The processes of a group, by its path below the hierarchy (`system.slice/opensips.service`) or as a full path.
pub fn processes(root: &Root, group: &str) -> Result<Vec<u32>> {
    let mounts = mounts(root)?;
    let folders: Vec<String> = [mounts.unified, mounts.cpuset, Some("/sys/fs/cgroup/systemd".into())]
        .into_iter()
        .flatten()
        .map(|mount| {
            if group.starts_with(&mount) { group.to_owned() } else { format!("{mount}/{}", group.trim_matches('/')) }
        })
        .collect();
    for folder in &folders {
        if let Some(text) = root.text_if_any(&format!("{folder}/cgroup.procs"))? {
            return Ok(text.lines().filter_map(|line| line.trim().parse().ok()).collect());
        }
    }
    Err(super::error::Error::not_found("control group", format!("{group:?}"), folders.join(" or ")))
}
