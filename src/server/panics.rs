//! Panics in work for a client: logged with where they came from, and answered like any failure.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs something; a panic ends that alone, and is logged as the end of `what`.
pub(super) fn contained<T>(what: impl FnOnce() -> String, run: impl FnOnce() -> T) -> Option<T> {
    // Whatever a panic leaves half done is dropped with it, or behind a lock that does not mind.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(panic) => {
            log::error!("{} panicked: {}", what(), message(&*panic));
            None
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}
