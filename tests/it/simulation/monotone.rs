//! More workers never make a run much longer: by how much at most is stated in `docs/design/scheduler.md`, and held here.
//!
//! Some loss can't be avoided: whoever is there in addition imports files anew, or begins with what would better have been last.

use std::time::Duration;

use cloudist::scheduler::{Collect, Ending, Mode};

use super::dice::Dice;
use super::plan::{Estimates, Plan};
use super::suite::{Suite, Trouble};
use super::world::World;

const SEEDS: u64 = if cfg!(debug_assertions) { 50 } else { 500 };
const FLEETS: [u32; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
/// What the messages take that bring tests to whoever is there in addition, and their results back.
const MESSAGES: Duration = Duration::from_millis(20);

/// How many times as long a run takes, at most, as the same with fewer workers.
fn worst(modes: &[Mode], estimates: Estimates) -> f64 {
    let mut worst: f64 = 0.0;
    for seed in 0..SEEDS {
        let mut dice = Dice::new(seed);
        let suite = Suite::random(&mut dice, Trouble::default());
        let (mode, collect) = (*dice.pick(modes), *dice.pick(&[Collect::First, Collect::Stream]));
        let mut shortest = Duration::MAX;
        for workers in FLEETS {
            let plan = Plan { estimates, ..Plan::calm(suite.clone(), mode, collect, workers) };
            let mut world = World::new(plan);
            world.witness.thorough = false;
            let (course, _) = world.run();
            assert_eq!(course.ending, Ending::Complete);
            let ratio = course.took.as_secs_f64() / shortest.saturating_add(MESSAGES).as_secs_f64();
            if ratio > worst {
                println!(
                    "seed {seed}, {mode:?}, {collect:?}: {workers} workers take {:?}, not {shortest:?}",
                    course.took
                );
                worst = ratio;
            }
            shortest = shortest.min(course.took);
        }
    }
    worst
}

fn check(modes: &[Mode], bounds: [f64; 3]) {
    for (estimates, most) in [Estimates::Exact, Estimates::None, Estimates::Rough].into_iter().zip(bounds) {
        let worst = worst(modes, estimates);
        println!("{modes:?}, {estimates:?}: {worst:.3}");
        assert!(worst <= most, "{modes:?}, {estimates:?}: {worst}");
    }
}

#[test]
fn more_workers_never_make_a_run_much_longer() {
    check(&[Mode::Test], [1.3, 1.85, 1.95]);
    check(&[Mode::File], [1.3, 1.5, 1.5]);
}

/// A bundle spans files, all of which another worker would have to import.
#[test]
fn more_workers_never_make_a_run_of_bundles_much_longer() {
    check(&[Mode::Bundle], [1.8, 2.0, 2.4]);
}
