//! The processes that descend from an embedded machine, however they tried to leave.
//!
//! On Linux, orphans are adopted, reaped as they end, and found through /proc in the end. Elsewhere only process
//! groups are known, and ending those is the commands' own business.

#[cfg(target_os = "linux")]
pub(super) use linux::{adopt_orphans, end_all, reap_orphans};
#[cfg(not(target_os = "linux"))]
pub(super) use other::{adopt_orphans, end_all, reap_orphans};

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::{fs, io};

    use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait, waitpid};

    /// Makes orphans of our descendants our children.
    pub fn adopt_orphans() -> io::Result<()> {
        Ok(set_child_subreaper(Some(getpid()))?)
    }

    /// Reaps adopted children that have ended. `expected` tells those that somebody else waits for.
    pub fn reap_orphans(expected: impl Fn(i32) -> bool) {
        for pid in children() {
            if !expected(pid)
                && let Some(pid) = Pid::from_raw(pid)
            {
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }

    /// Kills every descendant, and returns when none is left.
    pub fn end_all() {
        loop {
            for pid in descendants().into_iter().filter_map(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
            // Whoever was born while we looked is found after the next death.
            match wait(WaitOptions::empty()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Children of the main thread, which is the one that starts and adopts them.
    fn children() -> Vec<i32> {
        let own = getpid().as_raw_nonzero();
        let listed = fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap_or_default();
        listed.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    fn descendants() -> Vec<i32> {
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            if let Some(pid) = pid
                && let Some(parent) = parent_of(pid)
            {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut found = Vec::new();
        let mut next = vec![getpid().as_raw_nonzero().get()];
        while let Some(parent) = next.pop() {
            for child in children.remove(&parent).unwrap_or_default() {
                found.push(child);
                next.push(child);
            }
        }
        found
    }

    /// From `pid (name) state ppid …`, where the name may hold anything.
    fn parent_of(pid: i32) -> Option<i32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_ascii_whitespace().nth(1)?.parse().ok()
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::io;

    pub fn adopt_orphans() -> io::Result<()> {
        Ok(())
    }

    pub fn reap_orphans(_expected: impl Fn(i32) -> bool) {}

    pub fn end_all() {}
}
