//! The history over several runs, several connections, and damage.

use std::{fs, thread};

use super::{Durations, History, HistoryError, Outcome, OutcomeRecord, RunRecord, migration::STEPS};

fn outcome(nodeid: &str, outcome: Outcome, call: f64) -> OutcomeRecord {
    OutcomeRecord {
        nodeid: nodeid.into(),
        k: 0,
        outcome,
        setup: 0.25,
        call,
        teardown: 0.25,
        worker: Some(1),
        machine: "m0".into(),
        attempt: 1,
        reruns: 0,
    }
}

fn run(began: f64, outcomes: Vec<OutcomeRecord>) -> RunRecord {
    RunRecord {
        name: format!("run-{began}"),
        root: "/p".into(),
        began,
        ended: began + 10.0,
        mode: "test".into(),
        workers: 4,
        machines: 2,
        provider: "local".into(),
        dollars: Some(0.5),
        ending: "done",
        command: "pytest".into(),
        failed: outcomes.iter().filter(|outcome| outcome.outcome.is_bad()).count() as u32,
        outcomes,
        imports: vec![("a.py".into(), 2.0)],
    }
}

fn seconds(history: &History, nodeid: &str) -> Option<f64> {
    let durations = history.durations("/p").unwrap();
    durations.file("a.py").and_then(|file| file.of(nodeid, 0)).map(|took| took.as_secs_f64())
}

#[test]
fn durations_follow_what_is_measured() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("below/history");
    let mut history = History::open(&path).unwrap().history;
    let one = |word, call| vec![outcome("a.py::one", word, call)];
    history.add_run(&run(0.0, one(Outcome::Failed, 7.5))).unwrap();
    assert_eq!(seconds(&history, "a.py::one"), Some(8.0));
    history.add_run(&run(1.0, one(Outcome::Passed, 1.5))).unwrap();
    assert_eq!(seconds(&history, "a.py::one"), Some(2.0));
    history.add_run(&run(2.0, one(Outcome::Passed, 3.5))).unwrap();
    assert_eq!(seconds(&history, "a.py::one"), Some(3.0));
    history.add_run(&run(3.0, one(Outcome::Crashed, 0.0))).unwrap();
    drop(history);
    let history = History::open(&path).unwrap().history;
    assert_eq!(seconds(&history, "a.py::one"), Some(3.0));
    assert_eq!(history.durations("/p").unwrap().file("a.py").unwrap().import.unwrap().as_secs(), 2);
    assert!(history.durations("/other").unwrap().is_empty());
}

#[test]
fn runs_are_listed_and_tests_that_waver_are_found() {
    let place = tempfile::tempdir().unwrap();
    let mut history = History::open(&place.path().join("history")).unwrap().history;
    for number in 0..4 {
        let wavering = if number % 2 == 0 { Outcome::Passed } else { Outcome::Failed };
        let outcomes = vec![
            outcome("a.py::steady", Outcome::Passed, 1.0),
            outcome("a.py::broken", Outcome::Failed, 1.0),
            outcome("a.py::wavers", wavering, 2.0),
        ];
        history.add_run(&run(f64::from(number), outcomes)).unwrap();
    }
    let runs = history.runs("/p", 2).unwrap();
    assert_eq!(
        runs.iter().map(|run| (run.began, run.tests, run.failed)).collect::<Vec<_>>(),
        [(3.0, 3, 2), (2.0, 3, 1)]
    );
    let outcomes = history.outcomes(runs[0].id).unwrap();
    assert_eq!(outcomes[2].nodeid, "a.py::wavers");
    assert_eq!(outcomes[2].outcome.parse(), Ok(Outcome::Failed));
    let flaky = history.flaky("/p", 10).unwrap();
    assert_eq!(flaky.len(), 1);
    assert_eq!((flaky[0].nodeid.as_str(), flaky[0].failed, flaky[0].changes), ("a.py::wavers", 2, 3));
    assert_eq!(history.slowest("/p", 1).unwrap()[0].nodeid, "a.py::wavers");
}

#[test]
fn old_runs_and_tests_are_forgotten() {
    let place = tempfile::tempdir().unwrap();
    let mut history = History::open(&place.path().join("history")).unwrap().history;
    let day = 24.0 * 3600.0;
    history.add_run(&run(0.0, vec![outcome("a.py::gone", Outcome::Passed, 1.0)])).unwrap();
    let first = history.runs("/p", 1).unwrap()[0].id;
    for number in 0..60 {
        let began = 200.0 * day + f64::from(number);
        history.add_run(&run(began, vec![outcome("a.py::stays", Outcome::Passed, 1.0)])).unwrap();
    }
    assert_eq!(history.runs("/p", 100).unwrap().len(), 61);
    assert_eq!(history.outcomes(first).unwrap(), []);
    assert_eq!(history.outcomes(first + 5).unwrap(), []);
    assert_eq!(history.outcomes(first + 60).unwrap().len(), 1);
    assert_eq!(seconds(&history, "a.py::gone"), None);
    assert!(seconds(&history, "a.py::stays").is_some());
}

