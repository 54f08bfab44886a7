//! The members of requests and answers.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Visitor};

/// A member that has a meaning, or any other.
pub(super) enum Member {
    Version,
    Id,
    Method,
    Params,
    Result,
    Error,
    Other,
}

/// Reads a member's name as one of those that count, without regard to case.
pub(super) struct MemberSeed;

impl<'de> DeserializeSeed<'de> for MemberSeed {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Member, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for MemberSeed {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Member, E> {
        let known = [
            ("jsonrpc", Member::Version),
            ("id", Member::Id),
            ("method", Member::Method),
            ("params", Member::Params),
            ("result", Member::Result),
            ("error", Member::Error),
        ];
        let found = known.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        Ok(found.map_or(Member::Other, |(_, member)| member))
    }
}
