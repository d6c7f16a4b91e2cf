//! The file: opened, brought to this version, written to in one go at a run's end, and kept small.
//!
//! Several runs may have it open at once. What is not a history is set aside, never overwritten.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{
    Durations, HistoryError, OutcomeRecord, RunRecord,
    error::is_damage,
    migration::{STEPS, migrate},
};
use crate::{cache, model::event::SSH_RUN};

/// How long a run waits for another one that writes.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many runs of a project are kept with the outcomes of their tests,
const RUNS_WITH_OUTCOMES: u32 = 50;
/// and so many without.
const RUNS: u32 = 1000;
/// Tests and files that were not seen for so long are forgotten.
const FORGOTTEN_AFTER: f64 = 180.0 * 24.0 * 3600.0;

/// The newest measurement counts for at least one in so many.
const MEMORY: i64 = 4;

pub struct History {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
}

/// A history, and what became of the file that was in its place if that was damaged.
pub struct Opened {
    pub history: History,
    pub set_aside: Option<PathBuf>,
}

/// Where the history of this user is.
pub fn default_path() -> Result<PathBuf, HistoryError> {
    let directory = cache::state_directory().map_err(|source| HistoryError::Nowhere { source })?;
    Ok(directory.join("history.sqlite3"))
}

impl History {
    /// Opens the history at `path`, makes it if there is none, and sets aside what is none.
    pub fn open(path: &Path) -> Result<Opened, HistoryError> {
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)
            .map_err(|source| HistoryError::Directory { path: directory.to_owned(), source })?;
        // One after the other: SQLite lets nobody wait who turns to its write-ahead log when another does, and its locks
        // don't cover a file that is set aside.
        let _lock = Lock::take(path)?;
        match Self::open_sound(path) {
            Err(error) if error.is_damage() => {}
            opened => return Ok(Opened { history: opened?, set_aside: None }),
        }
        let failed = |source| HistoryError::SetAside { path: path.to_owned(), source };
        let aside = set_aside(path).map_err(failed)?;
        Ok(Opened { history: Self::open_sound(path)?, set_aside: Some(aside) })
    }

    fn open_sound(path: &Path) -> Result<Self, HistoryError> {
        let failed = |source| HistoryError::Database { doing: "open", path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(PATIENCE).map_err(failed)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")
            .map_err(failed)?;
        match migrate(&mut connection, STEPS).map_err(failed)? {
            Ok(()) => Ok(Self { connection, path: path.to_owned() }),
            Err(found) => Err(HistoryError::Newer { path: path.to_owned(), found, known: STEPS.len() as i64 }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a run down, all of it or nothing, and forgets what is old.
    pub fn add_run(&mut self, run: &RunRecord) -> Result<(), HistoryError> {
        self.write("write to", |transaction| {
            let project = project(transaction, &run.root)?;
            transaction.execute(
                "INSERT INTO runs (project, name, began, ended, mode, workers, machines, provider, dollars, ending, tests, failed, command)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                params![
                    project,
                    run.name,
                    run.began,
                    run.ended,
                    run.mode,
                    run.workers,
                    run.machines,
                    run.provider,
                    run.dollars,
                    run.ending,
                    run.outcomes.len() as i64,
                    run.failed,
                    run.command
                ],
            )?;
            let id = transaction.last_insert_rowid();
            for (position, outcome) in run.outcomes.iter().enumerate() {
                let measured = outcome.outcome.is_whole().then(|| outcome.seconds());
                let test = learn_test(transaction, project, outcome, measured, run.ended)?;
                add_outcome(transaction, id, position as i64, test, outcome)?;
            }
            for (path, seconds) in &run.imports {
                learn_import(transaction, project, path, *seconds, run.ended)?;
            }
            forget(transaction, project, run.ended)
        })
    }

    /// Takes over durations from elsewhere; they replace what is known of the same tests.
    pub fn import(&mut self, root: &str, durations: &Durations) -> Result<(), HistoryError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.write("import durations into", |transaction| {
            let project = project(transaction, root)?;
            let mut insert = transaction.prepare(
                "INSERT INTO tests (project, nodeid, k, seconds, measured, seen) VALUES (?1, ?2, 0, ?3, 1, ?4)
                 ON CONFLICT (project, nodeid, k) DO UPDATE SET seconds = ?3, measured = 1, seen = ?4",
            )?;
            for (nodeid, seconds) in durations.tests() {
                insert.execute(params![project, nodeid, seconds, now])?;
            }
            Ok(())
        })
    }

    fn write(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&Transaction) -> rusqlite::Result<()>,
    ) -> Result<(), HistoryError> {
        let written = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|transaction| work(&transaction).and_then(|()| transaction.commit()));
        written.map_err(|source| HistoryError::Database { doing, path: self.path.clone(), source })
    }

    /// Whether this history turned out to be damaged. Then it is set aside; the next run begins a new one.
    pub fn set_aside_if_damaged(self, error: &HistoryError) -> Option<PathBuf> {
        let HistoryError::Database { source, .. } = error else { return None };
        if !is_damage(source) {
            return None;
        }
        let path = self.path.clone();
        drop(self.connection);
        set_aside(&path).ok()
    }
}

