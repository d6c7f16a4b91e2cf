//! What one worker has been sent and hasn't answered yet, in the order in which it will get to it.
//!
//! A mirror: results cross on the way, so the worker may be further than this shows, and never less far.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{FileId, TestId};

use super::pace::Load;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UnitId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Collect,
    Test(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub file: FileId,
    pub step: Step,
}

impl Entry {
    pub fn collect(file: FileId) -> Self {
        Entry { file, step: Step::Collect }
    }

    pub fn test(test: TestId) -> Self {
        Entry { file: test.file, step: Step::Test(test.index) }
    }
}

/// Whether a unit may leave its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tie {
    Free,
    /// The rest of a file that has begun here and must not be split.
    Begun,
    /// Not to run beside others: it is waited for here.
    Apart,
    /// Runs on another worker, too.
    Second,
    /// Another worker couldn't find these tests; this one collected their file first.
    OnlyHere,
}

/// What was handed out together.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub tie: Tie,
    /// One of its tests has run here.
    pub begun: bool,
    /// Always in the order of files and indices.
    entries: BTreeSet<Entry>,
    pub load: Load,
}

impl Unit {
    pub fn len(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().copied()
    }

    /// Whether nothing of it has been collected yet.
    pub fn is_uncollected(&self) -> bool {
        self.load.files == self.len()
    }

    pub fn first(&self) -> Option<Entry> {
        self.entries.first().copied()
    }

    pub fn last(&self) -> Option<Entry> {
        self.entries.last().copied()
    }
}

/// How an entry left the queue, as far as its unit is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removed {
    pub tie: Tie,
    pub begun: bool,
    /// It was the last of its unit.
    pub emptied: bool,
    /// It was the one that the worker was at.
    pub was_head: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    units: BTreeMap<UnitId, Unit>,
    opened: u64,
    len: u32,
}

impl Queue {
    pub fn len(&self) -> u32 {
        self.len
    }

    pub fn units(&self) -> impl DoubleEndedIterator<Item = (UnitId, &Unit)> {
        self.units.iter().map(|(&id, unit)| (id, unit))
    }

    pub fn head(&self) -> Option<Entry> {
        self.units.first_key_value()?.1.first()
    }

    /// How many units there have ever been.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// A new unit at the end. It is there once it has an entry.
    pub fn open(&mut self, tie: Tie) -> UnitId {
        let id = UnitId(self.opened);
        self.opened += 1;
        let unit = Unit { tie, begun: false, entries: BTreeSet::new(), load: Load::default() };
        self.units.insert(id, unit);
        id
    }

    /// What is removed has to be removed with the estimate that it was inserted with.
    pub fn insert(&mut self, id: UnitId, entry: Entry, estimate: Option<Duration>) {
        let Some(unit) = self.units.get_mut(&id) else { return };
        if !unit.entries.insert(entry) {
            return;
        }
        self.len += 1;
        match entry.step {
            Step::Collect => unit.load.add_file(estimate),
            Step::Test(_) => unit.load.add_test(estimate),
        }
    }

    pub fn remove(&mut self, id: UnitId, entry: Entry, estimate: Option<Duration>) -> Option<Removed> {
        let was_head =
            self.units.first_key_value().is_some_and(|(&first, unit)| first == id && unit.first() == Some(entry));
        let unit = self.units.get_mut(&id)?;
        if !unit.entries.remove(&entry) {
            return None;
        }
        self.len -= 1;
        match entry.step {
            Step::Collect => unit.load.remove_file(estimate),
            Step::Test(_) => unit.load.remove_test(estimate),
        }
        let removed = Removed { tie: unit.tie, begun: unit.begun, emptied: unit.entries.is_empty(), was_head };
        if removed.emptied {
            self.units.remove(&id);
        }
        Some(removed)
    }

    pub fn mark_begun(&mut self, id: UnitId) {
        if let Some(unit) = self.units.get_mut(&id) {
            unit.begun = true;
        }
    }

    /// Everything that is left, in order.
    pub fn drain(&mut self) -> Vec<Entry> {
        self.len = 0;
        std::mem::take(&mut self.units).into_values().flat_map(|unit| unit.entries).collect()
    }
}
