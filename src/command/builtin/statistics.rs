//! `get_statistics`, `list_statistics` and `reset_statistics`.

#![allow(clippy::unnecessary_wraps)] // one signature for all of them

use super::handler::{Asked, Outcome};
use crate::command::service::Service;
use crate::command::statistics::{Growth, Statistic};
use crate::dialect::Dialect;
use crate::item::Item;
use crate::response::{Failure, Response};

pub(super) fn get_statistics(service: &Service, asked: &Asked) -> Outcome {
    let names = asked.texts(0);
    if names.is_empty() {
        return Err(Failure::EmptyArray("statistics".into()));
    }
    let found = service.statistics.select(&meant(service, names));
    if found.is_empty() && asked.legacy {
        return Ok(Response::error(404, "Statistics Not Found"));
    }
    if service.dialect == Dialect::V1_8 {
        let line = |s: &Statistic| Item::from(format!("{} = {}", s.full_name(), s.number()));
        return Ok(Item::Array(found.iter().map(line).collect()).into());
    }
    Ok(Item::Object(found.iter().map(|s| (s.full_name(), s.value())).collect()).into())
}

pub(super) fn list_statistics(service: &Service, asked: &Asked) -> Outcome {
    let names = if asked.slots[0].is_some() { asked.texts(0) } else { vec![&b"all"[..]] };
    let mut listed = Vec::new();
    for name in meant(service, names) {
        let is_bare = service.dialect.is_emulated() && name != b"all" && !name.ends_with(b":");
        for statistic in service.statistics.select(&[name]) {
            let shown = if is_bare { statistic.name.clone() } else { statistic.full_name() };
            listed.push((shown, statistic.growth.name().into()));
        }
    }
    if listed.is_empty() && asked.legacy && service.dialect.is_emulated() {
        return Ok(Response::error(404, "Statistics Not Found"));
    }
    Ok(Item::Object(listed).into())
}

pub(super) fn reset_statistics(service: &Service, asked: &Asked) -> Outcome {
    let named: Vec<&[u8]> =
        asked.texts(0).into_iter().filter(|name| !name.ends_with(b":") && *name != b"all").collect();
    let found = service.statistics.select(&meant(service, named));
    if found.is_empty() {
        return Ok(Response::error(404, "Statistics Not Found"));
    }
    found.iter().filter(|s| s.growth == Growth::Incremental).for_each(Statistic::reset);
    Ok(Response::ok())
}

/// The selectors that the server understands. OpenSIPS accepts `group:`, a bare name or `all`. It does not understand
/// `group:name`, which only appears as a key in its replies.
fn meant<'a>(service: &Service, selectors: Vec<&'a [u8]>) -> Vec<&'a [u8]> {
    let is_full = |selector: &[u8]| selector.contains(&b':') && !selector.ends_with(b":");
    selectors.into_iter().filter(|selector| !(service.dialect.is_emulated() && is_full(selector))).collect()
}
