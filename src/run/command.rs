//! The coordinator of `ssh-run`: one command on every worker, its streams brought here.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{Fleet, FleetEvent, RunError};
use crate::{
    machine::{Command, Event, ExitText, Preparation, Signal, Timings},
    model::{
        MachineId,
        event::What,
        live::{Figures, Sight, Work},
    },
    protocol::runner::FromRunner,
    registry::{Source, WorkerInfo},
    text,
};

/// Room that must be free towards the caller before another machine message is taken in.
const ROOM: usize = 8;

/// Bytes of stdin that may be on their way to a command.
const STDIN_TRAVELLING: u64 = 1 << 20;

/// How old may be what one who looks on sees of costs.
const EVERY_GLANCE: Duration = Duration::from_secs(1);

/// What to do on the workers.
#[derive(Clone, Debug)]
pub struct CommandPlan {
    pub argv: Vec<String>,
    pub workers: u32,
    /// Environment variables for it, besides those that number the workers.
    pub variables: BTreeMap<String, String>,
    /// Whether the caller's stdin goes to the command; only one worker can have it.
    pub stdin: Stdin,
    /// What to bring back when a worker's command has ended.
    pub fetch: Vec<String>,
    /// For how long machines stay on which the command failed.
    pub keep_on_failure: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    Empty,
    PassedOn,
}

/// What the caller wants while the command runs.
#[derive(Debug)]
pub enum CommandWish {
    /// Ctrl-C: the first one reaches the remote process groups, the second ends the run.
    Interrupt,
    Terminate,
}

/// What the caller is to show or keep.
#[derive(Debug)]
pub enum CommandOutput {
    Bytes {
        worker: u32,
        stream: Stream,
        data: Bytes,
    },
    /// A piece of a file that was asked for.
    File {
        worker: u32,
        path: String,
        mode: u32,
        offset: u64,
        data: Bytes,
        last: bool,
    },
    Note(String),
    /// How long a machine took to get ready.
    Timings {
        machine: String,
        timings: Timings,
    },
    Exited {
        worker: u32,
        status: i32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout = 1,
    Stderr = 2,
}

/// How it ended: the status of each worker that got to the end, by number.
#[derive(Debug, Default)]
pub struct CommandEnding {
    pub statuses: BTreeMap<u32, i32>,
    pub interrupted: Option<Signal>,
    /// Nobody takes the output any more, so the command has nobody to run for.
    pub unheard: bool,
    /// Workers whose machine went before their command ended.
    pub lost: u32,
}

pub struct CommandRun<'a> {
    plan: CommandPlan,
    fleet: &'a mut Fleet,
    output: mpsc::Sender<CommandOutput>,
    /// Which machine each worker is on, and how far it is.
    workers: BTreeMap<u32, (MachineId, Progress)>,
    ending: CommandEnding,
    last_trouble: Option<RunError>,
    interrupts: u32,
    /// Some machine could not be had.
    never_leased: bool,
    budget_spent: bool,
    /// Bytes of stdin that are on their way to the command.
    stdin_travelling: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Expected,
    Running,
    Fetching,
    Over,
}

impl<'a> CommandRun<'a> {
    pub fn new(plan: CommandPlan, fleet: &'a mut Fleet, output: mpsc::Sender<CommandOutput>) -> Self {
        Self {
            plan,
            fleet,
            output,
            workers: BTreeMap::new(),
            ending: CommandEnding::default(),
            last_trouble: None,
            interrupts: 0,
            never_leased: false,
            budget_spent: false,
            stdin_travelling: 0,
        }
    }

    pub async fn drive(
        mut self,
        mut preparing: JoinHandle<Result<Preparation, RunError>>,
        mut wishes: mpsc::Receiver<CommandWish>,
        mut stdin: mpsc::Receiver<Bytes>,
    ) -> Result<CommandEnding, RunError> {
        let mut prepared = false;
        let mut stdin_open = self.plan.stdin == Stdin::PassedOn;
        let listener = self.output.clone();
        let mut glances = tokio::time::interval(EVERY_GLANCE);
        glances.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.over() {
            if self.budget_spent {
                return Err(RunError::BudgetSpent);
            }
            let room = self.output.capacity() >= ROOM;
            tokio::select! {
                result = &mut preparing, if !prepared => {
                    prepared = true;
                    let preparation = result.map_err(|error| RunError::Internal(error.to_string()))??;
                    for warning in &preparation.snapshot.warnings {
                        self.say(CommandOutput::Note(warning.to_string()));
                    }
                    self.fleet.prepare(preparation);
                }
                Some(wish) = wishes.recv() => {
                    if self.on_wish(wish) {
                        return Ok(self.ending);
                    }
                }
                data = stdin.recv(), if stdin_open && self.takes_stdin() => {
                    stdin_open = data.is_some();
                    self.pass_stdin(data);
                }
                event = self.fleet.next(), if room => self.on_fleet(event),
                () = has_room(&self.output), if !room => {}
                _ = glances.tick(), if self.fleet.watch().looks() => self.tell_what_workers_are_at(),
                () = listener.closed() => {
                    self.ending.unheard = true;
                    return Ok(self.ending);
                }
            }
        }
        if self.never_leased {
            self.ending.lost += self.plan.workers.saturating_sub(self.workers.len() as u32);
        }
        match self.last_trouble {
            Some(trouble) if self.ending.statuses.is_empty() => Err(trouble),
            _ => Ok(self.ending),
        }
    }

