//! The statistics of a server: counters by group and name, and those of commands and transports.

mod counter;
mod metrics;
mod set;
mod table;
mod totals;
mod transport;

pub use counter::{Counter, Statistic};
pub use metrics::{CLASSES, CommandMetrics, Histogram};
pub use set::Statistics;
pub use table::Growth;
pub use transport::TransportCounters;
