//! Tests that don't run beside others: one at a time in the whole run, or alone on their machine.
//!
//! They wait here, not in the pool, and nobody takes them from whoever was given one. A machine on which one is to be alone is cleared first: what
//! waits there is fetched back, and what runs there is waited for. What stays together with a marked test is as that test.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{FileId, MachineId, TestId, WorkerId};

use super::catalog::{Place, Process};
use super::config::Mode;
use super::fleet::{Status, Worker};
use super::grouping::ParcelId;
use super::leaving::EVERYTHING;
use super::pool::End;
use super::queue::Tie;
use super::time::Time;
use super::{GiveUpReason, Phase, Scheduler, Verdict};

/// Among so many of those that wait it is looked for one whose worker is there.
const LOOKED_AT: usize = 64;

/// Beside which others a test may not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Marks {
    /// Other serial ones, wherever.
    pub serial: bool,
    /// Any others on the same machine.
    pub exclusive: bool,
}

impl Marks {
    pub fn any(self) -> bool {
        self.serial || self.exclusive
    }

    fn and(self, other: Marks) -> Marks {
        Marks { serial: self.serial || other.serial, exclusive: self.exclusive || other.exclusive }
    }
}

/// What is given out together: a single test, or all that stay together with it. Known by one of its tests, or by its parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Test(TestId),
    Parcel(ParcelId),
}

#[derive(Clone, Debug, Default)]
struct Unit {
    tests: BTreeSet<TestId>,
    marks: Marks,
    /// Another process couldn't find it.
    only: Option<Process>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Apart {
    waiting: BTreeMap<Key, Unit>,
    /// Of those that wait, the ones for which a machine is to be cleared.
    exclusive: BTreeSet<Key>,
    others: BTreeSet<Key>,
    /// Those that wait for one process alone.
    bound: BTreeSet<Key>,
    /// Serial tests that have been given to somebody.
    serial_given: BTreeSet<TestId>,
    /// Machines that are being cleared, or are used for the tests that have been given out there.
    reserved: BTreeMap<MachineId, BTreeSet<TestId>>,
    /// Parcels of which one test is marked.
    parcels: BTreeMap<ParcelId, Marks>,
}

impl Apart {
    pub fn is_reserved(&self, machine: MachineId) -> bool {
        self.reserved.contains_key(&machine)
    }

    /// The machine is gone, or about to.
    pub fn forget(&mut self, machine: MachineId) {
        self.reserved.remove(&machine);
    }

    pub fn tests(&self) -> impl Iterator<Item = TestId> {
        self.waiting.values().flat_map(|unit| unit.tests.iter().copied())
    }

    pub fn clear(&mut self) -> Vec<TestId> {
        self.exclusive.clear();
        self.bound.clear();
        self.others.clear();
        std::mem::take(&mut self.waiting).into_values().flat_map(|unit| unit.tests).collect()
    }

    fn put(&mut self, key: Key, test: TestId, marks: Marks) {
        let unit = self.waiting.entry(key).or_default();
        unit.tests.insert(test);
        unit.marks = unit.marks.and(marks);
        let (exclusive, others) = (&mut self.exclusive, &mut self.others);
        let _ = if unit.marks.exclusive { others.remove(&key) } else { others.insert(key) };
        if unit.marks.exclusive {
            exclusive.insert(key);
        }
    }

    fn take(&mut self, key: Key) -> Unit {
        self.exclusive.remove(&key);
        self.bound.remove(&key);
        self.others.remove(&key);
        self.waiting.remove(&key).unwrap_or_default()
    }
}

impl Scheduler {
    pub(super) fn marked(&mut self, file: FileId, marks: Vec<(u32, Marks)>) -> Verdict {
        match self.catalog.file_mut(file) {
            Some(record) if record.tests.is_empty() => {
                record.marks = marks.into_iter().filter(|(_, marks)| marks.any()).collect();
                Verdict::Accepted
            }
            _ => Verdict::Stale,
        }
    }

