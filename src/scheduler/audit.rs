//! Whether the books agree with each other: for tests, since it looks at everything.
//!
//! Changes nothing.

use std::collections::BTreeSet;

use crate::model::{TestId, WorkerId};

use super::catalog::{Place, Stage};
use super::fleet::Status;
use super::queue::{Entry, Step, UnitId};
use super::{Phase, Scheduler};

impl Scheduler {
    /// Panics if an invariant is broken.
    pub fn audit(&self) {
        self.audit_places();
        self.audit_queues();
        self.audit_fleet();
    }

    fn audit_places(&self) {
        let pooled = self.pool.tests().map(|(test, _)| test);
        let pooled: BTreeSet<TestId> = pooled.chain(self.apart.tests()).collect();
        let (mut tests, mut open, mut queued, mut open_files) = (0, 0, 0, 0);
        for (file, record) in self.catalog.files() {
            match record.stage {
                Stage::Waiting => assert!(self.pool.unread.contains(file), "{file} waits but isn't in the pool"),
                Stage::Queued { worker, unit, .. } => {
                    assert!(self.holds(worker, unit, Entry::collect(file)), "{file} isn't in the queue of {worker}");
                }
                Stage::Collected { .. } | Stage::Uncollectable => {}
            }
            let settled = matches!(record.stage, Stage::Collected { .. } | Stage::Uncollectable);
            open_files += u32::from(!settled);
            assert!(!settled || !self.pool.unread.contains(file), "{file} is settled and in the pool");
            for (index, record) in (0..).zip(&record.tests) {
                let test = TestId { file, index };
                tests += 1;
                open += u32::from(record.place != Place::Final);
                let in_pool = record.place == Place::Unassigned && self.pools();
                if !matches!(self.phase, Phase::Over(_)) {
                    assert_eq!(pooled.contains(&test), in_pool, "{test} is {:?}", record.place);
                }
                if let Place::Queued { worker, unit } = record.place {
                    queued += 1;
                    assert!(self.holds(worker, unit, Entry::test(test)), "{test} isn't in the queue of {worker}");
                }
            }
        }
        assert_eq!(self.catalog.tests, tests);
        assert_eq!(self.catalog.open_tests, open);
        assert_eq!(self.catalog.queued_tests, queued);
        assert_eq!(self.catalog.open_files, open_files);
    }

    fn holds(&self, worker: WorkerId, unit: UnitId, entry: Entry) -> bool {
        let state = self.fleet.live(worker);
        state
            .is_some_and(|state| state.queue.units().any(|(id, held)| id == unit && held.entries().any(|e| e == entry)))
    }

    fn audit_queues(&self) {
        let (mut tests, mut files) = (0, 0);
        for (worker, state) in self.fleet.iter() {
            let mut length = 0;
            for (_, unit) in state.queue.units() {
                let collecting = unit.entries().filter(|entry| entry.step == Step::Collect).count();
                assert_eq!(collecting, unit.load.files as usize);
                assert!(unit.len() > 0, "{worker} has an empty unit");
                length += unit.len();
                files += unit.load.files;
                tests += unit.len() - unit.load.files;
            }
            assert_eq!(length, state.queue.len());
            let may_hold = matches!(state.status, Status::Serving | Status::Held | Status::Leaving);
            assert!(may_hold || length == 0, "{worker} is {:?} and has a queue", state.status);
        }
        let mut tries = 0;
        for (test, worker, unit) in self.speculation.tries() {
            tries += 1;
            assert!(self.holds(worker, unit, Entry::test(test)), "{worker} isn't at its second try of {test}");
        }
        assert_eq!(tests, self.catalog.queued_tests + tries);
        let queued = |stage: Stage| matches!(stage, Stage::Queued { .. });
        assert_eq!(files as usize, self.catalog.files().filter(|(_, record)| queued(record.stage)).count());
        for (test, home) in self.pool.tests() {
            let serves = home.is_none_or(|home| self.fleet.serving(home).is_some());
            assert!(serves, "{test} is kept for a worker that is gone or going");
        }
    }

    fn audit_fleet(&self) {
        let count = |status: Status| self.fleet.iter().filter(|(_, state)| state.status == status).count();
        assert_eq!(self.fleet.serving as usize, count(Status::Serving));
        assert_eq!(self.fleet.held as usize, count(Status::Held));
        assert_eq!(self.fleet.returning as usize, count(Status::Returning));
        let promised: u32 = self.fleet.iter().filter_map(|(_, state)| state.recall).map(|recall| recall.thieves).sum();
        assert_eq!(self.fleet.promised, promised);
        if matches!(self.phase, Phase::Over(_)) {
            return;
        }
        assert!(self.touched.is_empty());
        for (worker, state) in self.fleet.iter() {
            let idle = state.status == Status::Serving && state.queue.len() == 0;
            let on_its_way = state.queue.len() > 0 || state.recall.is_some();
            assert!(state.status != Status::Leaving || on_its_way, "{worker} has nothing left and isn't closed");
            let reserved = self.apart.is_reserved(state.machine);
            let held = state.status == Status::Held;
            assert!(
                held == reserved || !matches!(state.status, Status::Serving | Status::Held),
                "{worker} is held: {held}"
            );
            let announced = self.fleet.is_announced(state.machine);
            assert!(!announced || state.status != Status::Serving, "{worker} serves on a machine that is leaving");
            assert_eq!(self.fleet.idle.contains(&worker), idle, "{worker}");
            let kept = self.ready(Some(worker));
            assert!(!idle || kept == 0, "{worker} is idle and {kept} tests are kept for it");
        }
        for copy in self.fleet.idle.iter().filter_map(|&worker| self.copy_of(worker)).collect::<BTreeSet<_>>() {
            let first = self.pool.unread.first_of(copy);
            let files_ready = first.is_some_and(|(file, _)| self.grouping.collected_with(file).is_some());
            let work_left = files_ready || (!self.runs_copies() && self.ready(None) > 0);
            assert!(!work_left, "work for anyone is left, and somebody is idle");
        }
    }
}
