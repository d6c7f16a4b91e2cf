//! When collection is complete, when the run is over, and what happens to inputs that come after that.
//!
//! Gives nothing out: by the time the run ends there is nothing left to give.

use crate::model::{FileId, TestId};

use super::catalog::Place;
use super::fleet::Status;
use super::queue::Entry;
use super::{Action, Collect, CollectionErrors, Ending, GiveUpReason, Input, Phase, Scheduler, Verdict};

impl Scheduler {
    /// Draws the conclusions from the counts.
    pub(super) fn settle(&mut self) {
        self.abandon_if_deserted();
        if self.catalog.listed && self.catalog.open_files == 0 && !self.collection_complete {
            self.complete_collection();
            self.abandon_if_deserted();
        }
        if !self.collection_complete {
            return;
        }
        match self.phase {
            Phase::Running if self.catalog.open_tests == 0 => self.finish(Ending::Complete),
            Phase::Draining if self.catalog.queued_tests == 0 => self.finish(Ending::CollectionErrors),
            _ => {}
        }
    }

    fn complete_collection(&mut self) {
        if matches!(self.phase, Phase::Over(_)) {
            return;
        }
        self.collection_complete = true;
        self.actions.push_back(Action::CollectionComplete { tests: self.catalog.tests });
        if self.config.collect() == Collect::Stream {
            return;
        }
        if self.catalog.errors > 0 && self.config.collection_errors == CollectionErrors::Stop {
            self.phase = Phase::Draining;
            self.pool.clear_tests();
            self.apart.clear();
            return;
        }
        self.phase = Phase::Running;
        self.touched.extend(self.fleet.iter().map(|(worker, _)| worker));
        if self.grouping.is_known_early() {
            return;
        }
        self.grouping.tests_known(self.catalog.tests);
        self.catalog.number_tests();
        for test in self.unassigned_tests() {
            self.pool_test(test);
        }
    }

    fn unassigned_tests(&self) -> Vec<TestId> {
        let of_file = |(file, tests): (FileId, u32)| (0..tests).map(move |index| TestId { file, index });
        self.catalog
            .files()
            .map(|(file, record)| (file, u32::try_from(record.tests.len()).unwrap_or(u32::MAX)))
            .flat_map(of_file)
            .filter(|&test| self.catalog.test(test).is_some_and(|record| record.place == Place::Unassigned))
            .collect()
    }

    /// Gives everything up once there is nobody left to do it. Workers of leaving machines only finish what they are at.
    fn abandon_if_deserted(&mut self) {
        if !self.leases_over || matches!(self.phase, Phase::Over(_)) {
            return;
        }
        if self.runs_copies() {
            return self.abandon_vacant();
        }
        if self.fleet.serving > 0 || self.fleet.held > 0 || self.fleet.returning > 0 {
            return;
        }
        for file in self.pool.unread.take_all(0) {
            self.give_up_file(file, GiveUpReason::NoWorkersLeft);
        }
        for test in self.pool.clear_tests().into_iter().chain(self.apart.clear()) {
            self.give_up_test(test, GiveUpReason::NoWorkersLeft);
        }
    }

    pub(super) fn leases_end(&mut self) -> Verdict {
        self.leases_over = true;
        Verdict::Accepted
    }

    pub(super) fn leases_reopen(&mut self) -> Verdict {
        self.leases_over = false;
        Verdict::Accepted
    }

    /// Counts failures towards `maxfail`.
    pub(super) fn count_failures(&mut self, failed: u32) {
        self.failures = self.failures.saturating_add(failed);
        if failed > 0 && self.config.maxfail.is_some_and(|maxfail| self.failures >= maxfail.get()) {
            self.abort(Ending::MaxFail);
        }
    }

    pub(super) fn abort(&mut self, ending: Ending) {
        if !matches!(self.phase, Phase::Over(_)) {
            self.phase = Phase::Over(ending);
            self.actions.push_back(Action::Abort);
            self.actions.push_back(Action::Finished { ending });
        }
    }

    fn finish(&mut self, ending: Ending) {
        self.phase = Phase::Over(ending);
        for (worker, state) in self.fleet.iter() {
            if matches!(state.status, Status::Serving | Status::Held | Status::Leaving) {
                let interrupt = self.speculation.is_beaten(worker);
                self.actions.push_back(Action::CloseWorker { worker, interrupt });
            }
        }
        self.actions.push_back(Action::Finished { ending });
    }

    /// Tests that were running when the run was aborted may still finish; late workers are sent home.
    pub(super) fn handle_after_end(&mut self, input: Input) -> Verdict {
        match input {
            Input::TestFinished { worker, test, .. } => {
                let counts = self.unit_that_counts(test, worker);
                let estimate = self.catalog.estimate(test);
                let Some(unit) = counts.or_else(|| self.speculation.forget(worker, test)) else {
                    return Verdict::Stale;
                };
                if let Some(state) = self.fleet.live_mut(worker) {
                    state.queue.remove(unit, Entry::test(test), estimate);
                }
                if counts.is_none() {
                    return Verdict::Stale;
                }
                self.test_is_final(test);
                Verdict::Accepted
            }
            Input::WorkerJoined { worker, .. } => {
                self.actions.push_back(Action::CloseWorker { worker, interrupt: false });
                Verdict::Accepted
            }
            Input::LeasesOver | Input::LeasesReopened | Input::Stop | Input::Tick => Verdict::Accepted,
            _ => Verdict::Stale,
        }
    }
}
