//! The commands of the event interface: `event_subscribe`, `events_list`, `subscribers_list`, and `raise_event` where
//! the emulated version has it.

#![allow(clippy::unnecessary_wraps)] // one signature for all of them

use std::sync::Arc;
use std::time::Duration;

use super::handler::{Asked, Outcome, add, flat_or_modular, object};
use crate::codec::event::{Event, Form};
use crate::command::CommandFlags;
use crate::command::event::{DEFAULT_EXPIRE, Listed, SubscribeError, Subscription};
use crate::command::recipe::{Kind, ParamSpec, Signature};
use crate::command::service::Service;
use crate::item::{Item, Str};
use crate::request::Params;
use crate::response::{Body, Failure, Response};
use crate::tree::{Flags, NodeId, Tree, Value};

const MODULE: &str = "evi";

/// Registers all of them.
pub(super) fn register(service: &Arc<Service>) {
    let name = |flat: &str, modular: &str| flat_or_modular(service.dialect, MODULE, flat, modular);
    let required = |name| ParamSpec::required(name, Kind::Str);
    let optional = |name, kind| ParamSpec::optional(name, kind);
    let (read, write) = (CommandFlags::READ_ONLY, CommandFlags::NONE);
    let params = |params| Signature { params, ..Signature::default() };
    add(
        service,
        (MODULE, name("event_subscribe", "subscribe")),
        write,
        "subscribes a socket to an event, for a time",
        params(vec![required("event"), required("socket"), optional("expire", Kind::Int)]),
        subscribe,
    );
    add(
        service,
        (MODULE, name("events_list", "list")),
        read | CommandFlags::NO_INPUT,
        "lists all the events that can be subscribed to",
        Signature::none(),
        list,
    );
    add(
        service,
        (MODULE, name("subscribers_list", "subscribers")),
        read,
        "lists who subscribed to which events",
        params(vec![optional("event", Kind::Str), optional("socket", Kind::Str)]),
        subscribers,
    );
    if service.dialect.is_emulated() && service.dialect.reads_json() {
        add(
            service,
            (MODULE, name("raise_event", "raise")),
            write,
            "raises an event",
            params(vec![required("event"), optional("params", Kind::Any)]),
            raise,
        );
    }
}

fn subscribe(service: &Service, asked: &Asked) -> Outcome {
    let (event, socket) = (asked.text(0).unwrap_or_default(), asked.text(1).unwrap_or_default());
    let expire = match asked.int(2) {
        Some(negative) if negative < 0 && asked.legacy => return Ok(Response::error(400, "Bad parameter")),
        Some(negative) if negative < 0 => {
            return Ok(with_data(Response::error(-32602, "Invalid params"), "Negative expire value"));
        }
        Some(seconds) => u32::try_from(seconds).unwrap_or(u32::MAX),
        None => DEFAULT_EXPIRE,
    };
    let form = if asked.legacy { Form::Text } else { Form::Json };
    match service.events.subscribe(event, socket, expire, form) {
        Ok(()) => Ok(Response::ok()),
        Err(SubscribeError::TooMany) => Ok(Response::error(500, SubscribeError::TooMany.to_string())),
        Err(_) if asked.legacy => Ok(Response::error(400, "Bad parameter")),
        Err(_) if service.dialect.is_emulated() => Ok(Response::error(400, "Bad parameter value")),
        Err(why) => Ok(with_data(Response::error(400, "Bad parameter value"), &why.to_string())),
    }
}

fn with_data(response: Response, data: &str) -> Response {
    Response { body: Body::Item(data.into()), ..response }
}

fn list(service: &Service, asked: &Asked) -> Outcome {
    let events = service.events.list();
    if asked.legacy {
        let mut tree = event_tree();
        for event in &events {
            add_event(&mut tree, event);
        }
        return Ok(tree.into());
    }
    object([("Events", Item::Array(events.iter().map(|event| Item::Object(event_members(event))).collect()))])
}

