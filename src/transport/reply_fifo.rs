//! Named pipes on the client's side: a private FIFO for one reply, and the command FIFO of a server (`mi_fifo`).

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::inode::Inode;
use super::{kind_of, reply_sweep};
use crate::sys::descriptor;
use crate::sys::process::forks;

/// The number of names that are tried. A name that is taken is hardly a coincidence.
const ATTEMPTS: usize = 4;

/// The name of a FIFO that this client created for replies. The FIFO is removed when this is dropped.
#[derive(Debug)]
pub struct ReplyName {
    path: CString,
    name: String,
    /// The count of forks when it was created. A forked child does not remove the FIFO.
    forks: u32,
}

/// A reply FIFO that is open for reading.
#[derive(Debug)]
pub struct Inbox {
    // Removed before it is closed: a server then never finds a FIFO without a reader.
    place: ReplyName,
    file: File,
}

impl ReplyName {
    /// Creates a FIFO with a name that cannot be guessed.
    fn create(dir: &Path) -> io::Result<Self> {
        reply_sweep::prepare(dir)?;
        let mut attempts = 0;
        loop {
            let name = reply_sweep::new_name()?;
            let path = CString::new(dir.join(&name).as_os_str().as_bytes())?;
            match nix::unistd::mkfifo(path.as_c_str(), rights()) {
                Ok(()) => return Ok(ReplyName { path, name, forks: forks() }),
                Err(Errno::EEXIST) if attempts < ATTEMPTS => attempts += 1,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Opens it for another reply.
    pub fn open(self) -> io::Result<Inbox> {
        let file = open_for_reading(&self.path)?;
        Ok(Inbox { place: self, file })
    }
}

impl ReplyName {
    /// Returns true if this process created it, and not the process that it was forked from.
    pub fn is_ours(&self) -> bool {
        self.forks == forks()
    }
}

impl Drop for ReplyName {
    fn drop(&mut self) {
        if self.is_ours() {
            // The file may already be gone, which does no harm.
            let _ = nix::unistd::unlink(self.path.as_c_str());
        }
    }
}

impl Inbox {
    /// Creates a FIFO with a name that cannot be guessed and that all users may write to, and opens it for reading.
    pub fn create(dir: &Path) -> io::Result<Self> {
        let inbox = ReplyName::create(dir)?.open()?;
        // The umask may have removed permissions that the server needs.
        nix::sys::stat::fchmod(&inbox.file, rights())?;
        Ok(inbox)
    }

    /// The file's name in its directory, which a request tells the server.
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// The descriptor to poll. Poll reports a hang-up only after a writer came and left.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Appends at most `most` available bytes: 0 if no writer has the FIFO open, `None` if one has and there is nothing to
    /// read yet.
    pub fn read(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<Option<usize>> {
        match descriptor::append_from(&self.file, bytes, most) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Clears the hang-up of a writer, so that poll waits for the next one. The FIFO has a reader at all times.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.file = open_for_reading(&self.place.path)?;
        Ok(())
    }

    /// Closes the FIFO and keeps its file. To be called only when no writer has it open.
    pub fn close(self) -> ReplyName {
        self.place
    }
}

/// This user may read and all users may write, since the server usually runs as another user.
fn rights() -> nix::sys::stat::Mode {
    nix::sys::stat::Mode::from_bits_truncate(0o622)
}

fn open_for_reading(path: &CString) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open(path.as_c_str(), flags, Mode::empty())?;
    // In a directory that other users may write to, another file may have taken its place.
    let inode = Inode::of(&fd)?;
    if inode.is(libc::S_IFIFO) && inode.is_own() { Ok(fd.into()) } else { Err(Errno::EPERM.into()) }
}

/// The reason why a command FIFO cannot be written to.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The server is not running, or its FIFO was removed.
    #[error("there is no such FIFO")]
    Gone,
    /// A server that is no longer running left it behind.
    #[error("the FIFO exists, but no server reads it")]
    NoReader,
    /// A file of another type has that name.
    #[error("expected a FIFO, found a {0}")]
    NotFifo(&'static str),
    /// A system call failed.
    #[error("the FIFO cannot be written to: {0}")]
    Io(#[from] io::Error),
}

impl CommandError {
    /// The error number of the system.
    pub fn errno(&self) -> i32 {
        match self {
            CommandError::Gone => libc::ENOENT,
            CommandError::NoReader => libc::ENXIO,
            CommandError::NotFifo(_) => libc::EINVAL,
            CommandError::Io(error) => error.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}

/// The command FIFO of a server, open for writing. Closing it releases its lock.
#[derive(Debug)]
pub struct CommandWriter {
    file: File,
}

impl CommandWriter {
    /// Opens it without waiting for a reader.
    pub fn open(path: &Path) -> Result<Self, CommandError> {
        let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = std::fs::OpenOptions::new().write(true).custom_flags(flags).open(path);
        let file = file.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => CommandError::Gone,
            Some(libc::ENXIO) => CommandError::NoReader,
            _ => error.into(),
        })?;
        // A request must not be written to a regular file.
        let metadata = file.metadata()?;
        if !metadata.file_type().is_fifo() {
            return Err(CommandError::NotFifo(kind_of(&metadata)));
        }
        Ok(CommandWriter { file })
    }

    /// Locks the FIFO for this client; false if another client holds the lock.
    pub fn try_lock(&self) -> io::Result<bool> {
        Ok(descriptor::try_lock(&self.file)?)
    }

    /// Releases the lock.
    pub fn unlock(&self) {
        // It can fail only for a closed descriptor.
        let _ = descriptor::unlock(&self.file);
    }

    /// The number of bytes that the server has not read yet.
    pub fn unread(&self) -> io::Result<usize> {
        Ok(descriptor::unread_bytes(&self.file)?)
    }

    /// Returns true if the server has gone since the FIFO was opened.
    pub fn is_abandoned(&self) -> bool {
        let mut fd = [nix::poll::PollFd::new(self.file.as_fd(), nix::poll::PollFlags::empty())];
        let polled = nix::poll::poll(&mut fd, nix::poll::PollTimeout::ZERO);
        let error = |fd: &nix::poll::PollFd<'_>| {
            fd.revents().is_some_and(|found| found.contains(nix::poll::PollFlags::POLLERR))
        };
        polled.is_ok() && error(&fd[0])
    }

    /// Writes as many bytes as fit without waiting; 0 if the FIFO is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, CommandError> {
        match self.file.write(bytes) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(CommandError::NoReader),
            other => Ok(other?),
        }
    }

    /// The descriptor to poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The lock file with which opensipsctl keeps its writers apart: `/tmp/%tmp%opensips_fifo.lock`.
#[derive(Debug)]
pub struct ShellLock {
    file: File,
}

impl ShellLock {
    /// Opens the lock file of a command FIFO, and creates it if needed.
    pub fn open(fifo: &Path) -> io::Result<Self> {
        let mut path = b"/tmp/".to_vec();
        path.extend(fifo.as_os_str().as_bytes().iter().map(|byte| if *byte == b'/' { b'%' } else { *byte }));
        path.extend_from_slice(b".lock");
        let path = Path::new(std::ffi::OsStr::from_bytes(&path)).to_owned();
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
        // `fs.protected_regular` refuses to open another user's file with O_CREAT, even if it exists.
        let existing = || File::options().read(true).custom_flags(flags).open(&path);
        let file = match existing() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = File::options().write(true).create_new(true).custom_flags(flags).mode(0o666).open(&path);
                made.or_else(
                    |error| if error.kind() == io::ErrorKind::AlreadyExists { existing() } else { Err(error) },
                )
            }
            other => other,
        };
        Ok(ShellLock { file: file? })
    }

    /// Takes the lock until this is dropped; false if another process holds it.
    pub fn try_lock(&self) -> io::Result<bool> {
        Ok(descriptor::try_lock(&self.file)?)
    }
}
