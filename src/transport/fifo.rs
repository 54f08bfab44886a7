//! Named pipes: the command FIFO that a server reads and the reply FIFOs that it writes (`mi_fifo`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::eagerness::Habit;
use super::{Access, FileId, OpenError, io_error, kind_of, owner, set_access};

/// The longest directory and name that a real server takes.
const MAX_REPLY_PATH: usize = 127;

/// The command FIFO of a server: made, read, watched and removed by it.
#[derive(Debug)]
pub struct CommandFifo {
    path: PathBuf,
    access: Access,
    file: File,
    id: FileId,
    /// Whether making and removing its file is for another process to do.
    left: bool,
}

impl CommandFifo {
    /// Makes the FIFO and opens it. A dead server's FIFO is used again, a living one's is an error.
    pub fn create(path: &Path, access: Access) -> Result<Self, OpenError> {
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?,
            Err(error) => return Err(io_error("look at", path)(error)),
            Ok(metadata) if !metadata.file_type().is_fifo() => {
                return Err(OpenError::InTheWay {
                    expected: "FIFO",
                    found: kind_of(&metadata),
                    path: path.to_owned(),
                });
            }
            Ok(_) if has_reader(path)? => {
                return Err(OpenError::InUse { path: path.to_owned(), pid: owner::of_file(path) });
            }
            Ok(_) => {}
        }
        let (file, id) = open(path)?;
        let mut fifo = CommandFifo { path: path.to_owned(), access, file, id, left: false };
        set_access(path, access)?;
        fifo.discard_stale().map_err(io_error("read", path))?;
        Ok(fifo)
    }

    /// Drops what was written for a server that has died: whoever wrote it has long given up.
    fn discard_stale(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while self.wait(Duration::ZERO)? && self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Whether there is something to read, or will be within this time.
    pub fn wait(&self, patience: Duration) -> io::Result<bool> {
        let mut fd = [nix::poll::PollFd::new(self.file.as_fd(), nix::poll::PollFlags::POLLIN)];
        let millis = nix::poll::PollTimeout::try_from(patience).unwrap_or(nix::poll::PollTimeout::MAX);
        match nix::poll::poll(&mut fd, millis) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits a moment for something to read, without sleeping.
    pub fn await_eagerly(&self, habit: &mut Habit) -> io::Result<()> {
        habit.try_eagerly(|| self.wait(Duration::ZERO).map(|ready| ready.then_some(())).transpose()).unwrap_or(Ok(()))
    }

    /// Waits for something to read, however long: a [`Waker`] ends the wait.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other,
        }
    }

    /// The file stays when this is dropped, as that of a process that died.
    pub fn leave(&mut self) {
        self.left = true;
    }

    /// What wakes this FIFO's reader.
    pub fn waker(&self) -> io::Result<Waker> {
        Ok(Waker { path: self.path.clone(), id: self.id, file: self.file.try_clone()? })
    }

    /// Makes the FIFO again when somebody removed or replaced it. Says whether it did.
    pub fn restore(&mut self) -> Result<bool, OpenError> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(metadata) if FileId::of(&metadata) == self.id => return Ok(false),
            Ok(metadata) if !metadata.file_type().is_fifo() => {
                return Err(OpenError::InTheWay {
                    expected: "FIFO",
                    found: kind_of(&metadata),
                    path: self.path.clone(),
                });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.left => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(&self.path)?,
            Err(error) => return Err(io_error("look at", &self.path)(error)),
        }
        (self.file, self.id) = open(&self.path)?;
        set_access(&self.path, self.access)?;
        Ok(true)
    }
}

/// Wakes the reader of a command FIFO, and knows whether the FIFO is still in its place.
#[derive(Debug)]
pub struct Waker {
    path: PathBuf,
    id: FileId,
    file: File,
}

impl Waker {
    /// Sends the reader an empty line, which means nothing to it but that there is something to look at.
    pub fn wake(&self) {
        // With a full pipe there is no need to.
        if let Ok(true) = has_room(&self.file) {
            drop((&self.file).write(b"\n"));
        }
    }

    /// Whether the path means another file by now, or none.
    pub fn is_replaced(&self) -> bool {
        !std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| FileId::of(&metadata) == self.id)
    }
}

fn has_room(file: &File) -> io::Result<bool> {
    let mut fd = [nix::poll::PollFd::new(file.as_fd(), nix::poll::PollFlags::POLLOUT)];
    Ok(nix::poll::poll(&mut fd, nix::poll::PollTimeout::ZERO)? > 0)
}

impl AsRawFd for CommandFifo {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.file.as_raw_fd()
    }
}

impl Drop for CommandFifo {
    fn drop(&mut self) {
        if !self.left {
            self.id.remove(&self.path);
        }
    }
}

fn make(path: &Path) -> Result<(), OpenError> {
    let result = nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR);
    result.map_err(|errno| io_error("make the FIFO", path)(errno.into()))
}

/// Opened for both directions, so that it never ends when the last client leaves; never with `O_CREAT`,
/// which `fs.protected_fifos` refuses in sticky directories.
fn open(path: &Path) -> Result<(File, FileId), OpenError> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(io_error("open", path))?;
    let metadata = file.metadata().map_err(io_error("look at", path))?;
    if !metadata.file_type().is_fifo() {
        return Err(OpenError::InTheWay { expected: "FIFO", found: kind_of(&metadata), path: path.to_owned() });
    }
    Ok((file, FileId::of(&metadata)))
}

