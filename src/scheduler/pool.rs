//! Work that is at no worker: files nobody has collected, and parcels of collected tests.
//!
//! Remembers which worker has a parcel's file imported, so that it can be offered there first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use crate::model::{FileId, TestId, WorkerId};

use super::copies::Copies;
use super::grouping::ParcelId;
use super::pace::Load;
use super::unread::Unread;

/// Greater than any test that there is.
const LAST: TestId = TestId { file: FileId(u32::MAX), index: u32::MAX };

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
    /// Those of which it is known how long they take.
    by_length: BTreeMap<(Duration, TestId), ParcelId>,
}

impl Shelf {
    fn add(&mut self, estimate: Option<Duration>) {
        self.tests += 1;
        self.load.add_test(estimate);
    }

    fn remove(&mut self, test: TestId, estimate: Option<Duration>) {
        self.tests -= 1;
        self.load.remove_test(estimate);
        if let Some(took) = estimate {
            self.by_length.remove(&(took, test));
        }
    }
}

/// Workers are numbered on from 0.
fn place(home: Option<WorkerId>) -> usize {
    home.map_or(0, |worker| worker.0 as usize + 1)
}

fn shelf_of(shelves: &mut Vec<Shelf>, home: Option<WorkerId>) -> &mut Shelf {
    let place = place(home);
    if shelves.len() <= place {
        shelves.resize_with(place + 1, Shelf::default);
    }
    &mut shelves[place]
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
    /// Parcels by home; the first holds those whose home is gone.
    shelves: Vec<Shelf>,
    divided: bool,
}

impl Pool {
    /// If tests are `divided`, they are found by their length as well.
    pub fn new(copies: Copies, divided: bool) -> Self {
        Pool { unread: Unread::new(copies), parcels: BTreeMap::new(), shelves: Vec::new(), divided }
    }

    fn shelf(&self, home: Option<WorkerId>) -> Option<&Shelf> {
        self.shelves.get(place(home))
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
            let shelf = shelf_of(&mut self.shelves, entry.home);
            shelf.parcels.insert((entry.rank, parcel));
            shelf.add(estimate);
            shelf.by_length.extend(estimate.filter(|_| self.divided).map(|took| ((took, test), parcel)));
        }
    }

    /// Takes up to `count` tests from one end of a parcel, in order.
    pub fn take(&mut self, parcel: ParcelId, count: u32, end: End) -> Vec<TestId> {
        let Some(entry) = self.parcels.get_mut(&parcel) else { return Vec::new() };
        let shelf = shelf_of(&mut self.shelves, entry.home);
        let mut taken = Vec::new();
        for _ in 0..count {
            let next = match end {
                End::Front => entry.tests.pop_first(),
                End::Back => entry.tests.pop_last(),
            };
            let Some((test, estimate)) = next else { break };
            shelf.remove(test, estimate);
            taken.push(test);
        }
        if end == End::Back {
            taken.reverse();
        }
        self.tidy(parcel);
        taken
    }

    /// Takes a test that is kept for this worker and known to take so long.
    pub fn take_one(&mut self, home: WorkerId, took: Duration, test: TestId) {
        let shelf = shelf_of(&mut self.shelves, Some(home));
        let Some(&parcel) = shelf.by_length.get(&(took, test)) else { return };
        let Some(entry) = self.parcels.get_mut(&parcel) else { return };
        entry.tests.remove(&test);
        shelf.remove(test, Some(took));
        self.tidy(parcel);
    }

    /// Forgets a parcel that is empty.
    fn tidy(&mut self, parcel: ParcelId) {
        let Some(entry) = self.parcels.get(&parcel).filter(|entry| entry.tests.is_empty()) else { return };
        let shelf = shelf_of(&mut self.shelves, entry.home);
        shelf.parcels.remove(&(entry.rank, parcel));
        if shelf.parcels.is_empty() {
            *shelf = Shelf::default();
        }
        self.parcels.remove(&parcel);
    }

    /// Whether what is put into this parcel is kept for this worker.
    pub fn is_kept_for(&self, parcel: ParcelId, home: WorkerId) -> bool {
        self.parcels.get(&parcel).is_none_or(|known| known.home == Some(home))
    }

    /// Tests that are kept for this worker and take longer.
    pub fn longer_than(&self, home: WorkerId, least: Duration) -> impl DoubleEndedIterator<Item = (Duration, TestId)> {
        let shelf = self.shelf(Some(home)).into_iter();
        shelf.flat_map(move |shelf| shelf.by_length.range((Excluded((least, LAST)), Unbounded))).map(|(&key, _)| key)
    }

    /// The longest test that is kept for this worker and takes no longer.
    pub fn longest_of(&self, home: WorkerId, most: Duration) -> Option<(Duration, TestId)> {
        let shelf = self.shelf(Some(home))?;
        shelf.by_length.range(..=(most, LAST)).next_back().map(|(&key, _)| key)
    }

    /// The shortest test that is kept for this worker and takes longer.
    pub fn shortest_of(&self, home: WorkerId, least: Duration) -> Option<(Duration, TestId)> {
        let shelf = self.shelf(Some(home))?;
        shelf.by_length.range((Excluded((least, LAST)), Unbounded)).next().map(|(&key, _)| key)
    }

    /// The worker is gone: its parcels are anyone's.
    pub fn disown(&mut self, worker: WorkerId) {
        let shelf = std::mem::take(shelf_of(&mut self.shelves, Some(worker)));
        for (_, parcel) in &shelf.parcels {
            if let Some(entry) = self.parcels.get_mut(parcel) {
                entry.home = None;
            }
        }
        let orphans = shelf_of(&mut self.shelves, None);
        orphans.tests += shelf.tests;
        orphans.load += shelf.load;
        orphans.parcels.extend(shelf.parcels);
        orphans.by_length.extend(shelf.by_length);
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
        let orphans = self.shelf(None).into_iter().flat_map(|shelf| &shelf.parcels);
        orphans.map(|&(_, parcel)| parcel).filter(|parcel| of(parcel).is_some_and(&are_wanted)).collect()
    }

    /// The number of tests whose home is this worker, or nobody.
    pub fn tests_of(&self, home: Option<WorkerId>) -> u32 {
        self.shelf(home).map_or(0, |shelf| shelf.tests)
    }

    pub fn load_of(&self, home: Option<WorkerId>) -> Load {
        self.shelf(home).map(|shelf| shelf.load).unwrap_or_default()
    }

    pub fn first_of(&self, home: Option<WorkerId>) -> Option<ParcelId> {
        Some(self.shelf(home)?.parcels.first()?.1)
    }

    pub fn last_of(&self, home: Option<WorkerId>) -> Option<ParcelId> {
        Some(self.shelf(home)?.parcels.last()?.1)
    }

    /// How long the first parcel takes that is kept for this worker, or is anyone's, if it was dealt.
    pub fn first_dealt(&self, home: Option<WorkerId>) -> Option<Duration> {
        match self.shelf(home)?.parcels.first()?.0 {
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
