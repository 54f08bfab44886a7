//! The events of a server, their subscriptions, and the log by which its processes agree on them.

mod error;
mod events;
mod journal;
mod known;
mod log_record;
mod raised;
mod sink;
mod subscription;

pub use error::{EventError, LONGEST_NAME, SubscribeError};
pub use events::Events;
pub use known::MOST_SUBSCRIPTIONS;
pub use raised::Raised;
pub use sink::{Carrier, DeliveryStats, Opened, SubscriberSink};
pub use subscription::{Listed, Subscription};

/// The duration of a subscription without a time, in seconds.
pub const DEFAULT_EXPIRE: u32 = 3600;
