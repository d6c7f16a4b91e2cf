//! How long runs take, beside the shortest time that is possible and beside a fixed split of the tests.
//!
//! Heavy-tailed suites, since on even ones everything is good. Durations are not known in advance.

use std::time::Duration;

use cloudist::scheduler::{Collect, Ending, Mode};

use super::dice::Dice;
use super::plan::{Estimates, Plan};
use super::suite::{File, Import, Suite, Test};
use super::world::{Course, World};

const WORKERS: u32 = 16;
const SHUFFLES: u64 = 200;

/// 200 sleeps, log-normal, 60 s in all, none longer than 4 s.
fn sleeps(seed: u64, files: usize, import: Duration) -> Suite {
    let mut dice = Dice::new(seed);
    let drawn: Vec<Duration> = (0..200).map(|_| dice.heavy_tailed(Duration::from_millis(130), 1.2)).collect();
    let scale = 60.0 / drawn.iter().sum::<Duration>().as_secs_f64();
    let test = |drawn: &Duration| Test::passes(drawn.mul_f64(scale).min(Duration::from_secs(4)));
    let tests: Vec<Test> = drawn.iter().map(test).collect();
    let file = |tests: &[Test]| File { import, outcome: Import::Succeeds, tests: tests.to_vec() };
    Suite { files: tests.chunks(200 / files).map(file).collect() }
}

/// What it takes if each worker gets its part of the tests beforehand.
fn fixed_split(suite: &Suite) -> Duration {
    let tests: Vec<Duration> = suite.tests().map(|test| test.duration).collect();
    let parts = tests.chunks(tests.len().div_ceil(WORKERS as usize));
    parts.map(|part| part.iter().sum()).max().unwrap_or_default()
}

/// What it takes if whoever is free takes the next test at once, with no latency and no imports: the best that can be hoped for
/// as long as nobody knows which tests are long.
fn one_shared_queue(suite: &Suite) -> Duration {
    let mut free = vec![Duration::ZERO; WORKERS as usize];
    for test in suite.tests() {
        free.sort();
        free[0] += test.duration;
    }
    free.into_iter().max().unwrap_or_default()
}

fn course(suite: &Suite, mode: Mode, collect: Collect) -> Course {
    foreseen_course(suite, mode, collect, Estimates::None)
}

fn foreseen_course(suite: &Suite, mode: Mode, collect: Collect, estimates: Estimates) -> Course {
    let plan = Plan { estimates, ..Plan::calm(suite.clone(), mode, collect, WORKERS) };
    let mut world = World::new(plan);
    world.witness.thorough = false;
    let (course, _) = world.run();
    assert_eq!(course.ending, Ending::Complete);
    course
}

struct Ratios(Vec<f64>);

impl Ratios {
    fn over_seeds(ratio: impl Fn(u64) -> f64) -> Self {
        let mut ratios: Vec<f64> = (0..SHUFFLES).map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        Ratios(ratios)
    }

    fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    fn worst(&self) -> f64 {
        self.0[self.0.len() - 1]
    }
}

#[track_caller]
fn check(what: &str, ratios: &Ratios, median: f64, worst: f64) {
    println!("{what}: median {:.2}, worst {:.2}", ratios.median(), ratios.worst());
    assert!(ratios.median() <= median, "{what}: median {:.2}", ratios.median());
    assert!(ratios.worst() <= worst, "{what}: worst {:.2}", ratios.worst());
}

#[test]
fn heavy_tails_end_as_early_as_without_latency() {
    let beside_shared_queue = |files: usize, import: Duration, mode: Mode, collect: Collect| {
        Ratios::over_seeds(|seed| {
            let suite = sleeps(seed, files, import);
            course(&suite, mode, collect).took.as_secs_f64() / one_shared_queue(&suite).as_secs_f64()
        })
    };
    let (quick, slow) = (Duration::from_millis(5), Duration::from_millis(200));
    check("tests, 20 files, stream", &beside_shared_queue(20, quick, Mode::Test, Collect::Stream), 1.05, 1.7);
    check("tests, 20 files, first", &beside_shared_queue(20, quick, Mode::Test, Collect::First), 1.05, 1.7);
    check("tests, 1 file", &beside_shared_queue(1, quick, Mode::Test, Collect::Stream), 1.05, 1.7);
    check("tests, 100 files", &beside_shared_queue(100, quick, Mode::Test, Collect::Stream), 1.05, 1.7);
    check("tests, 20 files, slow imports", &beside_shared_queue(20, slow, Mode::Test, Collect::Stream), 1.12, 1.8);
    check("files, 100 files", &beside_shared_queue(100, quick, Mode::File, Collect::Stream), 1.1, 2.0);
}

