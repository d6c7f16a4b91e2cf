//! Thousands of random worlds: every suite, every mode, every mishap.
//!
//! The witness checks; a failure names the seed that leads to it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::plan::Plan;
use super::world::{Course, World};

const SEEDS: u64 = if cfg!(debug_assertions) { 1_000 } else { 5_000 };

fn course(seed: u64) -> Course {
    let run = catch_unwind(AssertUnwindSafe(|| World::new(Plan::random(seed)).run().0));
    run.unwrap_or_else(|panic| {
        eprintln!("this was seed {seed}");
        resume_unwind(panic)
    })
}

#[test]
fn promises_are_kept_in_random_worlds() {
    let mut speculated = (0, 0);
    for seed in 0..SEEDS {
        let course = course(seed);
        speculated = (speculated.0 + course.speculated.begun, speculated.1 + course.speculated.won);
    }
    println!("{} second tries, of which {} ended first", speculated.0, speculated.1);
    assert!(0 < speculated.1 && speculated.1 < speculated.0, "second tries: {speculated:?}");
}

#[test]
fn the_same_seed_takes_the_same_course() {
    for seed in 0..SEEDS / 10 {
        assert_eq!(course(seed), course(seed), "seed {seed}");
    }
}
