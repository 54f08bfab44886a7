//! Faults to inject into a root: failures that a test cannot cause on the machine that runs it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};

use super::error::{Error, Result};

/// The fault to inject at one path. `sched:TID` stands for moving that thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Opening or reading fails with this error number.
    Read(i32),
    /// Writing fails with this error number.
    Write(i32),
    /// The write succeeds and changes nothing.
    Ignored,
    /// The write succeeds and `smp_affinity` changes, but the interrupt still arrives where it did.
    Stuck,
}

const ERRNOS: [(&str, i32); 13] = [
    ("EACCES", libc::EACCES),
    ("EBUSY", libc::EBUSY),
    ("EINVAL", libc::EINVAL),
    ("EIO", libc::EIO),
    ("ENODEV", libc::ENODEV),
    ("ENOENT", libc::ENOENT),
    ("ENOSPC", libc::ENOSPC),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
    ("EOVERFLOW", libc::EOVERFLOW),
    ("EPERM", libc::EPERM),
    ("ERANGE", libc::ERANGE),
    ("EROFS", libc::EROFS),
    ("ESRCH", libc::ESRCH),
];

/// The error number's name (`EIO`), or `errno N`.
pub fn errno_name(errno: i32) -> String {
    ERRNOS
        .iter()
        .find(|(_, number)| *number == errno)
        .map_or_else(|| format!("errno {errno}"), |(name, _)| (*name).to_owned())
}

impl std::str::FromStr for Fault {
    type Err = Error;

    /// `EIO`, `read:EACCES`, `ignored`, `stuck`.
    fn from_str(text: &str) -> Result<Self> {
        let errno = |name: &str| ERRNOS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
        let fault = match text {
            "ignored" => Some(Fault::Ignored),
            "stuck" => Some(Fault::Stuck),
            _ => match text.strip_prefix("read:") {
                Some(name) => errno(name).map(Fault::Read),
                None => errno(text).map(Fault::Write),
            },
        };
        fault.ok_or_else(|| {
            Error::Usage(format!("expected an error name like EIO, read:EIO, ignored or stuck, found {text:?}"))
        })
    }
}

/// All faults of one root.
#[derive(Debug, Default)]
pub struct Faults {
    rules: HashMap<String, Fault>,
    /// Writes until this process kills itself; negative: never.
    left: Option<AtomicI64>,
}

impl Faults {
    /// Faults by path.
    pub fn new(rules: impl IntoIterator<Item = (String, Fault)>) -> Self {
        Self { rules: rules.into_iter().collect(), left: None }
    }

    /// The process ends by SIGKILL just before the write after `writes` ones: a crash at a chosen point.
    #[must_use]
    pub fn kill_after(mut self, writes: u32) -> Self {
        self.left = Some(AtomicI64::new(i64::from(writes)));
        self
    }

    pub(crate) fn rule(&self, path: &str) -> Option<&Fault> {
        self.rules.get(path)
    }

    pub(crate) fn count_write(&self) {
        if let Some(left) = &self.left
            && left.fetch_sub(1, Ordering::SeqCst) == 0
        {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
        }
    }
}
