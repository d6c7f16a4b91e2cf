//! Virtual time: a heap of events, the latency between engine and machines, and the scheduler in the middle.
//!
//! Jumps from event to event. Judges nothing: that is the witness's part.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use cloudist::model::{FileId, MachineId, TestId, WorkerId};
use cloudist::scheduler::{
    Action, Config, Ending, Forecast, Input, Mode, Scheduler, Slot, Speculated, Time, Verdict, Work,
};

use super::foresight::{estimates, expected, forecast};
use super::plan::{Mishap, Plan};
use super::suite::{Fate, Import, Suite};
use super::witness::Witness;
use super::worker::{Activity, COALESCING_MICROS, State, Token, Worker};

#[derive(Clone, Debug)]
enum Event {
    MachineJoins(MachineId),
    FilesListed(u32),
    /// Reaches the machine.
    Command(WorkerId, Command),
    /// What a process was at is done.
    Done(WorkerId, u32),
    Flush(WorkerId, u32),
    Rises(WorkerId),
    /// Reaches the engine.
    Told(Input),
    Mishap(Mishap),
}

#[derive(Clone, Debug)]
enum Command {
    Run(Vec<Token>),
    Recall(u32),
    Close { interrupt: bool },
    Abort,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    pub ending: Ending,
    pub took: Duration,
    pub recalls: u32,
    pub runs: u32,
    pub inputs: u32,
    pub speculated: Speculated,
    /// Of all inputs and actions, with their times.
    pub trace: u64,
}

/// How long the scheduler takes for its decisions, in real time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steps {
    pub count: u32,
    pub total: Duration,
    pub slowest: Duration,
}

impl Steps {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.total += took;
        self.slowest = self.slowest.max(took);
    }
}

