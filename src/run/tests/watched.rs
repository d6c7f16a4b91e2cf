//! What others may see of a test run while it goes on, and which machines they will want to look at when it is over.
//!
//! Tells, and decides nothing: the run goes the same way with it and without it.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use super::{TestRun, workers::Phase};
use crate::{
    model::{FileId, TestId, WorkerId},
    registry::{Source, WorkerInfo},
};

/// How old may be what is told.
const EVERY: Duration = Duration::from_secs(1);

pub(super) fn interval() -> Interval {
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl TestRun<'_> {
    pub(super) fn tell_what_workers_are_at(&mut self) {
        let workers = self.workers.iter().map(|(id, worker)| WorkerInfo {
            worker: id.to_string(),
            machine: worker.machine.0,
            at: (worker.phase == Phase::Up).then(|| self.at(id)).flatten(),
            done: worker.done,
            failed: worker.failed,
            failures: worker.failures.clone(),
        });
        let workers = workers.collect();
        self.fleet.working(workers);
    }

    fn at(&self, worker: WorkerId) -> Option<String> {
        let (file, test) = self.scheduler.as_ref()?.at(worker)?;
        Some(match test {
            Some(test) => self.book.nodeid(test),
            None => format!("collects {}", self.book.path(file)),
        })
    }

    /// A test has got its outcome.
    pub(super) fn was_run(&mut self, worker: WorkerId, test: TestId, failed: bool) {
        self.workers.finished(worker, failed);
        self.progress.finished(test, failed);
        let Some(machine) = self.workers.machine(worker) else { return };
        let outcome = if failed { "failed" } else { "passed" };
        let line = format!("{outcome}\t{}", self.book.nodeid(test));
        self.fleet.log(machine, Source::Test(worker.0), &line);
        if failed {
            self.will_be_looked_at(worker, test);
        }
    }

    /// The test failed there.
    pub(super) fn will_be_looked_at(&mut self, worker: WorkerId, test: TestId) {
        self.failed_there(worker, self.book.nodeid(test));
    }

    /// The file, or a directory above it, could not be imported there.
    pub(super) fn could_not_be_collected(&mut self, worker: WorkerId, file: FileId) {
        if let Some(name) = self.memory.name(self.book.path(file)).map(str::to_owned) {
            self.failed_there(worker, name);
        }
    }

    fn failed_there(&mut self, worker: WorkerId, name: String) {
        if let (Some(machine), Some(time)) = (self.workers.machine(worker), self.rules.keep_on_failure) {
            self.fleet.keep(machine, time);
            self.workers.failed(worker, name);
        }
    }
}
