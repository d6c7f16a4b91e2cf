//! The workers, and the orders in which they are looked at: idle, low on work, worth stealing from.
//!
//! Bookkeeping alone: what counts as low or as worth it is decided by `demand` and `steal`.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{FileId, MachineId, WorkerId};

use super::catalog::Process;
use super::pace::Sample;
use super::queue::{Entry, Queue, Tie, UnitId};
use super::time::Time;

/// Among so many idle workers it is looked for one that has imported a file.
pub(super) const LOOKED_AT: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// May be given work.
    Serving,
    /// Its machine is set aside for a test that is to be alone there: it finishes what it is at, or what it is given for that.
    Held,
    /// Its machine is about to go: it finishes what it is at.
    Leaving,
    /// Was told to end its session before the run was over.
    Closed,
    /// Died, and a fresh process was announced.
    Returning,
    Gone,
}

impl Status {
    /// Whether there is a process, as far as is known.
    pub fn lives(self) -> bool {
        matches!(self, Status::Serving | Status::Held | Status::Leaving | Status::Closed)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct PendingRecall {
    pub asked: Time,
    /// Units that the worker had ever been given by then: what came later isn't in the answer.
    pub given: u64,
    /// Idle workers that wait for what comes back.
    pub thieves: u32,
    /// When they stop to wait: the machine may be gone and not known to be.
    pub patience_ends: Time,
}

#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub machine: MachineId,
    pub status: Status,
    pub life: u32,
    pub queue: Queue,
    /// When the worker got to the head of its queue.
    pub head_since: Time,
    /// What the time since then will have consisted of.
    pub sample: Sample,
    pub recall: Option<PendingRecall>,
    /// The last recall brought nothing that another could use: ask again only after news from this worker.
    pub barren: bool,
    /// What the pool keeps for it was taken back for the sake of others.
    pub offered: bool,
    /// Everything that it could still execute has been recalled.
    pub swept: bool,
    /// Files that its process is known to have imported.
    pub imported: BTreeSet<FileId>,
    due: Option<Due>,
    later: Option<Time>,
}

/// When it begins to pay to take work from a worker. Ordered: the earliest is the most worthwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due(pub i64);

impl Worker {
    /// A new unit at the end of the queue. It is there once it has an entry.
    pub fn open_unit(&mut self, tie: Tie, now: Time) -> UnitId {
        if self.queue.len() == 0 {
            self.head_since = now;
            self.sample = Sample::WorkAndRoundTrip;
        }
        self.queue.open(tie)
    }

    pub fn leave_head(&mut self, now: Time) {
        self.head_since = now;
        self.sample = Sample::Work;
    }
}

/// Workers are numbered on from 0, so their numbers find them.
#[derive(Clone, Debug, Default)]
struct ByNumber(Vec<Option<Worker>>);

impl ByNumber {
    fn get(&self, worker: WorkerId) -> Option<&Worker> {
        self.0.get(worker.0 as usize)?.as_ref()
    }

    fn get_mut(&mut self, worker: WorkerId) -> Option<&mut Worker> {
        self.0.get_mut(worker.0 as usize)?.as_mut()
    }

    fn insert(&mut self, worker: WorkerId, state: Worker) {
        let place = worker.0 as usize;
        if self.0.len() <= place {
            self.0.resize_with(place + 1, || None);
        }
        self.0[place] = Some(state);
    }

    fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        (0..).map(WorkerId).zip(&self.0).filter_map(|(id, worker)| Some((id, worker.as_ref()?)))
    }
}

/// What a worker is in need of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Idle,
    Low,
    /// It is low from then on, if nothing happens before.
    Later(Time),
    Nothing,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Fleet {
    workers: ByNumber,
    machines: BTreeMap<MachineId, BTreeSet<WorkerId>>,
    /// What still comes from there was sent before.
    lost: BTreeSet<MachineId>,
    /// About to be lost, or lost after notice was given.
    announced: BTreeSet<MachineId>,
    pub idle: BTreeSet<WorkerId>,
    pub low: BTreeSet<WorkerId>,
    victims: BTreeSet<(Due, WorkerId)>,
    /// Workers that will be low, by when.
    later: BTreeSet<(Time, WorkerId)>,
    /// Workers of which it has to be found out anew when others may take from them.
    pub unweighed: BTreeSet<WorkerId>,
    /// Recalls that idle workers wait for, by the end of their patience.
    promises: BTreeSet<(Time, WorkerId)>,
    pub serving: u32,
    pub held: u32,
    pub returning: u32,
    /// Idle workers for which a recall is under way.
    pub promised: u32,
}

