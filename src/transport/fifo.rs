//! Named pipes: the command FIFO that a server reads and the reply FIFOs that it writes (`mi_fifo`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::command_mark::{self, CommandMark};
use super::eagerness::Habit;
use super::inode::{Inode, set_access};
pub use super::opened_reply::{ReplyFifo, ReplyIdentity};
use super::spare::{Spare, is_shortage};
use super::{Access, FileId, OpenError, io_error, kind_of, owner};

/// The longest path of a reply FIFO that OpenSIPS accepts.
const MAX_REPLY_PATH: usize = 127;

/// The command FIFO of a server, which creates, reads, watches and removes it.
#[derive(Debug)]
pub struct CommandFifo {
    path: PathBuf,
    access: Access,
    open: Open,
    /// True if another process creates and removes the file.
    left: bool,
}

/// An open command FIFO.
#[derive(Debug)]
struct Open {
    file: File,
    inode: Inode,
    _mark: CommandMark,
}

impl CommandFifo {
    /// Creates the FIFO and opens it. Replaces the FIFO of a dead server; that of a running server is an error.
    pub fn create(path: &Path, access: Access) -> Result<Self, OpenError> {
        remove_abandoned(path)?;
        Ok(CommandFifo { path: path.to_owned(), access, open: make(path, access)?, left: false })
    }

    /// Returns true if there is something to read, or if something arrives within this time.
    pub fn wait(&self, patience: Duration) -> io::Result<bool> {
        let mut fd = [nix::poll::PollFd::new(self.open.file.as_fd(), nix::poll::PollFlags::POLLIN)];
        let millis = nix::poll::PollTimeout::try_from(patience).unwrap_or(nix::poll::PollTimeout::MAX);
        match nix::poll::poll(&mut fd, millis) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits briefly for something to read, without sleeping.
    pub fn await_eagerly(&self, habit: &mut Habit) -> io::Result<()> {
        habit.try_eagerly(|| self.wait(Duration::ZERO).map(|ready| ready.then_some(())).transpose()).unwrap_or(Ok(()))
    }

    /// Waits for something to read, without a time limit. A [`Waker`] ends the wait.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.open.file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other,
        }
    }

    /// Leaves the file in place when this is dropped, like the file of a process that died.
    pub fn leave(&mut self) {
        self.left = true;
    }

    /// The waker of this FIFO's reader.
    pub fn waker(&self) -> io::Result<Waker> {
        Ok(Waker { path: self.path.clone(), id: self.open.inode.id, file: self.open.file.try_clone()? })
    }

    /// Creates the FIFO again if it was removed or replaced, or opens the one that another process created. Returns
    /// true if it did.
    pub fn restore(&mut self) -> Result<bool, OpenError> {
        let found = std::fs::symlink_metadata(&self.path);
        if found.is_ok_and(|metadata| FileId::of(&metadata) == self.open.inode.id) {
            return Ok(false);
        }
        if self.left {
            return self.follow();
        }
        remove_abandoned(&self.path)?;
        self.open = make(&self.path, self.access)?;
        Ok(true)
    }

    /// Opens the FIFO that another process of this server has created in place of this one, if there is one.
    fn follow(&mut self) -> Result<bool, OpenError> {
        let is_marked = open_for_probe(&self.path).is_ok_and(command_mark::is_marked);
        if !is_marked {
            return Ok(false);
        }
        let (file, inode) = open(&self.path)?;
        if inode.uid != self.open.inode.uid && !inode.is_own() {
            return Err(OpenError::Foreign { expected: "FIFO", uid: inode.uid, path: self.path.clone() });
        }
        self.open = Open::new(file, inode, &self.path)?;
        Ok(true)
    }
}

impl Open {
    fn new(file: File, inode: Inode, path: &Path) -> Result<Self, OpenError> {
        let mark = CommandMark::set(&file, inode.id).map_err(io_error("mark", path))?;
        Ok(Open { file, inode, _mark: mark })
    }
}

/// Wakes the reader of a command FIFO, and checks whether the FIFO is still in place.
#[derive(Debug)]
pub struct Waker {
    path: PathBuf,
    id: FileId,
    file: File,
}

impl Waker {
    /// Sends the reader an empty line, which is no request but wakes it up.
    pub fn wake(&self) {
        // A full pipe wakes the reader anyway.
        if let Ok(true) = has_room(&self.file) {
            drop((&self.file).write(b"\n"));
        }
    }

    /// Returns true if the path leads to another file by now, or to none.
    pub fn is_replaced(&self) -> bool {
        !std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| FileId::of(&metadata) == self.id)
    }
}

