//! irqbalance: its configuration file, edited so that every other byte stays, and the running daemon's socket.

use std::collections::BTreeSet;
use std::io::{self, IoSlice, Read};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{
    self, AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials,
};

use super::cpuset::CpuSet;
use super::envfile::{self, Reader};
use super::error::{Error, Result};
use super::irqbalance_bans::CpuBans;
use super::root::Root;

/// A mask of CPUs, hexadecimal without `0x`.
pub const BANNED_CPUS: &str = "IRQBALANCE_BANNED_CPUS";
/// A list of CPUs, since 1.8.0.
pub const BANNED_CPULIST: &str = "IRQBALANCE_BANNED_CPULIST";
/// Arguments; `--banirq=N` bans an interrupt.
pub const ARGS: &str = "IRQBALANCE_ARGS";

const UNIT_FOLDERS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// The daemon answers from its main loop, which can be busy rebalancing.
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 1 << 20;

/// The configuration of irqbalance and its state.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Irqbalance {
    /// The file to edit.
    pub file: String,
    /// True if that file exists.
    pub file_exists: bool,
    /// The daemon's pid, if it runs.
    pub pid: Option<u32>,
    /// Its socket, if it has one.
    pub socket: Option<String>,
    /// CPUs that its variables ban.
    pub banned_cpus: CpuSet,
    /// CPUs that it bans by itself while neither variable is set: the isolated and `nohz_full` ones.
    pub protected_cpus: CpuSet,
    /// True if `IRQBALANCE_BANNED_CPUS` is set in any of its files; it takes precedence over the list.
    has_mask: bool,
    /// True if the installed version knows `IRQBALANCE_BANNED_CPULIST`.
    knows_list: bool,
    /// The program that reads the file.
    reader: Reader,
    /// Interrupts it leaves alone.
    pub banned_irqs: BTreeSet<u32>,
}

impl Irqbalance {
    /// Reads the files in the order in which the service reads them; later ones win.
    pub fn read(root: &Root) -> Result<Self> {
        let Environment { files, reader } = environment_files(root)?;
        let file = file_to_edit(root, &files)?;
        let (mut mask, mut list, mut args) = (None, None, None);
        for path in &files {
            let Some(bytes) = read_if_any(root, path)? else { continue };
            mask = envfile::get(&bytes, BANNED_CPUS, reader).or(mask);
            list = envfile::get(&bytes, BANNED_CPULIST, reader).or(list);
            args = envfile::get(&bytes, ARGS, reader).or(args);
        }
        let bans = CpuBans::new(mask, list);
        let protected_cpus = if bans.cpus().is_some() { CpuSet::new() } else { set_apart(root)? };
        let banned_irqs = banned_irqs(args.as_deref().unwrap_or_default());
        let pid = running(root)?;
        let socket = pid.and_then(|pid| socket_of(root, pid));
        Ok(Irqbalance {
            file_exists: root.exists(&file),
            file,
            pid,
            socket,
            banned_cpus: bans.cpus().unwrap_or_default(),
            protected_cpus,
            has_mask: bans.mask.is_some(),
            knows_list: knows_list(root),
            reader,
            banned_irqs,
        })
    }

    /// The file's bytes with these CPUs banned beside those that are, and beside those that irqbalance protects by itself: it
    /// stops to do so once a variable is set. Every spelling that is set already is kept in step, since the mask wins over the list.
    pub fn with_banned_cpus(&self, bytes: &[u8], cpus: &CpuSet) -> Vec<u8> {
        let value = |key| envfile::get(bytes, key, self.reader);
        let here = CpuBans::new(value(BANNED_CPUS), value(BANNED_CPULIST));
        let all = &(&here.cpus().unwrap_or_default() | &self.banned_cpus) | &(&self.protected_cpus | cpus);
        let knows_list = self.knows_list || memchr::memmem::find(bytes, BANNED_CPULIST.as_bytes()).is_some();
        let mut changed = bytes.to_vec();
        if here.mask.is_some() || self.has_mask || !knows_list {
            changed = envfile::set(&changed, BANNED_CPUS, &all.to_mask(), self.reader);
        }
        if here.list.is_some() || knows_list {
            changed = envfile::set(&changed, BANNED_CPULIST, &all.to_list(), self.reader);
        }
        changed
    }

    /// `IRQBALANCE_ARGS` in the bytes of the file.
    pub fn arguments(&self, bytes: &[u8]) -> String {
        envfile::get(bytes, ARGS, self.reader).unwrap_or_default()
    }

    /// The file's bytes with these interrupts banned beside those that are.
    pub fn with_banned_irqs(&self, bytes: &[u8], irqs: &BTreeSet<u32>) -> Vec<u8> {
        let mut args = self.arguments(bytes);
        for irq in irqs.difference(&banned_irqs(&args)).copied().collect::<Vec<_>>() {
            if !args.is_empty() {
                args.push(' ');
            }
            args.push_str("--banirq=");
            args.push_str(&irq.to_string());
        }
        envfile::set(bytes, ARGS, &args, self.reader)
    }

