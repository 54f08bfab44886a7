//! Every parser of `sipmi::affinity`, chosen by the first byte: no bytes make one panic, and what is read is written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sipmi::affinity::envfile::Reader;
use sipmi::affinity::interrupts::Tail;
use sipmi::affinity::{
    CpuSet, InterruptTable, Queue, cgroup, counters, envfile, irq, irqbalance, journal, process, queue,
};

fn table(bytes: &[u8]) {
    let mut text = b"  CPU0 CPU3 CPU17\n".to_vec();
    text.extend(bytes);
    for bytes in [bytes, &text] {
        let Ok(table) = InterruptTable::parse(bytes) else { continue };
        for row in table.rows() {
            assert!(row.counts().len() <= table.columns().len());
            let _ = (row.actions(), row.tail());
        }
        let _ = table.rates(&table, 1.0);
    }
}

fn environment(bytes: &[u8]) {
    let before = envfile::parse(bytes);
    let changed = envfile::set(bytes, "KEY", "a \"b\" $c", Reader::Shell);
    assert_eq!(envfile::get(&changed, "KEY", Reader::Shell).as_deref(), Some("a \"b\" $c"));
    for assignment in before.iter().filter(|assignment| assignment.key != "KEY") {
        let last = before.iter().rev().find(|other| other.key == assignment.key).map(|other| &other.value);
        assert_eq!(envfile::get(&changed, &assignment.key, Reader::Shell).as_ref(), last);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    match kind % 8 {
        0 => {
            if let Ok(set) = CpuSet::parse_list(&text, Some(8192)) {
                assert_eq!(CpuSet::parse_list(&set.to_list(), Some(8192)).as_ref(), Ok(&set));
                assert_eq!(CpuSet::parse_mask(&set.to_mask(), Some(8192)), Ok(set));
            }
        }
        1 => {
            if let Ok(set) = CpuSet::parse_mask(&text, None) {
                assert_eq!(CpuSet::parse_list(&set.to_list(), None), Ok(set));
            }
        }
        2 => table(bytes),
        3 => environment(bytes),
        4 => drop(journal::parse("journal", bytes, None)),
        5 => drop((process::parse_stat(&text), cgroup::parse_memberships(&text), cgroup::parse_mounts(&text))),
        6 => drop((irq::parse_spurious(&text), irqbalance::parse_setup(&text), irqbalance::banned_irqs(&text))),
        _ => {
            let _ = (Tail::parse(&text), Queue::of(&text), queue::bus_address(&text), queue::presumed_managed(&text));
            let _ = (counters::parse_softnet(&text, &[0]), counters::snmp(&text, "Udp", "RcvbufErrors"));
        }
    }
});
