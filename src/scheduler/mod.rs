//! Decides which worker collects which file and runs which test, and when the run is over.
//!
//! Pure and deterministic: the same inputs at the same times give the same actions. No clock, no I/O, no randomness,
//! no paths or node ids. How and why it decides is told in `docs/design/scheduler.md`.

mod apart;
mod audit;
mod balance;
mod catalog;
mod config;
mod copies;
mod dealing;
mod demand;
mod dispatch;
mod ending;
mod fleet;
mod grouping;
mod intake;
mod leaving;
mod loss;
mod messages;
mod pace;
mod pool;
mod queue;
mod speculation;
mod steal;
mod time;
mod unread;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::model::{FileId, TestId, WorkerId};

use apart::Apart;
use catalog::Catalog;
use copies::Owners;
use dealing::Dealing;
use fleet::Fleet;
use grouping::{Grouping, Parting};
use pace::Smoothed;
use pool::Pool;
use speculation::Speculation;

pub use apart::Marks;
pub use config::{Collect, CollectionErrors, Config, Mode};
pub use copies::Copies;
pub use messages::{Action, Ending, Forecast, GiveUpReason, Input, Slot, Subject, Verdict, Work};
pub use speculation::Speculated;
pub use time::Time;

/// How much work a worker is kept supplied with, so that it never waits for an answer: the longest round trip that is
/// hidden entirely.
const HORIZON: Duration = Duration::from_millis(200);
/// How long before the end of a test that is known to take long the next one is given out.
const LEAD: Duration = Duration::from_millis(400);
/// No worker has more waiting than this for the sake of the horizon alone.
const MOST_WAITING: u32 = 512;
/// How long idle workers wait at least for the answer to a recall before they turn to somebody else.
const PATIENCE: Duration = Duration::from_millis(500);
/// By how much a test may take longer than expected, round trips aside, before what waits behind it is offered to others.
const GRACE: Duration = Duration::from_millis(20);
/// What a test is taken to take while none has been measured: enough of them are worth an import.
const PRESUMED: Duration = Duration::from_millis(10);
/// Once so many tests were given out in a step, those who have something to do get more in the next.
const MOST_GIVEN: u32 = 2_000;
/// The most tests in one [`Action::Run`].
const BATCH: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Files are collected, nothing is executed yet.
    Collecting,
    /// Files are collected and tests executed.
    Running,
    /// After a collection error: what is left is collected, nothing more is executed.
    Draining,
    Over(Ending),
}

#[derive(Clone, Debug)]
pub struct Scheduler {
    config: Config,
    /// The time of the last input.
    now: Time,
    grouping: Grouping,
    owners: Owners,
    phase: Phase,
    catalog: Catalog,
    pool: Pool,
    apart: Apart,
    fleet: Fleet,
    round_trip: Smoothed,
    failures: u32,
    leases_over: bool,
    collection_complete: bool,
    dealing: Dealing,
    speculation: Speculation,
    /// Workers whose queue or pooled work has changed since they were last filed in the fleet.
    touched: BTreeSet<WorkerId>,
    /// Workers that have something to do, and whether they get more is still to be seen.
    postponed: BTreeSet<WorkerId>,
    /// How many tests were given out in this step.
    given: u32,
    actions: VecDeque<Action>,
}

impl Scheduler {
    pub fn new(config: Config) -> Self {
        let phase = match config.collect() {
            Collect::First => Phase::Collecting,
            Collect::Stream => Phase::Running,
        };
        let owners = Owners::new(&config);
        let grouping = Grouping::new(&config);
        Scheduler {
            grouping,
            pool: Pool::new(owners.copies, grouping.parting() == Parting::Divisible && config.mode == Mode::Test),
            now: Time::START,
            owners,
            apart: Apart::default(),
            config,
            phase,
            catalog: Catalog::default(),
            fleet: Fleet::default(),
            round_trip: Smoothed::default(),
            failures: 0,
            leases_over: false,
            collection_complete: false,
            dealing: Dealing::default(),
            speculation: Speculation::default(),
            touched: BTreeSet::new(),
            postponed: BTreeSet::new(),
            given: 0,
            actions: VecDeque::new(),
        }
    }

    /// Takes note of `input`; the actions that follow from it are polled. `now` must not go backwards.
    pub fn handle(&mut self, now: Time, input: Input) -> Verdict {
        self.now = now;
        if let Phase::Over(_) = self.phase {
            return self.handle_after_end(input);
        }
        while let Some((_, worker)) = self.fleet.first_later().filter(|&(at, _)| at <= now) {
            self.touched.insert(worker);
            self.refile(worker);
        }
        let verdict = match input {
            Input::FilesFound(count) => self.files_found(count),
            Input::Forecast(forecasts) => self.foretold(&forecasts),
            Input::FilesEnd { errors } => self.files_end(errors),
            Input::WorkerJoined { worker, machine } => self.worker_joined(now, worker, machine),
            Input::Marked { file, tests } => self.marked(file, tests),
            Input::Bundled { file, bundles } => self.bundled(file, bundles),
            Input::Collected { worker, file, tests, errors, estimates } => {
                self.collected(now, worker, file, tests, errors, &estimates)
            }
            Input::TestFinished { worker, test, failed } => self.test_finished(now, worker, test, failed),
            Input::Returned { worker, tests, files } => self.returned(now, worker, &tests, &files),
            Input::Missing { worker, tests } => self.missing(now, worker, &tests),
            Input::WorkerDied { worker, running, collecting, slot } => {
                self.worker_died(worker, running, collecting, slot)
            }
            Input::MachineLeaving { machine, within: _ } => self.machine_leaving(machine),
            Input::MachineLost { machine } => self.machine_lost(machine),
            Input::WorkerRetired { worker } => self.worker_retired(worker),
            Input::LeasesOver => self.leases_end(),
            Input::LeasesReopened => self.leases_reopen(),
            Input::Stop => {
                self.abort(Ending::Stopped);
                Verdict::Accepted
            }
            Input::Tick => Verdict::Accepted,
        };
        self.deal();
        self.settle();
        self.balance(now);
        self.dispatch(now);
        verdict
    }

    /// The next thing to do. To be called until it returns `None`, after each input.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Input::Tick`] is due, unless something else happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        if matches!(self.phase, Phase::Over(_)) {
            return None;
        }
        let later = self.fleet.first_later().map(|(at, _)| at);
        if self.fleet.idle.is_empty() {
            return later;
        }
        let due = self.fleet.first_victim().filter(|_| self.fleet.unserved() > 0);
        let due = due.map(|(due, _)| Time::from_micros(u64::try_from(due.0).unwrap_or(0)));
        due.into_iter().chain(self.fleet.first_promise()).chain(self.speculation.due).chain(later).min()
    }

    /// What a worker is at, as far as is known: a file that it collects, or one of its tests.
    pub fn at(&self, worker: WorkerId) -> Option<(FileId, Option<TestId>)> {
        let head = self.fleet.live(worker)?.queue.head()?;
        Some(match head.step {
            queue::Step::Collect => (head.file, None),
            queue::Step::Test(index) => (head.file, Some(TestId { file: head.file, index })),
        })
    }

    /// How often this test may have been running when a machine was lost.
    pub fn attempts_lost(&self, test: TestId) -> u32 {
        self.catalog.test(test).map_or(0, |record| record.attempts)
    }

    /// How the run ended, once it has.
    pub fn ending(&self) -> Option<Ending> {
        match self.phase {
            Phase::Over(ending) => Some(ending),
            _ => None,
        }
    }
}
