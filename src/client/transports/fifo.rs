//! Requests through the command FIFO, each with a reply FIFO of its own (`mi_fifo`).
//!
//! The reply FIFO is open before the request is written, and gone when the call ends, however it ends. Only a client
//! that calls in a tight loop keeps it for its next call, and the command FIFO open: to make and remove the one and to
//! open the other takes as long as the call itself.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::client::deadline::{Deadline, WaitError};
use crate::client::error::{CallError, CallFailure};
use crate::client::large::ReplyBytes;
use crate::client::transports::reply_limit::REPLY_LIMIT;
use crate::codec::json::{Scan, Scanner};
use crate::transport::reply_fifo::{CommandError, CommandWriter, Inbox, ReplyName, ShellLock};

/// The most bytes that one read returns.
const CHUNK: usize = 16_384;

/// A pipe takes this much in one piece (`PIPE_BUF`).
const ATOMIC: usize = 4096;

/// A call that begins this soon after the last one may belong to a tight loop.
const TIGHT: Duration = Duration::from_millis(5);

/// The number of such calls in a row that make a tight loop.
const MANY: u32 = 8;

/// A reply FIFO is used for no longer than this: who may write to its directory sees it. So is an open command FIFO,
/// which may have been replaced.
const LIFE: Duration = Duration::from_secs(1);

/// More reply FIFOs than this are not kept.
const IDLE: usize = 16;

/// A server has closed its end so soon after the last byte, or the reply FIFO is not kept.
const CLOSING: Duration = Duration::from_millis(1);

/// A server's command FIFO and where it looks for reply FIFOs.
#[derive(Debug)]
pub(in crate::client) struct Fifo {
    path: PathBuf,
    reply_dir: PathBuf,
    /// The largest reply in bytes.
    pub(in crate::client) reply_limit: usize,
    kept: Mutex<Kept>,
}

/// The state kept between two calls of a tight loop.
#[derive(Debug, Default)]
struct Kept {
    idle: Vec<Idle>,
    last_end: Option<Instant>,
    /// How many calls began soon after the one before.
    streak: u32,
    is_closed: bool,
}

/// A reply FIFO and a command FIFO that no call uses.
#[derive(Debug)]
struct Idle {
    made: Instant,
    reply: ReplyName,
    command: CommandWriter,
}

/// The resources of a call.
#[derive(Debug)]
struct Line {
    made: Instant,
    inbox: Inbox,
    /// Open already when it was kept.
    command: Option<CommandWriter>,
    /// True if the call is one of a tight loop.
    is_tight: bool,
}

/// The end marker of a reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Ending {
    /// The end of the file.
    Text,
    /// The end of the JSON value, or of the file.
    Json,
    /// The end of the JSON value: an asynchronous reply comes in pieces, each with its own end of file.
    JsonInPieces,
}

impl Fifo {
    pub(in crate::client) fn new(path: PathBuf, reply_dir: PathBuf) -> Self {
        Fifo { path, reply_dir, reply_limit: REPLY_LIMIT, kept: Mutex::default() }
    }

    pub(in crate::client) fn after_fork(&self) -> Self {
        Fifo { reply_limit: self.reply_limit, ..Fifo::new(self.path.clone(), self.reply_dir.clone()) }
    }

    /// How long the path of a reply FIFO with this name is.
    pub(in crate::client) fn reply_path_len(&self, name: &str) -> usize {
        self.reply_dir.as_os_str().len() + 1 + name.len()
    }