fn has_room(file: &File) -> io::Result<bool> {
    let mut fd = [nix::poll::PollFd::new(file.as_fd(), nix::poll::PollFlags::POLLOUT)];
    Ok(nix::poll::poll(&mut fd, nix::poll::PollTimeout::ZERO)? > 0)
}

impl AsFd for CommandFifo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.open.file.as_fd()
    }
}

impl AsRawFd for CommandFifo {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.open.file.as_raw_fd()
    }
}

impl Drop for CommandFifo {
    fn drop(&mut self) {
        if !self.left {
            self.open.inode.id.remove(&self.path);
        }
    }
}

/// Creates the FIFO and opens it. Only this process's user can open it until its permissions are set.
fn make(path: &Path, access: Access) -> Result<Open, OpenError> {
    nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|errno| io_error("make the FIFO", path)(errno.into()))?;
    let (file, inode) = open(path)?;
    // In a directory that other users may write to, another file may have taken its place.
    if !inode.is_own() {
        return Err(OpenError::Foreign { expected: "FIFO", uid: inode.uid, path: path.to_owned() });
    }
    let open = Open::new(file, inode, path)?;
    set_access(open.file.as_fd(), path, access)?;
    Ok(open)
}

/// Removes a FIFO that no server reads. It may be open for writing elsewhere, or have unsuitable permissions. A FIFO
/// that has a reader, or any other file, is an error.
fn remove_abandoned(path: &Path) -> Result<(), OpenError> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(io_error("look at", path))?,
    };
    if !metadata.file_type().is_fifo() {
        return Err(OpenError::InTheWay { expected: "FIFO", found: kind_of(&metadata), path: path.to_owned() });
    }
    let refused = |error: io::Error, action| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            OpenError::Foreign { expected: "FIFO", uid: metadata.uid(), path: path.to_owned() }
        }
        _ => io_error(action, path)(error),
    };
    match open_for_probe(path) {
        Ok(_) => return Err(OpenError::InUse { path: path.to_owned(), pid: owner::of_fifo(path) }),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {}
        Err(error) => return Err(refused(error, "probe")),
    }
    std::fs::remove_file(path).map_err(|error| refused(error, "remove the abandoned FIFO"))
}

/// Opens the FIFO in both directions, so that it does not reach its end when the last client leaves. Never uses
/// `O_CREAT`, which `fs.protected_fifos` refuses in sticky directories.
fn open(path: &Path) -> Result<(File, Inode), OpenError> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY;
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(io_error("open", path))?;
    let inode = Inode::of(&file).map_err(|errno| io_error("look at", path)(errno.into()))?;
    if !inode.is(libc::S_IFIFO) {
        return Err(OpenError::InTheWay { expected: "FIFO", found: "another file", path: path.to_owned() });
    }
    Ok((file, inode))
}

/// Opens a FIFO for writing, which fails with `ENXIO` if it has no reader.
fn open_for_probe(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY;
    OpenOptions::new().write(true).custom_flags(flags).open(path)
}

/// The directory in which clients create their reply FIFOs.
#[derive(Debug)]
pub struct ReplyDir {
    path: PathBuf,
    fd: OwnedFd,
    /// The reserved descriptor, for replies when the process has no other left.
    spare: Arc<Spare>,
    /// True if names may be no longer than OpenSIPS allows.
    strict: bool,
    /// The only user who may write commands, if there is just one.
    sole_caller: Option<u32>,
}

/// The outcome of opening a reply FIFO for writing.
#[derive(Debug)]
pub enum Opened {
    /// It has a reader.
    Ready(ReplyFifo),
    /// It exists, but it has no reader yet.
    NoReader,
    /// The process has no descriptor left: even the reserved one is in use, or there is no reader yet.
    NoDescriptor,
    /// It must not be written to.
    Refused(Refusal),
}

/// The reason why a reply FIFO is not written to: the safety checks of `mi_fifo`.
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
    /// It is a file of another type.
    #[error("it is no FIFO")]
    NotFifo,
    /// It has a second hard link.
    #[error("it has {0} hard links")]
    Links(u32),
    /// A server reads commands from it.
    #[error("it is the command FIFO of a server")]
    CommandFifo,
    /// It may be the command FIFO of another program's server.
    #[error(
        "it belongs to user {uid} and has mode {mode:03o}, as the command FIFO of a server: expected one that \
         everybody may write to (chmod a+w)"
    )]
    Restricted {
        /// Its owner.
        uid: u32,
        /// Its permissions.
        mode: u32,
    },
    /// The system call failed.
    #[error("{0}")]
    System(Errno),
}

