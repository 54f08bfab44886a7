//! Facts about the commands of OpenSIPS, as data: no socket, no clock, nothing that is found out at run time.

pub mod hazards;
pub mod names;
pub mod secrets;
