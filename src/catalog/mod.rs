//! The knowledge of OpenSIPS: names, parameters, effects, hazards, statistics and times, as data.
//!
//! No socket and no clock. The client, the gateway, the fake server, the console and Python read it here.

pub mod asynchronous;
pub mod effects;
pub mod hazards;
pub mod inventory;
pub mod limits;
pub mod names;
pub mod parameters;
pub mod secrets;
pub mod statistics;
pub mod times;
