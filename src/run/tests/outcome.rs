//! How a test run ended.

use serde::Serialize;

use super::{RunError, TestRun};
use crate::{protocol::bridge::Level, scheduler::Scheduler, text};

#[derive(Debug)]
pub enum Ending {
    Done(Summary),
    /// The plugin asked for it: `-x`, `--maxfail`, Ctrl-C.
    Stopped(Summary),
    /// The plugin is gone; nobody is there to be told.
    Abandoned,
}

#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub tests: usize,
    pub workers: usize,
    pub machines: usize,
    pub seconds: f64,
}

impl TestRun<'_> {
    /// What came of tests that were tried a second time.
    pub(super) fn tell_of_second_tries(&self) {
        let Some(tried) = self.scheduler.as_ref().map(Scheduler::speculated).filter(|tried| tried.begun > 0) else {
            return;
        };
        let begun = text::counted(tried.begun as usize, "test");
        let text =
            format!("{begun} took far longer than expected and had a second try, which ended first for {}", tried.won);
        self.note(Level::Info, text, None);
    }

    pub(super) fn ending(self) -> Result<Ending, RunError> {
        let summary = Summary {
            tests: self.counted,
            workers: self.workers.count(),
            machines: self.fleet.machines(),
            seconds: self.began.elapsed().as_secs_f64(),
        };
        if self.budget_spent {
            return Err(RunError::BudgetSpent);
        }
        if self.stopping.is_some() {
            return Ok(Ending::Stopped(summary));
        }
        match (self.last_trouble, self.lost) {
            (_, 0) => Ok(Ending::Done(summary)),
            (Some(trouble), _) if self.counted == 0 => Err(trouble),
            (_, count) => Err(RunError::Unfinished { count }),
        }
    }
}
