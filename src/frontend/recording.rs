//! What is written down of a run of pytest, from the launch of its machines to the report at its end.
//!
//! Where a run can't be recorded it takes place all the same, and the user is told.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde_json::json;
use tokio::task;

use super::{failure::Failure, report};
use crate::{
    cache,
    model::event::{EVENTS_SCHEMA, RunEnded, RunStarted, What},
    plan::{ProviderKind, Settings},
    protocol::bridge::{Hello, ToPlugin},
    provider::Bill,
    run::{
        Fleet, Recorder,
        recorder::{self, Keeping, Recorded},
        tests::Ending,
    },
};

/// Where the events of runs are kept.
pub fn directory() -> io::Result<PathBuf> {
    Ok(cache::state_directory()?.join("events"))
}

/// The run's clock starts; from here on what happens to its machines is written down.
pub fn begin(fleet: &mut Fleet, settings: &Settings) {
    if !is_wanted(settings) {
        return;
    }
    let begun = directory()
        .map(|directory| directory.join(format!("{}{}", fleet.run(), recorder::EVENTS_SUFFIX)))
        .and_then(|path| Recorder::begin(path, keeping(settings)));
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
            mode: settings.mode.to_string(),
            workers: settings.num_workers,
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
    });
}

/// The run has ended; what remains is to end its machines.
pub fn end(fleet: &mut Fleet, result: &Result<(Ending, ProviderKind), Failure>, bill: Option<&Bill>) -> Recorder {
    let recorder = fleet.take_recorder();
    recorder.note(|| {
        let (status, message) = match result {
            Ok((Ending::Done(_), _)) => ("done", String::new()),
            Ok((Ending::Stopped(_) | Ending::Abandoned, _)) => ("stopped", String::new()),
            Err(failure) => ("failed", failure.message.clone()),
        };
        let (dollars, bill) = (bill.map(|bill| bill.dollars), bill.map(ToString::to_string));
        What::RunEnded(Box::new(RunEnded { status: status.into(), message, dollars, bill }))
    });
    recorder
}

/// Writes what was asked for, and has the local pytest say where it is.
pub async fn conclude(recorder: Option<Recorder>, mut end: ToPlugin) -> ToPlugin {
    let Some(recorder) = recorder.filter(Recorder::is_on) else { return end };
    let written = task::spawn_blocking(move || recorder.finish().map_or(Ok(None), keep)).await;
    let line = match written {
        Ok(Ok(None)) => return end,
        Ok(Ok(Some(page))) => format!("cloudist: report in {}", page.display()),
        Ok(Err(failure)) => format!("cloudist: there is no report of this run: {}", failure.message),
        Err(error) => format!("cloudist: there is no report of this run: {error}"),
    };
    match &mut end {
        ToPlugin::End { summary, .. } if summary.is_object() => summary["report"] = json!(line),
        _ => eprintln!("{line}"),
    }
    end
}

/// Answers where the page is, if one was asked for.
fn keep(recorded: Recorded) -> Result<Option<PathBuf>, Failure> {
    let Recorded { path, keeping, result } = recorded;
    let failed = |error: io::Error| report::failure(&path, "keep the events of this run in", &error);
    result.map_err(failed)?;
    let page = keeping.report.as_ref().map(|to| report::write(&path, to)).transpose();
    let directory = path.parent().unwrap_or(Path::new("."));
    recorder::retain(directory, keeping.runs).map_err(failed)?;
    page
}
