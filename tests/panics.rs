//! Handlers that panic: who called is told at once that the command failed, and the server goes on.
#![cfg(feature = "net")]

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sipmi::address::Address;
use sipmi::command::builtin::new_service;
use sipmi::command::recipe::Signature;
use sipmi::command::{Answer, Call, Command, CommandFlags, Conduct, Filled, Handler, Recipe, Source};
use sipmi::dialect::Dialect;
use sipmi::server::{ListenOptions, Server};
use sipmi::tree::Tree;

/// Far less than what a command may take.
const AT_ONCE: Duration = Duration::from_secs(5);

struct Panics;

impl Handler for Panics {
    fn run(&self, _: Call<'_>) -> Answer {
        panic!("out of luck")
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

struct PanicsInAStream;

impl Handler for PanicsInAStream {
    fn run(&self, _: Call<'_>) -> Answer {
        Answer::Stream(Box::new(Endless))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

struct Endless;

impl Source for Endless {
    fn fill(&mut self, _: &mut Tree, _: &std::task::Waker) -> Filled {
        panic!("out of nodes")
    }
}

fn command(name: &str, handler: impl Handler + 'static, conduct: Conduct) -> Command {
    Command {
        module: "tests".into(),
        name: name.into(),
        help: "".into(),
        flags: CommandFlags::NONE,
        recipe: Recipe::Signature(Signature::none()),
        aliases: Vec::new(),
        handler: Box::new(handler),
        conduct,
    }
}

fn ask(server: &Server, method: &str) -> String {
    let Some(Address::Udp { host, port, .. }) = server.addresses().into_iter().next() else { panic!("no address") };
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(AT_ONCE)).expect("a timeout");
    socket.send_to(format!(":{method}:\n").as_bytes(), (host, port)).expect("sent");
    let mut reply = [0; 1000];
    let size = socket.recv(&mut reply).expect("an answer at once");
    String::from_utf8_lossy(&reply[..size]).into_owned()
}

#[test]
fn a_command_that_panics_is_answered_at_once_wherever_it_runs() {
    let service = new_service("tests", "", Dialect::Sipmi, false);
    let blocking = Conduct { is_blocking: true, ..Conduct::default() };
    {
        let mut registry = service.registry_mut();
        registry.register(command("fall", Panics, Conduct::default())).expect("a new name");
        registry.register(command("fall_elsewhere", Panics, blocking)).expect("a new name");
        registry.register(command("fall_later", PanicsInAStream, Conduct::default())).expect("a new name");
    }
    let server = Server::new(service, Arc::new(|body: &mut (dyn FnMut() + Send)| body()));
    let address = "udp:127.0.0.1:0".parse().expect("an address");
    server.listen(address, ListenOptions { workers: 1, ..ListenOptions::default() }).expect("it listens");
    server.start().expect("it starts");
    let began = Instant::now();
    for method in ["fall", "fall_elsewhere", "fall_later", "fall"] {
        assert_eq!(ask(&server, method), format!("500 command '{method}' failed\n"));
    }
    assert!(ask(&server, "version").starts_with("200 OK\n"));
    assert!(began.elapsed() < AT_ONCE);
    server.stop(AT_ONCE, &|| false);
}
