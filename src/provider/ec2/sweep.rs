//! Finds and removes what runs left behind: those that were killed here, and, on request, anybody's that are overdue.

use super::{
    api::{Belongings, Cloud, Place, Seen},
    clearing::{self, Cleared},
    error::Ec2Error,
    ledger::{self, Ledger},
    tags,
};

/// What a run left, and how it was found.
pub struct Remains {
    pub run: String,
    pub region: String,
    pub belongings: Belongings,
    pub cloud: Cloud,
    /// Machines that were kept on purpose.
    pub kept: bool,
    orphan: Option<Ledger>,
}

/// Whose remains are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Own,
    /// Everybody's in the account.
    All,
}

impl Remains {
    pub fn instances(&self) -> &[Seen] {
        &self.belongings.instances
    }

    /// Whether there is anything but the record.
    pub fn is_empty(&self) -> bool {
        self.belongings == Belongings::default()
    }

    pub async fn remove(self) -> Result<Cleared, Ec2Error> {
        let cleared = clearing::clear(&self.cloud, &self.run, &[]).await?;
        if let Some(orphan) = self.orphan {
            orphan.close();
        }
        Ok(cleared)
    }
}

/// Looks through this computer's records, and through the tags of one region for what is overdue.
pub async fn find(place: &Place, whose: Whose) -> Result<Vec<Remains>, Ec2Error> {
    let mut found = Vec::new();
    let orphans = ledger::orphans().map_err(|source| Ec2Error::Ledger { path: ledger::directory(), source })?;
    for orphan in orphans {
        let cloud = Cloud::find(&orphan.entry.place()).await?;
        let run = orphan.entry.run.clone();
        let belongings = cloud.belongings(tags::RUN, vec![run.clone()]).await?;
        let kept = orphan.entry.kept.as_ref().is_some_and(|kept| kept.until > tags::now());
        found.push(Remains { run, region: cloud.region.clone(), belongings, cloud, kept, orphan: Some(orphan) });
    }
    let cloud = match Cloud::find(place).await {
        Ok(cloud) => cloud,
        // The records name their own regions.
        Err(Ec2Error::NoRegion) if !found.is_empty() => return Ok(found),
        Err(error) => return Err(error),
    };
    for run in overdue(&cloud, whose).await? {
        if found.iter().all(|remains| remains.run != run) {
            let belongings = cloud.belongings(tags::RUN, vec![run.clone()]).await?;
            found.push(Remains {
                run,
                region: cloud.region.clone(),
                belongings,
                cloud: cloud.clone(),
                kept: false,
                orphan: None,
            });
        }
    }
    Ok(found)
}

/// The runs whose tags say that nobody has been heard of for a whole lease.
async fn overdue(cloud: &Cloud, whose: Whose) -> Result<Vec<String>, Ec2Error> {
    let mut runs = cloud.tagged_runs().await?;
    let owner = tags::owner();
    runs.retain(|run| run.overdue && (whose == Whose::All || run.owner == owner));
    Ok(runs.into_iter().map(|run| run.run).collect())
}
