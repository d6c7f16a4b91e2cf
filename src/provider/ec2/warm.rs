//! Machines that outlive a run, and are used again by the next one that asks for the same.
//!
//! Only this computer can: the keys that let it in are in its record. Two runs never share a machine, since a run holds the
//! record's lock, and on each machine a lock besides.

use std::sync::Arc;

use russh::keys::{PrivateKey, PublicKey, ssh_key::LineEnding};
use tokio::sync::mpsc;

use super::{
    LeaseEvent,
    api::{Cloud, Seen, State},
    clearing,
    desk::{Desk, Premises},
    error::Ec2Error,
    image::BootImage,
    ledger::{self, Kept, KeptMachine, Ledger},
    market, network, tags,
};

/// A machine that is about to end is not worth a connection.
const LEAST_LEFT: u64 = 20;

/// A machine that waits, and for how many workers it is.
#[derive(Clone, Debug)]
pub(super) struct Warm {
    pub seen: Seen,
    pub workers: u32,
}

impl Desk {
    /// Takes over the machines of an earlier run, if there are any that would do. Answers whether it has.
    pub(super) async fn reopen(&mut self, cloud: &Cloud) -> Result<bool, Ec2Error> {
        for record in ledger::orphans().unwrap_or_default() {
            let Some(kept) = record.entry.kept.clone() else { continue };
            let fits = kept.wish == self.wish() && kept.until > tags::now() + LEAST_LEFT;
            if fits && self.is_here(&record, cloud) && self.take_over(cloud, record, kept).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn take_over(&mut self, cloud: &Cloud, record: Ledger, kept: Kept) -> Result<bool, Ec2Error> {
        let (Ok(client_key), Ok(host_key)) =
            (PrivateKey::from_openssh(&kept.client_key), PublicKey::from_openssh(&kept.host_key))
        else {
            return Ok(false);
        };
        let ids: Vec<String> = kept.machines.iter().map(|machine| machine.id.clone()).collect();
        let seats = |id: &str| kept.machines.iter().find(|machine| machine.id == id).map(|machine| machine.workers);
        let mut seen = cloud.instances_by_id(&ids).await?;
        seen.retain(|seen| seen.state == State::Running);
        if seen.is_empty() {
            return Ok(false);
        }
        let (subnets, supply, address) = tokio::try_join!(
            network::subnets(cloud, &self.plan),
            market::supply(cloud),
            // The same wish: a group of our own there means one here.
            network::client_address(&self.plan),
        )?;
        if let (Some(group), Some(address)) = (&kept.group, address)
            && kept.client_address != Some(address)
        {
            cloud.admit(group, address).await?;
        }
        self.warm = seen.into_iter().filter_map(|seen| Some(Warm { workers: seats(&seen.id)?, seen })).collect();
        self.rental = record.entry.run.clone();
        self.hold(cloud.clone(), record);
        self.premises = Some(Premises {
            cloud: cloud.clone(),
            subnets,
            supply,
            // The template knows what to boot.
            image: BootImage { id: String::new(), user: kept.user, root_device: String::new() },
            about_image: None,
            template: kept.template,
            group: kept.group,
            client_address: address,
            client_key: Arc::new(client_key),
            host_key,
        });
        Ok(true)
    }

    /// Leases waiting machines for as many of the workers as they have room for. Answers how many workers are left.
    pub(super) fn lease_warm(&mut self, workers: u32, events: &mpsc::Sender<LeaseEvent>) -> u32 {
        let mut missing = workers;
        let mut expected = Vec::new();
        while missing > 0 && !self.warm.is_empty() {
            let warm = self.warm.remove(0);
            let share = warm.workers.min(missing);
            missing -= share;
            let (id, of, zone) = (&warm.seen.id, &warm.seen.instance_type, &warm.seen.zone);
            expected.push(self.enter(id, of, zone, self.plan.market(), share));
            self.seats.insert(warm.seen.id.clone(), warm.workers);
        }
        self.welcome(expected, events);
        missing
    }

    /// Removes what belonged to machines that were kept and have ended since. What can't be is left to `cloudist sweep`.
    pub(super) async fn tidy_up(&self, cloud: &Cloud) {
        for record in ledger::orphans().unwrap_or_default() {
            let over = record.entry.kept.as_ref().is_some_and(|kept| kept.until < tags::now());
            if over && self.is_here(&record, cloud) && clearing::clear(cloud, &record.entry.run, &[]).await.is_ok() {
                record.close();
            }
        }
    }

    /// Whether a record is of the account and region that this run uses.
    fn is_here(&self, record: &Ledger, cloud: &Cloud) -> bool {
        record.entry.region == cloud.region && record.entry.profile == self.plan.settings.profile
    }

    /// Leaves the machines for the next run.
    pub(super) async fn keep(&mut self, cloud: &Cloud, record: Ledger) -> Result<Option<String>, Ec2Error> {
        let (Some(keep), Some(premises)) = (self.plan.settings.keep, self.premises.take()) else { return Ok(None) };
        let waiting = self.warm.iter().map(|warm| (warm.seen.id.clone(), warm.workers));
        let used = self.seats.iter().map(|(id, workers)| (id.clone(), *workers));
        let machines: Vec<_> = waiting.chain(used).map(|(id, workers)| KeptMachine { id, workers }).collect();
        let ids: Vec<String> = machines.iter().map(|machine| machine.id.clone()).collect();
        let end = keep + self.plan.settings.lease;
        cloud.tag(&ids, &[(tags::EXPIRES.to_owned(), tags::expiry(end))]).await?;
        let count = machines.len();
        record.keep(Kept {
            until: tags::now() + keep.as_secs(),
            wish: self.wish(),
            template: premises.template,
            group: premises.group,
            client_address: premises.client_address,
            user: premises.image.user,
            client_key: premises.client_key.to_openssh(LineEnding::LF).map_err(Ec2Error::Key)?.to_string(),
            host_key: premises.host_key.to_openssh().map_err(Ec2Error::Key)?,
            machines,
        })?;
        let machines = if count == 1 { "1 machine stays".to_owned() } else { format!("{count} machines stay") };
        let duration = humantime::format_duration(keep);
        Ok(Some(format!("{machines} for {duration}, for the next run; `cloudist sweep --kept` ends them now")))
    }

    /// Everything that decides what machines are like. Only a run that wants the same can use them.
    fn wish(&self) -> String {
        let settings = &self.plan.settings;
        let size = (self.plan.cpu_per_worker, self.plan.memory_per_worker_mib, settings.disk.as_u64());
        let market = (self.plan.interrupt_prob, settings.max_price.map(f64::to_bits), &settings.instance_types);
        let network = (&settings.subnets, &settings.security_groups, settings.private_ip);
        format!("{size:?} {market:?} {network:?} {}", settings.image)
    }
}
