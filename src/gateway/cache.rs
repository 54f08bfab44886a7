//! Answers that are kept for a while, and requests that wait for the same one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::command_names::{NEVER, Names};
use super::outcome::{Outcome, Waiter};
use crate::catalog::effects::{Effect, effect_of};
use crate::catalog::names::module_of;
use crate::clock;
use crate::codec::json;
use crate::command::permit::Permit;
use crate::item::Item;
use crate::request::Params;

/// Answers that are kept at most; callers choose the parameters.
const MOST: usize = 1024;

/// The key of a request: equal for the same request in any form.
pub(super) type Key = Vec<u8>;

/// Answers of one upstream.
pub(super) struct ResponseCache {
    /// Patterns of commands, and how long their answers are good.
    times: Vec<(String, Duration)>,
    slots: Mutex<HashMap<Key, Slot>>,
}

enum Slot {
    Fresh(Arc<Outcome>, Instant),
    Asked(Arc<Flight>),
}

/// One request to the upstream, and all who wait for its answer.
#[derive(Default)]
pub(super) struct Flight(Mutex<Vec<Waiter>>);

/// The result of a cache lookup.
pub(super) enum Wanted {
    /// It was there.
    Fresh(Arc<Outcome>, Waiter),
    /// It has been asked for, and comes.
    Waits,
    /// It is to be asked for.
    Asks(Arc<Flight>),
}

/// The answers of a command cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answers of {0} cannot be kept: it changes something")]
pub struct CacheError(String);

impl Flight {
    pub(super) fn alone(waiter: Waiter) -> Arc<Self> {
        Arc::new(Flight(Mutex::new(vec![waiter])))
    }

    pub(super) fn is_awaited(&self) -> bool {
        let waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.iter().any(|waiter| waiter.responder.is_awaited())
    }