impl ReplyDir {
    /// Opens the directory. `access` is that of the command FIFO: the users who may send commands.
    pub fn open(path: &Path, strict: bool, access: Access) -> Result<Self, OpenError> {
        let owner = access.owner.unwrap_or_else(|| nix::unistd::Uid::effective().as_raw());
        let sole_caller = (access.mode & 0o022 == 0).then_some(owner);
        Ok(ReplyDir { path: path.to_owned(), fd: open_dir(path)?, spare: Spare::new(), strict, sole_caller })
    }

    /// Returns true if a reply FIFO may have this name, which must not lead out of the directory.
    pub fn accepts(&self, name: &[u8]) -> bool {
        let longest = if self.strict { MAX_REPLY_PATH.saturating_sub(self.path.as_os_str().len() + 1) } else { 255 };
        !name.is_empty() && name.len() <= longest && !name.iter().any(|byte| matches!(byte, b'.' | b'/' | b'\\' | 0))
    }

    /// Opens a reply FIFO for writing after the safety checks, without waiting for its reader.
    pub fn open_reply(&self, name: &[u8]) -> Opened {
        self.try_open(name).unwrap_or_else(Opened::Refused)
    }

    fn try_open(&self, name: &[u8]) -> Result<Opened, Refusal> {
        if !self.accepts(name) {
            return Err(Refusal::Name);
        }
        // The open file itself is checked, so it cannot be replaced after the check. Opening has no effect on a file
        // that turns out not to be a reply FIFO.
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = || nix::fcntl::openat(&self.fd, name, flags, Mode::empty());
        let (opened, lent) = match open() {
            Err(errno) if is_shortage(&errno.into()) => match self.spare.lend() {
                Some(lent) => (open(), Some(lent)),
                None => return Ok(Opened::NoDescriptor),
            },
            opened => {
                self.spare.recover();
                (opened, None)
            }
        };
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::ENXIO) if lent.is_none() => return Ok(Opened::NoReader),
            Err(Errno::ENXIO) => return Ok(Opened::NoDescriptor),
            Err(errno) if is_shortage(&errno.into()) => return Ok(Opened::NoDescriptor),
            Err(errno) => return Err(refusal(errno)),
        };
        let identity = self.check(&fd)?;
        Ok(Opened::Ready(ReplyFifo { file: fd.into(), lent, identity }))
    }

    /// Opens a reply FIFO as [`ReplyDir::open_reply`] does, if it is the one that was opened before. Another one is not
    /// opened: opening and closing it would end the reply that its reader waits for.
    pub fn open_again(&self, name: &[u8], before: ReplyIdentity) -> Opened {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let look = || Inode::of(nix::fcntl::openat(&self.fd, name, flags, Mode::empty())?);
        if !self.accepts(name) || !look().is_ok_and(|inode| ReplyIdentity::of(&inode) == before) {
            return Opened::Refused(Refusal::Missing);
        }
        match self.open_reply(name) {
            Opened::Ready(fifo) if fifo.identity != before => Opened::Refused(Refusal::Missing),
            opened => opened,
        }
    }

    /// Checks that an open file is a FIFO that a client created for replies, and that it has one hard link.
    ///
    /// A client must not make the server write where the client itself may not write: for example into a command FIFO,
    /// also that of another server. Clients make their reply FIFOs writable for all users, since the server usually
    /// runs as another user. No server makes its command FIFO readable for all users. A FIFO that is neither is
    /// refused, unless only one user may send commands and owns it.
    fn check(&self, fd: &OwnedFd) -> Result<ReplyIdentity, Refusal> {
        let inode = Inode::of(fd).map_err(refusal)?;
        if !inode.is(libc::S_IFIFO) {
            return Err(Refusal::NotFifo);
        }
        if inode.links != 1 {
            return Err(Refusal::Links(inode.links));
        }
        let mode = inode.permissions();
        let is_public = mode & 0o002 != 0;
        if command_mark::is_own(inode.id) || (!is_public && command_mark::is_marked(fd)) {
            return Err(Refusal::CommandFifo);
        }
        let is_plain = mode & 0o004 != 0 || self.sole_caller == Some(inode.uid);
        if is_public || is_plain {
            Ok(ReplyIdentity::of(&inode))
        } else {
            Err(Refusal::Restricted { uid: inode.uid, mode })
        }
    }

    /// Returns true if the directory was removed after it was opened.
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
