//! The datagram listener over UDP and UNIX sockets, with one request and one reply per datagram (`mi_datagram`).

mod connected_peers;
mod loop_guard;
pub(crate) mod policy;
mod recipient;
mod replies;
mod reply_queues;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::codec::text::{self, Carrier};
use crate::command::service::Service;
use crate::command::{Peer, Transport};
use crate::item::Str;
use crate::net::peer::{peer_of, sender_of};
use crate::response::Failure;
use crate::server::context::{Context, Listener};
use crate::server::dispatch::asked::{Asked, Caller};
use crate::server::dispatch::dispatcher::{Carriage, Dispatcher};
use crate::server::dispatch::policy::ReplyPolicy;
use crate::server::dispatch::route::ReplySink;
use crate::server::error::ServerError;
use crate::server::multiprocess::idle_first::{BusyLeaders, IdleFirst};
use crate::server::multiprocess::in_flight::Slot;
use crate::server::options::ListenOptions;
use crate::server::options::network::{Network, is_from_any};
use crate::server::scheduling::leadership::{Epoch, Leadership, Led};
use crate::server::scheduling::pinning::Pinning;
use crate::sys::peer_address::PeerAddress;
use crate::transport::datagram::{Received, Socket};
use crate::transport::eagerness::Habit;
use crate::transport::io_error;
use loop_guard::LoopGuard;
use policy::DatagramPolicy;
use recipient::Recipient;
use replies::Replies;
use reply_queues::Sent;

/// The size of the receive buffer. It exceeds any UDP datagram; a larger datagram on a UNIX socket is rejected by its
/// true size.
const BUFFER: usize = 65_536;
/// The interval at which a waiting leader checks whether the server is stopping.
const WAKE: Duration = Duration::from_millis(50);

pub(crate) struct DatagramListener {
    context: Arc<Context>,
    address: Address,
    dispatcher: Arc<Dispatcher>,
    socket: Arc<Socket>,
    replies: Arc<Replies>,
    request_limit: usize,
    allow_from: Option<Vec<Network>>,
    /// The number of the server's endpoint.
    number: usize,
    leadership: Leadership,
    busy_leaders: BusyLeaders,
    pinning: Pinning,
    loops: Option<LoopGuard>,
    policy: Arc<dyn DatagramPolicy>,
    /// True if the kernel reports the user of each sender, so that users have limits of their own.
    tells_users: bool,
}

impl DatagramListener {
    pub(crate) fn new(
        context: Arc<Context>,
        socket: Socket,
        address: Address,
        (number, options): (usize, &ListenOptions),
        (policy, replies): (Arc<dyn DatagramPolicy>, Arc<dyn ReplyPolicy>),
    ) -> Result<Self, ServerError> {
        if let Err(error) = socket.set_patience(WAKE) {
            log::error!("{address}: stopping will wait for the next request: {error}");
        }
        let tells_users = has_rate_limits(&context.resources.service, options) && ask_for_users(&socket, &address);
        let is_unix = matches!(address, Address::Unix { .. });
        let rates = context.rates(number, options)?;
        let carriage = Carriage {
            transport: if is_unix { Transport::Unix } else { Transport::Udp },
            carrier: Carrier::Datagram,
            group: if is_unix { "mi_datagram_unix" } else { "mi_datagram" },
            reply_limit: policy.reply_limit(),
            rejects_while_stopping: false,
            rate: rates.requests,
        };
        let dispatcher = Dispatcher::new(&context.resources, &address, options, (carriage, replies));
        let socket = Arc::new(socket);
        let unix = is_unix.then(|| policy.answers_connected());
        let replies =
            Replies::new((dispatcher.clone(), context.deferred_writer.clone()), socket.clone(), unix, options)
                .map_err(io_error("open a socket for replies of", address.to_string()))?;
        Ok(DatagramListener {
            dispatcher,
            context,
            loops: policy.guards_against_loops().then(|| LoopGuard::new(&address, rates.errors)),
            address,
            socket,
            replies: Arc::new(replies),
            request_limit: options.request_limit.min(BUFFER),
            allow_from: options.allow_from.clone(),
            number,
            leadership: Leadership::default(),
            busy_leaders: BusyLeaders::default(),
            pinning: Pinning::new(&options.cpus),
            policy,
            tells_users,
        })
    }

    /// Returns true if the listener serves the sender's network.
    fn serves(&self, peer: &PeerAddress) -> bool {
        let networks = self.allow_from.as_deref();
        networks.is_none() || matches!(peer_of(peer), Peer::Inet(address) if is_from_any(networks, address.ip()))
    }

