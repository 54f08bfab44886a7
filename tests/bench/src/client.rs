//! A client that sends one request and waits for its reply, again and again.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
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
    Tcp(Stream),
}

/// A connection that is kept. Replies all have the same size; what is compared is what follows the empty line:
/// before it is a clock.
pub(crate) struct Stream {
    socket: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
    size: usize,
    body: usize,
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
        "tcp" => {
            let mut socket = TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(timeout))?;
            let expected = options.file("expect").unwrap_or_default();
            let mut buffer = buffer;
            let size = if expected.is_empty() {
                // One request tells how large the replies are.
                socket.write_all(&request)?;
                socket.read(&mut buffer)?
            } else {
                expected.len()
            };
            let body = if expected.is_empty() { 0 } else { body_of(&expected) };
            Client::Tcp(Stream { socket, request, buffer, size, body })
        }
        other => return Err(format!("expected udp, unix, tcp or fifo, found {other}").into()),
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
            Client::Tcp(Stream { socket, request, buffer, size, body }) => {
                socket.write_all(request)?;
                let mut filled = 0;
                while filled < *size {
                    match socket.read(&mut buffer[filled..])? {
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        more => filled += more,
                    }
                }
                Ok(&buffer[*body..filled])
            }
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

/// Where the body of a reply begins.
pub(crate) fn body_of(reply: &[u8]) -> usize {
    reply.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |end| end + 4)
}

impl<S> Drop for Datagrams<S> {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
