//! What there is to do: every file, every test, and where each of them stands.
//!
//! Keeps the counts that tell when a run is over; decides nothing and knows no worker's queue.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{FileId, TestId, WorkerId};

use super::Forecast;
use super::apart::Marks;
use super::pace::Pace;
use super::queue::UnitId;

/// One life of a worker's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub worker: WorkerId,
    pub life: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At no worker.
    Unassigned,
    Queued {
        worker: WorkerId,
        unit: UnitId,
    },
    Final,
}

#[derive(Clone, Debug)]
pub(super) struct TestRecord {
    pub place: Place,
    pub attempts: u32,
    pub estimate: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Queued {
        worker: WorkerId,
        unit: UnitId,
        execute: bool,
    },
    /// Collected by its home, where it is imported as long as that process lives.
    Collected {
        home: Process,
    },
    /// Settled without a collection: it killed its worker, or was given up.
    Uncollectable,
}

#[derive(Clone, Debug)]
pub(super) struct FileRecord {
    pub stage: Stage,
    pub attempts: u32,
    pub tests: Vec<TestRecord>,
    /// To which bundle each test belongs, where there are bundles.
    pub bundles: Vec<u32>,
    /// Those of its tests that don't run beside others.
    pub marks: BTreeMap<u32, Marks>,
    /// Tests in the files before this one; known once collection is complete.
    pub tests_before: u32,
    pub forecast: Option<Forecast>,
    /// How long its first collection took.
    pub import: Duration,
    pub pace: Pace,
}

impl FileRecord {
    fn new() -> Self {
        FileRecord {
            stage: Stage::Waiting,
            attempts: 0,
            tests: Vec::new(),
            bundles: Vec::new(),
            marks: BTreeMap::new(),
            tests_before: 0,
            forecast: None,
            import: Duration::ZERO,
            pace: Pace::default(),
        }
    }

