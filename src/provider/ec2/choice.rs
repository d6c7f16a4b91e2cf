//! Chooses the pools (machine type and zone) in which EC2 may look for a run's machines, so that its workers cost least.
//!
//! With several workers on one machine, losing it costs all of them; with many machines the set-up costs each. So a
//! price is weighed by how far a machine is from holding a reasonable share of the run. Pure and deterministic.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::offer::{Architecture, Interruption, Market, Offer, PriceBasis};
pub use super::refusal::{ChoiceError, Refusal};

/// What a run asks of its machines.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    pub workers: u32,
    pub cpu_per_worker: f64,
    pub memory_per_worker_mib: u64,
    /// The highest acceptable chance in percent that a spot machine is taken away.
    pub interrupt_prob: u32,
    pub market: Market,
    /// If any are named only they count, of whatever kind they are.
    pub instance_types: Vec<String>,
    pub architecture: Architecture,
    /// Dollars an hour for one machine.
    pub max_price: Option<f64>,
    /// The only zones that will do.
    pub zones: Option<BTreeSet<String>>,
}

/// Machines of one type in one zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    pub instance_type: String,
    pub zone: String,
    pub architecture: Architecture,
    /// The pool's weight: its even share of the workers, never more than it holds.
    pub workers_per_machine: u32,
    pub price_per_hour: f64,
    pub price_basis: PriceBasis,
    pub price_per_worker_hour: f64,
    /// `None` for machines that are not taken away.
    pub interruption: Option<Interruption>,
    pub burstable: bool,
}

/// The machines that would cost least if every pool had enough of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub machines: BTreeMap<String, u32>,
    /// Workers for which there is room: those wanted, and what the last machine holds beyond them.
    pub workers: u32,
    pub price_per_hour: f64,
}

/// Where to look for machines.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub market: Market,
    pub workers: u32,
    /// The cheapest per worker first.
    pub pools: Vec<Pool>,
    pub expected: Expected,
    /// Types that the user named, but that won't do.
    pub left_out: BTreeMap<String, Refusal>,
}

/// EC2 finds capacity best with this many pools or more, so dearer ones are taken until there are as many.
const FEWEST_POOLS: usize = 10;
/// As many as a request holds comfortably.
const MOST_POOLS: usize = 60;
/// Beyond the fewest, no pool is dearer per worker than this multiple of the cheapest.
const DEAREST: f64 = 2.0;

/// EC2's largest weight.
const LARGEST_WEIGHT: u32 = 999;

/// A machine should hold from 2 to 16 workers: one that is lost takes few along, and few have to be set up. In large
/// runs it may hold a 64th of the workers, and should hold a 512th: all machines are set up from one place.
const FEWEST_WORKERS: u32 = 2;
const MOST_WORKERS: u32 = 16;
const MACHINES_ENOUGH: u32 = 64;
const MACHINES_TOO_MANY: u32 = 512;
/// What each doubling or halving beyond that adds to the price when pools are weighed.
const WEIGHT_OF_DOUBLING: f64 = 0.1;

/// What burstable machines cost on top of their price while they compute without pause, for each virtual CPU and hour:
/// <https://aws.amazon.com/ec2/pricing/on-demand/>, "T2/T3/T4g Unlimited Mode Pricing".
const SURPLUS_PER_VCPU: f64 = 0.05;

/// A pool and the price by which it is compared with others.
#[derive(Clone, Debug)]
struct Candidate {
    pool: Pool,
    /// Of a machine.
    weighed: f64,
}