    /// Whether this test waits here when it is at nobody, and not in the pool.
    pub(super) fn is_apart(&self, test: TestId) -> bool {
        match self.stay_together() {
            Some(together) => self.apart.parcels.contains_key(&together(self, test)),
            None => self.marks(test).any(),
        }
    }

    fn marks(&self, test: TestId) -> Marks {
        self.catalog.file(test.file).and_then(|record| record.marks.get(&test.index)).copied().unwrap_or_default()
    }

    /// The marks of a file's tests hold for all that stay together with them.
    pub(super) fn spread_marks(&mut self, file: FileId) {
        let Some(record) = self.catalog.file(file).filter(|record| !record.marks.is_empty()) else { return };
        let Some(together) = self.stay_together() else { return };
        let marked: Vec<(TestId, Marks)> =
            record.marks.iter().map(|(&index, &marks)| (TestId { file, index }, marks)).collect();
        for (test, marks) in marked {
            let parcel = together(self, test);
            let known = self.apart.parcels.entry(parcel).or_default();
            *known = known.and(marks);
            if self.config.mode == Mode::Bundle {
                // Others of it may have been found before, in other files.
                for test in self.pool.take(parcel, u32::MAX, End::Front) {
                    self.put_apart(test);
                }
            }
        }
    }

    /// By what tests stay together, if they do. A chunk is only handed out as a whole.
    fn stay_together(&self) -> Option<fn(&Scheduler, TestId) -> ParcelId> {
        match self.config.mode {
            Mode::Bundle => Some(Scheduler::parcel),
            Mode::File => Some(|_, test| ParcelId(test.file.0)),
            Mode::Test | Mode::Each => None,
        }
    }

    /// Has a test wait that is at nobody.
    pub(super) fn put_apart(&mut self, test: TestId) {
        let (key, marks) = match self.stay_together() {
            Some(together) => {
                let parcel = together(self, test);
                (Key::Parcel(parcel), self.apart.parcels.get(&parcel).copied().unwrap_or_default())
            }
            None => (Key::Test(test), self.marks(test)),
        };
        self.apart.put(key, test, marks);
    }

    /// A worker couldn't find this test, which waits for its file's home now.
    pub(super) fn put_apart_for(&mut self, test: TestId, home: Process) {
        self.apart.put(Key::Test(test), test, self.marks(test));
        if let Some(unit) = self.apart.waiting.get_mut(&Key::Test(test)) {
            unit.only = Some(home);
            self.apart.bound.insert(Key::Test(test));
        }
    }

    /// Gives out what may run now, and clears machines for what is to be alone there.
    pub(super) fn give_apart(&mut self, now: Time) {
        if self.apart.waiting.is_empty() && self.apart.reserved.is_empty() && self.apart.serial_given.is_empty() {
            return;
        }
        let catalog = &self.catalog;
        let is_queued = |place: Place| matches!(place, Place::Queued { .. });
        let given = |test: &TestId| catalog.test(*test).is_some_and(|record| is_queued(record.place));
        self.apart.serial_given.retain(given);
        for tests in self.apart.reserved.values_mut() {
            tests.retain(given);
        }
        if self.phase != Phase::Running {
            for machine in self.apart.reserved.keys().copied().collect::<Vec<_>>() {
                self.release(machine);
            }
            return;
        }
        self.give_up_lost_homes();
        self.give_others(now);
        self.use_all_reserved(now);
        self.reserve();
        self.use_all_reserved(now);
    }

    fn use_all_reserved(&mut self, now: Time) {
        for machine in self.apart.reserved.keys().copied().collect::<Vec<_>>() {
            self.use_reserved(now, machine);
        }
    }

    fn give_up_lost_homes(&mut self) {
        let only = |key: &Key| self.apart.waiting.get(key).and_then(|unit| unit.only);
        let gone = |key: &&Key| !only(key).is_some_and(|only| self.fleet.is_employed(only));
        let lost: Vec<Key> = self.apart.bound.iter().filter(gone).copied().collect();
        for key in lost {
            for test in self.apart.take(key).tests {
                self.give_up_test(test, GiveUpReason::NotFound);
            }
        }
    }

