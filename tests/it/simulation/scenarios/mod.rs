//! Hand-written stories: what is told to the scheduler, and what it wants then.
//!
//! No world here: each story says itself what workers answer, however odd.

mod apart;
mod chunks;
mod collection;
mod copies;
mod endings;
mod leaving;
mod losses;
mod sharing;
mod speculation;

use std::time::Duration;

use cloudist::model::{FileId, MachineId, TestId, WorkerId};
use cloudist::scheduler::{Action, Collect, Config, Input, Mode, Scheduler, Slot, Time, Verdict, Work};

use super::plan::config;

const HERE: MachineId = MachineId(0);
const THERE: MachineId = MachineId(1);

fn gw(number: u32) -> WorkerId {
    WorkerId(number)
}

fn test(file: u32, index: u32) -> TestId {
    TestId { file: FileId(file), index }
}

/// A scheduler, the time, and what it wanted after the last input.
struct Story {
    scheduler: Scheduler,
    now: Time,
    wanted: Vec<Action>,
    verdict: Verdict,
}

impl Story {
    fn new(config: Config) -> Self {
        Story { scheduler: Scheduler::new(config), now: Time::START, wanted: Vec::new(), verdict: Verdict::Accepted }
    }

    /// Tests one by one, executed as files are collected.
    fn streaming() -> Self {
        Story::new(config(Mode::Test, Collect::Stream, 2))
    }

    /// These workers are there, each on a machine of its own number, when so many files are found.
    fn with(mut self, files: u32, workers: u32) -> Self {
        for number in 0..workers {
            self.joins(number, MachineId(number));
        }
        let mut wanted = self.tell(Input::FilesFound(files));
        wanted.extend(self.tell(Input::FilesEnd { errors: 0 }));
        self.wanted = wanted;
        self
    }

    fn tell(&mut self, input: Input) -> Vec<Action> {
        self.verdict = self.scheduler.handle(self.now, input);
        self.scheduler.audit();
        self.wanted = std::iter::from_fn(|| self.scheduler.poll_action()).collect();
        self.wanted.clone()
    }

    fn passes(&mut self, span: Duration) -> &mut Self {
        self.now = self.now + span;
        self
    }

    /// Nothing happens until the scheduler wants to be woken.
    fn wakes(&mut self) -> Vec<Action> {
        self.now = self.scheduler.next_deadline().expect("the scheduler waits for nothing");
        self.tell(Input::Tick)
    }

    fn joins(&mut self, worker: u32, machine: MachineId) -> Vec<Action> {
        self.tell(Input::WorkerJoined { worker: gw(worker), machine })
    }

    /// The worker has collected the file, which took 100 ms.
    fn collects(&mut self, worker: u32, file: u32, tests: u32) -> Vec<Action> {
        self.passes(Duration::from_millis(100));
        self.tell(Input::Collected { worker: gw(worker), file: FileId(file), tests, errors: 0, estimates: Vec::new() })
    }

    fn fails_to_collect(&mut self, worker: u32, file: u32) -> Vec<Action> {
        self.tell(Input::Collected {
            worker: gw(worker),
            file: FileId(file),
            tests: 0,
            errors: 1,
            estimates: Vec::new(),
        })
    }

    fn finishes(&mut self, worker: u32, test: TestId) -> Vec<Action> {
        self.tell(Input::TestFinished { worker: gw(worker), test, failed: 0 })
    }

    fn fails(&mut self, worker: u32, test: TestId) -> Vec<Action> {
        self.tell(Input::TestFinished { worker: gw(worker), test, failed: 1 })
    }

    fn returns(&mut self, worker: u32, tests: &[TestId], files: &[u32]) -> Vec<Action> {
        let files = files.iter().copied().map(FileId).collect();
        self.tell(Input::Returned { worker: gw(worker), tests: tests.to_vec(), files })
    }

    /// It is announced that the machine goes in two minutes.
    fn leaves(&mut self, machine: MachineId) -> Vec<Action> {
        self.tell(Input::MachineLeaving { machine, within: Duration::from_secs(120) })
    }

    fn loses(&mut self, machine: MachineId) -> Vec<Action> {
        self.tell(Input::MachineLost { machine })
    }

    fn dies(&mut self, worker: u32, running: Option<TestId>, collecting: Option<u32>) -> Vec<Action> {
        let collecting = collecting.map(FileId);
        self.tell(Input::WorkerDied { worker: gw(worker), running, collecting, slot: Slot::Gone })
    }
}

fn collect(worker: u32, file: u32) -> Action {
    Action::Run { worker: gw(worker), file: FileId(file), work: Work::Collect { execute: true } }
}

fn only_collect(worker: u32, file: u32) -> Action {
    Action::Run { worker: gw(worker), file: FileId(file), work: Work::Collect { execute: false } }
}

fn run(worker: u32, file: u32, tests: impl IntoIterator<Item = u32>) -> Action {
    Action::Run { worker: gw(worker), file: FileId(file), work: Work::Tests(tests.into_iter().collect()) }
}

fn complete(tests: u32) -> Action {
    Action::CollectionComplete { tests }
}

fn recall(worker: u32, count: u32) -> Action {
    Action::Recall { worker: gw(worker), count }
}

fn close(worker: u32) -> Action {
    Action::CloseWorker { worker: gw(worker), interrupt: false }
}
