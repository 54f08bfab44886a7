//! Addresses of MI endpoints: `fifo:/path?reply_dir=/tmp`, `udp:host:port`, `unix:/path`. Parsing and printing in one type.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where OpenSIPS looks for reply FIFOs unless told otherwise.
pub const DEFAULT_REPLY_DIR: &str = "/tmp";

/// Where a server listens or a client connects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A command FIFO and the directory of the reply FIFOs.
    Fifo {
        /// The command FIFO.
        path: PathBuf,
        /// Where replies go; `None` when the address does not say.
        reply_dir: Option<PathBuf>,
    },
    /// A UDP host and port. IPv6 hosts are written in brackets.
    Udp {
        /// Name or number.
        host: String,
        /// 0 picks a free one when listening.
        port: u16,
    },
    /// A UNIX datagram socket.
    Unix {
        /// Its path; one that begins with `@` is abstract.
        path: PathBuf,
    },
    /// `http://` or `https://`: kept as it was written.
    Http(String),
}

/// An address cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the address {text:?}: expected {expected}")]
pub struct AddressError {
    text: String,
    expected: &'static str,
}

impl Address {
    /// The directory of the reply FIFOs.
    pub fn reply_dir(&self) -> &Path {
        match self {
            Address::Fifo { reply_dir: Some(dir), .. } => dir,
            _ => Path::new(DEFAULT_REPLY_DIR),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |expected| AddressError { text: without_secrets(text), expected };
        let (scheme, rest) = text
            .split_once(':')
            .ok_or_else(|| error("fifo:/path, udp:host:port, unix:/path or http(s)://host:port/root"))?;
        match scheme {
            "fifo" => parse_fifo(rest).ok_or_else(|| error("fifo:/path, or fifo:/path?reply_dir=/directory")),
            "udp" => parse_udp(rest)
                .ok_or_else(|| error("udp:host:port, with an IPv6 host in brackets and a port of 0 to 65535")),
            "unix" if !rest.is_empty() => Ok(Address::Unix { path: rest.into() }),
            "unix" => Err(error("unix:/path")),
            "http" | "https" if rest.starts_with("//") && rest.len() > 2 => Ok(Address::Http(text.to_owned())),
            _ => Err(error("one of the schemes fifo:, udp:, unix:, http:// and https://")),
        }
    }
}

/// A URL may hold a user's password, also one that is misspelt.
fn without_secrets(text: &str) -> String {
    match (text.split_once("//"), text.rsplit_once('@')) {
        (Some((scheme, rest)), Some((_, shown))) if rest.contains('@') => format!("{scheme}//{shown}"),
        _ => text.to_owned(),
    }
}

/// The path ends at the last `?`.
fn parse_fifo(rest: &str) -> Option<Address> {
    let (path, reply_dir) = match rest.rsplit_once("?reply_dir=") {
        Some((path, dir)) if !dir.is_empty() => (path, Some(dir.into())),
        Some(_) => return None,
        None => (rest, None),
    };
    (!path.is_empty()).then(|| Address::Fifo { path: path.into(), reply_dir })
}

fn parse_udp(rest: &str) -> Option<Address> {
    let (host, port) = parse_host_and_port(rest)?;
    Some(Address::Udp { host: host.to_owned(), port })
}

/// `host:port`, with an IPv6 host in brackets.
pub(crate) fn parse_host_and_port(rest: &str) -> Option<(&str, u16)> {
    let (host, port) = rest.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok()?;
    (!host.is_empty()).then_some((host, port))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Fifo { path, reply_dir: None } => write!(f, "fifo:{}", path.display()),
            Address::Fifo { path, reply_dir: Some(dir) } => {
                write!(f, "fifo:{}?reply_dir={}", path.display(), dir.display())
            }
            Address::Udp { host, port } if host.contains(':') => write!(f, "udp:[{host}]:{port}"),
            Address::Udp { host, port } => write!(f, "udp:{host}:{port}"),
            Address::Unix { path } if path.as_os_str().as_bytes().first() == Some(&0) => {
                write!(f, "unix:@{}", String::from_utf8_lossy(&path.as_os_str().as_bytes()[1..]))
            }
            Address::Unix { path } => write!(f, "unix:{}", path.display()),
            Address::Http(url) => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_as_it_was_written() {
        for text in [
            "fifo:/tmp/opensips_fifo",
            "fifo:/tmp/a?b?reply_dir=/run/r",
            "udp:127.0.0.1:8080",
            "udp:[::1]:0",
            "udp:localhost:65535",
            "unix:/tmp/opensips.sock",
            "unix:@abstract",
            "https://host:8888/mi",
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn an_invalid_address_is_an_error_with_the_expected_form() {
        for text in [
            "",
            "fifo:",
            "fifo:/x?reply_dir=",
            "udp:host",
            "udp:host:70000",
            "udp:::1:80",
            "tcp:h:1",
            "http:",
            "/tmp/fifo",
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains("expected"), "{error}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_read_keeps_its_password() {
        let error = "htp://alice:s3cret@host/mi".parse::<Address>().expect_err("no scheme").to_string();
        assert!(error.contains("htp://host/mi") && !error.contains("s3cret"), "{error}");
    }
}
