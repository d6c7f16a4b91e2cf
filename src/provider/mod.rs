//! Where machines come from: each provider turns a wish for workers into leases, and takes the machines back.
//!
//! Nothing above can tell the providers apart. A lease is an endpoint, not a connection: nothing here speaks to the
//! machine over SSH.

pub mod ec2;
pub mod hosts;
pub mod local;
mod placement;

use std::{collections::BTreeMap, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::model::MachineId;
use crate::ssh::Endpoint;

pub use ec2::{Bill, Charge, Ec2, Ec2Error, Ec2Plan};
pub use hosts::{Hosts, HostsError};
pub use local::{Local, LocalError};
pub use placement::{Share, spread, spread_over};

/// A machine that is ours for the run.
#[derive(Clone, Debug)]
pub struct Lease {
    pub machine: MachineId,
    pub name: String,
    pub endpoint: Endpoint,
    /// How many workers are to run there.
    pub workers: u32,
    /// How long to go on trying to connect: a machine that is booting takes its time, one that should be up does not.
    pub patience: Duration,
    /// How many cores it has, where the provider knows.
    pub cores: Option<u32>,
    /// Cancelled when the provider sees that the machine has ended.
    pub ended: CancellationToken,
    /// For a machine that ends by itself.
    pub tenancy: Option<Tenancy>,
    /// For a machine that costs something.
    pub rented: Option<Rented>,
}

/// What is rented, where it is, and for how many US dollars an hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Rented {
    pub instance_type: String,
    pub zone: String,
    pub price_per_hour: f64,
}

/// The terms of a rented machine: it ends when it has not been spoken to for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenancy {
    pub lease: Duration,
    /// How long it stays when the run is over; without it the provider ends it.
    pub keep: Option<Duration>,
    /// The file there that holds until when, in seconds of its uptime.
    pub file: &'static str,
}

/// What a provider has to tell while machines come.
#[derive(Debug)]
pub enum LeaseEvent {
    Ready(Box<Lease>),
    Failed {
        machine: MachineId,
        name: String,
        error: ProviderError,
    },
    /// Something that the user should know.
    Note(String),
}

/// What a run wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchRequest {
    pub workers: u32,
}

/// A machine that a provider could not lease.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error(transparent)]
    Ec2(#[from] Ec2Error),
    #[error(transparent)]
    Hosts(#[from] HostsError),
    #[error(transparent)]
    Local(#[from] LocalError),
}

/// The source of a run's machines.
pub enum Provider {
    Ec2(Ec2),
    Local(Local),
    Hosts(Hosts),
}

impl Provider {
    /// Begins to lease machines for as many workers as are asked for. No more will be heard of them when `events` is closed.
    ///
    /// Every machine is told of by one event, as soon as it is ready or has failed. Machine numbers count from 0. Only a
    /// provider that [can replace](Provider::can_replace) machines may be asked again.
    pub fn launch(&mut self, request: LaunchRequest, events: mpsc::Sender<LeaseEvent>) {
        match self {
            Provider::Ec2(ec2) => ec2.launch(request, events),
            Provider::Local(local) => local.launch(request, events),
            Provider::Hosts(hosts) => hosts.launch(request, events),
        }
    }

    /// Whether there are more machines where the first came from.
    pub fn can_replace(&self) -> bool {
        matches!(self, Provider::Ec2(_))
    }

    /// Gives back one machine that is of no more use.
    pub fn dismiss(&self, machine: MachineId) {
        if let Provider::Ec2(ec2) = self {
            ec2.dismiss(machine);
        }
    }

    /// Has an image of a machine begun, where machines are made from images.
    pub async fn bake(&self, machine: MachineId, environment: String) -> Option<Result<ec2::Baking, ProviderError>> {
        match self {
            Provider::Ec2(ec2) => Some(ec2.bake(machine, environment).await.map_err(ProviderError::from)),
            Provider::Local(_) | Provider::Hosts(_) => None,
        }
    }

    /// What the machines have cost until now, if they cost anything.
    pub fn bill(&self) -> Option<Bill> {
        match self {
            Provider::Ec2(ec2) => Some(ec2.bill()),
            Provider::Local(_) | Provider::Hosts(_) => None,
        }
    }

    /// What each machine that runs costs, if machines cost anything.
    pub fn charges(&self) -> Vec<Charge> {
        match self {
            Provider::Ec2(ec2) => ec2.charges(),
            Provider::Local(_) | Provider::Hosts(_) => Vec::new(),
        }
    }

    /// Comes to an end when the run has to, lest it cost more than it may.
    pub async fn budget_spent(&self) {
        match self {
            Provider::Ec2(ec2) => ec2.budget_spent().await,
            Provider::Local(_) | Provider::Hosts(_) => std::future::pending().await,
        }
    }

    /// Gives every machine back, also those that are still on their way. Nothing of this run stays behind but what was
    /// asked to, of which the answer tells.
    pub async fn release_all(self) -> Result<Option<String>, ProviderError> {
        self.release_all_but(&BTreeMap::new()).await
    }

    /// The same, but for machines that outlive the run by so long.
    pub async fn release_all_but(self, kept: &BTreeMap<MachineId, Duration>) -> Result<Option<String>, ProviderError> {
        match self {
            Provider::Ec2(ec2) => return Ok(ec2.release_all(kept).await?),
            Provider::Local(local) => local.release_all(kept).await,
            Provider::Hosts(hosts) => hosts.release_all().await,
        }
        Ok(None)
    }
}

impl ProviderError {
    pub fn help(&self) -> String {
        match self {
            ProviderError::Ec2(error) => error.help(),
            ProviderError::Hosts(error) => error.help(),
            ProviderError::Local(error) => error.help(),
        }
    }
}
