//! Files that nobody has collected: the largest first, and in the order in which they were found where they are even.
//!
//! Knows sizes as it is told them; whether they are true is nobody's concern here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::FileId;

#[derive(Clone, Debug, Default)]
pub(super) struct Unread {
    sizes: BTreeMap<FileId, Duration>,
    by_size: BTreeSet<(Reverse<Duration>, FileId)>,
}

impl Unread {
    pub fn insert(&mut self, file: FileId, size: Duration) {
        self.remove(file);
        self.sizes.insert(file, size);
        self.by_size.insert((Reverse(size), file));
    }

    pub fn remove(&mut self, file: FileId) {
        if let Some(size) = self.sizes.remove(&file) {
            self.by_size.remove(&(Reverse(size), file));
        }
    }

    pub fn contains(&self, file: FileId) -> bool {
        self.sizes.contains_key(&file)
    }

    pub fn first(&self) -> Option<FileId> {
        Some(self.by_size.first()?.1)
    }

    /// The size of the first.
    pub fn first_size(&self) -> Duration {
        self.by_size.first().map_or(Duration::ZERO, |&(Reverse(size), _)| size)
    }

    pub fn range(&self, files: RangeInclusive<FileId>) -> impl Iterator<Item = FileId> {
        self.sizes.range(files).map(|(&file, _)| file)
    }

    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// All of them, as they were found.
    pub fn take_all(&mut self) -> impl Iterator<Item = FileId> + use<> {
        self.by_size.clear();
        std::mem::take(&mut self.sizes).into_keys()
    }
}
