//! The sizes that servers take of one request, by transport and version.

/// The longest command name that is sent. Real ones have less than 40 bytes.
pub const LONGEST_NAME: usize = 128;

/// A JSON FIFO of 3.x and 4.x reads this much; the bytes after it are read as a request of their own.
pub const JSON_FRAME: usize = 4096;

/// A text FIFO of 1.x and 2.x reads 8,192 bytes of parameters, in which an empty line and a NUL must fit.
pub const TEXT_PARAMS: usize = 8190;

/// A text FIFO of 2.x reads no longer line for a command that takes no input.
pub const NO_INPUT_LINE: usize = 1023;

/// `mi_datagram` reads this much.
pub const DATAGRAM: usize = 65_457;

/// The largest payload of a UDP datagram over IPv4.
pub const UDP_DATAGRAM: usize = 65_507;

/// From 3.6 on, `httpd` collects a body in a buffer of this size (modparam `receive_buf_size`).
pub const HTTP_BODY_SIZE: usize = 1024;

/// The library of `mi_xmlrpc` (1.x) takes a body of this size (`XMLRPC_XML_SIZE_LIMIT_DEFAULT` of xmlrpc-c).
pub const ABYSS_BODY_SIZE: usize = 512 * 1024;

/// Before 3.6, `httpd` wants head and body in the memory that it has for a connection.
pub const HTTP_MESSAGE_SIZE: usize = 16_384;

/// `mi_xmlrpc` of 1.11 lists 5,000 addresses of record, and dies of 10,000.
pub const ABYSS_RECORDS: u64 = 5_000;

/// A directory and name of a reply FIFO together.
pub const REPLY_PATH: usize = 127;
