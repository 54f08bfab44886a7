//! sipmi: the OpenSIPS Management Interface (MI), served and called.
//!
//! Each layer names only layers before it:
//!
//! - [`tree`], [`item`], [`peer`], [`request`], [`response`], [`dialect`]: what is said; [`sys`]: system calls, shared memory
//! - [`catalog`]: facts about the commands of OpenSIPS
//! - [`convert`], [`command`], [`codec`]: what it means, who does it, how it looks on a wire
//! - `address`, `transport`: where bytes come from and go to (feature `net`)
//! - `server`, `client`: the two pipelines below
//! - `gateway`: what joins them, a server that passes on what it does not know
//! - `affinity`: interrupts and processes on CPUs; stands alone (feature `net`)
//! - `python`: the only folder that knows the interpreter (feature `python`)
//!
//! ```text
//! server:  bytes -> codec::decode_request -> registry::lookup -> recipe::bind -> handler -> codec::encode_response -> bytes
//! client:  Request -> codec::encode_request -> transport::exchange -> codec::decode_response -> Reply or error
//! ```

pub mod catalog;
#[cfg(feature = "net")]
mod clock;
pub mod codec;
pub mod command;
pub mod convert;
pub mod dialect;
pub mod flush;
pub mod item;
pub mod peer;
pub mod request;
pub mod response;
#[allow(unsafe_code)]
pub mod sys;
pub mod tree;

#[cfg(feature = "net")]
pub mod address;
#[cfg(all(feature = "net", target_os = "linux"))]
pub mod affinity;
#[cfg(feature = "net")]
pub mod client;
#[cfg(feature = "net")]
pub mod gateway;
#[cfg(feature = "net")]
pub mod net;
#[cfg(feature = "net")]
pub mod server;
#[cfg(feature = "net")]
pub mod transport;

#[allow(unsafe_code)]
#[cfg(feature = "python")]
mod python;
