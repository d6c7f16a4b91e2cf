//! Watches a world and panics as soon as a promise of the scheduler is broken.
//!
//! Knows what really happened on the workers, which the scheduler only hears of later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cloudist::model::{FileId, MachineId, TestId, WorkerId};
use cloudist::scheduler::{
    Action, Collect, CollectionErrors, Copies, Ending, GiveUpReason, Input, Mode, Scheduler, Subject, Verdict, Work,
};

use super::plan::Plan;
use super::suite::{Fate, Import, Suite};
use super::worker::{Activity, COALESCING_MICROS, State, Token, Worker};
use super::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Finished,
    Crashed,
    GivenUp(GiveUpReason),
}

pub struct Witness {
    /// Whether some tests don't run beside others.
    marked: bool,
    /// Look at everything after every input.
    pub thorough: bool,
    /// Look at every worker after every event.
    pub watches_idlers: bool,
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
    copies: Copies,
    /// Which copy each worker has begun.
    began: BTreeMap<WorkerId, u32>,
    complete: bool,
    finished: Option<Ending>,
    /// The process that runs what stays together: a file's tests, or a bundle.
    hosts: BTreeMap<u32, (WorkerId, u32)>,
    fallen: BTreeMap<WorkerId, u32>,
    joined: BTreeMap<WorkerId, MachineId>,
    /// Machines of which notice was given before they were known to be gone, and when.
    announced: BTreeMap<MachineId, u64>,
    announced_losses: u32,
    /// Losses that may count as attempts.
    sudden_losses: u32,
    /// Who gave a part of what stays together back and kept another.
    parted: BTreeMap<u32, BTreeSet<WorkerId>>,
    /// How long an idle worker may have to wait while another has something to spare.
    patience: Option<Duration>,
}

impl Witness {
    pub fn new(plan: &Plan) -> Self {
        let orderly = plan.suite.tests().all(|test| test.fate != Fate::FellsMachine && !test.fickle)
            && plan.suite.files.iter().all(|file| file.outcome != Import::FellsMachine);
        let slowest = plan.machines.iter().map(|machine| machine.slowness).max().unwrap_or(1);
        let patience = plan.suite.longest_import() * slowest + plan.longest_latency() * 10 + Duration::from_millis(30);
        let unmarked = plan.suite.tests().all(|test| !test.marks.any());
        let shared = unmarked && plan.config.chunks_per_worker.is_none() && plan.config.mode != Mode::Each;
        // A recall may be under way to a machine that is gone without anybody knowing.
        let patience = if plan.is_calm() { patience } else { patience + Duration::from_millis(500) };
        let checked = orderly && shared;
        Witness {
            thorough: plan.suite.tests().count() < 1_000,
            marked: !unmarked,
            watches_idlers: true,
            outcomes: BTreeMap::new(),
            file_outcomes: BTreeMap::new(),
            homes: BTreeMap::new(),
            starts: BTreeMap::new(),
            closed: BTreeSet::new(),
            collected_tests: 0,
            failures: 0,
            errors: 0,
            plan: plan.clone(),
            copies: Copies::of(plan.config.mode, plan.config.planned_workers),
            began: BTreeMap::new(),
            complete: false,
            finished: None,
            hosts: BTreeMap::new(),
            fallen: BTreeMap::new(),
            joined: BTreeMap::new(),
            announced: BTreeMap::new(),
            announced_losses: 0,
            sudden_losses: 0,
            parted: BTreeMap::new(),
            patience: checked.then_some(patience),
        }
    }

    fn collects_first(&self) -> bool {
        let config = &self.plan.config;
        let chunks = config.mode == Mode::Test && config.chunks_per_worker.is_some();
        config.collect == Collect::First || chunks || config.mode == Mode::Bundle
    }

    /// With which others a test must stay.
    fn company(&self, test: TestId) -> Option<u32> {
        match self.plan.config.mode {
            Mode::Test => None,
            Mode::File => Some(test.file.0),
            Mode::Bundle => Some(Suite::bundle(test)),
            Mode::Each => Some(self.copies.copy(test.file)),
        }
    }

    fn company_of(&self, token: Token) -> Option<u32> {
        match token {
            Token::Test(test) => self.company(test),
            Token::Collect { file, .. } => match self.plan.config.mode {
                Mode::File => Some(file.0),
                Mode::Each => Some(self.copies.copy(file)),
                Mode::Test | Mode::Bundle => None,
            },
        }
    }

