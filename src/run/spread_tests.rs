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
    let from = |number, seed| Order::Take(machine(number), Source::Seed(machine(seed)));
    let first = [Order::Seed(machine(0)), Order::Take(machine(0), Source::Here)];
    assert_eq!(orders(&mut spread, now), first, "others wait, so it serves what comes");
    spread.seeds(machine(0), true);
    let second = [from(1, 0), from(2, 0), from(3, 0), from(4, 0), Order::Seed(machine(1))];
    assert_eq!(orders(&mut spread, now), second, "the first has no room for all");
    spread.seeds(machine(1), true);
    assert_eq!(orders(&mut spread, now), [from(5, 1)]);
    for number in 0..6 {
        spread.whole(machine(number));
    }
    assert_eq!(orders(&mut spread, now), []);
}

#[test]
fn whoever_has_everything_serves_those_that_come_later() {
    let mut spread = Spread::new(true);
    spread.lacks(machine(0), PAYLOAD);
    let now = Duration::ZERO;
    assert_eq!(orders(&mut spread, now), [Order::Take(machine(0), Source::Here)]);
    spread.joined(machine(1));
    assert_eq!(orders(&mut spread, now), [Order::Seed(machine(0))], "it may lack something, too");
    spread.whole(machine(0));
    spread.lacks(machine(1), PAYLOAD);
    assert_eq!(orders(&mut spread, now), []);
    spread.seeds(machine(0), true);
    assert_eq!(orders(&mut spread, now), [Order::Take(machine(1), Source::Seed(machine(0)))]);
    assert_eq!(spread.patience(machine(0), now), None);
}

#[test]
fn where_nobody_lacks_anything_nobody_is_asked_to_seed() {
    let mut spread = Spread::new(true);
    (0..8).for_each(|number| spread.joined(machine(number)));
    for number in 0..8 {
        spread.whole(machine(number));
        assert_eq!(orders(&mut spread, Duration::ZERO), []);
    }
}

#[test]
fn whoever_takes_from_one_that_is_not_whole_has_the_patience_of_all_on_the_way() {
    let mut spread = Spread::new(true);
    spread.whole(machine(0));
    spread.seeds(machine(0), true);
    for number in 1..7 {
        spread.lacks(machine(number), PAYLOAD);
    }
    let now = Duration::ZERO;
    let told = orders(&mut spread, now);
    assert!(told.contains(&Order::Seed(machine(1))), "{told:?}");
    assert_eq!(spread.patience(machine(1), now), Some(PATIENCE + Duration::from_secs(100)));
    spread.seeds(machine(1), true);
    assert!(orders(&mut spread, now).contains(&Order::Take(machine(5), Source::Seed(machine(1)))));
    spread.left(machine(5));
    spread.lacks(machine(5), PAYLOAD);
    spread.whole(machine(2));
    let late = PATIENCE + Duration::from_secs(100);
    assert!(orders(&mut spread, late).contains(&Order::Take(machine(5), Source::Seed(machine(0)))), "1 crawls");
}

#[test]
fn nobody_takes_from_one_that_gets_nothing_itself() {
    let mut spread = Spread::new(true);
    for number in 0..6 {
        spread.lacks(machine(number), PAYLOAD);
    }
    let now = Duration::ZERO;
    orders(&mut spread, now);
    spread.seeds(machine(0), true);
    orders(&mut spread, now);
    spread.seeds(machine(1), true);
    assert_eq!(orders(&mut spread, now), [Order::Take(machine(5), Source::Seed(machine(1)))]);
    // What 5 gets comes from 1, which lost its own source.
    spread.failed(machine(1), true);
    spread.lacks(machine(1), PAYLOAD);
    spread.failed(machine(2), true);
    spread.lacks(machine(2), PAYLOAD);
    let told = orders(&mut spread, now);
    let from_below = |order: &Order| matches!(order, Order::Take(_, Source::Seed(seed)) if [1, 5].contains(&seed.0));
    assert!(!told.iter().any(from_below), "{told:?}");
}