    /// Whom alone this may be given.
    fn only(&self, unit: &Unit) -> Option<WorkerId> {
        let file = unit.tests.first()?.file;
        unit.only.map(|only| only.worker).or_else(|| if self.runs_copies() { self.last_owner(file) } else { None })
    }

    /// The next serial test goes to whoever has little to do; best to one that has imported its file. What waits for its home goes there.
    fn give_others(&mut self, now: Time) {
        while self.give_other(now) {}
    }

    fn give_other(&mut self, now: Time) -> bool {
        let may_be_serial = self.apart.serial_given.is_empty();
        let has_little = |worker: &WorkerId| self.fleet.idle.contains(worker) || self.fleet.low.contains(worker);
        let taker = |key: &Key| {
            let unit = self.apart.waiting.get(key).filter(|unit| may_be_serial || !unit.marks.serial)?;
            let file = unit.tests.first()?.file;
            if !unit.marks.any() {
                return self.only(unit).filter(|&worker| self.fleet.serving(worker).is_some());
            }
            if unit.only.is_some() || self.runs_copies() {
                return self.only(unit).filter(has_little);
            }
            let home = self.home(file).map(|home| home.worker).filter(has_little);
            let any = || self.fleet.idle_for(file).or(self.fleet.low.first().copied());
            home.or_else(any)
        };
        let found = self.apart.others.iter().take(LOOKED_AT).find_map(|&key| Some((key, taker(&key)?)));
        let Some((key, worker)) = found else { return false };
        let unit = self.apart.take(key);
        if unit.marks.serial {
            self.apart.serial_given.extend(&unit.tests);
        }
        self.give_unit(now, worker, &unit);
        true
    }

    fn give_unit(&mut self, now: Time, worker: WorkerId, unit: &Unit) {
        let tests: Vec<TestId> = unit.tests.iter().copied().collect();
        let tie = if unit.marks.any() { Tie::Apart } else { Tie::OnlyHere };
        self.give_tests(now, worker, &tests, tie);
    }

    /// Sets machines aside, one for each test that is to be alone on one: those first that have least to finish.
    fn reserve(&mut self) {
        let slot_is_free = self.apart.serial_given.is_empty();
        let waiting = self.apart.exclusive.iter().take(LOOKED_AT).filter_map(|key| self.apart.waiting.get(key));
        let (serial, others): (Vec<&Unit>, Vec<&Unit>) =
            waiting.filter(|unit| slot_is_free || !unit.marks.serial).partition(|unit| unit.marks.serial);
        let wishes: Vec<Option<WorkerId>> = serial.iter().take(1).chain(&others).map(|unit| self.only(unit)).collect();
        let clearing = self.apart.reserved.values().filter(|given| given.is_empty()).count();
        let mut wanted = wishes.len().saturating_sub(clearing);
        if wanted == 0 || self.apart.reserved.len() >= self.fleet.machines().count() {
            return;
        }
        let bound: BTreeSet<MachineId> =
            wishes.iter().flatten().filter_map(|&worker| Some(self.fleet.get(worker)?.machine)).collect();
        let is_free = wishes.iter().any(Option::is_none);
        let mut machines: Vec<(usize, MachineId)> = Vec::new();
        for (machine, workers) in self.fleet.machines() {
            let serving = workers.iter().filter_map(|&worker| self.fleet.serving(worker));
            let busy = serving.clone().filter(|state| state.queue.len() > 0).count();
            let may = (is_free || bound.contains(&machine)) && !self.apart.is_reserved(machine);
            if may && serving.count() > 0 {
                machines.push((busy, machine));
            }
        }
        machines.sort_unstable();
        for (_, machine) in machines {
            if wanted == 0 {
                return;
            }
            wanted -= 1;
            self.apart.reserved.insert(machine, BTreeSet::new());
            for worker in self.fleet.workers_of(machine) {
                self.fleet.hold(worker);
                self.pool.disown(worker);
                self.touched.insert(worker);
            }
        }
    }