    fn over(&self) -> bool {
        !self.fleet.awaits_leases() && self.workers.values().all(|(_, progress)| *progress == Progress::Over)
    }

    /// Answers whether the run is to end at once.
    fn on_wish(&mut self, wish: CommandWish) -> bool {
        match wish {
            CommandWish::Interrupt => {
                self.interrupts += 1;
                self.ending.interrupted = Some(Signal::Interrupt);
                let running = self.signal_all(Signal::Interrupt);
                self.interrupts > 1 || !running
            }
            CommandWish::Terminate => {
                self.ending.interrupted = Some(Signal::Terminate);
                self.signal_all(Signal::Terminate);
                true
            }
        }
    }

    /// Only a running command gets input, and one that is slow to read is not drowned in it.
    fn takes_stdin(&self) -> bool {
        let running = self.workers.get(&0).is_some_and(|(_, progress)| *progress == Progress::Running);
        running && self.stdin_travelling < STDIN_TRAVELLING
    }

    /// Nothing stands for the end.
    fn pass_stdin(&mut self, data: Option<Bytes>) {
        let Some((machine, _)) = self.workers.get(&0) else { return };
        let eof = data.is_none();
        let data = data.unwrap_or_default();
        self.stdin_travelling += data.len() as u64;
        self.fleet.tell(*machine, Command::Stdin { id: 0, data, eof });
    }

    /// Answers whether there was anything to signal.
    fn signal_all(&self, signal: Signal) -> bool {
        let mut any = false;
        for (&id, (machine, progress)) in &self.workers {
            if *progress == Progress::Running {
                any = true;
                self.fleet.tell(*machine, Command::Signal { id, signal });
            }
        }
        any
    }

    fn on_fleet(&mut self, event: FleetEvent) {
        match event {
            FleetEvent::Leased { machine, workers, .. } => {
                let first = self.workers.len() as u32;
                for number in first..first + workers {
                    self.workers.insert(number, (machine, Progress::Expected));
                }
                self.tell_what_workers_are_at();
            }
            FleetEvent::NotLeased { name, error } => {
                self.say(CommandOutput::Note(format!("{name}: {}", text::chain(&error))));
                self.last_trouble = Some(RunError::Provider(error));
                self.never_leased = true;
            }
            FleetEvent::LeasesOver => {}
            FleetEvent::BudgetSpent => {
                self.signal_all(Signal::Terminate);
                self.budget_spent = true;
            }
            FleetEvent::Note(text) | FleetEvent::Warning(text) => self.say(CommandOutput::Note(text)),
            FleetEvent::Machine(machine, Event::Leaving { within }) => {
                let name = self.fleet.name(machine);
                let text = format!("{name} will be taken away in {} s: its command may not end", within.as_secs());
                self.say(CommandOutput::Note(text));
            }
            FleetEvent::Machine(machine, Event::Prepared(facts)) => {
                let name = self.fleet.name(machine).to_owned();
                self.say(CommandOutput::Timings { machine: name, timings: facts.timings });
                self.start(machine);
            }
            FleetEvent::Machine(machine, Event::Message(message, blob)) => self.on_message(machine, message, blob),
            FleetEvent::Machine(machine, Event::Ended) => self.machine_gone(machine),
            FleetEvent::Machine(machine, Event::Lost(error)) => {
                self.say(CommandOutput::Note(text::chain(&error)));
                self.last_trouble = Some(RunError::NoMachines { source: error });
                self.machine_gone(machine);
            }
            FleetEvent::Machine(
                _,
                Event::Entered(_) | Event::InitOutput(_) | Event::Differs(_) | Event::Contents(_),
            ) => {}
        }
    }

    fn start(&mut self, machine: MachineId) {
        for (&id, (_, progress)) in self.workers.iter_mut().filter(|(_, (place, _))| *place == machine) {
            *progress = Progress::Running;
            self.fleet.recorder().note(|| What::CommandStarted { worker: id, machine: machine.0 });
            let mut env = self.plan.variables.clone();
            env.insert("CLOUDIST_WORKER_INDEX".into(), id.to_string());
            env.insert("CLOUDIST_NUM_WORKERS".into(), self.plan.workers.to_string());
            let env = json!(env);
            let stdin = self.plan.stdin == Stdin::PassedOn && id == 0;
            self.fleet.tell(machine, Command::Exec { id, argv: self.plan.argv.clone(), env, stdin });
        }
        self.tell_what_workers_are_at();
    }

