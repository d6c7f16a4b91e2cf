//! What is known of a run, told by its events.

use std::collections::{BTreeMap, BTreeSet};

use super::log::Log;
use crate::model::{
    event::{Event, SSH_RUN, Test, What},
    live::{Figures, Sight, Speaker, Work},
};

/// So many failures are kept; a run with more is beyond looking at them one by one.
const MOST_FAILURES: usize = 5000;

#[derive(Debug, Default)]
pub struct Run {
    pub provider: String,
    pub mode: String,
    pub wanted: u32,
    pub command: Vec<String>,
    pub machines: BTreeMap<u32, Machine>,
    pub workers: BTreeMap<u32, Worker>,
    pub failures: Vec<Failure>,
    /// Failures that are not kept.
    pub unkept: usize,
    pub done: u32,
    pub failed: u32,
    pub figures: Figures,
    pub notes: Log,
    /// The last of the notes, for as long as no machine works.
    pub last_note: String,
    pub ended: bool,
}

#[derive(Debug, Default)]
pub struct Machine {
    pub name: String,
    pub workers: u32,
    pub stage: Stage,
    pub since: f64,
    pub rented: Option<Rented>,
    pub dollars: Option<f64>,
    pub platform: String,
    pub cpus: u32,
    pub log: Log,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Stage {
    #[default]
    Leased,
    /// On its way to be ready, in the words of the events.
    On(String),
    Ready,
    /// It will be taken away, at that time of the run.
    Leaving(f64),
    /// It ended because it was told to.
    Ended,
    Lost(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rented {
    pub instance_type: String,
    pub zone: String,
    pub per_hour: f64,
    pub lease: u64,
}

#[derive(Debug, Default)]
pub struct Worker {
    pub machine: u32,
    pub stage: WorkerStage,
    /// What it is at, and since when.
    pub at: Option<(Work, f64)>,
    pub done: u32,
    pub failed: u32,
    pub log: Log,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkerStage {
    #[default]
    Starting,
    Up,
    Down,
    Died,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub name: String,
    pub word: &'static str,
    pub worker: Option<u32>,
    pub text: String,
    pub seconds: f64,
}

impl Run {
    /// Something has happened; `now` is the time of the run.
    pub fn take(&mut self, sight: Sight, now: f64) {
        match sight {
            Sight::Event(event) => self.happened(event),
            Sight::Machine { machine, instance_type, zone, per_hour, lease } => {
                self.machine(machine).rented = Some(Rented { instance_type, zone, per_hour, lease });
            }
            Sight::At(changed) => {
                for (worker, at) in changed {
                    let worker = self.workers.entry(worker).or_default();
                    let same = worker.at.as_ref().map(|(work, _)| work) == at.as_ref();
                    if !same {
                        worker.at = at.map(|work| (work, now));
                    }
                }
            }
            Sight::Charges(charges) => {
                for (machine, dollars) in charges {
                    self.machine(machine).dollars = Some(dollars);
                }
            }
            Sight::Figures(figures) => self.figures = figures,
            Sight::Said { machine, speaker: Speaker::Worker(worker), text } => {
                let (said_by, log) = (format!("gw{worker} "), &mut self.workers.entry(worker).or_default().log);
                log.add(&text);
                let prefixed = text.lines().map(|line| format!("{said_by}{line}\n")).collect::<String>();
                self.machine(machine).log.add(&prefixed);
            }
            Sight::Said { machine, text, .. } => self.machine(machine).log.add(&text),
            Sight::Note(text) => {
                self.notes.add(&format!("{text}\n"));
                self.last_note = super::text::plain(text.lines().next().unwrap_or_default());
            }
            Sight::NotCollected { name, reason } => {
                self.fail(Failure { name, word: "not collected", worker: None, text: reason, seconds: 0.0 });
            }
        }
    }

    fn happened(&mut self, Event { at, what }: Event) {
        match what {
            What::RunStarted(begun) => {
                *self = Self {
                    provider: begun.provider,
                    mode: begun.mode,
                    wanted: begun.workers,
                    command: begun.command,
                    ..Self::default()
                };
            }
            What::Leased { machine, name, workers } => {
                let first = self.workers.keys().next_back().map_or(0, |last| last + 1);
                for worker in first..first + workers {
                    self.workers.insert(worker, Worker { machine, ..Worker::default() });
                }
                let leased = self.machine(machine);
                (leased.name, leased.workers, leased.since) = (name, workers, at);
            }
            What::NotLeased { name, reason } => self.take(Sight::Note(format!("{name}: {reason}")), at),
            What::Stage { machine, stage } => self.enter(machine, Stage::On(stage), at),
            What::Prepared { machine, platform, cpus, .. } => {
                self.enter(machine, Stage::Ready, at);
                let machine = self.machine(machine);
                (machine.platform, machine.cpus) = (platform, cpus);
            }
            What::MachineLeaving { machine, within } => self.enter(machine, Stage::Leaving(at + within), at),
            What::MachineGone { machine, reason } => {
                for worker in self.workers.values_mut().filter(|worker| worker.machine == machine) {
                    worker.at = None;
                    if worker.stage != WorkerStage::Died {
                        worker.stage = WorkerStage::Down;
                    }
                }
                self.enter(machine, reason.map_or(Stage::Ended, Stage::Lost), at);
            }
            What::WorkerStarted { worker, .. } => self.worker(worker, WorkerStage::Starting),
            What::WorkerUp { worker, .. } | What::CommandStarted { worker, .. } => {
                self.worker(worker, WorkerStage::Up);
            }
            What::WorkerDown { worker } => self.worker(worker, WorkerStage::Down),
            What::WorkerDied { worker, reason, test } => self.died(worker, reason, test),
            What::Test(test) => self.ran(*test),
            What::Late { worker, failure: Some(text), .. } => {
                let name = format!("a fixture's end on gw{worker}");
                self.fail(Failure { name, word: "error", worker: Some(worker), text, seconds: 0.0 });
            }
            What::CommandEnded { worker, status } => {
                self.worker(worker, WorkerStage::Down);
                let ended = self.workers.entry(worker).or_default();
                ended.done = 1;
                if status != 0 {
                    ended.failed = 1;
                    let (name, text) = (format!("worker {worker}"), format!("the command ended with {}", how(status)));
                    self.fail(Failure { name, word: "failed", worker: Some(worker), text, seconds: 0.0 });
                }
            }
            What::Lost { subject, reason } => {
                self.fail(Failure { name: subject, word: "lost", worker: None, text: reason, seconds: 0.0 });
            }
            What::RunEnded(_) => self.ended = true,
            _ => {}
        }
    }

    fn ran(&mut self, test: Test) {
        if test.stale {
            return;
        }
        let failed = test.outcome.is_failure();
        let worker = self.workers.entry(test.worker).or_default();
        worker.done += 1;
        worker.failed += u32::from(failed);
        self.done += 1;
        self.failed += u32::from(failed);
        if failed {
            self.fail(Failure {
                name: test.id,
                word: test.outcome.word(),
                worker: Some(test.worker),
                text: test.failure.unwrap_or_default(),
                seconds: test.phases.iter().map(|phase| phase.2).sum(),
            });
        }
    }

    fn died(&mut self, number: u32, reason: String, test: Option<String>) {
        let worker = self.workers.entry(number).or_default();
        (worker.stage, worker.at) = (WorkerStage::Died, None);
        if let Some(name) = test {
            worker.done += 1;
            worker.failed += 1;
            self.done += 1;
            self.failed += 1;
            self.fail(Failure { name, word: "crashed", worker: Some(number), text: reason, seconds: 0.0 });
        }
    }

    fn fail(&mut self, failure: Failure) {
        if self.failures.len() < MOST_FAILURES {
            self.failures.push(failure);
        } else {
            self.unkept += 1;
        }
    }

    fn machine(&mut self, machine: u32) -> &mut Machine {
        self.machines.entry(machine).or_default()
    }

    fn enter(&mut self, machine: u32, stage: Stage, at: f64) {
        let machine = self.machine(machine);
        (machine.stage, machine.since) = (stage, at);
    }

    fn worker(&mut self, worker: u32, stage: WorkerStage) {
        let worker = self.workers.entry(worker).or_default();
        worker.stage = stage;
        if stage != WorkerStage::Up {
            worker.at = None;
        }
    }

    pub fn is_of_tests(&self) -> bool {
        self.mode != SSH_RUN
    }

    /// Workers for which no machine is there yet.
    pub fn awaited(&self) -> u32 {
        let gone: BTreeSet<u32> =
            self.machines.iter().filter(|(_, machine)| machine.stage.is_gone()).map(|(&number, _)| number).collect();
        let there = self.workers.values().filter(|worker| !gone.contains(&worker.machine)).count() as u32;
        self.wanted.saturating_sub(there)
    }
}

impl Stage {
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Ended | Self::Lost(_))
    }
}

/// A status as the events have it.
fn how(status: i32) -> String {
    if status < 0 { format!("signal {}", -status) } else { format!("exit status {status}") }
}
