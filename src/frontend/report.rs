//! `cloudist report`: a run's events, kept or from elsewhere, made into files to look at.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use clap::Args;

use super::{
    failure::{Failure, exit_code},
    kept,
};
use crate::{
    model::event::{SSH_RUN, What},
    report::{self, Log},
    run::recorder::is_being_written,
    text,
};

const PAGE: &str = "report.html";
const TRACE: &str = "trace.json";

pub const EXAMPLES: &str = "\
Examples:
  cloudist report                        of the last run, into cloudist-report/
  cloudist report --list                 the runs that there are
  cloudist report 41 --to out            of a run by its number in `cloudist history`
  cloudist report ci/events.jsonl        of events from elsewhere

Exit status: 0; 90 if there is no such run; 97 if something can't be read or written.";

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// A run's name or its number in `cloudist history`, `latest`, a file of events, or a directory with one
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
    let source = kept::find(&args.run)?;
    let page = write(&source, &args.to)?;
    println!("{}", page.display());
    Ok(0)
}

/// Makes all files of a report; answers where the page is.
pub fn write(source: &Path, to: &Path) -> Result<PathBuf, Failure> {
    let text = kept::read(source).map_err(|error| failure(source, "read", &error))?;
    let log = Log::parse(&text);
    let report = report::Report::of(&log).ok_or_else(|| no_run(source))?;
    fs::create_dir_all(to).map_err(|error| failure(to, "make", &error))?;
    let page = to.join(PAGE);
    let files = [(page.clone(), report.page()), (to.join(TRACE), report.trace())];
    for (path, content) in files {
        fs::write(&path, content).map_err(|error| failure(&path, "write", &error))?;
    }
    put_events(&text, source, to)?;
    Ok(page)
}

/// Makes the events of a report anew: more has become known of the run.
pub fn write_events(source: &Path, to: &Path) -> Result<(), Failure> {
    let text = kept::read(source).map_err(|error| failure(source, "read", &error))?;
    put_events(&text, source, to)
}

fn put_events(text: &str, source: &Path, to: &Path) -> Result<(), Failure> {
    let events = to.join(kept::EVENTS);
    if fs::canonicalize(source).ok() == fs::canonicalize(&events).ok() && events.exists() {
        return Ok(());
    }
    fs::write(&events, text).map_err(|error| failure(&events, "write", &error))
}

pub fn no_run(source: &Path) -> Failure {
    Failure::new(exit_code::SETTINGS, format!("{} holds no events of a run", source.display()))
        .with_help("`cloudist report --list` tells which runs there are")
}

pub fn failure(path: &Path, what: &str, error: &io::Error) -> Failure {
    Failure::new(exit_code::INTERNAL, format!("failed to {what} {}: {error}", path.display()))
}

fn list() -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    for path in kept::all()?.iter().rev() {
        // The first event tells enough.
        let first = kept::events(path).ok().and_then(|mut events| events.next()).map(|event| event.what);
        let line = match first {
            Some(What::RunStarted(start)) => {
                let began = UNIX_EPOCH + Duration::from_secs_f64(start.began.max(0.0));
                let began = humantime::format_rfc3339_seconds(began);
                let workers = text::counted(start.workers as usize, "worker");
                let goes_on = if is_being_written(path) { ", goes on" } else { "" };
                let what = match start.command.as_slice() {
                    [] => format!("mode {}", start.mode),
                    words => format!("{SSH_RUN} -- {}", words.join(" ")),
                };
                format!("{}  {began}  {workers} on {}, {what}{goes_on}", start.run, start.provider)
            }
            _ => format!("{}  (can't be read)", kept::name_of(path)),
        };
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
    Ok(0)
}
