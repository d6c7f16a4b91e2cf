//! The desk: the one task that owns what a run has rented, from the first call to the last.
//!
//! Takes orders one after another; what takes long and changes nothing, watching machines come, it leaves to tasks of its
//! own. It ends by giving everything back, whatever went before.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use russh::keys::PrivateKey;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Ec2Plan, LaunchRequest, LeaseEvent, Order,
    api::{Blueprint, Cloud, Subnet},
    bill::{Account, Stay},
    clearing,
    error::Ec2Error,
    image::{BootImage, Wanted},
    ledger::{Entry, Ledger},
    market::{self, Supply},
    network, tags, user_data,
};
use crate::{model::MachineId, ssh::generate_key};

/// Everything that launches have in common, made for the first of them.
pub(super) struct Premises {
    pub cloud: Cloud,
    pub subnets: Vec<Subnet>,
    pub supply: Supply,
    pub image: BootImage,
    /// The launch template.
    pub template: String,
    /// Ours towards the machines.
    pub client_key: Arc<PrivateKey>,
    /// Theirs towards us.
    pub host_key: Arc<PrivateKey>,
}

pub(super) struct Desk {
    pub plan: Ec2Plan,
    pub stop: CancellationToken,
    pub premises: Option<Premises>,
    /// What was launched, by instance id.
    pub rented: BTreeMap<String, MachineId>,
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
            plan,
            stop,
            premises: None,
            rented: BTreeMap::new(),
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

    pub async fn serve(mut self, mut orders: mpsc::UnboundedReceiver<Order>) -> Result<(), Ec2Error> {
        let mut renewal = interval(self.plan.settings.lease / 2);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        renewal.reset();
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Launch { request, events }) => self.launch(request, events).await,
                    Some(Order::Dismiss(machine)) => self.dismiss(machine).await,
                    None => break,
                },
                _ = renewal.tick() => self.renew().await,
                Some(_) = self.arrivals.join_next() => {}
                () = at(self.budget_ends), if self.budget_ends.is_some() => {
                    self.budget_ends = None;
                    self.spent.cancel();
                }
            }
        }
        self.close().await
    }

    async fn launch(&mut self, request: LaunchRequest, events: mpsc::Sender<LeaseEvent>) {
        let launched = match self.open().await {
            Ok(()) => self.rent(request.workers, &events).await,
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
        let settings = self.plan.settings.clone();
        let wanted = Wanted::from(settings.image.as_str());
        let own_group = settings.security_groups.is_empty();
        let address = async {
            match own_group {
                true => Ok(Some(network::client_address(settings.private_ip).await?)),
                false => Ok(None),
            }
        };
        // Nothing of this changes anything, so all of it is asked at once.
        let supply_and_image = async {
            let supply = market::supply(&cloud).await?;
            let architecture = self.plan.wish(1, &supply.offers).architecture.to_string();
            let image = BootImage::find(&cloud, &wanted, &architecture).await?;
            Ok((supply, image))
        };
        let (subnets, (supply, image), address) =
            tokio::try_join!(network::subnets(&cloud, &self.plan), supply_and_image, address)?;
        if self.stop.is_cancelled() {
            return Ok(());
        }
        let entry = Entry {
            run: self.plan.run.clone(),
            region: cloud.region.clone(),
            profile: settings.profile.clone(),
            began: tags::now(),
            lease_seconds: settings.lease.as_secs(),
        };
        self.ledger = Some(Ledger::open(&entry)?);
        self.cloud = Some(cloud.clone());
        let key = |comment: &str| generate_key(comment).map(Arc::new).map_err(Ec2Error::Key);
        let (client_key, host_key) = (key("cloudist")?, key("cloudist machine")?);
        let run_tags = tags::of_run(&self.plan.run, settings.lease);
        let name = format!("cloudist-{}", self.plan.run);
        let groups = match address {
            None => settings.security_groups.clone(),
            Some(address) => {
                let vpc = subnets.first().map_or("", |subnet| &subnet.vpc);
                let group = cloud.create_group(&name, vpc, &run_tags).await?;
                cloud.admit(&group, address).await?;
                vec![group]
            }
        };
        let blueprint = Blueprint {
            image: image.id.clone(),
            root_device: image.root_device.clone(),
            disk_gib: i32::try_from(settings.disk.as_u64().div_ceil(1 << 30)).unwrap_or(i32::MAX),
            groups,
            public_ip: !settings.private_ip,
            user_data: user_data::render(&host_key, &client_key, settings.lease)?,
            tags: run_tags.clone(),
        };
        let template = cloud.create_template(&name, &blueprint, &run_tags).await?;
        self.premises = Some(Premises { cloud, subnets, supply, image, template, client_key, host_key });
        Ok(())
    }

    pub fn enter(&self, stay: Stay) {
        self.account.send_modify(|account| account.stays.push(stay));
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

    /// Gives everything back. The record goes only when nothing is left.
    async fn close(mut self) -> Result<(), Ec2Error> {
        self.arrivals.shutdown().await;
        let (Some(cloud), Some(ledger)) = (self.cloud.take(), self.ledger.take()) else { return Ok(()) };
        let known: Vec<String> = self.rented.keys().cloned().collect();
        clearing::clear(&cloud, &self.plan.run, &known).await?;
        ledger.close();
        Ok(())
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