    fn is_settled(&self) -> bool {
        matches!(self.stage, Stage::Collected { .. } | Stage::Uncollectable)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Catalog {
    files: Vec<FileRecord>,
    /// No more files will be found.
    pub listed: bool,
    /// Files that are neither collected nor given up.
    pub open_files: u32,
    pub tests: u32,
    /// Tests that have no outcome yet.
    pub open_tests: u32,
    pub queued_tests: u32,
    /// Files that are being collected, or wait for it at a worker, and whose tests don't run right afterwards.
    pub awaited_files: u32,
    estimated_tests: u32,
    estimated: Duration,
    /// What is foretold of files that wait for their first collection at nobody.
    unread_forecast: Duration,
    pub errors: u32,
    pub test_pace: Pace,
    pub import_pace: Pace,
    /// Of files that are yet to be found.
    foretold: BTreeMap<FileId, Forecast>,
    /// Whether the tests of a file run right after it is collected, so that they count with it.
    streams: bool,
    forecasts: Forecasts,
}

/// All forecasts together.
#[derive(Clone, Copy, Debug, Default)]
struct Forecasts {
    count: u32,
    total: Duration,
}

impl Catalog {
    pub fn add_files(&mut self, count: u32) -> impl Iterator<Item = FileId> + use<> {
        let first = self.len();
        for file in (first..first + count).map(FileId) {
            let forecast = self.foretold.remove(&file);
            self.unread_forecast += forecast.map_or(Duration::ZERO, |forecast| forecast.import + forecast.tests);
            self.files.push(FileRecord { forecast, ..FileRecord::new() });
        }
        self.open_files += count;
        (first..first + count).map(FileId)
    }

    /// What is known of a file that is about to be found.
    pub fn foretell(&mut self, file: FileId, forecast: Forecast, streams: bool) {
        self.streams = streams;
        self.forecasts.count += 1;
        self.forecasts.total += forecast.import + forecast.tests;
        self.foretold.insert(file, forecast);
    }

    /// What it is expected to take until a worker is through with a file that it collects for the first time. Never changes.
    pub fn expectation(&self, file: FileId) -> Option<Duration> {
        let forecast = self.file(file)?.forecast?;
        Some(if self.streams { forecast.import + forecast.tests } else { forecast.import })
    }

    /// By which files are ordered: what is known of this one, else the mean of the others, and nothing if nothing is known at all.
    pub fn size(&self, file: FileId) -> Duration {
        let forecast = self.file(file).and_then(|record| record.forecast);
        let known = forecast.map(|forecast| forecast.import + forecast.tests);
        known.or(self.forecasts.total.checked_div(self.forecasts.count)).unwrap_or_default()
    }

    /// What each of `workers` would have to do if all were shared evenly, as far as that is foretold.
    pub fn fair_share(&self, workers: u32) -> Option<Duration> {
        let mean = self.forecasts.total.checked_div(self.forecasts.count)?;
        (self.forecasts.total + mean * (self.len() - self.forecasts.count.min(self.len()))).checked_div(workers)
    }

    /// What is foretold of files that are at no worker.
    pub fn unread_forecast(&self) -> Duration {
        self.unread_forecast
    }

    /// Whether files that are at no worker take less than one in so many parts of all.
    pub fn remainder_is_below(&self, parts: u32) -> bool {
        self.listed && self.unread_forecast * parts < self.forecasts.total
    }

    /// Whether it is known of most tests how long they take.
    pub fn is_mostly_estimated(&self) -> bool {
        self.estimated_tests > 0 && self.estimated_tests >= self.tests - self.estimated_tests
    }

    pub fn mean_estimate(&self) -> Duration {
        self.estimated.checked_div(self.estimated_tests).unwrap_or_default()
    }

    pub fn len(&self) -> u32 {
        u32::try_from(self.files.len()).unwrap_or(u32::MAX)
    }

    pub fn file(&self, file: FileId) -> Option<&FileRecord> {
        self.files.get(file.0 as usize)
    }

    pub fn file_mut(&mut self, file: FileId) -> Option<&mut FileRecord> {
        self.files.get_mut(file.0 as usize)
    }

    pub fn test(&self, test: TestId) -> Option<&TestRecord> {
        self.file(test.file)?.tests.get(test.index as usize)
    }

    pub fn test_mut(&mut self, test: TestId) -> Option<&mut TestRecord> {
        self.file_mut(test.file)?.tests.get_mut(test.index as usize)
    }

    pub fn estimate(&self, test: TestId) -> Option<Duration> {
        self.test(test)?.estimate
    }

    pub fn files(&self) -> impl Iterator<Item = (FileId, &FileRecord)> {
        (0..).map(FileId).zip(&self.files)
    }

    pub fn set_stage(&mut self, file: FileId, stage: Stage) {
        let Some(record) = self.files.get_mut(file.0 as usize) else { return };
        let was_settled = record.is_settled();
        let awaited = |stage: Stage| u32::from(matches!(stage, Stage::Queued { execute: false, .. }));
        self.awaited_files = self.awaited_files + awaited(stage) - awaited(record.stage);
        let foretold = record.forecast.map_or(Duration::ZERO, |forecast| forecast.import + forecast.tests);
        let unread = |stage: Stage| if stage == Stage::Waiting { foretold } else { Duration::ZERO };
        self.unread_forecast = self.unread_forecast + unread(stage) - unread(record.stage);
        record.stage = stage;
        if record.is_settled() && !was_settled {
            self.open_files -= 1;
        }
    }

    /// The file's first collection is over; its tests are at no worker yet.
    pub fn collected(&mut self, file: FileId, home: Process, tests: u32, estimates: &[Option<Duration>]) {
        self.set_stage(file, Stage::Collected { home });
        self.tests += tests;
        self.open_tests += tests;
        for took in estimates.iter().flatten() {
            self.estimated_tests += 1;
            self.estimated += *took;
        }
        if let Some(record) = self.file_mut(file) {
            record.tests = (0..tests as usize)
                .map(|index| TestRecord {
                    place: Place::Unassigned,
                    attempts: 0,
                    estimate: estimates.get(index).copied().flatten(),
                })
                .collect();
        }
    }

    pub fn set_place(&mut self, test: TestId, place: Place) {
        let Some(record) = self.test_mut(test) else { return };
        let before = std::mem::replace(&mut record.place, place);
        let queued = |place: Place| u32::from(matches!(place, Place::Queued { .. }));
        let open = |place: Place| u32::from(place != Place::Final);
        self.queued_tests = self.queued_tests - queued(before) + queued(place);
        self.open_tests = self.open_tests - open(before) + open(place);
    }

    /// The unit in which this test waits or runs at this worker, if it does.
    pub fn unit_at(&self, test: TestId, worker: WorkerId) -> Option<UnitId> {
        match self.test(test)?.place {
            Place::Queued { worker: at, unit } if at == worker => Some(unit),
            _ => None,
        }
    }

    /// As [`Catalog::unit_at`], for a file that awaits its first collection.
    pub fn file_unit_at(&self, file: FileId, worker: WorkerId) -> Option<(UnitId, bool)> {
        match self.file(file)?.stage {
            Stage::Queued { worker: at, unit, execute } if at == worker => Some((unit, execute)),
            _ => None,
        }
    }

    /// Whether a file that awaits its first collection will have its tests run right away.
    pub fn executes(&self, file: FileId) -> bool {
        self.file(file).is_some_and(|record| matches!(record.stage, Stage::Queued { execute: true, .. }))
    }

    /// Numbers the tests over all files.
    pub fn number_tests(&mut self) {
        let mut before = 0;
        for record in &mut self.files {
            record.tests_before = before;
            before += u32::try_from(record.tests.len()).unwrap_or(u32::MAX);
        }
    }

    /// What a test of this file takes that has no estimate.
    pub fn pace(&self, file: FileId) -> Option<Duration> {
        self.file(file).and_then(|record| record.pace.mean()).or(self.test_pace.mean())
    }

    /// What a file takes that nobody has collected yet.
    pub fn file_cost(&self, execute: bool) -> Option<Duration> {
        let import = self.import_pace.mean()?;
        if !execute {
            return Some(import);
        }
        let collected = (self.len() - self.open_files).max(1);
        Some(import + self.test_pace.mean()? * self.tests.div_ceil(collected))
    }
}
