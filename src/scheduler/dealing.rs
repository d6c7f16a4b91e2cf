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
use super::unread::Weight;
use super::{Phase, Scheduler};

/// A test that takes more than one in so many parts of a worker's share is placed by itself; shorter ones keep the order of their file.
const PARTS: u32 = 8;
/// Tests that take less than one in so many parts are dealt together with their neighbours.
const GRAINS: u32 = 128;
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

/// What is dealt to one worker.
struct Piece {
    took: Duration,
    /// All of one file, in order.
    tests: Vec<TestId>,
}

impl Scheduler {
    /// Whether single tests may go anywhere.
    fn deals(&self) -> bool {
        matches!(self.grouping, Grouping::ByFile(Parting::Divisible)) && self.phase == Phase::Running
    }

    /// The part of each worker, if all that is foretold were shared evenly.
    fn share(&self) -> Option<Duration> {
        let workers = self.fleet.serving.max(self.config.planned_workers).max(1);
        let share = self.catalog.fair_share(workers);
        let expected = self.config.expected.filter(|_| !self.catalog.listed).map(|expected| expected / workers);
        share.zip(expected).map(|(share, expected)| share.max(expected)).or(share.filter(|_| self.catalog.listed))
    }

    /// Whether the tests of this file are too much for whoever collects it, or one of them is too long to wait for its turn: then
    /// they are dealt once they are known.
    pub(super) fn is_to_be_dealt(&self, file: FileId) -> bool {
        let forecast = self.catalog.file(file).and_then(|record| record.forecast);
        let Some((forecast, share)) = forecast.zip(self.share()) else { return false };
        let alone = forecast.longest >= forecast.tests;
        self.deals() && !alone && (forecast.tests > share / 2 || forecast.longest > share / PARTS.div_ceil(2))
    }

    pub(super) fn weight(&self, file: FileId) -> Weight {
        Weight { urgent: self.is_to_be_dealt(file), size: self.catalog.size(file) }
    }

    /// Has files collected whose tests are to be dealt, before anybody begins with anything else.
    pub(super) fn give_urgent(&mut self, now: Time) {
        while let Some((file, weight)) = self.pool.unread.first()
            && weight.urgent
            && let Some(&worker) = self.fleet.idle.first()
        {
            self.give_files(now, worker, &[file]);
        }
    }

    /// Deals what has become known since the last time.
    pub(super) fn deal(&mut self, now: Time) {
        if std::mem::take(&mut self.deal_again) && self.phase == Phase::Running {
            self.deal_anew(now);
        }
        for file in std::mem::take(&mut self.deal_later) {
            let Some(record) = self.catalog.file(file) else { continue };
            let count = u32::try_from(record.tests.len()).unwrap_or(u32::MAX);
            let tests: Vec<TestId> = (0..count).map(|index| TestId { file, index }).collect();
            let share = self.share();
            if share.is_none_or(|share| !self.deal_out(now, &tests, Some(share))) {
                for test in tests {
                    self.pool_test(test);
                }
            }
        }
    }

    /// Deals all tests at once, before any has begun. False if too little is known for that.
    pub(super) fn deal_whole(&mut self, tests: &[TestId]) -> bool {
        self.dealt_whole = self.deal_out(Time::START, tests, None);
        self.dealt_whole
    }

    /// Somebody has come who got nothing: what is still at nobody is dealt once more.
    fn deal_anew(&mut self, now: Time) {
        let workers: BTreeSet<WorkerId> = self.pool.tests().filter_map(|(_, keeper)| keeper).collect();
        let tests = self.pool.clear_tests();
        if !self.deal_out(now, &tests, None) {
            for test in tests {
                self.pool_test(test);
            }
        }
        self.touched.extend(workers);
    }

