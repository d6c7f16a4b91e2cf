//! What workers and the local pytest report while all goes well: files, collections, results, returns.
//!
//! Brings the books up to date; who gets work next is decided afterwards, in `dispatch`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{FileId, MachineId, TestId, WorkerId};

use super::catalog::{Place, Process, Stage};
use super::fleet::Status;
use super::grouping::{ParcelId, Parting};
use super::pool::Rank;
use super::queue::{Entry, Removed, Step, Tie, UnitId};
use super::time::Time;
use super::{Action, Collect, CollectionErrors, Forecast, GiveUpReason, Phase, Scheduler, Subject, Verdict};

impl Scheduler {
    pub(super) fn files_found(&mut self, count: u32) -> Verdict {
        if self.catalog.listed {
            return Verdict::Stale;
        }
        for file in self.catalog.add_files(count) {
            self.pool.unread.insert(file, self.weight(file));
        }
        Verdict::Accepted
    }

    pub(super) fn foretold(&mut self, forecasts: &[(FileId, Forecast)]) -> Verdict {
        if self.catalog.listed {
            return Verdict::Stale;
        }
        if self.runs_copies() {
            // Whoever has a copy to itself takes it in the order in which it was found.
            return Verdict::Accepted;
        }
        let streams = self.config.collect() == Collect::Stream;
        for &(file, forecast) in forecasts {
            self.catalog.foretell(file, forecast, streams);
        }
        Verdict::Accepted
    }

    pub(super) fn files_end(&mut self, errors: u32) -> Verdict {
        if self.catalog.listed {
            return Verdict::Stale;
        }
        self.catalog.listed = true;
        self.grouping.files_known(self.catalog.len());
        // Only now is it known what is much.
        let waiting: Vec<FileId> = self.pool.unread.files().collect();
        for file in waiting {
            self.pool.unread.insert(file, self.weight(file));
        }
        self.collection_failed(errors);
        Verdict::Accepted
    }

    pub(super) fn worker_joined(&mut self, now: Time, worker: WorkerId, machine: MachineId) -> Verdict {
        if !self.fleet.join(worker, machine, now) {
            return Verdict::Stale;
        }
        self.touched.insert(worker);
        self.take_copy(worker);
        if self.apart.is_reserved(machine) {
            self.fleet.hold(worker);
            self.pool.disown(worker);
        }
        self.dealing.joined();
        Verdict::Accepted
    }

    pub(super) fn collected(
        &mut self,
        now: Time,
        worker: WorkerId,
        file: FileId,
        tests: u32,
        errors: u32,
        estimates: &[Option<Duration>],
    ) -> Verdict {
        let Some((unit, execute)) = self.catalog.file_unit_at(file, worker) else { return Verdict::Stale };
        let Some(state) = self.fleet.live_mut(worker) else { return Verdict::Stale };
        self.catalog.collected(file, Process { worker, life: state.life }, tests, estimates);
        let (import, sample) = (now.since(state.head_since), state.sample);
        state.imported.insert(file);
        self.spread_marks(file);
        if execute {
            for test in (0..tests).map(|index| TestId { file, index }) {
                if self.is_apart(test) {
                    self.pool_test(test);
                    continue;
                }
                let Some(state) = self.fleet.live_mut(worker) else { continue };
                state.queue.insert(unit, Entry::test(test), self.catalog.estimate(test));
                self.catalog.set_place(test, Place::Queued { worker, unit });
            }
            if let Some(state) = self.fleet.live_mut(worker) {
                state.swept = false;
            }
        } else {
            self.dealing.found(file);
        }
        let removed = self.leave_queue(now, worker, unit, Entry::collect(file));
        if removed.is_some_and(|removed| removed.was_head) {
            self.catalog.import_pace.add(import, sample);
            if let Some(record) = self.catalog.file_mut(file) {
                record.import = import;
            }
        }
        self.news_from(worker);
        self.collection_failed(errors);
        Verdict::Accepted
    }

    pub(super) fn bundled(&mut self, file: FileId, bundles: Vec<u32>) -> Verdict {
        match self.catalog.file_mut(file) {
            Some(record) if record.tests.is_empty() => {
                record.bundles = bundles;
                Verdict::Accepted
            }
            _ => Verdict::Stale,
        }
    }

