//! Rents machines for so many workers: asks EC2 for instant fleets, and again, elsewhere or otherwise, for what did not come.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;

use super::{
    LeaseEvent,
    api::{FleetOrder, FleetReply, Launched, Override, PoolError, Subnet},
    choice::{Choice, choose},
    desk::Desk,
    error::Ec2Error,
    offer::{Market, Offer},
    tags,
};
use crate::{
    model::MachineId,
    plan::{Ec2Settings, Fallback},
};

/// How often pools that failed are replaced by others before what came has to do.
const ROUNDS: u32 = 5;

/// One request for what is missing.
struct Shortage {
    missing: u32,
    market: Market,
    offers: Vec<Offer>,
    reasons: BTreeSet<String>,
    refusal: Option<Ec2Error>,
}

impl Desk {
    /// Rents for so many workers. Machines are told of as they get an address; what EC2 doesn't have, is said.
    pub(super) async fn rent(&mut self, workers: u32, events: &mpsc::Sender<LeaseEvent>) -> Result<(), Ec2Error> {
        let Some(premises) = &self.premises else { return Ok(()) };
        if let Some(caveat) = &premises.supply.caveat {
            note(events, caveat.clone()).await;
        }
        if let Some(about) = &premises.about_image {
            note(events, about.clone()).await;
        }
        let market = self.plan.market();
        let mut shortage = Shortage {
            missing: workers,
            market,
            offers: premises.supply.offers.clone(),
            reasons: BTreeSet::new(),
            refusal: None,
        };
        for round in 1..=ROUNDS {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let before = shortage.missing;
            let asked = self.ask(&mut shortage, events).await;
            if shortage.missing == 0 {
                return Ok(());
            }
            let exhausted = match asked {
                Ok(()) => false,
                // Something came before: it works with that.
                Err(error) if shortage.missing < workers => {
                    shortage.reasons.insert(error.to_string());
                    true
                }
                // The pools that were there had no machines.
                Err(Ec2Error::Choice(_)) if !shortage.reasons.is_empty() => true,
                Err(error) => {
                    let falls_back = matches!(error, Ec2Error::Choice(_) | Ec2Error::Quota { .. });
                    if !(falls_back && self.may_fall_back(shortage.market)) {
                        return Err(error);
                    }
                    shortage.reasons.insert(error.to_string());
                    true
                }
            };
            let stuck = exhausted || shortage.refusal.is_some();
            if stuck && self.may_fall_back(shortage.market) {
                shortage.fall_back(events).await;
            } else if stuck {
                break;
            } else if round < ROUNDS && (shortage.missing < before || !shortage.reasons.is_empty()) {
                let text =
                    format!("EC2 lacks machines for {} of {workers} workers: asking elsewhere", shortage.missing);
                note(events, text).await;
            }
        }
        shortage.settle(workers, events).await
    }

    fn may_fall_back(&self, market: Market) -> bool {
        market == Market::Spot && self.plan.settings.fallback == Fallback::OnDemand
    }

