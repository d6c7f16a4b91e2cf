//! Finds and removes what runs left behind: those that were killed here, and, on request, anybody's that are overdue.
//!
//! One that can't be looked at or removed keeps none of the others from it. Runs that are alive are never touched.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::{
    api::{Belongings, Cloud, Place, Seen, TaggedRun},
    clearing::{self, Cleared},
    error::Ec2Error,
    ledger::{self, Ledger},
    tags,
};

/// What a run left, and how it was found.
pub struct Remains {
    pub run: String,
    pub region: String,
    /// Who rented it: user and computer.
    pub owner: String,
    pub belongings: Belongings,
    /// Machines that were kept on purpose.
    pub kept: bool,
    cloud: Cloud,
    orphan: Option<Ledger>,
}

/// Whose remains are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Own,
    /// Everybody's in the account.
    All,
}

/// In which regions tags are looked at, besides those that the records name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    OneRegion,
    EveryRegion,
}

/// What a search has found, and where it could not look.
#[derive(Default)]
pub struct Findings {
    pub remains: Vec<Remains>,
    pub blind: Vec<Blind>,
}

/// A run or a region that could not be looked at.
pub struct Blind {
    pub subject: String,
    pub error: Ec2Error,
}

impl Remains {
    pub fn instances(&self) -> &[Seen] {
        &self.belongings.instances
    }

    /// Whether there is anything but the record.
    pub fn is_empty(&self) -> bool {
        self.belongings == Belongings::default()
    }

    pub fn is_on_record(&self) -> bool {
        self.orphan.is_some()
    }

    pub async fn remove(self) -> Result<Cleared, Ec2Error> {
        let cleared = clearing::clear(&self.cloud, &self.run, &[]).await?;
        if let Some(orphan) = self.orphan {
            orphan.close();
        }
        Ok(cleared)
    }
}

impl Findings {
    fn add(&mut self, remains: Remains) {
        if self.remains.iter().all(|known| known.run != remains.run) {
            self.remains.push(remains);
        }
    }

    fn miss(&mut self, subject: impl Into<String>, error: Ec2Error) {
        self.blind.push(Blind { subject: subject.into(), error });
    }
}

/// How many runs ended here without giving everything back. Asks nobody but the disk.
pub fn on_record() -> Result<usize, Ec2Error> {
    Ok(orphans()?.len())
}

/// Looks through this computer's records, and through tags for what is overdue.
pub async fn find(place: &Place, whose: Whose, reach: Reach) -> Result<Findings, Ec2Error> {
    let mut findings = Findings::default();
    let alive = ledger::alive().map_err(unreadable)?;
    for orphan in orphans()? {
        let subject = format!("run {} in {}", orphan.entry.run, orphan.entry.region);
        match of_record(orphan).await {
            Ok(remains) => findings.add(remains),
            Err(error) => findings.miss(subject, error),
        }
    }
    let clouds = match clouds(place, reach).await {
        Ok(clouds) => clouds,
        // The records name their own regions.
        Err(Ec2Error::NoRegion) if reach == Reach::OneRegion && !findings.remains.is_empty() => return Ok(findings),
        Err(error) => {
            findings.miss("the account", error);
            return Ok(findings);
        }
    };
    let looks = clouds.iter().map(|cloud| of_tags(cloud, whose, &alive));
    for (cloud, found) in clouds.iter().zip(join_all(looks).await) {
        match found {
            Ok(found) => found.into_iter().for_each(|remains| findings.add(remains)),
            Err(error) => findings.miss(&cloud.region, error),
        }
    }
    Ok(findings)
}

async fn clouds(place: &Place, reach: Reach) -> Result<Vec<Cloud>, Ec2Error> {
    let cloud = Cloud::find(place).await?;
    Ok(match reach {
        Reach::OneRegion => vec![cloud],
        Reach::EveryRegion => cloud.regions().await?.iter().map(|region| cloud.in_region(region)).collect(),
    })
}

async fn of_record(orphan: Ledger) -> Result<Remains, Ec2Error> {
    let cloud = Cloud::find(&orphan.entry.place()).await?;
    let run = orphan.entry.run.clone();
    let belongings = cloud.belongings(&run).await?;
    let kept = orphan.entry.kept.as_ref().is_some_and(|kept| kept.until > tags::now());
    Ok(Remains {
        run,
        region: cloud.region.clone(),
        owner: tags::owner(),
        belongings,
        kept,
        cloud,
        orphan: Some(orphan),
    })
}

/// What the runs left whose tags say that nobody has been heard of for a whole lease.
async fn of_tags(cloud: &Cloud, whose: Whose, alive: &BTreeSet<String>) -> Result<Vec<Remains>, Ec2Error> {
    let own = tags::owner();
    let mut found = Vec::new();
    for TaggedRun { run, owner, overdue } in cloud.tagged_runs().await? {
        if !overdue || alive.contains(&run) || (whose == Whose::Own && owner != own) {
            continue;
        }
        let belongings = cloud.belongings(&run).await?;
        found.push(Remains {
            run,
            region: cloud.region.clone(),
            owner,
            belongings,
            kept: false,
            cloud: cloud.clone(),
            orphan: None,
        });
    }
    Ok(found)
}

fn orphans() -> Result<Vec<Ledger>, Ec2Error> {
    ledger::orphans().map_err(unreadable)
}

fn unreadable(source: std::io::Error) -> Ec2Error {
    Ec2Error::Ledger { path: ledger::directory(), source }
}
