//! `cloudist history`, `slowest` and `flaky`: what earlier runs of this project measured.
//!
//! Reads and prints; of these only `history import` writes.

use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    failure::{Failure, exit_code},
    init::project_root,
    plan_table::terminal_width,
    pytest::current_dir,
    remember::{TEST_DURATIONS, project},
    table::{self, TooLong},
};
use crate::history::{History, HistoryError, default_path, parse_test_durations, print_test_durations};

#[derive(Debug, Args)]
pub struct HistoryArgs {
    #[command(subcommand)]
    pub action: Option<Action>,
    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Take over durations that pytest-split wrote
    Import {
        /// The file, or `-` for stdin
        #[arg(value_name = "FILE", default_value = TEST_DURATIONS)]
        file: PathBuf,
    },
    /// Write the durations as pytest-split reads them
    Export {
        /// The file, or `-` for stdout
        #[arg(value_name = "FILE", default_value = TEST_DURATIONS)]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// How many to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub number: u32,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

pub fn history(args: &HistoryArgs) -> Result<u8, Failure> {
    match &args.action {
        None => runs(&args.list),
        Some(Action::Import { file }) => import(file),
        Some(Action::Export { file }) => export(file),
    }
}

fn runs(args: &ListArgs) -> Result<u8, Failure> {
    let (history, root) = open()?;
    let runs = history.runs(&root, args.number)?;
    print(
        args.json,
        &runs,
        &["run", "began", "took", "tests", "failed", "workers", "provider", "cost", "ended", "command"],
        |run| {
            vec![
                run.id.to_string(),
                moment(run.began),
                format!("{:.1} s", run.ended - run.began),
                if run.is_of_tests() { run.tests.to_string() } else { String::new() },
                run.failed.to_string(),
                run.workers.to_string(),
                run.provider.clone(),
                run.dollars.map(|dollars| format!("${dollars:.3}")).unwrap_or_default(),
                run.ending.clone(),
                if run.is_of_tests() { run.command.clone() } else { format!("ssh-run -- {}", run.command) },
            ]
        },
    )
}

pub fn slowest(args: &ListArgs) -> Result<u8, Failure> {
    let (history, root) = open()?;
    let tests = history.slowest(&root, args.number)?;
    print(args.json, &tests, &["seconds", "runs", "test"], |test| {
        vec![format!("{:.3}", test.seconds), test.measured.to_string(), test.nodeid.clone()]
    })
}

pub fn flaky(args: &ListArgs) -> Result<u8, Failure> {
    let (history, root) = open()?;
    let tests = history.flaky(&root, args.number)?;
    print(args.json, &tests, &["runs", "failed", "rerun", "changes", "last", "test"], |test| {
        let numbers = [test.runs, test.failed, test.rerun, test.changes];
        numbers.iter().map(u32::to_string).chain([test.last.clone(), test.nodeid.clone()]).collect()
    })
}

pub fn open() -> Result<(History, String), Failure> {
    let opened = History::open(&default_path()?)?;
    if let Some(aside) = opened.set_aside {
        eprintln!("cloudist: the history was damaged; it is now {}", aside.display());
    }
    Ok((opened.history, project(&project_root(&current_dir()?))))
}

fn import(file: &Path) -> Result<u8, Failure> {
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => io::stdin().read_to_string(&mut text).map(|_| ()),
        false => fs::read_to_string(file).map(|content| text = content),
    };
    read.map_err(|error| unusable("read", file, &error))?;
    let durations = parse_test_durations(&file.display().to_string(), &text)?;
    let (mut history, root) = open()?;
    history.import(&root, &durations)?;
    eprintln!("cloudist: {} durations taken over", durations.tests().count());
    Ok(0)
}

fn export(file: &Path) -> Result<u8, Failure> {
    let (history, root) = open()?;
    let durations = history.durations(&root)?;
    let text = print_test_durations(&durations);
    if file == Path::new("-") {
        print!("{text}");
        return Ok(0);
    }
    crate::cache::write_whole(file, text.as_bytes()).map_err(|error| unusable("write", file, &error))?;
    eprintln!("cloudist: {} durations written to {}", durations.tests().count(), file.display());
    Ok(0)
}

fn unusable(doing: &str, file: &Path, error: &io::Error) -> Failure {
    Failure::new(exit_code::SETTINGS, format!("failed to {doing} {}: {error}", file.display()))
}

fn print<T: Serialize>(
    json: bool,
    rows: &[T],
    head: &[&str],
    cells: impl Fn(&T) -> Vec<String>,
) -> Result<u8, Failure> {
    if json {
        let text =
            serde_json::to_string_pretty(rows).map_err(|error| Failure::new(exit_code::INTERNAL, error.to_string()))?;
        println!("{text}");
        return Ok(0);
    }
    if rows.is_empty() {
        println!("nothing is known of this project yet");
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    print!("{}", table::render(head, &rows, terminal_width(), TooLong::GoesOn));
    Ok(0)
}

/// When it was: on a terminal how long ago that is, elsewhere the date.
fn moment(seconds: f64) -> String {
    let at = UNIX_EPOCH + Duration::try_from_secs_f64(seconds).unwrap_or_default();
    if !io::stdout().is_terminal() {
        return humantime::format_rfc3339_seconds(at).to_string();
    }
    let past = SystemTime::now().duration_since(at).unwrap_or_default().as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let (unit, name) = units.into_iter().find(|(unit, _)| past >= *unit).unwrap_or((1, "s"));
    format!("{}{name} ago", past / unit)
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        let failure = Failure::new(exit_code::SETTINGS, crate::text::chain(&error));
        match error {
            HistoryError::Durations { .. } => {
                failure.with_help("such a file is a JSON object of node ids and seconds: {\"test_a.py::test_x\": 0.5}")
            }
            HistoryError::Newer { .. } => failure.with_help("use that version, or another CLOUDIST_STATE_DIR"),
            _ => failure.with_help("set CLOUDIST_STATE_DIR to a directory that can be written"),
        }
    }
}
