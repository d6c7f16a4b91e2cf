//! `cloudist report`: a run's events, kept or from elsewhere, made into files to look at.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use clap::Args;
use flate2::read::MultiGzDecoder;

use super::{
    failure::{Failure, exit_code},
    recording,
};
use crate::{
    report::{self, Log},
    run::recorder::{self, EVENTS_SUFFIX},
};

const PAGE: &str = "report.html";
const TRACE: &str = "trace.json";
const EVENTS: &str = "events.jsonl";

pub const EXAMPLES: &str = "\
Examples:
  cloudist report                        of the last run, into cloudist-report/
  cloudist report --list                 the runs that there are
  cloudist report 19ab4c2d6f1-3e8 --to out
  cloudist report ci/events.jsonl        of events from elsewhere

Exit status: 0; 90 if there is no such run; 97 if something can't be read or written.";

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// A run's name, `latest`, a file of events, or a directory with one
    #[arg(value_name = "RUN", default_value = "latest")]
    pub run: PathBuf,
    /// Where to write it
    #[arg(long, value_name = "DIR", default_value = "cloudist-report")]
    pub to: PathBuf,
    /// List the runs whose events are kept, the newest first
    #[arg(long)]
    pub list: bool,
}

pub fn report(args: &ReportArgs) -> Result<u8, Failure> {
    if args.list {
        return list();
    }
    let source = find(&args.run)?;
    let page = write(&source, &args.to)?;
    println!("{}", page.display());
    Ok(0)
}

/// Makes all files of a report; answers where the page is.
pub fn write(source: &Path, to: &Path) -> Result<PathBuf, Failure> {
    let text = read(source).map_err(|error| failure(source, "read", &error))?;
    let log = Log::parse(&text);
    let report = report::Report::of(&log).ok_or_else(|| {
        Failure::new(exit_code::SETTINGS, format!("{} holds no events of a run", source.display()))
            .with_help("`cloudist report --list` tells which runs there are")
    })?;
    fs::create_dir_all(to).map_err(|error| failure(to, "make", &error))?;
    let page = to.join(PAGE);
    let files = [(page.clone(), report.page()), (to.join(TRACE), report.trace())];
    for (path, content) in files {
        fs::write(&path, content).map_err(|error| failure(&path, "write", &error))?;
    }
    let events = to.join(EVENTS);
    if fs::canonicalize(source).ok() != fs::canonicalize(&events).ok() || !events.exists() {
        fs::write(&events, &text).map_err(|error| failure(&events, "write", &error))?;
    }
    Ok(page)
}

pub fn failure(path: &Path, what: &str, error: &io::Error) -> Failure {
    Failure::new(exit_code::INTERNAL, format!("failed to {what} {}: {error}", path.display()))
}

fn find(run: &Path) -> Result<PathBuf, Failure> {
    if run.is_dir() {
        return Ok(run.join(EVENTS));
    }
    if run.is_file() {
        return Ok(run.to_owned());
    }
    let name = run.to_string_lossy();
    kept()?.into_iter().rev().find(|path| name == "latest" || run_of(path) == name).ok_or_else(|| {
        let message = match &*name {
            "latest" => "no run's events are kept yet".into(),
            name => format!("there is neither a run nor a file {name}"),
        };
        Failure::new(exit_code::SETTINGS, message).with_help(
            "runs of pytest are kept unless --keep-events is 0; `cloudist report --list` tells which there are",
        )
    })
}

fn kept() -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: io::Error| {
        Failure::new(exit_code::INTERNAL, format!("failed to look for the events of earlier runs: {error}"))
    };
    recorder::list(&recording::directory().map_err(unreadable)?).map_err(unreadable)
}

fn run_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().trim_end_matches(EVENTS_SUFFIX).to_owned()
}

fn list() -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    for path in kept()?.iter().rev() {
        // The first line tells enough.
        let mut first = String::new();
        let started = open(path).and_then(|file| BufReader::new(file).read_line(&mut first));
        let log = Log::parse(&first);
        let line = match (started, log.start()) {
            (Ok(_), Some(start)) => {
                let began = UNIX_EPOCH + Duration::from_secs_f64(start.began.max(0.0));
                let began = humantime::format_rfc3339_seconds(began);
                format!("{}  {began}  {} workers on {}, mode {}", start.run, start.workers, start.provider, start.mode)
            }
            _ => format!("{}  (can't be read)", run_of(path)),
        };
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
    Ok(0)
}

/// A run that was killed left a file that breaks off; what it holds is read.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    match open(path)?.read_to_end(&mut bytes) {
        Err(error) if bytes.is_empty() || error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        Ok(_) | Err(_) => {}
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let file = fs::File::open(path)?;
    Ok(if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    })
}
