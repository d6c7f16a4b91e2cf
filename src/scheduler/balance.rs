//! Evens out what is kept for workers, where it is known how long tests take: from those that have more than their share to those that
//! have less, before anybody asks.
//!
//! Moves nothing but what is at nobody, and gives nothing out. What turns out to have been wrong is put right by `steal`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{FileId, TestId, WorkerId};

use super::Scheduler;
use super::dealing::PARTS;
use super::grouping::ParcelId;
use super::pool::Rank;
use super::queue::Entry;
use super::time::Time;

/// Whoever is above its share by less than one in so many parts of it keeps what it has.
const GRAINS: u32 = 512;
/// Among so many of the longest tests of a worker it is looked for one that may change places with another.
const MOST_SWAPS: usize = 8;
/// So many tests are moved in one step at most; the rest follows in the next.
const MOST_MOVES: u32 = 200;

/// A test and how long it takes.
type Timed = (Duration, TestId);

/// What has been moved to whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Moves {
    parcels: BTreeMap<(WorkerId, FileId), ParcelId>,
    /// What it will take to import the files of all that.
    imports: BTreeMap<WorkerId, Duration>,
}

/// How much each worker has to do.
struct Loads {
    by_worker: BTreeMap<WorkerId, Duration>,
    by_load: BTreeSet<(Duration, WorkerId)>,
}

impl Loads {
    fn new(loads: impl Iterator<Item = (WorkerId, Duration)>) -> Self {
        let by_worker: BTreeMap<WorkerId, Duration> = loads.collect();
        let by_load = by_worker.iter().map(|(&worker, &load)| (load, worker)).collect();
        Loads { by_worker, by_load }
    }

    fn total(&self) -> Duration {
        self.by_worker.values().sum()
    }

    fn of(&self, worker: WorkerId) -> Duration {
        self.by_worker.get(&worker).copied().unwrap_or_default()
    }

    fn least(&self) -> Option<(Duration, WorkerId)> {
        self.by_load.first().copied()
    }

    fn most(&self) -> Option<(Duration, WorkerId)> {
        self.by_load.last().copied()
    }

    /// It is left as it is from now on.
    fn leave(&mut self, worker: WorkerId) {
        if let Some(load) = self.by_worker.remove(&worker) {
            self.by_load.remove(&(load, worker));
        }
    }

    fn set(&mut self, worker: WorkerId, load: Duration) {
        if let Some(before) = self.by_worker.insert(worker, load) {
            self.by_load.remove(&(before, worker));
        }
        self.by_load.insert((load, worker));
    }
}

/// A step of evening out.
struct Balance {
    share: Duration,
    loads: Loads,
    moves: Moves,
    moved: u32,
}

impl Scheduler {
    /// Moves what is kept for those that have more than their share to those that have less.
    pub(super) fn balance(&mut self, now: Time) {
        if !self.is_unbalanced() {
            return;
        }
        let moves = self.dealing.take_moves();
        let loads = self.loads(now, &moves);
        let anyones = self.pool.load_of(None).estimated + self.catalog.unread_forecast();
        let workers = u32::try_from(loads.by_worker.len()).unwrap_or(u32::MAX);
        let Some(share) = (loads.total() + anyones).checked_div(workers) else { return };
        let mut balance = Balance { share, loads, moves, moved: 0 };
        self.spread_long(&mut balance);
        self.level(&mut balance);
        if balance.moved >= MOST_MOVES {
            self.dealing.keep_moves(balance.moves);
        }
    }

    /// What each worker that may be given work has to do by now.
    fn loads(&self, now: Time, moves: &Moves) -> Loads {
        Loads::new(self.fleet.iter().filter_map(|(worker, state)| {
            self.fleet.serving(worker)?;
            let queued = state.queue.units().filter_map(|(_, unit)| self.unit_cost(unit)).sum::<Duration>();
            let begun = if state.queue.len() > 0 { now.since(state.head_since) } else { Duration::ZERO };
            let kept = self.pool.load_of(Some(worker));
            let kept = kept.estimated + self.catalog.mean_estimate() * kept.unestimated;
            let imports = moves.imports.get(&worker).copied().unwrap_or_default();
            Some((worker, queued.saturating_sub(begun) + kept + imports))
        }))
    }

    /// Places the long tests as if there were no others, the longest first: each where it is if that leaves the worker within its share,
    /// or else with whoever has the least of them if it is done sooner there.
    fn spread_long(&mut self, balance: &mut Balance) {
        let mut long: Vec<(Duration, TestId, WorkerId)> = Vec::new();
        for &worker in balance.loads.by_worker.keys() {
            long.extend(self.pool.longer_than(worker, balance.share / PARTS).map(|(took, test)| (took, test, worker)));
        }
        long.sort_unstable_by_key(|&(took, test, _)| (Reverse(took), test));
        let loads = balance.loads.by_worker.iter();
        let without = |worker, load: Duration| load.saturating_sub(self.pool.load_of(Some(worker)).estimated);
        let mut placed = Loads::new(loads.map(|(&worker, &load)| (worker, without(worker, load))));
        let limit = balance.share.max(long.first().map_or(Duration::ZERO, |&(took, ..)| took));
        for (took, test, from) in long {
            let here = placed.of(from) + took;
            let Some((least, to)) = placed.least().filter(|_| balance.moved < MOST_MOVES) else { return };
            let there = least + self.price(balance, to, test) + took;
            if here <= limit || here <= there {
                placed.set(from, here);
            } else {
                placed.set(to, there);
                self.move_test(balance, from, to, (took, test));
            }
        }
    }

