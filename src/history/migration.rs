//! The shape of the history, version by version.
//!
//! A step is never changed once it was released; a new shape is a new step at the end.

use rusqlite::{Connection, TransactionBehavior};

/// The step at position `n` leads from version `n` to `n + 1`.
pub(super) const STEPS: &[&str] = &[
    "
    CREATE TABLE projects (
        id INTEGER PRIMARY KEY,
        root TEXT NOT NULL UNIQUE
    );
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        project INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
        name TEXT NOT NULL,
        began REAL NOT NULL,
        ended REAL NOT NULL,
        mode TEXT NOT NULL,
        workers INTEGER NOT NULL,
        machines INTEGER NOT NULL,
        provider TEXT NOT NULL,
        dollars REAL,
        ending TEXT NOT NULL,
        tests INTEGER NOT NULL,
        failed INTEGER NOT NULL
    );
    CREATE INDEX runs_of_project ON runs (project, id);
    CREATE TABLE tests (
        id INTEGER PRIMARY KEY,
        project INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
        nodeid TEXT NOT NULL,
        k INTEGER NOT NULL,
        seconds REAL,
        measured INTEGER NOT NULL,
        seen REAL NOT NULL,
        UNIQUE (project, nodeid, k)
    );
    CREATE TABLE files (
        project INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
        path TEXT NOT NULL,
        import_seconds REAL NOT NULL,
        measured INTEGER NOT NULL,
        seen REAL NOT NULL,
        PRIMARY KEY (project, path)
    ) WITHOUT ROWID;
    CREATE TABLE outcomes (
        run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
        position INTEGER NOT NULL,
        test INTEGER NOT NULL REFERENCES tests ON DELETE CASCADE,
        outcome TEXT NOT NULL,
        setup REAL NOT NULL,
        call REAL NOT NULL,
        teardown REAL NOT NULL,
        worker INTEGER,
        machine TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        reruns INTEGER NOT NULL,
        PRIMARY KEY (run, position)
    ) WITHOUT ROWID;
    CREATE INDEX outcomes_of_test ON outcomes (test, run);
",
    "
    ALTER TABLE runs ADD COLUMN command TEXT NOT NULL DEFAULT '';
",
];

/// Brings a history to the newest version; says which version it has if that is beyond `steps`.
pub(super) fn migrate(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<Result<(), i64>> {
    let version = |connection: &Connection| connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    let newest = steps.len() as i64;
    if version(connection)? == newest {
        return Ok(Ok(()));
    }
    // Another run may be at the same: whoever comes second finds nothing left to do.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    let Some(ahead) = usize::try_from(found).ok().and_then(|found| steps.get(found..)) else { return Ok(Err(found)) };
    for step in ahead {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", newest)?;
    transaction.commit()?;
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_history_keeps_what_it_has() {
        let mut connection = Connection::open_in_memory().unwrap();
        let first = "CREATE TABLE things (name TEXT); INSERT INTO things VALUES ('kept');";
        let second = "ALTER TABLE things ADD COLUMN size INTEGER NOT NULL DEFAULT 7;";
        assert_eq!(migrate(&mut connection, &[first]).unwrap(), Ok(()));
        for _ in 0..2 {
            assert_eq!(migrate(&mut connection, &[first, second]).unwrap(), Ok(()));
        }
        let kept: (String, i64) =
            connection.query_row("SELECT * FROM things", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(kept, ("kept".into(), 7));
        assert_eq!(migrate(&mut connection, &[first]).unwrap(), Err(2));
    }

    #[test]
    fn a_step_that_fails_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(migrate(&mut connection, &["CREATE TABLE things (name TEXT); nonsense;"]).is_err());
        assert_eq!(migrate(&mut connection, &["CREATE TABLE things (name TEXT);"]).unwrap(), Ok(()));
    }
}