    pub(super) fn test_finished(&mut self, now: Time, worker: WorkerId, test: TestId, failed: u32) -> Verdict {
        let Some(unit) = self.unit_that_counts(test, worker) else {
            self.leave_try(now, worker, test);
            return Verdict::Stale;
        };
        let Some(state) = self.fleet.live_mut(worker) else { return Verdict::Stale };
        let (took, sample) = (now.since(state.head_since), state.sample);
        let had_imported = !state.imported.insert(test.file);
        let removed = self.leave_queue(now, worker, unit, Entry::test(test));
        if removed.is_some_and(|removed| removed.was_head && had_imported) {
            self.catalog.test_pace.add(took, sample);
            if let Some(record) = self.catalog.file_mut(test.file) {
                record.pace.add(took, sample);
            }
        }
        if let Some(state) = self.fleet.live_mut(worker) {
            state.queue.mark_begun(unit);
        }
        self.test_is_final(test);
        self.news_from(worker);
        self.count_failures(failed);
        Verdict::Accepted
    }

    pub(super) fn returned(&mut self, now: Time, worker: WorkerId, tests: &[TestId], files: &[FileId]) -> Verdict {
        let Some(state) = self.fleet.live(worker) else { return Verdict::Stale };
        let asked = state.recall;
        let given_since = asked.is_some_and(|recall| recall.given < state.queue.opened());
        if let Some(recall) = asked {
            self.round_trip.add(now.since(recall.asked));
            self.fleet.set_recall(worker, None);
        }
        let mut useful = false;
        for &file in files {
            if let Some((unit, _)) = self.catalog.file_unit_at(file, worker) {
                self.leave_queue(now, worker, unit, Entry::collect(file));
                self.catalog.set_stage(file, Stage::Waiting);
                self.pool.unread.insert(file, self.weight(file));
                useful = true;
            }
        }
        let mut returned: BTreeMap<UnitId, (Vec<TestId>, Removed)> = BTreeMap::new();
        for &test in tests {
            let Some(unit) = self.catalog.unit_at(test, worker) else {
                self.leave_try(now, worker, test);
                continue;
            };
            let Some(removed) = self.leave_queue(now, worker, unit, Entry::test(test)) else { continue };
            if self.second_takes_over(test) {
                continue;
            }
            self.catalog.set_place(test, Place::Unassigned);
            let (of_unit, last) = returned.entry(unit).or_insert_with(|| (Vec::new(), removed));
            of_unit.push(test);
            *last = removed;
        }
        for (mut of_unit, removed) in returned.into_values() {
            let is_held = self.fleet.get(worker).is_some_and(|state| state.status == Status::Held);
            let is_whole = self.grouping.splits_begun() || (removed.emptied && !removed.begun);
            let goes = |tie: &Tie| self.is_leaving(worker) || (is_held && is_whole && *tie == Tie::Apart);
            match self.tie_of_returned(removed).filter(|tie| !goes(tie)) {
                Some(tie) if self.phase == Phase::Running => {
                    of_unit.sort_unstable();
                    self.give_tests(now, worker, &of_unit, tie);
                }
                _ => {
                    useful = true;
                    for test in of_unit {
                        self.pool_test(test);
                    }
                }
            }
        }
        if let Some(state) = self.fleet.live_mut(worker) {
            state.barren = asked.is_some() && !useful && !given_since;
            state.offered = asked.is_some_and(|recall| recall.thieves > 0) && useful;
        }
        self.touched.insert(worker);
        Verdict::Accepted
    }

    /// Why returned tests must go back to where they came from, if they must.
    fn tie_of_returned(&self, removed: Removed) -> Option<Tie> {
        let whole = removed.emptied && !removed.begun;
        match removed.tie {
            Tie::OnlyHere => Some(Tie::OnlyHere),
            Tie::Apart => Some(Tie::Apart),
            Tie::Begun => Some(Tie::Begun),
            Tie::Second => None,
            Tie::Free if self.grouping.splits_begun() || whole => None,
            Tie::Free => Some(Tie::Begun),
        }
    }

    pub(super) fn missing(&mut self, now: Time, worker: WorkerId, tests: &[TestId]) -> Verdict {
        let mut again: BTreeMap<WorkerId, Vec<TestId>> = BTreeMap::new();
        let mut verdict = Verdict::Stale;
        for &test in tests {
            let Some(unit) = self.catalog.unit_at(test, worker) else {
                self.leave_try(now, worker, test);
                continue;
            };
            verdict = Verdict::Accepted;
            self.leave_queue(now, worker, unit, Entry::test(test));
            if self.second_takes_over(test) {
                continue;
            }
            self.catalog.set_place(test, Place::Unassigned);
            match self.home(test.file) {
                _ if self.phase != Phase::Running => {}
                _ if self.is_apart(test) => self.await_home(test, worker),
                Some(home) if home.worker != worker => again.entry(home.worker).or_default().push(test),
                Some(_) => self.give_up_test(test, GiveUpReason::NotFound),
                None => self.await_home(test, worker),
            }
        }
        for (home, mut tests) in again {
            tests.sort_unstable();
            self.give_tests(now, home, &tests, Tie::OnlyHere);
        }
        self.news_from(worker);
        verdict
    }

