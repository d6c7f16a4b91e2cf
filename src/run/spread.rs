//! Who gets a snapshot's contents from whom: the first machine from here, the others from machines that have them.
//!
//! Pure and deterministic: machines tell what they lack and have, the answer is what to tell them. Knows no address, no
//! token and no connection.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::model::MachineId;

/// Transfers from here at once, to machines that could as well wait for another one: the first of them makes a seed,
/// the second is there in case the first crawls.
const FROM_HERE: usize = 2;

/// A transfer from here that is slower than this is not waited for by all the others alone.
const CRAWL: u64 = 1 << 20;

/// What such a transfer gets in any case.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many machines one seed serves at once.
pub const PER_SEED: usize = 4;

/// A machine that so many seeds failed is served from here.
const FAILURES: usize = 2;

/// So many failures without any success mean that machines don't reach each other at all.
const HOPELESS: usize = 4;

/// Where a machine gets what it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Here,
    Seed(MachineId),
}

/// What to tell a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It gets what it lacks from there.
    Take(MachineId, Source),
    /// It is to serve others.
    Seed(MachineId),
}

#[derive(Debug)]
pub struct Spread {
    machines: BTreeMap<MachineId, Standing>,
    /// In the order in which they asked.
    waiting: VecDeque<MachineId>,
    peers: bool,
    failures: usize,
    successes: usize,
}

#[derive(Debug, Default)]
struct Standing {
    lacks: u64,
    takes: Option<Taking>,
    seeding: Seeding,
    /// Seeds that failed it.
    failed: BTreeSet<MachineId>,
}

#[derive(Clone, Copy, Debug)]
struct Taking {
    source: Source,
    /// Until then the others wait for it.
    patience: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Seeding {
    /// It lacks something.
    #[default]
    Unfit,
    /// It has everything.
    Able,
    Asked,
    Listens,
    /// It could not, or failed others.
    Given,
}

impl Spread {
    pub fn new(peers: bool) -> Self {
        Self { machines: BTreeMap::new(), waiting: VecDeque::new(), peers, failures: 0, successes: 0 }
    }

    /// A machine lacks so many bytes.
    pub fn lacks(&mut self, machine: MachineId, bytes: u64) {
        let standing = self.machines.entry(machine).or_default();
        (standing.lacks, standing.takes) = (bytes, None);
        standing.seeding = Seeding::Unfit;
        if !self.waiting.contains(&machine) {
            self.waiting.push_back(machine);
        }
    }

    /// What a machine was to get from another one did not come, or not all of it. It asks again by itself.
    pub fn failed(&mut self, machine: MachineId) {
        let Some(standing) = self.machines.get_mut(&machine) else { return };
        if let Some(Taking { source: Source::Seed(seed), .. }) = standing.takes.take() {
            standing.failed.insert(seed);
            self.failures += 1;
            self.peers &= self.successes > 0 || self.failures < HOPELESS;
        }
    }

    /// A machine has everything.
    pub fn whole(&mut self, machine: MachineId) {
        self.waiting.retain(|waiting| *waiting != machine);
        let standing = self.machines.entry(machine).or_default();
        if let Some(Taking { source: Source::Seed(_), .. }) = standing.takes.take() {
            self.successes += 1;
        }
        if standing.seeding == Seeding::Unfit {
            standing.seeding = Seeding::Able;
        }
    }

    /// A machine listens for others, or can't.
    pub fn seeds(&mut self, machine: MachineId, can: bool) {
        if let Some(standing) = self.machines.get_mut(&machine) {
            standing.seeding = if can { Seeding::Listens } else { Seeding::Given };
        }
    }

    /// A machine has gone. Those that it serves notice, and ask again.
    pub fn lost(&mut self, machine: MachineId) {
        self.waiting.retain(|waiting| *waiting != machine);
        self.machines.remove(&machine);
    }

