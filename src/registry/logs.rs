//! What machines and workers said during a run, kept here after it: a directory for each of the latest runs, a file for
//! each machine, a line for each line.
//!
//! A line is `MILLISECONDS SOURCE TEXT`, parted by tabs. Losing some of it never disturbs a run.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::cache;

/// So many runs can be looked back at.
const RUNS: usize = 20;
/// A machine that says more is not written down any further.
const LIMIT: u64 = 64 << 20;
/// Lines about tests are written when there is so much of them, or when something else is.
const TOGETHER: usize = 8 << 10;
/// A line without end is broken here.
const LONGEST: usize = 64 << 10;

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The engine, about the machine.
    Machine,
    /// The init command, or what makes the environment.
    Init,
    Worker(u32),
    /// A test has ended on this worker.
    Test(u32),
}

/// The log of a living run.
#[derive(Debug)]
pub struct RunLog {
    directory: PathBuf,
    machines: BTreeMap<u32, MachineLog>,
}

#[derive(Debug)]
struct MachineLog {
    file: File,
    written: u64,
    /// Lines that wait to be written together.
    waiting: String,
    /// Lines that have begun.
    begun: BTreeMap<Source, Vec<u8>>,
}

/// A line that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Milliseconds since 1970.
    pub at: u64,
    pub source: Source,
    pub text: String,
}

impl RunLog {
    /// Clears the logs of runs long past away. `None` if there is no place for logs.
    pub fn open(run: &str) -> Option<Self> {
        let above = log_directory()?;
        let directory = above.join(run);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).ok()?;
        for old in latest_in(&above).into_iter().skip(RUNS) {
            fs::remove_dir_all(old).ok();
        }
        Some(Self { directory, machines: BTreeMap::new() })
    }

    pub fn add(&mut self, number: u32, name: &str) {
        // Names may hold anything that a host's may.
        let path = self.directory.join(format!("{}.log", name.replace('/', "_")));
        if let Ok(file) = OpenOptions::new().create(true).append(true).mode(0o600).open(path) {
            self.machines
                .insert(number, MachineLog { file, written: 0, waiting: String::new(), begun: BTreeMap::new() });
        }
    }

    /// Bytes as they came; whole lines of them are written.
    pub fn bytes(&mut self, machine: u32, source: Source, bytes: &[u8]) {
        let Some(log) = self.machines.get_mut(&machine) else { return };
        let begun = log.begun.entry(source).or_default();
        begun.extend_from_slice(bytes);
        let end = match begun.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => end + 1,
            None if begun.len() > LONGEST => begun.len(),
            None => return,
        };
        let whole: Vec<u8> = begun.drain(..end).collect();
        log.write(source, &String::from_utf8_lossy(&whole));
    }

    /// Writes what waits.
    pub fn flush(&mut self) {
        self.machines.values_mut().for_each(MachineLog::flush);
    }

    /// Text of one or more lines.
    pub fn say(&mut self, machine: u32, source: Source, text: &str) {
        if let Some(log) = self.machines.get_mut(&machine) {
            log.write(source, text);
        }
    }
}

impl MachineLog {
    fn write(&mut self, source: Source, text: &str) {
        if self.written > LIMIT {
            return;
        }
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let before = self.waiting.len();
        for line in text.lines() {
            // What a text says can't fail.
            let _ = writeln!(self.waiting, "{at}\t{source}\t{line}");
        }
        self.written += (self.waiting.len() - before) as u64;
        if self.written > LIMIT {
            let _ = writeln!(self.waiting, "{at}\t{}\tit has said more than is written down", Source::Machine);
        }
        // Tests are many; whatever else is said may be the last.
        if !matches!(source, Source::Test(_)) || self.waiting.len() > TOGETHER {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.waiting.is_empty() {
            self.file.write_all(self.waiting.as_bytes()).ok();
            self.waiting.clear();
        }
    }
}

impl Drop for RunLog {
    fn drop(&mut self) {
        for log in self.machines.values_mut() {
            for (source, rest) in std::mem::take(&mut log.begun) {
                log.write(source, &String::from_utf8_lossy(&rest));
            }
            log.flush();
        }
    }
}

/// Where the logs lie.
pub fn log_directory() -> Option<PathBuf> {
    cache::state_directory().ok().map(|state| state.join("logs"))
}

/// The directories of the runs that have logs, the latest first.
pub fn latest_logs() -> Vec<PathBuf> {
    log_directory().map(|above| latest_in(&above)).unwrap_or_default()
}

/// The names of runs begin with the time of their beginning.
fn latest_in(above: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(above).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found.reverse();
    found
}

/// What a line of a log says, if it is one.
pub fn parse(line: &str) -> Option<LogLine> {
    let mut parts = line.splitn(3, '\t');
    let at = parts.next()?.parse().ok()?;
    let source = Source::parse(parts.next()?)?;
    Some(LogLine { at, source, text: parts.next()?.trim_end_matches('\n').to_owned() })
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Machine => f.write_str("machine"),
            Source::Init => f.write_str("init"),
            Source::Worker(number) => write!(f, "gw{number}"),
            Source::Test(number) => write!(f, "gw{number}.test"),
        }
    }
}

impl Source {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "machine" => Source::Machine,
            "init" => Source::Init,
            worker => match worker.strip_prefix("gw")?.split_once('.') {
                Some((number, "test")) => Source::Test(number.parse().ok()?),
                Some(_) => return None,
                None => Source::Worker(worker.strip_prefix("gw")?.parse().ok()?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut log = RunLog { directory: directory.path().into(), machines: BTreeMap::new() };
        log.add(0, "host/a");
        log.bytes(0, Source::Worker(3), b"half ");
        log.bytes(0, Source::Init, b"one\ntwo\n");
        log.bytes(0, Source::Worker(3), b"a line\nrest");
        log.say(0, Source::Test(3), "passed\ttests/a.py::test");
        drop(log);
        let text = fs::read_to_string(directory.path().join("host_a.log")).expect("the log");
        let lines: Vec<LogLine> = text.lines().filter_map(parse).collect();
        let said: Vec<(Source, &str)> = lines.iter().map(|line| (line.source, line.text.as_str())).collect();
        let expected = [
            (Source::Init, "one"),
            (Source::Init, "two"),
            (Source::Worker(3), "half a line"),
            (Source::Test(3), "passed\ttests/a.py::test"),
            (Source::Worker(3), "rest"),
        ];
        assert_eq!(said, expected);
    }
}
