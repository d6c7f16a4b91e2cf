//! What the scheduler is told, and what it asks for.
//!
//! Plain values: no sockets, no node ids, no reports. The coordinator translates both ways.

use std::time::Duration;

use crate::model::{FileId, MachineId, TestId, WorkerId};

use super::apart::Marks;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// So many more files were found, numbered on from the last. In [`Mode::Each`](super::Mode::Each) every copy of a file counts.
    FilesFound(u32),
    /// What earlier runs say of files that are about to be found. Of the others nothing is known.
    Forecast(Vec<(FileId, Forecast)>),
    /// All files have been found; `errors` collect reports failed on the way.
    FilesEnd {
        errors: u32,
    },
    /// A worker is ready for work: a new one, or a fresh process for one that died.
    WorkerJoined {
        worker: WorkerId,
        machine: MachineId,
    },
    /// Which of a file's tests stay together with which, those of other files included: a number for each, told before they are
    /// collected. Needed in [`Mode::Bundle`](super::Mode::Bundle).
    Bundled {
        file: FileId,
        bundles: Vec<u32>,
    },
    /// Which of a file's tests don't run beside others, told before they are collected. Whoever collects it with `execute` doesn't
    /// run these by itself; nor, in [`Mode::File`](super::Mode::File), any other of its tests.
    Marked {
        file: FileId,
        tests: Vec<(u32, Marks)>,
    },
    /// The first collection of a file is over. Later collections, to find tests again, are not reported.
    Collected {
        worker: WorkerId,
        file: FileId,
        tests: u32,
        errors: u32,
        /// How long each test is expected to take, where that is known. Empty, or one for each test.
        estimates: Vec<Option<Duration>>,
    },
    TestFinished {
        worker: WorkerId,
        test: TestId,
        failed: u32,
    },
    /// The answer to [`Action::Recall`]: what was taken back, which may be nothing.
    Returned {
        worker: WorkerId,
        tests: Vec<TestId>,
        files: Vec<FileId>,
    },
    /// The worker collected these tests' file and didn't find them.
    Missing {
        worker: WorkerId,
        tests: Vec<TestId>,
    },
    /// The worker's process is gone, its machine lives. Also reports that the fresh process of a [`Slot::Returns`] failed.
    WorkerDied {
        worker: WorkerId,
        running: Option<TestId>,
        collecting: Option<FileId>,
        slot: Slot,
    },
    /// The machine will be taken away, or may be: in so long, or sooner. Nothing more is given to its workers; each is closed
    /// once it has nothing left, and who joins there later, at once. Accepted once for each machine.
    MachineLeaving {
        machine: MachineId,
        /// Decides nothing: what is running is left to run however long it takes, and everything else is fetched at once.
        within: Duration,
    },
    /// The machine is gone for good, with all its workers. If it was announced, no attempt is counted.
    MachineLost {
        machine: MachineId,
    },
    /// The worker's session ended of its own accord; nothing was running.
    WorkerRetired {
        worker: WorkerId,
    },
    /// No new worker will join, except those that were announced with [`Slot::Returns`].
    LeasesOver,
    /// Another worker may join after all: it was asked for in the place of one that goes.
    LeasesReopened,
    /// Stop now: the user's wish, or the plugin's.
    Stop,
    /// The time that [`Scheduler::next_deadline`](super::Scheduler::next_deadline) named has come.
    Tick,
}

/// What a file is expected to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Forecast {
    pub import: Duration,
    /// All of its tests together.
    pub tests: Duration,
    /// The longest of them.
    pub longest: Duration,
}

/// Whether a worker that died gets a fresh process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    Returns,
    Gone,
}

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Verdict {
    /// It holds. For a result, a collection, or a death: the outcome is now final, and is to be reported.
    Accepted,
    /// It is late or contradicts what is known: what it reports is to be dropped.
    Stale,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Append to the worker's queue.
    Run { worker: WorkerId, file: FileId, work: Work },
    /// Take so many entries back from the end of the worker's queue, or all that are there.
    Recall { worker: WorkerId, count: u32 },
    /// Every file has been collected, or given up.
    CollectionComplete { tests: u32 },
    /// This one ends without an outcome.
    GiveUp { subject: Subject, reason: GiveUpReason },
    /// Nothing more comes for this worker: let its session end, or have it end where nobody waits for what the worker is at.
    CloseWorker { worker: WorkerId, interrupt: bool },
    /// Empty all queues and end all sessions.
    Abort,
    /// The run is over. Only [`Action::CloseWorker`] for workers that join too late follows.
    Finished { ending: Ending },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Collect the file for the first time; then run its tests in order, ahead of what is queued behind it, if `execute`.
    Collect { execute: bool },
    /// Run these tests of the file, in this order.
    Tests(Vec<u32>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    File(FileId),
    Test(TestId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GiveUpReason {
    /// It was, or may have been, running each time when so many processes or machines were lost.
    AttemptsExhausted {
        attempts: u32,
    },
    /// No worker that lives can find it.
    NotFound,
    NoWorkersLeft,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Every test has its outcome, or was given up.
    Complete,
    /// There were collection errors, so not everything was executed.
    CollectionErrors,
    MaxFail,
    Stopped,
}
