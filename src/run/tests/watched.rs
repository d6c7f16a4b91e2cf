//! What others may see of a test run while it goes on, and which machines they will want to look at when it is over.
//!
//! Tells, and decides nothing: the run goes the same way with it and without it.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use super::{TestRun, workers::Phase};
use crate::{
    model::{
        FileId, TestId, WorkerId,
        live::{Sight, Work},
    },
    protocol::results,
    registry::{Source, WorkerInfo},
};

/// How old may be what is told.
const EVERY: Duration = Duration::from_secs(1);

/// The same for one who looks on.
const EVERY_GLANCE: Duration = Duration::from_millis(200);

pub(super) fn interval() -> Interval {
    delayed(EVERY)
}

pub(super) fn glances() -> Interval {
    delayed(EVERY_GLANCE)
}

fn delayed(every: Duration) -> Interval {
    let mut interval = tokio::time::interval(every);
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

    /// Shows what the workers are at to one who looks on, where that has changed.
    pub(super) fn show_what_workers_are_at(&mut self) {
        let Some(scheduler) = &self.scheduler else { return };
        let mut changed = Vec::new();
        for (id, worker) in self.workers.iter() {
            let at = (worker.phase == Phase::Up).then(|| scheduler.at(id)).flatten();
            let before = match at {
                Some(at) => self.shown.insert(id, at),
                None => self.shown.remove(&id),
            };
            if before != at {
                changed.push((id.0, at.map(|at| self.work(at))));
            }
        }
        if !changed.is_empty() {
            self.fleet.watch().tell(|| Sight::At(changed));
        }
    }

    fn work(&self, (file, test): (FileId, Option<TestId>)) -> Work {
        match test {
            Some(test) => Work::Test(self.book.nodeid(test)),
            None => {
                let path = self.book.path(file);
                Work::Collects(self.memory.name(path).unwrap_or(path).to_owned())
            }
        }
    }

    /// What could not be collected is shown to one who looks on; the local pytest tells of it in its own time.
    pub(super) fn show_collection_errors(&self, errors: u32, blob: &[u8]) {
        let watch = self.fleet.watch();
        if errors == 0 || !watch.listens() {
            return;
        }
        for (name, reason) in results::collection_failures(blob).unwrap_or_default() {
            watch.tell(|| Sight::NotCollected { name, reason });
        }
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
