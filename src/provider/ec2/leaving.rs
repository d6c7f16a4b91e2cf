//! Machines that stay when their run is over, so that somebody can look at what failed there; and their end.
//!
//! No later run takes them over. They end by themselves when their time is over, and on request before that.

use super::{
    api::Cloud,
    clearing,
    desk::Desk,
    error::Ec2Error,
    ledger::{self, Kept, KeptMachine, Ledger},
    tags,
};
use russh::keys::ssh_key::LineEnding;

/// Stands for what machines were asked for with: no run asks for that.
const TO_BE_LOOKED_AT: &str = "stays to be looked at";

impl Desk {
    /// Ends all machines but those that stay.
    pub(super) async fn leave(&mut self, cloud: &Cloud, record: Ledger) -> Result<Option<String>, Ec2Error> {
        let Some(premises) = self.premises.take() else { return Ok(None) };
        let (stay, go): (Vec<_>, Vec<_>) =
            self.rented.iter().partition(|(_, machine)| self.staying.contains_key(machine));
        let stay: Vec<String> = stay.into_iter().map(|(id, _)| id.clone()).collect();
        let go: Vec<String> = go.into_iter().map(|(id, _)| id.clone()).collect();
        let waiting: Vec<String> = self.warm.iter().map(|warm| warm.seen.id.clone()).collect();
        cloud.terminate(&[go, waiting].concat()).await?;
        let time = self.staying.values().max().copied().unwrap_or_default();
        let end = time + self.plan.settings.lease;
        cloud.tag(&stay, &[(tags::EXPIRES.to_owned(), tags::expiry(end))]).await?;
        let machines = stay.into_iter().map(|id| KeptMachine { id, workers: 0 }).collect();
        record.keep(Kept {
            until: tags::now() + time.as_secs(),
            wish: TO_BE_LOOKED_AT.into(),
            template: premises.template,
            group: premises.group,
            client_address: premises.client_address,
            user: premises.image.user,
            client_key: premises.client_key.to_openssh(LineEnding::LF).map_err(Ec2Error::Key)?.to_string(),
            host_key: premises.host_key.to_openssh().map_err(Ec2Error::Key)?,
            machines,
        })?;
        Ok(None)
    }
}

/// Ends one machine that stayed; with the last one goes everything that was made for it. Answers whether it was found.
pub async fn end(instance: &str) -> Result<bool, Ec2Error> {
    let records = ledger::orphans().map_err(|source| Ec2Error::Ledger { path: ledger::directory(), source })?;
    for record in records {
        let Some(kept) = record.entry.kept.clone() else { continue };
        let (here, others): (Vec<_>, Vec<_>) =
            kept.machines.iter().cloned().partition(|machine| machine.id == instance);
        if here.is_empty() {
            continue;
        }
        let cloud = Cloud::find(&record.entry.place()).await?;
        if others.is_empty() {
            clearing::clear(&cloud, &record.entry.run, &[instance.to_owned()]).await?;
            record.close();
        } else {
            cloud.terminate(&[instance.to_owned()]).await?;
            record.keep(Kept { machines: others, ..kept })?;
        }
        return Ok(true);
    }
    Ok(false)
}
