//! Files that nobody has collected: urgent ones first, then the largest, and in the order in which they were found where they are even.
//!
//! Knows what it is told of them; whether that is true is nobody's concern here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::FileId;

use super::copies::Copies;

/// What decides when a file's turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Weight {
    /// Its tests are to be dealt out, so everybody waits for their names.
    pub urgent: bool,
    pub size: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Unread {
    copies: Copies,
    weights: BTreeMap<FileId, Weight>,
    /// For each copy of the suite.
    by_weight: Vec<BTreeSet<(Reverse<Weight>, FileId)>>,
}

impl Unread {
    pub fn new(copies: Copies) -> Self {
        Unread { copies, weights: BTreeMap::new(), by_weight: vec![BTreeSet::new(); copies.count() as usize] }
    }

    fn of(&mut self, file: FileId) -> &mut BTreeSet<(Reverse<Weight>, FileId)> {
        &mut self.by_weight[self.copies.copy(file) as usize]
    }

    pub fn insert(&mut self, file: FileId, weight: Weight) {
        self.remove(file);
        self.weights.insert(file, weight);
        self.of(file).insert((Reverse(weight), file));
    }

    pub fn remove(&mut self, file: FileId) {
        if let Some(weight) = self.weights.remove(&file) {
            self.of(file).remove(&(Reverse(weight), file));
        }
    }

    pub fn contains(&self, file: FileId) -> bool {
        self.weights.contains_key(&file)
    }

    /// Where there is one copy of the suite.
    pub fn first(&self) -> Option<(FileId, Weight)> {
        self.first_of(0)
    }

    pub fn first_of(&self, copy: u32) -> Option<(FileId, Weight)> {
        self.by_weight.get(copy as usize)?.first().map(|&(Reverse(weight), file)| (file, weight))
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

    /// All of a copy, as they were found.
    pub fn take_all(&mut self, copy: u32) -> BTreeSet<FileId> {
        let files = self.by_weight.get_mut(copy as usize).map(std::mem::take).unwrap_or_default();
        let files: BTreeSet<FileId> = files.into_iter().map(|(_, file)| file).collect();
        for file in &files {
            self.weights.remove(file);
        }
        files
    }
}
