//! Forwarding as Python's `sipmi.gateway` sets it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::exit;
use super::number::{MOST_REQUESTS, MOST_THREADS, count, seconds};
use crate::client::Client;
use crate::command::service::Service;
use crate::gateway::{Audit, Gateway, Rule, Upstream, UpstreamOptions};

/// The limit of queued entries: further ones are counted instead of queued, and the count is logged.
const QUEUE: usize = 65_536;

/// Adds an upstream to the gateway of a service, which is made when there is none yet.
pub(super) fn forward(
    service: &Arc<Service>,
    gateway: &std::sync::OnceLock<Arc<Gateway>>,
    client: Arc<Client>,
    options: &Bound<'_, PyDict>,
) -> PyResult<()> {
    let options = read_options(options)?;
    let upstream = Upstream::new(client, options).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let gateway = if let Some(gateway) = gateway.get() {
        gateway
    } else {
        let made = Gateway::of(service)
            .ok_or_else(|| PyValueError::new_err("the server leaves its commands to another one already"))?;
        gateway.get_or_init(|| made)
    };
    gateway.add(upstream);
    Ok(())
}

fn read_options(given: &Bound<'_, PyDict>) -> PyResult<UpstreamOptions> {
    let mut options = UpstreamOptions::default();
    for (name, value) in given.iter() {
        match name.extract::<String>()?.as_str() {
            "only" => options.only = value.extract()?,
            "timeout" => options.timeout = seconds("timeout", &value)?,
            "threads" => options.threads = count("threads", &value, 1..=MOST_THREADS)?,
            "queue" => options.queue = count("queue", &value, 0..=MOST_REQUESTS)?,
            "cache" => {
                for (pattern, time) in value.cast::<PyDict>()?.iter() {
                    options.cache.push((pattern.extract()?, seconds("cache", &time)?));
                }
            }
            "rights" => {
                let rules: Vec<(String, Vec<String>)> = value.extract()?;
                let rules = rules.into_iter().map(|(who, patterns)| Rule::new(&who, patterns));
                let rules: Result<Vec<_>, _> = rules.collect();
                options.acl = rules.map_err(|error| PyValueError::new_err(error.to_string()))?.into();
            }
            "audit" => options.audit = Some(audit_to(value.unbind())?),
            other => return Err(PyTypeError::new_err(format!("an upstream has no option {other:?}"))),
        }
    }
    Ok(options)
}

/// Passes entries to a Python function `log(entry, dropped)` on a thread of its own. The thread that answers a caller
/// never waits for the interpreter.
fn audit_to(log: Py<PyAny>) -> PyResult<Audit> {
    let (sender, receiver) = sync_channel::<String>(QUEUE);
    let dropped = Arc::new(AtomicUsize::new(0));
    let counted = dropped.clone();
    std::thread::Builder::new().name("sipmi-audit".into()).spawn(move || {
        for entry in receiver {
            exit::attach(|py| {
                if let Err(error) = log.call1(py, (entry, counted.swap(0, Ordering::Relaxed))) {
                    error.write_unraisable(py, None);
                }
            });
        }
    })?;
    Ok(Arc::new(move |entry| send(&sender, &dropped, entry)))
}

fn send(sender: &SyncSender<String>, dropped: &AtomicUsize, entry: String) {
    match sender.try_send(entry) {
        Ok(()) | Err(TrySendError::Disconnected(_)) => {}
        Err(TrySendError::Full(_)) => {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
