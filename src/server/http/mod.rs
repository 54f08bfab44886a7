//! HTTP.

mod console;
