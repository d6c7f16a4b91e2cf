//! Who gets what next: idle workers first, then those with little waiting; what a worker has imported first, then
//! files that nobody has, then what others can spare.
//!
//! Only hands out; it never takes anything back (that is `steal`).

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use crate::model::{FileId, TestId, WorkerId};

use super::catalog::{Place, Stage};
use super::fleet::Fleet;
use super::grouping::Parting;
use super::pool::End;
use super::queue::{Entry, Tie};
use super::time::{Time, micros};
use super::{Action, BATCH, HORIZON, MOST_GIVEN, MOST_WAITING, Phase, Scheduler, Work};

impl Scheduler {
    pub(super) fn dispatch(&mut self, now: Time) {
        self.given = 0;
        if matches!(self.phase, Phase::Over(_)) {
            self.touched.clear();
            return;
        }
        let mut touched = BTreeSet::new();
        loop {
            let mut news = std::mem::take(&mut self.touched);
            self.look_after(now, &news);
            self.give_apart(now);
            touched.append(&mut news);
            if self.touched.is_empty() {
                break;
            }
        }
        self.give_urgent(now);
        for &worker in &touched {
            if self.fleet.idle.contains(&worker) {
                self.give_own(now, worker);
            }
        }
        self.give_to(now, |fleet| &fleet.idle);
        self.steal(now);
        let busy: BTreeSet<WorkerId> = touched.union(&std::mem::take(&mut self.postponed)).copied().collect();
        for &worker in &busy {
            if self.given > MOST_GIVEN {
                self.postponed.insert(worker);
                continue;
            }
            while self.fleet.low.contains(&worker) && !self.may_move_first(worker) && self.give_own(now, worker) {}
        }
        if self.postponed.is_empty() {
            self.give_to(now, |fleet| &fleet.low);
        }
        // What was given to the busy may be worth more to somebody who is still idle.
        self.steal(now);
        self.speculate(now);
    }

    fn look_after(&mut self, now: Time, workers: &BTreeSet<WorkerId>) {
        for &worker in workers {
            self.sweep(now, worker);
            self.see_off(now, worker);
            self.refile(worker);
        }
    }

    /// Gives these workers what is anyone's, until there is no more of it.
    fn give_to(&mut self, now: Time, those: fn(&Fleet) -> &BTreeSet<WorkerId>) {
        let mut next = those(&self.fleet).first().copied();
        while let Some(worker) = next {
            if self.give_any(now, worker) {
                next = those(&self.fleet).range(worker..).next().copied();
            } else if self.runs_copies() {
                next = those(&self.fleet).range((Excluded(worker), Unbounded)).next().copied();
            } else {
                return;
            }
        }
    }

    /// Files a worker anew after its queue, or the pool's share for it, has changed.
    pub(super) fn refile(&mut self, worker: WorkerId) {
        let Some(state) = self.fleet.serving(worker) else { return };
        let need = self.need(worker, state);
        self.fleet.file(worker, need);
    }

    /// Gives a worker tests of files that it collected.
    fn give_own(&mut self, now: Time, worker: WorkerId) -> bool {
        let running = self.phase == Phase::Running;
        let Some(parcel) = self.pool.first_of(Some(worker)).filter(|_| running) else { return false };
        let own = self.pool.load_of(Some(worker));
        let tests = self.pool.tests_of(Some(worker));
        // Where durations are known, a queue needs to be no deeper than the horizon.
        let bite = match own.unestimated {
            0 => horizon_tests(own.estimated.checked_div(tests)),
            _ => tests.div_ceil(4).max(horizon_tests(self.catalog.test_pace.mean())),
        };
        let tests = self.pool.take(parcel, self.portion(bite), End::Front);
        self.give_tests(now, worker, &tests, Tie::Free);
        true
    }

    /// Gives a worker what is anyone's: files that nobody has collected, then tests whose worker is gone.
    fn give_any(&mut self, now: Time, worker: WorkerId) -> bool {
        let Some(copy) = self.copy_of(worker) else { return false };
        let dealt = self.pool.first_dealt(None).filter(|_| self.phase == Phase::Running);
        if let Some((first, weight)) = self.pool.unread.first_of(copy)
            && dealt.is_none_or(|size| weight.urgent || weight.size >= size)
            && let Some(range) = self.grouping.collected_with(first)
        {
            let files: Vec<FileId> = self.pool.unread.range(range).collect();
            self.give_files(now, worker, &files);
            return true;
        }
        let any = self.phase == Phase::Running && !self.runs_copies();
        let Some(parcel) = self.pool.first_of(None).filter(|_| any) else { return false };
        if dealt.is_some() {
            let tests = self.pool.take(parcel, u32::MAX, End::Front);
            self.give_tests(now, worker, &tests, Tie::Free);
            return true;
        }
        let sharers = match u32::try_from(self.fleet.idle.len()) {
            Ok(0) => self.fleet.serving.saturating_mul(2),
            idle => idle.unwrap_or(u32::MAX),
        };
        let share = self.pool.tests_of(None).div_ceil(sharers.max(1));
        let tests = self.pool.take(parcel, self.portion(share), End::Front);
        self.give_tests(now, worker, &tests, Tie::Free);
        true
    }

    /// How many tests to take from a parcel of which `wanted` would do.
    pub(super) fn portion(&self, wanted: u32) -> u32 {
        match self.parting() {
            Parting::Divisible => wanted,
            Parting::Whole => u32::MAX,
        }
    }

    pub(super) fn give_files(&mut self, now: Time, worker: WorkerId, files: &[FileId]) {
        let running = self.phase == Phase::Running;
        let executed: Vec<bool> = files.iter().map(|&file| running && !self.is_to_be_dealt(file)).collect();
        let Some(state) = self.fleet.serving_mut(worker) else { return };
        state.barren = false;
        let unit = state.open_unit(Tie::Free, now);
        for (&file, execute) in files.iter().zip(executed) {
            state.queue.insert(unit, Entry::collect(file), self.catalog.expectation(file));
            self.pool.unread.remove(file);
            self.catalog.set_stage(file, Stage::Queued { worker, unit, execute });
            self.actions.push_back(Action::Run { worker, file, work: Work::Collect { execute } });
        }
        self.refile(worker);
    }

    /// `tests` are in order.
    pub(super) fn give_tests(&mut self, now: Time, worker: WorkerId, tests: &[TestId], tie: Tie) {
        let Some(state) = self.fleet.employed_mut(worker) else { return };
        state.barren &= tie != Tie::Free;
        state.offered = false;
        self.given += u32::try_from(tests.len()).unwrap_or(u32::MAX);
        let unit = state.open_unit(tie, now);
        for &test in tests {
            state.queue.insert(unit, Entry::test(test), self.catalog.estimate(test));
            self.catalog.set_place(test, Place::Queued { worker, unit });
        }
        for batch in tests.chunk_by(|a, b| a.file == b.file).flat_map(|of_file| of_file.chunks(BATCH)) {
            let file = batch[0].file;
            let work = Work::Tests(batch.iter().map(|test| test.index).collect());
            self.actions.push_back(Action::Run { worker, file, work });
        }
        self.refile(worker);
    }
}

/// How many tests it takes to fill the horizon, if each takes so long.
fn horizon_tests(each: Option<Duration>) -> u32 {
    let Some(each) = each else { return 1 };
    let many = micros(HORIZON) / micros(each).max(1);
    u32::try_from(many).unwrap_or(u32::MAX).clamp(1, MOST_WAITING)
}
