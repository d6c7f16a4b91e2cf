//! Who gets a snapshot's contents from whom: the first machine from here, the others from machines that have them or are
//! about to.
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
    /// It is to serve others, with what it has as soon as it has it.
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
    /// It has everything.
    is_whole: bool,
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
    #[default]
    Unasked,
    Asked,
    Listens,
    /// It could not.
    Given,
}

/// What those who get nothing yet need of those who could serve them.
#[derive(Debug, Default)]
struct Demand {
    /// They lack something, or have not told yet.
    idle: Vec<MachineId>,
    /// Those of them whom none serves, or is about to.
    stuck: Vec<MachineId>,
    /// So many can still be served by those who do, or are about to.
    room: usize,
}

impl Spread {
    pub fn new(peers: bool) -> Self {
        Self { machines: BTreeMap::new(), waiting: VecDeque::new(), peers, failures: 0, successes: 0 }
    }

    /// A machine is there, and will lack something or not.
    pub fn joined(&mut self, machine: MachineId) {
        self.machines.entry(machine).or_default();
    }

    /// A machine lacks so many bytes.
    pub fn lacks(&mut self, machine: MachineId, bytes: u64) {
        let standing = self.machines.entry(machine).or_default();
        (standing.lacks, standing.is_whole, standing.takes) = (bytes, false, None);
        if !self.waiting.contains(&machine) {
            self.waiting.push_back(machine);
        }
    }

    /// What a machine was to get from another one did not come, or not all of it. It asks again by itself.
    pub fn failed(&mut self, machine: MachineId, something_came: bool) {
        let Some(standing) = self.machines.get_mut(&machine) else { return };
        if let Some(Taking { source: Source::Seed(seed), .. }) = standing.takes.take() {
            standing.failed.insert(seed);
            let count = if something_came { &mut self.successes } else { &mut self.failures };
            *count += 1;
            self.peers &= self.successes > 0 || self.failures < HOPELESS;
        }
    }

    /// What a machine was to get from another one came too slowly. That is no fault of the other one's: it may be its line
    /// from here. It asks again by itself.
    pub fn left(&mut self, machine: MachineId) {
        if let Some(standing) = self.machines.get_mut(&machine) {
            standing.takes = None;
        }
    }