    fn settle_test(&mut self, test: TestId, outcome: Outcome) {
        let before = self.outcomes.insert(test, outcome);
        assert_eq!(before, None, "{test} has two outcomes, the second is {outcome:?}");
    }

    fn settle_file(&mut self, file: FileId, tests: u32) {
        assert_eq!(self.file_outcomes.insert(file, tests), None, "{file} was settled twice");
        self.collected_tests += tests;
    }

    pub fn told(&mut self, now: u64, input: &Input, verdict: Verdict) {
        match *input {
            Input::WorkerJoined { worker, machine } => {
                self.joined.insert(worker, machine);
                self.closed.remove(&worker);
            }
            Input::MachineLost { machine } if self.announced.contains_key(&machine) => self.announced_losses += 1,
            Input::WorkerDied { worker, .. } if self.is_leaving(worker) => {}
            Input::MachineLost { .. } | Input::WorkerDied { .. } => self.sudden_losses += 1,
            _ => {}
        }
        if verdict == Verdict::Stale {
            return;
        }
        match *input {
            Input::MachineLeaving { machine, .. } => {
                assert_eq!(self.announced.insert(machine, now), None, "{machine} was announced twice");
            }
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
            Action::Run { worker, work, .. } => {
                assert!(!self.is_leaving(*worker), "{worker} was given {work:?}, and its machine is leaving");
                self.check_gate(work);
            }
            Action::CollectionComplete { tests } => {
                assert_eq!(*tests, self.collected_tests);
                assert_eq!(self.file_outcomes.len(), self.plan.suite.files.len());
                self.complete = true;
            }
            Action::GiveUp { subject, reason } => {
                self.check_attempts(*reason);
                match *subject {
                    Subject::Test(test) => self.settle_test(test, Outcome::GivenUp(*reason)),
                    Subject::File(file) => self.settle_file(file, 0),
                }
            }
            Action::CloseWorker { worker, .. } => assert!(self.closed.insert(*worker), "{worker} is closed twice"),
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

    fn is_leaving(&self, worker: WorkerId) -> bool {
        self.joined.get(&worker).is_some_and(|machine| self.announced.contains_key(machine))
    }

    /// Each attempt that counts was ended by a loss without notice.
    fn check_attempts(&self, reason: GiveUpReason) {
        if let GiveUpReason::AttemptsExhausted { attempts } = reason {
            // Both tries of a test may be lost after its last attempt began.
            let most = self.plan.config.max_attempts.get();
            let more = u32::from(self.plan.config.speculate);
            assert!((most..=most + more).contains(&attempts), "given up after {attempts} attempts");
            assert!(attempts <= self.sudden_losses, "{attempts} attempts, {} sudden losses", self.sudden_losses);
        }
    }

    fn check_abort(&self) {
        let maxfail = self.plan.config.maxfail.map_or(u32::MAX, |maxfail| maxfail.get());
        let user = self.plan.mishaps.iter().any(|(_, mishap)| *mishap == super::plan::Mishap::UserStops);
        assert!(self.failures >= maxfail || user, "aborted for no reason");
    }

    /// A test begins to run on a worker: for the how-manieth time.
    pub fn started(&mut self, test: TestId, worker: WorkerId, life: u32) -> u32 {
        *self.starts.entry(test).or_default() += 1;
        self.check_copy(test.file, worker);
        let company = self.company(test).filter(|_| !self.plan.suite.test(test).fickle);
        if let Some(company) = company {
            let host = self.hosts.insert(company, (worker, life)).unwrap_or((worker, life));
            let host_fell = self.fallen.get(&host.0).is_some_and(|&lives| lives > host.1);
            let scattered = self.parted.get(&company).is_some_and(|by| by.iter().any(|&by| self.is_leaving(by)));
            // Another goes on with a copy while a machine that is leaving finishes what it has begun of it.
            let leaves = self.is_leaving(host.0) || self.is_leaving(worker);
            let left = self.plan.config.mode == Mode::Each && leaves;
            let may_move = host_fell || scattered || left;
            assert!(host == (worker, life) || may_move, "{test} runs on {worker}, its company on {}", host.0);
        }
        self.starts[&test]
    }

    /// A serial test runs beside no other serial one, an exclusive one beside none on its machine.
    pub fn check_company(&self, test: TestId, worker: WorkerId, workers: &BTreeMap<WorkerId, Worker>) {
        if !self.marked {
            return;
        }
        let marks = self.plan.suite.test(test).marks;
        let machine = workers[&worker].machine;
        for other in workers.values().filter(|other| other.id != worker && other.state == State::Up) {
            let Some(Activity::Running(beside)) = other.activity else { continue };
            let theirs = self.plan.suite.test(beside).marks;
            assert!(!(marks.serial && theirs.serial), "{test} runs while {beside} does, and both are serial");
            let apart = other.machine == machine && (marks.exclusive || theirs.exclusive);
            assert!(!apart, "{test} runs on {worker} while {beside} does on {}: one is exclusive", other.id);
        }
    }

    /// Nobody has a hand in two copies.
    pub fn check_copy(&mut self, file: FileId, worker: WorkerId) {
        if self.plan.config.mode == Mode::Each {
            let copy = self.copies.copy(file);
            let before = *self.began.entry(worker).or_insert(copy);
            assert_eq!(before, copy, "{worker} runs {file}, and another copy before");
        }
    }

    /// A worker gives these tests back, and is at others that stay with them, or has such left.
    pub fn gave_back(&mut self, worker: &Worker, tests: &[TestId]) {
        for company in tests.iter().filter_map(|&test| self.company(test)).collect::<BTreeSet<_>>() {
            let is_at_it = worker.activity.is_some_and(|activity| self.company_of(activity.token()) == Some(company));
            if is_at_it || worker.queue.iter().any(|&token| self.company_of(token) == Some(company)) {
                self.parted.entry(company).or_default().insert(worker.id);
            }
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
            let most = if blamed { attempts + self.announced_losses } else { 1 + self.fallen.values().sum::<u32>() };
            let second = u32::from(self.plan.config.speculate);
            assert!(starts <= most + second, "{test} was started {starts} times");
        }
        for worker in workers.values().filter(|worker| worker.state == State::Up) {
            let ended = worker.aborted || worker.closing || !self.joined.contains_key(&worker.id);
            assert!(ended, "{} was left running", worker.id);
        }
    }

    /// Nobody is idle for long while another has something waiting that could be spared.
    pub fn check_starvation(world: &World) {
        let witness = &world.witness;
        let watches = witness.finished.is_none() && witness.watches_idlers;
        let Some(patience) = witness.patience.filter(|_| watches) else { return };
        if witness.errors > 0 && witness.plan.config.collection_errors == CollectionErrors::Stop {
            return;
        }
        let waits = |worker: &&Worker| worker.is_idle() && !witness.is_leaving(worker.id);
        let Some(idle) = world.workers.values().filter(waits).min_by_key(|worker| worker.since) else { return };
        for busy in world.workers.values().filter(|worker| witness.spares_something(worker)) {
            let since = idle.since.max(busy.since).max(busy.waiting_since).max(world.disturbed);
            let waited = Duration::from_micros(world.now.saturating_sub(since));
            assert!(waited <= patience, "{} is idle for {waited:?} while {} could spare work", idle.id, busy.id);
        }
    }

    /// On a machine that is leaving, nothing begins once there has been time to fetch what waits.
    pub fn check_begins(&self, now: u64, worker: &Worker) {
        let Some(&announced) = self.announced.get(&worker.machine).filter(|_| self.finished.is_none()) else { return };
        // A recall for others may be under way before the one of everything.
        let patience = self.plan.longest_latency() * 5;
        let since = announced.max(worker.imported_at);
        let late = Duration::from_micros(now.saturating_sub(since));
        assert!(late <= patience, "{} begins something {late:?} after its machine was announced to go", worker.id);
    }

    /// On a machine that is leaving, whoever has nothing left is told to end soon.
    pub fn check_farewells(world: &World) {
        let witness = &world.witness;
        if witness.finished.is_some() || witness.announced.is_empty() {
            return;
        }
        // A recall for others may be under way, then one of everything; what was at work meanwhile reports; then comes the farewell.
        let patience = witness.plan.longest_latency() * 7 + Duration::from_micros(COALESCING_MICROS);
        for worker in world.workers.values().filter(|worker| worker.is_idle()) {
            let Some(&announced) = witness.announced.get(&worker.machine) else { continue };
            let waited = Duration::from_micros(world.now.saturating_sub(worker.since.max(announced)));
            assert!(waited <= patience, "{} has had nothing to do for {waited:?} and isn't closed", worker.id);
        }
    }

    fn spares_something(&self, worker: &Worker) -> bool {
        worker.activity.is_some()
            && worker.state == State::Up
            && worker.queue.iter().any(|token| match token {
                Token::Collect { .. } => true,
                Token::Test(test) => self.company(*test).is_none_or(|company| !self.hosts.contains_key(&company)),
            })
    }
}
