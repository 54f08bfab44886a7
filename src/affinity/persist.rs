//! A plan that lasts: its request under a name, and the files that apply it again at boot, when a device appears and when
//! its server starts.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::apply::{self, Applied};
use super::cgroup;
use super::cpuset::CpuSet;
use super::drift;
use super::error::{Error, Result};
use super::host::Host;
use super::journal::{self, Record};
use super::plan::{Change, Plan};

/// The folder of lasting plans, one file each.
pub const FOLDER: &str = "/etc/sipmi/pins";
const UNITS: &str = "/etc/systemd/system";
const LONGEST_NAME: usize = 64;

/// A file that belongs to a lasting plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its path.
    pub path: String,
    /// Its content.
    pub content: String,
}

/// A lasting plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    /// Its name.
    pub name: String,
    /// The request of its plan.
    pub request: Value,
    /// The journal of its last application.
    pub journal: PathBuf,
    /// The files that apply it again.
    pub files: Vec<Written>,
}

impl Pin {
    /// The pin of a plan that has been applied. `command` applies it again: it begins with an absolute path.
    pub fn of(applied: &Applied, name: &str, command: &[String]) -> Result<Self> {
        Ok(Pin {
            name: name.to_owned(),
            request: applied.plan.request.to_json(),
            journal: applied.journal().to_path_buf(),
            files: files(&applied.plan, name, command)?,
        })
    }

    fn path(&self) -> String {
        format!("{FOLDER}/{}.json", self.name)
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let files = self.files.iter().map(|file| json!({"path": file.path, "content": file.content}));
        json!({"sipmi_pin": 1, "name": self.name, "request": self.request, "journal": self.journal.display().to_string(),
               "files": files.collect::<Vec<_>>()})
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
        if value.get("sipmi_pin")?.as_u64()? != 1 {
            return None;
        }
        let file = |file: &Value| Some(Written { path: text(file, "path")?, content: text(file, "content")? });
        Some(Pin {
            name: text(value, "name")?,
            request: value.get("request")?.clone(),
            journal: text(value, "journal")?.into(),
            files: value.get("files")?.as_array()?.iter().map(file).collect::<Option<_>>()?,
        })
    }

    /// Writes the pin and its files. A pin of the same name is replaced.
    pub fn write(&self, host: &Host) -> Result<()> {
        if host.root.exists(&self.path()) {
            let former = load(host, &self.name)?;
            remove_files(
                host,
                former.files.iter().filter(|file| self.files.iter().all(|new| new.path != file.path)),
            )?;
        }
        for file in &self.files {
            put(host, &file.path, &file.content)?;
        }
        self.keep(host)
    }

    fn keep(&self, host: &Host) -> Result<()> {
        put(host, &self.path(), &format!("{:#}\n", self.to_json()))
    }
}

/// The name is a part of file names and of units.
fn checked(name: &str) -> Result<&str> {
    let is_fine = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_fine) && !name.starts_with('-') {
        return Ok(name);
    }
    Err(Error::Usage(format!("expected a name of 1 to {LONGEST_NAME} letters, digits, - and _, found {name:?}")))
}

/// The files that apply a plan again: a unit, what starts it, and where the processes of servers are born.
pub fn files(plan: &Plan, name: &str, command: &[String]) -> Result<Vec<Written>> {
    checked(name)?;
    let unit = format!("sipmi-pin-{name}.service");
    let servers = servers(plan)?;
    let after: Vec<&str> = servers.keys().map(String::as_str).collect();
    let after = ["network.target", "irqbalance.service"].into_iter().chain(after).collect::<Vec<_>>().join(" ");
    let command = command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let written = |path: String, content: String| Written { path, content };
    let wants = format!("[Unit]\nWants={unit}\n");
    let mut files = vec![
        written(
            format!("{UNITS}/{unit}"),
            format!(
                "[Unit]\nDescription=CPU and interrupt affinity of {name}\nDocumentation=man:sipmi(1)\nAfter={after}\n\n\
                 [Service]\nType=oneshot\nExecStart={command}\n"
            ),
        ),
        written(format!("{UNITS}/multi-user.target.d/50-{}", unit.replace(".service", ".conf")), wants.clone()),
    ];
    for (server, cpus) in &servers {
        files.push(written(
            format!("{UNITS}/{server}.d/50-{}", unit.replace(".service", ".conf")),
            format!("{wants}\n[Service]\nCPUAffinity={}\n", cpus.to_list().replace(',', " ")),
        ));
    }
    let rules: Vec<String> = plan
        .devices
        .iter()
        .filter(|device| matches!(device.kind, "net" | "block"))
        .map(|device| {
            format!(
                "ACTION==\"add|move\", SUBSYSTEM==\"{}\", KERNEL==\"{}\", TAG+=\"systemd\", ENV{{SYSTEMD_WANTS}}+=\"{unit}\"\n",
                device.kind, device.name
            )
        })
        .collect();
    if !rules.is_empty() {
        files.push(written(format!("/etc/udev/rules.d/90-sipmi-pin-{name}.rules"), rules.concat()));
    }
    Ok(files)
}

