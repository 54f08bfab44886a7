//! A client that sends one request and waits for its reply, again and again.

use std::error::Error;
use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Options;
use crate::fifo::FifoClient;

/// One caller with everything it needs.
pub(crate) enum Client {
    Udp(Datagrams<UdpSocket>),
    Unix(Datagrams<UnixDatagram>),
    Fifo(FifoClient),
}

pub(crate) struct Datagrams<S> {
    socket: S,
    request: Vec<u8>,
    buffer: Vec<u8>,
    /// Where a UNIX socket is bound, to be removed.
    path: Option<PathBuf>,
}

/// Longer than any call that is measured.
const TIMEOUT: f64 = 3.0;

/// Connects client `number` of a run.
pub(crate) fn connect(kind: &str, options: &Options, address: &str, number: usize) -> Result<Client, Box<dyn Error>> {
    let request = options.file("request")?;
    let timeout = options.seconds("timeout", TIMEOUT)?;
    let buffer = vec![0; 65_536];
    let unique = format!("load_{:010}_{number:04}", std::process::id());
    Ok(match kind {
        "udp" => {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(address)?;
            socket.set_read_timeout(Some(timeout))?;
            Client::Udp(Datagrams { socket, request, buffer, path: None })
        }
        "unix" => {
            let path = Path::new(options.text("dir")?).join(unique);
            let socket = UnixDatagram::bind(&path)?;
            socket.connect(address)?;
            socket.set_read_timeout(Some(timeout))?;
            Client::Unix(Datagrams { socket, request, buffer, path: Some(path) })
        }
        "fifo" => {
            let dir = Path::new(options.text("dir")?);
            let late = Duration::from_secs_f64(options.number("late", 0.0)? / 1000.0);
            Client::Fifo(FifoClient::new(Path::new(address), dir, &unique, &request, timeout, late)?)
        }
        other => return Err(format!("expected udp, unix or fifo, found {other}").into()),
    })
}

impl Client {
    /// One call; the reply is valid until the next.
    pub(crate) fn call(&mut self) -> io::Result<&[u8]> {
        match self {
            Client::Udp(Datagrams { socket, request, buffer, .. }) => {
                socket.send(request)?;
                let size = socket.recv(buffer)?;
                Ok(&buffer[..size])
            }
            Client::Unix(Datagrams { socket, request, buffer, .. }) => {
                socket.send(request)?;
                let size = socket.recv(buffer)?;
                Ok(&buffer[..size])
            }
            Client::Fifo(client) => client.call(),
        }
    }

    /// How long the last call took where that is not simply from its start to its end.
    pub(crate) fn own_time(&self) -> Option<Duration> {
        match self {
            Client::Fifo(client) => client.from_opening,
            _ => None,
        }
    }
}

impl<S> Drop for Datagrams<S> {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