impl Fleet {
    pub fn get(&self, worker: WorkerId) -> Option<&Worker> {
        self.workers.get(worker)
    }

    pub fn live(&self, worker: WorkerId) -> Option<&Worker> {
        self.get(worker).filter(|state| state.status.lives())
    }

    pub fn live_mut(&mut self, worker: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(worker).filter(|state| state.status.lives())
    }

    /// A worker that may be given work.
    pub fn serving(&self, worker: WorkerId) -> Option<&Worker> {
        self.get(worker).filter(|state| state.status == Status::Serving)
    }

    pub fn serving_mut(&mut self, worker: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(worker).filter(|state| state.status == Status::Serving)
    }

    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.iter()
    }

    /// Whether this very process may be given work.
    pub fn serves(&self, process: Process) -> bool {
        self.serving(process.worker).is_some_and(|worker| worker.life == process.life)
    }

    /// The machine is about to go; these are its workers. `None` if that was known, or it is gone.
    pub fn announce(&mut self, machine: MachineId) -> Option<BTreeSet<WorkerId>> {
        let is_news = !self.lost.contains(&machine) && self.announced.insert(machine);
        is_news.then(|| self.machines.get(&machine).cloned().unwrap_or_default())
    }

    pub fn is_announced(&self, machine: MachineId) -> bool {
        self.announced.contains(&machine)
    }

    /// The worker gets nothing more; a recall that is on its way is still waited for. A process that was to return won't be of use.
    pub fn withdraw(&mut self, worker: WorkerId) {
        match self.get(worker).map(|state| state.status) {
            Some(Status::Serving | Status::Held) => self.set_apart(worker, Status::Leaving),
            Some(Status::Returning) => self.set_status(worker, Status::Gone),
            _ => {}
        }
    }

    /// The worker gets nothing more for now, unless it is what its machine is set aside for.
    pub fn hold(&mut self, worker: WorkerId) {
        if self.serving(worker).is_some() {
            self.set_apart(worker, Status::Held);
        }
    }

    fn set_apart(&mut self, worker: WorkerId, status: Status) {
        self.set_due(worker, None);
        self.file(worker, Need::Nothing);
        self.set_status(worker, status);
        if let Some(state) = self.workers.get_mut(worker) {
            state.swept = false;
        }
    }

    /// A worker that was held may be given work again.
    pub fn let_go(&mut self, worker: WorkerId) {
        if self.get(worker).is_some_and(|state| state.status == Status::Held) {
            self.set_status(worker, Status::Serving);
        }
    }

    /// Whether this very process may be given work, now or later.
    pub fn is_employed(&self, process: Process) -> bool {
        let state = self.get(process.worker).filter(|state| state.life == process.life);
        state.is_some_and(|state| matches!(state.status, Status::Serving | Status::Held))
    }

    pub fn employed_mut(&mut self, worker: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(worker).filter(|state| matches!(state.status, Status::Serving | Status::Held))
    }

    pub fn machines(&self) -> impl Iterator<Item = (MachineId, &BTreeSet<WorkerId>)> {
        self.machines.iter().map(|(&machine, workers)| (machine, workers))
    }

    pub fn workers_of(&self, machine: MachineId) -> BTreeSet<WorkerId> {
        self.machines.get(&machine).cloned().unwrap_or_default()
    }

    /// The worker is told that nothing more comes.
    pub fn close(&mut self, worker: WorkerId) {
        self.set_status(worker, Status::Closed);
    }

    pub fn mark_swept(&mut self, worker: WorkerId) {
        if let Some(state) = self.workers.get_mut(worker) {
            state.swept = true;
        }
    }

    /// The machine is gone for good; these were its workers.
    pub fn lose_machine(&mut self, machine: MachineId) -> BTreeSet<WorkerId> {
        self.lost.insert(machine);
        self.machines.remove(&machine).unwrap_or_default()
    }

    /// A process that wasn't there before; false if the worker lives already, or its machine doesn't.
    pub fn join(&mut self, worker: WorkerId, machine: MachineId, now: Time) -> bool {
        if self.lost.contains(&machine) {
            return false;
        }
        let (life, queue) = match self.workers.get_mut(worker) {
            Some(known) if known.status.lives() => return false,
            Some(known) => {
                if let Some(others) = self.machines.get_mut(&known.machine) {
                    others.remove(&worker);
                }
                if known.status == Status::Returning {
                    self.returning -= 1;
                }
                (known.life + 1, std::mem::take(&mut known.queue))
            }
            None => (0, Queue::default()),
        };
        let status = if self.is_announced(machine) { Status::Leaving } else { Status::Serving };
        self.serving += u32::from(status == Status::Serving);
        let fresh = Worker {
            machine,
            status,
            life,
            queue,
            head_since: now,
            sample: Sample::WorkAndRoundTrip,
            recall: None,
            barren: false,
            offered: false,
            swept: false,
            imported: BTreeSet::new(),
            due: None,
            later: None,
        };
        self.workers.insert(worker, fresh);
        self.machines.entry(machine).or_default().insert(worker);
        true
    }

    /// The worker's process is gone. Its queue is still to be drained.
    pub fn leave(&mut self, worker: WorkerId, status: Status) {
        self.set_recall(worker, None);
        self.set_due(worker, None);
        self.file(worker, Need::Nothing);
        self.set_status(worker, status);
    }

    fn set_status(&mut self, worker: WorkerId, status: Status) {
        let Some(state) = self.workers.get_mut(worker) else { return };
        let before = std::mem::replace(&mut state.status, status);
        let count = |status: Status, wanted: Status| u32::from(status == wanted);
        self.serving = self.serving - count(before, Status::Serving) + count(status, Status::Serving);
        self.held = self.held - count(before, Status::Held) + count(status, Status::Held);
        self.returning = self.returning - count(before, Status::Returning) + count(status, Status::Returning);
    }

    pub fn drain_queue(&mut self, worker: WorkerId) -> Vec<Entry> {
        self.workers.get_mut(worker).map(|state| state.queue.drain()).unwrap_or_default()
    }

    pub fn set_recall(&mut self, worker: WorkerId, recall: Option<PendingRecall>) {
        let Some(state) = self.workers.get_mut(worker) else { return };
        if let Some(before) = std::mem::replace(&mut state.recall, recall) {
            self.promised -= before.thieves;
            self.promises.remove(&(before.patience_ends, worker));
        }
        if let Some(recall) = recall {
            self.promised += recall.thieves;
            self.promises.extend((recall.thieves > 0).then_some((recall.patience_ends, worker)));
        }
    }

    pub fn first_promise(&self) -> Option<Time> {
        self.promises.first().map(|&(patience_ends, _)| patience_ends)
    }

    /// Idle workers stop to wait for answers that should have come by now.
    pub fn expire_promises(&mut self, now: Time) {
        while let Some(&(patience_ends, worker)) = self.promises.first() {
            if patience_ends > now {
                return;
            }
            let recall = self.get(worker).and_then(|state| state.recall);
            self.set_recall(worker, recall.map(|recall| PendingRecall { thieves: 0, ..recall }));
        }
    }

    /// When others may take from a worker.
    pub fn set_due(&mut self, worker: WorkerId, due: Option<Due>) {
        let Some(state) = self.workers.get_mut(worker) else { return };
        if let Some(before) = std::mem::replace(&mut state.due, due) {
            self.victims.remove(&(before, worker));
        }
        self.victims.extend(due.map(|due| (due, worker)));
    }

    /// Files a worker under what it needs.
    pub fn file(&mut self, worker: WorkerId, need: Need) {
        self.unweighed.insert(worker);
        let (idle, low) = (&mut self.idle, &mut self.low);
        let _ = if need == Need::Idle { idle.insert(worker) } else { idle.remove(&worker) };
        let _ = if need == Need::Low { low.insert(worker) } else { low.remove(&worker) };
        let Some(state) = self.workers.get_mut(worker) else { return };
        let later = if let Need::Later(at) = need { Some(at) } else { None };
        if let Some(before) = std::mem::replace(&mut state.later, later) {
            self.later.remove(&(before, worker));
        }
        self.later.extend(later.map(|at| (at, worker)));
    }

    /// When the next worker becomes low.
    pub fn first_later(&self) -> Option<(Time, WorkerId)> {
        self.later.first().copied()
    }

    /// An idle worker: one that has imported this file, if such a one is among the first.
    pub fn idle_for(&self, file: FileId) -> Option<WorkerId> {
        let has_it = |worker: &&WorkerId| self.get(**worker).is_some_and(|state| state.imported.contains(&file));
        self.idle.iter().take(LOOKED_AT).find(has_it).or(self.idle.first()).copied()
    }

    pub fn first_victim(&self) -> Option<(Due, WorkerId)> {
        self.victims.first().copied()
    }

    /// Idle workers that nothing is under way for.
    pub fn unserved(&self) -> u32 {
        u32::try_from(self.idle.len()).unwrap_or(u32::MAX).saturating_sub(self.promised)
    }
}
