//! What a run knows of earlier ones, and what it leaves to later ones.
//!
//! Reads and writes no file: durations come in at the start, records are taken out at the end, whatever that was.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    history::{Durations, Outcome, OutcomeRecord},
    model::TestId,
    protocol::{
        TestName,
        runner::{FileSpec, Told},
    },
    scheduler::Forecast,
};

pub struct Memory {
    root: PathBuf,
    known: Durations,
    outcomes: Vec<OutcomeRecord>,
    positions: HashMap<TestId, usize>,
    imports: Vec<(String, f64)>,
}

/// Where a test was run.
pub(super) struct Ran {
    pub worker: Option<u32>,
    pub machine: String,
    pub attempt: u32,
}

impl Memory {
    /// `root` is what node ids are relative to.
    pub fn new(root: &Path, known: Durations) -> Self {
        let (outcomes, positions, imports) = (Vec::new(), HashMap::new(), Vec::new());
        Self { root: root.to_owned(), known, outcomes, positions, imports }
    }

    /// How tests ended, in the order in which that became known.
    pub fn outcomes(&self) -> &[OutcomeRecord] {
        &self.outcomes
    }

    /// Outcomes, and the files that were imported with the seconds that it took.
    pub fn into_records(self) -> (Vec<OutcomeRecord>, Vec<(String, f64)>) {
        (self.outcomes, self.imports)
    }

    /// What node ids of the file begin with.
    pub(super) fn name<'a>(&self, path: &'a str) -> Option<&'a str> {
        Path::new(path).strip_prefix(&self.root).ok()?.to_str()
    }

    /// What is to be expected of a file that nobody has imported yet.
    pub(super) fn forecast(&self, spec: &FileSpec) -> Option<Forecast> {
        let name = self.name(&spec.path)?;
        let file = self.known.file(name)?;
        let import = file.import.unwrap_or_default();
        let Some(selected) = &spec.select else {
            return Some(Forecast { import, tests: file.total(), longest: file.longest() });
        };
        let wanted: Vec<String> = selected.iter().map(|parts| format!("{name}::{}", parts.join("::"))).collect();
        let is_wanted = |nodeid: &str| {
            wanted.iter().any(|prefix| {
                nodeid.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', ':']))
            })
        };
        let (mut tests, mut longest) = (Duration::ZERO, Duration::ZERO);
        for took in file.tests().filter(|(nodeid, _)| is_wanted(nodeid)).map(|(_, took)| took) {
            tests += took;
            longest = longest.max(took);
        }
        Some(Forecast { import, tests, longest })
    }

    /// One for each test, or nothing at all if nothing is known of the file. A test that is new takes as long as others there.
    pub(super) fn estimates(&self, path: &str, names: &[TestName]) -> Vec<Option<Duration>> {
        let Some(file) = self.name(path).and_then(|name| self.known.file(name)) else { return Vec::new() };
        names.iter().map(|(nodeid, k)| file.of(nodeid, *k).or(file.mean())).collect()
    }

    /// What all that is known takes on one worker.
    pub fn expected(&self) -> Option<Duration> {
        let files = self.known.files().map(|(_, file)| file.import.unwrap_or_default() + file.total());
        (!self.known.is_empty()).then(|| files.sum())
    }

    pub(super) fn imported(&mut self, path: &str, seconds: f64) {
        if let Some(name) = self.name(path) {
            self.imports.push((name.to_owned(), seconds));
        }
    }

    pub(super) fn finished(&mut self, test: TestId, name: TestName, told: Told, seconds: f64, ran: Ran) {
        let (letter, setup, call, reruns) = told;
        let outcome = match letter {
            'f' => Outcome::Failed,
            'e' => Outcome::Error,
            's' => Outcome::Skipped,
            'x' => Outcome::Xfailed,
            'X' => Outcome::Xpassed,
            _ => Outcome::Passed,
        };
        let teardown = (seconds - setup - call).max(0.0);
        self.note(test, name, outcome, ran, [setup, call, teardown], reruns);
    }

    /// The test had no end of its own.
    pub(super) fn broke_off(&mut self, test: TestId, name: TestName, outcome: Outcome, ran: Ran) {
        self.note(test, name, outcome, ran, [0.0; 3], 0);
    }

    /// The teardown of a test came after its result.
    pub(super) fn torn_down(&mut self, test: TestId, failed: u32, seconds: f64) {
        let Some(record) = self.positions.get(&test).and_then(|&position| self.outcomes.get_mut(position)) else {
            return;
        };
        record.teardown += seconds;
        if failed > 0 && !record.outcome.is_bad() {
            record.outcome = Outcome::Error;
        }
    }

    fn note(&mut self, test: TestId, (nodeid, k): TestName, outcome: Outcome, ran: Ran, took: [f64; 3], reruns: u32) {
        let [setup, call, teardown] = took;
        let Ran { worker, machine, attempt } = ran;
        self.positions.insert(test, self.outcomes.len());
        self.outcomes.push(OutcomeRecord {
            nodeid,
            k,
            outcome,
            setup,
            call,
            teardown,
            worker,
            machine,
            attempt,
            reruns,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let mut known = Durations::default();
        known.add_test("t/a.py::C::one".into(), 0, 3.0);
        known.add_test("t/a.py::C::one[x]".into(), 0, 2.0);
        known.add_test("t/a.py::Cx::two".into(), 0, 1.0);
        known.add_import("t/a.py".into(), 0.5);
        Memory::new(Path::new("/p"), known)
    }

    fn spec(path: &str, select: Option<&[&str]>) -> FileSpec {
        let select = select.map(|parts| vec![parts.iter().map(|part| (*part).to_owned()).collect()]);
        FileSpec { path: path.into(), chain: Vec::new(), select, initial: false, since: None }
    }

    #[test]
    fn a_forecast_counts_what_is_selected() {
        let memory = memory();
        let total = |select| memory.forecast(&spec("/p/t/a.py", select)).unwrap().tests.as_secs();
        assert_eq!(total(None), 6);
        assert_eq!(total(Some(&["C"])), 5);
        assert_eq!(total(Some(&["C", "one"])), 5);
        assert_eq!(total(Some(&["C", "one[x]"])), 2);
        assert!(memory.forecast(&spec("/p/t/b.py", None)).is_none());
        assert!(memory.forecast(&spec("/elsewhere/t/a.py", None)).is_none());
    }

    #[test]
    fn a_new_test_takes_as_long_as_others_of_its_file() {
        let names = [("t/a.py::C::one".to_owned(), 0), ("t/a.py::new".to_owned(), 0)];
        let estimates = memory().estimates("/p/t/a.py", &names);
        assert_eq!(estimates, [Some(Duration::from_secs(3)), Some(Duration::from_secs(2))]);
        assert!(memory().estimates("/p/t/b.py", &names).is_empty());
    }
}