    /// The longest first, each to a worker that has imported its file if that leaves it within its share, else to whoever has least to
    /// do. The share is that of these tests and all that was given out before, if none is named.
    fn deal_out(&mut self, now: Time, tests: &[TestId], share: Option<Duration>) -> bool {
        let known: Vec<Duration> = tests.iter().filter_map(|&test| self.catalog.estimate(test)).collect();
        if !self.deals() || known.is_empty() || known.len() * 2 < tests.len() {
            return false;
        }
        let mean = known.iter().sum::<Duration>() / u32::try_from(known.len()).unwrap_or(u32::MAX);
        let took = |scheduler: &Self, test| scheduler.catalog.estimate(test).unwrap_or(mean);
        let mut loads = self.loads(now);
        let workers = u32::try_from(loads.by_worker.len()).unwrap_or(u32::MAX);
        let work = tests.iter().map(|&test| took(self, test)).sum::<Duration>();
        let loaded = loads.by_worker.values().sum::<Duration>();
        let Some(even) = (work + loaded).checked_div(workers) else { return false };
        let mut share = share.unwrap_or(even);
        let pieces = self.pieces(tests, share, mean);
        share = share.max(pieces.first().map_or(Duration::ZERO, |piece| piece.took));
        let mut importers: BTreeMap<FileId, Vec<WorkerId>> = BTreeMap::new();
        let mut parcels: BTreeMap<(WorkerId, FileId), ParcelId> = BTreeMap::new();
        for Piece { took, tests } in pieces {
            let Some(file) = tests.first().map(|test| test.file) else { continue };
            let home = self.home(file).map(|home| home.worker);
            let fits = |worker: &WorkerId| loads.of(*worker).is_some_and(|load| load + took <= share);
            let known = importers.get(&file).into_iter().flatten();
            let near = home.iter().chain(known).find(|worker| fits(worker)).copied();
            let Some(worker) = near.or(loads.least().map(|(_, worker)| worker)) else { return false };
            if near.is_none() {
                let known = importers.entry(file).or_default();
                if home != Some(worker) && !known.contains(&worker) {
                    known.push(worker);
                    loads.add(worker, self.catalog.file(file).map_or(Duration::ZERO, |record| record.import));
                }
            }
            loads.add(worker, took);
            let (parcel, rank) = match tests.len() {
                1 if took > share / PARTS => (self.new_parcel(), Rank::Dealt(Reverse(took))),
                _ => (*parcels.entry((worker, file)).or_insert_with(|| self.new_parcel()), Rank::AsNumbered),
            };
            for test in tests {
                self.pool.put_ranked(parcel, rank, Some(worker), test, self.catalog.estimate(test));
            }
            self.touched.insert(worker);
        }
        true
    }

    /// What each worker that may be given work has to do by now.
    fn loads(&self, now: Time) -> Loads {
        Loads::new(self.fleet.iter().filter_map(|(worker, state)| {
            self.fleet.serving(worker)?;
            let queued = state.queue.units().filter_map(|(_, unit)| self.unit_cost(unit)).sum::<Duration>();
            let begun = if state.queue.len() > 0 { now.since(state.head_since) } else { Duration::ZERO };
            Some((worker, queued.saturating_sub(begun) + self.pool.load_of(Some(worker)).estimated))
        }))
    }

    /// The longest first: long tests by themselves, short ones with their neighbours.
    fn pieces(&self, tests: &[TestId], share: Duration, mean: Duration) -> Vec<Piece> {
        let small = share / GRAINS;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut open: Option<Piece> = None;
        for &test in tests {
            let took = self.catalog.estimate(test).unwrap_or(mean);
            if took > small {
                pieces.push(Piece { took, tests: vec![test] });
                continue;
            }
            match &mut open {
                Some(piece)
                    if piece.took + took <= small
                        && piece.tests.last().is_some_and(|other| other.file == test.file) =>
                {
                    piece.took += took;
                    piece.tests.push(test);
                }
                _ => pieces.extend(open.replace(Piece { took, tests: vec![test] })),
            }
        }
        pieces.extend(open);
        pieces.sort_by_key(|piece| Reverse(piece.took));
        pieces
    }

    fn new_parcel(&mut self) -> ParcelId {
        self.dealt_parcels += 1;
        ParcelId(FIRST_PARCEL.saturating_add(self.dealt_parcels))
    }
}
