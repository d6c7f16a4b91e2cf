//! What can be asked of the history. For commands and reports; nothing is changed here.

use rusqlite::{Params, Row, params};
use serde::Serialize;

use super::{Durations, History, HistoryError};
use crate::model::event::SSH_RUN;

/// A run as the history has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PastRun {
    pub id: i64,
    pub name: String,
    /// Seconds since 1970.
    pub began: f64,
    pub ended: f64,
    pub mode: String,
    pub workers: u32,
    pub machines: u32,
    pub provider: String,
    pub dollars: Option<f64>,
    pub ending: String,
    pub tests: u32,
    pub failed: u32,
    /// What was run, where that is known.
    pub command: String,
}

impl PastRun {
    /// Whether it ran tests, not a command of the user's.
    pub fn is_of_tests(&self) -> bool {
        self.mode != SSH_RUN
    }
}

/// How a test ended in a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PastOutcome {
    pub nodeid: String,
    pub k: u32,
    /// The words of [`super::Outcome`].
    pub outcome: String,
    pub setup: f64,
    pub call: f64,
    pub teardown: f64,
    pub worker: Option<u32>,
    pub machine: String,
    pub attempt: u32,
    pub reruns: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlowTest {
    pub nodeid: String,
    pub seconds: f64,
    pub measured: u32,
}

/// A test that ended now well, now badly.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlakyTest {
    pub nodeid: String,
    pub runs: u32,
    pub failed: u32,
    /// Runs in which it passed only when it was run again.
    pub rerun: u32,
    /// How often it ended otherwise than the time before.
    pub changes: u32,
    pub last: String,
}

impl History {
    /// What all tests and imports of a project take.
    pub fn durations(&self, root: &str) -> Result<Durations, HistoryError> {
        let mut durations = Durations::default();
        let tests = self.rows(
            "SELECT nodeid, k, seconds FROM tests JOIN projects ON projects.id = project
             WHERE root = ?1 AND seconds IS NOT NULL",
            [root],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        for (nodeid, k, seconds) in tests {
            durations.add_test(nodeid, k, seconds);
        }
        let imports = self.rows(
            "SELECT path, import_seconds FROM files JOIN projects ON projects.id = project WHERE root = ?1",
            [root],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        for (path, seconds) in imports {
            durations.add_import(path, seconds);
        }
        Ok(durations)
    }

    /// The last runs of a project, the newest first.
    pub fn runs(&self, root: &str, most: u32) -> Result<Vec<PastRun>, HistoryError> {
        self.rows(
            "SELECT runs.id, name, began, ended, mode, workers, machines, provider, dollars, ending, tests, failed, command
             FROM runs JOIN projects ON projects.id = project WHERE root = ?1 ORDER BY runs.id DESC LIMIT ?2",
            params![root, most],
            |row| {
                Ok(PastRun {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    began: row.get(2)?,
                    ended: row.get(3)?,
                    mode: row.get(4)?,
                    workers: row.get(5)?,
                    machines: row.get(6)?,
                    provider: row.get(7)?,
                    dollars: row.get(8)?,
                    ending: row.get(9)?,
                    tests: row.get(10)?,
                    failed: row.get(11)?,
                    command: row.get(12)?,
                })
            },
        )
    }

    /// How the tests of a run ended, in the order in which it became known.
    pub fn outcomes(&self, run: i64) -> Result<Vec<PastOutcome>, HistoryError> {
        self.rows(
            "SELECT nodeid, k, outcome, setup, call, teardown, worker, machine, attempt, reruns
             FROM outcomes JOIN tests ON tests.id = test WHERE run = ?1 ORDER BY position",
            [run],
            |row| {
                Ok(PastOutcome {
                    nodeid: row.get(0)?,
                    k: row.get(1)?,
                    outcome: row.get(2)?,
                    setup: row.get(3)?,
                    call: row.get(4)?,
                    teardown: row.get(5)?,
                    worker: row.get(6)?,
                    machine: row.get(7)?,
                    attempt: row.get(8)?,
                    reruns: row.get(9)?,
                })
            },
        )
    }

    /// The tests that take longest.
    pub fn slowest(&self, root: &str, most: u32) -> Result<Vec<SlowTest>, HistoryError> {
        self.rows(
            "SELECT nodeid, seconds, measured FROM tests JOIN projects ON projects.id = project
             WHERE root = ?1 AND seconds IS NOT NULL ORDER BY seconds DESC, nodeid LIMIT ?2",
            params![root, most],
            |row| Ok(SlowTest { nodeid: row.get(0)?, seconds: row.get(1)?, measured: row.get(2)? }),
        )
    }

    /// The tests that change their minds most, of the runs whose outcomes are kept.
    pub fn flaky(&self, root: &str, most: u32) -> Result<Vec<FlakyTest>, HistoryError> {
        self.rows(
            "WITH judged AS (
                 SELECT test, run, outcome, reruns, outcome IN ('failed', 'error', 'crashed') AS bad
                 FROM outcomes JOIN runs ON runs.id = run JOIN projects ON projects.id = project
                 WHERE root = ?1 AND mode != 'each' AND outcome NOT IN ('skipped', 'lost')
             ), beside AS (
                 SELECT *, lag(bad) OVER (PARTITION BY test ORDER BY run) AS before FROM judged
             )
             SELECT nodeid, count(*), sum(bad), sum(reruns > 0 AND NOT bad), sum(bad != coalesce(before, bad)) AS changes,
                    (SELECT outcome FROM judged WHERE judged.test = beside.test ORDER BY run DESC LIMIT 1)
             FROM beside JOIN tests ON tests.id = test
             GROUP BY test HAVING (sum(bad) > 0 AND sum(bad) < count(*)) OR sum(reruns > 0 AND NOT bad) > 0
             ORDER BY changes + sum(reruns > 0 AND NOT bad) DESC, nodeid LIMIT ?2",
            params![root, most],
            |row| {
                Ok(FlakyTest {
                    nodeid: row.get(0)?,
                    runs: row.get(1)?,
                    failed: row.get(2)?,
                    rerun: row.get(3)?,
                    changes: row.get(4)?,
                    last: row.get(5)?,
                })
            },
        )
    }

    fn rows<T>(
        &self,
        query: &str,
        values: impl Params,
        read: impl FnMut(&Row) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, HistoryError> {
        let rows = || self.connection.prepare(query)?.query_map(values, read)?.collect();
        let rows: rusqlite::Result<Vec<T>> = (rows)();
        rows.map_err(|source| HistoryError::Database { doing: "read", path: self.path.clone(), source })
    }
}
