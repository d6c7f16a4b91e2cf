//! How much a worker has waiting, and whether that is enough to hide a round trip.
//!
//! Estimates only: they are made of measured means and may be missing.

use std::time::Duration;

use crate::model::{FileId, TestId, WorkerId};

use super::catalog::Stage;
use super::fleet::{Need, Worker};
use super::grouping::Parting;
use super::pace::Load;
use super::queue::{Entry, Step, Unit};
use super::time::Time;
use super::{HORIZON, LEAD, MOST_WAITING, Phase, Scheduler};

impl Scheduler {
    pub(super) fn need(&self, worker: WorkerId, state: &Worker) -> Need {
        let busy_until = self.busy_until(state);
        match state.queue.len() {
            0 => Need::Idle,
            _ if self.is_awaited(state) => Need::Nothing,
            1 if busy_until > self.now => Need::Later(busy_until),
            _ if self.wants_more(worker, state) => Need::Low,
            _ => Need::Nothing,
        }
    }

    /// Whether the worker collects a file whose tests are to be dealt: what it is given now would be in front of the longest of them.
    fn is_awaited(&self, state: &Worker) -> bool {
        let head = state.queue.head();
        let collects = head.filter(|head| head.step == Step::Collect && !self.catalog.executes(head.file));
        self.phase == Phase::Running && collects.is_some()
    }

    /// Until when the worker is busy with a test that is known to take long, so that nothing needs to wait behind it yet: what waits there
    /// can't be given to others without asking.
    fn busy_until(&self, state: &Worker) -> Time {
        let estimate = self.head_estimate(state).filter(|_| self.divides()).unwrap_or_default();
        state.head_since + estimate.saturating_sub(LEAD)
    }

    /// One thing at work and one waiting is the least; many short ones wait up to the horizon, while there are many.
    fn wants_more(&self, worker: WorkerId, state: &Worker) -> bool {
        let units = state.queue.units().count();
        let waiting = match self.parting() {
            Parting::Divisible => state.queue.len() - 1,
            Parting::Whole => u32::try_from(units).unwrap_or(u32::MAX) - 1,
        };
        if waiting == 0 {
            return true;
        }
        let Some(cost) = self.waiting_cost(state) else { return units < 2 };
        let plenty = self.pool.unread.len() as u64 >= 2 * u64::from(self.fleet.serving)
            || self.ready(Some(worker)) > 0
            || self.ready(None) > 0;
        plenty && cost < HORIZON && waiting < MOST_WAITING
    }

    /// What the worker still has to do after what it is at: one entry, or one unit if units are whole.
    fn waiting_cost(&self, state: &Worker) -> Option<Duration> {
        let mut total = Duration::ZERO;
        for (position, (_, unit)) in state.queue.units().enumerate() {
            match (position, self.parting()) {
                (0, Parting::Whole) => {}
                (0, Parting::Divisible) => total += self.rest_of_unit(unit)?,
                _ => total += self.unit_cost(unit)?,
            }
        }
        Some(total)
    }

    pub(super) fn unit_cost(&self, unit: &Unit) -> Option<Duration> {
        self.cost(unit.load, unit.last()?.file)
    }

    /// What all of this takes, if tests without an estimate take as long as others of this file.
    pub(super) fn cost(&self, load: Load, file: FileId) -> Option<Duration> {
        let mut cost = load.estimated;
        if load.unestimated > 0 {
            cost += self.catalog.pace(file)? * load.unestimated;
        }
        if load.unforetold > 0 {
            cost += self.catalog.file_cost(self.phase == Phase::Running)? * load.unforetold;
        }
        Some(cost)
    }

    /// What is left of a unit after its first entry.
    pub(super) fn rest_of_unit(&self, unit: &Unit) -> Option<Duration> {
        if unit.len() <= 1 {
            return Some(Duration::ZERO);
        }
        Some(self.unit_cost(unit)?.saturating_sub(self.entry_cost(unit.first()?)?))
    }

    pub(super) fn entry_cost(&self, entry: Entry) -> Option<Duration> {
        match entry.step {
            Step::Collect => {
                let foretold = self.catalog.expectation(entry.file);
                foretold.or_else(|| self.catalog.file_cost(self.phase == Phase::Running))
            }
            Step::Test(index) => {
                let test = TestId { file: entry.file, index };
                self.catalog.estimate(test).or_else(|| self.catalog.pace(entry.file))
            }
        }
    }

    /// What it costs another worker to get at this entry: nothing if somebody has to collect it for the first time anyway.
    pub(super) fn import_cost(&self, entry: Entry) -> Duration {
        let collected = |stage: Stage| matches!(stage, Stage::Collected { .. });
        self.catalog
            .file(entry.file)
            .filter(|record| collected(record.stage))
            .map_or(Duration::ZERO, |record| record.import)
    }
}
