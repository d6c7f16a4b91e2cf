//! Processes that died: what is told of them, and whether another comes in their place.

use bytes::Bytes;

use super::{TestRun, fleet_events::test_id, workers::Phase};
use crate::{
    history::Outcome,
    machine::{Command, ExitText},
    model::{FileId, MachineId, WorkerId, event::What},
    protocol::{
        WireTest,
        bridge::{Level, ToPlugin},
        runner::TimedOut,
    },
    scheduler::{Input, Slot, Verdict},
};

/// By these a machine that is shut down ends its processes.
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// What the runner tells of a process that died.
pub(super) struct Death {
    pub status: i32,
    pub running: Option<WireTest>,
    pub collecting: Option<u32>,
    pub last: Option<WireTest>,
    pub stderr: String,
    pub timeout: Option<TimedOut>,
    /// Where it hung and what it had printed, for the plugin.
    pub told: Bytes,
}

impl TestRun<'_> {
    pub(super) fn on_died(&mut self, machine: MachineId, worker: WorkerId, death: Death) {
        let place = self.fleet.name(machine).to_owned();
        let how = ExitText(death.status);
        if self.workers.phase(worker) == Phase::Expected {
            let message = format!("{worker} on {place} ended with {how} before its session began\n{}", death.stderr);
            self.on_failed(worker, "died".into(), message);
            return;
        }
        let running = death.running.map(test_id);
        self.record(|| What::WorkerDied {
            worker: worker.0,
            reason: format!("it ended with {how}\n{}", death.stderr).trim_end().into(),
            test: running.map(|test| self.book.nodeid(test)),
        });
        let collecting = death.collecting.map(FileId);
        let leaving = self.leaving.contains(&machine);
        if leaving && matches!(-death.status, SIGKILL | SIGTERM) {
            // The machine goes down and takes its processes along: that is no fault of a test.
            let _ = self.input(Input::WorkerDied { worker, running: None, collecting: None, slot: Slot::Gone });
            return self.workers.enter(worker, Phase::Down);
        }
        let ending = self.stopping.is_some() || self.finished || leaving;
        // A process that was ended on purpose says nothing against its worker.
        let slot =
            if !ending && (death.timeout.is_some() || self.workers.died(worker)) { Slot::Returns } else { Slot::Gone };
        let verdict = self.input(Input::WorkerDied { worker, running, collecting, slot });
        if let (Verdict::Accepted, Some(test)) = (verdict, running) {
            self.broke_off(test, Outcome::Crashed, Some(machine), Some(worker.0));
        }
        // What hangs in the last teardown of a session does so after every test has its result.
        let in_last_teardown = death.timeout.is_some() && running.is_none();
        if self.stopping.is_none() && (verdict == Verdict::Accepted || in_last_teardown) {
            self.tell_of_death(worker, &place, how, &death);
        }
        match slot {
            Slot::Returns => {
                self.workers.enter(worker, Phase::Expected);
                self.record(|| What::WorkerStarted { worker: worker.0, machine: machine.0 });
                self.fleet.tell(machine, Command::Spawn(worker));
            }
            Slot::Gone => self.workers.enter(worker, Phase::Down),
        }
    }

    fn tell_of_death(&mut self, worker: WorkerId, place: &str, how: ExitText, death: &Death) {
        let stderr = death.stderr.trim_end();
        let detail = if stderr.is_empty() { String::new() } else { format!("\n{stderr}") };
        let (test, when, doing) = match (death.running, death.last) {
            (Some(running), _) => (test_id(running), "call", "while it ran this test"),
            (None, Some(last)) if death.collecting.is_none() => {
                (test_id(last), "teardown", "after it had run this test")
            }
            _ => return self.tell_of_collection_death(worker, place, how, death, &detail),
        };
        if death.running.is_some() {
            self.counted += 1;
        }
        self.was_run(worker, test, true);
        let (when, message) = match &death.timeout {
            Some(TimedOut { seconds, when }) => (
                when.clone(),
                format!("Timeout: its {when} was not over after {seconds} s, and {worker} on {place} was ended"),
            ),
            None => (when.to_owned(), format!("{worker} on {place} ended with {how} {doing}{detail}")),
        };
        let nodeid = self.book.nodeid(test);
        let (file, index) = (test.file.0, test.index);
        self.tell_plugin(
            &ToPlugin::Crashed { worker: worker.0, file, index, nodeid, when, message },
            death.told.clone(),
        );
    }

    fn tell_of_collection_death(&self, worker: WorkerId, place: &str, how: ExitText, death: &Death, detail: &str) {
        match death.collecting {
            Some(file) if self.book.knows(FileId(file)) => {
                let path = self.book.path(FileId(file)).to_owned();
                let message = format!("{worker} on {place} ended with {how} while it imported this file{detail}");
                self.tell_plugin(
                    &ToPlugin::Lost { worker: Some(worker.0), nodeid: None, path: Some(path), message },
                    Bytes::new(),
                );
            }
            _ => self.note(Level::Error, format!("{worker} on {place} ended with {how}{detail}"), None),
        }
    }
}
