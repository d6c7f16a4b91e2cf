//! How long things take: means of what was measured, sums of what is expected.
//!
//! Arithmetic alone: it knows nothing of workers, and doesn't say what follows.

use std::time::Duration;

/// What a measured span consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// The work alone: the worker went on to it from something else.
    Work,
    /// The worker had to be told first, so a round trip is part of it.
    WorkAndRoundTrip,
}

/// The mean of what was measured; of the work alone, once that has been seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    work: Mean,
    with_round_trips: Mean,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    total: Duration,
    count: u32,
}

impl Pace {
    pub fn add(&mut self, span: Duration, sample: Sample) {
        let mean = match sample {
            Sample::Work => &mut self.work,
            Sample::WorkAndRoundTrip => &mut self.with_round_trips,
        };
        mean.total = mean.total.saturating_add(span);
        mean.count = mean.count.saturating_add(1);
    }

    pub fn mean(&self) -> Option<Duration> {
        let mean = |mean: Mean| mean.total.checked_div(mean.count);
        mean(self.work).or(mean(self.with_round_trips))
    }
}

/// A mean in which the newest counts for a quarter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Smoothed(Option<Duration>);

impl Smoothed {
    pub fn add(&mut self, span: Duration) {
        self.0 = Some(self.0.map_or(span, |mean| (mean * 3 + span) / 4));
    }

    pub fn value(&self) -> Duration {
        self.0.unwrap_or_default()
    }
}

/// An amount of work.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    /// Files that await their first collection.
    pub files: u32,
    /// Those of them of which nothing is known.
    pub unforetold: u32,
    /// The sum of the estimates that are known, of tests and of files.
    pub estimated: Duration,
    /// Tests without an estimate.
    pub unestimated: u32,
}

impl Load {
    pub fn add_test(&mut self, estimate: Option<Duration>) {
        match estimate {
            Some(estimate) => self.estimated += estimate,
            None => self.unestimated += 1,
        }
    }

    pub fn add_file(&mut self, estimate: Option<Duration>) {
        self.files += 1;
        match estimate {
            Some(estimate) => self.estimated += estimate,
            None => self.unforetold += 1,
        }
    }

    pub fn remove_file(&mut self, estimate: Option<Duration>) {
        self.files -= 1;
        match estimate {
            Some(estimate) => self.estimated -= estimate,
            None => self.unforetold -= 1,
        }
    }

    pub fn remove_test(&mut self, estimate: Option<Duration>) {
        match estimate {
            Some(estimate) => self.estimated -= estimate,
            None => self.unestimated -= 1,
        }
    }
}

impl std::ops::AddAssign for Load {
    fn add_assign(&mut self, other: Load) {
        self.files += other.files;
        self.unforetold += other.unforetold;
        self.estimated += other.estimated;
        self.unestimated += other.unestimated;
    }
}