    /// Clears a machine that is set aside, gives a test out there once it is clear, and lets it go when there is no more of them.
    fn use_reserved(&mut self, now: Time, machine: MachineId) {
        if self.apart.reserved.get(&machine).is_none_or(|given| !given.is_empty()) {
            return;
        }
        let workers = self.fleet.workers_of(machine);
        let held = |worker: &WorkerId| self.fleet.get(*worker).filter(|state| state.status == Status::Held);
        let is_clear = workers.iter().filter_map(held).all(|state| state.queue.len() == 0 && state.recall.is_none());
        let key = self.apart.exclusive.iter().take(LOOKED_AT).find(|key| self.may_run_there(key, machine)).copied();
        let Some(key) = key else { return self.release(machine) };
        if !is_clear {
            for worker in workers {
                self.clear(now, worker);
            }
            return;
        }
        let unit = &self.apart.waiting[&key];
        let near = |state: &Worker| unit.tests.first().is_some_and(|test| state.imported.contains(&test.file));
        let only = self.only(unit);
        let worker = only.or_else(|| {
            let mut held = workers.iter().filter_map(|worker| Some((*worker, held(worker)?)));
            held.clone().find(|(_, state)| near(state)).or_else(|| held.next()).map(|(worker, _)| worker)
        });
        // Its process may be on the way.
        let Some(worker) = worker.filter(|worker| self.fleet.get(*worker).is_some_and(|it| it.status == Status::Held))
        else {
            return if workers.iter().all(|&worker| self.fleet.get(worker).is_none_or(|it| it.status == Status::Gone)) {
                self.release(machine);
            };
        };
        let unit = self.apart.take(key);
        if unit.marks.serial {
            self.apart.serial_given.extend(&unit.tests);
        }
        self.apart.reserved.insert(machine, unit.tests.clone());
        self.give_unit(now, worker, &unit);
    }

    /// Whether this may be the next to be alone on this machine.
    fn may_run_there(&self, key: &Key, machine: MachineId) -> bool {
        let Some(unit) = self.apart.waiting.get(key) else { return false };
        let there = |worker: WorkerId| self.fleet.get(worker).is_some_and(|state| state.machine == machine);
        let may_be_there = self.only(unit).is_none_or(there);
        may_be_there && (!unit.marks.serial || self.apart.serial_given.is_empty())
    }

    /// Fetches back what waits at a worker whose machine is set aside.
    fn clear(&mut self, now: Time, worker: WorkerId) {
        let Some(state) = self.fleet.get(worker).filter(|state| state.status == Status::Held) else { return };
        if state.queue.len() > 0 && state.recall.is_none() && !state.swept {
            self.send_recall(now, worker, EVERYTHING, 0);
            self.fleet.mark_swept(worker);
        }
    }

    fn release(&mut self, machine: MachineId) {
        self.apart.reserved.remove(&machine);
        for worker in self.fleet.workers_of(machine) {
            self.fleet.let_go(worker);
            self.touched.insert(worker);
            let serves = self.fleet.serving(worker).is_some();
            if let Some(copy) = self.copy_of(worker).filter(|_| serves && self.runs_copies()) {
                let copies = self.owners.copies;
                self.pool.adopt(worker, |file| copies.copy(file) == copy);
            }
        }
    }

    /// Gives up those for which nobody is left.
    pub(super) fn give_up_apart(&mut self, nobody_for: impl Fn(&Self, FileId) -> bool) {
        let lost: Vec<TestId> = self.apart.tests().filter(|test| nobody_for(self, test.file)).collect();
        let keys: Vec<Key> = self.apart.waiting.keys().copied().collect();
        let lost: BTreeSet<TestId> = lost.into_iter().collect();
        for key in keys {
            if self.apart.waiting[&key].tests.iter().any(|test| lost.contains(test)) {
                for test in self.apart.take(key).tests {
                    self.give_up_test(test, GiveUpReason::NoWorkersLeft);
                }
            }
        }
    }
}
