//! The commands that every server has: those of OpenSIPS that make sense outside it.
//!
//! Replies have 2.4's shape on the wires of 1.x and 2.x, and 4.0's shape on the others.

#![allow(clippy::unnecessary_wraps)] // one signature for all of them

use std::sync::Arc;
use std::time::SystemTime;

use nix::sys::signal;
use nix::unistd::Pid;

use super::handler::{Asked, Outcome, add, flat_or_modular, object};
use super::statistics::{get_statistics, list_statistics, reset_statistics};
use crate::command::processes::Process;
use crate::command::recipe::{Kind, ParamSpec, Passing, Signature};
use crate::command::service::Service;
use crate::command::{Command, CommandFlags};
use crate::item::{Item, Str};
use crate::response::{Failure, Response};
use crate::sys::time::local_time;
use crate::tree::{NodeId, Tree, Value};

/// Registers all of them.
pub(super) fn register(service: &Arc<Service>, allow_kill: bool) {
    let text = |name| ParamSpec::optional(name, Kind::Str);
    let names =
        |required: bool| ParamSpec { required, ..ParamSpec::optional("statistics", Kind::List(Box::new(Kind::Str))) };
    let level = || vec![ParamSpec::optional("level", Kind::Int), ParamSpec::optional("pid", Kind::Int)];
    let read = CommandFlags::READ_ONLY;
    // Before 3.0 these two commands took no input and ignored parameters.
    let asked = if service.dialect.reads_json() { read } else { read | CommandFlags::NO_INPUT };
    let quiet = CommandFlags::READ_ONLY | CommandFlags::NO_INPUT;
    let write = CommandFlags::NONE;
    let add = |module: &str, name: &str, flags, help: &str, params: Vec<ParamSpec>, run| {
        let names = match module {
            "statistics" => flat_or_modular(service.dialect, module, &format!("{name}_statistics"), name),
            _ => (name.into(), None),
        };
        add(service, (module, names), flags, help, Signature { params, ..Signature::default() }, run);
    };
    add(
        "statistics",
        "get",
        read,
        "prints the statistics (all, group or one) realtime values.",
        vec![names(true)],
        get_statistics,
    );
    add(
        "statistics",
        "list",
        read,
        "lists all the registered statistics and their types",
        vec![names(false)],
        list_statistics,
    );
    add("statistics", "reset", write, "resets a statistic variable", vec![names(true)], reset_statistics);
    add("core", "uptime", quiet, "prints various time information about the server", vec![], uptime);
    add("core", "version", asked, "prints the version of the server", vec![text("revision")], version);
    add("core", "pwd", quiet, "prints the working directory of the server", vec![], pwd);
    add("core", "arg", quiet, "returns the arguments the server was started with", vec![], arg);
    add("core", "which", asked, "lists all available commands", vec![text("command")], which);
    add("core", "ps", quiet, "lists all processes of the server", vec![], ps);
    if service.dialect.is_1x() {
        let more =
            ParamSpec { passing: Passing::Rest, ..ParamSpec::optional("more", Kind::List(Box::new(Kind::Any))) };
        let params = vec![ParamSpec::optional("level", Kind::Int), more];
        add("core", "debug", write, "gets or sets the log level", params, debug);
    } else {
        add("core", "log_level", write, "gets or sets the log level", level(), log_level);
    }
    add("core", "help", read, "prints information about a command", vec![text("mi_cmd")], help);
    if allow_kill {
        add("core", "kill", CommandFlags::NO_INPUT, "terminates the server", vec![], kill);
    }
}

fn uptime(service: &Service, _: &Asked) -> Outcome {
    let now = SystemTime::now();
    let up = now.duration_since(service.started).unwrap_or_default().as_secs();
    object([
        ("Now", ctime(now).into()),
        ("Up since", ctime(service.started).into()),
        ("Up time", format!("{up} [sec]").into()),
    ])
}

fn version(service: &Service, asked: &Asked) -> Outcome {
    let server = &*service.server_name;
    if let Some(forwarder) = service.forwarder().filter(|_| !service.dialect.is_emulated()) {
        let said = std::iter::once(("Server", server.into())).chain(forwarder.version());
        return Ok(Item::Object(said.map(|(name, item)| (name.into(), item)).collect()).into());
    }
    match asked.text(0) {
        Some(_) if !asked.legacy => object([("Server", server.into()), ("unknown", "unknown".into())]),
        _ => object([("Server", server.into())]),
    }
}

fn pwd(_: &Service, _: &Asked) -> Outcome {
    let directory = std::env::current_dir().map(|path| path.into_os_string().into_encoded_bytes());
    match directory {
        Ok(path) => object([("WD", Str::from(path).into())]),
        Err(error) => Ok(Response::error(500, format!("no working directory: {error}"))),
    }
}

fn arg(_: &Service, _: &Asked) -> Outcome {
    let arguments = std::env::args_os().map(|arg| Item::Str(arg.into_encoded_bytes().into()));
    Ok(Item::Array(arguments.collect()).into())
}

fn which(service: &Service, asked: &Asked) -> Outcome {
    let registry = service.registry();
    let Some(name) = asked.text(0).filter(|_| !asked.legacy) else {
        let canonical = service.dialect.is_4x();
        let name = |command: &Arc<Command>| {
            if canonical { command.canonical_name() } else { registry.display_name(command) }
        };
        return Ok(Item::Array(registry.commands().map(|command| Item::Str(name(command))).collect()).into());
    };
    if let Some(module) = name.strip_suffix(b":") {
        let of_module = registry.commands().filter(|command| *command.module == *module);
        let names: Vec<Item> = of_module.map(|command| Item::Str(command.canonical_name())).collect();
        return Ok(if names.is_empty() { unknown_command() } else { Item::Array(names).into() });
    }
    Ok(match registry.lookup(name) {
        Ok(command) => Item::from(command.recipe.lists().into_iter().map(Item::from).collect::<Vec<_>>()).into(),
        Err(_) => unknown_command(),
    })
}

