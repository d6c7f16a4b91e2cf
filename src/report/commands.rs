//! What the page says of a run of `ssh-run`, which has no tests: how the command ended on each worker, and how evenly.

use super::{
    Log,
    bounds::{self, Bound, Scale},
    figures::is_busy,
    sections::{cost, counted, seconds, tile},
    timeline::{Kind, Timeline},
};
use crate::model::event::What;

/// How the command ended, on each worker on which it did.
fn statuses(log: &Log) -> impl Iterator<Item = i32> {
    log.events.iter().filter_map(|event| match event.what {
        What::CommandEnded { status, .. } => Some(status),
        _ => None,
    })
}

pub fn verdict(log: &Log) -> (&'static str, String) {
    let workers = log.start().map_or(0, |start| start.workers as usize);
    let ended = statuses(log).count();
    let failed = statuses(log).filter(|&status| status != 0).count();
    match log.end().map(|end| end.status.as_str()) {
        None => ("stopped", "The run broke off: its events end here".into()),
        Some("failed") => ("failed", "The run failed".into()),
        Some("stopped") => ("stopped", "The run was stopped".into()),
        Some(_) if failed > 0 && workers == 1 => ("failed", "The command failed".into()),
        Some(_) if failed > 0 => ("failed", format!("The command failed on {failed} of {workers} workers")),
        Some(_) if ended < workers => ("failed", format!("The command ended on {ended} of {workers} workers")),
        Some(_) => ("passed", "The command ended well".into()),
    }
}

/// In words, as a shell's user knows them.
pub fn ended_with(status: i32) -> String {
    if status < 0 { format!("signal {}", -status) } else { format!("status {status}") }
}

pub fn tiles(log: &Log, timeline: &Timeline) -> String {
    let (first, last) = timeline.window();
    let split = format!("{} start-up, {} command", seconds(first), seconds(last - first));
    let workers = timeline.workers.len();
    let used = timeline.seconds(is_busy) / (workers.max(1) as f64 * (last - first)).max(f64::EPSILON);
    let failed = statuses(log).filter(|&status| status != 0).count();
    [
        tile("Wall time", &seconds(timeline.wall), &split),
        tile("Workers", &workers.to_string(), &format!("on {}", counted(timeline.machines.len(), "machine"))),
        tile("Failed", &failed.to_string(), &format!("of {}", counted(statuses(log).count(), "command"))),
        tile("Busy", &format!("{:.0} %", used.min(1.0) * 100.0), "while the command ran anywhere"),
        cost(log),
    ]
    .concat()
}

pub fn bounds(timeline: &Timeline) -> Vec<Bound> {
    let scale = Scale::of(timeline);
    let found = [bounds::start_up(timeline, &scale, "command"), uneven(timeline), bounds::losses(timeline, &scale)];
    bounds::weighed(timeline, found.into_iter().flatten())
}

/// Some workers were done while others were not.
fn uneven(timeline: &Timeline) -> Option<Bound> {
    let took = || timeline.workers.values().map(|worker| worker.seconds(|kind| kind == Kind::Command));
    let (shortest, longest) = (took().fold(f64::INFINITY, f64::min), took().fold(0.0, f64::max));
    let mean = took().sum::<f64>() / timeline.workers.len().max(1) as f64;
    let finding = format!(
        "The command took between {} and {}, {} on average.",
        seconds(shortest),
        seconds(longest),
        seconds(mean)
    );
    let advice =
        "Give each worker as much to do: CLOUDIST_WORKER_INDEX and CLOUDIST_NUM_WORKERS tell which share is whose.";
    (timeline.workers.len() > 1).then(|| Bound {
        title: "Uneven shares",
        finding,
        advice: advice.into(),
        saves: longest - mean,
    })
}
