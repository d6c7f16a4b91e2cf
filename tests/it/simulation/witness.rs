//! Watches a world and panics as soon as a promise of the scheduler is broken.
//!
//! Knows what really happened on the workers, which the scheduler only hears of later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cloudist::model::{FileId, TestId, WorkerId};
use cloudist::scheduler::{
    Action, Collect, CollectionErrors, Ending, GiveUpReason, Input, Mode, Scheduler, Subject, Verdict, Work,
};

use super::plan::Plan;
use super::suite::{Fate, Import};
use super::worker::{State, Token, Worker};
use super::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Finished,
    Crashed,
    GivenUp(GiveUpReason),
}

pub struct Witness {
    /// Look at everything after every input.
    pub thorough: bool,
    pub outcomes: BTreeMap<TestId, Outcome>,
    pub file_outcomes: BTreeMap<FileId, u32>,
    /// The process that collected a file first.
    pub homes: BTreeMap<FileId, (WorkerId, u32)>,
    pub starts: BTreeMap<TestId, u32>,
    pub closed: BTreeSet<WorkerId>,
    collected_tests: u32,
    failures: u32,
    errors: u32,
    plan: Plan,
    complete: bool,
    finished: Option<Ending>,
    /// In file mode: the process that runs a file's tests.
    hosts: BTreeMap<FileId, (WorkerId, u32)>,
    fallen: BTreeMap<WorkerId, u32>,
    joined: BTreeSet<WorkerId>,
    /// How long an idle worker may have to wait while another has something to spare.
    patience: Option<Duration>,
}

impl Witness {
    pub fn new(plan: &Plan) -> Self {
        let orderly = plan.suite.tests().all(|test| test.fate != Fate::FellsMachine && !test.fickle)
            && plan.suite.files.iter().all(|file| file.outcome != Import::FellsMachine);
        let patience = plan.suite.longest_import() + plan.longest_latency() * 10 + Duration::from_millis(30);
        let checked = orderly && plan.is_calm() && plan.config.chunks_per_worker.is_none();
        Witness {
            thorough: plan.suite.tests().count() < 1_000,
            outcomes: BTreeMap::new(),
            file_outcomes: BTreeMap::new(),
            homes: BTreeMap::new(),
            starts: BTreeMap::new(),
            closed: BTreeSet::new(),
            collected_tests: 0,
            failures: 0,
            errors: 0,
            plan: plan.clone(),
            complete: false,
            finished: None,
            hosts: BTreeMap::new(),
            fallen: BTreeMap::new(),
            joined: BTreeSet::new(),
            patience: checked.then_some(patience),
        }
    }

    fn collects_first(&self) -> bool {
        let config = &self.plan.config;
        config.collect == Collect::First || (config.mode == Mode::Test && config.chunks_per_worker.is_some())
    }

    fn settle_test(&mut self, test: TestId, outcome: Outcome) {
        let before = self.outcomes.insert(test, outcome);
        assert_eq!(before, None, "{test} has two outcomes, the second is {outcome:?}");
    }

    fn settle_file(&mut self, file: FileId, tests: u32) {
        assert_eq!(self.file_outcomes.insert(file, tests), None, "{file} was settled twice");
        self.collected_tests += tests;
    }

    pub fn told(&mut self, input: &Input, verdict: Verdict) {
        if let Input::WorkerJoined { worker, .. } = input {
            self.joined.insert(*worker);
            self.closed.remove(worker);
        }
        if verdict == Verdict::Stale {
            return;
        }
        match *input {
            Input::TestFinished { test, failed, .. } => {
                self.settle_test(test, Outcome::Finished);
                self.failures += failed;
            }
            Input::Collected { file, tests, errors, .. } => {
                self.settle_file(file, tests);
                self.failures += errors;
                self.errors += errors;
            }
            Input::WorkerDied { running: Some(test), .. } => {
                self.settle_test(test, Outcome::Crashed);
                self.failures += 1;
            }
            Input::WorkerDied { collecting: Some(file), .. } => {
                self.settle_file(file, 0);
                self.failures += 1;
                self.errors += 1;
            }
            _ => {}
        }
    }

    pub fn asked(&mut self, action: &Action) {
        if let Some(ending) = self.finished {
            assert!(matches!(action, Action::CloseWorker { .. }), "{action:?} after the run ended: {ending:?}");
        }
        match action {
            Action::Run { work, .. } => self.check_gate(work),
            Action::CollectionComplete { tests } => {
                assert_eq!(*tests, self.collected_tests);
                assert_eq!(self.file_outcomes.len(), self.plan.suite.files.len());
                self.complete = true;
            }
            Action::GiveUp { subject: Subject::Test(test), reason } => {
                self.settle_test(*test, Outcome::GivenUp(*reason));
            }
            Action::GiveUp { subject: Subject::File(file), .. } => self.settle_file(*file, 0),
            Action::CloseWorker { worker } => assert!(self.closed.insert(*worker), "{worker} is closed twice"),
            Action::Abort => self.check_abort(),
            Action::Finished { ending } => self.finished = Some(*ending),
            Action::Recall { count, .. } => assert!(*count > 0, "a recall of nothing"),
        }
    }

