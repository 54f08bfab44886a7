//! A set of CPUs of any size, in the kernel's two spellings: the mask and the list.
//!
//! The grammars are those of `bitmap_parse` and `bitmap_parselist` (Linux `lib/bitmap-str.c`), which read
//! `smp_affinity`, `smp_affinity_list`, `rps_cpus` and cpuset files. glibc's `cpu_set_t` stops at 1024 CPUs; this does not.

use std::fmt;

use super::cpulist::{Cursor, shorten};

/// No kernel is built for more CPUs than this; a larger number in a file or an argument is a mistake
/// and must not cost its size in memory (`CONFIG_NR_CPUS` is at most 8192 today).
pub const MAX_CPUS: usize = 65_536;

const BITS: usize = 64;

/// The reason why a text is no CPU set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuSetError {
    /// Neither a digit, a range nor a keyword of the grammar (the kernel answers EINVAL).
    #[error("expected {expected}, found {found:?} at byte {at} of CPU set {text:?}")]
    Syntax {
        /// The tokens that the grammar allows at this position.
        expected: &'static str,
        /// The text at this position.
        found: String,
        /// Its offset in bytes.
        at: usize,
        /// The whole text, cut to a readable length.
        text: String,
    },
    /// `3-1` (EINVAL).
    #[error("expected a rising range, found {first}-{last} in CPU set {text:?}")]
    Reversed {
        /// Left of the hyphen.
        first: u64,
        /// Right of it.
        last: u64,
        /// The whole text.
        text: String,
    },
    /// More than 8 hexadecimal digits in one group (EOVERFLOW).
    #[error("expected at most 8 hexadecimal digits in a group, found {digits} at byte {at} of CPU mask {text:?}")]
    Overflow {
        /// How many.
        digits: usize,
        /// Where the group starts.
        at: usize,
        /// The whole text.
        text: String,
    },
    /// A CPU that cannot exist here (ERANGE from a list, EOVERFLOW from a mask).
    #[error("expected CPU numbers below {limit}, found {cpu} in CPU set {text:?}")]
    OutOfRange {
        /// The first CPU that is too high.
        cpu: u64,
        /// One more than the highest possible.
        limit: usize,
        /// The whole text.
        text: String,
    },
    /// `all` or `N` without knowing how many CPUs there are.
    #[error("{keyword:?} in CPU set {text:?} needs the number of CPUs, and none was given")]
    NeedsLimit {
        /// The keyword.
        keyword: &'static str,
        /// The whole text.
        text: String,
    },
    /// No CPU at all, where at least one is needed. The kernel takes an empty write for success and does nothing.
    #[error("expected at least one CPU, found none in {text:?}")]
    Empty {
        /// The whole text.
        text: String,
    },
}

/// A set of CPU numbers, compared as a set: `00,00000003` equals `3`.
///
/// ```
/// use sipmi::affinity::CpuSet;
/// let cpus = CpuSet::parse_list("0-3,8", None)?;
/// assert_eq!(cpus, CpuSet::parse_mask("00000000,0000010f", None)?);
/// assert_eq!((cpus.to_mask(), cpus.to_list()), ("10f".into(), "0-3,8".into()));
/// assert_eq!(CpuSet::parse_list("0-31:2/8", None)?.len(), 8);      // two of every eight
/// # Ok::<(), sipmi::affinity::CpuSetError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct CpuSet {
    /// Never ends in a zero word, so that equal sets are equal vectors.
    words: Vec<u64>,
}

impl CpuSet {
    /// No CPU.
    pub const fn new() -> Self {
        Self { words: Vec::new() }
    }

    /// CPU 0 up to, not including, `count`.
    pub fn first(count: usize) -> Self {
        let mut set = Self::new();
        set.insert_range(0, count.min(MAX_CPUS));
        set
    }

