//! The kernel's response to a change: applied, pending, managed or refused, and why.

use std::fmt;

use serde_json::{Value, json};

use super::cpuset::CpuSet;
use super::faults::errno_name;

/// How far a change got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It holds, read back from the kernel.
    Applied,
    /// The kernel accepted it; an interrupt moves when it next fires.
    Pending,
    /// The kernel places this interrupt itself (`IRQF_AFFINITY_MANAGED`). Not a failure, and never retried.
    Managed,
    /// It was not done; the reason says why.
    Refused,
}

impl State {
    /// `applied`, `pending`, `managed`, `refused`.
    pub fn name(self) -> &'static str {
        match self {
            State::Applied => "applied",
            State::Pending => "pending",
            State::Managed => "managed",
            State::Refused => "refused",
        }
    }
}

/// Why something is not (yet) as asked. Each has its own remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Managed by the kernel: EIO up to 6.11, EPERM and mode 0444 from 6.12 on.
    Managed,
    /// The interrupt cannot be moved at all: per-CPU, or its controller has no way to (EIO).
    NotMovable,
    /// `/proc/irq` or `/sys` is mounted read-only (EROFS).
    ReadOnly,
    /// None of the CPUs is online (EINVAL).
    Offline,
    /// A CPU that this machine cannot have (ERANGE, EOVERFLOW).
    BeyondPossible,
    /// No interrupt vector is left on those CPUs (ENOSPC).
    NoVectors,
    /// A capability is missing: root or `CAP_DAC_OVERRIDE` for files, `CAP_SYS_NICE` for others' processes (EACCES, EPERM).
    Denied,
    /// The interrupt, queue, process or thread is gone (ENOENT, ESRCH).
    Vanished,
    /// The cpuset of the process allows none of the CPUs (EINVAL).
    Cpuset,
    /// A kernel thread bound to its CPU (`PF_NO_SETAFFINITY`, EINVAL).
    KernelThread,
    /// The write succeeded and reads back as something else.
    NotKept,
    /// Accepted, and waits for the next interrupt.
    WaitsForInterrupt,
    /// The number now belongs to something else than was meant.
    AnotherNow,
    /// Another process has changed it since.
    ChangedSince,
    /// Another answer of the kernel.
    Other,
}

impl Reason {
    /// A short stable word.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Managed => "managed",
            Reason::NotMovable => "not movable",
            Reason::ReadOnly => "read-only",
            Reason::Offline => "offline",
            Reason::BeyondPossible => "beyond possible",
            Reason::NoVectors => "no vectors",
            Reason::Denied => "denied",
            Reason::Vanished => "vanished",
            Reason::Cpuset => "cpuset",
            Reason::KernelThread => "kernel thread",
            Reason::NotKept => "not kept",
            Reason::WaitsForInterrupt => "waits for interrupt",
            Reason::AnotherNow => "another now",
            Reason::ChangedSince => "changed since",
            Reason::Other => "other",
        }
    }

    /// Translates the error number of a write, where the number alone is conclusive.
    pub fn of_errno(errno: i32) -> Self {
        match errno {
            libc::EROFS => Reason::ReadOnly,
            libc::EINVAL => Reason::Offline,
            libc::ERANGE | libc::EOVERFLOW => Reason::BeyondPossible,
            libc::ENOSPC => Reason::NoVectors,
            libc::EACCES | libc::EPERM => Reason::Denied,
            libc::ENOENT | libc::ESRCH | libc::ENODEV => Reason::Vanished,
            libc::EIO => Reason::NotMovable,
            _ => Reason::Other,
        }
    }
}

/// One change: the requested CPUs, the written ones and the present ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `IRQ 57`, `thread 1234`.
    pub subject: String,
    /// How far it got.
    pub state: State,
    /// Why it is not applied.
    pub reason: Option<Reason>,
    /// The reason in a sentence, with path and errno.
    pub detail: String,
    /// The CPUs asked for.
    pub asked: CpuSet,
    /// The requested CPUs that are unavailable: offline, or outside the cpuset.
    pub cut: CpuSet,
    /// The affinity before.
    pub before: Option<CpuSet>,
    /// The affinity now.
    pub now: Option<CpuSet>,
    /// Where the interrupt really arrives now (`effective_affinity`).
    pub effective: Option<CpuSet>,
}

impl Outcome {
    pub(crate) fn new(subject: impl Into<String>, asked: &CpuSet) -> Self {
        Outcome {
            subject: subject.into(),
            state: State::Refused,
            reason: None,
            detail: String::new(),
            asked: asked.clone(),
            cut: CpuSet::new(),
            before: None,
            now: None,
            effective: None,
        }
    }

    #[must_use]
    pub(crate) fn because(mut self, state: State, reason: Reason, detail: impl Into<String>) -> Self {
        (self.state, self.reason, self.detail) = (state, Some(reason), detail.into());
        self
    }

    #[must_use]
    pub(crate) fn failed(self, path: &str, error: &std::io::Error, reason: Reason) -> Self {
        let said = error.raw_os_error().map_or_else(|| error.to_string(), errno_name);
        let asked = self.asked.to_list();
        self.because(State::Refused, reason, format!("{path}: writing {asked}: {said}, {}", explanation(reason)))
    }

    /// As JSON: sets as lists (`"0-3"`).
    pub fn to_json(&self) -> Value {
        let list = |set: &Option<CpuSet>| set.as_ref().map(CpuSet::to_list);
        json!({
            "subject": self.subject, "state": self.state.name(), "reason": self.reason.map(Reason::name),
            "detail": self.detail, "asked": self.asked.to_list(), "cut": self.cut.to_list(),
            "before": list(&self.before), "now": list(&self.now), "effective": list(&self.effective),
        })
    }
}

/// Explains the reason to an operator.
pub fn explanation(reason: Reason) -> &'static str {
    match reason {
        Reason::Managed => "the kernel places this interrupt itself",
        Reason::NotMovable => "this interrupt cannot be moved",
        Reason::ReadOnly => "the file system is mounted read-only (a container, or ProtectKernelTunables)",
        Reason::Offline => "none of these CPUs is online",
        Reason::BeyondPossible => "this machine cannot have such a CPU",
        Reason::NoVectors => "no interrupt vector is left on these CPUs",
        Reason::Denied => "root, or the capability for it, is needed",
        Reason::Vanished => "it is gone",
        Reason::Cpuset => "the cpuset of the process allows none of these CPUs",
        Reason::KernelThread => "this kernel thread is bound to its CPU",
        Reason::NotKept => "accepted, but it reads back as something else",
        Reason::WaitsForInterrupt => "accepted; it moves at the next interrupt",
        Reason::AnotherNow => "the number belongs to another device now",
        Reason::ChangedSince => "another process has changed it since",
        Reason::Other => "refused by the kernel",
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.subject, self.asked, self.state.name())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}
