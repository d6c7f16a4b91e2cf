//! Who did what when: a lane for each machine until it could work, and for each worker over the whole run.
//!
//! Every second of a worker's lane has a kind. What the events don't explain is a kind of its own.

use std::collections::BTreeMap;

use super::{Log, clocks::Clocks, work::Leisure};
use crate::model::event::{Event, Outcome, RunStarted, Test, What};

/// Between two tests that both were in hand, pytest does its own work. More than this is something else.
const LONGEST_BETWEEN: f64 = 0.1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Launch,
    Connect,
    Boot,
    /// For the snapshot, which is taken while machines start.
    Wait,
    Sync,
    Environment,
    Init,
    /// pytest and its plugins start.
    Start,
    Import,
    Test,
    /// pytest's own work from one test to the next.
    Between,
    Idle,
    /// Wider fixtures end after the last test that used them, and the session itself.
    End,
    Lost,
    Unknown,
    /// Of `ssh-run`.
    Command,
    /// What it made comes here.
    Fetch,
}

impl Kind {
    pub const ALL: [Self; 17] = [
        Self::Launch,
        Self::Connect,
        Self::Boot,
        Self::Wait,
        Self::Sync,
        Self::Environment,
        Self::Init,
        Self::Start,
        Self::Import,
        Self::Test,
        Self::Between,
        Self::Idle,
        Self::End,
        Self::Lost,
        Self::Unknown,
        Self::Command,
        Self::Fetch,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Connect => "connect",
            Self::Boot => "boot",
            Self::Wait => "wait for the snapshot",
            Self::Sync => "sync",
            Self::Environment => "environment",
            Self::Init => "init command",
            Self::Start => "start pytest",
            Self::Import => "import",
            Self::Test => "test",
            Self::Between => "between tests",
            Self::Idle => "idle",
            Self::End => "late teardown",
            Self::Lost => "lost",
            Self::Unknown => "unknown",
            Self::Command => "command",
            Self::Fetch => "fetch",
        }
    }

    /// Whether it comes before any work can be done.
    pub fn is_start_up(self) -> bool {
        self <= Self::Start
    }

    fn of_stage(stage: &str) -> Option<Self> {
        Some(match stage {
            "connect" => Self::Connect,
            "boot" => Self::Boot,
            "sync" => Self::Sync,
            "environment" => Self::Environment,
            "init" => Self::Init,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub kind: Kind,
    pub from: f64,
    pub to: f64,
    /// The file that is imported, or the test that runs: places in the timeline's lists.
    pub subject: Option<usize>,
}

impl Span {
    pub fn seconds(&self) -> f64 {
        self.to - self.from
    }
}

#[derive(Debug, Default)]
pub struct Machine {
    pub name: String,
    pub platform: String,
    pub cpus: u32,
    pub sent: u64,
    pub spans: Vec<Span>,
    pub lost: Option<String>,
    /// Since when it is ready to start workers.
    ready: Option<f64>,
    begun: f64,
}

#[derive(Debug, Default)]
pub struct Worker {
    pub machine: u32,
    pub spans: Vec<Span>,
    pub tests: usize,
}

impl Worker {
    pub fn seconds(&self, wanted: impl Fn(Kind) -> bool) -> f64 {
        self.spans.iter().filter(|span| wanted(span.kind)).map(Span::seconds).sum()
    }
}

/// A test that has an outcome, and when it ran.
#[derive(Debug)]
pub struct Ran<'a> {
    pub test: &'a Test,
    pub from: f64,
    pub to: f64,
    /// A teardown of its wider fixtures failed later.
    pub late_failure: Option<&'a str>,
}

impl Ran<'_> {
    pub fn seconds(&self) -> f64 {
        self.test.phases.iter().map(|phase| phase.2.max(0.0)).sum()
    }

    pub fn outcome(&self) -> Outcome {
        if self.late_failure.is_some() && !self.test.outcome.is_failure() { Outcome::Error } else { self.test.outcome }
    }
}

pub struct Timeline<'a> {
    pub start: &'a RunStarted,
    /// The whole run, in seconds.
    pub wall: f64,
    pub machines: BTreeMap<u32, Machine>,
    pub workers: BTreeMap<u32, Worker>,
    pub tests: Vec<Ran<'a>>,
    /// Paths of files that were imported.
    pub files: Vec<&'a str>,
    rootdir: &'a str,
}

/// The end of what a worker was doing until now, and what it does next.
struct Lane {
    worker: Worker,
    until: f64,
    then: Kind,
}

