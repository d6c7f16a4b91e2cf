//! What a run would rent, and what that would cost an hour. Asks EC2 and changes nothing.

use std::time::Duration;

use super::{
    Ec2Plan,
    api::Cloud,
    bill::{Account, Address, Bill, Stay},
    choice::{Choice, choose},
    error::Ec2Error,
    market::{self, Supply},
    network,
    offer::Market,
    survey::is_standard,
};
use crate::model::MachineId;

#[derive(Clone, Debug)]
pub struct Forecast {
    pub region: String,
    pub choice: Choice,
    /// An hour of the machines that would be launched, with their disks and addresses.
    pub hour: Bill,
    /// Virtual CPUs of what would be launched, as the account's quotas of standard machines count them.
    pub standard_vcpus: u32,
    /// What could not be found out.
    pub caveat: Option<String>,
}

const HOUR: Duration = Duration::from_secs(3600);

/// Looks at what the region sells in the zones of the plan's subnets.
pub async fn forecast(cloud: &Cloud, plan: &Ec2Plan, workers: u32) -> Result<Forecast, Ec2Error> {
    let (subnets, supply) = tokio::try_join!(network::subnets(cloud, plan), market::supply(cloud))?;
    let choice = choose(&supply.offers, &plan.wish(workers, &supply.offers, &subnets))?;
    plan.afford(&choice, 0.0)?;
    let hour = hour(&choice, &supply, plan);
    let standard_vcpus = standard_vcpus(&choice, &supply);
    Ok(Forecast { region: cloud.region.clone(), choice, hour, standard_vcpus, caveat: supply.caveat })
}

fn standard_vcpus(choice: &Choice, supply: &Supply) -> u32 {
    let standard = choice.expected.machines.iter().filter(|(name, _)| is_standard(name));
    let vcpus = standard.filter_map(|(name, count)| {
        supply.offers.iter().find(|offer| offer.instance_type == *name).map(|offer| offer.vcpus * count)
    });
    vcpus.sum()
}

fn hour(choice: &Choice, supply: &Supply, plan: &Ec2Plan) -> Bill {
    let mut stays = Vec::new();
    for (instance_type, count) in &choice.expected.machines {
        let Some(pool) = choice.pools.iter().find(|pool| pool.instance_type == *instance_type) else { continue };
        let offer = supply.offers.iter().find(|offer| offer.instance_type == *instance_type);
        let on_demand = offer.and_then(|offer| offer.price(&pool.zone, Market::OnDemand));
        for _ in 0..*count {
            stays.push(Stay {
                machine: MachineId(u32::try_from(stays.len()).unwrap_or(u32::MAX)),
                instance_type: instance_type.clone(),
                zone: pool.zone.clone(),
                market: choice.market,
                price_per_hour: pool.price_per_hour,
                on_demand_per_hour: on_demand.map(|price| price.per_hour),
                disk_gib: plan.disk_gib(),
                address: plan.address(),
                launched: Duration::ZERO,
                ended: None,
            });
        }
    }
    Account { stays }.bill(HOUR)
}

impl Ec2Plan {
    /// Every machine is billed for a minute at least.
    pub(super) fn afford(&self, choice: &Choice, spent: f64) -> Result<(), Ec2Error> {
        match self.settings.budget {
            Some(budget) if choice.expected.price_per_hour / 60.0 + spent >= budget => Err(Ec2Error::Budget { budget }),
            _ => Ok(()),
        }
    }

    pub(super) fn disk_gib(&self) -> u32 {
        u32::try_from(self.settings.disk.as_u64().div_ceil(1 << 30)).unwrap_or(u32::MAX)
    }

    pub(super) fn address(&self) -> Address {
        if self.settings.private_ip { Address::Private } else { Address::Public }
    }
}
