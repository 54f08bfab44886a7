//! CPU sets in the kernel's two spellings.
#![cfg(all(feature = "net", target_os = "linux"))]

use std::collections::BTreeSet;

use proptest::prelude::*;
use sipmi::affinity::{CpuSet, CpuSetError, MAX_CPUS};

fn list(text: &str) -> CpuSet {
    CpuSet::parse_list(text, Some(8192)).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn mask(text: &str) -> CpuSet {
    CpuSet::parse_mask(text, None).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn cpus() -> impl Strategy<Value = BTreeSet<usize>> {
    prop_oneof![
        proptest::collection::btree_set(0_usize..8192, 0..200),
        (0_usize..8192, 0_usize..8192).prop_map(|(a, b)| (a.min(b)..=a.max(b)).collect()),
    ]
}

#[test]
fn a_mask_and_a_list_of_the_same_cpus_are_equal() {
    assert_eq!(mask("00,00000000,00000080"), list("7"));
    assert_eq!(mask("ff,ffffc000,000fffff,fc000000"), list("26-51,78-103"));
    assert_eq!(list("3,1,2"), list("1-3"));
}

#[test]
fn input_that_kernels_accept_is_accepted() {
    // Each was written to smp_affinity or smp_affinity_list of Linux 6.1 and 6.12 and read back.
    assert_eq!(mask("1,0"), list("32"));
    assert_eq!(mask("2,"), list("1"));
    assert_eq!(mask(",,2"), list("1"));
    assert_eq!(mask(" 2 "), list("1"));
    assert_eq!(list("1 2"), list("1-2"));
    assert_eq!(list("0-3:1/2"), list("0,2"));
    assert_eq!(list("0-31:2/8"), list("0-1,8-9,16-17,24-25"));
    assert_eq!(CpuSet::parse_list("all", Some(8)).unwrap(), list("0-7"));
    assert_eq!(CpuSet::parse_list("N", Some(8)).unwrap(), list("7"));
    assert_eq!(CpuSet::parse_list("2-N", Some(8)).unwrap(), list("2-7"));
    assert_eq!(CpuSet::parse_list("all:1/2", Some(8)).unwrap(), list("0,2,4,6"));
    assert_eq!(list("0\n1\n"), list("0"), "only the first line counts");
}

#[test]
fn input_that_kernels_reject_is_rejected_with_its_position() {
    let syntax = |text: &str| CpuSet::parse_mask(text, Some(8)).unwrap_err();
    assert!(matches!(syntax("0x2"), CpuSetError::Syntax { at: 1, .. }));
    assert!(matches!(syntax("zz"), CpuSetError::Syntax { at: 0, .. }));
    assert!(matches!(syntax("100000000"), CpuSetError::Overflow { digits: 9, .. }));
    assert!(matches!(syntax("ffffffff"), CpuSetError::OutOfRange { cpu: 31, limit: 8, .. }));
    let list = |text: &str| CpuSet::parse_list(text, Some(8)).unwrap_err();
    assert!(matches!(list("1-0"), CpuSetError::Reversed { first: 1, last: 0, .. }));
    assert!(matches!(list("9999"), CpuSetError::OutOfRange { cpu: 9999, limit: 8, .. }));
    assert!(matches!(list("0-200"), CpuSetError::OutOfRange { cpu: 200, .. }));
    assert!(matches!(list("1-2:3/2"), CpuSetError::Syntax { .. }));
    assert!(matches!(list("1-2:1/0"), CpuSetError::Syntax { .. }));
    assert!(matches!(list("1;2"), CpuSetError::Syntax { at: 1, .. }));
    assert!(matches!(CpuSet::parse_list("all", None).unwrap_err(), CpuSetError::NeedsLimit { keyword: "all", .. }));
    assert!(matches!(CpuSet::new().require_some().unwrap_err(), CpuSetError::Empty { .. }));
    let text = list("1;2").to_string();
    assert!(text.contains("byte 1") && text.contains("\";\""), "{text}");
}

#[test]
fn a_number_that_no_machine_has_costs_no_memory() {
    assert!(CpuSet::parse_list("0-18446744073709551615", None).is_err());
    assert!(CpuSet::parse_list("99999999999999999999999", None).is_err());
    assert!(CpuSet::parse_mask(&format!("1,{}", "00000000,".repeat(MAX_CPUS / 32)), None).is_err());
    let mut set = CpuSet::new();
    set.insert(usize::MAX);
    assert!(set.is_empty());
}

#[test]
fn masks_are_printed_as_a_kernel_of_that_many_cpus_prints_them() {
    assert_eq!(list("7").to_padded_mask(72), "00,00000000,00000080");
    assert_eq!(list("0-7").to_padded_mask(8), "ff");
    assert_eq!(list("0-3").to_padded_mask(4), "f");
    assert_eq!(list("0").to_padded_mask(144), "0000,00000000,00000000,00000000,00000001");
    assert_eq!(CpuSet::new().to_mask(), "0");
    assert_eq!(CpuSet::new().to_list(), "");
}

proptest! {
    #[test]
    fn every_set_survives_both_spellings(cpus in cpus()) {
        let set: CpuSet = cpus.iter().copied().collect();
        prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), cpus.clone());
        prop_assert_eq!(set.len(), cpus.len());
        prop_assert_eq!(&CpuSet::parse_list(&set.to_list(), Some(8192)).unwrap(), &set);
        prop_assert_eq!(&CpuSet::parse_mask(&set.to_mask(), Some(8192)).unwrap(), &set);
        prop_assert_eq!(&CpuSet::parse_mask(&set.to_padded_mask(8192), Some(8192)).unwrap(), &set);
    }

    #[test]
    fn algebra_is_that_of_sets(a in cpus(), b in cpus()) {
        let (x, y): (CpuSet, CpuSet) = (a.iter().copied().collect(), b.iter().copied().collect());
        let set = |cpus: BTreeSet<usize>| cpus.into_iter().collect::<CpuSet>();
        prop_assert_eq!(&x & &y, set(&a & &b));
        prop_assert_eq!(&x | &y, set(&a | &b));
        prop_assert_eq!(&x - &y, set(&a - &b));
        prop_assert_eq!(&x ^ &y, set(&a ^ &b));
        prop_assert_eq!(x.is_subset(&y), a.is_subset(&b));
        prop_assert_eq!(x.is_disjoint(&y), a.is_disjoint(&b));
        prop_assert_eq!(x.lowest(), a.first().copied());
        prop_assert_eq!(x.highest(), a.last().copied());
    }

    #[test]
    fn taking_a_cpu_out_leaves_the_others(cpus in cpus(), cpu in 0_usize..8192) {
        let mut set: CpuSet = cpus.iter().copied().collect();
        set.insert(cpu);
        set.remove(cpu);
        let mut rest = cpus;
        rest.remove(&cpu);
        prop_assert_eq!(set, rest.into_iter().collect::<CpuSet>());
    }

    #[test]
    fn strides_select_as_the_kernel_does(first in 0_usize..100, len in 0_usize..200, used in 0_usize..10, more in 1_usize..10) {
        let group = used + more;
        let last = first + len;
        let expected: CpuSet = (first..=last).filter(|cpu| (cpu - first) % group < used).collect();
        prop_assert_eq!(list(&format!("{first}-{last}:{used}/{group}")), expected);
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in ".{0,60}", limit in proptest::option::of(0_usize..10_000)) {
        let _ = CpuSet::parse_list(&text, limit);
        let _ = CpuSet::parse_mask(&text, limit);
    }

    #[test]
    fn nearly_right_text_does_not_panic_either(text in "[0-9aAlLnN,:/ x-]{0,40}", limit in 0_usize..300) {
        if let Ok(set) = CpuSet::parse_list(&text, Some(limit)) {
            prop_assert!(set.highest().is_none_or(|top| top < limit));
        }
        if let Ok(set) = CpuSet::parse_mask(&text, Some(limit)) {
            prop_assert!(set.highest().is_none_or(|top| top < limit));
        }
    }
}
