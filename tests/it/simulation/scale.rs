//! Large runs: a decision must not become slower with the size of the run.
//!
//! The time is bounded loosely, since machines differ: enough to notice if every decision looked at every worker or test.

use std::time::{Duration, Instant};

use cloudist::model::MachineId;
use cloudist::scheduler::{Collect, Ending, Mode};

use super::dice::Dice;
use super::plan::{Estimates, Mishap, Plan};
use super::suite::Suite;
use super::world::{Course, Steps, World};

/// A tenth where nothing is optimised.
const TESTS: u32 = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
const WORKERS: u32 = 1_000;

/// Whether a run of that size takes less than a millisecond for each input, the world included.
fn is_quick(plan: &Plan) -> bool {
    let began = Instant::now();
    let (course, _) = World::new(plan.clone()).run();
    let took = began.elapsed();
    println!("{} inputs, {} recalls in {took:?}, {:?} virtual", course.inputs, course.recalls, course.took);
    assert_eq!(course.ending, Ending::Complete);
    took < Duration::from_millis(1) * course.inputs
}

/// 50 of the machines are lost on the way.
fn check(files: u32, collect: Collect, mode: Mode) {
    let ms = Duration::from_millis;
    let suite = Suite::even(files, TESTS / files, ms(100), ms(10));
    let mut plan = Plan::calm(suite, mode, collect, WORKERS);
    let loss = |number: u32| (ms(300 + 10 * u64::from(number)), Mishap::MachineLost(MachineId(number * 7)));
    plan.mishaps = (0..50).map(loss).collect();
    // Somebody else may be using the machine.
    assert!((0..3).any(|_| is_quick(&plan)), "decisions are slow");
}

#[test]
fn many_machines_that_leave() {
    let ms = Duration::from_millis;
    let suite = Suite::even(TESTS / 50, 50, ms(100), ms(10));
    let mut plan = Plan::calm(suite, Mode::Test, Collect::Stream, WORKERS);
    for machine in (0..WORKERS / 2).map(MachineId) {
        let notice = ms(200 + u64::from(machine.0) / 10);
        plan.mishaps.push((notice, Mishap::Notice(machine, ms(100))));
        plan.mishaps.push((notice + ms(100), Mishap::MachineLost(machine)));
    }
    assert!((0..3).any(|_| is_quick(&plan)), "decisions are slow");
}

/// Tests of a hundredth of a second to four seconds; the shortest time that is possible; how long decisions took.
fn heavy_tails(mode: Mode, collect: Collect, estimates: Estimates) -> (Course, Duration, Steps) {
    let ms = Duration::from_millis;
    let mut dice = Dice::new(7);
    let mut suite = Suite::even(TESTS / 50, 50, ms(100), ms(10));
    for test in suite.files.iter_mut().flat_map(|file| &mut file.tests) {
        test.duration = dice.heavy_tailed(ms(130), 1.2).clamp(ms(10), ms(4_000));
    }
    let bound = suite.lower_bound(WORKERS);
    let mut world = World::new(Plan { estimates, ..Plan::calm(suite, mode, collect, WORKERS) });
    world.witness.thorough = false;
    world.witness.watches_idlers = false;
    let (course, _, steps) = world.run_watched();
    assert_eq!(course.ending, Ending::Complete);
    (course, bound, steps)
}

#[test]
fn many_heavy_tails_that_were_measured_before_end_at_the_lower_bound() {
    for collect in [Collect::First, Collect::Stream] {
        let (course, bound, _) = heavy_tails(Mode::Test, collect, Estimates::Exact);
        let ratio = course.took.as_secs_f64() / bound.as_secs_f64();
        println!("{collect:?}: {:?} beside {bound:?}: {ratio:.4}", course.took);
        assert!(ratio < 1.02, "{collect:?}: {ratio}");
    }
}

#[test]
fn many_files_on_many_workers() {
    check(TESTS / 50, Collect::Stream, Mode::Test);
}

#[test]
fn many_files_collected_first() {
    check(TESTS / 50, Collect::First, Mode::Test);
}

#[test]
fn few_large_files_on_many_workers() {
    check(10, Collect::Stream, Mode::Test);
}

#[test]
fn many_whole_files_on_many_workers() {
    check(TESTS / 50, Collect::Stream, Mode::File);
}

/// Not a test: `cargo test --release --locked --test it -- --ignored --nocapture what_decisions_cost`.
#[test]
#[ignore = "measures, and holds nothing"]
fn what_decisions_cost() {
    println!("{WORKERS} workers, {TESTS} tests: beside the lower bound; a decision in the mean, and the longest");
    for mode in [Mode::Test, Mode::File, Mode::Bundle] {
        for collect in [Collect::First, Collect::Stream] {
            for estimates in [Estimates::Exact, Estimates::Rough, Estimates::None] {
                let (course, bound, steps) = heavy_tails(mode, collect, estimates);
                let ratio = course.took.as_secs_f64() / bound.as_secs_f64();
                let (mean, slowest) = (steps.total / steps.count, steps.slowest);
                println!("{mode:?} {collect:?} {estimates:?}: {ratio:.4}; {mean:?}, {slowest:?}");
            }
        }
    }
}
