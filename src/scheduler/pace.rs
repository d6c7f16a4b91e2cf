//! How long things take: means of what was measured, sums of what is expected.
//!
//! Arithmetic alone: it knows nothing of workers, and doesn't say what follows.

use std::time::Duration;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    total: Duration,
    count: u32,
}

impl Pace {
    pub fn add(&mut self, span: Duration) {
        self.total = self.total.saturating_add(span);
        self.count = self.count.saturating_add(1);
    }

    pub fn mean(&self) -> Option<Duration> {
        self.total.checked_div(self.count)
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
    /// The sum of the estimates that are known.
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
        self.estimated += other.estimated;
        self.unestimated += other.unestimated;
    }
}