/// Chooses among the offers, in whatever order they come.
pub fn choose(offers: &[Offer], wish: &Wish) -> Result<Choice, ChoiceError> {
    if let Some(name) = wish.instance_types.iter().find(|name| offers.iter().all(|offer| offer.instance_type != **name))
    {
        return Err(ChoiceError::unknown_type(name, offers));
    }
    let odd =
        |offer: &&Offer| wish.instance_types.contains(&offer.instance_type) && offer.architecture != wish.architecture;
    if let Some(offer) = offers.iter().find(odd) {
        return Err(ChoiceError::mixed(offer, wish, offers));
    }
    let mut candidates = Vec::new();
    let mut refused = Vec::new();
    for offer in offers.iter().filter(|offer| wish.considers(offer)) {
        match examine(offer, wish) {
            Ok(pools) => candidates.extend(pools),
            Err(refusal) => refused.push((offer, refusal)),
        }
    }
    candidates.sort_by(Candidate::by_weighed_price);
    let selected = select(candidates);
    if selected.is_empty() {
        return Err(ChoiceError::nothing_left(offers, &refused, wish));
    }
    let expected = cheapest(&selected, wish.workers);
    let mut pools: Vec<Pool> = selected.into_iter().map(|candidate| candidate.pool).collect();
    pools.sort_by(|a, b| {
        a.price_per_worker_hour.total_cmp(&b.price_per_worker_hour).then_with(|| a.key().cmp(&b.key()))
    });
    let named = !wish.instance_types.is_empty();
    let left_out = refused.into_iter().filter(|_| named);
    let left_out = left_out.map(|(offer, refusal)| (offer.instance_type.clone(), refusal)).collect();
    Ok(Choice { market: wish.market, workers: wish.workers, pools, expected, left_out })
}

impl Wish {
    /// Whether a type is of a kind that comes into question.
    pub(super) fn considers(&self, offer: &Offer) -> bool {
        if self.instance_types.is_empty() {
            let plain = offer.current && !offer.gpu && !offer.bare_metal;
            return plain && offer.architecture == self.architecture;
        }
        self.instance_types.contains(&offer.instance_type)
    }

    /// What part of a single worker a machine holds.
    pub(super) fn fit(&self, offer: &Offer) -> f64 {
        let cpu = f64::from(offer.vcpus) / self.cpu_per_worker;
        cpu.min(offer.usable_memory_mib() as f64 / self.memory_per_worker_mib as f64)
    }

    /// How many of the wanted workers a machine gets that could hold as many: so many that all machines get the same.
    ///
    /// EC2 fills a request's last places with whatever machine it has: of even shares it launches few in vain.
    fn even_share(&self, seats: u32) -> u32 {
        let most = seats.clamp(1, LARGEST_WEIGHT);
        self.workers.div_ceil(self.workers.div_ceil(most).max(1)).max(1)
    }

    /// By what a machine's price is multiplied when it is compared with those of other sizes.
    fn weight_of_size(&self, workers_per_machine: u32) -> f64 {
        let most = MOST_WORKERS.max(self.workers.div_ceil(MACHINES_ENOUGH));
        let fewest = FEWEST_WORKERS.max(self.workers.div_ceil(MACHINES_TOO_MANY));
        let times =
            f64::from(workers_per_machine.div_ceil(most)).max(f64::from(fewest) / f64::from(workers_per_machine));
        1.0 + WEIGHT_OF_DOUBLING * times.log2().max(0.0).ceil()
    }
}

/// The pools of a type that will do, or the last thing that is in its way.
fn examine(offer: &Offer, wish: &Wish) -> Result<Vec<Candidate>, Refusal> {
    let mut zones = offer.zones(wish.market);
    zones.retain(|zone| wish.zones.as_ref().is_none_or(|wanted| wanted.contains(*zone)));
    if zones.is_empty() {
        return Err(Refusal::NotSold);
    }
    let seats = offer.seats(wish.cpu_per_worker, wish.memory_per_worker_mib);
    if seats == 0 {
        return Err(Refusal::TooSmall);
    }
    if wish.market == Market::Spot && !offer.interruption.within(wish.interrupt_prob) {
        return Err(Refusal::TooLikely(offer.interruption));
    }
    let pools: Vec<Pool> =
        zones.into_iter().filter_map(|zone| pool(offer, zone, wish.even_share(seats), wish.market)).collect();
    let affordable = |pool: &Pool| wish.max_price.is_none_or(|most| pool.price_per_hour <= most);
    let Some(cheapest) = pools.iter().min_by(|a, b| a.price_per_hour.total_cmp(&b.price_per_hour)) else {
        return Err(Refusal::NotSold);
    };
    if !affordable(cheapest) {
        return Err(Refusal::TooDear { price: cheapest.price_per_hour, zone: cheapest.zone.clone() });
    }
    Ok(pools.into_iter().filter(affordable).map(|pool| weigh(pool, offer, wish)).collect())
}

