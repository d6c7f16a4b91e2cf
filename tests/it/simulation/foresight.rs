//! What earlier runs have told: nothing, the truth, or something like it.
//!
//! The same for the same test whenever it is asked.

use std::time::Duration;

use cloudist::model::{FileId, TestId};
use cloudist::scheduler::Forecast;

use super::dice::Dice;
use super::plan::{Estimates, Plan};

/// What is known of each test of a file.
pub fn estimates(plan: &Plan, file: FileId) -> Vec<Option<Duration>> {
    let tests = &plan.suite.file(file).tests;
    let all = (0..).zip(tests).map(|(index, test)| match plan.estimates {
        Estimates::None => None,
        Estimates::Exact => Some(test.duration),
        Estimates::Rough => rough(TestId { file, index }, test.duration),
    });
    if plan.estimates == Estimates::None { Vec::new() } else { all.collect() }
}

/// What is known of a file before it is collected.
pub fn forecast(plan: &Plan, file: FileId) -> Option<Forecast> {
    let known: Vec<Duration> = estimates(plan, file).into_iter().flatten().collect();
    let (tests, longest) = (known.iter().sum(), known.iter().max().copied()?);
    Some(Forecast { import: plan.suite.file(file).import, tests, longest })
}

/// What is known of the whole suite.
pub fn expected(plan: &Plan) -> Option<Duration> {
    let files = (0..plan.suite.files.len() as u32).map(FileId);
    let known: Vec<Duration> =
        files.filter_map(|file| forecast(plan, file)).map(|forecast| forecast.import + forecast.tests).collect();
    (!known.is_empty()).then(|| known.iter().sum())
}

fn rough(test: TestId, duration: Duration) -> Option<Duration> {
    let mut dice = Dice::new(u64::from(test.file.0) << 32 | u64::from(test.index));
    match dice.count(0, 9) {
        0 => None,
        1 => Some(duration * 20),
        2 => Some(Duration::ZERO),
        _ => Some(duration.mul_f64(f64::from(dice.count(50, 200)) / 100.0)),
    }
}
