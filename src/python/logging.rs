//! What the Rust side logs goes to Python's logger `sipmi.server`, from a thread of its own:
//! whoever logs may hold a lock, and must not wait for the interpreter.

use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use log::{Level, LevelFilter, Metadata, Record};
use pyo3::prelude::*;

use super::exit;

/// More messages than this wait for nobody: the rest is dropped.
const QUEUE: usize = 1024;

struct Forwarder {
    sender: SyncSender<(Level, String)>,
}

impl log::Log for Forwarder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        match self.sender.try_send((record.level(), record.args().to_string())) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    fn flush(&self) {}
}

/// Begins to forward, and takes over the level that `sipmi.server` has now.
pub(super) fn start(py: Python<'_>) -> PyResult<()> {
    static FORWARDER: OnceLock<Forwarder> = OnceLock::new();
    let forwarder = FORWARDER.get_or_init(|| {
        let (sender, receiver) = sync_channel::<(Level, String)>(QUEUE);
        let spawned = std::thread::Builder::new().name("sipmi-log".into()).spawn(move || {
            for (level, message) in receiver {
                exit::attach(|py| {
                    if let Err(error) = forward(py, level, &message) {
                        error.write_unraisable(py, None);
                    }
                });
            }
        });
        drop(spawned);
        Forwarder { sender }
    });
    // It fails when a logger is set already, which is then this one.
    let _ = log::set_logger(forwarder);
    let level: i32 = logger(py)?.call_method0("getEffectiveLevel")?.extract()?;
    log::set_max_level(match level {
        ..=10 => LevelFilter::Debug,
        11..=20 => LevelFilter::Info,
        21..=30 => LevelFilter::Warn,
        _ => LevelFilter::Error,
    });
    Ok(())
}

fn logger(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("logging")?.call_method1("getLogger", ("sipmi.server",))
}

fn forward(py: Python<'_>, level: Level, message: &str) -> PyResult<()> {
    let level = match level {
        Level::Error => 40,
        Level::Warn => 30,
        Level::Info => 20,
        Level::Debug | Level::Trace => 10,
    };
    logger(py)?.call_method1("log", (level, "%s", message))?;
    Ok(())
}
