//! What machines say: they come, work, report, and go.

use std::time::Duration;

use bytes::Bytes;

use super::{Outlook, TestRun, deaths::Death, memory::Ran, workers::Phase};
use crate::{
    history::Outcome,
    machine::{Command, Event, MachineError},
    model::{FileId, MachineId, TestId, WorkerId, event::What},
    plan::Mode,
    protocol::{
        TestName, WireTest,
        bridge::{Level, ToPlugin},
        runner::{FromRunner, Told},
    },
    run::{FleetEvent, RunError},
    scheduler::{Input, Slot, Verdict},
    text,
};

impl TestRun<'_> {
    pub(super) fn on_fleet(&mut self, event: FleetEvent) -> Result<(), RunError> {
        match event {
            FleetEvent::Leased { machine, workers, .. } => self.workers.expect(machine, workers),
            FleetEvent::NotLeased { name, error } => {
                let help = error.help();
                self.unsaid.push((format!("{name}: {}", text::chain(&error)), help));
                self.last_trouble = Some(RunError::Provider(error));
            }
            FleetEvent::LeasesOver => {}
            FleetEvent::BudgetSpent => {
                self.budget_spent = true;
                let _ = self.input(Input::Stop);
            }
            FleetEvent::Warning(text) => self.note(Level::Warning, text, None),
            FleetEvent::Note(text) => self.note(Level::Info, text, None),
            FleetEvent::Machine(machine, event) => self.on_machine(machine, event)?,
        }
        self.say_whether_others_come();
        self.refuse_to_wait_for_nobody()
    }

    /// Where every worker has all tests to itself, the scheduler has to know whether one may still come in the place of another.
    fn say_whether_others_come(&mut self) {
        let more = self.fleet.awaits_leases() || self.workers.any_expected();
        let outlook = if more { Outlook::MoreMayCome } else { Outlook::NobodyElseComes };
        if self.rules.mode != Mode::Each || std::mem::replace(&mut self.outlook, outlook) == outlook {
            return;
        }
        let _ = self.input(match outlook {
            Outlook::MoreMayCome => Input::LeasesReopened,
            Outlook::NobodyElseComes => Input::LeasesOver,
        });
    }

    /// What kept single machines from being leased matters as long as others work. Otherwise the run's end tells of it.
    fn say_what_was_unsaid(&mut self) {
        for (text, help) in std::mem::take(&mut self.unsaid) {
            self.note(Level::Error, text, Some(help));
        }
    }

    /// With nobody left to work, or to come, the run is over. If nothing was done at all, the reason is that of the last to go.
    fn refuse_to_wait_for_nobody(&mut self) -> Result<(), RunError> {
        if self.workers.any_hope() || self.fleet.awaits_leases() || self.finished || self.stopping.is_some() {
            return Ok(());
        }
        if self.counted > 0 {
            let _ = self.input(Input::LeasesOver);
            return Ok(());
        }
        // The last one is the end's to tell.
        self.unsaid.pop();
        self.say_what_was_unsaid();
        Err(self.last_trouble.take().unwrap_or(RunError::NothingLeased))
    }

    fn on_machine(&mut self, machine: MachineId, event: Event) -> Result<(), RunError> {
        match event {
            Event::Entered(_) | Event::InitOutput(_) | Event::Differs(_) | Event::Contents(_) => {}
            Event::Prepared(_) => {
                let workers = self.workers.of(machine);
                for worker in &workers {
                    self.record(|| What::WorkerStarted { worker: worker.0, machine: machine.0 });
                }
                self.fleet.tell(machine, Command::Start { workers, count: self.rules.workers });
            }
            Event::Message(message, blob) => self.on_message(machine, message, blob)?,
            Event::Leaving { within } => self.machine_leaves(machine, within),
            Event::Ended => self.machine_gone(machine),
            Event::Lost(error) => {
                let help = error.help();
                self.note(Level::Warning, text::chain(&error), help);
                if error.is_bad_luck() {
                    self.replace(machine);
                }
                self.last_trouble = Some(RunError::NoMachines { source: error });
                self.machine_gone(machine);
            }
        }
        Ok(())
    }

    fn machine_leaves(&mut self, machine: MachineId, within: Duration) {
        // A notice may be repeated.
        if !self.leaving.insert(machine) {
            return;
        }
        self.replace(machine);
        let _ = self.input(Input::MachineLeaving { machine, within });
        let name = self.fleet.name(machine).to_owned();
        self.note(
            Level::Info,
            format!("{name} will be taken away in {} s: its tests go elsewhere", within.as_secs()),
            None,
        );
    }

    /// Asks for another machine in the place of one that goes, where there are more and there is work for it.
    fn replace(&mut self, machine: MachineId) {
        if self.finished || self.stopping.is_some() || !self.workers.is_missed(machine) {
            return;
        }
        let workers = self.workers.of(machine).len() as u32;
        if self.replacements_left > 0 && self.fleet.replace(workers) {
            self.replacements_left -= 1;
            self.say_whether_others_come();
        }
    }

    fn machine_gone(&mut self, machine: MachineId) {
        self.fleet.dismiss(machine);
        self.workers.machine_gone(machine);
        let _ = self.input(Input::MachineLost { machine });
    }

    fn on_message(&mut self, machine: MachineId, message: FromRunner, blob: Bytes) -> Result<(), RunError> {
        match message {
            FromRunner::Up { worker, info, .. } => {
                self.record(|| What::WorkerUp { worker, machine: machine.0 });
                self.workers.enter(WorkerId(worker), Phase::Up);
                self.progress.begin();
                self.say_what_was_unsaid();
                let name = self.fleet.name(machine).to_owned();
                self.tell_plugin(&ToPlugin::WorkerUp { worker, machine: name, info }, Bytes::new());
                let _ = self.input(Input::WorkerJoined { worker: WorkerId(worker), machine });
            }
            FromRunner::Failed { worker, kind, message } => self.on_failed(WorkerId(worker), kind, message),
            FromRunner::Collected {
                worker,
                file,
                tests: names,
                groups,
                apart,
                deselected,
                errors,
                first,
                notfound,
                notfound_messages,
                start,
                seconds,
            } => {
                if self.fleet.recorder().is_on() && self.book.knows(FileId(file)) {
                    let (path, tests) = (self.book.path(FileId(file)).to_owned(), names.len() as u32);
                    self.record(|| What::Collected { worker, file, path, tests, errors, first, start, seconds });
                }
                if first {
                    self.show_collection_errors(errors, &blob);
                    let found =
                        Found { names, groups, apart, deselected, errors, seconds, notfound, notfound_messages };
                    self.on_collected(WorkerId(worker), FileId(file), found, blob);
                }
            }
            FromRunner::Results { worker, tests, told } => self.on_results(machine, worker, tests, &told, blob),
            FromRunner::Late { worker, file, index, .. }
                if self.dropped.contains(&(WorkerId(worker), test_id((file, index)))) => {}
            FromRunner::Late { worker, file, index, failed, seconds } => {
                if failed > 0 {
                    self.will_be_looked_at(WorkerId(worker), test_id((file, index)));
                }
                self.memory.torn_down(test_id((file, index)), failed, seconds);
                self.fleet.recorder().late(worker, file, index, &blob);
                self.tell_plugin(&ToPlugin::Late { worker, file, index, failed }, blob);
            }
            FromRunner::Missing { worker, tests } => {
                self.record(|| What::Recalled { worker, tests: tests.len() as u32, files: 0 });
                let tests = tests.into_iter().map(test_id).collect();
                let _ = self.input(Input::Missing { worker: WorkerId(worker), tests });
            }
            FromRunner::Recalled { worker, tests, files } => {
                self.record(|| What::Recalled { worker, tests: tests.len() as u32, files: files.len() as u32 });
                let tests = tests.into_iter().map(test_id).collect();
                let files = files.into_iter().map(FileId).collect();
                let _ = self.input(Input::Returned { worker: WorkerId(worker), tests, files });
            }
            FromRunner::NotPreloaded { module, reason } => {
                if self.not_preloaded.insert(module.clone()) {
                    self.note(Level::Warning, format!("{module} is imported by each worker: {reason}"), None);
                }
            }
            FromRunner::Event { worker, kind } => self.tell_plugin(&ToPlugin::Event { worker, kind }, blob),
            FromRunner::Output { worker: Some(worker), stream, .. } => {
                self.tell_plugin(&ToPlugin::Output { worker, stream }, blob);
            }
            FromRunner::Down { worker, exitstatus, stopped } => {
                self.record(|| What::WorkerDown { worker });
                self.workers.enter(WorkerId(worker), Phase::Down);
                let _ = self.input(Input::WorkerRetired { worker: WorkerId(worker) });
                self.tell_plugin(&ToPlugin::WorkerDown { worker, exitstatus, stopped }, blob);
            }
            FromRunner::Died { worker, status, running, collecting, last, stderr, timeout } => {
                let death = Death { status, running, collecting, last, stderr, timeout, told: blob };
                self.on_died(machine, WorkerId(worker), death);
            }
            FromRunner::Error { stage, kind, message } => {
                // The runner says so when it can't go on.
                let name = self.fleet.name(machine).to_owned();
                let error = MachineError::Refused { machine: name, kind, detail: format!("{stage}: {message}") };
                self.fleet.tell(machine, Command::Finish);
                self.on_machine(machine, Event::Lost(error))?;
            }
            other => {
                let detail = format!("{} sent {other:?} to a test run", self.fleet.name(machine));
                return Err(RunError::Internal(detail));
            }
        }
        Ok(())
    }

    pub(super) fn on_failed(&mut self, worker: WorkerId, kind: String, message: String) {
        self.record(|| What::WorkerDied { worker: worker.0, reason: message.trim_end().into(), test: None });
        self.workers.enter(worker, Phase::Down);
        // If it was a fresh process that is awaited, it won't come.
        let _ = self.input(Input::WorkerDied { worker, running: None, collecting: None, slot: Slot::Gone });
        let alone = !self.workers.any_hope();
        let trouble = RunError::Workers { kind, message: message.trim_end().to_owned() };
        if !alone {
            let place = self.workers.machine(worker).map_or("?", |machine| self.fleet.name(machine));
            self.note(
                Level::Warning,
                format!("{worker} on {place} could not start pytest: {}", message.trim_end()),
                None,
            );
        }
        self.last_trouble = Some(trouble);
    }

    fn on_collected(&mut self, worker: WorkerId, file: FileId, found: Found, blob: Bytes) {
        let Found { names, groups, apart, deselected, errors, seconds, notfound, notfound_messages } = found;
        let tests = names.len() as u32;
        if !self.book.knows(file) {
            return;
        }
        for news in self.bundles.news(file, &names, &groups, &apart) {
            let _ = self.input(news);
        }
        let estimates = self.memory.estimates(self.book.path(file), &names);
        let expected = estimates.clone();
        let news = Input::Collected { worker, file, tests, errors, estimates };
        // The scheduler may hand the file's tests out in the same breath, so they must be in the book when it is asked for orders.
        if self.input(news) == Verdict::Stale {
            return;
        }
        self.progress.collected(file, tests, &expected);
        if errors == 0 {
            self.memory.imported(self.book.path(file), seconds);
        } else {
            self.could_not_be_collected(worker, file);
        }
        self.book.collected(file, names);
        let (total, files_left) = (self.book.total(), self.book.files_left());
        let (worker, file) = (worker.0, file.0);
        let message = ToPlugin::Collected {
            worker,
            file,
            tests,
            deselected,
            errors,
            notfound,
            notfound_messages,
            total,
            files_left,
        };
        self.tell_plugin(&message, blob);
    }

    fn on_results(
        &mut self,
        machine: MachineId,
        worker: u32,
        tests: Vec<(u32, u32, u32, f64)>,
        told: &[Told],
        blob: Bytes,
    ) {
        let mut drop = Vec::new();
        for (position, &(file, index, failed, seconds)) in tests.iter().enumerate() {
            let test = test_id((file, index));
            let news = Input::TestFinished { worker: WorkerId(worker), test, failed };
            match self.input(news) {
                Verdict::Accepted => {
                    self.counted += 1;
                    self.was_run(WorkerId(worker), test_id((file, index)), failed > 0);
                    if let Some((&told, name)) = told.get(position).zip(self.book.name(test).cloned()) {
                        let ran = self.ran(Some(machine), Some(worker), test);
                        self.memory.finished(test, name, told, seconds, ran);
                    }
                }
                Verdict::Stale => {
                    self.dropped.insert((WorkerId(worker), test));
                    drop.push(position as u32);
                }
            }
        }
        self.workers.worked(WorkerId(worker));
        self.fleet.recorder().results(worker, &tests, &drop, &blob);
        self.tell_plugin(&ToPlugin::Results { worker, tests, drop }, blob);
    }

    fn ran(&self, machine: Option<MachineId>, worker: Option<u32>, test: TestId) -> Ran {
        let lost = self.scheduler.as_ref().map_or(0, |scheduler| scheduler.attempts_lost(test));
        let machine = machine.map(|machine| self.fleet.name(machine).to_owned()).unwrap_or_default();
        Ran { worker, machine, attempt: lost + 1 }
    }

    /// Notes a test that has an outcome and no result.
    pub(super) fn broke_off(
        &mut self,
        test: TestId,
        outcome: Outcome,
        machine: Option<MachineId>,
        worker: Option<u32>,
    ) {
        if let Some(name) = self.book.name(test).cloned() {
            let ran = self.ran(machine, worker, test);
            self.memory.broke_off(test, name, outcome, ran);
        }
    }
}

/// What the first collection of a file brought.
struct Found {
    names: Vec<TestName>,
    groups: Vec<(u32, String)>,
    apart: Vec<(u32, String)>,
    deselected: Vec<String>,
    errors: u32,
    seconds: f64,
    notfound: Vec<serde_json::Value>,
    notfound_messages: Vec<String>,
}

pub(super) fn test_id((file, index): WireTest) -> TestId {
    TestId { file: FileId(file), index }
}
