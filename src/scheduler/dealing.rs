//! Who is to run which tests, where it is known beforehand how long they take.
//!
//! Deals tests into the pool: kept for a worker, or anyone's, the longest first. It gives nothing out, and what it gets wrong is put
//! right by stealing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{FileId, TestId, WorkerId};

use super::grouping::{Grouping, ParcelId, Parting};
use super::pool::Rank;
use super::time::Time;
use super::{Phase, Scheduler};

/// A test that takes more than one in so many parts of a worker's share is placed by itself; shorter ones keep the order of their file.
const PARTS: u32 = 8;
/// Beyond this many tests the order of the files does, and dealing all at once would take too long.
const MOST_AT_ONCE: usize = 20_000;
/// Parcels that are dealt are numbered from here, beyond those of files.
const FIRST_PARCEL: u32 = 1 << 31;

/// How much each worker has to do, the least loaded first.
struct Loads {
    by_worker: BTreeMap<WorkerId, Duration>,
    by_load: BTreeSet<(Duration, WorkerId)>,
}

impl Loads {
    fn new(loads: impl Iterator<Item = (WorkerId, Duration)>) -> Self {
        let by_worker: BTreeMap<WorkerId, Duration> = loads.collect();
        let by_load = by_worker.iter().map(|(&worker, &load)| (load, worker)).collect();
        Loads { by_worker, by_load }
    }

    fn of(&self, worker: WorkerId) -> Option<Duration> {
        self.by_worker.get(&worker).copied()
    }

    fn least(&self) -> Option<(Duration, WorkerId)> {
        self.by_load.first().copied()
    }

    fn add(&mut self, worker: WorkerId, work: Duration) {
        if let Some(load) = self.by_worker.get_mut(&worker) {
            self.by_load.remove(&(*load, worker));
            *load += work;
            self.by_load.insert((*load, worker));
        }
    }
}

impl Scheduler {
    /// Whether single tests may go anywhere.
    fn deals(&self) -> bool {
        matches!(self.grouping, Grouping::ByFile(Parting::Divisible)) && self.phase == Phase::Running
    }

    /// The part of each worker, if all that is foretold were shared evenly.
    fn share(&self) -> Option<Duration> {
        self.catalog.fair_share(self.fleet.serving.max(self.config.planned_workers).max(1))
    }

    /// Whether the tests of this file are too much for whoever collects it, or one of them is too long to wait for its turn: then
    /// they are dealt once they are known.
    pub(super) fn is_to_be_dealt(&self, file: FileId) -> bool {
        let forecast = self.catalog.file(file).and_then(|record| record.forecast);
        let Some((forecast, share)) = forecast.zip(self.share()) else { return false };
        let alone = forecast.longest >= forecast.tests;
        self.deals()
            && self.catalog.listed
            && !alone
            && (forecast.tests > share / 2 || forecast.longest > share / PARTS.div_ceil(2))
    }

    /// Deals what has become known since the last time.
    pub(super) fn deal(&mut self, now: Time) {
        if std::mem::take(&mut self.deal_again) && self.phase == Phase::Running {
            let waiting = self.pool.tests().count();
            if (1..=MOST_AT_ONCE).contains(&waiting) {
                let tests = self.pool.clear_tests();
                if !self.deal_at(now, &tests) {
                    for test in tests {
                        self.pool_test(test);
                    }
                }
                let serving: Vec<WorkerId> = self.fleet.iter().map(|(worker, _)| worker).collect();
                for worker in serving {
                    self.refile(worker);
                }
            }
        }
        for file in std::mem::take(&mut self.deal_later) {
            self.deal_file(file);
        }
    }

    /// Deals all tests at once, before any has begun. False if too little is known for that.
    pub(super) fn deal_whole(&mut self, tests: &[TestId]) -> bool {
        self.dealt_whole = self.deal_at(Time::START, tests);
        self.dealt_whole
    }

