//! Why machine types won't do for a run, and what comes nearest to one that would.
//!
//! Pure: words for what the choice has found, and nothing that decides.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use bytesize::ByteSize;

use super::choice::Wish;
use super::offer::{Architecture, Interruption, Market, Offer};

/// What is in a type's way; the later ones are met only by types that passed the earlier.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    NotSold,
    TooSmall,
    TooLikely(Interruption),
    /// The price of its cheapest zone.
    TooDear {
        price: f64,
        zone: String,
    },
}

/// Why no machine will do, with what comes nearest.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ChoiceError {
    #[error("EC2 has no machine type {name:?} in this region")]
    UnknownType { name: String, nearest: Option<String> },
    #[error("{first} and {second} can't run the same programs: one is {}, the other {}", .architectures[0], .architectures[1])]
    Mixed { first: String, second: String, architectures: [Architecture; 2] },
    #[error("EC2 sells no {market} machine of {} in {}", kind(.types, *.architecture), places(.zones))]
    NotSold {
        market: Market,
        types: Vec<String>,
        architecture: Architecture,
        zones: Option<BTreeSet<String>>,
        /// Where such machines are sold, in this market and in the other.
        elsewhere: BTreeSet<String>,
        otherwise: BTreeSet<String>,
    },
    #[error(
        "no machine holds a worker of {cpu} CPUs and {}: the largest type, {largest}, has {vcpus} CPUs, and {} for \
         workers",
        ByteSize::mib(*.memory_mib), ByteSize::mib(*.usable_mib)
    )]
    TooSmall { cpu: f64, memory_mib: u64, largest: String, vcpus: u32, usable_mib: u64 },
    #[error("no machine's chance of being taken away is within {limit} %: the lowest on offer is {lowest} ({of})")]
    TooLikely { limit: u32, lowest: Interruption, of: String },
    #[error("no {market} machine costs ${limit} an hour or less: the cheapest, {of} in {zone}, costs ${price:.4}")]
    TooDear { market: Market, limit: f64, of: String, zone: String, price: f64 },
}

impl Refusal {
    fn stage(&self) -> u8 {
        match self {
            Refusal::NotSold => 0,
            Refusal::TooSmall => 1,
            Refusal::TooLikely(_) => 2,
            Refusal::TooDear { .. } => 3,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotSold => f.write_str("not sold here"),
            Refusal::TooSmall => f.write_str("too small for a worker"),
            Refusal::TooLikely(interruption) => write!(f, "taken away too often ({interruption})"),
            Refusal::TooDear { price, zone } => write!(f, "too dear (${price:.4} an hour in {zone})"),
        }
    }
}

