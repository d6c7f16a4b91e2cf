//! What a run takes from the history at its start, and leaves there at its end.
//!
//! A history that can't be used is told of and done without: it never stops a run.

use std::{
    fs, io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::task;

use super::recording;
use crate::{
    history::{Durations, History, HistoryError, RunRecord, default_path, parse_test_durations},
    model::event::SSH_RUN,
    plan::Settings,
    protocol::bridge::Hello,
    provider::Bill,
    run::{
        Fleet, RunError,
        command::CommandEnding,
        tests::{Ending, Memory},
    },
    text,
};

/// Where pytest-split keeps durations in a project.
pub const TEST_DURATIONS: &str = ".test_durations";

/// What is known of the project whose root directory this is, and what there is to be said about that.
pub fn recall(root: &Path) -> (Durations, Vec<String>) {
    let mut notes = Vec::new();
    let known = look_up(root, &mut notes).unwrap_or_else(|error| {
        notes.push(format!("{}: nothing is known of earlier runs", text::chain(&error)));
        Durations::default()
    });
    if !known.is_empty() {
        return (known, notes);
    }
    let path = root.join(TEST_DURATIONS);
    match fs::read_to_string(&path) {
        Ok(content) => match parse_test_durations(&path.display().to_string(), &content) {
            Ok(durations) => return (durations, notes),
            Err(error) => notes.push(text::chain(&error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => notes.push(format!("failed to read {}: {error}", path.display())),
    }
    (known, notes)
}

fn look_up(root: &Path, notes: &mut Vec<String>) -> Result<Durations, HistoryError> {
    let opened = History::open(&default_path()?)?;
    if let Some(aside) = opened.set_aside {
        notes.push(format!("the history was damaged; it is now {}, and a new one begins", aside.display()));
    }
    match opened.history.durations(&project(root)) {
        Err(error) if error.is_damage() => {
            if let Some(aside) = opened.history.set_aside_if_damaged(&error) {
                notes.push(format!("the history was damaged; it is now {}, and a new one begins", aside.display()));
            }
            Ok(Durations::default())
        }
        known => known,
    }
}

/// What the history calls a project.
pub fn project(root: &Path) -> String {
    root.canonicalize().unwrap_or_else(|_| root.to_owned()).to_string_lossy().into_owned()
}

/// A run of `ssh-run` between its start and its entry in the history.
pub struct CommandEntry(RunRecord);

impl CommandEntry {
    pub fn begin(root: &Path, settings: &Settings, command: &[String], run: &str) -> Self {
        let words = command.iter().map(|word| text::quoted(word)).collect::<Vec<_>>();
        Self(RunRecord {
            mode: SSH_RUN.into(),
            workers: settings.num_workers,
            command: words.join(" "),
            ..record(run, project(root), settings)
        })
    }

    /// Says what went wrong.
    pub async fn close(
        self,
        ending: &Result<CommandEnding, RunError>,
        machines: usize,
        bill: Option<&Bill>,
    ) -> Option<String> {
        let mut record = RunRecord {
            ended: now(),
            machines: u32::try_from(machines).unwrap_or(u32::MAX),
            dollars: bill.map(|bill| bill.dollars),
            ..self.0
        };
        if let Ok(ending) = ending {
            record.ending = recording::ending_of(ending);
            record.failed = ending.statuses.values().filter(|&&status| status != 0).count() as u32 + ending.lost;
        }
        write(record).await
    }
}

fn record(run: &str, root: String, settings: &Settings) -> RunRecord {
    RunRecord {
        name: run.to_owned(),
        root,
        began: now(),
        ended: 0.0,
        mode: settings.mode.to_string(),
        workers: 0,
        machines: 0,
        provider: settings.provider.map(|provider| provider.to_string()).unwrap_or_default(),
        dollars: None,
        ending: "failed",
        command: String::new(),
        failed: 0,
        outcomes: Vec::new(),
        imports: Vec::new(),
    }
}

/// Says what went wrong.
async fn write(record: RunRecord) -> Option<String> {
    let written = task::spawn_blocking(move || {
        let mut history = History::open(&default_path()?)?.history;
        let Err(error) = history.add_run(&record) else { return Ok(()) };
        match history.set_aside_if_damaged(&error) {
            Some(_) => History::open(&default_path()?)?.history.add_run(&record),
            None => Err(error),
        }
    });
    match written.await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("this run is not in the history: {}", text::chain(&error))),
        Err(error) => Some(format!("this run is not in the history: {error}")),
    }
}

/// A run between its start and its entry in the history.
pub struct Keeper {
    pub memory: Memory,
    record: RunRecord,
}

impl Keeper {
    /// Also says what the user should know.
    pub async fn open(hello: &Hello, settings: &Settings, run: &str) -> (Self, Vec<String>) {
        let root = Path::new(&hello.rootdir).to_owned();
        let name = project(&root);
        let looked = task::spawn_blocking({
            let root = root.clone();
            move || recall(&root)
        });
        let (known, notes) = looked.await.unwrap_or_default();
        let record = RunRecord { command: typed(&hello.mainargv), ..record(run, name, settings) };
        // Whoever knows how long tests take begins with the longest.
        let known = if hello.ordered { Durations::default() } else { known };
        (Self { memory: Memory::new(&root, known), record }, notes)
    }

    pub fn ended<E>(&mut self, ending: &Result<Ending, E>, fleet: &Fleet, workers: u32) {
        self.record.ending = match ending {
            Ok(Ending::Done(_)) => "done",
            Ok(Ending::Stopped(_)) => "stopped",
            Ok(Ending::Abandoned) => "abandoned",
            Err(_) => "failed",
        };
        self.record.machines = u32::try_from(fleet.machines()).unwrap_or(u32::MAX);
        self.record.workers = workers;
    }

    /// Writes the run down, unless nothing came of it. Says what went wrong.
    pub async fn close(self, bill: Option<&Bill>) -> Option<String> {
        let (outcomes, imports) = self.memory.into_records();
        if outcomes.is_empty() && imports.is_empty() {
            return None;
        }
        let dollars = bill.map(|bill| bill.dollars);
        let failed = outcomes.iter().filter(|outcome| outcome.outcome.is_bad()).count() as u32;
        write(RunRecord { ended: now(), dollars, failed, outcomes, imports, ..self.record }).await
    }
}

/// As it was typed, or nearly so: what `cloudist pytest` adds is left out.
fn typed(args: &[String]) -> String {
    let mut words = vec!["pytest".to_owned()];
    let mut args = args.iter().skip(1).peekable();
    while let Some(word) = args.next() {
        match word.as_str() {
            "-p" if args.peek().is_some_and(|next| *next == "pytest_cloudist") => drop(args.next()),
            word if word.starts_with("--cloudist=") => {}
            word => words.push(text::quoted(word)),
        }
    }
    words.join(" ")
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