    /// The bytes of a file that was edited since, without the interrupts that `after` bans and `before` does not.
    pub(crate) fn without_bans_between(&self, bytes: &[u8], before: &[u8], after: &[u8]) -> Vec<u8> {
        let banned = |bytes: &[u8]| banned_irqs(&self.arguments(bytes));
        let ours = &banned(after) - &banned(before);
        let args = self.arguments(bytes);
        let kept = without_irqs(&args, &ours);
        if kept == args { bytes.to_vec() } else { envfile::set(bytes, ARGS, &kept, self.reader) }
    }

    /// Bans CPUs in the file, for the daemon's next start. Gives back the file's bytes from before (none: there was no file).
    pub fn ban_cpus(&self, root: &Root, cpus: &CpuSet) -> Result<Option<Vec<u8>>> {
        let before = read_if_any(root, &self.file)?;
        let changed = self.with_banned_cpus(before.as_deref().unwrap_or_default(), cpus);
        self.write(root, before.as_deref(), &changed)?;
        Ok(before)
    }

    /// Bans interrupts in the file, for the daemon's next start. Gives back the bytes from before.
    pub fn ban_irqs(&self, root: &Root, irqs: &BTreeSet<u32>) -> Result<Option<Vec<u8>>> {
        let before = read_if_any(root, &self.file)?;
        let changed = self.with_banned_irqs(before.as_deref().unwrap_or_default(), irqs);
        self.write(root, before.as_deref(), &changed)?;
        Ok(before)
    }

    fn write(&self, root: &Root, before: Option<&[u8]>, changed: &[u8]) -> Result<()> {
        if before == Some(changed) { Ok(()) } else { root.replace(&self.file, changed) }
    }

    /// Interrupts that the running daemon has banned by its socket, and its banned CPUs.
    pub fn live(&self, root: &Root) -> Result<(BTreeSet<u32>, CpuSet)> {
        let answer = self.ask(root, "setup")?;
        parse_setup(&answer).ok_or_else(|| {
            Error::content(self.socket.as_deref().unwrap_or_default(), "SLEEP n [IRQ n ...] BANNED mask", answer)
        })
    }

    /// Makes the running daemon leave these interrupts alone, and no others; lost when it restarts. The empty set lifts all.
    pub fn ban_irqs_live(&self, root: &Root, irqs: &BTreeSet<u32>) -> Result<()> {
        let numbers: Vec<String> = irqs.iter().map(u32::to_string).collect();
        let list = if numbers.is_empty() { "NONE".to_owned() } else { numbers.join(" ") };
        self.ask(root, &format!("settings ban irqs {list}")).map(drop)
    }

    fn ask(&self, root: &Root, question: &str) -> Result<String> {
        let missing = || {
            Error::not_found("irqbalance socket", self.pid.unwrap_or_default(), "/run/irqbalance/irqbalancePID.sock")
        };
        let path = self.socket.as_deref().ok_or_else(missing)?;
        exchange(root, path, question).map_err(|error| Error::io(path, "ask", error))
    }
}

fn read_if_any(root: &Root, path: &str) -> Result<Option<Vec<u8>>> {
    match root.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The files with irqbalance's variables, in the order in which they are read.
struct Environment {
    files: Vec<String>,
    reader: Reader,
}

/// `EnvironmentFile=` of the unit and its drop-ins (`irqbalance.service.d/*.conf`), an empty one resets; without a
/// unit the places of Debian, Red Hat and SUSE.
fn environment_files(root: &Root) -> Result<Environment> {
    let mut texts = Vec::new();
    for folder in UNIT_FOLDERS {
        if let Some(text) = root.text_if_any(&format!("{folder}/irqbalance.service"))? {
            texts.push(text);
            break;
        }
    }
    let mut dropins: Vec<(String, String)> = Vec::new();
    for folder in UNIT_FOLDERS {
        let folder = format!("{folder}/irqbalance.service.d");
        for name in root.list(&folder)?.into_iter().filter(|name| name.strip_suffix(".conf").is_some()) {
            // The first folder's file of a name hides the others.
            if !dropins.iter().any(|(known, _)| *known == name) {
                dropins.push((name.clone(), format!("{folder}/{name}")));
            }
        }
    }
    dropins.sort();
    for (_, path) in dropins {
        texts.push(root.text(&path)?);
    }
    let reader = if texts.is_empty() { Reader::Shell } else { Reader::Systemd };
    let mut files = Vec::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        match line.trim().strip_prefix("EnvironmentFile=").map(|path| path.trim().trim_start_matches('-')) {
            Some("") => files.clear(),
            Some(path) => files.push(path.to_owned()),
            None => {}
        }
    }
    if files.is_empty() {
        let known = ["/usr/lib/irqbalance/defaults.env", "/etc/default/irqbalance", "/etc/sysconfig/irqbalance"];
        files.extend(known.into_iter().filter(|path| root.exists(path)).map(str::to_owned));
    }
    Ok(Environment { files, reader })
}

