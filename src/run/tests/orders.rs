//! What the scheduler decided, carried out.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{ABORT_PATIENCE, Stopping, TestRun};
use crate::{
    history::Outcome,
    machine::Command,
    model::{FileId, WorkerId, event::What},
    protocol::bridge::ToPlugin,
    scheduler::{Action, GiveUpReason, Subject, Work},
};

/// What a running test may still take after everything was stopped, before it is interrupted.
const STOP_GRACE: Duration = Duration::from_secs(1);

impl TestRun<'_> {
    pub(super) fn carry_out(&mut self) {
        while let Some(action) = self.scheduler.as_mut().and_then(|scheduler| scheduler.poll_action()) {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Run { worker, file, work } => self.run_on(worker, file, work),
            Action::Recall { worker, count } => self.tell_worker(worker, Command::Recall { worker, count }),
            Action::CloseWorker { worker, interrupt } => {
                self.tell_worker(worker, Command::Close { worker, interrupt });
            }
            Action::CollectionComplete { tests } => {
                self.record(|| What::CollectionComplete { tests });
                self.tell_plugin(&ToPlugin::CollectionComplete { total: tests }, Bytes::new());
            }
            Action::GiveUp { subject, reason } => self.give_up(subject, reason),
            Action::Abort => self.abort(),
            Action::Finished { .. } => {
                self.finished = true;
                self.tell_of_second_tries();
            }
        }
    }

    fn run_on(&mut self, worker: WorkerId, file: FileId, work: Work) {
        let spec = self.book.spec(file);
        let (tests, execute) = match work {
            Work::Collect { execute } => (None, execute),
            Work::Tests(indices) => (Some(self.book.run_tests(file, &indices)), true),
        };
        let count = tests.as_ref().map(|tests| tests.len() as u32);
        self.record(|| What::Given { worker: worker.0, file: file.0, tests: count, execute });
        self.tell_worker(worker, Command::Run { worker, file, spec, tests, execute });
    }

    fn tell_worker(&self, worker: WorkerId, command: Command) {
        if let Some(machine) = self.workers.machine(worker) {
            self.fleet.tell(machine, command);
        }
    }

    fn give_up(&mut self, subject: Subject, reason: GiveUpReason) {
        self.lost += 1;
        if let Subject::Test(test) = subject {
            self.broke_off(test, Outcome::Lost, None, None);
        }
        let file = match subject {
            Subject::Test(test) => test.file,
            Subject::File(file) => file,
        };
        let owner = self.scheduler.as_ref().and_then(|scheduler| scheduler.last_owner(file));
        let message = match reason {
            GiveUpReason::AttemptsExhausted { attempts } => {
                format!("its machine was lost {attempts} times; it was not tried again")
            }
            GiveUpReason::NotFound => {
                "it was collected on one worker but could not be found on another: its node id differs from process to process".into()
            }
            GiveUpReason::NoWorkersLeft if self.copies.count() == 1 => "no worker was left to run it".into(),
            GiveUpReason::NoWorkersLeft => match owner {
                Some(worker) => format!("{worker} is gone, and no other worker came in its place"),
                None => format!("not as many workers came as were asked for, which was {}", self.rules.workers),
            },
        };
        let (nodeid, path) = match subject {
            Subject::Test(test) => (Some(self.book.nodeid(test)), None),
            Subject::File(file) => (None, Some(self.book.path(file).to_owned())),
        };
        self.record(|| What::Lost {
            subject: nodeid.clone().or_else(|| path.clone()).unwrap_or_default(),
            reason: message.clone(),
        });
        self.tell_plugin(&ToPlugin::Lost { worker: owner.map(|worker| worker.0), nodeid, path, message }, Bytes::new());
    }

    fn abort(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Stopping { deadline: Instant::now() + STOP_GRACE + ABORT_PATIENCE });
        self.fleet.tell_all(|| Command::Abort { grace: STOP_GRACE.as_secs_f64() });
    }
}
