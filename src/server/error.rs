//! The errors of a server.

use crate::address::Address;
use crate::transport::OpenError;

/// A server cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An endpoint cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The address says too little, or too much.
    #[error("cannot listen on {0}: expected http://host:port")]
    NotServed(Address),
    /// It has been started.
    #[error("the server is running already")]
    Running,
    /// It is served by several processes, which all have the same endpoints.
    #[error("run(processes=) opens endpoints before it begins to serve: expected listen() before it")]
    Divided,
    /// The system gives no thread.
    #[error("cannot start a thread: {0} (see `ulimit -u`, and TasksMax= of the service)")]
    Threads(std::io::Error),
    /// The system has no memory for several processes to share.
    #[error("no memory to share with other processes: {0}")]
    Memory(std::io::Error),
}