impl ChoiceError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::UnknownType { nearest: Some(nearest), .. } => format!("the nearest name is {nearest}"),
            Self::UnknownType { nearest: None, .. } => {
                "types are named like m5.large; not every region has every type (--cd-region)".into()
            }
            Self::Mixed { .. } => "name types of one architecture: they all boot the same image".into(),
            Self::NotSold { elsewhere, .. } if !elsewhere.is_empty() => {
                format!("choose a subnet (--cd-subnet) in {}", listed(elsewhere))
            }
            Self::NotSold { market: Market::Spot, otherwise, .. } if !otherwise.is_empty() => {
                format!("on-demand (--cd-interrupt-prob 0) they are sold in {}", listed(otherwise))
            }
            Self::NotSold { market: Market::OnDemand, otherwise, .. } if !otherwise.is_empty() => {
                format!("as spot machines (--cd-interrupt-prob 80) they are sold in {}", listed(otherwise))
            }
            Self::NotSold { .. } => "name other types (--cd-instance-type) or another region (--cd-region)".into(),
            Self::TooSmall { .. } => {
                "lower --cd-cpu-per-worker or --cd-memory-per-worker, or name larger types (--cd-instance-type)".into()
            }
            Self::TooLikely { lowest, .. } => format!(
                "--cd-interrupt-prob {} or higher, or 0 for on-demand machines, which are not taken away",
                lowest.needed_prob()
            ),
            Self::TooDear { price, .. } => {
                // Rounded up, so that it is enough.
                format!("--cd-max-price {:.4} or higher", (price * 1e4 - 1e-6).ceil() / 1e4)
            }
        }
    }

    pub(super) fn mixed(odd: &Offer, wish: &Wish, offers: &[Offer]) -> Self {
        let fits = |offer: &&Offer| {
            wish.instance_types.contains(&offer.instance_type) && offer.architecture == wish.architecture
        };
        let first = offers.iter().find(fits).map_or_else(String::new, |offer| offer.instance_type.clone());
        Self::Mixed { first, second: odd.instance_type.clone(), architectures: [wish.architecture, odd.architecture] }
    }

    pub(super) fn unknown_type(name: &str, offers: &[Offer]) -> Self {
        let likeness = |other: &str| name.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        let nearest = offers.iter().map(|offer| offer.instance_type.as_str()).filter(|other| likeness(other) > 1);
        let nearest = nearest.min_by_key(|other| (Reverse(likeness(other)), other.len().abs_diff(name.len()), *other));
        Self::UnknownType { name: name.to_owned(), nearest: nearest.map(str::to_owned) }
    }

    /// Tells of the types that came furthest, and of the one among them that came nearest.
    pub(super) fn nothing_left(offers: &[Offer], refused: &[(&Offer, Refusal)], wish: &Wish) -> Self {
        let furthest = refused.iter().map(|(_, refusal)| refusal.stage()).max();
        let nearest = refused.iter().filter(|(_, refusal)| Some(refusal.stage()) == furthest);
        let nearest = nearest.min_by(|(a, why_a), (b, why_b)| {
            let distance = match (why_a, why_b) {
                (Refusal::TooLikely(a), Refusal::TooLikely(b)) => a.cmp(b),
                (Refusal::TooDear { price: a, .. }, Refusal::TooDear { price: b, .. }) => a.total_cmp(b),
                _ => wish.fit(b).total_cmp(&wish.fit(a)),
            };
            distance.then_with(|| a.instance_type.cmp(&b.instance_type))
        });
        match nearest {
            Some((offer, Refusal::TooSmall)) => Self::TooSmall {
                cpu: wish.cpu_per_worker,
                memory_mib: wish.memory_per_worker_mib,
                largest: offer.instance_type.clone(),
                vcpus: offer.vcpus,
                usable_mib: offer.usable_memory_mib(),
            },
            Some((offer, Refusal::TooLikely(lowest))) => {
                Self::TooLikely { limit: wish.interrupt_prob, lowest: *lowest, of: offer.instance_type.clone() }
            }
            Some((offer, Refusal::TooDear { price, zone })) => Self::TooDear {
                market: wish.market,
                limit: wish.max_price.unwrap_or_default(),
                of: offer.instance_type.clone(),
                zone: zone.clone(),
                price: *price,
            },
            Some((_, Refusal::NotSold)) | None => Self::not_sold(offers, wish),
        }
    }

    fn not_sold(offers: &[Offer], wish: &Wish) -> Self {
        let sold = |market| {
            let considered = offers.iter().filter(|offer| wish.considers(offer));
            considered.flat_map(|offer| offer.zones(market)).map(str::to_owned).collect()
        };
        let other = match wish.market {
            Market::Spot => Market::OnDemand,
            Market::OnDemand => Market::Spot,
        };
        Self::NotSold {
            market: wish.market,
            types: wish.instance_types.clone(),
            architecture: wish.architecture,
            zones: wish.zones.clone(),
            elsewhere: sold(wish.market),
            otherwise: sold(other),
        }
    }
}

fn kind(types: &[String], architecture: Architecture) -> String {
    if types.is_empty() { format!("the {architecture} architecture") } else { format!("type {}", listed(types)) }
}

fn places(zones: &Option<BTreeSet<String>>) -> String {
    zones.as_ref().map_or_else(|| "this region".into(), listed)
}

fn listed<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    words.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
