//! Files that nobody has collected: urgent ones first, then the largest, and in the order in which they were found where they are even.
//!
//! Knows what it is told of them; whether that is true is nobody's concern here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::FileId;

/// What decides when a file's turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Weight {
    /// Its tests are to be dealt out, so everybody waits for their names.
    pub urgent: bool,
    pub size: Duration,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Unread {
    weights: BTreeMap<FileId, Weight>,
    by_weight: BTreeSet<(Reverse<Weight>, FileId)>,
}

impl Unread {
    pub fn insert(&mut self, file: FileId, weight: Weight) {
        self.remove(file);
        self.weights.insert(file, weight);
        self.by_weight.insert((Reverse(weight), file));
    }

    pub fn remove(&mut self, file: FileId) {
        if let Some(weight) = self.weights.remove(&file) {
            self.by_weight.remove(&(Reverse(weight), file));
        }
    }

    pub fn contains(&self, file: FileId) -> bool {
        self.weights.contains_key(&file)
    }

    pub fn first(&self) -> Option<(FileId, Weight)> {
        self.by_weight.first().map(|&(Reverse(weight), file)| (file, weight))
    }

    pub fn range(&self, files: RangeInclusive<FileId>) -> impl Iterator<Item = FileId> {
        self.weights.range(files).map(|(&file, _)| file)
    }

    pub fn files(&self) -> impl Iterator<Item = FileId> {
        self.weights.keys().copied()
    }

    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// All of them, as they were found.
    pub fn take_all(&mut self) -> impl Iterator<Item = FileId> + use<> {
        self.by_weight.clear();
        std::mem::take(&mut self.weights).into_keys()
    }
}
