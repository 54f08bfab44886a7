//! The events of a server: declaring, subscribing to and raising them (`evi_raise_event`).

use std::sync::{Arc, Mutex, OnceLock};

use super::error::{EventError, SubscribeError, check_name, check_params};
use super::journal::Journal;
use super::known::{Declared, Known};
use super::log_record::LogRecord;
use super::raised::Raised;
use super::sink::Carrier;
use super::subscription::{Listed, Subscription};
use crate::codec::event::{Event, Form};
use crate::command::statistics::{Counter, Growth, Statistics};
use crate::dialect::Dialect;
use crate::item::Str;
use crate::sys::time::monotonic;

/// All events of a server.
pub struct Events {
    known: Arc<Known>,
    /// The log by which the processes of a server share events and subscriptions.
    journal: Journal,
    raised: Counter,
}

impl Events {
    /// No events yet. OpenSIPS has no statistics of events, so in emulation their counters are not shown.
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

    /// Shares events and subscriptions with all processes that are forked after this call.
    pub fn share(&self) -> std::io::Result<()> {
        self.journal.share()
    }

    /// Waits until no thread uses the events, and keeps other threads out until the guard is dropped.
    pub fn hold_still(&self) -> impl Drop + '_ {
        self.known.lock()
    }

    /// Ends sharing: the server is one process again.
    pub fn close(&self) {
        self.journal.close();
    }

    /// Sets the carrier, which opens sockets. Before this call, no socket can be subscribed.
    pub fn carried_by(&self, carrier: Arc<dyn Carrier>) {
        // A second carrier is ignored: subscriptions hold sinks that the first one made.
        let _ = self.known.carrier.set(carrier);
    }

    /// Declares an event, so that it can be subscribed to (`evi_publish_event`). A second declaration changes nothing.
    pub fn declare(&self, name: impl Into<Str>) -> Result<(), EventError> {
        let name = check_name(name.into())?;
        if self.find(&name).is_none() {
            self.journal.tell(LogRecord::Declared { name }.write());
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

    /// Subscribes a socket to an event for `expire` seconds, or changes the duration of its subscription; 0 ends it.
    pub fn subscribe(&self, event: &[u8], socket: &[u8], expire: u32, form: Form) -> Result<(), SubscribeError> {
        self.find(event).ok_or(SubscribeError::UnknownEvent)?;
        self.known.check(event, socket, expire)?;
        let news =
            LogRecord::Subscribed { event: event.into(), socket: socket.into(), expire, form, since: monotonic() };
        self.journal.tell(news.write());
        Ok(())
    }

    /// The subscription of a socket to an event, whatever the spelling of the socket.
    pub fn subscription(&self, event: &Listed, socket: &[u8]) -> Option<Arc<Subscription>> {
        self.known.subscription(event, socket)
    }

    /// Sends an event to its subscribers and returns their number. Declares the event first if it is unknown.
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

    /// Ends all subscriptions that this process sends to. Events stay declared.
    pub fn end_all(&self) {
        let mut table = self.known.lock();
        table.events.iter_mut().for_each(|event| event.subscriptions = Arc::new([]));
        table.subscriptions = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::LONGEST_NAME;
    use super::super::known::MOST_SUBSCRIPTIONS;
    use super::super::sink::{DeliveryStats, Opened, SubscriberSink};
    use super::*;
    use crate::item::Item;
    use crate::request::Params;

    /// Accepts any socket but `bad`, in either case of letters, and keeps the events that are sent there.
    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    struct Keeper(Arc<Kept>, String);

    impl SubscriberSink for Keeper {
        fn send(&self, raised: &Raised, form: Form, tally: &Arc<DeliveryStats>) {
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
    fn impossible_subscriptions_are_rejected() {
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
