//! The CPUs that irqbalance bans, read from its variables as irqbalance itself reads them (`setup_banned_cpus` in its
//! `cputree.c`, `__bitmap_parse` and `__bitmap_parselist` in its `bitmap.c`). It stops at the first unknown character,
//! keeps the CPUs read before it, and logs nothing.

use super::cpuset::{CpuSet, MAX_CPUS};

/// The contents of the two variables. An empty value counts as none.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CpuBans {
    /// `IRQBALANCE_BANNED_CPUS`; it wins over the list.
    pub mask: Option<String>,
    /// `IRQBALANCE_BANNED_CPULIST`.
    pub list: Option<String>,
}

impl CpuBans {
    /// From values that may be empty.
    pub fn new(mask: Option<String>, list: Option<String>) -> Self {
        let filled = |value: Option<String>| value.filter(|text| !text.is_empty());
        CpuBans { mask: filled(mask), list: filled(list) }
    }

    /// The banned CPUs; none where neither variable is set. irqbalance then bans the isolated and `nohz_full` ones instead.
    pub fn cpus(&self) -> Option<CpuSet> {
        let mask = self.mask.as_deref().map(read_mask);
        mask.or_else(|| self.list.as_deref().map(read_list))
    }
}

/// Items and ranges up to the first that is none: `0-1,4-N` is 0-1, `-` and `0x3` are nothing.
pub fn read_list(text: &str) -> CpuSet {
    let mut cpus = CpuSet::new();
    for item in text.split(',') {
        let Some((first, last)) = range(item.trim_ascii()) else { break };
        if first > last || last >= MAX_CPUS {
            break;
        }
        (first..=last).for_each(|cpu| cpus.insert(cpu));
    }
    cpus
}

/// `4` or `4-7`. An item without digits is CPU 0, as in irqbalance's `1,,3`.
fn range(item: &str) -> Option<(usize, usize)> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok())?
    };
    match item.split_once('-') {
        _ if item.is_empty() => Some((0, 0)),
        // `4-` ends its range with the 0 that it began with, which is less than 4.
        Some((first, "")) => number(first).map(|first| (first, 0)),
        Some((first, last)) => Some((number(first)?, number(last)?)),
        None => number(item).map(|cpu| (cpu, cpu)),
    }
}

/// Groups of up to eight hexadecimal digits, the most significant first, up to the first that is none: `0x3` is nothing.
pub fn read_mask(text: &str) -> CpuSet {
    let mut read = Vec::new();
    for group in text.trim_ascii().split(',') {
        let digits = group.trim_ascii().trim_start_matches('0');
        if group.trim_ascii().is_empty() || digits.len() > 8 {
            break;
        }
        let Ok(bits) = u32::from_str_radix(if digits.is_empty() { "0" } else { digits }, 16) else { break };
        read.push(bits);
    }
    let cpus =
        read.iter().rev().enumerate().flat_map(|(group, bits)| {
            (0..32).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| group * 32 + bit)
        });
    cpus.filter(|cpu| *cpu < MAX_CPUS).collect()
}

#[cfg(test)]
mod tests {
    use super::{CpuBans, read_list, read_mask};

    #[test]
    fn a_list_counts_up_to_the_first_character_that_irqbalance_does_not_know() {
        for (text, cpus) in [
            ("2-3,8", "2-3,8"),
            ("-", ""),
            ("4-N", ""),
            ("0-1,4-N,6", "0-1"),
            ("0x3", ""),
            ("0-8:2/4", ""),
            ("all", ""),
            ("7-2", ""),
            ("4-", ""),
            ("1,,3", "0-1,3"),
            (" 1 , 2 ", "1-2"),
            ("99999999999", ""),
        ] {
            assert_eq!(read_list(text).to_list(), cpus, "{text}");
        }
    }

    #[test]
    fn a_mask_counts_up_to_the_first_group_that_irqbalance_does_not_know() {
        for (text, cpus) in [
            ("c", "2-3"),
            ("1,00000000", "32"),
            ("00,00000000,00000080", "7"),
            ("0x3", ""),
            ("ff,0x3", "0-7"),
            ("fffffffff", ""),
            ("zz", ""),
        ] {
            assert_eq!(read_mask(text).to_list(), cpus, "{text}");
        }
    }

    #[test]
    fn the_mask_wins_and_an_empty_value_is_none() {
        let bans = |mask: &str, list: &str| CpuBans::new(Some(mask.to_owned()), Some(list.to_owned())).cpus();
        assert_eq!(bans("1", "2").unwrap().to_list(), "0");
        assert_eq!(bans("", "2").unwrap().to_list(), "2");
        assert_eq!(bans("", "-").unwrap().to_list(), "", "set, and bans no CPU");
        assert_eq!(bans("", ""), None);
    }
}
