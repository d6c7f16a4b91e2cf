//! `--num-workers auto`: as many workers as the recorded durations of the project ask for.
//!
//! Reads the history; the sums are in `plan::workers`.

use std::{path::Path, thread, time::Duration};

use super::{init::project_root, line::Line, remember};
use crate::{
    history::Durations,
    plan::{
        Mode, ProviderKind, Settings,
        workers::{MOST_CHOSEN, Work},
    },
    protocol::bridge::{Level, ToPlugin},
};

/// Settles on a number of workers where it was left open. Without a history the one that is set stays.
pub fn choose(settings: &mut Settings, dir: &Path) {
    let Some(target) = settings.target else { return };
    let (known, notes) = remember::recall(&project_root(dir));
    // Whoever looks first learns of a damaged history, which is set aside then.
    for note in notes {
        eprintln!("cloudist: {note}");
    }
    let Some(work) = assess(settings, &known) else { return };
    settings.num_workers = work.team(target, most(settings)).workers;
}

/// Tells the user of that choice.
pub async fn explain(line: &Line, settings: &Settings, dir: &Path) {
    if let Some(text) = explanation(settings, dir) {
        line.tell(&ToPlugin::Note { level: Level::Info, text, help: None }).await;
    }
}

fn explanation(settings: &Settings, dir: &Path) -> Option<String> {
    let target = settings.target?;
    let Some(work) = work(settings, dir) else {
        return Some(format!(
            "no durations of this project are recorded yet: {} workers, not as many as a target of {} asks for",
            settings.num_workers,
            rounded(target)
        ));
    };
    let team = work.with(settings.num_workers);
    Some(format!(
        "{} of recorded tests, {} the longest, target {}: {} workers, about {}",
        rounded(work.total),
        rounded(work.longest),
        rounded(target),
        team.workers,
        rounded(team.takes)
    ))
}

/// What is known of the project in whose directory this is.
pub fn work(settings: &Settings, dir: &Path) -> Option<Work> {
    let (known, _) = remember::recall(&project_root(dir));
    assess(settings, &known)
}

fn assess(settings: &Settings, known: &Durations) -> Option<Work> {
    (!known.is_empty()).then(|| sum_up(known, settings.mode, start(settings.provider)))
}

fn sum_up(known: &Durations, mode: Mode, start: Duration) -> Work {
    let files = || known.files().map(|(_, file)| (file.import.unwrap_or_default(), file));
    let total = files().map(|(import, file)| import + file.total()).sum();
    let longest = files().map(|(import, file)| import + if mode == Mode::File { file.total() } else { file.longest() });
    Work { total, longest: longest.max().unwrap_or_default(), start }
}

/// The most workers that are chosen without being named: more than cores only slow each other down.
pub fn most(settings: &Settings) -> u32 {
    match settings.provider {
        Some(ProviderKind::Local) | None => {
            thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(MOST_CHOSEN))
        }
        Some(ProviderKind::Hosts | ProviderKind::Ec2) => MOST_CHOSEN,
    }
}

/// What passes before the first test begins: rented machines have to boot.
fn start(provider: Option<ProviderKind>) -> Duration {
    Duration::from_secs(match provider {
        Some(ProviderKind::Local) | None => 1,
        Some(ProviderKind::Hosts) => 3,
        Some(ProviderKind::Ec2) => 60,
    })
}

/// To the tenth of a second up to a minute, then to the second.
pub fn rounded(time: Duration) -> String {
    if time < Duration::from_secs(60) {
        return format!("{:.1}s", time.as_secs_f64());
    }
    humantime::format_duration(Duration::from_secs(time.as_secs_f64().round() as u64)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_shared_depends_on_the_mode() {
        let mut known = Durations::default();
        for (nodeid, seconds) in [("a.py::x", 6.0), ("a.py::y", 5.0), ("b.py::x", 7.0)] {
            known.add_test(nodeid.into(), 0, seconds);
        }
        known.add_import("a.py".into(), 2.0);
        let of = |mode| sum_up(&known, mode, Duration::ZERO);
        assert_eq!(of(Mode::Test).total, Duration::from_secs(20));
        assert_eq!(of(Mode::Test).longest, Duration::from_secs(8));
        assert_eq!(of(Mode::File).longest, Duration::from_secs(13));
    }
}
