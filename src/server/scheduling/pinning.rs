//! The CPUs of a listener's workers: a leading thread runs there, and returns to its own CPUs afterwards.

/// Where the threads that lead a listener run; nowhere in particular if it is empty.
#[derive(Debug, Default)]
pub(crate) struct Pinning {
    #[cfg(target_os = "linux")]
    cpus: crate::affinity::CpuSet,
}

#[cfg(target_os = "linux")]
impl Pinning {
    pub(crate) fn new(cpus: &[usize]) -> Self {
        Pinning { cpus: cpus.iter().copied().collect() }
    }

    /// Moves the calling thread there until the guard is dropped.
    pub(crate) fn enter(&self) -> Option<crate::affinity::sched::Pinned> {
        if self.cpus.is_empty() {
            return None;
        }
        let pinned = crate::affinity::sched::Pinned::to(&self.cpus);
        pinned.map_err(|error| log::error!("a worker cannot run on CPUs {}: {error}", self.cpus)).ok()
    }
}

#[cfg(not(target_os = "linux"))]
impl Pinning {
    pub(crate) fn new(_cpus: &[usize]) -> Self {
        Pinning {}
    }

    pub(crate) fn enter(&self) -> Option<()> {
        None
    }
}
