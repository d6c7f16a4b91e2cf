//! What EC2 has on offer: each machine type with its size, its zones and its prices, as plain values.
//!
//! Prices are dollars an hour. Nothing here asks anyone anything or decides for a machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How a machine is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Market {
    /// Cheap, and may be taken away with two minutes' notice.
    Spot,
    OnDemand,
}

/// What a machine's programs are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    X86_64,
    Arm64,
}

/// How often spot machines of a type were taken away during the last month: the buckets of the public spot advisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interruption {
    Below5,
    From5To10,
    From10To15,
    From15To20,
    Above20,
    /// The advisor doesn't list the type.
    Unlisted,
}

/// What a price was worked out from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PriceBasis {
    /// EC2's own spot price.
    SpotPrice,
    /// The spot price and what the advisor says it saves.
    Savings,
    /// The machine's size alone.
    Size,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    pub per_hour: f64,
    pub basis: PriceBasis,
}

/// One machine type in one region.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    pub instance_type: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub architecture: Architecture,
    /// Computes at full speed only for a while, or for a surcharge.
    pub burstable: bool,
    pub gpu: bool,
    pub bare_metal: bool,
    /// Of the current generation.
    pub current: bool,
    /// Spot price by zone.
    pub spot: BTreeMap<String, f64>,
    pub on_demand_zones: BTreeSet<String>,
    pub interruption: Interruption,
    /// Percent by which spot undercuts on-demand.
    pub savings: Option<u32>,
}

/// What on-demand machines cost by their size. It meets the price list of the plain families (m, c, r of recent
/// generations, us-east-1, Linux) within a few percent; accelerators cost far more.
const DOLLARS_PER_VCPU: f64 = 0.034;
const DOLLARS_PER_GIB: f64 = 0.0035;

/// The system's own memory: firmware and kernel tables keep a share that grows with the machine, the running system
/// an amount that doesn't.
const RESERVED_PERCENT: u64 = 3;
const RESERVED_MIB: u64 = 300;

/// Lets 0.3 CPUs hold three workers of 0.1.
const ROUNDING: f64 = 1e-9;

impl Offer {
    /// The memory that is left for workers.
    pub fn usable_memory_mib(&self) -> u64 {
        let share = self.memory_mib.saturating_mul(RESERVED_PERCENT).div_ceil(100);
        self.memory_mib.saturating_sub(share).saturating_sub(RESERVED_MIB)
    }

    /// How many workers a machine of this type holds.
    pub fn seats(&self, cpu_per_worker: f64, memory_per_worker_mib: u64) -> u32 {
        if cpu_per_worker.is_nan() || cpu_per_worker <= 0.0 {
            return 0;
        }
        // A cast from a float saturates.
        let by_cpu = (f64::from(self.vcpus) / cpu_per_worker + ROUNDING) as u32;
        let by_memory = self.usable_memory_mib().checked_div(memory_per_worker_mib).unwrap_or(u64::MAX);
        by_cpu.min(u32::try_from(by_memory).unwrap_or(u32::MAX))
    }

    /// An estimate of the on-demand price: the spot price, averaged over the zones, without what the advisor says it saves.
    pub fn on_demand_estimate(&self) -> Option<f64> {
        let savings = self.savings.filter(|percent| *percent < 100)?;
        let prices = || self.spot.values().copied().filter(|price| is_price(*price));
        let zones = prices().count();
        let average = prices().sum::<f64>() / zones as f64;
        (zones > 0).then(|| average / (1.0 - f64::from(savings) / 100.0))
    }

    /// What a machine costs in a zone; `None` where it isn't sold.
    pub fn price(&self, zone: &str, market: Market) -> Option<Price> {
        match market {
            Market::Spot => {
                let per_hour = self.spot.get(zone).copied().filter(|price| is_price(*price))?;
                Some(Price { per_hour, basis: PriceBasis::SpotPrice })
            }
            Market::OnDemand => self.on_demand_zones.contains(zone).then(|| match self.on_demand_estimate() {
                Some(per_hour) => Price { per_hour, basis: PriceBasis::Savings },
                None => Price { per_hour: self.price_by_size(), basis: PriceBasis::Size },
            }),
        }
    }

    /// The zones where a machine is sold.
    pub fn zones(&self, market: Market) -> BTreeSet<&str> {
        match market {
            Market::Spot => {
                self.spot.iter().filter(|(_, price)| is_price(**price)).map(|(zone, _)| zone.as_str()).collect()
            }
            Market::OnDemand => self.on_demand_zones.iter().map(String::as_str).collect(),
        }
    }

    /// Takes a pool off the market, for instance because it has no machines left.
    pub fn withdraw(&mut self, zone: &str, market: Market) {
        match market {
            Market::Spot => self.spot.remove(zone).is_some(),
            Market::OnDemand => self.on_demand_zones.remove(zone),
        };
    }

    pub fn withdraw_everywhere(&mut self, market: Market) {
        match market {
            Market::Spot => self.spot.clear(),
            Market::OnDemand => self.on_demand_zones.clear(),
        }
    }

    fn price_by_size(&self) -> f64 {
        f64::from(self.vcpus) * DOLLARS_PER_VCPU + self.memory_mib as f64 / 1024.0 * DOLLARS_PER_GIB
    }
}

fn is_price(price: f64) -> bool {
    price.is_finite() && price > 0.0
}