    /// Sends a request, which `encode` writes once the name of the reply FIFO is known, and gives it and its reply.
    pub(in crate::client) async fn exchange(
        &self,
        ending: Ending,
        deadline: &mut Deadline<'_>,
        encode: impl FnOnce(&str) -> Result<Vec<u8>, CallError> + Send,
    ) -> Result<(Vec<u8>, Vec<u8>), CallFailure> {
        let mut line = self.line()?;
        let request = encode(line.inbox.name())?;
        let mut received = ReplyBytes::default();
        let mut written = 0;
        let mut outcome = self.write(&request, &mut written, &mut line, ending == Ending::Text, deadline).await;
        if outcome.is_ok() {
            outcome = read(&mut line.inbox, ending, self.reply_limit, deadline, &mut received).await;
        }
        if let Err(error) = outcome {
            let progress = if received.is_empty() { "" } else { "part of a reply" };
            return Err(error.after(&request[..written], &received).after_part(progress.into()));
        }
        let is_over = line.is_tight && (ending == Ending::Text || has_writer_left(&line.inbox, deadline).await);
        self.end(line, is_over);
        // The caller may keep it.
        received.shrink_to_fit();
        Ok((request, received.take()))
    }

    /// Removes the reply FIFOs that no call uses.
    pub(in crate::client) fn close_idle(&self) {
        let idle = std::mem::take(&mut self.lock().idle);
        drop(idle);
    }

    /// Removes the reply FIFOs that no call uses, and keeps none from now on.
    pub(in crate::client) fn close(&self) {
        let idle = {
            let mut kept = self.lock();
            kept.is_closed = true;
            std::mem::take(&mut kept.idle)
        };
        drop(idle);
    }

    fn line(&self) -> Result<Line, CallError> {
        let now = Instant::now();
        let (idle, is_tight) = {
            let mut kept = self.lock();
            let is_soon = kept.last_end.is_some_and(|end| now.duration_since(end) < TIGHT);
            kept.streak = if is_soon { kept.streak.saturating_add(1) } else { 0 };
            (kept.idle.pop(), kept.streak >= MANY)
        };
        if let Some(Idle { made, reply, command }) =
            idle.filter(|idle| idle.reply.is_ours() && now.duration_since(idle.made) < LIFE)
        {
            // A reply FIFO that another process removed is made again.
            if let Ok(inbox) = reply.open() {
                return Ok(Line { made, inbox, command: Some(command), is_tight });
            }
        }
        let inbox = Inbox::create(&self.reply_dir).map_err(|error| {
            let what = format!("no reply FIFO can be made in {}", self.reply_dir.display());
            CallError::io(&what, &error)
        })?;
        Ok(Line { made: now, inbox, command: None, is_tight })
    }

