//! The events of a server: which there are, who subscribed to them, and raising one (`evi_raise_event`).

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::journal::{Journal, Reader};
use super::statistics::{Counter, Growth, Statistics};
use crate::codec::event::{self, Event, Form};
use crate::dialect::Dialect;
use crate::item::Str;
use crate::request::Params;
use crate::sys::time::monotonic;

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
    known: Arc<Known>,
    /// What the processes of a server tell each other of them.
    journal: Journal,
    raised: Counter,
}

/// What a process knows of them.
struct Known {
    table: Mutex<Table>,
    carrier: OnceLock<Arc<dyn Carrier>>,
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
        let raised = counter("raised");
        let known = Arc::new(Known {
            table: Mutex::default(),
            carrier: OnceLock::new(),
            sent: counter("sent"),
            dropped: counter("dropped"),
        });
        let journal = Journal::default();
        journal.read_by(Box::new(Arc::downgrade(&known)));
        Events { known, journal, raised }
    }

    /// From now on, processes that are forked tell each other of events and subscriptions.
    pub fn share(&self) -> std::io::Result<()> {
        self.journal.share()
    }

    /// Waits until nobody is at them, and keeps it so.
    pub fn hold_still(&self) -> impl Drop + '_ {
        self.known.lock()
    }

    /// The server is one process again.
    pub fn close(&self) {
        self.journal.close();
    }

    /// Says who finds the way to sockets. Until then no socket is understood.
    pub fn carried_by(&self, carrier: Arc<dyn Carrier>) {
        // The first stays: subscriptions hold ways that it made.
        let _ = self.known.carrier.set(carrier);
    }

    /// Makes an event known, so that it can be subscribed to (`evi_publish_event`). Twice does no harm.
    pub fn declare(&self, name: impl Into<Str>) -> Result<(), EventError> {
        let name = check_name(name.into())?;
        if self.find(&name).is_none() {
            self.journal.tell(News::Declared { name }.write());
        }
        Ok(())
    }

    /// All events, in the order in which they were declared.
    pub fn list(&self) -> Vec<Listed> {
        self.journal.catch_up();
        let table = self.known.lock();
        let listed = |(id, event): (usize, &Declared)| Listed {
            id,
            name: event.name.clone(),
            subscriptions: event.subscriptions.clone(),
        };
        table.events.iter().enumerate().map(listed).collect()
    }

    /// The event of this name.
    pub fn find(&self, name: &[u8]) -> Option<Listed> {
        self.journal.catch_up();
        self.known.find(name)
    }

    /// Subscribes a socket to an event for so many seconds, or changes how long it is subscribed; 0 ends it.
    pub fn subscribe(&self, event: &[u8], socket: &[u8], expire: u32, form: Form) -> Result<(), SubscribeError> {
        self.find(event).ok_or(SubscribeError::UnknownEvent)?;
        self.known.check(event, socket, expire)?;
        let news = News::Subscribed { event: event.into(), socket: socket.into(), expire, form, since: monotonic() };
        self.journal.tell(news.write());
        Ok(())
    }

    /// The subscription of a socket to an event, whatever the spelling of the socket.
    pub fn subscription(&self, event: &Listed, socket: &[u8]) -> Option<Arc<Subscription>> {
        self.known.subscription(event, socket)
    }

    /// Sends an event to its subscribers and says how many there are. An event that is not declared is, by this.
    pub fn raise(&self, event: Event) -> Result<usize, EventError> {
        check_params(&event.params)?;
        self.declare(event.name.clone())?;
        let subscriptions = self.known.lock().current(&event.name);
        self.raised.add(1);
        let raised = Raised::new(event);
        for subscription in subscriptions.iter() {
            subscription.outlet.send(&raised, subscription.form(), &subscription.tally);
        }
        Ok(subscriptions.len())
    }

    /// Ends all subscriptions, as far as this process sends to them; events stay declared.
    pub fn end_all(&self) {
        let mut table = self.known.lock();
        table.events.iter_mut().for_each(|event| event.subscriptions = Arc::new([]));
        table.subscriptions = 0;
    }
}

impl Known {
    fn find(&self, name: &[u8]) -> Option<Listed> {
        let table = self.lock();
        let id = *table.places.get(name)?;
        let Declared { name, subscriptions } = &table.events[id];
        Some(Listed { id, name: name.clone(), subscriptions: subscriptions.clone() })
    }

    /// Whether a socket could be subscribed.
    fn check(&self, event: &[u8], socket: &[u8], expire: u32) -> Result<(), SubscribeError> {
        let listed = self.find(event).ok_or(SubscribeError::UnknownEvent)?;
        if self.subscription(&listed, socket).is_some() {
            return Ok(());
        }
        self.open(socket)?;
        let mut table = self.lock();
        if expire > 0 && table.subscriptions >= MOST_SUBSCRIPTIONS {
            table.sweep();
        }
        let is_full = expire > 0 && table.subscriptions >= MOST_SUBSCRIPTIONS;
        if is_full { Err(SubscribeError::TooMany) } else { Ok(()) }
    }