    /// A machine has everything.
    pub fn whole(&mut self, machine: MachineId) {
        self.waiting.retain(|waiting| *waiting != machine);
        let standing = self.machines.entry(machine).or_default();
        standing.is_whole = true;
        if let Some(Taking { source: Source::Seed(_), .. }) = standing.takes.take() {
            self.successes += 1;
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
        let demand = self.demand(now);
        let mut others_wait = false;
        for position in 0..self.waiting.len() {
            let machine = self.waiting[position];
            let is_like_others = self.machines.get(&machine)?.failed.is_empty();
            if is_like_others && others_wait {
                continue;
            }
            let Some(source) = self.source(machine, now) else {
                others_wait |= is_like_others;
                continue;
            };
            // Before it takes anything, so that it is ready for others when the first of it comes.
            if self.is_wanted_as_seed(machine, &demand) {
                return self.ask_to_seed(machine);
            }
            self.waiting.remove(position);
            let standing = self.machines.get_mut(&machine)?;
            let patience = now + PATIENCE + Duration::from_secs(standing.lacks / CRAWL);
            standing.takes = Some(Taking { source, patience });
            return Some(Order::Take(machine, source));
        }
        let mut wanted = self.machines.keys().filter(|machine| self.is_wanted_as_seed(**machine, &demand));
        let seed = *wanted.find(|machine| self.flows(**machine, now))?;
        self.ask_to_seed(seed)
    }

    /// When waiting will have been long enough for something to change.
    pub fn next_deadline(&self, now: Duration) -> Option<Duration> {
        if self.waiting.is_empty() {
            return None;
        }
        self.sent_from_here().map(|taking| taking.patience).filter(|patience| *patience > now).min()
    }

    /// How long a machine that takes from this one is to have patience; for ever if that has everything.
    pub fn patience(&self, seed: MachineId, now: Duration) -> Option<Duration> {
        self.expected(seed).filter(|end| *end < Duration::MAX).map(|end| end.saturating_sub(now))
    }

    fn source(&self, machine: MachineId, now: Duration) -> Option<Source> {
        let standing = self.machines.get(&machine)?;
        if !self.may_take_from_others(standing) {
            return Some(Source::Here);
        }
        let served = self.served();
        let listening = self.seeds_for(standing, Seeding::Listens, now);
        match listening.map(|seed| (served.get(&seed).copied().unwrap_or(0), seed)).min() {
            Some((served, seed)) if served < PER_SEED => return Some(Source::Seed(seed)),
            Some(_) => return None,
            None => {}
        }
        let is_seed_near = self.seeds_for(standing, Seeding::Asked, now).next().is_some()
            || self.machines.iter().any(|(seed, other)| {
                other.is_whole && other.seeding == Seeding::Unasked && !standing.failed.contains(seed)
            });
        let busy = self.sent_from_here().filter(|taking| now < taking.patience).count();
        (!is_seed_near && busy == 0 && self.sent_from_here().count() < FROM_HERE).then_some(Source::Here)
    }

    fn demand(&self, now: Duration) -> Demand {
        let has_choice = |standing: &Standing| {
            let mut states = [Seeding::Asked, Seeding::Listens].into_iter();
            states.any(|state| self.seeds_for(standing, state, now).next().is_some())
        };
        if self.machines.values().all(|standing| standing.lacks == 0) {
            // Those that have not told yet may have everything, as all others had.
            return Demand::default();
        }
        let most_have_choice = has_choice(&Standing::default());
        let served = self.served();
        let mut demand = Demand::default();
        for (machine, standing) in &self.machines {
            if matches!(standing.seeding, Seeding::Asked | Seeding::Listens) && self.flows(*machine, now) {
                demand.room += PER_SEED - served.get(machine).copied().unwrap_or(0);
            }
            if standing.is_whole || standing.takes.is_some() || !self.may_take_from_others(standing) {
                continue;
            }
            demand.idle.push(*machine);
            if !(most_have_choice && (standing.failed.is_empty() || has_choice(standing))) {
                demand.stuck.push(*machine);
            }
        }
        demand
    }

    /// Whether a machine that was not asked yet would be of use as a seed.
    fn is_wanted_as_seed(&self, seed: MachineId, demand: &Demand) -> bool {
        if !self.machines.get(&seed).is_some_and(|standing| standing.seeding == Seeding::Unasked) {
            return false;
        }
        let would_help = |machine: &MachineId| {
            *machine != seed && self.machines.get(machine).is_some_and(|standing| !standing.failed.contains(&seed))
        };
        let others = demand.idle.iter().filter(|machine| **machine != seed).count();
        let wait = if others > demand.room { &demand.idle } else { &demand.stuck };
        wait.iter().any(would_help)
    }

    fn ask_to_seed(&mut self, seed: MachineId) -> Option<Order> {
        self.machines.get_mut(&seed)?.seeding = Seeding::Asked;
        Some(Order::Seed(seed))
    }

    fn may_take_from_others(&self, standing: &Standing) -> bool {
        self.peers && standing.failed.len() < FAILURES
    }

    fn seeds_for<'a>(
        &'a self,
        standing: &'a Standing,
        state: Seeding,
        now: Duration,
    ) -> impl Iterator<Item = MachineId> + 'a {
        let fit = self.machines.iter().filter(move |(machine, other)| {
            other.seeding == state && !standing.failed.contains(machine) && self.flows(**machine, now)
        });
        fit.map(|(machine, _)| *machine)
    }

    /// Whether a machine has everything, or gets it without crawling. Whoever gets nothing has to get it from one that
    /// does: so none ever waits for itself.
    fn flows(&self, machine: MachineId, now: Duration) -> bool {
        self.expected(machine).is_some_and(|end| now < end)
    }

    /// Until when a machine has everything at the latest, if nobody on the way to it crawls; never mind when if it has. None if
    /// it gets nothing.
    fn expected(&self, machine: MachineId) -> Option<Duration> {
        let standing = self.machines.get(&machine)?;
        if standing.is_whole {
            return Some(Duration::MAX);
        }
        let Taking { source, patience } = standing.takes?;
        match source {
            Source::Here => Some(patience),
            Source::Seed(seed) => self.expected(seed).map(|end| end.min(patience)),
        }
    }

    /// How many each seed serves.
    fn served(&self) -> BTreeMap<MachineId, usize> {
        let mut served = BTreeMap::new();
        for taking in self.machines.values().filter_map(|standing| standing.takes) {
            if let Source::Seed(seed) = taking.source {
                *served.entry(seed).or_default() += 1;
            }
        }
        served
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