/// The administrator's file: the last one below `/etc`. Without any, by distribution.
fn file_to_edit(root: &Root, files: &[String]) -> Result<String> {
    if let Some(path) = files.iter().rev().find(|path| path.starts_with("/etc/")) {
        return Ok(path.clone());
    }
    let release = root.text_if_any("/etc/os-release")?.unwrap_or_default();
    let bytes = release.as_bytes();
    let like = ["ID", "ID_LIKE"]
        .iter()
        .filter_map(|key| envfile::get(bytes, key, Reader::Systemd))
        .collect::<Vec<_>>()
        .join(" ");
    let is = |names: &[&str]| like.split_ascii_whitespace().any(|word| names.contains(&word));
    let red_hat_or_suse = is(&["rhel", "fedora", "centos", "suse", "sles", "opensuse", "opensuse-leap"]);
    Ok(if red_hat_or_suse { "/etc/sysconfig/irqbalance" } else { "/etc/default/irqbalance" }.to_owned())
}

/// The CPUs that the kernel sets apart: `isolcpus=` and `nohz_full=`.
fn set_apart(root: &Root) -> Result<CpuSet> {
    let read = |name: &str| root.cpu_list(&format!("/sys/devices/system/cpu/{name}"));
    Ok(&read("isolated")?.unwrap_or_default() | &read("nohz_full")?.unwrap_or_default())
}

/// Returns true if the installed program contains the variable's name, as it does since 1.8.0.
fn knows_list(root: &Root) -> bool {
    let program = ["/usr/sbin/irqbalance", "/sbin/irqbalance", "/usr/bin/irqbalance"];
    let bytes = program.into_iter().find_map(|path| root.read(path).ok()).unwrap_or_default();
    memchr::memmem::find(&bytes, BANNED_CPULIST.as_bytes()).is_some()
}

/// `--banirq=N`, `--banirq N`, `-i N`, `-iN`.
pub fn banned_irqs(args: &str) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut words = args.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let number = match word {
            "--banirq" | "-i" => words.next(),
            _ => word.strip_prefix("--banirq=").or_else(|| word.strip_prefix("-i")),
        };
        found.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    found
}

/// The arguments without the bans of some interrupts; every other word stays.
fn without_irqs(args: &str, irqs: &BTreeSet<u32>) -> String {
    let names =
        |number: Option<&str>| number.and_then(|number| number.parse().ok()).is_some_and(|irq| irqs.contains(&irq));
    let mut kept = Vec::new();
    let mut words = args.split_ascii_whitespace();
    while let Some(word) = words.next() {
        if word == "--banirq" || word == "-i" {
            let number = words.next();
            if !names(number) {
                kept.push(word);
                kept.extend(number);
            }
        } else if !names(word.strip_prefix("--banirq=").or_else(|| word.strip_prefix("-i"))) {
            kept.push(word);
        }
    }
    if kept.len() == args.split_ascii_whitespace().count() { args.to_owned() } else { kept.join(" ") }
}

fn running(root: &Root) -> Result<Option<u32>> {
    match super::process::by_name(root, "irqbalance") {
        Ok(found) => Ok(found.first().map(|process| process.pid)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

fn socket_of(root: &Root, pid: u32) -> Option<String> {
    let path = format!("/run/irqbalance/irqbalance{pid}.sock");
    root.exists(&path).then_some(path)
}

/// `SLEEP 10 IRQ 38 LOAD 0 DIFF 0 CLASS 0 BANNED 00000000`.
pub fn parse_setup(answer: &str) -> Option<(BTreeSet<u32>, CpuSet)> {
    let words: Vec<&str> = answer.split_ascii_whitespace().collect();
    let mut irqs = BTreeSet::new();
    let mut cpus = None;
    for pair in words.windows(2) {
        match pair[0] {
            "IRQ" => irqs.extend(pair[1].parse::<u32>().ok()),
            "BANNED" => cpus = CpuSet::parse_mask(pair[1], None).ok(),
            _ => {}
        }
    }
    cpus.map(|cpus| (irqs, cpus))
}

/// One question, one answer. The daemon wants the asker's credentials with it and serves root only.
fn exchange(root: &Root, path: &str, question: &str) -> io::Result<String> {
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let timeout = nix::sys::time::TimeVal::new(PATIENCE.as_secs() as libc::time_t, 0);
    socket::setsockopt(&fd, socket::sockopt::ReceiveTimeout, &timeout)?;
    socket::setsockopt(&fd, socket::sockopt::SendTimeout, &timeout)?;
    socket::connect(fd.as_raw_fd(), &UnixAddr::new(&root.real(path))?)?;
    let credentials = UnixCredentials::new();
    let control = [ControlMessage::ScmCredentials(&credentials)];
    socket::sendmsg::<()>(
        fd.as_raw_fd(),
        &[IoSlice::new(question.as_bytes())],
        &control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    let mut answer = Vec::new();
    let mut stream = std::os::unix::net::UnixStream::from(fd);
    stream.by_ref().take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
