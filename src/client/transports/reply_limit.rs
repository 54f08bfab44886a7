//! The default limit of a reply.

/// The default limit of a reply in bytes: a dump of some 500,000 contacts.
pub const REPLY_LIMIT: usize = 256 << 20;
