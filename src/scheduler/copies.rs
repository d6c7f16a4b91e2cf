//! All tests on every worker: the suite is there in copies, each of which belongs to one worker.
//!
//! Every file is numbered once for each copy, so its number tells the copy. A copy goes to another worker only when its own is gone for good.
//! In other modes there is one copy, and it is everybody's. Gives nothing out.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{FileId, WorkerId};

use super::catalog::Place;
use super::config::{Config, Mode};
use super::fleet::Status;
use super::{GiveUpReason, Scheduler};

/// The files of a suite that is there in copies: as they are numbered in [`Mode::Each`], and as they are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies(u32);

impl Copies {
    /// One for each planned worker in [`Mode::Each`], else a single one.
    pub fn of(mode: Mode, planned_workers: u32) -> Self {
        Copies(if mode == Mode::Each { planned_workers.max(1) } else { 1 })
    }

    pub fn count(self) -> u32 {
        self.0
    }

    /// To which copy a file belongs.
    pub fn copy(self, file: FileId) -> u32 {
        file.0 % self.0
    }
}

#[derive(Clone, Debug)]
pub(super) struct Owners {
    pub copies: Copies,
    /// By copy; of no use where there is only one.
    owners: Vec<Option<WorkerId>>,
    owned: BTreeMap<WorkerId, u32>,
}

impl Owners {
    pub fn new(config: &Config) -> Self {
        let copies = Copies::of(config.mode, config.planned_workers);
        Owners { copies, owners: vec![None; copies.0 as usize], owned: BTreeMap::new() }
    }
}

impl Scheduler {
    /// Whether each worker has a suite of its own, so that nothing is ever shared.
    pub(super) fn runs_copies(&self) -> bool {
        self.config.mode == Mode::Each
    }

    /// From which copy this worker is given work.
    pub(super) fn copy_of(&self, worker: WorkerId) -> Option<u32> {
        if self.runs_copies() { self.owners.owned.get(&worker).copied() } else { Some(0) }
    }

    /// Who alone may be given this file, or its tests: nobody, while its owner is on the way or yet to come.
    pub(super) fn owner(&self, file: FileId) -> Option<WorkerId> {
        let owner = self.last_owner(file)?;
        self.fleet.serving(owner).is_some().then_some(owner)
    }

    /// Which worker had this file to itself, or has it.
    pub fn last_owner(&self, file: FileId) -> Option<WorkerId> {
        let copy = self.owners.copies.copy(file);
        self.owners.owners.get(copy as usize).copied().flatten()
    }

    /// A worker has joined: it goes on with its copy, or takes one whose worker is gone. Who finds none is sent home.
    pub(super) fn take_copy(&mut self, worker: WorkerId) {
        if !self.runs_copies() || self.fleet.serving(worker).is_none() {
            return;
        }
        let own = self.copy_of(worker).filter(|&copy| self.owners.owners[copy as usize] == Some(worker));
        let Some(copy) = own.or_else(|| (0..self.owners.copies.0).find(|&copy| self.is_vacant(copy))) else {
            return self.fleet.withdraw(worker);
        };
        self.owners.owners[copy as usize] = Some(worker);
        self.owners.owned.insert(worker, copy);
        let copies = self.owners.copies;
        self.pool.adopt(worker, |file| copies.copy(file) == copy);
    }

    /// Whether the worker of this copy is gone for good, or about to, or hasn't come yet.
    fn is_vacant(&self, copy: u32) -> bool {
        let owner = self.owners.owners[copy as usize].and_then(|owner| self.fleet.get(owner));
        !owner.is_some_and(|state| matches!(state.status, Status::Serving | Status::Held | Status::Returning))
    }

    /// Gives up what is left of copies that nobody will take over.
    pub(super) fn abandon_vacant(&mut self) {
        let vacant: BTreeSet<u32> = (0..self.owners.copies.0).filter(|&copy| self.is_vacant(copy)).collect();
        for &copy in &vacant {
            for file in self.pool.unread.take_all(copy) {
                self.give_up_file(file, GiveUpReason::NoWorkersLeft);
            }
        }
        let copies = self.owners.copies;
        self.give_up_apart(|_, file| vacant.contains(&copies.copy(file)));
        for test in self.pool.take_orphans(|file| vacant.contains(&copies.copy(file))) {
            debug_assert_eq!(self.catalog.test(test).map(|record| record.place), Some(Place::Unassigned));
            self.give_up_test(test, GiveUpReason::NoWorkersLeft);
        }
    }
}