pub struct World {
    pub plan: Plan,
    pub scheduler: Scheduler,
    pub witness: Witness,
    pub workers: BTreeMap<WorkerId, Worker>,
    machines_up: Vec<bool>,
    joined: usize,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    payloads: BTreeMap<u64, Event>,
    scheduled: u64,
    pub now: u64,
    /// When the last of those things befell it that nobody plans: until that is known, and put right, idle workers may have to wait.
    pub disturbed: u64,
    retiring: Vec<WorkerId>,
    trace: DefaultHasher,
    steps: Steps,
    course: Course,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let mut world = World {
            scheduler: Scheduler::new(Config { expected: expected(&plan), ..plan.config.clone() }),
            witness: Witness::new(&plan),
            workers: BTreeMap::new(),
            machines_up: vec![false; plan.machines.len()],
            joined: 0,
            events: BinaryHeap::new(),
            payloads: BTreeMap::new(),
            scheduled: 0,
            now: 0,
            disturbed: 0,
            retiring: Vec::new(),
            trace: DefaultHasher::new(),
            steps: Steps::default(),
            course: Course {
                ending: Ending::Stopped,
                took: Duration::ZERO,
                recalls: 0,
                runs: 0,
                inputs: 0,
                speculated: Speculated::default(),
                trace: 0,
            },
            plan,
        };
        for (number, machine) in (0..).zip(world.plan.machines.clone()) {
            world.after(machine.joins, Event::MachineJoins(MachineId(number)));
        }
        for (when, mishap) in world.plan.mishaps.clone() {
            world.after(when, Event::Mishap(mishap));
        }
        world.after(world.plan.listing.1, Event::FilesListed(0));
        world
    }

    /// Runs the world until nothing happens in it any more.
    pub fn run(self) -> (Course, Witness) {
        let (course, witness, _) = self.run_watched();
        (course, witness)
    }

    /// The same, and how long decisions took.
    pub fn run_watched(mut self) -> (Course, Witness, Steps) {
        while let Some(&Reverse((at, number))) = self.events.peek() {
            let deadline = self.scheduler.next_deadline().map(Time::as_micros).filter(|&deadline| deadline <= at);
            if let Some(deadline) = deadline {
                assert!(deadline > self.now, "a deadline in the past: {deadline} at {}", self.now);
                self.now = deadline;
                self.tell(Input::Tick);
                continue;
            }
            self.events.pop();
            self.now = at;
            Witness::check_starvation(&self);
            Witness::check_farewells(&self);
            if let Some(event) = self.payloads.remove(&number) {
                self.happens(event);
            }
        }
        self.witness.run_ended(&self.scheduler, &self.workers);
        self.course.speculated = self.scheduler.speculated();
        self.course.trace = self.trace.finish();
        (self.course, self.witness, self.steps)
    }

    fn after(&mut self, span: Duration, event: Event) {
        let at = self.now + span.as_micros() as u64;
        self.events.push(Reverse((at, self.scheduled)));
        self.payloads.insert(self.scheduled, event);
        self.scheduled += 1;
    }

    fn latency(&self, worker: WorkerId) -> Duration {
        let machine = self.workers[&worker].machine;
        self.plan.machines[machine.0 as usize].latency
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::MachineJoins(machine) => self.machine_joins(machine),
            Event::FilesListed(sofar) => self.files_listed(sofar),
            Event::Command(worker, command) => self.obey(worker, command),
            Event::Done(worker, life) => self.done(worker, life),
            Event::Flush(worker, life) => {
                if self.lives(worker, life) {
                    self.flush(worker);
                }
            }
            Event::Rises(worker) => self.rises(worker),
            Event::Told(input) => self.tell(input),
            Event::Mishap(mishap) => self.mishap(mishap),
        }
    }

    fn machine_joins(&mut self, machine: MachineId) {
        self.machines_up[machine.0 as usize] = true;
        self.joined += 1;
        let before: u32 = self.plan.machines[..machine.0 as usize].iter().map(|machine| machine.workers).sum();
        for number in before..before + self.plan.machines[machine.0 as usize].workers {
            let worker = WorkerId(number);
            self.workers.insert(worker, Worker::new(worker, machine, self.now));
            self.tell(Input::WorkerJoined { worker, machine });
        }
        if self.joined == self.plan.machines.len() {
            self.tell(Input::LeasesOver);
        }
    }

    fn files_listed(&mut self, sofar: u32) {
        let all = self.plan.suite.files.len() as u32;
        let (batch, pause) = self.plan.listing;
        let found = batch.min(all - sofar);
        if found > 0 {
            let forecasts: Vec<(FileId, Forecast)> = (sofar..sofar + found)
                .map(FileId)
                .filter_map(|file| Some((file, forecast(&self.plan, file)?)))
                .collect();
            if !forecasts.is_empty() {
                self.tell(Input::Forecast(forecasts));
            }
            self.tell(Input::FilesFound(found));
        }
        if sofar + found == all {
            self.tell(Input::FilesEnd { errors: 0 });
        } else {
            self.after(pause, Event::FilesListed(sofar + found));
        }
    }

    /// Tells the scheduler, and carries out what it wants.
    fn tell(&mut self, input: Input) {
        self.course.inputs += 1;
        (self.now, &input).hash(&mut self.trace);
        let began = Instant::now();
        let verdict = self.scheduler.handle(Time::from_micros(self.now), input.clone());
        self.steps.add(began.elapsed());
        self.witness.told(self.now, &input, verdict);
        if let (Input::WorkerDied { worker, slot: Slot::Returns, .. }, Some(respawn)) = (&input, self.plan.respawn) {
            let worker = *worker;
            self.after(self.latency(worker) * 2 + respawn, Event::Rises(worker));
        }
        if let (Input::Collected { worker, file, .. }, Verdict::Accepted) = (&input, verdict) {
            self.witness.homes.insert(*file, (*worker, self.workers[worker].life));
        }
        while let Some(action) = self.scheduler.poll_action() {
            action.hash(&mut self.trace);
            self.witness.asked(&action);
            self.perform(action);
        }
        if self.witness.thorough {
            self.scheduler.audit();
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Run { worker, file, work } => {
                self.course.runs += 1;
                let tokens = match work {
                    Work::Collect { execute } => vec![Token::Collect { file, execute }],
                    Work::Tests(indices) => {
                        indices.into_iter().map(|index| Token::Test(TestId { file, index })).collect()
                    }
                };
                self.after(self.latency(worker), Event::Command(worker, Command::Run(tokens)));
            }
            Action::Recall { worker, count } => {
                self.course.recalls += 1;
                self.after(self.latency(worker), Event::Command(worker, Command::Recall(count)));
            }
            Action::CloseWorker { worker, interrupt } => {
                self.after(self.latency(worker), Event::Command(worker, Command::Close { interrupt }));
            }
            Action::Abort => {
                for worker in self.workers.keys().copied().collect::<Vec<_>>() {
                    self.after(self.latency(worker), Event::Command(worker, Command::Abort));
                }
            }
            Action::Finished { ending } => {
                self.course.ending = ending;
                self.course.took = Duration::from_micros(self.now);
            }
            Action::CollectionComplete { .. } | Action::GiveUp { .. } => {}
        }
    }

    fn obey(&mut self, worker: WorkerId, command: Command) {
        let now = self.now;
        let Some(state) = self.workers.get_mut(&worker).filter(|worker| worker.state == State::Up) else { return };
        match command {
            Command::Run(tokens) => {
                state.append(now, tokens);
                self.proceed(worker);
            }
            Command::Recall(count) => {
                let (tests, files) = state.recall(count);
                self.witness.gave_back(state, &tests);
                self.say(worker, Input::Returned { worker, tests, files });
            }
            Command::Close { interrupt } => {
                state.closing = true;
                if interrupt {
                    state.activity = None;
                }
                self.proceed(worker);
            }
            Command::Abort => {
                state.queue.clear();
                state.aborted = true;
            }
        }
    }

    fn lives(&self, worker: WorkerId, life: u32) -> bool {
        let state = &self.workers[&worker];
        state.state == State::Up && state.life == life
    }

    /// From a machine to the engine.
    fn say(&mut self, worker: WorkerId, input: Input) {
        self.after(self.latency(worker), Event::Told(input));
    }

    /// Gets a worker that does nothing to its next token.
    fn proceed(&mut self, worker: WorkerId) {
        let now = self.now;
        let Some(state) = self.workers.get_mut(&worker).filter(|worker| worker.activity.is_none()) else { return };
        let at = state.machine;
        let life = state.life;
        if self.retiring.contains(&worker) || (state.closing && state.queue.is_empty()) {
            self.flush(worker);
            self.fall(worker);
            self.say(worker, Input::WorkerRetired { worker });
            return;
        }
        let Some(token) = state.claim(now) else { return };
        self.witness.check_begins(now, state);
        let imported = state.imported.contains(&token.file());
        let machine = &self.plan.machines[at.0 as usize];
        let (activity, takes) = match token {
            Token::Test(test) if imported => {
                let first = self.witness.started(test, worker, life) == 1;
                self.witness.check_company(test, worker, &self.workers);
                let known = self.plan.suite.test(test);
                (Activity::Running(test), if first { known.duration * known.stumbles } else { known.duration })
            }
            _ => (Activity::Importing(token), self.plan.suite.file(token.file()).import),
        };
        let takes = takes * machine.slowness;
        if let Some(state) = self.workers.get_mut(&worker) {
            state.activity = Some(activity);
        }
        self.after(takes, Event::Done(worker, life));
    }

    fn done(&mut self, worker: WorkerId, life: u32) {
        if !self.lives(worker, life) {
            return;
        }
        let Some(activity) = self.workers.get_mut(&worker).and_then(|state| state.activity.take()) else { return };
        match activity {
            Activity::Importing(Token::Collect { file, execute }) => {
                self.witness.check_copy(file, worker);
                self.imported(worker, file, execute);
            }
            Activity::Importing(Token::Test(test)) => self.imported_again(worker, life, test),
            Activity::Running(test) => self.ran(worker, life, test),
        }
        if self.lives(worker, life) {
            self.proceed(worker);
        }
    }

    fn imported(&mut self, worker: WorkerId, file: FileId, execute: bool) {
        let now = self.now;
        let known = self.plan.suite.file(file);
        let (tests, errors) = (known.found(), u32::from(known.outcome == Import::Fails));
        let (estimates, marks) = (estimates(&self.plan, file), self.plan.suite.marks(file));
        match known.outcome {
            Import::Crashes => return self.dies(worker, None, Some(file)),
            Import::FellsMachine => return self.machine_falls(self.workers[&worker].machine),
            Import::Succeeds | Import::Fails => {}
        }
        if let Some(state) = self.workers.get_mut(&worker) {
            state.imported.insert(file);
            state.imported_at = now;
            if execute && !state.aborted {
                let together = self.plan.config.mode == Mode::File && !marks.is_empty();
                let apart = |index: &u32| together || marks.iter().any(|(marked, _)| marked == index);
                state.found(file, (0..tests).filter(|index| !apart(index)));
            }
        }
        if !marks.is_empty() {
            self.say(worker, Input::Marked { file, tests: marks });
        }
        if self.plan.config.mode == Mode::Bundle {
            let bundles = (0..tests).map(|index| Suite::bundle(TestId { file, index })).collect();
            self.say(worker, Input::Bundled { file, bundles });
        }
        self.say(worker, Input::Collected { worker, file, tests, errors, estimates });
    }

    fn imported_again(&mut self, worker: WorkerId, life: u32, test: TestId) {
        let now = self.now;
        let at_home = self.witness.homes.get(&test.file) == Some(&(worker, life));
        let Some(state) = self.workers.get_mut(&worker) else { return };
        state.imported.insert(test.file);
        state.imported_at = now;
        if self.plan.suite.test(test).fickle && !at_home {
            self.say(worker, Input::Missing { worker, tests: vec![test] });
        } else {
            state.queue.push_front(Token::Test(test));
        }
    }

    fn ran(&mut self, worker: WorkerId, life: u32, test: TestId) {
        let fate = self.plan.suite.test(test).fate;
        match fate {
            Fate::Crashes => return self.dies(worker, Some(test), None),
            Fate::FellsMachine => return self.machine_falls(self.workers[&worker].machine),
            Fate::Passes | Fate::Fails => {}
        }
        let Some(state) = self.workers.get_mut(&worker) else { return };
        state.results.push((test, u32::from(fate == Fate::Fails)));
        if state.results.len() == 1 {
            self.after(Duration::from_micros(COALESCING_MICROS), Event::Flush(worker, life));
        }
    }

    fn flush(&mut self, worker: WorkerId) {
        let results = self.workers.get_mut(&worker).map(|state| std::mem::take(&mut state.results));
        for (test, failed) in results.into_iter().flatten() {
            self.say(worker, Input::TestFinished { worker, test, failed });
        }
    }

    fn dies(&mut self, worker: WorkerId, running: Option<TestId>, collecting: Option<FileId>) {
        self.flush(worker);
        self.fall(worker);
        let state = &self.workers[&worker];
        let returns = self.plan.respawn.is_some() && !state.aborted && !state.closing;
        let slot = if returns { Slot::Returns } else { Slot::Gone };
        self.say(worker, Input::WorkerDied { worker, running, collecting, slot });
    }

    fn fall(&mut self, worker: WorkerId) {
        let now = self.now;
        if let Some(state) = self.workers.get_mut(&worker) {
            state.fall(now);
        }
        self.witness.fell(worker);
        self.disturbed = self.disturbed.max(now);
    }

    fn rises(&mut self, worker: WorkerId) {
        let now = self.now;
        let Some(state) = self.workers.get_mut(&worker) else { return };
        let machine = state.machine;
        if self.machines_up[machine.0 as usize] && state.state == State::Down {
            state.rise(now);
            self.say(worker, Input::WorkerJoined { worker, machine });
        }
    }

    /// Results that weren't sent are lost; what is on the way still arrives, even after the loss is known.
    fn machine_falls(&mut self, machine: MachineId) {
        if !std::mem::take(&mut self.machines_up[machine.0 as usize]) {
            return;
        }
        let on_it: Vec<WorkerId> =
            self.workers.values().filter(|worker| worker.machine == machine).map(|worker| worker.id).collect();
        for worker in on_it {
            if let Some(state) = self.workers.get_mut(&worker) {
                state.results.clear();
            }
            self.fall(worker);
        }
        self.disturbed = self.disturbed.max(self.now + self.plan.detection.as_micros() as u64);
        self.after(self.plan.detection, Event::Told(Input::MachineLost { machine }));
    }

    fn mishap(&mut self, mishap: Mishap) {
        self.disturbed = self.disturbed.max(self.now);
        match mishap {
            Mishap::MachineLost(machine) => self.machine_falls(machine),
            Mishap::Notice(machine, within) => self.tell(Input::MachineLeaving { machine, within }),
            Mishap::UserStops => self.tell(Input::Stop),
            Mishap::WorkerRetires(worker) if self.workers.contains_key(&worker) => {
                self.retiring.push(worker);
                if self.workers[&worker].state == State::Up {
                    self.proceed(worker);
                }
            }
            Mishap::ProcessKilled(worker) => {
                let Some(state) = self.workers.get(&worker).filter(|worker| worker.state == State::Up) else { return };
                match state.activity {
                    None => self.dies(worker, None, None),
                    Some(Activity::Running(test)) => self.dies(worker, Some(test), None),
                    Some(Activity::Importing(token)) => self.dies(worker, None, Some(token.file())),
                }
            }
            Mishap::WorkerRetires(_) => {}
        }
    }
}
