//! System calls: the only folder of the core that makes them without nix, where nix has no safe call for them.
//!
//! Every function here is safe to call. Each block says why the compiler's rules hold.

#[cfg(feature = "net")]
mod affinity;
#[cfg(feature = "net")]
pub mod descriptor;
#[cfg(feature = "net")]
pub mod envelope;
#[cfg(feature = "net")]
pub mod message;
#[cfg(feature = "net")]
pub mod peer_address;
#[cfg(feature = "net")]
pub mod process;
pub mod shared_memory;
pub mod time;

#[cfg(feature = "net")]
pub(crate) use affinity::{cpu_mask, set_cpu_mask};
