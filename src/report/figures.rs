//! What can be counted on a timeline: outcomes, the slowest, the unsteady, the busy part of the run.

use std::{cmp::Reverse, collections::BTreeMap};

use super::timeline::{Kind, Ran, Span, Timeline};
use crate::model::event::Outcome;

/// A file's imports, over all workers.
pub struct Import<'a> {
    pub path: &'a str,
    pub times: usize,
    pub seconds: f64,
    pub longest: f64,
}

impl<'a> Timeline<'a> {
    pub fn outcomes(&self) -> BTreeMap<Outcome, usize> {
        let mut counts = BTreeMap::new();
        for ran in &self.tests {
            *counts.entry(ran.outcome()).or_default() += 1;
        }
        counts
    }

    pub fn failures(&self) -> impl Iterator<Item = (usize, &Ran<'a>)> {
        self.tests.iter().enumerate().filter(|(_, ran)| ran.outcome().is_failure())
    }

    /// Tests that a plugin had to run again.
    pub fn flaky(&self) -> Vec<(usize, &Ran<'a>)> {
        let mut found: Vec<_> = self.tests.iter().enumerate().filter(|(_, ran)| ran.test.reruns > 0).collect();
        found.sort_by_key(|(_, ran)| Reverse(ran.test.reruns));
        found
    }

    pub fn slowest(&self, count: usize) -> Vec<(usize, &Ran<'a>)> {
        let mut all: Vec<_> = self.tests.iter().enumerate().collect();
        all.sort_by(|(_, a), (_, b)| b.seconds().total_cmp(&a.seconds()));
        all.truncate(count);
        all
    }

    /// The costliest first.
    pub fn imports(&self) -> Vec<Import<'a>> {
        let mut by_path: BTreeMap<&str, Import<'a>> = BTreeMap::new();
        for span in self.spans().filter(|span| span.kind == Kind::Import) {
            let Some(&path) = span.subject.and_then(|subject| self.files.get(subject)) else { continue };
            let import = by_path.entry(path).or_insert(Import { path, times: 0, seconds: 0.0, longest: 0.0 });
            import.times += 1;
            import.seconds += span.seconds();
            import.longest = import.longest.max(span.seconds());
        }
        let mut imports: Vec<_> = by_path.into_values().collect();
        imports.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        imports
    }

    /// How long each kind took, over all workers; kinds that did not occur are left out.
    pub fn kinds(&self) -> Vec<(Kind, f64)> {
        let all = Kind::ALL.map(|kind| (kind, self.seconds(|other| other == kind)));
        all.into_iter().filter(|(_, seconds)| *seconds > 0.0).collect()
    }

    pub fn spans(&self) -> impl Iterator<Item = &Span> {
        self.workers.values().flat_map(|worker| &worker.spans)
    }

    /// From the first import, test or command to the end of the last.
    pub fn window(&self) -> (f64, f64) {
        let busy = || self.spans().filter(|span| is_busy(span.kind));
        let from = busy().map(|span| span.from).fold(f64::INFINITY, f64::min);
        let to = busy().map(|span| span.to).fold(0.0, f64::max);
        if from < to { (from, to) } else { (self.wall, self.wall) }
    }
}

pub fn is_busy(kind: Kind) -> bool {
    matches!(kind, Kind::Import | Kind::Test | Kind::Between | Kind::Command | Kind::Fetch)
}
