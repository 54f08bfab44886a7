//! The processes of a server, as `ps` lists them: a table in memory that all of them share.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};

use zerocopy::FromZeros;

use crate::sys::shared_memory::SharedTable;

/// The most processes of a server, including the supervisor.
pub const MOST_PROCESSES: usize = 512;
/// The length to which names are truncated.
const LONGEST_NAME: usize = 116;

/// The state of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ProcessState {
    /// The process does not exist.
    Absent,
    /// It was forked and is starting.
    Starting,
    /// It serves requests, or runs its function.
    Running,
    /// It is finishing its requests in progress.
    Stopping,
    /// It died and will be replaced.
    Dead,
}

impl ProcessState {
    /// The state in one word.
    pub const fn name(self) -> &'static str {
        match self {
            ProcessState::Absent => "absent",
            ProcessState::Starting => "starting",
            ProcessState::Running => "running",
            ProcessState::Stopping => "stopping",
            ProcessState::Dead => "dead",
        }
    }

    const fn of(number: u8) -> Self {
        match number {
            1 => ProcessState::Starting,
            2 => ProcessState::Running,
            3 => ProcessState::Stopping,
            4 => ProcessState::Dead,
            _ => ProcessState::Absent,
        }
    }
}

/// A line of `ps`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its number in the server; 0 is the supervisor.
    pub rank: usize,
    /// Its process id; 0 while it does not exist.
    pub pid: i32,
    /// Its purpose.
    pub name: String,
    /// Its state.
    pub state: ProcessState,
    /// Its log level, in OpenSIPS's numbers.
    pub log_level: i32,
}

/// The table.
pub struct Processes {
    table: SharedTable<(), Row>,
    is_shared: AtomicBool,
}

#[derive(FromZeros)]
#[repr(C)]
struct Row {
    pid: AtomicI32,
    log_level: AtomicI32,
    state: AtomicU8,
    name_len: AtomicU8,
    name: [AtomicU8; LONGEST_NAME],
}

impl Default for Processes {
    fn default() -> Self {
        Processes { table: SharedTable::new(MOST_PROCESSES), is_shared: AtomicBool::new(false) }
    }
}

impl Processes {
    /// Shares the table with all processes that are forked after this call.
    pub fn share(&self) -> std::io::Result<()> {
        self.table.share(MOST_PROCESSES)?;
        (1..MOST_PROCESSES).for_each(|rank| self.set_log_level(rank, self.log_level(0)));
        self.is_shared.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Ends sharing: the server is one process again.
    pub fn clear(&self) {
        (0..MOST_PROCESSES).for_each(|rank| self.set(rank, 0, ProcessState::Absent));
        self.is_shared.store(false, Ordering::Relaxed);
    }

    /// Returns true if the server has several processes.
    pub fn are_several(&self) -> bool {
        self.is_shared.load(Ordering::Relaxed)
    }

    /// Sets the purpose of the process of a rank.
    pub fn name(&self, rank: usize, name: &str) {
        let row = self.row(rank);
        let fits =
            name.char_indices().map(|(place, char)| place + char.len_utf8()).take_while(|end| *end <= LONGEST_NAME);
        let bytes = &name.as_bytes()[..fits.last().unwrap_or(0)];
        bytes.iter().zip(&row.name).for_each(|(byte, place)| place.store(*byte, Ordering::Relaxed));
        row.name_len.store(bytes.len() as u8, Ordering::Release);
    }

    /// Sets the process id and the state of a rank.
    pub fn set(&self, rank: usize, pid: i32, state: ProcessState) {
        let row = self.row(rank);
        row.pid.store(pid, Ordering::Release);
        row.state.store(state as u8, Ordering::Release);
    }

    /// Sets the state of a rank.
    pub fn set_state(&self, rank: usize, state: ProcessState) {
        self.row(rank).state.store(state as u8, Ordering::Release);
    }

    /// Sets the log level of the process of a rank. The process polls it.
    pub fn set_log_level(&self, rank: usize, level: i32) {
        self.row(rank).log_level.store(level, Ordering::Release);
    }

    /// The log level that the process of a rank is to use.
    pub fn log_level(&self, rank: usize) -> i32 {
        self.row(rank).log_level.load(Ordering::Acquire)
    }

    /// All processes; a server without worker processes has one.
    pub fn list(&self) -> Vec<Process> {
        if !self.are_several() {
            let pid = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
            let (name, state, log_level) = ("attendant".into(), ProcessState::Running, self.log_level(0));
            return vec![Process { rank: 0, pid, name, state, log_level }];
        }
        let all = (0..MOST_PROCESSES).map(|rank| {
            let row = self.row(rank);
            let len = usize::from(row.name_len.load(Ordering::Acquire)).min(LONGEST_NAME);
            let name: Vec<u8> = row.name[..len].iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
            Process {
                rank,
                pid: row.pid.load(Ordering::Acquire),
                name: String::from_utf8_lossy(&name).into_owned(),
                state: ProcessState::of(row.state.load(Ordering::Acquire)),
                log_level: row.log_level.load(Ordering::Acquire),
            }
        });
        all.filter(|process| process.state != ProcessState::Absent).collect()
    }

    fn row(&self, rank: usize) -> &Row {
        &self.table.items()[rank.min(MOST_PROCESSES - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_listed_by_rank_and_a_server_of_one_lists_itself() {
        let processes = Processes::default();
        assert_eq!(processes.list()[0].name, "attendant");
        processes.share().expect("it can be shared");
        assert_eq!(processes.list(), []);
        processes.name(1, &"é".repeat(100));
        processes.set(1, 42, ProcessState::Running);
        processes.set_state(1, ProcessState::Stopping);
        let listed = processes.list();
        assert_eq!((listed[0].rank, listed[0].pid, listed[0].state), (1, 42, ProcessState::Stopping));
        assert_eq!(listed[0].name, "é".repeat(58));
        processes.clear();
        assert_eq!(processes.list().len(), 1);
    }
}
