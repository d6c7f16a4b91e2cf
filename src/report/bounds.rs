//! What a run waited for, and what would make it shorter: start-up, the longest test, imports, too few workers, idling at the end.
//!
//! Each is weighed by the seconds that the run would be shorter without it. Estimates, and said to be such.

use super::{
    figures::is_busy,
    sections::seconds,
    timeline::{Kind, Timeline},
};

pub struct Bound {
    pub title: &'static str,
    pub finding: String,
    pub advice: String,
    /// The run would be shorter by about so much.
    pub saves: f64,
}

/// What isn't worth a word.
const LEAST_SHARE: f64 = 0.05;

/// The weightiest first.
pub fn bounds(timeline: &Timeline) -> Vec<Bound> {
    let scale = Scale::of(timeline);
    let found = [
        start_up(timeline, &scale, "test file"),
        longest_test(timeline, &scale),
        few_workers(timeline, &scale),
        imbalance(timeline, &scale),
        imports(timeline, &scale),
        between(timeline, &scale),
        losses(timeline, &scale),
    ];
    weighed(timeline, found.into_iter().flatten())
}

/// Those that are worth a word, the weightiest first.
pub fn weighed(timeline: &Timeline, found: impl IntoIterator<Item = Bound>) -> Vec<Bound> {
    let mut found: Vec<Bound> = found.into_iter().filter(|bound| bound.saves > LEAST_SHARE * timeline.wall).collect();
    found.sort_by(|a, b| b.saves.total_cmp(&a.saves));
    found
}

/// The measures that the rest is compared with.
pub struct Scale {
    workers: f64,
    first: f64,
    /// From the first work to the end of the last.
    window: f64,
    last: f64,
    /// Importing and running, over all workers.
    busy: f64,
    longest: f64,
}

impl Scale {
    pub fn of(timeline: &Timeline) -> Self {
        let (first, last) = timeline.window();
        Self {
            workers: timeline.workers.len().max(1) as f64,
            first,
            last,
            window: last - first,
            busy: timeline.seconds(is_busy),
            longest: timeline.tests.iter().map(|ran| ran.to - ran.from).fold(0.0, f64::max),
        }
    }

    /// What the tests would take if all workers were busy to the end.
    fn balanced(&self) -> f64 {
        self.busy / self.workers
    }

    /// The longest test alone keeps the run from being shorter.
    fn hangs_on_one_test(&self) -> bool {
        self.longest > 0.6 * self.window && self.longest > 1.2 * self.balanced()
    }
}

/// What was begun first is called `work`.
pub fn start_up(timeline: &Timeline, scale: &Scale, work: &str) -> Option<Bound> {
    // The worker that was there first shows what the run waited for.
    let first = timeline.workers.values().min_by(|a, b| begin_of_work(a).total_cmp(&begin_of_work(b)))?;
    let mut parts: Vec<(Kind, f64)> = Kind::ALL
        .into_iter()
        .filter(|kind| kind.is_start_up())
        .map(|kind| (kind, first.seconds(|other| other == kind)))
        .collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    parts.retain(|(_, took)| *took > 0.1 * scale.first);
    let named: Vec<String> = parts.iter().map(|(kind, took)| format!("{} {}", kind.name(), seconds(*took))).collect();
    let advice = match parts.first()?.0 {
        Kind::Launch | Kind::Connect => {
            "Keep machines for the next run (--cd-keep 30m), or name machines that you have (--cd-hosts)."
        }
        Kind::Boot => "The machines' python3 is slow to start: look at their load, or take larger ones.",
        Kind::Wait => {
            "The local pytest and the snapshot were waited for: leave large directories out with a .cloudistignore, and load fewer \
             plugins here."
        }
        Kind::Sync => "Leave what tests don't need out of the snapshot with a .cloudistignore.",
        Kind::Environment => "Make an image with the environment in place: `cloudist bake`.",
        Kind::Init => {
            "Do less in the init command, or put what it installs into the environment, which `cloudist bake` can keep in an image."
        }
        _ => {
            "pytest and its plugins are slow to import on the machines: leave out plugins that the suite doesn't use (-p no:NAME)."
        }
    };
    let finding = format!("The first {work} was begun after {} ({}).", seconds(scale.first), named.join(", "));
    Some(Bound { title: "Start-up", finding, advice: advice.into(), saves: scale.first })
}

fn begin_of_work(worker: &super::timeline::Worker) -> f64 {
    worker.spans.iter().find(|span| is_busy(span.kind)).map_or(f64::INFINITY, |span| span.from)
}

