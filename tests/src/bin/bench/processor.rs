//! How much processor time a process has used, as the kernel counts it.

use std::fs;
use std::time::Duration;

/// The kernel's ticks for user programs (USER_HZ), the same on every Linux that this runs on.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of a process with all its threads so far; nothing when it is gone.
pub fn time_used(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in field 2 may hold blanks and brackets: count from behind its closing one (proc_pid_stat(5)).
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}
