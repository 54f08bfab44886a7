//! The Rust side logs to Python's loggers `sipmi.server` and `sipmi.trace`, from a thread of its own: the thread that
//! logs may hold a lock, and must not wait for the interpreter.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use log::kv::{self, Key, Value, VisitSource};
use log::{Level, LevelFilter, Metadata, Record};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

use super::exit;

/// More messages than this do not wait for Python: the rest is dropped, counted, and the count is logged.
const QUEUE: usize = 1024;

type Queue = SyncSender<Line>;

/// A line on its way to Python.
struct Line {
    level: Level,
    /// The logger that it is for.
    target: &'static str,
    message: String,
    /// The fields for `extra=`.
    fields: Vec<(String, String)>,
}

const SERVER: &str = "sipmi.server";
const TRACE: &str = "sipmi.trace";

/// How many lines of each logger were dropped since it was told last.
static DROPPED: [(&str, AtomicUsize); 2] = [(SERVER, AtomicUsize::new(0)), (TRACE, AtomicUsize::new(0))];

fn count_dropped(target: &str) {
    for (logger, dropped) in &DROPPED {
        if *logger == target {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Yields a line for each logger that states the number of its dropped lines.
fn dropped_lines() -> impl Iterator<Item = Line> {
    DROPPED.iter().filter_map(|(target, dropped)| {
        let count = dropped.swap(0, Ordering::Relaxed);
        (count > 0).then(|| Line {
            level: Level::Warn,
            target,
            message: format!("{count} lines dropped: the log is slower than the server"),
            fields: vec![("dropped".to_owned(), count.to_string())],
        })
    })
}

/// The fields that are numbers.
const NUMBERS: [&str; 3] = ["elapsed", "more", "dropped"];

/// Collects the fields of a record.
struct Fields(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push((key.to_string(), value.to_string()));
        Ok(())
    }
}

/// The queue of this process' thread; null while there is none. The queue is never freed.
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
        let mut fields = Fields(Vec::new());
        // The visitor does not fail.
        let _ = record.key_values().visit(&mut fields);
        let line = Line {
            level: record.level(),
            target: if record.target() == TRACE { TRACE } else { SERVER },
            message: record.args().to_string(),
            fields: fields.0,
        };
        match queue.try_send(line) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(line)) => count_dropped(line.target),
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

/// In a forked process the forwarding thread does not exist. The parent logs the number of dropped lines.
pub(super) fn forget() {
    for (_, dropped) in &DROPPED {
        dropped.store(0, Ordering::Relaxed);
    }
    TO_THREAD.store(ptr::null_mut(), Ordering::Release);
}

fn begin() {
    let (sender, receiver) = sync_channel::<Line>(QUEUE);
    let queue = Box::into_raw(Box::new(sender));
    if TO_THREAD.compare_exchange(ptr::null_mut(), queue, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // Another thread was faster. This queue leaks, as every other one does.
        return;
    }
    let spawned = std::thread::Builder::new().name("sipmi-log".into()).spawn(move || {
        for line in receiver {
            exit::attach(|py| {
                for line in std::iter::once(line).chain(dropped_lines()) {
                    if let Err(error) = forward(py, &line) {
                        error.write_unraisable(py, None);
                    }
                }
            });
        }
    });
    drop(spawned);
    // It fails when a logger is set already, which is then this one.
    let _ = log::set_logger(&Forwarder);
}

fn set_level(py: Python<'_>) -> PyResult<()> {
    let level_of = |name| -> PyResult<i32> { logger(py, name)?.call_method0("getEffectiveLevel")?.extract() };
    let level = level_of(SERVER)?.min(level_of(TRACE)?);
    log::set_max_level(match level {
        ..=10 => LevelFilter::Debug,
        11..=20 => LevelFilter::Info,
        21..=30 => LevelFilter::Warn,
        _ => LevelFilter::Error,
    });
    Ok(())
}

fn logger<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("logging")?.call_method1("getLogger", (name,))
}

fn forward(py: Python<'_>, line: &Line) -> PyResult<()> {
    let level = match line.level {
        Level::Error => 40,
        Level::Warn => 30,
        Level::Info => 20,
        Level::Debug | Level::Trace => 10,
    };
    let extra = PyDict::new(py);
    for (name, value) in &line.fields {
        match value.parse::<f64>() {
            Ok(number) if NUMBERS.contains(&name.as_str()) => extra.set_item(name, number)?,
            _ => extra.set_item(name, value)?,
        }
    }
    let options = [("extra", extra)].into_py_dict(py)?;
    logger(py, line.target)?.call_method("log", (level, "%s", &line.message), Some(&options))?;
    Ok(())
}