#[test]
fn a_crawling_source_is_left_at_the_same_time_by_all_that_hang_on_it() {
    let mut spread = Spread::new(true);
    for number in 0..4 {
        spread.lacks(machine(number), PAYLOAD);
    }
    let now = Duration::ZERO;
    orders(&mut spread, now);
    spread.seeds(machine(0), true);
    assert_eq!(orders(&mut spread, now).len(), 3);
    let patience = PATIENCE + Duration::from_secs(100);
    assert_eq!(spread.patience(machine(0), now), Some(patience));
    for number in 1..4 {
        spread.left(machine(number));
        spread.lacks(machine(number), PAYLOAD / 2);
    }
    let told = orders(&mut spread, patience);
    assert_eq!(told, [Order::Seed(machine(1)), Order::Take(machine(1), Source::Here)]);
    spread.seeds(machine(1), true);
    let from = |number, seed| Order::Take(machine(number), Source::Seed(machine(seed)));
    assert_eq!(orders(&mut spread, patience), [2, 3].map(|number| from(number, 1)));
    // The second crawls, too: it is the way from here that is slow, and two share it already.
    for number in 2..4 {
        spread.left(machine(number));
        spread.lacks(machine(number), PAYLOAD / 4);
    }
    assert_eq!(orders(&mut spread, patience * 3), []);
    spread.whole(machine(0));
    assert_eq!(orders(&mut spread, patience * 3), [2, 3].map(|number| from(number, 0)));
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
    spread.seeds(machine(0), false);
    let deadline = spread.next_deadline(Duration::ZERO).unwrap();
    assert_eq!(deadline, PATIENCE + Duration::from_secs(100));
    assert_eq!(orders(&mut spread, deadline - Duration::from_secs(1)), []);
    let second = [Order::Seed(machine(1)), Order::Take(machine(1), Source::Here)];
    assert_eq!(orders(&mut spread, deadline), second);
    spread.seeds(machine(1), false);
    let late = deadline * 3;
    assert_eq!(orders(&mut spread, late), [], "two are enough");
    spread.lost(machine(0));
    assert_eq!(orders(&mut spread, late), [Order::Seed(machine(2)), Order::Take(machine(2), Source::Here)]);
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
    spread.failed(machine(5), true);
    spread.lacks(machine(5), PAYLOAD);
    assert_eq!(orders(&mut spread, now), [Order::Seed(machine(1))]);
    spread.seeds(machine(1), true);
    assert_eq!(orders(&mut spread, now), [Order::Take(machine(5), Source::Seed(machine(1)))]);
    spread.failed(machine(5), true);
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
        spread.failed(machine(number), false);
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
    FindsItTooSlow(MachineId),
    Listens(MachineId),
    FailsToSeed(MachineId),
    Goes(MachineId),
}

