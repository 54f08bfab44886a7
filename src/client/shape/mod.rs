//! The shapes that 4.0 gives to its replies, made from those of 1.x and 2.x: the same value from every generation.
//!
//! Old wires know nodes with a value, attributes and children, all of them strings. Some lose which node is below
//! which (`mi_xmlrpc`), or what some nodes are called (lists in `mi_json`). So a reply is read as the sequence of its
//! nodes, in the order in which they are written, and the tables below say what belongs to what.
//!
//! A node that no table lists keeps the shape of the common rule, and so does an unexpected reply.

mod commands;
mod contact_line;
mod kinds;
mod modern;
mod reading;
mod values;

pub use commands::shape;
pub use modern::modern;