    /// Parses the request in a datagram; `None` if the datagram is to be dropped.
    fn request_in(&self, buffer: &[u8], received: &Received, peer: &Peer) -> Option<Asked> {
        self.dispatcher.counters.bytes_in.add(received.size as i64);
        let datagram = &buffer[..received.size.min(buffer.len())];
        if self.policy.dies_of(datagram) {
            self.context.die();
            return None;
        }
        let asked = if datagram.len() == received.size && received.size <= self.request_limit {
            self.read(datagram)
        } else {
            let too_large = Failure::RequestTooLarge { size: received.size, limit: self.request_limit };
            Asked::unreadable(false, Str::default(), too_large)
        };
        if self.loops.as_ref().is_some_and(|loops| loops.drops(datagram, &asked, peer)) {
            self.dispatcher.counters.dropped.add(1);
            log::debug!("{}: a datagram of {peer} is not answered: it may be an answer itself", self.address);
            return None;
        }
        Some(asked)
    }

    fn read(&self, datagram: &[u8]) -> Asked {
        if self.policy.is_json(datagram) {
            self.dispatcher.read_json(datagram)
        } else {
            Asked::Text(text::decode_request(datagram, self.dispatcher.dialect()))
        }
    }
}

/// Returns true if the listener, or one of the present commands, has a rate limit.
fn has_rate_limits(service: &Service, options: &ListenOptions) -> bool {
    options.limits.rate.is_some() || service.registry().commands().any(|command| command.conduct.rate.is_some())
}

/// Asks the kernel for the user of each sender. If it refuses, peers are told apart by the names of their sockets.
fn ask_for_users(socket: &Socket, address: &Address) -> bool {
    let Address::Unix { .. } = address else { return false };
    let asked = socket.ask_for_users();
    if let Err(error) = &asked {
        log::warn!("{address}: rate limits are by socket and not by user: {error}");
    }
    asked.is_ok()
}

impl Led for DatagramListener {
    fn address(&self) -> &Address {
        &self.address
    }

    fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    fn note_slow_request(&self) {
        self.dispatcher.hand_to_deadlines();
    }

    fn trim(&self) {
        self.dispatcher.trim();
    }

    fn lead(self: Arc<Self>, epoch: Epoch) {
        let _pinned = self.pinning.enter();
        let mut buffer = vec![0; BUFFER];
        let mut out = Vec::new();
        let (mut has_served, mut habit, mut idle_first) = (false, Habit::default(), IdleFirst::default());
        let mut slot = None;
        if epoch != Epoch::FIRST {
            self.busy_leaders.leave();
        }
        while !self.context.is_stopping() && self.leadership.leads(epoch) {
            if slot.is_none() {
                slot = self.context.slots.as_ref().and_then(|slots| slots.for_datagram(self.number));
            }
            let by_user = self.tells_users || self.replies.must_know_users();
            let keeps = slot.is_some();
            let mut receive = |flags| match &mut slot {
                Some(slot) => slot.receive(&self.socket, flags),
                None if by_user => self.socket.receive_with_user(&mut buffer, flags),
                None => self.socket.receive_with(&mut buffer, flags),
            };
            let received = if keeps && idle_first.yield_to_idle_processes(&self.busy_leaders) {
                receive(libc::MSG_TRUNC | libc::MSG_DONTWAIT)
            } else if has_served {
                Socket::receive_after_one(&mut habit, receive)
            } else {
                receive(libc::MSG_TRUNC)
            };
            has_served = received.is_ok();
            let received = match received {
                Ok(received) => received,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    continue;
                }
                // The error reports that an earlier reply was refused by its receiver. It does not affect other
                // clients.
                Err(error) => {
                    log::debug!("{}: {error}", self.address);
                    continue;
                }
            };
            if !self.serves(&received.peer) {
                self.dispatcher.counters.dropped.add(1);
                continue;
            }
            let token = self.leadership.begin(epoch);
            out.clear();
            let in_flight = slot.take();
            let bytes = in_flight.as_ref().map_or(&buffer[..], Slot::datagram);
            let peer = sender_of(&received);
            if let Some(asked) = self.request_in(bytes, &received, &peer) {
                let to = Recipient { peer: received.peer, user: received.user };
                let route = Box::new(DatagramRoute { replies: self.replies.clone(), to, slot: in_flight });
                self.dispatcher.serve(asked, Caller::of(peer, received.size), &mut out, route);
            }
            if !self.leadership.end(token) {
                self.busy_leaders.come_back();
                return;
            }
        }
    }
}

impl Listener for DatagramListener {
    fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }
}

impl Drop for DatagramListener {
    fn drop(&mut self) {
        if self.context.is_dead() {
            self.socket.leave();
        }
    }
}

/// The way back to the sender of a datagram.
struct DatagramRoute {
    replies: Arc<Replies>,
    to: Recipient,
    /// The slot that keeps the request until it is answered.
    slot: Option<Slot>,
}

impl ReplySink for DatagramRoute {
    fn reply(self: Box<Self>, out: &mut Vec<u8>) {
        self.replies.deliver(out, (&self.to, self.slot));
    }

    /// Sends a separate datagram, as OpenSIPS does. The request stays in flight.
    fn provisional(&mut self, bytes: &[u8]) -> bool {
        matches!(self.replies.try_send(bytes, (&self.to, None)), Sent::Done)
    }

    fn deliver(self: Box<Self>, bytes: Vec<u8>) {
        self.replies.deliver(&bytes, (&self.to, self.slot));
    }
}