fn subscribers(service: &Service, asked: &Asked) -> Outcome {
    let Some(name) = asked.text(0) else {
        let events: Vec<Listed> =
            service.events.list().into_iter().filter(|event| !event.subscriptions.is_empty()).collect();
        return Ok(all_subscribers(&events, asked));
    };
    let Some(event) = service.events.find(name) else { return Ok(Response::error(404, "Event not published")) };
    let one = match asked.text(1) {
        None => None,
        Some(socket) => match service.events.subscription(&event, socket) {
            None => return Ok(Response::error(404, "Subscriber does not exist")),
            known => known,
        },
    };
    if asked.legacy {
        let mut tree = event_tree();
        if !event.subscriptions.is_empty() {
            let node = add_event(&mut tree, &event);
            let shown = one.as_ref().map_or(&*event.subscriptions, std::slice::from_ref);
            for subscription in shown {
                add_subscriber(&mut tree, node, subscription);
            }
        }
        return Ok(tree.into());
    }
    let mut members = Vec::new();
    if let Some(one) = one {
        members = event_members(&event);
        members.push(("Subscriber".into(), subscriber(&one)));
    } else if !event.subscriptions.is_empty() {
        members = with_subscribers(&event);
    }
    object([("Event", Item::Object(members))])
}

fn all_subscribers(events: &[Listed], asked: &Asked) -> Response {
    if !asked.legacy {
        let listed = events.iter().map(|event| Item::Object(with_subscribers(event))).collect();
        return Item::from([("Events", Item::Array(listed))]).into();
    }
    let mut tree = event_tree();
    for event in events {
        let node = add_event(&mut tree, event);
        for subscription in event.subscriptions.iter() {
            add_subscriber(&mut tree, node, subscription);
        }
    }
    tree.into()
}

fn raise(service: &Service, asked: &Asked) -> Outcome {
    let name = asked.text(0).unwrap_or_default();
    if service.events.find(name).is_none() {
        return Ok(Response::error(404, "Event not registered"));
    }
    let params = match asked.item(1) {
        None => Params::None,
        // OpenSIPS gives each parameter an empty name.
        Some(Item::Array(items)) => Params::Named(items.iter().map(|item| (Str::default(), item.clone())).collect()),
        Some(Item::Object(_)) => return Ok(Response::error(400, "No Params")),
        Some(_) => return Err(Failure::ParamType("params".into())),
    };
    match service.events.raise(Event { name: name.into(), params }) {
        Ok(_) => Ok(Response::ok()),
        Err(_) => Err(Failure::handler()),
    }
}

/// A reply whose nodes are a list, flagged as 1.x and 2.x flag it.
fn event_tree() -> Tree {
    let mut tree = Tree::ok();
    tree.mark(NodeId::ROOT, Flags::IS_ARRAY);
    tree
}

fn add_event(tree: &mut Tree, event: &Listed) -> NodeId {
    let node = tree.add_child(NodeId::ROOT, "Event", Value::Str(&event.name));
    tree.add_attr(node, "id", Value::Int(event.id as i64));
    node
}

fn add_subscriber(tree: &mut Tree, event: NodeId, subscription: &Subscription) {
    tree.mark(event, Flags::IS_ARRAY);
    let node = tree.add_child(event, "Subscriber", Value::None);
    tree.add_attr(node, "socket", Value::Str(&subscription.socket));
    tree.add_attr(node, "expire", Value::Int(subscription.expire().into()));
}

fn event_members(event: &Listed) -> Vec<(Str, Item)> {
    vec![("name".into(), event.name.clone().into()), ("id".into(), Item::Int(event.id as i64))]
}

fn with_subscribers(event: &Listed) -> Vec<(Str, Item)> {
    let mut members = event_members(event);
    let all = event.subscriptions.iter().map(|subscription| subscriber(subscription)).collect();
    members.push(("Subscribers".into(), Item::Array(all)));
    members
}

fn subscriber(subscription: &Subscription) -> Item {
    let ttl = subscription.left().map_or_else(|| "expired".into(), |left| Item::Int(whole_seconds(left)));
    Item::from([
        ("socket", subscription.socket.clone().into()),
        ("expire", Item::Int(subscription.expire().into())),
        ("ttl", ttl),
    ])
}

/// Remaining seconds, rounded up: 60 until the first second has passed.
fn whole_seconds(left: Duration) -> i64 {
    i64::try_from(left.as_secs()).unwrap_or(i64::MAX).saturating_add(i64::from(left.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_counts_down_in_whole_seconds() {
        assert_eq!(whole_seconds(Duration::from_millis(59_999)), 60);
        assert_eq!(whole_seconds(Duration::from_secs(59)), 59);
    }
}