fn help(service: &Service, asked: &Asked) -> Outcome {
    const USAGE: &str = "help mi_cmd - returns information about 'mi_cmd'";
    let Some(name) = asked.text(0) else {
        return if asked.legacy {
            object([("Usage", USAGE.into())])
        } else {
            Ok(Item::from(format!("Usage: {USAGE}")).into())
        };
    };
    let Ok(command) = service.registry().lookup(name) else { return Ok(unknown_command()) };
    let text = if command.help.is_empty() { "not available for this command".into() } else { command.help.clone() };
    object([("Help", text.into()), ("Exported by", command.module.clone().into())])
}

fn unknown_command() -> Response {
    Response::error(404, "unknown MI command")
}

fn ps(service: &Service, asked: &Asked) -> Outcome {
    let several = service.processes.are_several() && !service.dialect.is_emulated();
    let listed = service.processes.list().into_iter().map(|process| {
        let mut members = vec![
            ("ID", Item::Int(process.rank as i64)),
            ("PID", Item::Int(process.pid.into())),
            ("Type", Item::from(process.name)),
        ];
        // A sipmi extension: OpenSIPS has no such member.
        members.extend(several.then(|| ("State", process.state.name().into())));
        members
    });
    Ok(processes(listed.collect(), asked.legacy))
}

/// `Process::  ID=0 PID=1 Type=...` a line, the shape of 1.x and 2.x; or `{"Processes": [{...}]}`.
fn processes(listed: Vec<Vec<(&'static str, Item)>>, legacy: bool) -> Response {
    if !legacy {
        let objects = listed
            .into_iter()
            .map(|members| Item::Object(members.into_iter().map(|(name, value)| (name.into(), value)).collect()));
        return Item::from([("Processes", Item::Array(objects.collect()))]).into();
    }
    let mut tree = Tree::ok();
    tree.mark(NodeId::ROOT, crate::tree::Flags::IS_ARRAY);
    for members in &listed {
        let node = tree.add_child(NodeId::ROOT, "Process", Value::None);
        for (name, value) in members {
            let value = match value {
                Item::Int(number) => Value::Int(*number),
                other => Value::Str(other.as_str().unwrap_or_default()),
            };
            tree.add_attr(node, name, value);
        }
    }
    tree.into()
}

fn log_level(service: &Service, asked: &Asked) -> Outcome {
    let all = service.processes.list();
    let Some(new) = asked.int(0) else {
        let listed = all.into_iter().map(|process| {
            vec![
                ("PID", Item::Int(process.pid.into())),
                ("Log level", Item::Int(process.log_level.into())),
                ("Type", Item::from(process.name)),
            ]
        });
        return Ok(processes(listed.collect(), asked.legacy));
    };
    let meant: Vec<&Process> =
        all.iter().filter(|process| asked.int(1).is_none_or(|pid| pid == i64::from(process.pid))).collect();
    if meant.is_empty() {
        let data = crate::response::Body::Item("Bad PID".into());
        let modern = Response { body: data, ..Response::error(-32602, "Invalid params") };
        return Ok(if asked.legacy { Response::error(400, "Bad parameter") } else { modern });
    }
    set_log_level(service, new, &meant)?;
    let name = if asked.int(1).is_some() { "Log level" } else { "New global log level" };
    object([(name, Item::Int(new))])
}

/// `log_level`, in the shape of 1.11's `debug`.
fn debug(service: &Service, asked: &Asked) -> Outcome {
    let all = service.processes.list();
    if let Some(new) = asked.int(0) {
        set_log_level(service, new, &all.iter().collect::<Vec<_>>())?;
    }
    object([("DEBUG", Item::Int(service.processes.log_level(0).into()))])
}

fn set_log_level(service: &Service, level: i64, meant: &[&Process]) -> Result<(), Failure> {
    let level = i32::try_from(level).map_err(|_| Failure::ParamType("level".into()))?;
    for process in meant {
        service.processes.set_log_level(process.rank, level);
        // The other processes read their log level from the table.
        if process.pid.cast_unsigned() == std::process::id()
            && let Some(tell) = service.on_log_level.get()
        {
            tell(level);
        }
    }
    Ok(())
}

fn kill(service: &Service, _: &Asked) -> Outcome {
    // The supervisor process also ends the other processes.
    let Some(first) = service.processes.list().into_iter().find(|process| process.rank == 0 && process.pid > 0)
    else {
        return Err(Failure::handler());
    };
    // The signal is sent before the reply. A process that has already ended is not an error.
    let _ = signal::kill(Pid::from_raw(first.pid), signal::SIGTERM);
    Ok(Response::ok())
}

/// Local time as `ctime(3)` prints it, without the newline: `Mon Nov 23 07:32:18 2026`.
pub(crate) fn ctime(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let tm = local_time(time);
    let name = |names: &[&'static str], index: i32| {
        usize::try_from(index).ok().and_then(|i| names.get(i).copied()).unwrap_or("?")
    };
    format!(
        "{} {} {:>2} {:02}:{:02}:{:02} {}",
        name(&DAYS, tm.tm_wday),
        name(&MONTHS, tm.tm_mon),
        tm.tm_mday,
        tm.tm_hour,
        tm.tm_min,
        tm.tm_sec,
        tm.tm_year + 1900
    )
}
