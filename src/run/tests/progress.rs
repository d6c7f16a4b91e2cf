//! How far a run is, in the figures that the local pytest shows while it goes on.
//!
//! What is left is guessed from what took how long so far, weighed with the durations of earlier runs. Decides nothing.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{TestRun, workers::Phase};
use crate::{
    model::{
        FileId, TestId,
        live::{Figures, Sight},
    },
    protocol::bridge::ToPlugin,
};

/// Less than this says too little about the rest.
const LEAST: Duration = Duration::from_secs(1);
const LEAST_PART: f64 = 0.02;

/// Work in seconds of earlier runs, and tests about which nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Work {
    known: u32,
    seconds: f64,
    unknown: u32,
}

impl Work {
    fn add(&mut self, estimate: Option<f64>) {
        match estimate {
            Some(seconds) => {
                self.known += 1;
                self.seconds += seconds;
            }
            None => self.unknown += 1,
        }
    }

    /// A test of which nothing is known is taken for one of mean length.
    fn weight(self, mean: f64) -> f64 {
        self.seconds + f64::from(self.unknown) * mean
    }
}

#[derive(Default)]
pub struct Progress {
    estimates: HashMap<FileId, Vec<Option<f64>>>,
    all: Work,
    done: Work,
    finished: u32,
    failed: u32,
    /// When the first worker was up.
    began: Option<Instant>,
}

impl Progress {
    pub fn begin(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    pub fn collected(&mut self, file: FileId, tests: u32, estimates: &[Option<Duration>]) {
        let of = |index: u32| estimates.get(index as usize).copied().flatten().map(|one| one.as_secs_f64());
        let estimates: Vec<Option<f64>> = (0..tests).map(of).collect();
        estimates.iter().for_each(|&estimate| self.all.add(estimate));
        self.estimates.insert(file, estimates);
    }

    pub fn finished(&mut self, test: TestId, failed: bool) {
        self.finished += 1;
        self.failed += u32::from(failed);
        let estimate = self.estimates.get(&test.file).and_then(|file| file.get(test.index as usize));
        self.done.add(estimate.copied().flatten());
    }

    /// How long it still takes, if so much has been done in this time; of the files, `left` of `files` are not known yet.
    fn left(&self, elapsed: Duration, left: u32, files: u32) -> Option<Duration> {
        let mean = if self.all.known == 0 { 1.0 } else { self.all.seconds / f64::from(self.all.known) };
        let known_files = f64::from(files.saturating_sub(left));
        let all = self.all.weight(mean) * f64::from(files) / known_files.max(1.0);
        let done = self.done.weight(mean);
        if elapsed < LEAST || done <= 0.0 || done < all * LEAST_PART {
            return None;
        }
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * (all - done).max(0.0) / done).ok()
    }
}

impl TestRun<'_> {
    pub(super) fn tell_progress(&self) {
        let watch = self.fleet.watch();
        if watch.listens() {
            watch.tell(|| Sight::Figures(self.figures()));
        }
        // Whoever looks at a view of the run sees no line below pytest's output.
        if self.rules.progress && !watch.looks_or_will() {
            self.tell_plugin(&ToPlugin::Progress(self.figures()), Bytes::new());
        }
    }

    fn figures(&self) -> Figures {
        let progress = &self.progress;
        let up = || self.workers.iter().filter(|(_, worker)| worker.phase == Phase::Up);
        let busy = |id| self.scheduler.as_ref().is_some_and(|scheduler| scheduler.at(id).is_some());
        let left = progress
            .began
            .and_then(|began| progress.left(began.elapsed(), self.book.files_left(), self.book.files()))
            .filter(|_| self.files_ended);
        Figures {
            done: progress.finished,
            failed: progress.failed,
            total: self.book.total(),
            complete: self.files_ended && self.book.files_left() == 0,
            left: left.map(|left| left.as_secs_f64()),
            busy: up().filter(|(id, _)| busy(*id)).count() as u32,
            workers: up().count() as u32,
            wanted: self.rules.workers,
            machines: self.fleet.machines() as u32,
            dollars: self.fleet.bill().map(|bill| bill.dollars),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(index: u32) -> TestId {
        TestId { file: FileId(0), index }
    }

    #[test]
    fn what_is_left_is_weighed_by_known_durations() {
        let mut progress = Progress::default();
        let estimates = [Some(Duration::from_secs(9)), Some(Duration::from_secs(1)), None];
        progress.collected(FileId(0), 3, &estimates);
        let after = |progress: &Progress, seconds| progress.left(Duration::from_secs(seconds), 0, 1);
        assert_eq!(after(&progress, 10), None);
        // 5 of 15 seconds: what isn't known is taken for the mean.
        progress.finished(test(2), false);
        assert_eq!(after(&progress, 10), Some(Duration::from_secs(20)));
        progress.finished(test(0), true);
        progress.finished(test(1), false);
        assert_eq!(after(&progress, 30), Some(Duration::ZERO));
        assert_eq!((progress.finished, progress.failed), (3, 1));
    }

    #[test]
    fn files_that_are_not_known_yet_count_as_much_as_the_others() {
        let mut progress = Progress::default();
        progress.collected(FileId(0), 10, &[]);
        progress.finished(test(0), false);
        assert_eq!(progress.left(Duration::from_secs(2), 1, 2), Some(Duration::from_secs(38)));
        assert_eq!(progress.left(Duration::from_millis(900), 1, 2), None);
    }
}