fn has_reader(path: &Path) -> Result<bool, OpenError> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    match OpenOptions::new().write(true).custom_flags(flags).open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(false),
        Err(error) => Err(io_error("probe", path)(error)),
    }
}

/// The directory in which clients make their reply FIFOs.
#[derive(Debug)]
pub struct ReplyDir {
    path: PathBuf,
    fd: OwnedFd,
    /// Whether names are as short as a real server wants them.
    strict: bool,
}

/// What came of opening a reply FIFO for writing.
#[derive(Debug)]
pub enum Opened {
    /// It has a reader.
    Ready(ReplyFifo),
    /// It exists, but nobody reads it yet.
    NoReader,
    /// It must not be written to.
    Refused(Refusal),
}

/// Why a reply FIFO is not written to: the safety checks of `mi_fifo`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name could leave the directory.
    #[error("the name holds '.', '/', '\\' or a NUL, is empty or too long")]
    Name,
    /// There is no such file.
    #[error("there is no such file")]
    Missing,
    /// It is a symbolic link.
    #[error("it is a symbolic link")]
    Link,
    /// It is something else.
    #[error("it is no FIFO")]
    NotFifo,
    /// It has a second name.
    #[error("it has {0} hard links")]
    Links(u32),
    /// The system refused.
    #[error("{0}")]
    System(Errno),
}

impl ReplyDir {
    /// Opens the directory.
    pub fn open(path: &Path, strict: bool) -> Result<Self, OpenError> {
        Ok(ReplyDir { path: path.to_owned(), fd: open_dir(path)?, strict })
    }

    /// Whether a reply FIFO may be called this: nothing that leads out of the directory.
    pub fn accepts(&self, name: &[u8]) -> bool {
        let longest = if self.strict { MAX_REPLY_PATH.saturating_sub(self.path.as_os_str().len() + 1) } else { 255 };
        !name.is_empty() && name.len() <= longest && !name.iter().any(|byte| matches!(byte, b'.' | b'/' | b'\\' | 0))
    }

    /// Opens a reply FIFO for writing, if it is one, and without waiting for its reader.
    pub fn open_reply(&self, name: &[u8]) -> Opened {
        self.try_open(name).unwrap_or_else(Opened::Refused)
    }

    fn try_open(&self, name: &[u8]) -> Result<Opened, Refusal> {
        if !self.accepts(name) {
            return Err(Refusal::Name);
        }
        // What is checked is the open file itself, so nobody can put another in its place; and opening
        // does nothing to a file that turns out to be none of ours.
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = match nix::fcntl::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENXIO) => return Ok(Opened::NoReader),
            Err(errno) => return Err(refusal(errno)),
        };
        check_fifo(&fd)?;
        Ok(Opened::Ready(ReplyFifo { file: fd.into() }))
    }

    /// Whether the directory was removed since it was opened.
    pub fn is_gone(&self) -> bool {
        nix::sys::stat::fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Opens the directory again.
    pub fn reopen(&mut self) -> Result<(), OpenError> {
        self.fd = open_dir(&self.path)?;
        Ok(())
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd, OpenError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
        .map_err(|errno| io_error("open the reply directory", path)(errno.into()))
}

fn refusal(errno: Errno) -> Refusal {
    match errno {
        Errno::ENOENT => Refusal::Missing,
        Errno::ELOOP => Refusal::Link,
        Errno::EISDIR => Refusal::NotFifo,
        errno => Refusal::System(errno),
    }
}

/// Whether an open file is a FIFO with one name.
///
/// The times of the file are not asked for: since Linux 6.13, asking makes the next write to it update them on disk,
/// which costs as much as all the rest of a call.
fn check_fifo(fd: &OwnedFd) -> Result<(), Refusal> {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    let mask = libc::STATX_TYPE | libc::STATX_NLINK;
    // SAFETY: the descriptor is open, the path is an empty C string, and the result is written to a live local.
    let result = unsafe { libc::statx(fd.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, mask, stat.as_mut_ptr()) };
    Errno::result(result).map_err(refusal)?;
    // SAFETY: zeroed, then filled by the kernel: any bytes are a statx.
    let stat = unsafe { stat.assume_init() };
    match u32::from(stat.stx_mode) & libc::S_IFMT {
        libc::S_IFIFO if stat.stx_nlink != 1 => Err(Refusal::Links(stat.stx_nlink)),
        libc::S_IFIFO => Ok(()),
        _ => Err(Refusal::NotFifo),
    }
}

/// A reply FIFO that has a reader. Closing it ends the reply.
#[derive(Debug)]
pub struct ReplyFifo {
    file: File,
}

impl ReplyFifo {
    /// Writes as much as fits without waiting; 0 when the reader is slow.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.file).write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other,
        }
    }

    /// Whether a write would do something now: there is room, or the reader has left.
    pub fn is_ready(&self) -> bool {
        let mut fd = [nix::poll::PollFd::new(self.file.as_fd(), nix::poll::PollFlags::POLLOUT)];
        !matches!(nix::poll::poll(&mut fd, nix::poll::PollTimeout::ZERO), Ok(0))
    }

    /// For poll.
    pub fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}
