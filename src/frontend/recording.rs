//! What is written down of a run of pytest or of a command, from the launch of its machines to the report at its end.
//!
//! Where a run can't be recorded it takes place all the same, and the user is told.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde_json::json;
use tokio::task;

use super::{bridge, failure::Failure, report};
use crate::{
    cache,
    model::event::{EVENTS_SCHEMA, RunEnded, RunStarted, SSH_RUN, What},
    plan::{ProviderKind, Settings},
    protocol::bridge::{Hello, ToPlugin},
    provider::Bill,
    run::{
        Fleet, Listener, Recorder, RunError,
        command::CommandEnding,
        recorder::{self, Keeping, Recorded},
        tests::Ending,
    },
};

/// Where the events of runs are kept.
pub fn directory() -> io::Result<PathBuf> {
    Ok(cache::state_directory()?.join("events"))
}

/// The run's clock starts; from here on what happens to its machines is written down. Without a command it is one of pytest.
pub fn begin(fleet: &mut Fleet, settings: &Settings, command: &[String]) {
    let watch = fleet.watch().clone();
    let begun = if is_wanted(settings) {
        directory()
            .map(|directory| directory.join(format!("{}{}", fleet.run(), recorder::EVENTS_SUFFIX)))
            .and_then(|path| Recorder::begin(path, keeping(settings), watch))
    } else if watch.listens() {
        Recorder::only_watched(watch)
    } else {
        return;
    };
    let recorder = match begun {
        Ok(recorder) => recorder,
        Err(error) => {
            eprintln!("cloudist: this run's events are not kept: {error}");
            eprintln!("help: set CLOUDIST_STATE_DIR to a directory that can be written, or CLOUDIST_KEEP_EVENTS=0");
            return;
        }
    };
    recorder.note(|| {
        What::RunStarted(Box::new(RunStarted {
            schema: EVENTS_SCHEMA,
            run: fleet.run().to_owned(),
            began: recorder::wall_clock(),
            cloudist: env!("CARGO_PKG_VERSION").into(),
            provider: settings.provider.unwrap_or(ProviderKind::Local).to_string(),
            mode: if command.is_empty() { settings.mode.to_string() } else { SSH_RUN.into() },
            workers: settings.num_workers,
            command: command.to_vec(),
        }))
    });
    fleet.record(recorder);
}

fn is_wanted(settings: &Settings) -> bool {
    settings.keep_events > 0 || settings.report.is_some()
}

fn keeping(settings: &Settings) -> Keeping {
    Keeping { report: settings.report.clone(), runs: settings.keep_events as usize }
}

/// Whether what was begun with one is right for the other.
pub fn covers(begun: &Settings, wanted: &Settings) -> bool {
    is_wanted(begun) || !is_wanted(wanted)
}

/// The local pytest has spoken, and what it said may have changed what is wanted.
pub fn pytest_started(fleet: &mut Fleet, hello: &Hello, settings: &Settings) {
    let mut keeping = keeping(settings);
    keeping.report = keeping.report.map(|directory| Path::new(&hello.cwd).join(directory));
    fleet.recorder_mut().keep(keeping);
    fleet.recorder().note(|| What::PytestStarted {
        pytest: hello.pytest.clone(),
        python: hello.python.clone(),
        rootdir: hello.rootdir.clone(),
        args: hello.mainargv.clone(),
        terminal: hello.terminal,
    });
}

/// The run has ended; what remains is to end its machines, and what is said about both.
pub fn end(fleet: &mut Fleet, result: &Result<(Ending, ProviderKind), Failure>, bill: Option<&Bill>) -> Recorder {
    let (status, message) = match result {
        Ok((Ending::Done(_), _)) => ("done", ""),
        Ok((Ending::Stopped(_) | Ending::Abandoned, _)) => ("stopped", ""),
        Err(failure) => ("failed", &*failure.message),
    };
    ended(fleet, status, message, bill)
}

/// The same of a command.
pub fn end_command(fleet: &mut Fleet, result: &Result<CommandEnding, RunError>, bill: Option<&Bill>) -> Recorder {
    match result {
        Ok(ending) => ended(fleet, ending_of(ending), "", bill),
        Err(error) => ended(fleet, "failed", &crate::text::chain(error), bill),
    }
}

/// In the words of the events and of the history.
pub fn ending_of(ending: &CommandEnding) -> &'static str {
    if ending.interrupted.is_some() || ending.unheard { "stopped" } else { "done" }
}

fn ended(fleet: &mut Fleet, status: &str, message: &str, bill: Option<&Bill>) -> Recorder {
    let recorder = fleet.take_recorder();
    recorder.note(|| {
        let (dollars, bill) = (bill.map(|bill| bill.dollars), bill.map(ToString::to_string));
        What::RunEnded(Box::new(RunEnded { status: status.into(), message: message.into(), dollars, bill }))
    });
    recorder
}

/// Writes what was asked for, and has the local pytest say where it is. More will be printed, and written down.
pub async fn conclude(recorder: Recorder, mut end: ToPlugin) -> (Recorder, ToPlugin) {
    let (recorder, line) = report_on(recorder).await;
    match (line, &mut end) {
        (None, _) => {}
        (Some(line), ToPlugin::End { summary, .. }) if summary.is_object() => summary["report"] = json!(line),
        (Some(line), _) => say(&recorder.listener(), &line),
    }
    (recorder, end)
}

/// Writes the report that was asked for; answers what is to be said of it.
pub async fn report_on(recorder: Recorder) -> (Recorder, Option<String>) {
    if !recorder.is_on() {
        return (recorder, None);
    }
    let written = task::spawn_blocking(move || {
        let written = write_report(&recorder);
        (recorder, written)
    });
    let (recorder, written) = match written.await {
        Ok(written) => written,
        Err(error) => (Recorder::default(), Some(Err(bridge::internal("the report", io::Error::other(error))))),
    };
    let line = match written {
        None => None,
        Some(Ok(page)) => Some(format!("cloudist: report in {}", page.display())),
        Some(Err(failure)) => Some(format!("cloudist: there is no report of this run: {}", failure.message)),
    };
    (recorder, line)
}

/// Answers where the page is, if one was asked for.
fn write_report(recorder: &Recorder) -> Option<Result<PathBuf, Failure>> {
    match recorder.settle() {
        Some((path, Keeping { report: Some(to), .. })) => Some(report::write(path, to)),
        // What was in the way of the events is told at the end.
        Some(_) | None => None,
    }
}

/// Says it to the user, and has it written down that it was said.
pub fn say(listener: &Listener, line: &str) {
    eprintln!("{line}");
    listener.printed(2, format!("{line}\n").into());
}

/// Nothing more will be said.
pub async fn close(recorder: Recorder) {
    let closed = task::spawn_blocking(move || recorder.finish().map_or(Ok(()), keep));
    let trouble = match closed.await {
        Ok(Ok(())) => return,
        Ok(Err(failure)) => failure.message,
        Err(error) => error.to_string(),
    };
    eprintln!("cloudist: {trouble}");
}

fn keep(recorded: Recorded) -> Result<(), Failure> {
    let Recorded { path, keeping, result } = recorded;
    let failed = |error: io::Error| report::failure(&path, "keep the events of this run in", &error);
    result.map_err(failed)?;
    let written = keeping.report.as_ref().map_or(Ok(()), |to| report::write_events(&path, to));
    recorder::retain(path.parent().unwrap_or(Path::new(".")), keeping.runs).map_err(failed)?;
    written
}
