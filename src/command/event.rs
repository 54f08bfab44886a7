//! The events of a server: which there are, who subscribed to them, and raising one (`evi_raise_event`).

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::statistics::{Counter, Growth, Statistics};
use crate::codec::event::{self, Event, Form};
use crate::dialect::Dialect;
use crate::item::Str;
use crate::request::Params;

/// Each subscription costs memory for as long as its caller says, so there is an end to them.
pub const MOST_SUBSCRIPTIONS: usize = 4096;
/// The longest name of an event: it has to fit a line of a text request with much room to spare.
pub const LONGEST_NAME: usize = 128;
/// `event_subscribe` without a time (seconds).
pub const DEFAULT_EXPIRE: u32 = 3600;

/// Why an event cannot be declared or raised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// No wire could carry the name.
    #[error(
        "expected an event's name of 1 to {LONGEST_NAME} printable ASCII characters without blanks, quotes and colons, found {0:?}"
    )]
    Name(Str),
    /// A line of text could not carry the parameter's name.
    #[error("expected a parameter's name without newlines, found {0:?}")]
    ParamName(Str),
}

/// Why a subscription is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// There is no such event.
    #[error("no event of this name is declared")]
    UnknownEvent,
    /// Nothing can be sent there.
    #[error("{0}")]
    Socket(String),
    /// There are [`MOST_SUBSCRIPTIONS`].
    #[error("too many subscriptions")]
    TooMany,
}

/// An event that is on its way: written once for all who want it in the same form.
pub struct Raised {
    event: Event,
    text: OnceCell<Vec<u8>>,
    json: OnceCell<Vec<u8>>,
}

impl Raised {
    fn new(event: Event) -> Self {
        Raised { event, text: OnceCell::new(), json: OnceCell::new() }
    }

    /// What happened.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Its bytes.
    pub fn bytes(&self, form: Form) -> &[u8] {
        match form {
            Form::Text => self.text.get_or_init(|| {
                let mut out = Vec::with_capacity(256);
                event::encode_text(&mut out, &self.event);
                out
            }),
            Form::Json => self.json.get_or_init(|| {
                let mut out = Vec::with_capacity(256);
                event::encode_json(&mut out, &self.event.name, &self.event.params, None);
                out
            }),
        }
    }
}

/// What became of the events of one subscription. Those that wait are in neither.
#[derive(Debug, Default)]
pub struct Tally {
    /// Handed to the system, or confirmed where a reply is wanted.
    pub sent: Counter,
    /// Given up: nobody there, full, too large, too late.
    pub dropped: Counter,
    all_sent: Counter,
    all_dropped: Counter,
}

impl Tally {
    /// One was sent.
    pub fn count_sent(&self) {
        self.sent.add(1);
        self.all_sent.add(1);
    }

    /// One was given up.
    pub fn count_dropped(&self) {
        self.dropped.add(1);
        self.all_dropped.add(1);
    }
}

/// The way to a subscriber. It never makes the raiser wait.
pub trait Outlet: Send + Sync {
    /// Sends an event now or later, or gives it up; the tally tells.
    fn send(&self, raised: &Raised, form: Form, tally: &Arc<Tally>);
}

/// A socket of `event_subscribe` as it was understood.
pub struct Opened {
    /// The same for all spellings of one socket.
    pub identity: String,
    /// The way there.
    pub outlet: Arc<dyn Outlet>,
    /// The only form in which events go there, if there is only one.
    pub form: Option<Form>,
}

/// Whoever finds the way to a socket. The core has no sockets of its own.
pub trait Carrier: Send + Sync {
    /// Understands `udp:host:port` and its like, or says what is wrong with it.
    fn open(&self, socket: &str) -> Result<Opened, String>;
}

/// All events of a server.
pub struct Events {
    table: Mutex<Table>,
    carrier: OnceLock<Arc<dyn Carrier>>,
    raised: Counter,
    sent: Counter,
    dropped: Counter,
}

#[derive(Default)]
struct Table {
    events: Vec<Declared>,
    places: HashMap<Str, usize>,
    subscriptions: usize,
}

struct Declared {
    name: Str,
    /// The latest first, as OpenSIPS lists them. Replaced as a whole, so that raising needs no lock while it sends.
    subscriptions: Arc<[Arc<Subscription>]>,
}

