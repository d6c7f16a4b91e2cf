//! The desk: the one task that owns what a run has rented, from the first call to the last.
//!
//! Takes orders one after another; what takes long and changes nothing, watching machines come, it leaves to tasks of its
//! own. It ends by giving everything back, whatever went before.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use futures_util::FutureExt;
use russh::keys::{PrivateKey, PublicKey};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Ec2Plan, LaunchRequest, LeaseEvent, Order,
    api::{Blueprint, Cloud, Subnet},
    arrival::{Expected, Welcome, welcome},
    bake,
    bill::{Account, Stay},
    clearing,
    error::Ec2Error,
    image::{BootImage, Wanted},
    ledger::{Entry, Ledger},
    market::{self, Supply},
    network,
    offer::Market,
    tags, user_data,
    warm::Warm,
};
use crate::{model::MachineId, provider::Rented, ssh::generate_key};

/// Everything that launches have in common, made for the first of them.
pub(super) struct Premises {
    pub cloud: Cloud,
    pub subnets: Vec<Subnet>,
    pub supply: Supply,
    pub image: BootImage,
    /// What is to be said of the image.
    pub about_image: Option<String>,
    /// The launch template.
    pub template: String,
    /// The security group, if it is ours.
    pub group: Option<String>,
    pub client_address: Option<IpAddr>,
    /// Ours towards the machines.
    pub client_key: Arc<PrivateKey>,
    /// Theirs towards us.
    pub host_key: PublicKey,
}

pub(super) struct Desk {
    pub plan: Ec2Plan,
    pub stop: CancellationToken,
    pub premises: Option<Premises>,
    /// What was launched, by instance id.
    pub rented: BTreeMap<String, MachineId>,
    /// How many workers each of them has room for.
    pub seats: BTreeMap<String, u32>,
    /// Machines of an earlier run that wait to be used.
    pub warm: Vec<Warm>,
    /// What the tags call it: this run, or the one whose machines it took over.
    pub rental: String,
    /// Machines that are to be looked at when the run is over, and for how long.
    pub staying: BTreeMap<MachineId, Duration>,
    pub machines: u32,
    /// Numbers the requests: each has its own token.
    pub requests: u32,
    pub arrivals: JoinSet<()>,
    pub began: Instant,
    ledger: Option<Ledger>,
    cloud: Option<Cloud>,
    account: watch::Sender<Account>,
    /// When the run has cost almost what it may.
    budget_ends: Option<Instant>,
    spent: CancellationToken,
}

/// Time to end the run and its machines before the budget is passed.
const BUDGET_MARGIN: Duration = Duration::from_secs(20);

impl Desk {
    pub fn new(
        plan: Ec2Plan,
        stop: CancellationToken,
        spent: CancellationToken,
        account: watch::Sender<Account>,
        began: Instant,
    ) -> Self {
        Self {
            rental: plan.run.clone(),
            staying: BTreeMap::new(),
            plan,
            stop,
            premises: None,
            rented: BTreeMap::new(),
            seats: BTreeMap::new(),
            warm: Vec::new(),
            machines: 0,
            requests: 0,
            arrivals: JoinSet::new(),
            began,
            ledger: None,
            cloud: None,
            account,
            budget_ends: None,
            spent,
        }
    }