    fn on_message(&mut self, machine: MachineId, message: FromRunner, data: Bytes) {
        match message {
            FromRunner::Output { id: Some(worker), stream, .. } => {
                let stream = if stream == 2 { Stream::Stderr } else { Stream::Stdout };
                self.say(CommandOutput::Bytes { worker, stream, data });
            }
            FromRunner::StdinTaken { size, .. } => {
                self.stdin_travelling = self.stdin_travelling.saturating_sub(size);
            }
            FromRunner::Exited { id, status } => {
                self.ending.statuses.insert(id, status);
                self.fleet.recorder().note(|| What::CommandEnded { worker: id, status });
                self.fleet.log(machine, Source::Worker(id), &format!("ended with {}", ExitText(status)));
                if let (true, Some(time)) = (status != 0, self.plan.keep_on_failure) {
                    self.fleet.keep(machine, time);
                }
                self.say(CommandOutput::Exited { worker: id, status });
                if self.plan.fetch.is_empty() {
                    self.enter(id, Progress::Over);
                } else {
                    self.enter(id, Progress::Fetching);
                    self.fleet.recorder().note(|| What::Fetching { worker: id });
                    self.fleet.tell(machine, Command::Fetch { id, globs: self.plan.fetch.clone() });
                }
            }
            FromRunner::FetchedFile { id, path, mode, offset, last, .. } => {
                self.say(CommandOutput::File { worker: id, path, mode, offset, data, last });
            }
            FromRunner::Fetched { id, count } => {
                self.fleet.recorder().note(|| What::Fetched { worker: id, files: count });
                if count == 0 {
                    let globs = self.plan.fetch.join(" ");
                    self.say(CommandOutput::Note(format!("worker {id}: nothing there matches {globs}")));
                }
                self.enter(id, Progress::Over);
            }
            FromRunner::Error { stage, message, .. } => {
                let name = self.fleet.name(machine).to_owned();
                self.say(CommandOutput::Note(format!("{name}: {stage}: {message}")));
                self.last_trouble = Some(RunError::Command { machine: name, message });
                self.machine_gone(machine);
                self.fleet.tell(machine, Command::Finish);
            }
            _ => {}
        }
    }

    fn enter(&mut self, worker: u32, next: Progress) {
        if let Some((_, progress)) = self.workers.get_mut(&worker) {
            *progress = next;
        }
        self.tell_what_workers_are_at();
    }

    fn tell_what_workers_are_at(&mut self) {
        let line = shlex::try_join(self.plan.argv.iter().map(String::as_str)).unwrap_or_default();
        let workers = self.workers.iter().map(|(id, (machine, progress))| WorkerInfo {
            failures: Vec::new(),
            worker: id.to_string(),
            machine: machine.0,
            at: matches!(progress, Progress::Running | Progress::Fetching).then(|| line.clone()),
            done: u32::from(self.ending.statuses.contains_key(id)),
            failed: u32::from(self.ending.statuses.get(id).is_some_and(|&status| status != 0)),
        });
        let workers = workers.collect();
        self.fleet.working(workers);
        self.show();
    }

    /// Shows one who looks on what each worker is at, and how far it all is.
    fn show(&self) {
        let watch = self.fleet.watch();
        if !watch.listens() {
            return;
        }
        let line = || shlex::try_join(self.plan.argv.iter().map(String::as_str)).unwrap_or_default();
        let at = |progress| (progress == Progress::Running).then(|| Work::Command(line()));
        watch.tell(|| Sight::At(self.workers.iter().map(|(id, (_, progress))| (*id, at(*progress))).collect()));
        let count = |wanted: &dyn Fn(Progress) -> bool| {
            self.workers.values().filter(|(_, progress)| wanted(*progress)).count() as u32
        };
        watch.tell(|| {
            Sight::Figures(Figures {
                done: count(&|progress| progress == Progress::Over),
                failed: self.ending.statuses.values().filter(|status| **status != 0).count() as u32,
                total: self.plan.workers,
                complete: true,
                left: None,
                busy: count(&|progress| matches!(progress, Progress::Running | Progress::Fetching)),
                workers: self.workers.len() as u32,
                wanted: self.plan.workers,
                machines: self.fleet.machines() as u32,
                dollars: self.fleet.bill().map(|bill| bill.dollars),
            })
        });
    }

    fn machine_gone(&mut self, machine: MachineId) {
        for (_, progress) in self.workers.values_mut().filter(|(place, _)| *place == machine) {
            if !matches!(progress, Progress::Over) {
                self.ending.lost += 1;
                *progress = Progress::Over;
            }
        }
    }

    fn say(&self, output: CommandOutput) {
        // There is room: machine messages are only taken in when there is, so a slow reader of the output slows the machines down.
        self.output.try_send(output).ok();
    }
}

/// Waits until the caller has taken enough for another machine message.
async fn has_room(output: &mpsc::Sender<CommandOutput>) {
    // A caller that no longer listens loses output, not the run.
    drop(output.reserve_many(ROOM).await);
}