/// One socket that wants one event.
pub struct Subscription {
    /// As its subscriber wrote it.
    pub socket: Str,
    /// What became of its events.
    pub tally: Arc<Tally>,
    identity: String,
    outlet: Arc<dyn Outlet>,
    lease: Mutex<Lease>,
}

/// For how long a subscription holds, and how its events are written.
#[derive(Clone, Copy)]
struct Lease {
    since: Instant,
    expire: u32,
    form: Form,
}

impl Lease {
    fn left(&self) -> Option<Duration> {
        Duration::from_secs(self.expire.into()).checked_sub(self.since.elapsed()).filter(|left| !left.is_zero())
    }
}

impl Subscription {
    fn lease(&self) -> Lease {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_lease(&self, lease: Lease) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = lease;
    }

    /// Seconds that it was made for; 0 when it was ended.
    pub fn expire(&self) -> u32 {
        self.lease().expire
    }

    /// What is left of them; `None` when nothing is.
    pub fn left(&self) -> Option<Duration> {
        self.lease().left()
    }

    /// How its events are written.
    pub fn form(&self) -> Form {
        self.lease().form
    }
}

/// An event and its subscriptions, to look at.
pub struct Listed {
    /// Its number: events count from 0 as they are declared.
    pub id: usize,
    /// Its name.
    pub name: Str,
    /// The latest first; also those that ended and were not swept away yet.
    pub subscriptions: Arc<[Arc<Subscription>]>,
}

impl Events {
    /// None yet. Versions of OpenSIPS have no statistics of them, so their counters are not shown.
    pub fn new(statistics: &Statistics, dialect: Dialect) -> Self {
        let shown = |name| statistics.counter("evi", name, Growth::Incremental);
        let counter = |name| if dialect.is_emulated() { Counter::default() } else { shown(name) };
        Events {
            table: Mutex::default(),
            carrier: OnceLock::new(),
            raised: counter("raised"),
            sent: counter("sent"),
            dropped: counter("dropped"),
        }
    }

    /// Says who finds the way to sockets. Until then no socket is understood.
    pub fn carried_by(&self, carrier: Arc<dyn Carrier>) {
        // The first stays: subscriptions hold ways that it made.
        let _ = self.carrier.set(carrier);
    }

    /// Makes an event known, so that it can be subscribed to (`evi_publish_event`). Twice does no harm.
    pub fn declare(&self, name: impl Into<Str>) -> Result<(), EventError> {
        self.lock().place(name.into()).map(|_| ())
    }

    /// All events, in the order in which they were declared.
    pub fn list(&self) -> Vec<Listed> {
        let table = self.lock();
        let listed = |(id, event): (usize, &Declared)| Listed {
            id,
            name: event.name.clone(),
            subscriptions: event.subscriptions.clone(),
        };
        table.events.iter().enumerate().map(listed).collect()
    }

    /// The event of this name.
    pub fn find(&self, name: &[u8]) -> Option<Listed> {
        let table = self.lock();
        let id = *table.places.get(name)?;
        let Declared { name, subscriptions } = &table.events[id];
        Some(Listed { id, name: name.clone(), subscriptions: subscriptions.clone() })
    }

    /// Subscribes a socket to an event for so many seconds, or changes how long it is subscribed; 0 ends it.
    pub fn subscribe(&self, event: &[u8], socket: &[u8], expire: u32, form: Form) -> Result<(), SubscribeError> {
        let listed = self.find(event).ok_or(SubscribeError::UnknownEvent)?;
        if expire == 0
            && let Some(known) = self.subscription(&listed, socket)
        {
            known.set_lease(Lease { since: Instant::now(), expire, form: known.form() });
            return Ok(());
        }
        // A name may have to be looked up: not with the lock in hand.
        let Opened { identity, outlet, form: only } = self.open(socket)?;
        let lease = Lease { since: Instant::now(), expire, form: only.unwrap_or(form) };
        let mut table = self.lock();
        let place = *table.places.get(event).ok_or(SubscribeError::UnknownEvent)?;
        let subscriptions = table.events[place].subscriptions.clone();
        if let Some(known) = subscriptions.iter().find(|known| known.identity == identity) {
            known.set_lease(lease);
            return Ok(());
        }
        if expire == 0 {
            return Ok(());
        }
        if table.subscriptions >= MOST_SUBSCRIPTIONS {
            table.sweep();
        }
        if table.subscriptions >= MOST_SUBSCRIPTIONS {
            return Err(SubscribeError::TooMany);
        }
        let tally = Tally { all_sent: self.sent.clone(), all_dropped: self.dropped.clone(), ..Tally::default() };
        let subscription = Arc::new(Subscription {
            socket: socket.into(),
            tally: Arc::new(tally),
            identity,
            outlet,
            lease: Mutex::new(lease),
        });
        let all: Vec<_> =
            std::iter::once(subscription).chain(table.events[place].subscriptions.iter().cloned()).collect();
        table.events[place].subscriptions = all.into();
        table.subscriptions += 1;
        Ok(())
    }