    pub(super) fn take(&self) -> Vec<Waiter> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResponseCache {
    /// A pattern with wildcards is about commands that change nothing alone; a name may also be that of a command which no
    /// table knows.
    pub(super) fn new(times: Vec<(String, Duration)>) -> Result<Self, CacheError> {
        let writes = |name: &str| {
            let is_pattern = name.contains(['*', '?']);
            !is_pattern
                && effect_of(name.as_bytes()) == Effect::Write
                && (module_of(name.as_bytes()).is_some() || name == NEVER)
        };
        match times.iter().find(|(name, _)| writes(name)) {
            Some((name, _)) => Err(CacheError(name.clone())),
            None => Ok(ResponseCache { times, slots: Mutex::default() }),
        }
    }

    /// How long answers of a command are good; `None` when they are not kept.
    pub(super) fn time_for(&self, names: &Names) -> Option<Duration> {
        if self.times.is_empty() {
            return None;
        }
        let is_read = effect_of(&names.flat) == Effect::Read;
        let canonical = names.canonical.as_deref().unwrap_or_default();
        let means = |pattern: &String| {
            let is_exact = !pattern.contains(['*', '?']);
            [&*names.flat, canonical].iter().any(|name| (is_read || is_exact) && Permit::is_meant(pattern, name))
        };
        self.times.iter().find(|(pattern, _)| means(pattern)).map(|(_, time)| *time)
    }

    /// An answer that is still good.
    pub(super) fn fresh(&self, key: &Key) -> Option<Arc<Outcome>> {
        match self.lock().get(key)? {
            Slot::Fresh(outcome, until) if *until > Instant::now() => Some(outcome.clone()),
            _ => None,
        }
    }

    /// Returns a cached answer, or adds the caller to the waiters for it.
    pub(super) fn want(&self, key: &Key, waiter: Waiter) -> Wanted {
        let mut slots = self.lock();
        match slots.get(key) {
            Some(Slot::Fresh(outcome, until)) if *until > Instant::now() => {
                return Wanted::Fresh(outcome.clone(), waiter);
            }
            Some(Slot::Asked(flight)) => {
                flight.0.lock().unwrap_or_else(PoisonError::into_inner).push(waiter);
                return Wanted::Waits;
            }
            _ => {}
        }
        let flight = Flight::alone(waiter);
        if slots.len() >= MOST {
            let now = Instant::now();
            slots.retain(|_, slot| {
                matches!(slot, Slot::Asked(_)) || matches!(slot, Slot::Fresh(_, until) if *until > now)
            });
        }
        if slots.len() < MOST {
            slots.insert(key.clone(), Slot::Asked(flight.clone()));
        }
        Wanted::Asks(flight)
    }

    /// Caches a successful answer, unless a write has invalidated it meanwhile, and passes it to its waiters.
    pub(super) fn settle(
        &self,
        key: &Key,
        flight: &Arc<Flight>,
        outcome: &Arc<Outcome>,
        time: Duration,
    ) -> Vec<Waiter> {
        let mut slots = self.lock();
        let is_current = matches!(slots.get(key), Some(Slot::Asked(current)) if Arc::ptr_eq(current, flight));
        if is_current {
            let is_good = matches!(&**outcome, Ok(reply) if reply.response.is_success() && !reply.is_unclear);
            if is_good {
                slots.insert(key.clone(), Slot::Fresh(outcome.clone(), clock::deadline(time)));
            } else {
                slots.remove(key);
            }
        }
        // The lock is held, so no waiter joins a flight that has ended.
        flight.take()
    }

    /// A write may have changed the state: cached answers are invalid, and answers in flight are not cached.
    pub(super) fn forget(&self) {
        if !self.times.is_empty() {
            self.lock().clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same for requests that mean the same: `["core:"]` in a list, alone and as text. Another name may be another
/// command, to a server of ours.
pub(super) fn key_of(method: &[u8], params: &Params) -> Key {
    let mut key = method.to_vec();
    match params {
        Params::None => {}
        Params::Positional(items) => {
            for item in items {
                push(&mut key, b"", item);
            }
        }
        Params::Named(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            for (name, item) in members {
                push(&mut key, name, item);
            }
        }
        Params::Strings(strings) => {
            for param in strings {
                push(&mut key, &param.name, &Item::Str(param.value.clone()));
            }
        }
    }
    key
}

/// Every part is preceded by its length, so that no two requests run together.
fn push(key: &mut Key, name: &[u8], item: &Item) {
    if let Item::Array(elements) = item {
        for element in elements {
            push(key, name, element);
        }
        return;
    }
    let mut value = Vec::new();
    match item {
        Item::Str(text) => value.extend_from_slice(text),
        item => json::write(&mut value, item),
    }
    for part in [name, &value] {
        key.push(b'\n');
        key.extend_from_slice(part.len().to_string().as_bytes());
        key.push(b':');
        key.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Param;

    fn key(params: &Params) -> Key {
        key_of(b"get_statistics", params)
    }

    #[test]
    fn a_request_is_the_same_in_every_form() {
        let text = Params::Strings(vec![Param { name: "".into(), value: "core:".into() }]);
        let json = Params::Positional(vec![Item::Array(vec!["core:".into()])]);
        assert_eq!(key(&text), key(&json));
        let int = |item: Item| key(&Params::Positional(vec![item]));
        assert_eq!(int(Item::Int(7)), int("7".into()));
    }

    #[test]
    fn other_requests_are_others() {
        let of = |items: &[&str]| key(&Params::Positional(items.iter().map(|item| (*item).into()).collect()));
        let all = [of(&[]), of(&["a", "b"]), of(&["a\n1:b"]), of(&["ab"]), of(&["", "ab"])];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one), "{one:?}");
        }
    }

    #[test]
    fn replies_to_changes_are_not_cached() {
        let second = Duration::from_secs(1);
        assert!(ResponseCache::new(vec![("ul_rm".into(), second)]).is_err());
        let cache =
            ResponseCache::new(vec![("ul_*".into(), second), ("billing_report".into(), second)]).expect("reads");
        assert_eq!(cache.time_for(&Names::of(b"ul_rm")), None);
        assert_eq!(cache.time_for(&Names::of(b"usrloc:dump")), Some(second));
        assert_eq!(cache.time_for(&Names::of(b"billing_report")), Some(second));
    }
}