    /// Reads `0-3,8`, `0-31:2/8`, `all`, `N` as `bitmap_parselist` does: items stand between commas or blanks, only the
    /// first line counts, nothing at all is the empty set. `limit` is the number of possible CPUs.
    pub fn parse_list(text: &str, limit: Option<usize>) -> Result<Self, CpuSetError> {
        let line = text.split(['\n', '\0']).next().unwrap_or_default();
        let mut set = Self::new();
        let mut cursor = Cursor::new(line, limit);
        loop {
            cursor.skip_separators();
            if cursor.peek().is_none() {
                return Ok(set);
            }
            cursor.region(&mut set)?;
        }
    }

    /// Reads `ff,00000001` as `bitmap_parse` does: groups of up to 8 hexadecimal digits, the last group lowest.
    /// There is no `0x`. `limit` is the number of possible CPUs.
    pub fn parse_mask(text: &str, limit: Option<usize>) -> Result<Self, CpuSetError> {
        let line = text.split(['\n', '\0']).next().unwrap_or_default();
        let shown = || shorten(line);
        let mut groups = Vec::new();
        let mut at = 0;
        for group in line.split(|c: char| c == ',' || c.is_ascii_whitespace()) {
            if let Some(bad) = group.find(|c: char| !c.is_ascii_hexdigit()) {
                let found = group[bad..].chars().next().map(String::from).unwrap_or_default();
                let expected = "a hexadecimal digit without 0x";
                return Err(CpuSetError::Syntax { expected, found, at: at + bad, text: shown() });
            }
            if group.len() > 8 {
                return Err(CpuSetError::Overflow { digits: group.len(), at, text: shown() });
            }
            if !group.is_empty() {
                groups.push(u32::from_str_radix(group, 16).unwrap_or_default());
            }
            at += group.len() + 1;
        }
        if groups.is_empty() {
            let expected = "a hexadecimal digit";
            return Err(CpuSetError::Syntax { expected, found: String::new(), at: 0, text: shown() });
        }
        let bound = limit.unwrap_or(MAX_CPUS).min(MAX_CPUS);
        let mut set = Self::new();
        for (index, group) in groups.iter().rev().enumerate() {
            if *group == 0 {
                continue;
            }
            let top = index * 32 + (31 - group.leading_zeros() as usize);
            if top >= bound {
                return Err(CpuSetError::OutOfRange { cpu: top as u64, limit: bound, text: shown() });
            }
            let word = index / 2;
            if set.words.len() <= word {
                set.words.resize(word + 1, 0);
            }
            set.words[word] |= u64::from(*group) << (32 * (index % 2));
        }
        Ok(set)
    }

    /// Returns an error if there is no CPU in the set: `smp_affinity` would silently ignore the write.
    pub fn require_some(self) -> Result<Self, CpuSetError> {
        if self.is_empty() { Err(CpuSetError::Empty { text: self.to_list() }) } else { Ok(self) }
    }

    /// Adds a CPU; numbers from [`MAX_CPUS`] on are left out. (`CPU_SET` of the C library.)
    pub fn insert(&mut self, cpu: usize) {
        if cpu >= MAX_CPUS {
            return;
        }
        let word = cpu / BITS;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (cpu % BITS);
    }

    /// Adds `start` up to, not including, `end`, a word at a time.
    pub(super) fn insert_range(&mut self, start: usize, end: usize) {
        if start >= end {
            return;
        }
        let last = (end - 1) / BITS;
        if self.words.len() <= last {
            self.words.resize(last + 1, 0);
        }
        for word in start / BITS..=last {
            let low = start.max(word * BITS) - word * BITS;
            let high = end.min((word + 1) * BITS) - word * BITS;
            self.words[word] |= (u64::MAX >> (BITS - (high - low))) << low;
        }
    }

    /// Takes a CPU out (`CPU_CLR`).
    pub fn remove(&mut self, cpu: usize) {
        if let Some(word) = self.words.get_mut(cpu / BITS) {
            *word &= !(1 << (cpu % BITS));
        }
        self.trim();
    }

    /// Returns true if the CPU is in the set (`CPU_ISSET`).
    pub fn contains(&self, cpu: usize) -> bool {
        self.words.get(cpu / BITS).is_some_and(|word| word & (1 << (cpu % BITS)) != 0)
    }