/// The systemd units of the plan's processes, each with the CPUs of its processes.
fn servers(plan: &Plan) -> Result<BTreeMap<String, CpuSet>> {
    let mut servers: BTreeMap<String, CpuSet> = BTreeMap::new();
    for item in &plan.items {
        // Threads of a name are moved alone: their server is not born on their CPUs.
        let Change::Process(process) = &item.change else { continue };
        if process.only.is_some() {
            continue;
        }
        if let Some(unit) = cgroup::unit(&plan.host.root, process.pid)? {
            let cpus = servers.entry(unit).or_default();
            *cpus = &*cpus | &item.target;
        }
    }
    Ok(servers)
}

/// A word of `ExecStart=`, in which `%` and `$` have a meaning.
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    if word.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-=:".contains(letter)) {
        escaped
    } else {
        format!("\"{escaped}\"")
    }
}

fn put(host: &Host, path: &str, content: &str) -> Result<()> {
    let real = host.root.real(path);
    let folder = journal::folder_of(&real);
    fs::create_dir_all(folder).map_err(|error| Error::io(path, "make the folder of", error))?;
    host.root.replace(path, content.as_bytes())
}

/// The lasting plans, by name.
pub fn list(host: &Host) -> Result<Vec<Pin>> {
    let names = host.root.list(FOLDER)?;
    names.iter().filter_map(|name| name.strip_suffix(".json")).map(|name| load(host, name)).collect()
}

/// Reads one of them.
pub fn load(host: &Host, name: &str) -> Result<Pin> {
    let path = format!("{FOLDER}/{}.json", checked(name)?);
    if !host.root.exists(&path) {
        return Err(Error::not_found("lasting plan", format!("{name:?}"), path));
    }
    let text = host.root.text(&path)?;
    let pin = serde_json::from_str(&text).ok().as_ref().and_then(Pin::from_json);
    pin.filter(|pin| pin.name == name).ok_or_else(|| Error::content(&path, "a plan that sipmi has kept", text))
}

/// Applies a lasting plan again. Its journal goes on; after a restart of the machine there is a new one.
pub fn reapply(host: &Host, name: &str) -> Result<Applied> {
    let mut pin = load(host, name)?;
    let applied = if pin.journal.exists() {
        apply::apply_again(host, &pin.journal)?
    } else {
        let record = Record { request: Some(pin.request.clone()), ..Record::default() };
        apply::apply(&drift::plan_again(host, &record)?.into_plan()?, None, false)?
    };
    pin.journal = applied.journal().to_path_buf();
    pin.keep(host)?;
    Ok(applied)
}

/// Removes a lasting plan with the files that it wrote; those that were changed since stay, and are returned. The
/// plan stays applied until its journal is undone.
pub fn forget(host: &Host, name: &str) -> Result<Vec<String>> {
    let pin = load(host, name)?;
    let stay = remove_files(host, pin.files.iter())?;
    remove(host, &pin.path())?;
    Ok(stay)
}

fn remove_files<'a>(host: &Host, files: impl Iterator<Item = &'a Written>) -> Result<Vec<String>> {
    let mut stay = Vec::new();
    for file in files {
        match host.root.read(&file.path) {
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
            Ok(now) if now == file.content.as_bytes() => remove(host, &file.path)?,
            Ok(_) => stay.push(file.path.clone()),
        }
    }
    Ok(stay)
}

/// Removes a file, and its folder of drop-ins if that is empty now.
fn remove(host: &Host, path: &str) -> Result<()> {
    let real = host.root.real(path);
    fs::remove_file(&real).map_err(|error| Error::io(path, "remove", error))?;
    if let Some(folder) = real.parent().filter(|folder| folder.extension().is_some_and(|end| end == "d")) {
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}