    /// Takes from whoever has the most for whoever has the least, as long as that helps.
    fn level(&mut self, balance: &mut Balance) {
        while balance.moved < MOST_MOVES {
            let Some((most, from)) = balance.loads.most() else { return };
            let Some((_, to)) = balance.loads.least().filter(|&(_, to)| to != from) else { return };
            if most <= balance.share + balance.share / GRAINS {
                return;
            }
            if let Some(test) = self.to_move(balance, from, to) {
                self.move_test(balance, from, to, test);
            } else if let Some((given, taken)) = self.to_swap(balance, from, to) {
                self.move_test(balance, from, to, given);
                self.move_test(balance, to, from, taken);
            } else {
                balance.loads.leave(from);
            }
        }
    }

    /// A test that leaves one worker within its share, or above it, and the other within, or below it; or else the one that makes the
    /// longer of the two shorter.
    fn to_move(&self, balance: &Balance, from: WorkerId, to: WorkerId) -> Option<(Duration, TestId)> {
        let (most, least, grain) = (balance.loads.of(from), balance.loads.of(to), balance.share / GRAINS);
        let room_there = (balance.share + grain).saturating_sub(least);
        let room = room_there.min(most.saturating_sub(balance.share));
        let fits = self.pool.longest_of(from, room).and_then(|(_, test)| {
            let room = room.min(room_there.saturating_sub(self.price(balance, to, test)));
            self.pool.longest_of(from, room).filter(|&(took, test)| took > self.price(balance, to, test))
        });
        let helps = |&(took, test): &(Duration, TestId)| least + self.price(balance, to, test) + took + grain < most;
        fits.or_else(|| self.pool.shortest_of(from, room)).filter(helps)
    }

    /// Two tests that make the longer of two loads shorter if they change places.
    fn to_swap(&self, balance: &Balance, from: WorkerId, to: WorkerId) -> Option<(Timed, Timed)> {
        let (most, least, grain) = (balance.loads.of(from), balance.loads.of(to), balance.share / GRAINS);
        let half = most.saturating_sub(least) / 2;
        let mut best: Option<(Duration, (Timed, Timed))> = None;
        for given in self.pool.longer_than(from, half).rev().take(MOST_SWAPS) {
            let less = given.0.saturating_sub(half);
            for taken in self.pool.longest_of(to, less).into_iter().chain(self.pool.shortest_of(to, less)) {
                let ours = (most + taken.0 + self.price(balance, from, taken.1)).saturating_sub(given.0);
                let theirs = (least + given.0 + self.price(balance, to, given.1)).saturating_sub(taken.0);
                let longer = ours.max(theirs);
                if longer + grain < most && best.as_ref().is_none_or(|&(known, _)| longer < known) {
                    best = Some((longer, (given, taken)));
                }
            }
        }
        best.map(|(_, swap)| swap)
    }

    /// What it costs a worker to get at a test, unless another of its file has been moved there.
    fn price(&self, balance: &Balance, to: WorkerId, test: TestId) -> Duration {
        let imported = self.fleet.get(to).is_some_and(|state| state.imported.contains(&test.file));
        if imported || balance.moves.parcels.contains_key(&(to, test.file)) {
            Duration::ZERO
        } else {
            self.import_cost(Entry::test(test))
        }
    }

    fn move_test(&mut self, balance: &mut Balance, from: WorkerId, to: WorkerId, (took, test): (Duration, TestId)) {
        let price = self.price(balance, to, test);
        *balance.moves.imports.entry(to).or_default() += price;
        let known = balance.moves.parcels.get(&(to, test.file)).copied();
        let shared =
            known.filter(|&parcel| self.pool.is_kept_for(parcel, to)).unwrap_or_else(|| self.dealing.new_parcel());
        balance.moves.parcels.insert((to, test.file), shared);
        let (parcel, rank) = match took > balance.share / PARTS {
            true => (self.dealing.new_parcel(), Rank::Dealt(Reverse(took))),
            false => (shared, Rank::AsNumbered),
        };
        self.pool.take_one(from, took, test);
        self.pool.put_ranked(parcel, rank, Some(to), test, Some(took));
        self.touched.extend([from, to]);
        balance.loads.set(from, balance.loads.of(from).saturating_sub(took));
        balance.loads.set(to, balance.loads.of(to) + price + took);
        balance.moved += 1;
    }
}