impl<'a> Timeline<'a> {
    pub fn of(log: &'a Log) -> Option<Self> {
        let wall = log.seconds();
        let mut made = Self {
            start: log.start()?,
            wall,
            machines: machines(&log.events, wall),
            workers: BTreeMap::new(),
            tests: Vec::new(),
            files: Vec::new(),
            rootdir: log.rootdir(),
        };
        let (clocks, leisure) = (Clocks::of(&log.events), Leisure::of(&log.events));
        let mut lanes: BTreeMap<u32, Lane> = BTreeMap::new();
        let mut late = BTreeMap::new();
        for event in &log.events {
            made.hear(event, &clocks, &leisure, &mut lanes);
            if let What::Late { file, index, failure: Some(failure), .. } = &event.what {
                late.insert((*file, *index), failure.as_str());
            }
        }
        for ran in &mut made.tests {
            ran.late_failure = late.get(&(ran.test.file, ran.test.index)).copied();
        }
        for (number, mut lane) in lanes {
            lane.rest(number, wall, &leisure);
            made.workers.insert(number, lane.worker);
        }
        Some(made)
    }

    /// The part of the workers' time whose kind is known.
    pub fn attributed(&self) -> f64 {
        let all: f64 = self.workers.values().map(|worker| worker.seconds(|_| true)).sum();
        let unknown: f64 = self.workers.values().map(|worker| worker.seconds(|kind| kind == Kind::Unknown)).sum();
        if all > 0.0 { 1.0 - unknown / all } else { 1.0 }
    }

    pub fn seconds(&self, wanted: impl Fn(Kind) -> bool) -> f64 {
        self.workers.values().map(|worker| worker.seconds(&wanted)).sum()
    }

    fn hear(&mut self, event: &'a Event, clocks: &Clocks, leisure: &Leisure, lanes: &mut BTreeMap<u32, Lane>) {
        let at = event.at;
        match &event.what {
            What::WorkerStarted { worker, machine } => match lanes.get_mut(worker) {
                // A fresh process after one died.
                Some(lane) => lane.turn(*worker, at, Kind::Start, leisure),
                None => {
                    lanes.insert(*worker, self.begin(*machine, at, Kind::Start));
                }
            },
            What::CommandStarted { worker, machine } => {
                lanes.insert(*worker, self.begin(*machine, at, Kind::Command));
            }
            What::CommandEnded { worker, .. } | What::Fetched { worker, .. } => {
                self.turn(lanes, (*worker, at), Kind::Idle, leisure);
            }
            What::Fetching { worker } => self.turn(lanes, (*worker, at), Kind::Fetch, leisure),
            What::WorkerUp { worker, .. } => self.turn(lanes, (*worker, at), Kind::Between, leisure),
            What::Collected { worker, path, start, seconds, .. } => {
                let from = clocks.at(*worker, *start).unwrap_or(at - seconds);
                let subject = self.files.len();
                self.files.push(below(path, self.rootdir));
                if let Some(lane) = lanes.get_mut(worker) {
                    lane.work(*worker, Kind::Import, (from, from + seconds, at), Some(subject), leisure);
                }
            }
            What::Test(test) => {
                let began = test.phases.first().and_then(|phase| clocks.at(test.worker, phase.1));
                let ended = test.phases.last().and_then(|phase| clocks.at(test.worker, phase.1 + phase.2));
                let (from, to) = began.zip(ended).unwrap_or((at, at));
                let subject = (!test.stale).then_some(self.tests.len());
                let placed = lanes.get_mut(&test.worker).map(|lane| {
                    lane.worker.tests += 1;
                    lane.work(test.worker, Kind::Test, (from, to, at), subject, leisure)
                });
                let (from, to) = placed.unwrap_or((from, to));
                if !test.stale {
                    self.tests.push(Ran { test, from, to, late_failure: None });
                }
            }
            What::Late { worker, phases, .. } => {
                for phase in phases {
                    let from = clocks.at(*worker, phase.1).unwrap_or(at);
                    if let Some(lane) = lanes.get_mut(worker) {
                        lane.work(*worker, Kind::End, (from, from + phase.2, at), None, leisure);
                    }
                }
            }
            What::WorkerDied { worker, .. } => self.turn(lanes, (*worker, at), Kind::Lost, leisure),
            What::WorkerDown { worker } => {
                if let Some(lane) = lanes.get_mut(worker) {
                    lane.end_session(*worker, at, leisure);
                }
            }
            What::MachineGone { machine, reason } => {
                let kind = if reason.is_some() { Kind::Lost } else { Kind::Idle };
                for (number, lane) in lanes.iter_mut().filter(|(_, lane)| lane.worker.machine == *machine) {
                    if lane.then != Kind::Idle {
                        lane.turn(*number, at, kind, leisure);
                    }
                }
            }
            _ => {}
        }
    }

    fn turn(&self, lanes: &mut BTreeMap<u32, Lane>, (worker, at): (u32, f64), then: Kind, leisure: &Leisure) {
        if let Some(lane) = lanes.get_mut(&worker) {
            lane.turn(worker, at, then, leisure);
        }
    }

    /// A worker has shared its machine's fate until now.
    fn begin(&self, machine: u32, at: f64, then: Kind) -> Lane {
        let mut worker = Worker { machine, ..Worker::default() };
        let mut until = at;
        if let Some(known) = self.machines.get(&machine) {
            worker.spans.extend(known.spans.iter().filter(|span| span.to <= at + 1e-3));
            until = worker.spans.last().map_or(known.begun, |span| span.to);
        }
        Lane { worker, until, then }
    }
}

