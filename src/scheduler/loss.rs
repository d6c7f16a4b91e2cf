//! What is lost with a process or a machine, and what becomes of it.
//!
//! The test that a dead process was running is final; everything else is run again elsewhere, within `max_attempts`. A loss of
//! which notice was given is nobody's fault and counts no attempt.

use crate::model::{FileId, MachineId, TestId, WorkerId};

use super::catalog::{Place, Stage};
use super::fleet::Status;
use super::queue::{Entry, Step};
use super::{GiveUpReason, Phase, Scheduler, Slot, Verdict};

/// Who may have brought a worker down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// Whatever it was at: the attempt counts.
    Head,
    Nobody,
}

impl Scheduler {
    pub(super) fn worker_died(
        &mut self,
        worker: WorkerId,
        running: Option<TestId>,
        collecting: Option<FileId>,
        slot: Slot,
    ) -> Verdict {
        let status = match slot {
            Slot::Returns if !self.is_leaving(worker) => Status::Returning,
            Slot::Returns | Slot::Gone => Status::Gone,
        };
        if self.fleet.live(worker).is_none() {
            // Its fresh process failed, or the same death is told twice.
            let returns = self.fleet.get(worker).is_some_and(|state| state.status == Status::Returning);
            if returns {
                self.fleet.leave(worker, status);
            }
            return Verdict::Stale;
        }
        let culprit_known = running.is_some_and(|test| self.crashed(worker, test))
            || collecting.is_some_and(|file| self.killed_by_collection(worker, file));
        let excused = culprit_known || self.is_leaving(worker);
        let blame = if excused { Blame::Nobody } else { Blame::Head };
        self.lose(&[worker], status, blame);
        if culprit_known || (running.is_none() && collecting.is_none()) { Verdict::Accepted } else { Verdict::Stale }
    }

    pub(super) fn machine_lost(&mut self, machine: MachineId) -> Verdict {
        let workers: Vec<WorkerId> = self.fleet.lose_machine(machine).into_iter().collect();
        self.apart.forget(machine);
        let blame = if self.fleet.is_announced(machine) { Blame::Nobody } else { Blame::Head };
        self.lose(&workers, Status::Gone, blame);
        if workers.is_empty() { Verdict::Stale } else { Verdict::Accepted }
    }

    pub(super) fn worker_retired(&mut self, worker: WorkerId) -> Verdict {
        if self.fleet.live(worker).is_none() {
            return Verdict::Stale;
        }
        self.lose(&[worker], Status::Gone, Blame::Nobody);
        Verdict::Accepted
    }

    fn crashed(&mut self, worker: WorkerId, test: TestId) -> bool {
        let Some(unit) = self.unit_that_counts(test, worker) else { return false };
        let estimate = self.catalog.estimate(test);
        if let Some(state) = self.fleet.live_mut(worker) {
            state.queue.remove(unit, Entry::test(test), estimate);
        }
        self.test_is_final(test);
        self.count_failures(1);
        true
    }

    fn killed_by_collection(&mut self, worker: WorkerId, file: FileId) -> bool {
        let Some((unit, _)) = self.catalog.file_unit_at(file, worker) else { return false };
        let expected = self.catalog.expectation(file);
        if let Some(state) = self.fleet.live_mut(worker) {
            state.queue.remove(unit, Entry::collect(file), expected);
        }
        self.catalog.set_stage(file, Stage::Uncollectable);
        self.collection_failed(1);
        true
    }

    /// All of them leave before anything is requeued, so that none of them counts as a home.
    fn lose(&mut self, workers: &[WorkerId], status: Status, blame: Blame) {
        for &worker in workers {
            self.fleet.leave(worker, status);
            self.pool.disown(worker);
        }
        for &worker in workers {
            let lost = self.fleet.drain_queue(worker);
            for (position, entry) in lost.into_iter().enumerate() {
                let blamed = position == 0 && blame == Blame::Head;
                match entry.step {
                    Step::Collect => self.requeue_file(entry.file, blamed),
                    Step::Test(index) => self.lose_test(worker, TestId { file: entry.file, index }, blamed),
                }
            }
        }
    }

    fn requeue_file(&mut self, file: FileId, blamed: bool) {
        let Some(record) = self.catalog.file_mut(file) else { return };
        record.attempts += u32::from(blamed);
        let attempts = record.attempts;
        if attempts >= self.config.max_attempts.get() {
            self.give_up_file(file, GiveUpReason::AttemptsExhausted { attempts });
        } else {
            self.catalog.set_stage(file, Stage::Waiting);
            self.pool.unread.insert(file, self.weight(file));
        }
    }

    fn lose_test(&mut self, worker: WorkerId, test: TestId, blamed: bool) {
        if let Some(record) = self.catalog.test_mut(test) {
            record.attempts += u32::from(blamed);
        }
        let is_tried_elsewhere = self.speculation.forget(worker, test).is_some() || self.second_takes_over(test);
        if !is_tried_elsewhere {
            self.requeue_test(test);
        }
    }

    fn requeue_test(&mut self, test: TestId) {
        self.catalog.set_place(test, Place::Unassigned);
        let Some(attempts) = self.catalog.test(test).map(|record| record.attempts) else { return };
        match self.phase {
            Phase::Running if attempts >= self.config.max_attempts.get() => {
                self.give_up_test(test, GiveUpReason::AttemptsExhausted { attempts });
            }
            _ => self.pool_test(test),
        }
    }
}
