//! FIFO clients: the careful one, the one that opens its reply FIFO late, and the bad ones.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{Options, sys};

/// Calls through one command FIFO, each reply through the same reply FIFO, opened anew for each call.
pub(crate) struct FifoClient {
    commands: File,
    path: PathBuf,
    request: Vec<u8>,
    buffer: Vec<u8>,
    timeout: Duration,
    /// Zero: the reply FIFO is open before the request is written; else it is opened so long after.
    late: Duration,
    /// From the late opening to the end of the reply.
    pub(crate) from_opening: Option<Duration>,
}

impl FifoClient {
    pub(crate) fn new(
        commands: &Path,
        dir: &Path,
        name: &str,
        request: &[u8],
        timeout: Duration,
        late: Duration,
    ) -> io::Result<Self> {
        let commands = OpenOptions::new().write(true).open(commands)?;
        let path = dir.join(name);
        sys::make_fifo(&path)?;
        let request = fill_in(request, name);
        Ok(FifoClient { commands, path, request, buffer: vec![0; 65_536], timeout, late, from_opening: None })
    }

    pub(crate) fn call(&mut self) -> io::Result<&[u8]> {
        if !self.late.is_zero() {
            return self.call_late();
        }
        let mut reply = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&self.path)?;
        self.commands.write_all(&self.request)?;
        self.read_to_end(&mut reply)
    }

    fn call_late(&mut self) -> io::Result<&[u8]> {
        self.commands.write_all(&self.request)?;
        std::thread::sleep(self.late);
        let opening = Instant::now();
        // Blocks until the server opens it too, as the clients do that open late.
        let mut reply = File::open(&self.path)?;
        let size = self.read_to_end(&mut reply)?.len();
        self.from_opening = Some(opening.elapsed());
        Ok(&self.buffer[..size])
    }

    fn read_to_end(&mut self, reply: &mut File) -> io::Result<&[u8]> {
        let mut filled = 0;
        loop {
            if filled == 0 && !sys::wait_readable(reply.as_raw_fd(), self.timeout)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match reply.read(&mut self.buffer[filled..]) {
                Ok(0) => return Ok(&self.buffer[..filled]),
                Ok(read) => filled += read,
                // The writer has not closed it yet.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !sys::wait_readable(reply.as_raw_fd(), self.timeout)? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for FifoClient {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn fill_in(request: &[u8], name: &str) -> Vec<u8> {
    String::from_utf8_lossy(request).replace("{reply}", name).into_bytes()
}

/// The number of open replies that are enough to occupy the server.
const MOST_OPEN: usize = 64;

/// Sends requests whose replies it does not fetch, or not to their end.
pub(crate) fn stall(kind: &str, options: &Options) -> Result<(), Box<dyn Error>> {
    let mut commands = OpenOptions::new().write(true).open(options.text("address")?)?;
    let request = options.file("request")?;
    let dir = Path::new(options.text("dir")?);
    let pause = options.seconds("pause", 0.05)?;
    let mut open = std::collections::VecDeque::new();
    for number in 0_u64.. {
        let name = format!("bad_{:010}_{number:06}", std::process::id());
        let path = dir.join(&name);
        sys::make_fifo(&path)?;
        let reader = match kind {
            "never-open" => None,
            _ => Some(OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path)?),
        };
        commands.write_all(&fill_in(&request, &name))?;
        if let ("stop-midway", Some(mut reader)) = (kind, reader.as_ref()) {
            let _ = sys::wait_readable(reader.as_raw_fd(), Duration::from_secs(1));
            let _ = reader.read(&mut [0; 100_000]);
        }
        open.push_back((reader, path));
        if open.len() > MOST_OPEN {
            if let Some((_, path)) = open.pop_front() {
                let _ = std::fs::remove_file(path);
            }
        }
        std::thread::sleep(pause);
    }
    Ok(())
}
