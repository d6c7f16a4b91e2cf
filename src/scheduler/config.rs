//! What a run asks of the scheduler: fixed from its first input to its last.
//!
//! Nothing here knows where a value came from: flags and files are merged elsewhere.

use std::num::NonZeroU32;
use std::time::Duration;

/// What is kept together on one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Nothing: the tests of a file may be shared out.
    Test,
    /// The tests of a file all run on one worker.
    File,
    /// The tests of a bundle all run on one worker. A bundle may span files, so this implies [`Collect::First`].
    Bundle,
    /// All tests on every worker. Files are numbered once for each of `planned_workers` copies of the suite, copy by copy within
    /// a file: see [`Copies`](super::Copies).
    Each,
}

/// When tests begin to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Collect {
    /// Once every file has been collected.
    First,
    /// As soon as their own file has been collected.
    Stream,
}

/// What a collection error does to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CollectionErrors {
    /// Nothing more is executed; the rest is still collected, so that all errors are shown.
    Stop,
    Continue,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    pub mode: Mode,
    pub collect: Collect,
    /// Groups the work into `planned_workers` times this many chunks of consecutive tests, or of consecutive files in
    /// [`Mode::File`]. A chunk is handed out as a whole. Chunks of tests imply [`Collect::First`]. Without effect on bundles.
    pub chunks_per_worker: Option<NonZeroU32>,
    /// How often a test may be running, or a file being collected, when its machine is lost without notice.
    pub max_attempts: NonZeroU32,
    /// Failures after which the run is aborted.
    pub maxfail: Option<NonZeroU32>,
    pub collection_errors: CollectionErrors,
    pub planned_workers: u32,
    /// Whether a test that takes far longer than expected is tried a second time by a worker that has nothing else to do. Has an
    /// effect where the tests of a file may be shared out.
    pub speculate: bool,
    /// What the suite takes on one worker, if earlier runs know: counts until all files have been found.
    pub expected: Option<Duration>,
}

impl Config {
    pub(super) fn collect(&self) -> Collect {
        match (self.mode, self.chunks_per_worker) {
            (Mode::Test, Some(_)) | (Mode::Bundle, _) => Collect::First,
            _ => self.collect,
        }
    }
}
