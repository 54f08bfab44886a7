//! The grammar of CPU lists: `0-3,8`, `0-31:2/8`, `all`, `N` (`bitmap_parse_region` of Linux `lib/bitmap-str.c`).

use super::cpuset::{CpuSet, CpuSetError, MAX_CPUS};

/// Long texts are cut in errors.
pub(super) fn shorten(text: &str) -> String {
    const SHOWN: usize = 120;
    if text.chars().count() <= SHOWN {
        text.to_owned()
    } else {
        text.chars().take(SHOWN).chain("...".chars()).collect()
    }
}

/// Reads one item of a list after the other.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    limit: Option<usize>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, limit: Option<usize>) -> Self {
        Cursor { text, at: 0, limit }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn at_end_of_region(&self) -> bool {
        self.peek().is_none_or(|byte| byte == b',' || byte.is_ascii_whitespace())
    }

    pub(super) fn skip_separators(&mut self) {
        while self.peek().is_some_and(|byte| byte == b',' || byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn unexpected(&self, expected: &'static str) -> CpuSetError {
        let found = self.text.get(self.at..).and_then(|rest| rest.chars().next());
        let found = found.map_or_else(|| "the end".to_owned(), String::from);
        CpuSetError::Syntax { expected, found, at: self.at, text: shorten(self.text) }
    }

    fn last_cpu(&self, keyword: &'static str) -> Result<u64, CpuSetError> {
        let limit = self.limit.filter(|limit| *limit > 0);
        limit
            .map(|limit| limit as u64 - 1)
            .ok_or_else(|| CpuSetError::NeedsLimit { keyword, text: shorten(self.text) })
    }

    fn number(&mut self) -> Result<u64, CpuSetError> {
        if self.peek() == Some(b'N') {
            self.at += 1;
            return self.last_cpu("N");
        }
        let start = self.at;
        let mut value = 0_u64;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            value = value.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected("a CPU number")) } else { Ok(value) }
    }

    fn eat(&mut self, byte: u8, expected: &'static str) -> Result<(), CpuSetError> {
        if self.peek() != Some(byte) {
            return Err(self.unexpected(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// `all`, `N`, `3`, `0-3`, each range with `:used/group` or without (`bitmap_parse_region`).
    pub(super) fn region(&mut self, set: &mut CpuSet) -> Result<(), CpuSetError> {
        let all =
            self.text.as_bytes().get(self.at..self.at + 3).is_some_and(|word| word.eq_ignore_ascii_case(b"all"));
        let (first, last) = if all {
            self.at += 3;
            (0, self.last_cpu("all")?)
        } else {
            let first = self.number()?;
            if self.at_end_of_region() {
                (first, first)
            } else {
                self.eat(b'-', "\"-\" or \",\"")?;
                (first, self.number()?)
            }
        };
        let (used, group) = if self.at_end_of_region() {
            (u64::MAX, u64::MAX)
        } else {
            self.eat(b':', "\":\" or \",\"")?;
            let used = self.number()?;
            self.eat(b'/', "\"/\"")?;
            let group = self.number()?;
            if group == 0 || used > group {
                return Err(self.unexpected("used/group with used not above group and group not 0"));
            }
            (used, group)
        };
        if !self.at_end_of_region() {
            return Err(self.unexpected("\",\""));
        }
        if first > last {
            return Err(CpuSetError::Reversed { first, last, text: shorten(self.text) });
        }
        let bound = self.limit.unwrap_or(MAX_CPUS).min(MAX_CPUS);
        if last >= bound as u64 {
            return Err(CpuSetError::OutOfRange { cpu: last, limit: bound, text: shorten(self.text) });
        }
        let mut start = first;
        while start <= last {
            let end = start.saturating_add(used).min(last + 1);
            set.insert_range(start as usize, end as usize);
            start = start.saturating_add(group);
        }
        Ok(())
    }
}