    /// Keeps the resources of the call, or removes them.
    fn end(&self, line: Line, keep: bool) {
        let reply = line.inbox.close();
        let mut kept = self.lock();
        kept.last_end = Some(Instant::now());
        match line.command {
            Some(command) if keep && !kept.is_closed && kept.idle.len() < IDLE => {
                kept.idle.push(Idle { made: line.made, reply, command });
            }
            _ => {
                drop(kept);
                drop(reply);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings a server of 1.x or 2.x back in step, which after a request that it could not read takes the next for
    /// the rest of it. An empty line ends that rest, and is nothing else. Only done when it need not wait.
    pub(in crate::client) fn resync(&self) {
        let Ok(mut command) = CommandWriter::open(&self.path) else { return };
        if matches!((command.try_lock(), command.unread()), (Ok(true), Ok(0))) {
            // A server that has gone needs no help.
            let _ = command.write(b"\n");
        }
    }

    /// Writes a request in one piece, alone, to an empty FIFO: what two clients write at the same time may fall into
    /// one read, and then costs 3.x and 4.x their FIFO if one of the two is not whole.
    async fn write(
        &self,
        request: &[u8],
        written: &mut usize,
        line: &mut Line,
        is_text: bool,
        deadline: &mut Deadline<'_>,
    ) -> Result<(), CallError> {
        let is_long = is_text && request.len() > ATOMIC;
        let _shell_lock = if is_long { Some(lock_out_shells(&self.path, deadline).await?) } else { None };
        if let Some(mut command) = line.command.take() {
            match write_alone(&mut command, request, written, deadline).await {
                // The server was restarted since. Nothing was written, so another try may be made.
                Err(CallError::Transport { .. }) if *written == 0 => {}
                outcome => {
                    command.unlock();
                    line.command = Some(command);
                    return outcome;
                }
            }
        }
        let mut command = CommandWriter::open(&self.path)?;
        write_alone(&mut command, request, written, deadline).await?;
        if line.is_tight {
            command.unlock();
            line.command = Some(command);
        }
        Ok(())
    }
}

async fn write_alone(
    command: &mut CommandWriter,
    request: &[u8],
    written: &mut usize,
    deadline: &mut Deadline<'_>,
) -> Result<(), CallError> {
    let refused = |error| CallError::io("the FIFO cannot be locked", &error);
    deadline.retry(|| command.try_lock().map(|locked| locked.then_some(())).map_err(refused)).await?;
    deadline
        .retry(|| match command.unread() {
            Ok(0) => Ok(Some(())),
            Ok(_) if command.is_abandoned() => Err(CommandError::NoReader.into()),
            Ok(_) => Ok(None),
            Err(error) => Err(CallError::io("the FIFO cannot be looked at", &error)),
        })
        .await?;
    while *written < request.len() {
        match command.write(&request[*written..])? {
            0 => drop(deadline.wait(command.as_fd(), PollFlags::POLLOUT).await?),
            size => *written += size,
        }
    }
    Ok(())
}

/// Returns true if no more data can come: the server's end is closed and everything was read.
async fn has_writer_left(inbox: &Inbox, deadline: &mut Deadline<'_>) -> bool {
    let ready = deadline.at_most(CLOSING).wait(inbox.as_fd(), PollFlags::POLLIN).await;
    ready.is_ok_and(|ready| !ready.contains(PollFlags::POLLIN))
}

async fn lock_out_shells(fifo: &Path, deadline: &mut Deadline<'_>) -> Result<ShellLock, CallError> {
    let refused = |error| CallError::io("the lock of opensipsctl cannot be taken", &error);
    let lock = ShellLock::open(fifo).map_err(refused)?;
    deadline.retry(|| lock.try_lock().map(|locked| locked.then_some(())).map_err(refused)).await?;
    Ok(lock)
}

async fn read(
    inbox: &mut Inbox,
    ending: Ending,
    limit: usize,
    deadline: &mut Deadline<'_>,
    received: &mut Vec<u8>,
) -> Result<(), CallError> {
    let mut scanner = (ending != Ending::Text).then(Scanner::new);
    let mut has_ended = false;
    loop {
        let ready = match deadline.wait(inbox.as_fd(), PollFlags::POLLIN).await {
            // The stream has ended, and the caller finds out if the reply is complete.
            Err(WaitError::TimedOut) if has_ended && !received.is_empty() => return Ok(()),
            other => other?,
        };
        let before = received.len();
        let size = inbox.read(received, CHUNK);
        // poll looks at a pipe without its lock: of a writer who is about to open it, it may tell that he has left.
        let Some(size) = size.map_err(|error| CallError::io("the reply FIFO cannot be read", &error))? else {
            continue;
        };
        // poll looks at a pipe without its lock: for a writer that wrote and closed just now it may report the close
        // alone. Data that is read in spite of that takes precedence.
        if size == 0 && !ready.contains(PollFlags::POLLIN) {
            // Only JSON that is good so far may go on.
            let goes_on = ending == Ending::JsonInPieces
                && scanner.as_mut().is_some_and(|scan| scan.feed(b"") == Scan::NeedMore);
            if !goes_on {
                return Ok(());
            }
            inbox.reopen().map_err(|error| CallError::io("the reply FIFO was removed", &error))?;
            has_ended = true;
            continue;
        }
        has_ended = false;
        if received.len() > limit {
            return Err(CallError::too_large(limit));
        }
        if scanner.as_mut().is_some_and(|scanner| matches!(scanner.feed(&received[before..]), Scan::Complete(_))) {
            return Ok(());
        }
    }
}