    pub async fn serve(mut self, mut orders: mpsc::UnboundedReceiver<Order>) -> Result<Option<String>, Ec2Error> {
        let mut renewal = interval(self.plan.settings.lease / 2);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        renewal.reset();
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Launch { request, events }) => self.launch(request, events).await,
                    Some(Order::Dismiss(machine)) => self.dismiss(machine).await,
                    Some(Order::Keep(staying)) => self.staying = staying,
                    Some(Order::Bake { machine, environment, answer }) => {
                        answer.send(self.bake(machine, &environment).await).ok();
                    }
                    None => break,
                },
                _ = renewal.tick() => self.renew().await,
                Some(_) = self.arrivals.join_next() => {}
                () = sleep_until(self.budget_ends.unwrap_or(self.began)), if self.budget_ends.is_some() => {
                    self.budget_ends = None;
                    self.spent.cancel();
                }
            }
        }
        self.close().await
    }

    async fn launch(&mut self, request: LaunchRequest, events: mpsc::Sender<LeaseEvent>) {
        let launched = match self.open().await {
            Ok(()) => match self.lease_warm(request.workers, &events) {
                0 => Ok(()),
                missing => self.rent(missing, &events).await,
            },
            Err(error) => Err(error),
        };
        if let Err(error) = launched {
            let machine = MachineId(self.machines);
            events.send(LeaseEvent::Failed { machine, name: "ec2".into(), error: error.into() }).await.ok();
        }
    }

    /// Makes the premises, once.
    async fn open(&mut self) -> Result<(), Ec2Error> {
        if self.premises.is_some() {
            return Ok(());
        }
        let cloud = Cloud::find(&self.plan.place()).await?;
        // What becomes an image has served no other run.
        if self.plan.environment.is_some() && self.reopen(&cloud).await? {
            return Ok(());
        }
        let settings = self.plan.settings.clone();
        let wanted = Wanted::from(settings.image.as_str());
        // Nothing of this changes anything, so all of it is asked at once.
        let supply_and_image = async {
            let supply = market::supply(&cloud).await?;
            let architecture = self.plan.architecture(&supply.offers).to_string();
            let own = bake::find(&cloud, &self.plan, &architecture).await?;
            let (image, about) = match own {
                Some((image, about)) => (image, Some(about)),
                None => (BootImage::find(&cloud, &wanted, &architecture).await?, None),
            };
            Ok((supply, image, about))
        };
        let (subnets, (supply, image, about_image), address) = tokio::try_join!(
            network::subnets(&cloud, &self.plan),
            supply_and_image,
            network::client_address(&self.plan)
        )?;
        if self.stop.is_cancelled() {
            return Ok(());
        }
        let entry = Entry {
            run: self.plan.run.clone(),
            region: cloud.region.clone(),
            profile: settings.profile.clone(),
            began: tags::now(),
            lease_seconds: settings.lease.as_secs(),
            kept: None,
        };
        self.hold(cloud.clone(), Ledger::open(entry)?);
        let key = |comment: &str| generate_key(comment).map(Arc::new).map_err(Ec2Error::Key);
        let (client_key, host_key) = (key("cloudist")?, key("cloudist machine")?);
        let run_tags = tags::of_run(&self.rental, settings.lease);
        let name = format!("cloudist-{}", self.plan.run);
        let group = match address {
            None => None,
            Some(address) => {
                let vpc = subnets.first().map_or("", |subnet| &subnet.vpc);
                let group = cloud.create_group(&name, vpc, &run_tags).await?;
                let (admitted, each_other) = tokio::join!(cloud.admit(&group, address), cloud.admit_each_other(&group));
                admitted.and(each_other)?;
                Some(group)
            }
        };
        let blueprint = Blueprint {
            image: image.id.clone(),
            root_device: image.root_device.clone(),
            disk_gib: i32::try_from(self.plan.disk_gib()).unwrap_or(i32::MAX),
            groups: group.clone().map_or_else(|| settings.security_groups.clone(), |group| vec![group]),
            public_ip: !settings.private_ip,
            user_data: user_data::render(&host_key, &client_key, settings.lease)?,
            tags: run_tags.clone(),
        };
        let template = cloud.create_template(&name, &blueprint, &run_tags).await?;
        self.premises = Some(Premises {
            cloud,
            subnets,
            supply,
            image,
            about_image,
            template,
            group,
            client_address: address,
            client_key,
            host_key: host_key.public_key().clone(),
        });
        Ok(())
    }

    /// From now on there may be something to give back.
    pub fn hold(&mut self, cloud: Cloud, ledger: Ledger) {
        self.cloud = Some(cloud);
        self.ledger = Some(ledger);
    }

    /// Writes down a machine that is ours from now on.
    pub fn enter(&mut self, id: &str, instance_type: &str, zone: &str, market: Market, workers: u32) -> Expected {
        let machine = MachineId(self.machines);
        self.machines += 1;
        self.rented.insert(id.to_owned(), machine);
        let offers = self.premises.as_ref().map(|premises| premises.supply.offers.as_slice()).unwrap_or_default();
        let offer = offers.iter().find(|offer| offer.instance_type == instance_type);
        let price = |market| offer.and_then(|offer| offer.price(zone, market)).map(|price| price.per_hour);
        let stay = Stay {
            machine,
            instance_type: instance_type.to_owned(),
            zone: zone.to_owned(),
            market,
            price_per_hour: price(market).unwrap_or_default(),
            on_demand_per_hour: price(Market::OnDemand),
            disk_gib: self.plan.disk_gib(),
            address: self.plan.address(),
            launched: self.began.elapsed(),
            ended: None,
        };
        let cores = offer.map(|offer| offer.vcpus);
        let rented = Rented {
            instance_type: stay.instance_type.clone(),
            zone: stay.zone.clone(),
            price_per_hour: stay.price_per_hour,
        };
        self.account.send_modify(|account| account.stays.push(stay));
        self.watch_budget();
        Expected { id: id.to_owned(), machine, workers, cores, rented, ended: CancellationToken::new() }
    }

    /// Has machines watched until they can be handed on.
    pub fn welcome(&mut self, expected: Vec<Expected>, events: &mpsc::Sender<LeaseEvent>) {
        let Some(premises) = self.premises.as_ref().filter(|_| !expected.is_empty()) else { return };
        let welcomed = Welcome {
            cloud: premises.cloud.clone(),
            user: premises.image.user.clone(),
            client_key: Arc::clone(&premises.client_key),
            host_key: premises.host_key.clone(),
            private_ip: self.plan.settings.private_ip,
            lease: self.plan.settings.lease,
            keep: self.plan.settings.keep,
        };
        self.arrivals.spawn(welcome(welcomed, expected, events.clone()).boxed());
    }

    pub fn spent_by_now(&self) -> f64 {
        self.account.borrow().spent_by(self.began.elapsed())
    }

    pub fn watch_budget(&mut self) {
        let ends = self.plan.settings.budget.and_then(|budget| self.account.borrow().reaches(budget));
        self.budget_ends = ends.map(|ends| self.began + ends.saturating_sub(BUDGET_MARGIN));
    }

    pub async fn dismiss(&mut self, machine: MachineId) {
        let Some(cloud) = self.cloud.clone() else { return };
        let ids: Vec<String> =
            self.rented.iter().filter(|(_, rented)| **rented == machine).map(|(id, _)| id.clone()).collect();
        self.seats.retain(|id, _| !ids.contains(id));
        if cloud.terminate(&ids).await.is_ok() {
            let now = self.began.elapsed();
            self.account.send_modify(|account| {
                let left = account.stays.iter_mut().filter(|stay| stay.machine == machine && stay.ended.is_none());
                left.for_each(|stay| stay.ended = Some(now));
            });
            self.watch_budget();
        }
    }

    /// Puts the date on the tags off, by which others may take the machines for forgotten.
    async fn renew(&mut self) {
        let Some(cloud) = &self.cloud else { return };
        let ids: Vec<String> = self.rented.keys().cloned().collect();
        if !ids.is_empty() {
            let tags = [(tags::EXPIRES.to_owned(), tags::expiry(self.plan.settings.lease))];
            // The machines themselves go by what they are told over SSH.
            cloud.tag(&ids, &tags).await.ok();
        }
    }

    /// Gives everything back but what is to stay. The record goes only when nothing is left.
    async fn close(mut self) -> Result<Option<String>, Ec2Error> {
        self.arrivals.shutdown().await;
        let (Some(cloud), Some(ledger)) = (self.cloud.take(), self.ledger.take()) else { return Ok(None) };
        if !self.staying.is_empty() {
            return self.leave(&cloud, ledger).await;
        }
        if self.plan.settings.keep.is_some() && !(self.seats.is_empty() && self.warm.is_empty()) {
            return self.keep(&cloud, ledger).await;
        }
        let known: Vec<String> = self.rented.keys().cloned().collect();
        clearing::clear(&cloud, &self.rental, &known).await?;
        ledger.close();
        self.tidy_up(&cloud).await;
        Ok(None)
    }
}