fn pool(offer: &Offer, zone: &str, workers_per_machine: u32, market: Market) -> Option<Pool> {
    let price = offer.price(zone, market)?;
    Some(Pool {
        instance_type: offer.instance_type.clone(),
        zone: zone.to_owned(),
        architecture: offer.architecture,
        workers_per_machine,
        price_per_hour: price.per_hour,
        price_basis: price.basis,
        price_per_worker_hour: price.per_hour / f64::from(workers_per_machine),
        interruption: (market == Market::Spot).then_some(offer.interruption),
        burstable: offer.burstable,
    })
}

fn weigh(pool: Pool, offer: &Offer, wish: &Wish) -> Candidate {
    let busy = (wish.cpu_per_worker * f64::from(pool.workers_per_machine)).min(f64::from(offer.vcpus));
    let surplus = if pool.burstable { SURPLUS_PER_VCPU * busy } else { 0.0 };
    let weighed = (pool.price_per_hour + surplus) * wish.weight_of_size(pool.workers_per_machine);
    Candidate { pool, weighed }
}

/// The cheapest pools, evenly over the zones; takes them with the cheapest first.
fn select(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let Some(cheapest) = candidates.first().map(Candidate::weighed_per_worker) else { return Vec::new() };
    let zones: BTreeSet<&str> = candidates.iter().map(|candidate| candidate.pool.zone.as_str()).collect();
    let share = MOST_POOLS.div_ceil(zones.len());
    let near = candidates.partition_point(|candidate| candidate.weighed_per_worker() <= cheapest * DEAREST);
    let mut by_zone: BTreeMap<String, usize> = BTreeMap::new();
    let (first, later): (Vec<_>, Vec<_>) = candidates.into_iter().take(near.max(FEWEST_POOLS)).partition(|candidate| {
        let count = by_zone.entry(candidate.pool.zone.clone()).or_default();
        *count += 1;
        *count <= share
    });
    // Places that some zones leave free go to the others.
    first.into_iter().chain(later).take(MOST_POOLS).collect()
}

/// The cheapest machines that hold the workers, found exactly: for each number of workers the best last machine.
fn cheapest(candidates: &[Candidate], workers: u32) -> Expected {
    let mut types: BTreeMap<&str, &Candidate> = BTreeMap::new();
    for candidate in candidates {
        let best = types.entry(&candidate.pool.instance_type).or_insert(candidate);
        if candidate.weighed < best.weighed {
            *best = candidate;
        }
    }
    // Whole numbers, so that equal prices are equal in whatever order they are added up.
    let nanodollars = |candidate: &Candidate| (candidate.weighed * 1e9).round() as u64;
    let mut plans: Vec<(u64, u32)> = vec![(0, 0)];
    let mut last: Vec<Option<&Candidate>> = vec![None];
    for wanted in 1..=workers as usize {
        let best = types.values().map(|candidate| {
            let (price, machines) = plans[wanted.saturating_sub(candidate.pool.workers_per_machine as usize)];
            (price.saturating_add(nanodollars(candidate)), machines + 1, *candidate)
        });
        let best = best.min_by_key(|(price, machines, _)| (*price, *machines));
        plans.push(best.map_or((0, 0), |(price, machines, _)| (price, machines)));
        last.push(best.map(|(_, _, candidate)| candidate));
    }
    let mut expected = Expected { machines: BTreeMap::new(), workers: 0, price_per_hour: 0.0 };
    let mut left = workers;
    while let Some(Candidate { pool, .. }) = last[left as usize] {
        *expected.machines.entry(pool.instance_type.clone()).or_default() += 1;
        expected.workers += pool.workers_per_machine;
        expected.price_per_hour += pool.price_per_hour;
        left = left.saturating_sub(pool.workers_per_machine);
    }
    expected
}

impl Candidate {
    fn weighed_per_worker(&self) -> f64 {
        self.weighed / f64::from(self.pool.workers_per_machine)
    }

    fn by_weighed_price(&self, other: &Self) -> Ordering {
        let price = self.weighed_per_worker().total_cmp(&other.weighed_per_worker());
        price.then_with(|| self.pool.key().cmp(&other.pool.key()))
    }
}

impl Pool {
    fn key(&self) -> (&str, &str) {
        (&self.instance_type, &self.zone)
    }
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