    /// The subscription of a socket to an event, whatever the spelling of the socket.
    pub fn subscription(&self, event: &Listed, socket: &[u8]) -> Option<Arc<Subscription>> {
        let exact = event.subscriptions.iter().find(|known| *known.socket == *socket);
        if let Some(known) = exact {
            return Some(known.clone());
        }
        let identity = self.open(socket).ok()?.identity;
        event.subscriptions.iter().find(|known| known.identity == identity).cloned()
    }

    /// Sends an event to its subscribers and says how many there are. An event that is not declared is, by this.
    pub fn raise(&self, event: Event) -> Result<usize, EventError> {
        check_params(&event.params)?;
        let subscriptions = {
            let mut table = self.lock();
            let place = table.place(event.name.clone())?;
            table.sweep_event(place);
            table.events[place].subscriptions.clone()
        };
        self.raised.add(1);
        let raised = Raised::new(event);
        for subscription in subscriptions.iter() {
            subscription.outlet.send(&raised, subscription.form(), &subscription.tally);
        }
        Ok(subscriptions.len())
    }

    /// Ends all subscriptions; events stay declared.
    pub fn end_all(&self) {
        let mut table = self.lock();
        table.events.iter_mut().for_each(|event| event.subscriptions = Arc::new([]));
        table.subscriptions = 0;
    }

    fn open(&self, socket: &[u8]) -> Result<Opened, SubscribeError> {
        let text = std::str::from_utf8(socket).map_err(|_| SubscribeError::Socket("a socket is UTF-8".into()))?;
        let carrier = self.carrier.get().ok_or_else(|| SubscribeError::Socket("this build has no sockets".into()))?;
        carrier.open(text).map_err(SubscribeError::Socket)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Where an event is; at the end, when it is new.
    fn place(&mut self, name: Str) -> Result<usize, EventError> {
        if let Some(place) = self.places.get(&name) {
            return Ok(*place);
        }
        let can_be_carried = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b':');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.iter().all(can_be_carried) {
            return Err(EventError::Name(name));
        }
        let place = self.events.len();
        self.places.insert(name.clone(), place);
        self.events.push(Declared { name, subscriptions: Arc::new([]) });
        Ok(place)
    }

    /// Takes away what ended.
    fn sweep(&mut self) {
        (0..self.events.len()).for_each(|place| self.sweep_event(place));
    }

    fn sweep_event(&mut self, place: usize) {
        let subscriptions = &self.events[place].subscriptions;
        if subscriptions.iter().all(|subscription| subscription.left().is_some()) {
            return;
        }
        let holding: Vec<_> =
            subscriptions.iter().filter(|subscription| subscription.left().is_some()).cloned().collect();
        self.subscriptions -= subscriptions.len() - holding.len();
        self.events[place].subscriptions = holding.into();
    }
}