    /// What is to be told now. To be asked until there is nothing, and again at [`Spread::next_deadline`].
    pub fn poll_order(&mut self, now: Duration) -> Option<Order> {
        for position in 0..self.waiting.len() {
            let machine = self.waiting[position];
            let Some(source) = self.source(machine, now) else { continue };
            self.waiting.remove(position);
            let standing = self.machines.get_mut(&machine)?;
            let patience = now + PATIENCE + Duration::from_secs(standing.lacks / CRAWL);
            standing.takes = Some(Taking { source, patience });
            return Some(Order::Take(machine, source));
        }
        self.new_seed()
    }

    /// When waiting will have been long enough for something to change.
    pub fn next_deadline(&self, now: Duration) -> Option<Duration> {
        if self.waiting.is_empty() {
            return None;
        }
        self.sent_from_here().map(|taking| taking.patience).filter(|patience| *patience > now).min()
    }

    fn source(&self, machine: MachineId, now: Duration) -> Option<Source> {
        let standing = self.machines.get(&machine)?;
        if !self.may_take_from_others(standing) {
            return Some(Source::Here);
        }
        let with_room = self.seeds_for(standing, Seeding::Listens).map(|seed| (self.served_by(seed), seed));
        match with_room.min() {
            Some((served, seed)) if served < PER_SEED => return Some(Source::Seed(seed)),
            Some(_) => return None,
            None => {}
        }
        let is_seed_near =
            [Seeding::Able, Seeding::Asked].iter().any(|state| self.seeds_for(standing, *state).next().is_some());
        let busy = self.sent_from_here().filter(|taking| now < taking.patience).count();
        (!is_seed_near && busy == 0 && self.sent_from_here().count() < FROM_HERE).then_some(Source::Here)
    }

    /// One more seed as long as those that are there, or will be, have no room for all.
    fn new_seed(&mut self) -> Option<Order> {
        let waiting = || self.waiting.iter().filter_map(|machine| self.machines.get(machine));
        let room: usize = self
            .machines
            .iter()
            .filter(|(_, standing)| matches!(standing.seeding, Seeding::Asked | Seeding::Listens))
            .map(|(machine, _)| PER_SEED.saturating_sub(self.served_by(*machine)))
            .sum();
        let (seed, _) = self.machines.iter().find(|(machine, standing)| {
            let is_new = || waiting().any(|waiter| !waiter.failed.contains(machine));
            standing.seeding == Seeding::Able && is_new()
        })?;
        let seed = *seed;
        let lacks_choice = waiting().any(|waiter| {
            self.seeds_for(waiter, Seeding::Asked).chain(self.seeds_for(waiter, Seeding::Listens)).next().is_none()
        });
        if room >= self.waiting.len() && !lacks_choice {
            return None;
        }
        self.machines.get_mut(&seed)?.seeding = Seeding::Asked;
        Some(Order::Seed(seed))
    }

    fn may_take_from_others(&self, standing: &Standing) -> bool {
        self.peers && standing.failed.len() < FAILURES
    }

    fn seeds_for<'a>(&'a self, standing: &'a Standing, state: Seeding) -> impl Iterator<Item = MachineId> + 'a {
        let fit = self
            .machines
            .iter()
            .filter(move |(machine, other)| other.seeding == state && !standing.failed.contains(machine));
        fit.map(|(machine, _)| *machine)
    }

    fn served_by(&self, seed: MachineId) -> usize {
        let takes = self.machines.values().filter_map(|standing| standing.takes);
        takes.filter(|taking| taking.source == Source::Seed(seed)).count()
    }

    /// The transfers from here to machines that could have waited.
    fn sent_from_here(&self) -> impl Iterator<Item = Taking> + '_ {
        let waiters = self.machines.values().filter(|standing| self.may_take_from_others(standing));
        waiters.filter_map(|standing| standing.takes).filter(|taking| taking.source == Source::Here)
    }
}

#[cfg(test)]
#[path = "spread_tests.rs"]
mod tests;