#[test]
fn commands_push_no_outcomes_out() {
    let place = tempfile::tempdir().unwrap();
    let mut history = History::open(&place.path().join("history")).unwrap().history;
    history.add_run(&run(0.0, vec![outcome("a.py::one", Outcome::Passed, 1.0)])).unwrap();
    for number in 1..60 {
        let command =
            RunRecord { mode: "ssh-run".into(), command: "make".into(), ..run(f64::from(number), Vec::new()) };
        history.add_run(&command).unwrap();
    }
    let runs = history.runs("/p", 100).unwrap();
    assert!(!runs[0].is_of_tests() && runs[59].is_of_tests());
    assert_eq!(runs[0].command, "make");
    assert_eq!(history.outcomes(runs[59].id).unwrap().len(), 1);
}

#[test]
fn a_history_of_the_first_version_keeps_its_runs() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("history");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(STEPS[0]).unwrap();
    old.execute_batch(
        "INSERT INTO projects VALUES (1, '/p');
         INSERT INTO runs VALUES (7, 1, 'old', 1, 2, 'test', 3, 4, 'local', NULL, 'done', 5, 6);
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    let mut history = History::open(&path).unwrap().history;
    history.add_run(&run(3.0, Vec::new())).unwrap();
    let runs = history.runs("/p", 10).unwrap();
    assert_eq!(
        runs.iter().map(|run| (run.id, run.failed, run.command.as_str())).collect::<Vec<_>>(),
        [(8, 0, "pytest"), (7, 6, "")]
    );
}

#[test]
fn runs_that_end_at_once_are_all_there() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("history");
    thread::scope(|scope| {
        for number in 0..8 {
            let path = &path;
            scope.spawn(move || {
                let mut history = History::open(path).unwrap().history;
                let outcomes = (0..200).map(|test| outcome(&format!("a.py::{test}"), Outcome::Passed, 1.0)).collect();
                history.add_run(&run(f64::from(number), outcomes)).unwrap();
            });
        }
    });
    let history = History::open(&path).unwrap().history;
    assert_eq!(history.runs("/p", 100).unwrap().len(), 8);
    assert_eq!(history.durations("/p").unwrap().tests().count(), 200);
}

#[test]
fn what_is_no_history_is_set_aside() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("history");
    fs::write(&path, "not a database, but long enough to be looked at ".repeat(50)).unwrap();
    let set_aside: Vec<_> = thread::scope(|scope| {
        let opened: Vec<_> = (0..4).map(|_| scope.spawn(|| History::open(&path).unwrap())).collect();
        opened.into_iter().filter_map(|opened| opened.join().unwrap().set_aside).collect()
    });
    assert_eq!(set_aside.len(), 1);
    assert!(fs::read_to_string(&set_aside[0]).unwrap().starts_with("not a database"));
    let mut history = History::open(&path).unwrap().history;
    history.add_run(&run(0.0, Vec::new())).unwrap();
}

#[test]
fn damage_that_is_found_later_is_set_aside_too() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("history");
    let mut history = History::open(&path).unwrap().history;
    let outcomes = (0..2000).map(|test| outcome(&format!("a.py::{test}"), Outcome::Passed, 1.0)).collect();
    history.add_run(&run(0.0, outcomes)).unwrap();
    drop(history);
    let mut bytes = fs::read(&path).unwrap();
    let sound = 4096.min(bytes.len());
    bytes[sound..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let history = match History::open(&path) {
        // Found at once: that's as well.
        Ok(opened) if opened.set_aside.is_some() => return,
        opened => opened.unwrap().history,
    };
    let error = history.durations("/p").unwrap_err();
    assert!(error.is_damage(), "{error}");
    assert!(history.set_aside_if_damaged(&error).unwrap().exists());
    assert!(History::open(&path).unwrap().history.durations("/p").unwrap().is_empty());
}

#[test]
fn a_newer_history_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("history");
    let history = History::open(&path).unwrap().history;
    history.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(history);
    assert!(matches!(History::open(&path), Err(HistoryError::Newer { found: 99, .. })));
}

#[test]
fn durations_from_elsewhere_count() {
    let place = tempfile::tempdir().unwrap();
    let mut history = History::open(&place.path().join("history")).unwrap().history;
    let mut durations = Durations::default();
    durations.add_test("a.py::one".into(), 0, 3.0);
    history.import("/p", &durations).unwrap();
    history.import("/p", &durations).unwrap();
    assert_eq!(seconds(&history, "a.py::one"), Some(3.0));
}