fn longest_test(timeline: &Timeline, scale: &Scale) -> Option<Bound> {
    let longest = timeline.tests.iter().max_by(|a, b| (a.to - a.from).total_cmp(&(b.to - b.from)))?;
    if !scale.hangs_on_one_test() {
        return None;
    }
    let finding = format!(
        "{} took {} of the {} in which tests ran; the rest would have fitted into {}.",
        longest.test.id,
        seconds(scale.longest),
        seconds(scale.window),
        seconds(scale.balanced())
    );
    let advice = "More workers don't help: split this test, or make it faster.".into();
    Some(Bound { title: "One long test", finding, advice, saves: scale.window - scale.balanced() })
}

fn few_workers(timeline: &Timeline, scale: &Scale) -> Option<Bound> {
    let used = scale.busy / (scale.workers * scale.window).max(f64::EPSILON);
    if used < 0.75 || scale.hangs_on_one_test() {
        return None;
    }
    let doubled = (scale.balanced() / 2.0).max(scale.longest);
    let saves = scale.window - doubled;
    let cores = timeline.machines.values().map(|machine| machine.cpus).max().unwrap_or(0);
    let finding = format!("The workers were busy for {:.0} % of the time in which tests ran.", used * 100.0);
    let workers = timeline.workers.len();
    let advice = if timeline.start.provider == "local" && cores > 0 && workers >= cores as usize {
        format!(
            "This computer has {cores} cores, and {workers} workers shared them: machines elsewhere (--cd-provider ec2, --cd-hosts) would shorten \
             the run; with twice the cores by up to {}.",
            seconds(saves)
        )
    } else {
        format!(
            "With {} workers (--cd-num-workers) the tests would take about {} instead of {}.",
            2 * workers,
            seconds(doubled),
            seconds(scale.window)
        )
    };
    Some(Bound { title: "Too few workers", finding, advice, saves })
}

fn imbalance(timeline: &Timeline, scale: &Scale) -> Option<Bound> {
    if scale.hangs_on_one_test() || timeline.workers.len() < 2 {
        return None;
    }
    let idle: f64 = timeline
        .workers
        .values()
        .filter_map(|worker| worker.spans.iter().rev().find(|span| is_busy(span.kind)))
        .map(|last| scale.last - last.to)
        .sum();
    let saves = idle / scale.workers;
    let last = timeline.tests.iter().max_by(|a, b| a.to.total_cmp(&b.to));
    let last = last.map_or(String::new(), |ran| {
        let (took, since) = (seconds(ran.to - ran.from), seconds(ran.from - scale.first));
        format!(" The last to end was {}, which took {took} and was begun after {since} of testing.", ran.test.id)
    });
    let finding = format!("At the end, each worker had nothing left to do for {} on average.{last}", seconds(saves));
    let advice = match timeline.start.mode.as_str() {
        "file" => "Files stay whole in this mode: --cloudist=test spreads the tests of one file over the workers.",
        _ => {
            "Long tests that begin late make it uneven: split them, or put them into files of their own, first in the order."
        }
    };
    Some(Bound { title: "Uneven ends", finding, advice: advice.into(), saves })
}

fn imports(timeline: &Timeline, scale: &Scale) -> Option<Bound> {
    let total = timeline.seconds(|kind| kind == Kind::Import);
    let imports = timeline.imports();
    let slowest = imports.first()?;
    let (files, times) = (imports.len(), imports.iter().map(|import| import.times).sum::<usize>());
    let finding = format!(
        "{files} files were imported {times} times, for {} in all: {:.0} % of the workers' busy time. The slowest, {}, took {}.",
        seconds(total),
        100.0 * total / scale.busy.max(f64::EPSILON),
        slowest.path,
        seconds(slowest.longest)
    );
    let advice = "Import what is heavy inside the tests that need it; `python -X importtime` shows what is.".into();
    Some(Bound { title: "Imports", finding, advice, saves: total / scale.workers })
}

fn between(timeline: &Timeline, scale: &Scale) -> Option<Bound> {
    let total = timeline.seconds(|kind| kind == Kind::Between);
    if total < 0.25 * scale.busy {
        return None;
    }
    let each = total / timeline.tests.len().max(1) as f64;
    let finding = format!(
        "pytest's own work from one test to the next took {} in all, {:.1} ms a test: {:.0} % of the workers' busy time.",
        seconds(total),
        each * 1000.0,
        100.0 * total / scale.busy
    );
    let advice =
        "The tests are short, so hooks count: leave out plugins that the suite doesn't use (-p no:NAME).".into();
    Some(Bound { title: "Between tests", finding, advice, saves: total / scale.workers })
}

pub fn losses(timeline: &Timeline, scale: &Scale) -> Option<Bound> {
    let total = timeline.seconds(|kind| kind == Kind::Lost);
    let machines = timeline.machines.values().filter(|machine| machine.lost.is_some()).count();
    if total == 0.0 {
        return None;
    }
    let finding = format!("{machines} machines were lost; their workers' time until the end was {}.", seconds(total));
    let advice = "Ask for machines that are interrupted less often (--cd-interrupt-prob).".into();
    Some(Bound { title: "Losses", finding, advice, saves: total / scale.workers })
}