    fn subscribe(
        &self,
        event: &[u8],
        socket: &[u8],
        (since, expire): (Instant, u32),
        form: Form,
    ) -> Result<(), SubscribeError> {
        let listed = self.find(event).ok_or(SubscribeError::UnknownEvent)?;
        if expire == 0
            && let Some(known) = self.subscription(&listed, socket)
        {
            known.set_lease(Lease { since, expire, form: known.form() });
            return Ok(());
        }
        // A name may have to be looked up: not with the lock in hand.
        let Opened { identity, outlet, form: only } = self.open(socket)?;
        let lease = Lease { since, expire, form: only.unwrap_or(form) };
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

    fn subscription(&self, event: &Listed, socket: &[u8]) -> Option<Arc<Subscription>> {
        let exact = event.subscriptions.iter().find(|known| *known.socket == *socket);
        if let Some(known) = exact {
            return Some(known.clone());
        }
        let identity = self.open(socket).ok()?.identity;
        event.subscriptions.iter().find(|known| known.identity == identity).cloned()
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

impl Reader for Weak<Known> {
    fn read(&self, news: &[u8]) {
        let (Some(known), Some(news)) = (self.upgrade(), News::read(news)) else { return };
        match news {
            News::Declared { name } => known.lock().declare(name),
            News::Subscribed { event, socket, expire, form, since } => {
                let since =
                    Instant::now().checked_sub(monotonic().saturating_sub(since)).unwrap_or_else(Instant::now);
                if let Err(error) = known.subscribe(&event, &socket, (since, expire), form) {
                    log::warn!("{socket} cannot be subscribed to {event} in all processes: {error}");
                }
            }
        }
    }

    fn all(&self) -> Vec<Vec<u8>> {
        let Some(known) = self.upgrade() else { return Vec::new() };
        let table = known.lock();
        let declared = table.events.iter().map(|event| News::Declared { name: event.name.clone() }.write());
        // The latest is listed first, and told last.
        let subscribed = table.events.iter().flat_map(|event| {
            event.subscriptions.iter().rev().filter(|subscription| subscription.left().is_some()).map(
                |subscription| {
                    let Lease { since, expire, form } = subscription.lease();
                    let (event, socket) = (event.name.clone(), subscription.socket.clone());
                    News::Subscribed {
                        event,
                        socket,
                        expire,
                        form,
                        since: monotonic().saturating_sub(since.elapsed()),
                    }
                    .write()
                },
            )
        });
        declared.chain(subscribed).collect()
    }
}

/// What the processes of a server tell each other.
enum News {
    Declared {
        name: Str,
    },
    /// `since`: by the clock of [`now`].
    Subscribed {
        event: Str,
        socket: Str,
        expire: u32,
        form: Form,
        since: Duration,
    },
}

impl News {
    fn write(&self) -> Vec<u8> {
        match self {
            News::Declared { name } => [b"D", name.as_bytes()].concat(),
            News::Subscribed { event, socket, expire, form, since } => {
                let form = if *form == Form::Text { b'T' } else { b'J' };
                let mut out = vec![b'S', form];
                out.extend_from_slice(&expire.to_le_bytes());
                out.extend_from_slice(&(since.as_nanos() as u64).to_le_bytes());
                out.push(event.len() as u8);
                out.extend_from_slice(event);
                out.extend_from_slice(socket);
                out
            }
        }
    }

    fn read(bytes: &[u8]) -> Option<News> {
        let (kind, rest) = bytes.split_first()?;
        if *kind == b'D' {
            return Some(News::Declared { name: rest.into() });
        }
        let (form, rest) = rest.split_first()?;
        let (expire, rest) = rest.split_first_chunk::<4>()?;
        let (since, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first()?;
        let (event, socket) = rest.split_at_checked(usize::from(*len))?;
        let form = if *form == b'T' { Form::Text } else { Form::Json };
        let (expire, since) = (u32::from_le_bytes(*expire), Duration::from_nanos(u64::from_le_bytes(*since)));
        Some(News::Subscribed { event: event.into(), socket: socket.into(), expire, form, since })
    }
}

/// A name that every wire can carry.
fn check_name(name: Str) -> Result<Str, EventError> {
    let can_be_carried = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b':');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.iter().all(can_be_carried) {
        return Err(EventError::Name(name));
    }
    Ok(name)
}

impl Table {
    /// Puts an event at the end, when it is new.
    fn declare(&mut self, name: Str) {
        if !self.places.contains_key(&name) {
            self.places.insert(name.clone(), self.events.len());
            self.events.push(Declared { name, subscriptions: Arc::new([]) });
        }
    }

    /// The subscriptions to an event that hold.
    fn current(&mut self, name: &[u8]) -> Arc<[Arc<Subscription>]> {
        let Some(place) = self.places.get(name).copied() else { return Arc::new([]) };
        self.sweep_event(place);
        self.events[place].subscriptions.clone()
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