fn project(transaction: &Transaction, root: &str) -> rusqlite::Result<i64> {
    transaction.execute("INSERT INTO projects (root) VALUES (?1) ON CONFLICT DO NOTHING", [root])?;
    transaction.query_row("SELECT id FROM projects WHERE root = ?1", [root], |row| row.get(0))
}

/// The number of a test, whose mean takes in what was measured.
fn learn_test(
    transaction: &Transaction,
    project: i64,
    outcome: &OutcomeRecord,
    measured: Option<f64>,
    now: f64,
) -> rusqlite::Result<i64> {
    let known: Option<(i64, Option<f64>, i64)> = transaction
        .prepare_cached("SELECT id, seconds, measured FROM tests WHERE project = ?1 AND nodeid = ?2 AND k = ?3")?
        .query_row(params![project, outcome.nodeid, outcome.k], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    match known {
        None => {
            // What a failed test took is better than nothing.
            let first = measured.or((outcome.seconds() > 0.0).then(|| outcome.seconds()));
            transaction
                .prepare_cached(
                    "INSERT INTO tests (project, nodeid, k, seconds, measured, seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![project, outcome.nodeid, outcome.k, first, i64::from(measured.is_some()), now])?;
            Ok(transaction.last_insert_rowid())
        }
        Some((id, mean, count)) => {
            let (mean, count) = match (measured, mean) {
                (Some(seconds), Some(mean)) if count > 0 => (Some(smoothed(mean, seconds, count)), count + 1),
                (Some(seconds), _) => (Some(seconds), 1),
                (None, mean) => (mean, count),
            };
            transaction
                .prepare_cached("UPDATE tests SET seconds = ?2, measured = ?3, seen = ?4 WHERE id = ?1")?
                .execute(params![id, mean, count, now])?;
            Ok(id)
        }
    }
}

fn add_outcome(
    transaction: &Transaction,
    run: i64,
    position: i64,
    test: i64,
    outcome: &OutcomeRecord,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO outcomes (run, position, test, outcome, setup, call, teardown, worker, machine, attempt, reruns)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            run,
            position,
            test,
            outcome.outcome.to_string(),
            outcome.setup,
            outcome.call,
            outcome.teardown,
            outcome.worker,
            outcome.machine,
            outcome.attempt,
            outcome.reruns
        ])
        .map(|_| ())
}

fn learn_import(transaction: &Transaction, project: i64, path: &str, seconds: f64, now: f64) -> rusqlite::Result<()> {
    let known: Option<(f64, i64)> = transaction
        .prepare_cached("SELECT import_seconds, measured FROM files WHERE project = ?1 AND path = ?2")?
        .query_row(params![project, path], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (mean, count) = known.map_or((seconds, 1), |(mean, count)| (smoothed(mean, seconds, count), count + 1));
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO files (project, path, import_seconds, measured, seen) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![project, path, mean, count, now])
        .map(|_| ())
}

fn smoothed(mean: f64, newest: f64, count: i64) -> f64 {
    mean + (newest - mean) / (count + 1).min(MEMORY) as f64
}

fn forget(transaction: &Transaction, project: i64, now: f64) -> rusqlite::Result<()> {
    let beyond =
        |which: &str| format!("SELECT id FROM runs WHERE project = ?1 {which} ORDER BY id DESC LIMIT -1 OFFSET ?2");
    // Commands have no outcomes, and push out none.
    let of_tests = beyond(&format!("AND mode != '{SSH_RUN}'"));
    transaction
        .execute(&format!("DELETE FROM outcomes WHERE run IN ({of_tests})"), params![project, RUNS_WITH_OUTCOMES])?;
    transaction.execute(&format!("DELETE FROM runs WHERE id IN ({})", beyond("")), params![project, RUNS])?;
    for table in ["tests", "files"] {
        let old = format!("DELETE FROM {table} WHERE project = ?1 AND seen < ?2");
        transaction.execute(&old, params![project, now - FORGOTTEN_AFTER])?;
    }
    Ok(())
}

/// Held while a history is opened.
struct Lock {
    _file: File,
}

impl Lock {
    fn take(path: &Path) -> Result<Self, HistoryError> {
        let failed = |source| HistoryError::Lock { path: path.to_owned(), source };
        let file = File::create(beside(path, "lock")).map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// `history.sqlite3` and `lock` give `history.sqlite3-lock`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-");
    name.push(suffix);
    name.into()
}

fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let aside = beside(path, &format!("damaged-{}", since.as_millis()));
    fs::rename(path, &aside)?;
    for companion in ["wal", "shm"] {
        // They belong to the damaged one, and would be taken for the new one's.
        match fs::rename(beside(path, companion), beside(&aside, companion)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}