    /// One `CreateFleet` for what is missing.
    async fn ask(&mut self, shortage: &mut Shortage, events: &mpsc::Sender<LeaseEvent>) -> Result<(), Ec2Error> {
        let Some(premises) = &self.premises else { return Ok(()) };
        let mut wish = self.plan.wish(shortage.missing, &premises.supply.offers, &premises.subnets);
        wish.market = shortage.market;
        let choice = choose(&shortage.offers, &wish)?;
        self.plan.afford(&choice, self.spent_by_now())?;
        self.requests += 1;
        let order = FleetOrder {
            template: premises.template.clone(),
            market: shortage.market,
            capacity: shortage.missing,
            overrides: overrides(&choice, &premises.subnets, self.plan.settings.max_price),
            token: format!("{}-{}", self.plan.run, self.requests),
            tags: tags::of_run(&self.rental, self.plan.settings.lease),
        };
        let reply = premises.cloud.create_fleet(&order).await?;
        let seats = choice.pools.iter().map(|pool| (pool.instance_type.clone(), pool.workers_per_machine)).collect();
        for machine in self.take_in(&reply, shortage, &seats, events) {
            self.dismiss(machine).await;
        }
        if let Some(premises) = &self.premises {
            shortage.learn(&reply.errors, &premises.subnets);
            shortage.blame(&self.plan.settings, &premises.cloud.region);
        }
        match shortage.refusal.take_if(|error| matches!(error, Ec2Error::Unknown { .. })) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Writes down what came, and has it watched. Answers what came beyond what was asked for.
    fn take_in(
        &mut self,
        reply: &FleetReply,
        shortage: &mut Shortage,
        seats: &BTreeMap<String, u32>,
        events: &mpsc::Sender<LeaseEvent>,
    ) -> Vec<MachineId> {
        let subnets = self.premises.as_ref().map(|premises| premises.subnets.clone()).unwrap_or_default();
        let (mut expected, mut superfluous) = (Vec::new(), Vec::new());
        for launched in &reply.instances {
            let room = seats.get(&launched.instance_type).copied().unwrap_or(1);
            let workers = room.min(shortage.missing);
            shortage.missing -= workers;
            let zone = zone(launched, &subnets);
            let one = self.enter(&launched.id, &launched.instance_type, &zone, shortage.market, workers);
            if workers == 0 {
                superfluous.push(one.machine);
                continue;
            }
            self.seats.insert(launched.id.clone(), room);
            expected.push(one);
        }
        self.welcome(expected, events);
        superfluous
    }
}

impl Shortage {
    /// Takes the pools that failed off the list.
    fn learn(&mut self, errors: &[PoolError], subnets: &[Subnet]) {
        for error in errors {
            let sorted = Ec2Error::of_code("CreateFleet", error.code.clone(), error.message.clone());
            let zone = subnets.iter().find(|subnet| subnet.id == error.subnet).map(|subnet| subnet.zone.as_str());
            for offer in self.offers.iter_mut().filter(|offer| offer.instance_type == error.instance_type) {
                match zone {
                    Some(zone) => offer.withdraw(zone, self.market),
                    None => offer.withdraw_everywhere(self.market),
                }
            }
            self.reasons.insert(format!("{}: {} {}", error.instance_type, error.code, error.message));
            let about_the_request = error.code.starts_with("Invalid") || error.code.contains("NotFound");
            if self.refusal.is_none() && (about_the_request || !matches!(sorted, Ec2Error::Api { .. })) {
                self.refusal = Some(sorted);
            }
        }
    }

    async fn fall_back(&mut self, events: &mpsc::Sender<LeaseEvent>) {
        let reason = self.refusal.take().map(|error| error.to_string()).or_else(|| self.reasons.last().cloned());
        let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
        note(events, format!("no more spot machines{reason}: renting on-demand machines for {} workers", self.missing))
            .await;
        self.market = Market::OnDemand;
    }

    /// What came has to do, if anything did.
    async fn settle(self, workers: u32, events: &mpsc::Sender<LeaseEvent>) -> Result<(), Ec2Error> {
        let detail = self.reasons.into_iter().take(3).collect::<Vec<_>>().join("; ");
        if self.missing < workers {
            let got = workers - self.missing;
            note(events, format!("EC2 has machines for {got} of {workers} workers only: {detail}")).await;
            return Ok(());
        }
        Err(self.refusal.unwrap_or(Ec2Error::NoCapacity { detail }))
    }

    /// Names what the user named, where EC2 says it isn't there.
    fn blame(&mut self, settings: &Ec2Settings, region: &str) {
        let Some(Ec2Error::Api { code, .. }) = &self.refusal else { return };
        let (what, name) = match code.as_str() {
            code if code.starts_with("InvalidAMI") || code.contains("Parameter") => ("image", settings.image.clone()),
            code if code.contains("Group") => ("security group", settings.security_groups.join(", ")),
            code if code.contains("Subnet") => ("subnet", settings.subnets.join(", ")),
            _ => return,
        };
        self.refusal = Some(Ec2Error::Unknown { what, name, region: region.to_owned() });
    }
}

fn overrides(choice: &Choice, subnets: &[Subnet], max_price: Option<f64>) -> Vec<Override> {
    let pools = choice.pools.iter().flat_map(|pool| {
        let here = subnets.iter().filter(|subnet| subnet.zone == pool.zone);
        here.map(|subnet| Override {
            instance_type: pool.instance_type.clone(),
            subnet: subnet.id.clone(),
            weight: pool.workers_per_machine,
            max_unit_price: max_price.map(|price| price / f64::from(pool.workers_per_machine)),
        })
    });
    pools.collect()
}

fn zone(launched: &Launched, subnets: &[Subnet]) -> String {
    let of_subnet = || subnets.iter().find(|subnet| subnet.id == launched.subnet).map(|subnet| subnet.zone.clone());
    launched.zone.clone().or_else(of_subnet).unwrap_or_default()
}

async fn note(events: &mpsc::Sender<LeaseEvent>, text: String) {
    events.send(LeaseEvent::Note(text)).await.ok();
}
