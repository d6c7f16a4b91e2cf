//! The events that are kept of earlier runs: which there are, which one is meant, and their lines.
//!
//! Reads; what is made of them is told elsewhere.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use super::{
    failure::{Failure, exit_code},
    history, recording,
};
use crate::{
    model::event::Event,
    run::recorder::{self, EVENTS_SUFFIX, is_being_written},
};

/// What events that lie in the open are called.
pub const EVENTS: &str = "events.jsonl";

/// The events of the run that a user means by its number in the history, its name, `latest`, a file, or a directory with one.
pub fn find(run: &Path) -> Result<PathBuf, Failure> {
    if run.is_dir() {
        return Ok(run.join(EVENTS));
    }
    if run.is_file() {
        return Ok(run.to_owned());
    }
    let name = run.to_string_lossy();
    if let Ok(number) = name.parse::<i64>() {
        return numbered(number);
    }
    named(&name)?.ok_or_else(|| {
        let message = match &*name {
            "latest" => "no run's events are kept yet".into(),
            name => format!("there is neither a run nor a file {name}"),
        };
        absent(message)
    })
}

/// The run that this project's history gives a number.
fn numbered(number: i64) -> Result<PathBuf, Failure> {
    let (history, root) = history::open()?;
    let Some(run) = history.runs(&root, u32::MAX)?.into_iter().find(|run| run.id == number) else {
        return Err(absent(format!("the history has no run {number} of {root}"))
            .with_help("`cloudist history` lists the runs of this project"));
    };
    named(&run.name)?.ok_or_else(|| absent(format!("the events of run {number} ({}) are not kept", run.name)))
}

/// The latest is the last that is over.
fn named(name: &str) -> Result<Option<PathBuf>, Failure> {
    let all = all()?;
    let wanted = |path: &&PathBuf| name_of(path) == name || name == "latest" && !is_being_written(path);
    Ok(all.iter().rev().find(wanted).cloned())
}

fn absent(message: String) -> Failure {
    Failure::new(exit_code::SETTINGS, message)
        .with_help("runs are kept unless --keep-events is 0; `cloudist report --list` tells which there are")
}

/// All that are kept, the oldest first.
pub fn all() -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: io::Error| {
        Failure::new(exit_code::INTERNAL, format!("failed to look for the events of earlier runs: {error}"))
    };
    recorder::list(&recording::directory().map_err(unreadable)?).map_err(unreadable)
}

pub fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().trim_end_matches(EVENTS_SUFFIX).to_owned()
}

/// A run that was killed left a file that breaks off; what it holds is read.
pub fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    match open(path)?.read_to_end(&mut bytes) {
        Err(error) if bytes.is_empty() || error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        Ok(_) | Err(_) => {}
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One after the other, as far as they can be read; lines of kinds that aren't known are passed over.
pub fn events(path: &Path) -> io::Result<impl Iterator<Item = Event>> {
    let lines = BufReader::new(open(path)?).lines().map_while(Result::ok);
    Ok(lines.filter_map(|line| serde_json::from_str(&line).ok()))
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let file = fs::File::open(path)?;
    Ok(if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    })
}
