//! The least that a server can do: one thread that blocks, and a fixed reply to whatever comes.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::{Options, sys};

/// Says `ready ADDRESS` and answers until it is killed.
pub(crate) fn serve(kind: &str, options: &Options) -> Result<(), Box<dyn Error>> {
    let address = options.text("address")?;
    let reply = options.file("reply")?;
    match kind {
        "udp" => {
            let socket = UdpSocket::bind(address)?;
            ready(&socket.local_addr()?.to_string())?;
            datagrams(socket.as_raw_fd(), &reply)
        }
        "unix" => {
            let socket = UnixDatagram::bind(address)?;
            ready(address)?;
            datagrams(socket.as_raw_fd(), &reply)
        }
        "tcp" => {
            let door = TcpListener::bind(address)?;
            ready(&door.local_addr()?.to_string())?;
            connections(&door, &reply)
        }
        "fifo" => fifo(Path::new(address), Path::new(options.text("reply-dir")?), options.count("frame", 0)?, &reply),
        other => Err(format!("expected udp, unix, tcp or fifo, found {other}").into()),
    }
}

fn ready(address: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "ready {address}")
}

fn datagrams(socket: RawFd, reply: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut buffer = vec![0; 65_536];
    loop {
        let (_, peer) = sys::receive(socket, &mut buffer)?;
        // A client that has gone is none of ours.
        let _ = sys::send(socket, reply, &peer);
    }
}

/// Whatever comes in one read is a request.
fn connections(door: &TcpListener, reply: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let fds: Vec<RawFd> =
            std::iter::once(door.as_raw_fd()).chain(streams.iter().map(AsRawFd::as_raw_fd)).collect();
        let ready = sys::wait_for_any(&fds)?;
        let mut gone = Vec::new();
        for (place, stream) in streams.iter_mut().enumerate().filter(|(place, _)| ready[place + 1]) {
            let done =
                stream.read(&mut buffer).and_then(|size| stream.write(&reply[..reply.len().min(size * reply.len())]));
            if !matches!(done, Ok(size) if size > 0) {
                gone.push(place);
            }
        }
        gone.into_iter().rev().for_each(|place| drop(streams.remove(place)));
        if ready[0] {
            let (stream, _) = door.accept()?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
    }
}

/// Requests all have the same size, so they need no parsing to be told apart.
fn fifo(path: &Path, reply_dir: &Path, frame: usize, reply: &[u8]) -> Result<(), Box<dyn Error>> {
    if frame == 0 {
        return Err("--frame is missing: the size of a request".into());
    }
    sys::make_fifo(path)?;
    // For both directions, so that it does not end when a client leaves.
    let mut commands = OpenOptions::new().read(true).write(true).open(path)?;
    ready(&path.display().to_string())?;
    let mut buffer = vec![0; 65_536];
    let mut filled = 0;
    loop {
        filled += commands.read(&mut buffer[filled..])?;
        let whole = filled / frame * frame;
        for request in buffer[..whole].chunks_exact(frame) {
            if let Some(path) = reply_path(reply_dir, request) {
                if let Ok(mut client) = OpenOptions::new().write(true).open(path) {
                    let _ = client.write_all(reply);
                }
            }
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
}

/// `:NAME:{...}` or `:command:NAME`.
fn reply_path(dir: &Path, request: &[u8]) -> Option<PathBuf> {
    let line = request.split(|byte| *byte == b'\n').next()?;
    let mut parts = line.splitn(3, |byte| *byte == b':').skip(1);
    let (first, second) = (parts.next()?, parts.next()?);
    let name = if second.starts_with(b"{") { first } else { second };
    Some(dir.join(std::ffi::OsStr::from_bytes(name)))
}