    /// Takes an entry out of a worker's queue. The caller says where it goes.
    pub(super) fn leave_queue(&mut self, now: Time, worker: WorkerId, unit: UnitId, entry: Entry) -> Option<Removed> {
        let estimate = match entry.step {
            Step::Collect => self.catalog.expectation(entry.file),
            Step::Test(index) => self.catalog.estimate(TestId { file: entry.file, index }),
        };
        let state = self.fleet.live_mut(worker)?;
        let removed = state.queue.remove(unit, entry, estimate)?;
        if removed.was_head {
            state.leave_head(now);
        }
        self.touched.insert(worker);
        Some(removed)
    }

    fn news_from(&mut self, worker: WorkerId) {
        if let Some(state) = self.fleet.live_mut(worker) {
            state.barren = false;
            self.touched.insert(worker);
        }
    }

    /// The process that collected this file, while it may be given work.
    pub(super) fn home(&self, file: FileId) -> Option<Process> {
        match self.catalog.file(file)?.stage {
            Stage::Collected { home } if self.fleet.serves(home) => Some(home),
            _ => None,
        }
    }

    /// A test that this worker couldn't find waits for the home of its file, if that is another.
    fn await_home(&mut self, test: TestId, worker: WorkerId) {
        match self.employed_home(test.file).filter(|home| home.worker != worker) {
            Some(home) => self.put_apart_for(test, home),
            None => self.give_up_test(test, GiveUpReason::NotFound),
        }
    }

    /// The same, even if it is held for now.
    fn employed_home(&self, file: FileId) -> Option<Process> {
        match self.catalog.file(file)?.stage {
            Stage::Collected { home } if self.fleet.is_employed(home) => Some(home),
            _ => None,
        }
    }

    /// Who alone may run the tests of this file, wherever it was collected.
    fn keeper(&self, file: FileId) -> Option<WorkerId> {
        if self.runs_copies() { self.owner(file) } else { None }
    }

    pub(super) fn parcel(&self, test: TestId) -> ParcelId {
        let Some(record) = self.catalog.file(test.file) else { return ParcelId(test.file.0) };
        let bundle = record.bundles.get(test.index as usize).copied();
        self.grouping.parcel(test.file, record.tests_before + test.index, bundle)
    }

    /// Whether unassigned tests are in the pool by now: as soon as it is known with which others they go, and as long as any are to run.
    pub(super) fn pools(&self) -> bool {
        match self.phase {
            Phase::Running => true,
            Phase::Collecting => self.grouping.is_known_early(),
            Phase::Draining | Phase::Over(_) => false,
        }
    }

    /// How many tests may be given to this worker, or to anyone, by now.
    pub(super) fn ready(&self, home: Option<WorkerId>) -> u32 {
        if self.phase == Phase::Running { self.pool.tests_of(home) } else { 0 }
    }

    /// Puts an unassigned test where workers can be given it.
    pub(super) fn pool_test(&mut self, test: TestId) {
        if !self.pools() {
            return;
        }
        if self.is_apart(test) {
            return self.put_apart(test);
        }
        let home = self.home(test.file).map(|home| home.worker).or_else(|| self.keeper(test.file));
        match self.long(test) {
            Some(took) => {
                let parcel = self.dealing.new_parcel();
                self.pool.put_ranked(parcel, Rank::Dealt(Reverse(took)), home, test, Some(took));
            }
            None => self.pool.put(self.parcel(test), home, test, self.catalog.estimate(test)),
        }
        self.touched.extend(home);
    }

    pub(super) fn give_up_test(&mut self, test: TestId, reason: GiveUpReason) {
        self.test_is_final(test);
        self.actions.push_back(Action::GiveUp { subject: Subject::Test(test), reason });
    }

    pub(super) fn give_up_file(&mut self, file: FileId, reason: GiveUpReason) {
        self.catalog.set_stage(file, Stage::Uncollectable);
        self.actions.push_back(Action::GiveUp { subject: Subject::File(file), reason });
    }

    /// Counts failed collect reports, and stops executing if that is what they do.
    pub(super) fn collection_failed(&mut self, errors: u32) {
        self.catalog.errors += errors;
        self.count_failures(errors);
        let stops = errors > 0 && self.config.collection_errors == CollectionErrors::Stop;
        if stops && self.phase == Phase::Running {
            self.phase = Phase::Draining;
            self.pool.clear_tests();
            self.apart.clear();
            self.touched.extend(self.fleet.iter().map(|(worker, _)| worker));
        }
    }

    pub(super) fn parting(&self) -> Parting {
        self.grouping.parting()
    }
}
