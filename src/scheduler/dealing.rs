//! Who is to run which tests, where it is known beforehand how long they take.
//!
//! Says which files are collected for the sake of their tests alone, and keeps those for whoever has imported them. Gives no test out; how
//! they are shared is told in `balance`.

use std::time::Duration;

use crate::model::{FileId, TestId, WorkerId};

use super::balance::Moves;
use super::grouping::{Grouping, ParcelId, Parting};
use super::time::Time;
use super::unread::Weight;
use super::{Phase, Scheduler};

/// A test that takes more than one in so many parts of a worker's share begins before others; shorter ones keep the order of their file.
pub(super) const PARTS: u32 = 8;
/// A file is dealt out if its tests, or one of them, take more than one in so many parts of a worker's share.
const DEALT: u32 = 4;
/// What has newly joined is considered once it is one in so many of all, or nobody else is expected.
const NEWCOMERS: u32 = 16;
/// Parcels that are dealt are numbered from here, beyond those of files.
const FIRST_PARCEL: u32 = 1 << 31;

/// What is dealt, and when that is due.
#[derive(Clone, Debug, Default)]
pub(super) struct Dealing {
    /// Files whose tests have just become known and are at nobody.
    fresh: Vec<FileId>,
    /// Tests have been kept for their home that nobody has weighed against what others have.
    unbalanced: bool,
    /// Workers that have come since they were.
    newcomers: u32,
    /// What has been moved so far, while more is yet to be.
    moves: Moves,
    parcels: u32,
}

impl Dealing {
    pub fn found(&mut self, file: FileId) {
        self.fresh.push(file);
    }

    pub fn joined(&mut self) {
        self.newcomers += 1;
    }

    /// Begins to balance, or goes on with it.
    pub fn take_moves(&mut self) -> Moves {
        self.newcomers = 0;
        self.unbalanced = false;
        std::mem::take(&mut self.moves)
    }

    /// More is to be moved.
    pub fn keep_moves(&mut self, moves: Moves) {
        self.unbalanced = true;
        self.moves = moves;
    }

    pub fn new_parcel(&mut self) -> ParcelId {
        self.parcels += 1;
        ParcelId(FIRST_PARCEL.saturating_add(self.parcels))
    }
}

impl Scheduler {
    /// Whether single tests may go anywhere.
    pub(super) fn divides(&self) -> bool {
        matches!(self.grouping, Grouping::ByFile(Parting::Divisible))
    }

    /// The part of each worker, if all that is foretold were shared evenly.
    fn share(&self) -> Option<Duration> {
        let workers = self.fleet.serving.max(self.config.planned_workers).max(1);
        let share = self.catalog.fair_share(workers);
        let expected = self.config.expected.filter(|_| !self.catalog.listed).map(|expected| expected / workers);
        share.zip(expected).map(|(share, expected)| share.max(expected)).or(share.filter(|_| self.catalog.listed))
    }

    /// Whether the tests of this file are too much for whoever collects it, or one of them is too long to wait for its turn: then
    /// they are dealt once they are known.
    pub(super) fn is_to_be_dealt(&self, file: FileId) -> bool {
        let forecast = self.catalog.file(file).and_then(|record| record.forecast);
        let Some((forecast, share)) = forecast.zip(self.share()) else { return false };
        let alone = forecast.longest >= forecast.tests;
        let much = forecast.tests > share / DEALT || self.catalog.remainder_is_below(DEALT);
        self.divides() && self.phase == Phase::Running && !alone && much
    }

    /// Whether tests that are to be dealt aren't known yet.
    fn awaits_more(&self) -> bool {
        self.catalog.awaited_files > 0 || self.awaits_dealing()
    }

    /// Whether files wait whose tests are to be dealt.
    fn awaits_dealing(&self) -> bool {
        self.pool.unread.first().is_some_and(|(file, weight)| weight.urgent || self.is_to_be_dealt(file))
    }

    pub(super) fn weight(&self, file: FileId) -> Weight {
        Weight { urgent: self.is_to_be_dealt(file), size: self.catalog.size(file) }
    }

    /// Has files collected whose tests are to be dealt, before anybody begins with anything else.
    pub(super) fn give_urgent(&mut self, now: Time) {
        while self.awaits_dealing()
            && let Some((file, _)) = self.pool.unread.first()
            && let Some(&worker) = self.fleet.idle.first().or(self.fleet.low.first())
        {
            self.give_files(now, worker, &[file]);
        }
    }

    /// Keeps what has become known since the last time for whoever has imported it: the longest tests first.
    pub(super) fn deal(&mut self) {
        for file in std::mem::take(&mut self.dealing.fresh) {
            let Some(record) = self.catalog.file(file).filter(|_| self.pools()) else { continue };
            let count = u32::try_from(record.tests.len()).unwrap_or(u32::MAX);
            for index in 0..count {
                self.pool_test(TestId { file, index });
            }
            self.dealing.unbalanced = true;
        }
    }

    /// How long a test takes that begins before others.
    pub(super) fn long(&self, test: TestId) -> Option<Duration> {
        let took = self.catalog.estimate(test).filter(|_| self.divides())?;
        (took > self.share()? / PARTS).then_some(took)
    }

    /// Whether what this worker would be given next is long, and may go to another yet.
    pub(super) fn may_move_first(&self, worker: WorkerId) -> bool {
        self.dealing.unbalanced
            && self.divides()
            && self.catalog.is_mostly_estimated()
            && self.pool.first_dealt(Some(worker)).is_some()
    }

    /// Whether it is time to weigh what workers have against each other: not while tests are yet to be dealt, nor for every newcomer.
    pub(super) fn is_unbalanced(&self) -> bool {
        let newcomers = self.dealing.newcomers;
        let are_many = newcomers * NEWCOMERS >= self.fleet.serving || self.fleet.serving == self.config.planned_workers;
        let is_news = self.dealing.unbalanced || (newcomers > 0 && are_many);
        is_news
            && self.divides()
            && self.phase == Phase::Running
            && !self.awaits_more()
            && self.catalog.is_mostly_estimated()
    }
}
