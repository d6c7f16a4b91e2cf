use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::*;

const PAYLOAD: u64 = 100 << 20;

fn machine(number: u32) -> MachineId {
    MachineId(number)
}

fn orders(spread: &mut Spread, now: Duration) -> Vec<Order> {
    std::iter::from_fn(|| spread.poll_order(now)).collect()
}

#[test]
fn the_first_gets_it_from_here_and_the_others_from_the_first() {
    let mut spread = Spread::new(true);
    for number in 0..6 {
        spread.lacks(machine(number), PAYLOAD);
    }
    let now = Duration::ZERO;
    assert_eq!(orders(&mut spread, now), [Order::Take(machine(0), Source::Here)]);
    spread.whole(machine(0));
    assert_eq!(orders(&mut spread, now), [Order::Seed(machine(0))]);
    spread.seeds(machine(0), true);
    let from_first = |number| Order::Take(machine(number), Source::Seed(machine(0)));
    assert_eq!(orders(&mut spread, now), [1, 2, 3, 4].map(from_first));
    spread.whole(machine(3));
    assert_eq!(orders(&mut spread, now), [from_first(5)]);
}

#[test]
fn a_machine_alone_is_never_asked_to_seed() {
    let mut spread = Spread::new(true);
    spread.lacks(machine(0), PAYLOAD);
    assert_eq!(orders(&mut spread, Duration::ZERO), [Order::Take(machine(0), Source::Here)]);
    spread.whole(machine(0));
    assert_eq!(orders(&mut spread, Duration::ZERO), []);
}

#[test]
fn without_peers_everything_comes_from_here() {
    let mut spread = Spread::new(false);
    for number in 0..3 {
        spread.lacks(machine(number), PAYLOAD);
    }
    let here = |number| Order::Take(machine(number), Source::Here);
    assert_eq!(orders(&mut spread, Duration::ZERO), [0, 1, 2].map(here));
}

#[test]
fn a_first_machine_that_crawls_is_overtaken_by_a_second() {
    let mut spread = Spread::new(true);
    for number in 0..4 {
        spread.lacks(machine(number), PAYLOAD);
    }
    orders(&mut spread, Duration::ZERO);
    let deadline = spread.next_deadline(Duration::ZERO).unwrap();
    assert_eq!(deadline, PATIENCE + Duration::from_secs(100));
    assert_eq!(orders(&mut spread, deadline - Duration::from_secs(1)), []);
    assert_eq!(orders(&mut spread, deadline), [Order::Take(machine(1), Source::Here)]);
    let late = deadline * 3;
    assert_eq!(orders(&mut spread, late), [], "two are enough");
    spread.lost(machine(0));
    assert_eq!(orders(&mut spread, late), [Order::Take(machine(2), Source::Here)]);
}

#[test]
fn a_peer_that_failed_is_not_tried_again_and_after_two_it_comes_from_here() {
    let mut spread = Spread::new(true);
    for number in 0..2 {
        spread.whole(machine(number));
    }
    let now = Duration::ZERO;
    spread.lacks(machine(5), PAYLOAD);
    assert_eq!(orders(&mut spread, now), [Order::Seed(machine(0))]);
    spread.seeds(machine(0), true);
    assert_eq!(orders(&mut spread, now), [Order::Take(machine(5), Source::Seed(machine(0)))]);
    spread.failed(machine(5));
    spread.lacks(machine(5), PAYLOAD);
    assert_eq!(orders(&mut spread, now), [Order::Seed(machine(1))]);
    spread.seeds(machine(1), true);
    assert_eq!(orders(&mut spread, now), [Order::Take(machine(5), Source::Seed(machine(1)))]);
    spread.failed(machine(5));
    spread.lacks(machine(5), PAYLOAD);
    assert_eq!(orders(&mut spread, now), [Order::Take(machine(5), Source::Here)]);
}

