//! The coordinator of a test run.
//!
//! One loop owns all state: it takes what the plugin, the machines and the clock say, lets the pure scheduler decide, and passes
//! orders on. Reports go through as the bytes they came as.

mod book;
mod bundles;
mod deaths;
mod fleet_events;
mod memory;
mod orders;
mod outcome;
mod plugin_messages;
mod progress;
mod watched;
mod workers;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use self::{book::Book, bundles::Bundles, progress::Progress, workers::Workers};
pub use self::{
    memory::Memory,
    outcome::{Ending, Summary},
};
use super::{Fleet, RunError};
use crate::{
    machine::Preparation,
    model::{FileId, MachineId, TestId, WorkerId, event::What},
    plan::{Collect, Mode, Settings, Showing},
    protocol::{
        Frame,
        bridge::{FromPlugin, Level, ToPlugin},
    },
    scheduler::{self, Copies, Scheduler, Time, Verdict},
};

/// Suites of up to this many files are collected whole before the first test runs, as plain pytest does it.
/// Larger ones start as their files are collected.
pub const SMALL_SUITE_FILES: u32 = 32;

/// How often a test is begun anew after its machine was lost.
const MAX_ATTEMPTS: NonZeroU32 = NonZeroU32::new(3).expect("three is not zero");

/// A run of few workers may lose its machines a few times.
const FEWEST_REPLACEMENTS: u32 = 8;

/// Room that must be free towards the plugin before another machine message is taken in.
const ROOM: usize = 32;

/// What workers get to end their sessions after an abort, on top of the grace they were given.
const ABORT_PATIENCE: Duration = Duration::from_secs(15);

/// The two directions to the local pytest.
pub struct Bridge {
    /// Ends when the plugin is gone.
    pub incoming: mpsc::Receiver<Result<FromPlugin, RunError>>,
    pub outgoing: mpsc::Sender<Frame>,
}

impl Bridge {
    /// How many frames may wait for a plugin that is busy replaying.
    pub const WAITING: usize = 512;
}

/// What a test run is to keep to.
#[derive(Clone, Debug)]
pub struct Rules {
    pub mode: Mode,
    pub collect: Collect,
    pub workers: u32,
    pub chunks_per_worker: Option<u32>,
    pub maxfail: Option<u32>,
    pub continue_on_collection_errors: bool,
    /// For how long machines stay on which something failed.
    pub keep_on_failure: Option<Duration>,
    /// Whether a test that takes far too long is tried a second time elsewhere.
    pub speculate: bool,
    /// Whether the local pytest is told how far it is.
    pub progress: bool,
}

impl Rules {
    pub fn new(settings: &Settings, hello: &crate::protocol::bridge::Hello) -> Self {
        Self {
            mode: settings.mode,
            collect: settings.collect,
            workers: settings.num_workers,
            chunks_per_worker: settings.tasks_per_worker_target,
            maxfail: (hello.maxfail > 0).then_some(hello.maxfail),
            continue_on_collection_errors: hello.continue_on_collection_errors,
            keep_on_failure: settings.keep_on_failure,
            speculate: settings.speculate,
            progress: settings.progress != Showing::Off,
        }
    }
}

/// A snapshot on its way: what machines are to be prepared with.
pub type Preparing = JoinHandle<Result<Preparation, RunError>>;

pub struct TestRun<'a> {
    rules: Rules,
    fleet: &'a mut Fleet,
    bridge: &'a mut Bridge,
    memory: &'a mut Memory,
    /// Made once it is known how large the suite is.
    scheduler: Option<Scheduler>,
    /// What the scheduler is to hear as soon as it is there.
    early: Vec<scheduler::Input>,
    book: Book,
    /// In mode `each` every file is in the book once for each worker that was asked for.
    copies: Copies,
    bundles: Bundles,
    workers: Workers,
    progress: Progress,
    /// What one who looks on has been shown of what the workers are at.
    shown: BTreeMap<WorkerId, (FileId, Option<TestId>)>,
    began: Instant,
    files_ended: bool,
    finished: bool,
    stopping: Option<Stopping>,
    /// Why the most recent worker could not begin, should none remain.
    last_trouble: Option<RunError>,
    lost: usize,
    counted: usize,
    /// Results that came when there was another already.
    dropped: BTreeSet<(WorkerId, TestId)>,
    /// Modules of which it has been told that machines can't import them once and for all.
    not_preloaded: BTreeSet<String>,
    /// Machines that could not be leased, each with what helps.
    unsaid: Vec<(String, String)>,
    budget_spent: bool,
    /// What the scheduler was last told of workers that may still come.
    outlook: Outlook,
    /// Machines that are about to be taken away.
    leaving: BTreeSet<MachineId>,
    /// Machines that may still be asked for in the place of others.
    replacements_left: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Outlook {
    #[default]
    MoreMayCome,
    NobodyElseComes,
}

struct Stopping {
    deadline: Instant,
}

impl<'a> TestRun<'a> {
    pub fn new(rules: Rules, fleet: &'a mut Fleet, bridge: &'a mut Bridge, memory: &'a mut Memory) -> Self {
        Self {
            fleet,
            bridge,
            memory,
            scheduler: None,
            early: Vec::new(),
            book: Book::default(),
            copies: Copies::of(scheduler_mode(rules.mode), rules.workers),
            bundles: Bundles::new(rules.mode),
            workers: Workers::default(),
            progress: Progress::default(),
            shown: BTreeMap::new(),
            began: Instant::now(),
            files_ended: false,
            finished: false,
            stopping: None,
            last_trouble: None,
            lost: 0,
            counted: 0,
            dropped: BTreeSet::new(),
            not_preloaded: BTreeSet::new(),
            unsaid: Vec::new(),
            budget_spent: false,
            outlook: Outlook::default(),
            leaving: BTreeSet::new(),
            replacements_left: rules.workers.max(FEWEST_REPLACEMENTS),
            rules,
        }
    }

