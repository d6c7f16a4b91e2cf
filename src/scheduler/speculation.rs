//! A second try at a test that takes far longer than expected, on a worker that has nothing to do: whichever ends first counts.
//!
//! The catalog knows of one of the two, the *first*; the *second* is known here, and so are tries that nobody waits for any more.
//! Only where single tests may go anywhere. Never ends a try: what has begun goes on until the run is over.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{FileId, TestId, WorkerId};

use super::catalog::Place;
use super::fleet::{LOOKED_AT, Worker};
use super::queue::{Entry, Step, Tie, UnitId};
use super::time::Time;
use super::{Action, Phase, Scheduler, Work};

/// A test that has run for less isn't worth a second try, however short it was expected to be.
const WORTHWHILE: Duration = Duration::from_secs(1);
/// How many times as long as expected a test takes before it is tried elsewhere: it is then likely to run on for as long again.
const OVERDUE: u32 = 2;

/// Tests that were begun a second time, and how that went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speculated {
    pub begun: u32,
    /// Those whose second try ended first.
    pub won: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Speculation {
    seconds: BTreeMap<TestId, (WorkerId, UnitId)>,
    /// Tries at tests that have their outcome from elsewhere.
    beaten: BTreeMap<(WorkerId, TestId), UnitId>,
    /// No test is tried a second time more than once.
    tried: BTreeSet<TestId>,
    /// When the next second try begins, if nothing happens before.
    pub due: Option<Time>,
    pub done: Speculated,
}

impl Speculation {
    /// Whether the outcome of what this worker is at is already known.
    pub fn is_beaten(&self, worker: WorkerId) -> bool {
        let first = TestId { file: FileId(0), index: 0 };
        self.beaten.range((worker, first)..).next().is_some_and(|(&(beaten, _), _)| beaten == worker)
    }

    /// What is in workers' queues, and not known to the catalog.
    pub fn tries(&self) -> impl Iterator<Item = (TestId, WorkerId, UnitId)> {
        let seconds = self.seconds.iter().map(|(&test, &(worker, unit))| (test, worker, unit));
        seconds.chain(self.beaten.iter().map(|(&(worker, test), &unit)| (test, worker, unit)))
    }

    /// Forgets a try of this worker that the catalog doesn't know.
    pub fn forget(&mut self, worker: WorkerId, test: TestId) -> Option<UnitId> {
        match self.seconds.get(&test) {
            Some(&(at, unit)) if at == worker => {
                self.seconds.remove(&test);
                Some(unit)
            }
            _ => self.beaten.remove(&(worker, test)),
        }
    }
}

impl Scheduler {
    /// How many tests were begun a second time so far.
    pub fn speculated(&self) -> Speculated {
        self.speculation.done
    }

    /// Begins second tries on workers that have nothing to do, and finds out when the next is due.
    pub(super) fn speculate(&mut self, now: Time) {
        self.speculation.due = None;
        let last = self.phase == Phase::Running && self.collection_complete && self.divides();
        if !self.config.speculate || !last {
            return;
        }
        while self.fleet.unserved() > 0 {
            let Some((due, first, test)) = self.most_overdue() else { return };
            if due > now {
                self.speculation.due = Some(due);
                return;
            }
            let Some(worker) = self.helper(first, test) else { return };
            self.begin_second(now, worker, test);
        }
    }

    /// The test that is the first to be tried elsewhere, when, and where it runs now.
    fn most_overdue(&self) -> Option<(Time, WorkerId, TestId)> {
        let candidates = self.fleet.iter().filter(|(_, state)| state.status.lives());
        candidates.filter_map(|(worker, state)| self.overdue(worker, state)).min()
    }

    fn overdue(&self, worker: WorkerId, state: &Worker) -> Option<(Time, WorkerId, TestId)> {
        let head = state.queue.head()?;
        let Step::Test(index) = head.step else { return None };
        let test = TestId { file: head.file, index };
        self.catalog.unit_at(test, worker)?;
        if self.speculation.tried.contains(&test) || self.is_apart(test) {
            return None;
        }
        let import = self.import_cost(head);
        let imported = state.imported.contains(&head.file);
        let expected = self.entry_cost(head)? + if imported { Duration::ZERO } else { import };
        let patience = (expected * OVERDUE).max(WORTHWHILE) + import + self.round_trip.value();
        Some((state.head_since + patience, worker, test))
    }

    /// Who begins the second try: better on another machine, and best where the file is imported.
    fn helper(&self, first: WorkerId, test: TestId) -> Option<WorkerId> {
        let machine = self.fleet.get(first).map(|state| state.machine);
        let suits = |&&worker: &&WorkerId| {
            let state = self.fleet.get(worker);
            let elsewhere = state.map(|state| state.machine) != machine;
            let imported = state.is_some_and(|state| state.imported.contains(&test.file));
            (elsewhere, imported, Reverse(worker))
        };
        self.fleet.idle.iter().take(LOOKED_AT).max_by_key(suits).copied()
    }

    fn begin_second(&mut self, now: Time, worker: WorkerId, test: TestId) {
        let Some(state) = self.fleet.serving_mut(worker) else { return };
        let unit = state.open_unit(Tie::Second, now);
        state.queue.insert(unit, Entry::test(test), self.catalog.estimate(test));
        self.speculation.seconds.insert(test, (worker, unit));
        self.speculation.tried.insert(test);
        self.speculation.done.begun += 1;
        self.actions.push_back(Action::Run { worker, file: test.file, work: Work::Tests(vec![test.index]) });
        self.refile(worker);
    }

    /// The unit in which this worker tries this test, if its outcome counts. A second try is the first from then on.
    pub(super) fn unit_that_counts(&mut self, test: TestId, worker: WorkerId) -> Option<UnitId> {
        if let Some(unit) = self.catalog.unit_at(test, worker) {
            return Some(unit);
        }
        let unit = self.speculation.seconds.get(&test).filter(|&&(at, _)| at == worker)?.1;
        self.speculation.seconds.remove(&test);
        if let Some(Place::Queued { worker: first, unit: its }) = self.catalog.test(test).map(|record| record.place) {
            self.speculation.beaten.insert((first, test), its);
        }
        self.speculation.done.won += 1;
        self.catalog.set_place(test, Place::Queued { worker, unit });
        Some(unit)
    }

    /// The test has its outcome: nobody waits for its other try.
    pub(super) fn test_is_final(&mut self, test: TestId) {
        self.catalog.set_place(test, Place::Final);
        if let Some((worker, unit)) = self.speculation.seconds.remove(&test) {
            self.speculation.beaten.insert((worker, test), unit);
        }
    }

    /// What counted is not to come any more: if there is a second try, that one counts.
    pub(super) fn second_takes_over(&mut self, test: TestId) -> bool {
        let Some((worker, unit)) = self.speculation.seconds.remove(&test) else { return false };
        self.catalog.set_place(test, Place::Queued { worker, unit });
        true
    }

    /// A worker is done with a try that didn't count, or won't begin it.
    pub(super) fn leave_try(&mut self, now: Time, worker: WorkerId, test: TestId) {
        if let Some(unit) = self.speculation.forget(worker, test) {
            self.leave_queue(now, worker, unit, Entry::test(test));
        }
    }
}
