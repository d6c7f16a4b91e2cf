//! Large runs: a decision must not become slower with the size of the run.
//!
//! Counts what is done, and bounds the time only loosely, since machines differ.

use std::time::{Duration, Instant};

use cloudist::scheduler::{Collect, Ending, Mode};

use super::plan::{Mishap, Plan};
use super::suite::Suite;
use super::world::World;
use cloudist::model::MachineId;

/// Inputs handled, and the time that took, world included.
fn pace(plan: Plan) -> (u32, Duration) {
    let began = Instant::now();
    let (course, _) = World::new(plan).run();
    assert_eq!(course.ending, Ending::Complete);
    let took = began.elapsed();
    println!("{} inputs, {} recalls in {took:?}, {:?} virtual", course.inputs, course.recalls, course.took);
    (course.inputs, took)
}

#[test]
fn a_hundred_thousand_tests_on_a_thousand_workers() {
    let ms = Duration::from_millis;
    for (files, collect, mode) in [
        (2_000, Collect::Stream, Mode::Test),
        (2_000, Collect::First, Mode::Test),
        (10, Collect::Stream, Mode::Test),
        (2_000, Collect::Stream, Mode::File),
    ] {
        let suite = Suite::even(files, 100_000 / files, ms(100), ms(10));
        let mut plan = Plan::calm(suite, mode, collect, 1_000);
        plan.mishaps =
            (0..50).map(|number| (ms(300 + 10 * number), Mishap::MachineLost(MachineId(number as u32 * 7)))).collect();
        let (inputs, took) = pace(plan);
        assert!(took < Duration::from_millis(200) * inputs / 1_000, "{took:?} for {inputs} inputs");
    }
}