#[test]
fn machines_that_never_reach_each_other_are_served_from_here() {
    let mut spread = Spread::new(true);
    spread.whole(machine(0));
    for number in 1..=HOPELESS as u32 {
        spread.lacks(machine(number), PAYLOAD);
    }
    let now = Duration::ZERO;
    orders(&mut spread, now);
    spread.seeds(machine(0), true);
    assert_eq!(orders(&mut spread, now).len(), HOPELESS);
    for number in 1..=HOPELESS as u32 {
        spread.failed(machine(number));
        spread.lacks(machine(number), PAYLOAD);
    }
    spread.lacks(machine(99), PAYLOAD);
    let told = orders(&mut spread, now);
    assert_eq!(told.len(), HOPELESS + 1);
    assert!(told.iter().all(|order| matches!(order, Order::Take(_, Source::Here))), "{told:?}");
}

/// What may happen next to a machine.
#[derive(Clone, Copy, Debug)]
enum Next {
    Asks(MachineId),
    Finishes(MachineId),
    FailsToTake(MachineId),
    Listens(MachineId),
    FailsToSeed(MachineId),
    Goes(MachineId),
}

/// Machines that ask, finish, fail and go in any order: all that stay are served, and no rule is broken on the way.
#[test]
fn everybody_is_served_in_whatever_order_things_happen() {
    for seed in 0..500 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut spread = Spread::new(true);
        let mut now = Duration::ZERO;
        let mut possible: Vec<Next> =
            (0..random.random_range(1..40)).map(|number| Next::Asks(machine(number))).collect();
        let mut served = BTreeSet::new();
        let mut gone = BTreeSet::new();
        let asked: BTreeSet<MachineId> = (0..possible.len() as u32).map(machine).collect();
        let trouble = if seed % 3 == 0 { 0.0 } else { 0.1 };
        loop {
            while let Some(order) = spread.poll_order(now) {
                match order {
                    Order::Take(machine, _) => {
                        assert!(!served.contains(&machine) && !gone.contains(&machine), "seed {seed}: {order:?}");
                        possible.push(match random.random_bool(trouble) {
                            true => *[Next::FailsToTake(machine), Next::Goes(machine)].choose(&mut random).unwrap(),
                            false => Next::Finishes(machine),
                        });
                    }
                    Order::Seed(machine) => {
                        assert!(served.contains(&machine), "seed {seed}: {machine} was to serve what it lacks");
                        possible.push(match random.random_bool(trouble) {
                            true => Next::FailsToSeed(machine),
                            false => Next::Listens(machine),
                        });
                    }
                }
                check(&spread, seed);
            }
            if possible.is_empty() {
                match spread.next_deadline(now) {
                    Some(deadline) => now = deadline,
                    None => break,
                }
                continue;
            }
            match possible.swap_remove(random.random_range(0..possible.len())) {
                Next::Asks(machine) => spread.lacks(machine, PAYLOAD),
                Next::Finishes(machine) => {
                    served.insert(machine);
                    spread.whole(machine);
                }
                Next::FailsToTake(machine) => {
                    spread.failed(machine);
                    possible.push(Next::Asks(machine));
                }
                Next::Listens(machine) => spread.seeds(machine, true),
                Next::FailsToSeed(machine) => spread.seeds(machine, false),
                Next::Goes(machine) => {
                    gone.insert(machine);
                    spread.lost(machine);
                }
            }
            now += Duration::from_millis(random.random_range(0..2_000));
        }
        let unserved: Vec<_> =
            asked.iter().filter(|machine| !served.contains(machine) && !gone.contains(machine)).collect();
        assert!(unserved.is_empty(), "seed {seed}: {unserved:?} wait for ever");
    }
}

fn check(spread: &Spread, seed: u64) {
    assert!(spread.sent_from_here().count() <= FROM_HERE, "seed {seed}");
    for machine in spread.machines.keys() {
        assert!(spread.served_by(*machine) <= PER_SEED, "seed {seed}");
    }
}