/// A newline in a parameter's name would be the end of its line.
fn check_params(params: &Params) -> Result<(), EventError> {
    let bad = match params {
        Params::Named(members) => members.iter().map(|(name, _)| name).find(|name| name.contains(&b'\n')),
        Params::Strings(params) => params.iter().map(|param| &param.name).find(|name| name.contains(&b'\n')),
        Params::None | Params::Positional(_) => None,
    };
    bad.map_or(Ok(()), |name| Err(EventError::ParamName(name.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;

    /// Understands any socket but `bad`, in either case of letters, and keeps what is sent there.
    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    struct Keeper(Arc<Kept>, String);

    impl Outlet for Keeper {
        fn send(&self, raised: &Raised, form: Form, tally: &Arc<Tally>) {
            let text = String::from_utf8_lossy(raised.bytes(form)).into_owned();
            self.0.0.lock().expect("no test panics with it").push(format!("{} {text}", self.1));
            tally.count_sent();
        }
    }

    struct Keeping(Arc<Kept>);

    impl Carrier for Keeping {
        fn open(&self, socket: &str) -> Result<Opened, String> {
            let identity = socket.to_lowercase();
            if identity == "bad" {
                return Err("it is bad".into());
            }
            Ok(Opened { outlet: Arc::new(Keeper(self.0.clone(), identity.clone())), identity, form: None })
        }
    }

    fn events() -> (Events, Arc<Kept>) {
        let events = Events::new(&Statistics::default(), Dialect::Sipmi);
        let kept = Arc::new(Kept::default());
        events.carried_by(Arc::new(Keeping(kept.clone())));
        events.declare("E_X").expect("a good name");
        (events, kept)
    }

    fn raise(events: &Events) -> usize {
        events.raise(Event { name: "E_X".into(), params: Params::None }).expect("a good event")
    }

    fn sockets(events: &Events) -> Vec<String> {
        let listed = events.find(b"E_X").expect("it is declared");
        listed.subscriptions.iter().map(|subscription| subscription.socket.to_string()).collect()
    }

    #[test]
    fn each_subscriber_gets_the_form_it_asked_for_and_the_latest_is_listed_first() {
        let (events, kept) = events();
        events.subscribe(b"E_X", b"a", 60, Form::Text).expect("a");
        events.subscribe(b"E_X", b"b", 60, Form::Json).expect("b");
        assert_eq!(sockets(&events), ["b", "a"]);
        assert_eq!(raise(&events), 2);
        let sent = kept.0.lock().expect("no test panics with it").clone();
        assert_eq!(sent, ["b {\"jsonrpc\":\"2.0\",\"method\":\"E_X\"}", "a E_X\n\n"]);
    }

    #[test]
    fn a_socket_that_subscribes_again_is_the_same_subscription_and_0_ends_it() {
        let (events, _) = events();
        events.subscribe(b"E_X", b"a", 60, Form::Text).expect("a");
        events.subscribe(b"E_X", b"A", 30, Form::Json).expect("the same");
        assert_eq!(sockets(&events), ["a"]);
        let listed = events.find(b"E_X").expect("it is declared");
        let known = events.subscription(&listed, b"A").expect("it is subscribed");
        assert_eq!((known.expire(), known.form()), (30, Form::Json));
        events.subscribe(b"E_X", b"a", 0, Form::Json).expect("it ends");
        assert_eq!(known.left(), None);
        assert_eq!(sockets(&events), ["a"], "listed until the event is raised");
        assert_eq!(raise(&events), 0);
        assert!(sockets(&events).is_empty());
    }

    #[test]
    fn what_cannot_be_subscribed_is_refused() {
        let (events, _) = events();
        assert_eq!(events.subscribe(b"E_NO", b"a", 1, Form::Text), Err(SubscribeError::UnknownEvent));
        assert_eq!(events.subscribe(b"E_X", b"bad", 1, Form::Text), Err(SubscribeError::Socket("it is bad".into())));
        for socket in 0..MOST_SUBSCRIPTIONS {
            events.subscribe(b"E_X", socket.to_string().as_bytes(), 60, Form::Text).expect("there is room");
        }
        assert_eq!(events.subscribe(b"E_X", b"one more", 60, Form::Text), Err(SubscribeError::TooMany));
        events.subscribe(b"E_X", b"0", 0, Form::Text).expect("it ends");
        assert_eq!(events.subscribe(b"E_X", b"one more", 60, Form::Text), Ok(()), "what ended makes room");
    }

    #[test]
    fn names_that_no_wire_can_carry_are_refused() {
        let (events, _) = events();
        for bad in ["", "E X", "E\nX", "E:X", "\"", &"x".repeat(LONGEST_NAME + 1)] {
            assert_eq!(events.declare(bad), Err(EventError::Name(bad.into())));
        }
        let event = Event { name: "E_X".into(), params: Params::Named(vec![("a\nb".into(), Item::Null)]) };
        assert_eq!(events.raise(event), Err(EventError::ParamName("a\nb".into())));
    }

    #[test]
    fn the_first_raise_declares_an_event_and_the_end_of_all_keeps_it() {
        let (events, _) = events();
        events.raise(Event { name: "E_Y".into(), params: Params::None }).expect("a good event");
        events.subscribe(b"E_Y", b"a", 60, Form::Text).expect("it is declared");
        events.end_all();
        assert_eq!(events.list().iter().map(|event| event.name.to_string()).collect::<Vec<_>>(), ["E_X", "E_Y"]);
        assert!(events.list().iter().all(|event| event.subscriptions.is_empty()));
    }
}
