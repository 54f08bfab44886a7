//! Large requests and replies: they are encoded, decoded and freed on threads of their own.
//!
//! A reply of 256 MiB takes a second to decode and 20 ms to free. On the thread of an event loop all other calls would
//! wait for that; on the thread of a blocking call Ctrl-C and the deadline would.

use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::{self, JoinHandle};

use super::deadline::{Deadline, WaitError};
use crate::item::Item;
use crate::request::Params;

/// Encoding or decoding this many bytes takes about a millisecond.
const LARGE: usize = 512 << 10;

/// Freeing this many bytes takes half a millisecond: the kernel takes back each page.
const SLOW_TO_FREE: usize = 8 << 20;

/// The bytes given back to the kernel at once: meanwhile no other thread can map memory.
const FREED_AT_ONCE: usize = 2 << 20;

/// Received bytes. When they are dropped and many, another thread frees them.
#[derive(Debug, Default)]
pub(super) struct ReplyBytes(Vec<u8>);

impl ReplyBytes {
    /// The bytes, for the reply.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl Deref for ReplyBytes {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for ReplyBytes {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for ReplyBytes {
    fn drop(&mut self) {
        drop(free(self.take()));
    }
}

/// Frees bytes; many on a thread, which is returned, from the end and a piece at a time.
fn free(mut bytes: Vec<u8>) -> Option<JoinHandle<()>> {
    if bytes.capacity() < SLOW_TO_FREE {
        return None;
    }
    let in_pieces = move || {
        bytes.clear();
        while bytes.capacity() > FREED_AT_ONCE {
            bytes.shrink_to(bytes.capacity() - FREED_AT_ONCE);
        }
    };
    // When no thread can be made, its closure is dropped here, and the bytes with it.
    thread::Builder::new().name("sipmi free".into()).spawn(in_pieces).ok()
}

/// The size of parameters in bytes, about as large as they are on a wire.
pub(super) fn size_of(params: &Params) -> usize {
    match params {
        Params::None => 0,
        Params::Positional(items) => items.iter().map(size_of_item).sum(),
        Params::Named(members) => members.iter().map(|(name, item)| name.len() + size_of_item(item)).sum(),
        Params::Strings(strings) => strings.iter().map(|param| param.name.len() + param.value.len()).sum(),
    }
}

fn size_of_item(item: &Item) -> usize {
    match item {
        Item::Str(text) => text.len(),
        Item::Array(elements) => elements.iter().map(|element| 1 + size_of_item(element)).sum(),
        Item::Object(members) => members.iter().map(|(name, member)| name.len() + size_of_item(member)).sum(),
        _ => 1,
    }
}

/// The result of work on another thread, and the call that waits for it.
struct Slot<T> {
    output: Option<thread::Result<T>>,
    waker: Option<Waker>,
}

impl Deadline<'_> {
    /// Does work whose time grows with a number of bytes. Much work is done on a thread of its own, and given up at
    /// the deadline or when the call is interrupted.
    pub(super) async fn work_on<T: Send + 'static>(
        &mut self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WaitError> {
        if bytes < LARGE {
            return Ok(work());
        }
        let slot = Arc::new(Mutex::new(Slot { output: None, waker: None }));
        let theirs = Arc::clone(&slot);
        let run = move || {
            let output = catch_unwind(AssertUnwindSafe(work));
            let waker = {
                let mut slot = lock(&theirs);
                slot.output = Some(output);
                slot.waker.take()
            };
            waker.map(Waker::wake)
        };
        thread::Builder::new().name("sipmi codec".into()).spawn(run).map_err(WaitError::Io)?;
        let output = self
            .wait_for(|waker| {
                let mut slot = lock(&slot);
                if slot.output.is_none() {
                    slot.waker = Some(waker.clone());
                }
                slot.output.take()
            })
            .await?;
        Ok(output.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::client::deadline::run;
    use crate::client::driver::{Call, Driver};

    fn thread_of_work_on(bytes: usize) -> thread::ThreadId {
        let mut never = || false;
        let mut deadline = Deadline::new(Duration::from_secs(60), &mut never);
        run(deadline.work_on(bytes, || thread::current().id())).expect("there is time left")
    }

    #[test]
    fn many_bytes_are_freed_by_another_thread() {
        assert!(free(vec![0; SLOW_TO_FREE - 1]).is_none());
        let thread = free(vec![0; 3 * SLOW_TO_FREE / 2 + 1]).expect("a thread");
        thread.join().expect("no panic");
    }

    #[test]
    fn work_on_many_bytes_runs_on_another_thread() {
        assert_eq!(thread_of_work_on(LARGE - 1), thread::current().id());
        assert_ne!(thread_of_work_on(LARGE), thread::current().id());
    }

    #[test]
    fn a_driven_call_leaves_its_thread_to_others_during_work_on_many_bytes() {
        let (finish, wait) = mpsc::channel::<()>();
        let driver = Driver::new().expect("a driver");
        let (_, output) = driver.begin(|waiter| -> Call<Result<u32, WaitError>> {
            Box::pin(async move {
                let mut deadline = Deadline::driven(Duration::from_secs(60), &waiter);
                deadline.work_on(LARGE, move || wait.recv().map_or(0, |()| 7)).await
            })
        });
        assert!(output.is_none());
        finish.send(()).expect("the work waits");
        let output = loop {
            let mut fds = [nix::poll::PollFd::new(driver.as_fd(), nix::poll::PollFlags::POLLIN)];
            nix::poll::poll(&mut fds, 60_000_u16).expect("a descriptor");
            if let Some((_, output)) = driver.turn().pop() {
                break output;
            }
        };
        assert!(matches!(output, Ok(7)), "{output:?}");
    }

    #[test]
    fn an_interrupt_ends_work_on_many_bytes() {
        let (finish, wait) = mpsc::channel::<()>();
        let mut at_once = || true;
        let mut deadline = Deadline::new(Duration::from_secs(60), &mut at_once);
        let outcome = run(deadline.work_on(LARGE, move || wait.recv().is_ok()));
        assert!(matches!(outcome, Err(WaitError::Interrupted)), "{outcome:?}");
        drop(finish);
    }
}