    /// The longest first, each to the worker that has imported its file if that leaves it within its share, else to whoever has
    /// least to do.
    fn deal_at(&mut self, now: Time, tests: &[TestId]) -> bool {
        let estimates: Option<Vec<Duration>> = tests.iter().map(|&test| self.catalog.estimate(test)).collect();
        let Some(estimates) = estimates.filter(|_| self.deals() && tests.len() <= MOST_AT_ONCE) else { return false };
        let mut loads = Loads::new(self.fleet.iter().filter_map(|(worker, state)| {
            self.fleet.serving(worker)?;
            let queue = state.queue.units().filter_map(|(_, unit)| self.unit_cost(unit)).sum::<Duration>();
            Some((worker, queue.saturating_sub(now.since(state.head_since))))
        }));
        let workers = u32::try_from(loads.by_worker.len()).unwrap_or(u32::MAX);
        let work = estimates.iter().sum::<Duration>() + loads.by_worker.values().sum::<Duration>();
        let Some(mut share) = work.checked_div(workers) else { return false };
        let mut order: Vec<(Duration, TestId)> = estimates.into_iter().zip(tests.iter().copied()).collect();
        order.sort_unstable_by_key(|&(took, test)| (Reverse(took), test));
        share = share.max(order.first().map_or(Duration::ZERO, |&(longest, _)| longest));
        let single = share / PARTS;
        let mut importers: BTreeMap<FileId, Vec<WorkerId>> = BTreeMap::new();
        let mut parcels: BTreeMap<(WorkerId, FileId), ParcelId> = BTreeMap::new();
        for (took, test) in order {
            let home = self.home(test.file).map(|home| home.worker);
            let fits = |worker: &WorkerId| loads.of(*worker).is_some_and(|load| load + took <= share);
            let known = importers.get(&test.file).into_iter().flatten();
            let near = home.iter().chain(known).find(|worker| fits(worker)).copied();
            let worker = match near {
                Some(worker) => worker,
                None => {
                    let Some((load, worker)) = loads.least() else { return false };
                    let known = importers.entry(test.file).or_default();
                    if home != Some(worker) && !known.contains(&worker) {
                        known.push(worker);
                        let import = self.catalog.file(test.file).map_or(Duration::ZERO, |record| record.import);
                        loads.add(worker, import);
                    }
                    share = share.max(load + took);
                    worker
                }
            };
            loads.add(worker, took);
            if took > single {
                let parcel = self.new_parcel();
                self.pool.put_ranked(parcel, Rank::Dealt(Reverse(took)), Some(worker), test, Some(took));
            } else {
                let parcel = *parcels.entry((worker, test.file)).or_insert_with(|| self.new_parcel());
                self.pool.put(parcel, Some(worker), test, Some(took));
            }
            self.touched.insert(worker);
        }
        true
    }

    /// The tests of a file that is too large for one: long ones by themselves, the rest in pieces; its home keeps its share of them, and
    /// everything else is anyone's.
    fn deal_file(&mut self, file: FileId) {
        let Some(record) = self.catalog.file(file) else { return };
        let count = u32::try_from(record.tests.len()).unwrap_or(u32::MAX);
        let tests = (0..count).map(|index| TestId { file, index });
        let import = record.import;
        let Some(share) = self.share().filter(|_| self.deals()) else {
            for test in tests {
                self.pool_test(test);
            }
            return;
        };
        let piece = (share / PARTS.div_ceil(2)).max(import);
        let mut pieces: Vec<(Duration, Vec<TestId>)> = Vec::new();
        let (mut sum, mut short) = (Duration::ZERO, Vec::new());
        for test in tests {
            let took = self.catalog.estimate(test).or_else(|| self.catalog.pace(file)).unwrap_or_default();
            if took > piece {
                pieces.push((took, vec![test]));
                continue;
            }
            if sum + took > piece {
                pieces.push((std::mem::take(&mut sum), std::mem::take(&mut short)));
            }
            sum += took;
            short.push(test);
        }
        pieces.push((sum, short));
        pieces.sort_unstable_by_key(|(took, tests)| (Reverse(*took), tests.first().copied()));
        let home = self.home(file).map(|home| home.worker);
        let mut kept = Duration::ZERO;
        for (position, (took, tests)) in pieces.into_iter().filter(|(_, tests)| !tests.is_empty()).enumerate() {
            let keeps = position == 0 || kept + took + import <= share;
            let keeper = home.filter(|_| keeps);
            kept += if keeper.is_some() { took } else { Duration::ZERO };
            let parcel = self.new_parcel();
            for test in tests {
                let estimate = self.catalog.estimate(test);
                self.pool.put_ranked(parcel, Rank::Dealt(Reverse(took)), keeper, test, estimate);
            }
        }
        self.touched.extend(home);
        if let Some(home) = home {
            self.refile(home);
        }
    }

    fn new_parcel(&mut self) -> ParcelId {
        self.dealt_parcels += 1;
        ParcelId(FIRST_PARCEL.saturating_add(self.dealt_parcels))
    }
}
