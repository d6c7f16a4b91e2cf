//! `cloudist logs`: what machines and workers said, of the latest run or of an earlier one.
//!
//! Read from the files that runs write here; no machine is asked.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{args::LogsArgs, growth::Growth, look};
use crate::{
    frontend::failure::{Failure, exit_code},
    registry::{self, Live, LogLine, Source},
};

/// Whose lines are wanted.
enum Subject {
    Everything,
    Machine(PathBuf),
    Worker(u32),
    /// What its node id holds.
    Test(String),
}

/// One machine's log, read as far as it goes.
struct Log {
    machine: String,
    file: BufReader<File>,
    /// The beginning of a line that is still being written.
    begun: String,
}

pub fn logs(args: &LogsArgs) -> Result<u8, Failure> {
    let directory = directory(args)?;
    let paths = logs_in(&directory)?;
    let subject = subject(args.subject.as_deref(), &paths);
    let mut logs = Vec::new();
    for path in &paths {
        if matches!(&subject, Subject::Machine(wanted) if wanted != path) {
            continue;
        }
        logs.push(Log::open(path).map_err(|error| unreadable(path, &error))?);
    }
    let mut workers = Workers::default();
    let mut shown = show(&mut logs, &subject, &mut workers)?;
    if args.follow {
        shown += follow(&directory, logs, &subject, workers)?;
    }
    if shown == 0 && args.subject.is_some() {
        let message = format!("nothing was written down of {:?}", args.subject.as_deref().unwrap_or_default());
        return Err(Failure::new(exit_code::NO_MACHINE, message).with_help(
            "name a machine, a worker (gw0) or a part of a test's node id; --run NAME looks at an earlier run",
        ));
    }
    Ok(0)
}

fn directory(args: &LogsArgs) -> Result<PathBuf, Failure> {
    let all = registry::latest_logs();
    let found = match &args.run {
        Some(run) => all.into_iter().find(|path| path.file_name().is_some_and(|name| name == run.as_str())),
        None => all.into_iter().next(),
    };
    found.ok_or_else(|| Failure::new(exit_code::NO_MACHINE, "there is no log of such a run"))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(exit_code::INTERNAL, format!("failed to read {}: {error}", path.display()))
}

fn logs_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(directory).map_err(|error| unreadable(directory, &error))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "log"));
    paths.sort();
    Ok(paths)
}

fn subject(text: Option<&str>, paths: &[PathBuf]) -> Subject {
    let Some(text) = text else { return Subject::Everything };
    let machine = paths.iter().find(|path| path.file_stem().is_some_and(|name| name == text));
    match (machine, number(text)) {
        (Some(path), _) => Subject::Machine(path.clone()),
        (None, Some(worker)) => Subject::Worker(worker),
        (None, None) => Subject::Test(text.to_owned()),
    }
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        let machine = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { machine, file: BufReader::new(File::open(path)?), begun: String::new() })
    }

    /// The next whole line.
    fn next(&mut self) -> Option<LogLine> {
        loop {
            match self.file.read_line(&mut self.begun) {
                Ok(1..) if self.begun.ends_with('\n') => {
                    let line = registry::parse_log_line(&self.begun);
                    self.begun.clear();
                    if line.is_some() {
                        return line;
                    }
                }
                _ => return None,
            }
        }
    }
}

/// Shows what is new; answers how many lines.
fn show(logs: &mut [Log], subject: &Subject, workers: &mut Workers) -> Result<usize, Failure> {
    let wanted = |line: &LogLine| match (subject, line.source) {
        (Subject::Worker(worker), Source::Worker(number) | Source::Test(number)) => *worker == number,
        (Subject::Worker(_), _) => false,
        _ => true,
    };
    let mut lines = Vec::new();
    for log in logs.iter_mut() {
        while let Some(line) = log.next() {
            match subject {
                Subject::Test(test) => workers.hear(line, &log.machine, test, &mut lines),
                _ if wanted(&line) => lines.push((line, log.machine.clone())),
                _ => {}
            }
        }
    }
    // Several machines' lines in the order in which they came.
    lines.sort_by_key(|(line, _)| line.at);
    let several = logs.len() > 1 || matches!(subject, Subject::Test(_));
    for (line, machine) in &lines {
        print(line, several.then_some(machine))?;
    }
    Ok(lines.len())
}

type Lines = Vec<(LogLine, String)>;

/// What each worker has said since its last test, which is of the next.
#[derive(Default)]
struct Workers {
    since: BTreeMap<u32, Lines>,
    last: BTreeMap<u32, String>,
}

impl Workers {
    /// Finds the lines of tests of that name, once they have ended.
    fn hear(&mut self, line: LogLine, machine: &str, test: &str, found: &mut Lines) {
        match line.source {
            Source::Worker(worker) => self.since.entry(worker).or_default().push((line, machine.to_owned())),
            Source::Test(worker) => {
                let before = self.since.remove(&worker).unwrap_or_default();
                let name = line.text.split_once('\t').map_or("", |(_, name)| name).to_owned();
                if name.contains(test) {
                    found.extend(before);
                    found.push((line, machine.to_owned()));
                }
                self.last.insert(worker, name);
            }
            Source::Machine | Source::Init => {}
        }
    }

    /// Shows what a worker has said that is at such a test just now.
    fn show_running(&mut self, live: &Live, test: &str) -> Result<usize, Failure> {
        let mut shown = 0;
        for info in &live.workers {
            let (Some(at), Some(worker)) = (&info.at, number(&info.worker)) else { continue };
            // What is told of workers may be a second old.
            if at.contains(test) && self.last.get(&worker) != Some(at) {
                for (line, machine) in self.since.remove(&worker).unwrap_or_default() {
                    print(&line, Some(&machine))?;
                    shown += 1;
                }
            }
        }
        Ok(shown)
    }
}

fn number(worker: &str) -> Option<u32> {
    worker.strip_prefix("gw")?.parse().ok()
}

/// Goes on until the run is over; answers how many lines it has shown.
fn follow(directory: &Path, mut logs: Vec<Log>, subject: &Subject, mut workers: Workers) -> Result<usize, Failure> {
    let growth = Growth::of(directory);
    let mut shown = 0;
    loop {
        let runs = look()?;
        let live = runs.iter().find(|live| live.running && directory.ends_with(&live.info.run));
        for path in logs_in(directory)? {
            let known = logs.iter().any(|log| path.file_stem().is_some_and(|name| name == log.machine.as_str()));
            if !known && !matches!(subject, Subject::Machine(_)) {
                logs.push(Log::open(&path).map_err(|error| unreadable(&path, &error))?);
            }
        }
        shown += show(&mut logs, subject, &mut workers)?;
        let Some(live) = live else { return Ok(shown) };
        if let Subject::Test(test) = subject {
            shown += workers.show_running(live, test)?;
        }
        growth.wait();
    }
}

fn print(line: &LogLine, machine: Option<&String>) -> Result<(), Failure> {
    let at = std::time::UNIX_EPOCH + Duration::from_millis(line.at);
    let time = humantime::format_rfc3339_millis(at).to_string();
    let clock = time.get(11..23).unwrap_or(&time);
    let machine = machine.map_or(String::new(), |machine| format!("{machine} "));
    let text = match line.source {
        Source::Test(_) => line.text.replacen('\t', " ", 1),
        _ => line.text.clone(),
    };
    let source = line.source.to_string();
    let source = source.trim_end_matches(".test");
    super::channel::show(&mut io::stdout(), format!("{clock} {machine}{source}: {text}\n").as_bytes())?;
    io::stdout().flush().ok();
    Ok(())
}