impl Interruption {
    /// The bucket's midpoint in percent, which is what `--cd-interrupt-prob` is held against.
    ///
    /// The advisor gives its highest bucket an upper end of 100 %, hence 60. A type that it doesn't list has little
    /// spare capacity and counts as the most that the default of `--cd-interrupt-prob` takes.
    pub fn percent(self) -> f64 {
        match self {
            Interruption::Below5 => 2.5,
            Interruption::From5To10 => 7.5,
            Interruption::From10To15 => 12.5,
            Interruption::From15To20 => 17.5,
            Interruption::Above20 => 60.0,
            Interruption::Unlisted => 80.0,
        }
    }

    /// Whether it is within the highest chance that a user accepts.
    pub fn within(self, interrupt_prob: u32) -> bool {
        self.percent() <= f64::from(interrupt_prob)
    }

    /// The lowest `--cd-interrupt-prob` that takes it.
    pub fn needed_prob(self) -> u32 {
        self.percent().ceil() as u32
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Interruption::Below5 => "<5 %",
            Interruption::From5To10 => "5-10 %",
            Interruption::From10To15 => "10-15 %",
            Interruption::From15To20 => "15-20 %",
            Interruption::Above20 => ">20 %",
            Interruption::Unlisted => "unknown",
        })
    }
}

impl fmt::Display for Market {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Market::Spot => "spot",
            Market::OnDemand => "on-demand",
        })
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Architecture::X86_64 => "x86_64",
            Architecture::Arm64 => "arm64",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(vcpus: u32, memory_mib: u64) -> Offer {
        Offer {
            instance_type: "m5.large".into(),
            vcpus,
            memory_mib,
            architecture: Architecture::X86_64,
            burstable: false,
            gpu: false,
            bare_metal: false,
            current: true,
            spot: [("a".into(), 0.03), ("b".into(), 0.05)].into(),
            on_demand_zones: ["a".into()].into(),
            interruption: Interruption::Below5,
            savings: Some(60),
        }
    }

    #[test]
    fn the_system_keeps_its_own_memory() {
        assert_eq!(offer(2, 8192).usable_memory_mib(), 8192 - 246 - 300);
        assert_eq!(offer(2, 512).usable_memory_mib(), 196);
        assert_eq!(offer(2, 200).usable_memory_mib(), 0);
        // Two workers of 2 GiB don't fit into 4 GiB.
        assert_eq!(offer(2, 4096).seats(1.0, 2048), 1);
        assert_eq!(offer(2, 8192).seats(1.0, 2048), 2);
    }

    #[test]
    fn fractions_of_a_cpu_add_up() {
        assert_eq!(offer(2, 1 << 20).seats(0.1, 1), 20);
        assert_eq!(offer(3, 1 << 20).seats(0.3, 1), 10);
        assert_eq!(offer(2, 1 << 20).seats(0.25, 1), 8);
        assert_eq!(offer(2, 1 << 20).seats(1.5, 1), 1);
    }

    #[test]
    fn wishes_without_sense_hold_no_worker_or_cost_no_memory() {
        for cpu in [0.0, -1.0, f64::NAN] {
            assert_eq!(offer(2, 8192).seats(cpu, 1), 0, "{cpu}");
        }
        assert_eq!(offer(2, 8192).seats(1e-300, 1), 7646);
        assert_eq!(offer(2, 8192).seats(1.0, 0), 2);
    }

    #[test]
    fn on_demand_is_estimated_from_spot_and_its_savings() {
        assert!((offer(2, 8192).on_demand_estimate().unwrap() - 0.1).abs() < 1e-12);
        for offer in [
            Offer { savings: None, ..offer(2, 8192) },
            Offer { savings: Some(100), ..offer(2, 8192) },
            Offer { spot: BTreeMap::new(), ..offer(2, 8192) },
        ] {
            assert_eq!(offer.on_demand_estimate(), None);
            assert_eq!(offer.price("a", Market::OnDemand).unwrap().basis, PriceBasis::Size);
        }
    }

    #[test]
    fn the_size_says_about_what_plain_machines_cost() {
        // us-east-1: c5.large 0.085, m5.large 0.096, r5.large 0.126.
        for (gib, listed) in [(4, 0.085), (8, 0.096), (16, 0.126)] {
            let guess = offer(2, gib * 1024).price_by_size();
            assert!((guess / listed - 1.0).abs() < 0.05, "{guess} for {listed}");
        }
    }

    #[test]
    fn a_withdrawn_pool_is_not_for_sale() {
        let mut offer = offer(2, 8192);
        offer.withdraw("a", Market::Spot);
        assert_eq!(offer.price("a", Market::Spot), None);
        assert_eq!(offer.zones(Market::Spot), BTreeSet::from(["b"]));
        assert!(offer.price("a", Market::OnDemand).is_some());
        offer.withdraw("a", Market::OnDemand);
        assert!(offer.zones(Market::OnDemand).is_empty());
    }

    #[test]
    fn the_default_chance_takes_every_bucket() {
        let all = [
            Interruption::Below5,
            Interruption::From5To10,
            Interruption::From10To15,
            Interruption::From15To20,
            Interruption::Above20,
            Interruption::Unlisted,
        ];
        assert!(all.iter().all(|bucket| bucket.within(80)));
        assert!(
            all.iter().all(|bucket| bucket.within(bucket.needed_prob()) && !bucket.within(bucket.needed_prob() - 1))
        );
        assert!(all.is_sorted_by(|a, b| a.percent() < b.percent()));
    }
}
