//! What the Rust side logs goes to Python's logger `sipmi.server`, from a thread of its own:
//! whoever logs may hold a lock, and must not wait for the interpreter.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use log::{Level, LevelFilter, Metadata, Record};
use pyo3::prelude::*;

use super::exit;

/// More messages than this wait for nobody: the rest is dropped.
const QUEUE: usize = 1024;

type Queue = SyncSender<(Level, String)>;

/// The way to this process' thread; null while there is none. What it points to is never freed.
static TO_THREAD: AtomicPtr<Queue> = AtomicPtr::new(ptr::null_mut());

struct Forwarder;

impl Forwarder {
    fn queue() -> Option<&'static Queue> {
        // SAFETY: null, or from `Box::leak`.
        unsafe { TO_THREAD.load(Ordering::Acquire).as_ref() }
    }
}

impl log::Log for Forwarder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let Some(queue) = Self::queue() else { return };
        match queue.try_send((record.level(), record.args().to_string())) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    fn flush(&self) {}
}

/// Begins to forward, and takes over the level that `sipmi.server` has now.
pub(super) fn start(py: Python<'_>) -> PyResult<()> {
    if Forwarder::queue().is_none() {
        begin();
    }
    set_level(py)
}

/// In a forked process: the thread that forwards is not there.
pub(super) fn forget() {
    TO_THREAD.store(ptr::null_mut(), Ordering::Release);
}

fn begin() {
    let (sender, receiver) = sync_channel::<(Level, String)>(QUEUE);
    let queue = Box::into_raw(Box::new(sender));
    if TO_THREAD.compare_exchange(ptr::null_mut(), queue, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // SAFETY: nobody else has seen it.
        drop(unsafe { Box::from_raw(queue) });
        return;
    }
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
    // It fails when a logger is set already, which is then this one.
    let _ = log::set_logger(&Forwarder);
}

fn set_level(py: Python<'_>) -> PyResult<()> {
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
