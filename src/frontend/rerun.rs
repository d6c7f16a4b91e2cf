//! `cloudist rerun`: the tests of an earlier run once more, with the options that are given now.
//!
//! Takes their names from the history; how they are run is `cloudist pytest`'s business.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use clap::Args;

use super::{
    args::PytestArgs,
    failure::{Failure, exit_code},
    history, pytest,
};
use crate::history::{Outcome, PastOutcome};

pub const EXAMPLES: &str = "\
Examples:
  cloudist rerun --failed                     what failed in the last run
  cloudist rerun --failed -n 8 -- -v          on eight workers, and pytest says more
  cloudist rerun 41                           all tests of run 41; `cloudist history` has the numbers

Exit status: that of `cloudist pytest`; 0 if there is nothing to run; 90 if there is no such run.";

/// Node ids that take more room than this on a command line are replaced by their files. Linux allows 2 MiB, the environment included.
const LONGEST_COMMAND: usize = 1 << 20;

#[derive(Debug, Args)]
pub struct RerunArgs {
    /// The number of a run of this project in `cloudist history` [default: the last]
    #[arg(value_name = "RUN")]
    pub earlier: Option<i64>,
    /// Only the tests that failed in it
    #[arg(long)]
    pub failed: bool,
    #[command(flatten)]
    pub pytest: PytestArgs,
}

pub fn rerun(args: RerunArgs) -> Result<u8, Failure> {
    let (history, root) = history::open()?;
    let runs = history.runs(&root, u32::MAX)?;
    let run = match args.earlier {
        Some(number) => runs.iter().find(|run| run.id == number).ok_or_else(|| no_run(&root, Some(number)))?,
        None => runs.iter().find(|run| run.is_of_tests()).ok_or_else(|| no_run(&root, None))?,
    };
    if !run.is_of_tests() {
        let message = format!("run {} ran no tests, but a command: {}", run.id, run.command);
        return Err(
            Failure::new(exit_code::SETTINGS, message).with_help("`cloudist history` tells which runs were of pytest")
        );
    }
    let outcomes = history.outcomes(run.id)?;
    let tests = chosen(&outcomes, args.failed);
    if tests.is_empty() {
        let what = if args.failed { "no test failed" } else { "no test ran" };
        println!("cloudist: {what} in run {}", run.id);
        return Ok(0);
    }
    let count = tests.len();
    let mut words = named(&root, &tests);
    if words.iter().map(|word| word.len() + 1).sum::<usize>() > LONGEST_COMMAND {
        words = named(&root, &files(&tests));
        eprintln!("cloudist: {count} tests are too many to name them; all tests of their {} files run", words.len());
    }
    let mut args = args.pytest;
    if !args.pytest.iter().any(|word| word.to_string_lossy().starts_with("--rootdir")) {
        args.pytest.push(format!("--rootdir={root}").into());
    }
    args.pytest.extend(words);
    pytest::pytest(args)
}

fn no_run(root: &str, number: Option<i64>) -> Failure {
    let message = match number {
        Some(number) => format!("the history has no run {number} of {root}"),
        None => format!("the history has no run of {root} yet"),
    };
    Failure::new(exit_code::SETTINGS, message).with_help("`cloudist history` lists the runs of this project")
}

/// The tests in the order in which they ended, each once; what counts is how one ended last.
fn chosen(outcomes: &[PastOutcome], failed: bool) -> Vec<&str> {
    // In mode `each` a test ends once on every worker.
    let mut last: BTreeMap<(&str, u32, Option<u32>), (usize, bool)> = BTreeMap::new();
    for (position, outcome) in outcomes.iter().enumerate() {
        let bad = outcome.outcome.parse().is_ok_and(Outcome::is_bad);
        last.insert((&outcome.nodeid, outcome.k, outcome.worker), (position, bad));
    }
    // Of several tests with one name, one failure is enough.
    let mut named: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    for ((nodeid, ..), (position, bad)) in last {
        let entry = named.entry(nodeid).or_default();
        *entry = (entry.0.max(position), entry.1 || bad);
    }
    let wanted = named.into_iter().filter(|(_, (_, bad))| *bad || !failed);
    let mut tests: Vec<(usize, &str)> = wanted.map(|(nodeid, (position, _))| (position, nodeid)).collect();
    tests.sort_unstable();
    tests.into_iter().map(|(_, test)| test).collect()
}

fn files<'a>(tests: &[&'a str]) -> Vec<&'a str> {
    let mut files: Vec<&str> = tests.iter().map(|test| test.split("::").next().unwrap_or(test)).collect();
    files.sort_unstable();
    files.dedup();
    files
}

/// As pytest finds them from any directory.
fn named(root: &str, tests: &[&str]) -> Vec<OsString> {
    tests.iter().map(|test| Path::new(root).join(test).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(nodeid: &str, k: u32, outcome: &str) -> PastOutcome {
        PastOutcome {
            nodeid: nodeid.into(),
            k,
            outcome: outcome.into(),
            setup: 0.0,
            call: 0.0,
            teardown: 0.0,
            worker: None,
            machine: String::new(),
            attempt: 1,
            reruns: 0,
        }
    }

    #[test]
    fn how_a_test_ended_last_counts() {
        let outcomes =
            [ended("b", 0, "failed"), ended("a", 0, "crashed"), ended("c", 0, "passed"), ended("b", 0, "passed")];
        assert_eq!(chosen(&outcomes, true), ["a"]);
        assert_eq!(chosen(&outcomes, false), ["a", "c", "b"]);
    }

    #[test]
    fn of_tests_with_one_name_a_failure_is_enough() {
        let outcomes = [ended("a", 0, "failed"), ended("a", 1, "passed"), ended("b", 0, "xfailed")];
        assert_eq!(chosen(&outcomes, true), ["a"]);
    }

    #[test]
    fn where_every_worker_ran_all_tests_each_counts() {
        let on = |worker, outcome| PastOutcome { worker: Some(worker), ..ended("a", 0, outcome) };
        assert_eq!(chosen(&[on(0, "failed"), on(1, "passed")], true), ["a"]);
    }

    #[test]
    fn files_are_named_once() {
        assert_eq!(files(&["b.py::t", "a.py::t[x::y]", "b.py::u"]), ["a.py", "b.py"]);
        assert_eq!(named("/p", &["a.py::t"]), [OsString::from("/p/a.py::t")]);
    }
}