    /// Runs until every test has its outcome, the plugin stops it, or nobody is left to do it.
    pub async fn drive(mut self, mut preparing: Preparing) -> Result<Ending, RunError> {
        let mut prepared = false;
        let (mut telling, mut glances) = (watched::interval(), watched::glances());
        while !self.over() {
            let room = self.bridge.outgoing.capacity() >= ROOM;
            let patience = self.stopping.as_ref().map(|stopping| stopping.deadline);
            let tick = self.scheduler.as_ref().and_then(Scheduler::next_deadline).map(|due| self.instant(due));
            tokio::select! {
                message = self.bridge.incoming.recv() => match message {
                    Some(message) => self.on_plugin(message?)?,
                    None => return Ok(Ending::Abandoned),
                },
                result = &mut preparing, if !prepared => {
                    prepared = true;
                    let preparation = result.map_err(|error| RunError::Internal(error.to_string()))??;
                    for warning in &preparation.snapshot.warnings {
                        self.note(Level::Warning, warning.to_string(), None);
                    }
                    self.fleet.prepare(preparation);
                }
                event = self.fleet.next(), if room => self.on_fleet(event)?,
                () = has_room(&self.bridge.outgoing), if !room => {}
                _ = telling.tick() => {
                    self.tell_what_workers_are_at();
                    self.tell_progress();
                }
                _ = glances.tick(), if self.fleet.watch().looks() => self.show_what_workers_are_at(),
                () = at(patience), if patience.is_some() => break,
                () = at(tick), if tick.is_some() => {
                    let _ = self.input(scheduler::Input::Tick);
                }
            }
            self.carry_out();
        }
        self.tell_what_workers_are_at();
        self.ending()
    }

    /// Whether there is nothing left to wait for.
    fn over(&self) -> bool {
        (self.finished || self.stopping.is_some()) && self.workers.all_down()
    }

    fn now(&self) -> Time {
        Time::from(self.began.elapsed())
    }

    fn instant(&self, time: Time) -> Instant {
        self.began + time.since(Time::START)
    }

    /// Tells the scheduler; what it says of late or contradictory news is the caller's to heed.
    fn input(&mut self, input: scheduler::Input) -> Verdict {
        let now = self.now();
        match &mut self.scheduler {
            Some(scheduler) => scheduler.handle(now, input),
            None => {
                self.early.push(input);
                Verdict::Accepted
            }
        }
    }

    /// Makes the scheduler when enough of the suite is known to choose how it is collected.
    fn settle_collection(&mut self) {
        let large = self.book.files() / self.copies.count() > SMALL_SUITE_FILES;
        if self.scheduler.is_some() || !(self.files_ended || large) {
            return;
        }
        let collect = match self.rules.collect {
            Collect::First => scheduler::Collect::First,
            Collect::Stream => scheduler::Collect::Stream,
            Collect::Auto if large => scheduler::Collect::Stream,
            Collect::Auto => scheduler::Collect::First,
        };
        let mut scheduler = Scheduler::new(scheduler::Config {
            mode: scheduler_mode(self.rules.mode),
            collect,
            chunks_per_worker: self.rules.chunks_per_worker.and_then(NonZeroU32::new),
            max_attempts: MAX_ATTEMPTS,
            maxfail: self.rules.maxfail.and_then(NonZeroU32::new),
            collection_errors: if self.rules.continue_on_collection_errors {
                scheduler::CollectionErrors::Continue
            } else {
                scheduler::CollectionErrors::Stop
            },
            planned_workers: self.rules.workers,
            speculate: self.rules.speculate,
            expected: self.memory.expected(),
        });
        let now = self.now();
        for input in self.early.drain(..) {
            // Nothing can be late that happened before anything was decided.
            let _ = scheduler.handle(now, input);
        }
        self.scheduler = Some(scheduler);
    }

    /// Passes a message to the plugin. There is always room: machine messages are only taken in when there is.
    fn tell_plugin(&self, message: &ToPlugin, blob: Bytes) {
        // A plugin that is gone is noticed by its side of the bridge.
        self.bridge.outgoing.try_send(Frame::with_blob(message, blob)).ok();
    }

    /// Writes down what happens, where anything is written down.
    fn record(&self, what: impl FnOnce() -> What) {
        self.fleet.recorder().note(what);
    }

    fn note(&self, level: Level, text: impl Into<String>, help: Option<String>) {
        self.tell_plugin(&ToPlugin::Note { level, text: text.into(), help }, Bytes::new());
    }
}

fn scheduler_mode(mode: Mode) -> scheduler::Mode {
    match mode {
        Mode::File => scheduler::Mode::File,
        Mode::Scope | Mode::Group => scheduler::Mode::Bundle,
        Mode::Each => scheduler::Mode::Each,
        Mode::Test | Mode::No => scheduler::Mode::Test,
    }
}

/// Waits until the plugin has taken enough for another machine message.
async fn has_room(outgoing: &mpsc::Sender<Frame>) {
    // A plugin that is gone ends the loop by itself.
    drop(outgoing.reserve_many(ROOM).await);
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