    fn check_gate(&self, work: &Work) {
        let executes = !matches!(work, Work::Collect { execute: false });
        assert!(!executes || self.complete || !self.collects_first(), "{work:?} before collection was complete");
        let stops = self.plan.config.collection_errors == CollectionErrors::Stop;
        assert!(!executes || self.errors == 0 || !stops, "{work:?} after a collection error");
        let maxfail = self.plan.config.maxfail.map_or(u32::MAX, |maxfail| maxfail.get());
        assert!(self.failures < maxfail, "{work:?} after {} failures", self.failures);
    }

    fn check_abort(&self) {
        let maxfail = self.plan.config.maxfail.map_or(u32::MAX, |maxfail| maxfail.get());
        let user = self.plan.mishaps.iter().any(|(_, mishap)| *mishap == super::plan::Mishap::UserStops);
        assert!(self.failures >= maxfail || user, "aborted for no reason");
    }

    /// A test begins to run on a worker.
    pub fn started(&mut self, test: TestId, worker: WorkerId, life: u32) {
        *self.starts.entry(test).or_default() += 1;
        if self.plan.config.mode == Mode::File && !self.plan.suite.test(test).fickle {
            let host = self.hosts.insert(test.file, (worker, life)).unwrap_or((worker, life));
            let host_fell = self.fallen.get(&host.0).is_some_and(|&lives| lives > host.1);
            assert!(host == (worker, life) || host_fell, "{test} runs on {worker}, others of its file on {}", host.0);
        }
    }

    /// A process is gone, for whatever reason.
    pub fn fell(&mut self, worker: WorkerId) {
        *self.fallen.entry(worker).or_default() += 1;
    }

    pub fn run_ended(&self, scheduler: &Scheduler, workers: &BTreeMap<WorkerId, Worker>) {
        scheduler.audit();
        let Some(ending) = self.finished else { panic!("the world stands still and the run hasn't ended") };
        assert_eq!(scheduler.ending(), Some(ending));
        match ending {
            Ending::Complete => {
                assert_eq!(self.outcomes.len(), self.collected_tests as usize, "tests without an outcome")
            }
            Ending::CollectionErrors => {
                assert!(self.errors > 0);
                assert_eq!(self.file_outcomes.len(), self.plan.suite.files.len());
            }
            Ending::MaxFail => assert!(self.plan.config.maxfail.is_some()),
            Ending::Stopped => {}
        }
        for (test, &starts) in &self.starts {
            let known = self.plan.suite.test(*test);
            let blamed = known.fate == Fate::FellsMachine && self.plan.results_outrun(known.duration);
            let attempts = self.plan.config.max_attempts.get();
            let most = if blamed { attempts } else { 1 + self.fallen.values().sum::<u32>() };
            assert!(starts <= most, "{test} was started {starts} times");
        }
        for worker in workers.values().filter(|worker| worker.state == State::Up) {
            let ended = worker.aborted || worker.closing || !self.joined.contains(&worker.id);
            assert!(ended, "{} was left running", worker.id);
        }
    }

    /// Nobody is idle for long while another has something waiting that could be spared.
    pub fn check_starvation(world: &World) {
        let witness = &world.witness;
        let Some(patience) = witness.patience.filter(|_| witness.finished.is_none()) else { return };
        if witness.errors > 0 && witness.plan.config.collection_errors == CollectionErrors::Stop {
            return;
        }
        let Some(idle) = world.workers.values().filter(|worker| worker.is_idle()).min_by_key(|worker| worker.since)
        else {
            return;
        };
        for busy in world.workers.values().filter(|worker| witness.spares_something(worker)) {
            let since = idle.since.max(busy.since).max(busy.waiting_since);
            let waited = Duration::from_micros(world.now.saturating_sub(since));
            assert!(waited <= patience, "{} is idle for {waited:?} while {} could spare work", idle.id, busy.id);
        }
    }

    fn spares_something(&self, worker: &Worker) -> bool {
        worker.activity.is_some()
            && worker.queue.iter().any(|token| match token {
                Token::Collect { .. } => true,
                Token::Test(test) => self.plan.config.mode == Mode::Test || !self.hosts.contains_key(&test.file),
            })
    }
}