    /// How many CPUs (`CPU_COUNT`).
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns true if the set has no CPU (the state after `CPU_ZERO`).
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The lowest CPU.
    pub fn lowest(&self) -> Option<usize> {
        self.iter().next()
    }

    /// The highest CPU.
    pub fn highest(&self) -> Option<usize> {
        let word = self.words.last()?;
        Some(self.words.len() * BITS - 1 - word.leading_zeros() as usize)
    }

    /// The CPUs in rising order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    index * BITS + bit
                })
            })
        })
    }

    /// Returns true if every CPU of this set is in the other.
    pub fn is_subset(&self, other: &Self) -> bool {
        (self - other).is_empty()
    }

    /// Returns true if the sets have no CPU in common.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).all(|(a, b)| a & b == 0)
    }

    /// The mask, as short as it can be: `10f`, `1,00000000`; `0` for the empty set.
    pub fn to_mask(&self) -> String {
        self.groups(self.highest().map_or(1, |top| top + 1), false)
    }

    /// The mask as a kernel with `cpus` possible CPUs prints it (`%*pb`): `00,00000000,00000080` for 72 CPUs.
    pub fn to_padded_mask(&self, cpus: usize) -> String {
        self.groups(cpus.max(self.highest().map_or(1, |top| top + 1)), true)
    }

    fn groups(&self, bits: usize, padded: bool) -> String {
        use fmt::Write;
        let count = bits.div_ceil(32);
        let mut text = String::with_capacity(count * 9);
        for index in (0..count).rev() {
            let word = self.words.get(index / 2).copied().unwrap_or_default();
            let group = (word >> (32 * (index % 2))) as u32;
            // Writing to a String cannot fail.
            let _ = if index + 1 < count {
                write!(text, ",{group:08x}")
            } else if padded {
                let digits = (bits - 32 * (count - 1)).div_ceil(4);
                write!(text, "{group:0digits$x}")
            } else {
                write!(text, "{group:x}")
            };
        }
        text
    }

    /// The list: `0-3,8`; empty for the empty set.
    pub fn to_list(&self) -> String {
        use fmt::Write;
        let mut text = String::new();
        let mut cpus = self.iter().peekable();
        while let Some(start) = cpus.next() {
            let mut end = start;
            while cpus.next_if_eq(&(end + 1)).is_some() {
                end += 1;
            }
            let comma = if text.is_empty() { "" } else { "," };
            let _ = if start == end { write!(text, "{comma}{start}") } else { write!(text, "{comma}{start}-{end}") };
        }
        text
    }

    fn trim(&mut self) {
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    fn zip(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        let len = self.words.len().max(other.words.len());
        let word = |set: &Self, index: usize| set.words.get(index).copied().unwrap_or_default();
        let mut set = Self { words: (0..len).map(|i| combine(word(self, i), word(other, i))).collect() };
        set.trim();
        set
    }
}

impl FromIterator<usize> for CpuSet {
    fn from_iter<T: IntoIterator<Item = usize>>(cpus: T) -> Self {
        let mut set = Self::new();
        cpus.into_iter().for_each(|cpu| set.insert(cpu));
        set
    }
}

impl std::ops::BitAnd for &CpuSet {
    type Output = CpuSet;
    fn bitand(self, other: &CpuSet) -> CpuSet {
        self.zip(other, |a, b| a & b)
    }
}

impl std::ops::BitOr for &CpuSet {
    type Output = CpuSet;
    fn bitor(self, other: &CpuSet) -> CpuSet {
        self.zip(other, |a, b| a | b)
    }
}

impl std::ops::BitXor for &CpuSet {
    type Output = CpuSet;
    fn bitxor(self, other: &CpuSet) -> CpuSet {
        self.zip(other, |a, b| a ^ b)
    }
}

impl std::ops::Sub for &CpuSet {
    type Output = CpuSet;
    fn sub(self, other: &CpuSet) -> CpuSet {
        self.zip(other, |a, b| a & !b)
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_list())
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CpuSet({:?})", self.to_list())
    }
}
