//! The workers of a test run: which machine each is on and whether it still works.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{MachineId, WorkerId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its machine or its process is on the way.
    Expected,
    Up,
    /// Its session ended, it could not begin, or its machine is gone. It won't come back.
    Down,
}

pub struct Worker {
    pub machine: MachineId,
    pub phase: Phase,
    pub done: u32,
    pub failed: u32,
    /// What failed on it, in that order, where that is kept.
    pub failures: Vec<String>,
    /// Processes of this worker that died since one last finished a test.
    deaths: u32,
}

/// A worker whose processes keep dying is given up after this many in a row.
const MAX_DEATHS: u32 = 5;

/// Nobody goes into more of them than this.
const MOST_FAILURES: usize = 1000;

#[derive(Default)]
pub struct Workers {
    by_id: BTreeMap<WorkerId, Worker>,
    /// Machines whose place has been given to another.
    replaced: BTreeSet<MachineId>,
}

impl Workers {
    /// Numbers the workers of a new machine, on from the last.
    pub fn expect(&mut self, machine: MachineId, count: u32) {
        let first = self.by_id.len() as u32;
        for number in first..first + count {
            let worker =
                Worker { machine, phase: Phase::Expected, done: 0, failed: 0, failures: Vec::new(), deaths: 0 };
            self.by_id.insert(WorkerId(number), worker);
        }
    }

    pub fn of(&self, machine: MachineId) -> Vec<WorkerId> {
        self.by_id.iter().filter(|(_, worker)| worker.machine == machine).map(|(&id, _)| id).collect()
    }

    pub fn machine(&self, worker: WorkerId) -> Option<MachineId> {
        self.by_id.get(&worker).map(|worker| worker.machine)
    }

    pub fn phase(&self, worker: WorkerId) -> Phase {
        self.by_id.get(&worker).map_or(Phase::Down, |worker| worker.phase)
    }

    pub fn enter(&mut self, worker: WorkerId, phase: Phase) {
        if let Some(worker) = self.by_id.get_mut(&worker) {
            worker.phase = phase;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.by_id.iter().map(|(&id, worker)| (id, worker))
    }

    pub fn finished(&mut self, worker: WorkerId, failed: bool) {
        if let Some(worker) = self.by_id.get_mut(&worker) {
            worker.done += 1;
            worker.failed += u32::from(failed);
        }
    }

    pub fn failed(&mut self, worker: WorkerId, nodeid: String) {
        if let Some(worker) = self.by_id.get_mut(&worker)
            && !worker.failures.contains(&nodeid)
            && worker.failures.len() < MOST_FAILURES
        {
            worker.failures.push(nodeid);
        }
    }

    pub fn worked(&mut self, worker: WorkerId) {
        if let Some(worker) = self.by_id.get_mut(&worker) {
            worker.deaths = 0;
        }
    }

    /// Counts a death; says whether the worker is worth another process.
    pub fn died(&mut self, worker: WorkerId) -> bool {
        let Some(worker) = self.by_id.get_mut(&worker) else { return false };
        worker.deaths += 1;
        worker.deaths < MAX_DEATHS
    }

    /// Whether the machine's workers are missed and nobody was asked for in their place. Says so once.
    pub fn is_missed(&mut self, machine: MachineId) -> bool {
        let works = self.by_id.values().any(|worker| worker.machine == machine && worker.phase != Phase::Down);
        works && self.replaced.insert(machine)
    }

    pub fn machine_gone(&mut self, machine: MachineId) {
        for worker in self.by_id.values_mut().filter(|worker| worker.machine == machine) {
            worker.phase = Phase::Down;
        }
    }

    /// Workers that have not begun are no reason to wait.
    pub fn all_down(&self) -> bool {
        self.by_id.values().all(|worker| worker.phase != Phase::Up)
    }

    pub fn any_hope(&self) -> bool {
        self.by_id.values().any(|worker| worker.phase != Phase::Down)
    }

    /// Whether there is one that hasn't begun, or is to begin again.
    pub fn any_expected(&self) -> bool {
        self.by_id.values().any(|worker| worker.phase == Phase::Expected)
    }

    pub fn count(&self) -> usize {
        self.by_id.len()
    }
}
