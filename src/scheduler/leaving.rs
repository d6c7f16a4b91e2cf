//! Machines that are about to be taken away: nothing more is given to their workers, what waits there is fetched back,
//! and whoever has nothing left is closed, so that its session ends in order.
//!
//! Never takes away what is running. What becomes of it if the machine goes first is told in `loss`.

use crate::model::{MachineId, WorkerId};

use super::fleet::Status;
use super::time::Time;
use super::{Action, Scheduler, Verdict};

/// More than anybody has waiting: a worker may be further than it seems, and have found tests of which nothing is known here.
pub(super) const EVERYTHING: u32 = u32::MAX;

impl Scheduler {
    pub(super) fn machine_leaving(&mut self, machine: MachineId) -> Verdict {
        let Some(workers) = self.fleet.announce(machine) else { return Verdict::Stale };
        self.apart.forget(machine);
        for worker in workers {
            self.fleet.withdraw(worker);
            self.pool.disown(worker);
            self.touched.insert(worker);
        }
        Verdict::Accepted
    }

    /// Whether this worker may be given nothing more, because its machine is about to go.
    pub(super) fn is_leaving(&self, worker: WorkerId) -> bool {
        self.fleet.get(worker).is_some_and(|state| self.fleet.is_announced(state.machine))
    }

    /// Brings a worker whose machine is leaving closer to its end: by a recall, or by closing it.
    pub(super) fn see_off(&mut self, now: Time, worker: WorkerId) {
        let Some(state) = self.fleet.get(worker).filter(|state| state.status == Status::Leaving) else { return };
        if state.recall.is_some() {
            return;
        }
        match state.queue.len() {
            0 => {
                self.fleet.close(worker);
                self.actions.push_back(Action::CloseWorker { worker, interrupt: false });
            }
            _ if !state.swept => {
                self.send_recall(now, worker, EVERYTHING, 0);
                self.fleet.mark_swept(worker);
            }
            _ => {}
        }
    }
}