#[test]
fn heavy_tails_beat_a_fixed_split() {
    let run = |suite: &Suite| course(suite, Mode::Test, Collect::Stream).took.as_secs_f64();
    let over_seeds = |reference: &dyn Fn(&Suite) -> Duration| {
        Ratios::over_seeds(|seed| {
            let suite = sleeps(seed, 20, Duration::from_millis(5));
            run(&suite) / reference(&suite).as_secs_f64()
        })
    };
    check("beside a fixed split", &over_seeds(&fixed_split), 0.8, 1.25);
    check("beside the lower bound", &over_seeds(&|suite| suite.lower_bound(WORKERS)), 1.45, 2.0);
}

#[test]
fn a_slow_machine_costs_no_more_than_a_second_try() {
    let suite = Suite::even(12, 4, Duration::from_millis(5), Duration::from_secs(2));
    let run = |speculate: bool| {
        let mut plan = Plan::calm(suite.clone(), Mode::Test, Collect::Stream, WORKERS);
        plan.machines[3].slowness = 30;
        plan.config.speculate = speculate;
        let course = World::new(plan).run().0;
        assert_eq!(course.ending, Ending::Complete);
        course
    };
    let (plain, speculating) = (run(false), run(true));
    println!("{:?} without, {:?} with a second try", plain.took, speculating.took);
    // Three rounds of tests, and a second try of the one on the slow machine that begins after twice its time.
    assert!(plain.took >= Duration::from_secs(60));
    assert!(speculating.took < Duration::from_secs(10), "{:?}", speculating.took);
    assert_eq!((speculating.speculated.begun, speculating.speculated.won), (1, 1));
}

#[test]
fn imports_are_not_repeated_without_need() {
    let suite = Suite::even(64, 20, Duration::from_millis(200), Duration::from_millis(5));
    let took = course(&suite, Mode::Test, Collect::Stream);
    let bound = suite.lower_bound(WORKERS);
    assert!(took.took < bound.mul_f64(1.1), "{:?} beside {bound:?}", took.took);
    assert!(took.recalls < 40, "{} recalls", took.recalls);
}

#[test]
fn a_long_way_to_the_machines_is_hidden() {
    for collect in [Collect::First, Collect::Stream] {
        let suite = Suite::even(600, 10, Duration::from_millis(3), Duration::from_millis(1));
        let bound = suite.lower_bound(4);
        let mut plan = Plan::calm(suite, Mode::Test, collect, 4);
        for machine in &mut plan.machines {
            machine.latency = Duration::from_millis(50);
        }
        let (course, _) = World::new(plan).run();
        println!("{collect:?}: {:?} beside {bound:?}", course.took);
        assert!(course.took < bound.mul_f64(1.1) + Duration::from_millis(600), "{:?} beside {bound:?}", course.took);
    }
}

#[test]
fn heavy_tails_that_were_measured_before_end_at_the_lower_bound() {
    let quick = Duration::from_millis(5);
    let beside_bound = |files: usize, mode: Mode, collect: Collect, estimates: Estimates| {
        Ratios::over_seeds(|seed| {
            let suite = sleeps(seed, files, quick);
            let took = foreseen_course(&suite, mode, collect, estimates).took;
            took.as_secs_f64() / suite.lower_bound(WORKERS).as_secs_f64()
        })
    };
    let (tests, first, stream) = (Mode::Test, Collect::First, Collect::Stream);
    check("first, 20 files", &beside_bound(20, tests, first, Estimates::Exact), 1.03, 1.08);
    check("first, 1 file", &beside_bound(1, tests, first, Estimates::Exact), 1.03, 1.08);
    check("stream, 20 files", &beside_bound(20, tests, stream, Estimates::Exact), 1.05, 1.25);
    check("stream, 100 files", &beside_bound(100, tests, stream, Estimates::Exact), 1.05, 1.25);
    // With one estimate in ten twenty times too long and one in ten missing, it is still no worse than knowing nothing.
    check("first, roughly", &beside_bound(20, tests, first, Estimates::Rough), 1.36, 2.0);
}
