//! The credentials of a caller, as HTTP has them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::item::Str;

/// The caller's credentials for HTTP. Their `Debug` output omits secrets.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user's name and password (4.x, and proxies before any version).
    Basic {
        /// The user's name.
        user: Str,
        /// The user's password.
        password: Str,
    },
    /// A bearer token.
    Token(Str),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Basic { .. } => "Basic(..)",
            Credentials::Token(_) => "Token(..)",
        })
    }
}

impl Credentials {
    /// Appends the value of the header `Authorization`; the error names the character that HTTP cannot carry.
    pub(in crate::client) fn write(&self, headers: &mut Vec<u8>) -> Result<(), &'static str> {
        let has_control = |text: &Str| text.iter().any(|byte| *byte < b' ' || *byte == 0x7f);
        match self {
            Credentials::Basic { user, .. } if user.contains(&b':') => {
                return Err("a user's name cannot hold a colon");
            }
            Credentials::Basic { user, password } if has_control(user) || has_control(password) => {
                return Err("a user's name and password cannot hold control characters");
            }
            Credentials::Basic { user, password } => {
                headers.extend_from_slice(b"Basic ");
                let joined = [user.as_bytes(), b":", password.as_bytes()].concat();
                headers.extend_from_slice(STANDARD.encode(joined).as_bytes());
            }
            Credentials::Token(token) if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) => {
                return Err("expected a token of printable ASCII without blanks");
            }
            Credentials::Token(token) => {
                headers.extend_from_slice(b"Bearer ");
                headers.extend_from_slice(token);
            }
        }
        Ok(())
    }
}