/// Machines that ask, finish, fail and go in any order: all that stay are served, and no rule is broken on the way. Nobody
/// finishes before the one that it takes from.
#[test]
fn everybody_is_served_in_whatever_order_things_happen() {
    for seed in 0..500 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut spread = Spread::new(true);
        let mut now = Duration::ZERO;
        let asked: BTreeSet<MachineId> = (0..random.random_range(1..40)).map(machine).collect();
        let mut possible: Vec<Next> = asked.iter().map(|machine| Next::Asks(*machine)).collect();
        let mut takes: BTreeMap<MachineId, (Source, Option<Duration>)> = BTreeMap::new();
        let (mut served, mut gone) = (BTreeSet::new(), BTreeSet::new());
        asked.iter().filter(|_| random.random_bool(0.5)).for_each(|machine| spread.joined(*machine));
        let trouble = if seed % 3 == 0 { 0.0 } else { 0.1 };
        loop {
            while let Some(order) = spread.poll_order(now) {
                let (Order::Take(machine, _) | Order::Seed(machine)) = order;
                assert!(!gone.contains(&machine), "seed {seed}: {order:?}");
                possible.push(match order {
                    Order::Take(machine, source) => {
                        assert!(!served.contains(&machine), "seed {seed}: {order:?}");
                        let patience = match source {
                            Source::Here => None,
                            Source::Seed(seed) => spread.patience(seed, now).map(|patience| now + patience),
                        };
                        takes.insert(machine, (source, patience));
                        check_sources(&takes, &served, machine, seed);
                        match random.random_bool(trouble) {
                            true => *[Next::FailsToTake(machine), Next::Goes(machine)].choose(&mut random).unwrap(),
                            false => Next::Finishes(machine),
                        }
                    }
                    Order::Seed(machine) => match random.random_bool(trouble) {
                        true => Next::FailsToSeed(machine),
                        false => Next::Listens(machine),
                    },
                });
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
                Next::Finishes(machine) => match takes[&machine] {
                    (Source::Seed(source), _) if gone.contains(&source) => possible.push(Next::FailsToTake(machine)),
                    (Source::Seed(source), patience) if !served.contains(&source) => {
                        let is_over = patience.is_some_and(|patience| patience < now);
                        possible.push(if is_over { Next::FindsItTooSlow(machine) } else { Next::Finishes(machine) });
                    }
                    _ => {
                        served.insert(machine);
                        spread.whole(machine);
                    }
                },
                Next::FailsToTake(machine) => {
                    takes.remove(&machine);
                    spread.failed(machine, random.random_bool(0.5));
                    possible.push(Next::Asks(machine));
                }
                Next::FindsItTooSlow(machine) => {
                    takes.remove(&machine);
                    spread.left(machine);
                    possible.push(Next::Asks(machine));
                }
                Next::Listens(machine) => spread.seeds(machine, true),
                Next::FailsToSeed(machine) => spread.seeds(machine, false),
                Next::Goes(machine) => {
                    gone.insert(machine);
                    takes.remove(&machine);
                    spread.lost(machine);
                    possible
                        .retain(|next| !matches!(next, Next::Listens(one) | Next::FailsToSeed(one) if *one == machine));
                }
            }
            now += Duration::from_millis(random.random_range(0..2_000));
            assert!(now < Duration::from_secs(100_000), "seed {seed}: {possible:?} wait for each other");
        }
        let unserved: Vec<_> =
            asked.iter().filter(|machine| !served.contains(machine) && !gone.contains(machine)).collect();
        assert!(unserved.is_empty(), "seed {seed}: {unserved:?} wait for ever");
    }
}

/// What a machine is to take comes, by however many others, from here or from one that has everything.
fn check_sources(
    takes: &BTreeMap<MachineId, (Source, Option<Duration>)>,
    served: &BTreeSet<MachineId>,
    machine: MachineId,
    seed: u64,
) {
    let mut at = machine;
    for _ in 0..=takes.len() {
        match takes.get(&at) {
            _ if served.contains(&at) => return,
            Some((Source::Here, _)) => return,
            Some((Source::Seed(source), _)) => at = *source,
            None => panic!("seed {seed}: {machine} is to take from {at}, which gets nothing"),
        }
    }
    panic!("seed {seed}: {machine} is to take from itself");
}

fn check(spread: &Spread, seed: u64) {
    assert!(spread.sent_from_here().count() <= FROM_HERE, "seed {seed}");
    assert!(spread.served().values().all(|count| *count <= PER_SEED), "seed {seed}");
}

#[test]
fn many_machines_are_told_in_time() {
    let mut spread = Spread::new(true);
    let now = Duration::ZERO;
    let mut told = 0;
    for number in 0..1_000 {
        spread.lacks(machine(number), PAYLOAD);
        told += orders(&mut spread, now).len();
    }
    for number in 0..1_000 {
        if spread.machines[&machine(number)].seeding == Seeding::Asked {
            spread.seeds(machine(number), true);
        }
        told += orders(&mut spread, now).len();
        spread.whole(machine(number));
        told += orders(&mut spread, now).len();
    }
    let seeds = spread.machines.values().filter(|standing| standing.seeding == Seeding::Listens).count();
    assert!(seeds < 300 && told == 1_000 + seeds, "{seeds} seeds, {told} orders");
}
