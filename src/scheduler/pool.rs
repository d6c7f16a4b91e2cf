//! Work that is at no worker: files nobody has collected, and parcels of collected tests.
//!
//! Remembers which worker has a parcel's file imported, so that it can be offered there first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{FileId, TestId, WorkerId};

use super::copies::Copies;
use super::grouping::ParcelId;
use super::pace::Load;
use super::unread::Unread;

#[derive(Clone, Debug)]
struct Parcel {
    tests: BTreeMap<TestId, Option<Duration>>,
    home: Option<WorkerId>,
    rank: Rank,
}

/// In which order parcels are handed out: those that were dealt, the longest first; then the others as they are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Dealt(Reverse<Duration>),
    AsNumbered,
}

#[derive(Clone, Debug, Default)]
struct Shelf {
    parcels: BTreeSet<(Rank, ParcelId)>,
    tests: u32,
    load: Load,
}

/// From which end of a parcel tests are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Front,
    Back,
}

#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub unread: Unread,
    parcels: BTreeMap<ParcelId, Parcel>,
    /// Parcels by home; `None` holds those whose home is gone.
    shelves: BTreeMap<Option<WorkerId>, Shelf>,
}

impl Pool {
    pub fn new(copies: Copies) -> Self {
        Pool { unread: Unread::new(copies), parcels: BTreeMap::new(), shelves: BTreeMap::new() }
    }

    /// A parcel keeps the home that its first test brought.
    pub fn put(&mut self, parcel: ParcelId, home: Option<WorkerId>, test: TestId, estimate: Option<Duration>) {
        self.put_ranked(parcel, Rank::AsNumbered, home, test, estimate);
    }

    /// The same; a parcel also keeps its first rank.
    pub fn put_ranked(
        &mut self,
        parcel: ParcelId,
        rank: Rank,
        home: Option<WorkerId>,
        test: TestId,
        estimate: Option<Duration>,
    ) {
        let entry = self.parcels.entry(parcel).or_insert_with(|| Parcel { tests: BTreeMap::new(), home, rank });
        if entry.tests.insert(test, estimate).is_none() {
            let shelf = self.shelves.entry(entry.home).or_default();
            shelf.parcels.insert((entry.rank, parcel));
            shelf.tests += 1;
            shelf.load.add_test(estimate);
        }
    }

    /// Takes up to `count` tests from one end of a parcel, in order.
    pub fn take(&mut self, parcel: ParcelId, count: u32, end: End) -> Vec<TestId> {
        let Some(entry) = self.parcels.get_mut(&parcel) else { return Vec::new() };
        let Some(shelf) = self.shelves.get_mut(&entry.home) else { return Vec::new() };
        let mut taken = Vec::new();
        for _ in 0..count {
            let next = match end {
                End::Front => entry.tests.pop_first(),
                End::Back => entry.tests.pop_last(),
            };
            let Some((test, estimate)) = next else { break };
            shelf.tests -= 1;
            shelf.load.remove_test(estimate);
            taken.push(test);
        }
        if end == End::Back {
            taken.reverse();
        }
        if entry.tests.is_empty() {
            shelf.parcels.remove(&(entry.rank, parcel));
            if shelf.parcels.is_empty() {
                self.shelves.remove(&entry.home);
            }
            self.parcels.remove(&parcel);
        }
        taken
    }

    /// The worker is gone: its parcels are anyone's.
    pub fn disown(&mut self, worker: WorkerId) {
        let Some(shelf) = self.shelves.remove(&Some(worker)) else { return };
        for (_, parcel) in &shelf.parcels {
            if let Some(entry) = self.parcels.get_mut(parcel) {
                entry.home = None;
            }
        }
        let orphans = self.shelves.entry(None).or_default();
        orphans.tests += shelf.tests;
        orphans.load += shelf.load;
        orphans.parcels.extend(shelf.parcels);
    }

    /// What was anyone's of these files is the worker's own from now on.
    pub fn adopt(&mut self, worker: WorkerId, is_its_own: impl Fn(FileId) -> bool) {
        for parcel in self.orphans(is_its_own) {
            let Some(Parcel { tests, rank, .. }) = self.parcels.get(&parcel).cloned() else { continue };
            self.take(parcel, u32::MAX, End::Front);
            for (test, estimate) in tests {
                self.put_ranked(parcel, rank, Some(worker), test, estimate);
            }
        }
    }

    /// Takes out what is anyone's of these files.
    pub fn take_orphans(&mut self, are_wanted: impl Fn(FileId) -> bool) -> Vec<TestId> {
        let mut taken = Vec::new();
        for parcel in self.orphans(are_wanted) {
            taken.extend(self.take(parcel, u32::MAX, End::Front));
        }
        taken
    }

    /// Parcels that are anyone's and of such files.
    fn orphans(&self, are_wanted: impl Fn(FileId) -> bool) -> Vec<ParcelId> {
        let of = |parcel: &ParcelId| self.parcels.get(parcel)?.tests.first_key_value().map(|(test, _)| test.file);
        let orphans = self.shelves.get(&None).into_iter().flat_map(|shelf| &shelf.parcels);
        orphans.map(|&(_, parcel)| parcel).filter(|parcel| of(parcel).is_some_and(&are_wanted)).collect()
    }

    /// The number of tests whose home is this worker, or nobody.
    pub fn tests_of(&self, home: Option<WorkerId>) -> u32 {
        self.shelves.get(&home).map_or(0, |shelf| shelf.tests)
    }

    pub fn load_of(&self, home: Option<WorkerId>) -> Load {
        self.shelves.get(&home).map(|shelf| shelf.load).unwrap_or_default()
    }

    pub fn first_of(&self, home: Option<WorkerId>) -> Option<ParcelId> {
        Some(self.shelves.get(&home)?.parcels.first()?.1)
    }

    pub fn last_of(&self, home: Option<WorkerId>) -> Option<ParcelId> {
        Some(self.shelves.get(&home)?.parcels.last()?.1)
    }

    /// How long the first parcel takes that was dealt and is anyone's.
    pub fn first_dealt(&self) -> Option<Duration> {
        match self.shelves.get(&None)?.parcels.first()?.0 {
            Rank::Dealt(Reverse(size)) => Some(size),
            Rank::AsNumbered => None,
        }
    }

    pub fn last_test(&self, parcel: ParcelId) -> Option<TestId> {
        self.parcels.get(&parcel)?.tests.keys().next_back().copied()
    }

    /// Empties the pool of tests; files stay.
    pub fn clear_tests(&mut self) -> Vec<TestId> {
        self.shelves.clear();
        std::mem::take(&mut self.parcels).into_values().flat_map(|parcel| parcel.tests.into_keys()).collect()
    }

    pub fn tests(&self) -> impl Iterator<Item = (TestId, Option<WorkerId>)> {
        self.parcels.values().flat_map(|parcel| parcel.tests.keys().map(|&test| (test, parcel.home)))
    }
}