impl Lane {
    fn push(&mut self, kind: Kind, from: f64, to: f64, subject: Option<usize>) {
        if to > from {
            self.worker.spans.push(Span { kind, from, to, subject });
        }
        self.until = self.until.max(to);
    }

    /// What it was doing lasted until now.
    fn turn(&mut self, number: u32, at: f64, then: Kind, leisure: &Leisure) {
        self.rest(number, at, leisure);
        self.then = then;
    }

    /// Fills the time up to a moment with what it was doing.
    fn rest(&mut self, number: u32, to: f64, leisure: &Leisure) {
        let from = self.until;
        if to <= from {
            return;
        }
        if self.then != Kind::Between {
            return self.push(self.then, from, to, None);
        }
        if leisure.any(number, from, to) {
            return self.push(Kind::Idle, from, to, None);
        }
        let known = to.min(from + LONGEST_BETWEEN);
        self.push(Kind::Between, from, known, None);
        self.push(Kind::Unknown, known, to, None);
    }

    /// Something that was done, as the machine's clock has it, but never before what precedes it, nor after it was told.
    fn work(
        &mut self,
        number: u32,
        kind: Kind,
        (from, to, told): (f64, f64, f64),
        subject: Option<usize>,
        leisure: &Leisure,
    ) -> (f64, f64) {
        let to = to.min(told).max(self.until);
        let from = from.clamp(self.until, to);
        self.rest(number, from, leisure);
        self.push(kind, from, to, subject);
        (from, to)
    }

    fn end_session(&mut self, number: u32, at: f64, leisure: &Leisure) {
        // Its last test was followed by idling, then by the end of the session; where the one became the other isn't told.
        self.rest(number, at, leisure);
        if let Some(last) = self.worker.spans.last_mut().filter(|span| span.kind == Kind::Between) {
            last.kind = Kind::End;
        }
        self.then = Kind::Idle;
    }
}

/// A path as it is named in the project.
fn below<'a>(path: &'a str, directory: &str) -> &'a str {
    path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path)
}

fn machines(events: &[Event], wall: f64) -> BTreeMap<u32, Machine> {
    let mut machines: BTreeMap<u32, Machine> = BTreeMap::new();
    let mut stage: BTreeMap<u32, (Kind, f64)> = BTreeMap::new();
    // A machine in the place of another was asked for when that went.
    let mut asked = 0.0;
    for event in events {
        let at = event.at;
        match &event.what {
            What::Leased { machine, name, .. } => {
                let mut made = Machine { name: name.clone(), begun: asked, ..Machine::default() };
                made.spans.push(Span { kind: Kind::Launch, from: asked, to: at, subject: None });
                machines.insert(*machine, made);
                stage.insert(*machine, (Kind::Connect, at));
            }
            What::Stage { machine, stage: word } => {
                if let (Some(kind), Some(known)) = (Kind::of_stage(word), machines.get_mut(machine)) {
                    let (before, since) = stage.insert(*machine, (kind, at)).unwrap_or((kind, at));
                    known.spans.push(Span { kind: before, from: since, to: at, subject: None });
                }
            }
            What::Prepared { machine, platform, cpus, sent, steps, .. } => {
                if let Some(known) = machines.get_mut(machine) {
                    let (before, since) = stage.remove(machine).unwrap_or((Kind::Init, at));
                    known.spans.push(Span { kind: before, from: since, to: at, subject: None });
                    (known.platform, known.cpus, known.sent) = (platform.clone(), *cpus, *sent);
                    known.ready = Some(at);
                    known.split_wait(steps);
                }
            }
            What::MachineLeaving { .. } => asked = at,
            What::MachineGone { machine, reason } => {
                if let Some(known) = machines.get_mut(machine) {
                    if let Some((kind, since)) = stage.remove(machine) {
                        known.spans.push(Span { kind, from: since, to: at, subject: None });
                    }
                    if reason.is_some() {
                        asked = at;
                        known.spans.push(Span { kind: Kind::Lost, from: at, to: wall, subject: None });
                        known.lost.clone_from(reason);
                    }
                }
            }
            _ => {}
        }
    }
    for machine in machines.values_mut() {
        machine.spans.retain(|span| span.to > span.from);
    }
    machines
}

impl Machine {
    /// Its runner had answered before anything could be sent.
    fn split_wait(&mut self, steps: &[(String, f64)]) {
        let waited = steps.iter().find(|(step, _)| step == "wait").map_or(0.0, |(_, took)| *took);
        if let Some(at) = self.spans.iter().position(|span| span.kind == Kind::Boot) {
            let boot = &mut self.spans[at];
            let end = boot.to;
            boot.to = (end - waited).max(boot.from);
            let wait = Span { kind: Kind::Wait, from: boot.to, to: end, subject: None };
            self.spans.insert(at + 1, wait);
        }
    }
}
