//! CPU and interrupt affinity: from a device and a server's name to a plan that is applied, verified and undone.
//!
//! - [`cpuset`], [`interrupts`], [`queue`]: what the kernel's texts mean; no file is touched
//! - [`root`], [`sched`], `emulate`, [`faults`]: the one door to files and threads, live or captured
//! - [`irq`], [`device`], [`steering`], [`process`], [`cgroup`], [`topology`], [`irqbalance`], [`counters`]: what a machine has
//! - [`request`], [`plan`], [`apply`], [`journal`], [`undo`], [`drift`]: what is to change, doing it, undoing it, and what does
//!   not hold
//! - [`persist`]: a plan that is applied again at each start
//! - [`check`]: what is wrong without any plan
//!
//! This folder names no other module of the crate.

pub mod apply;
pub mod cgroup;
pub mod check;
pub mod conflicts;
pub mod counters;
mod cpulist;
pub mod cpuset;
pub mod device;
mod device_name;
pub mod drift;
mod emulate;
pub mod envfile;
pub mod error;
pub mod faults;
pub mod host;
pub mod interrupts;
pub mod irq;
pub mod irqbalance;
mod irqbalance_bans;
pub mod journal;
mod locate;
pub mod outcome;
pub mod persist;
mod place;
pub mod plan;
pub mod process;
pub mod queue;
pub mod request;
pub mod root;
pub mod sched;
pub mod steering;
pub mod topology;
pub mod undo;

pub use cpuset::{CpuSet, CpuSetError, MAX_CPUS};
pub use error::{Error, Result};
pub use host::Host;
pub use interrupts::{InterruptTable, Row};
pub use irq::{Identity, Irq, Managed};
pub use outcome::{Outcome, Reason, State};
pub use queue::{Queue, QueueKind};
