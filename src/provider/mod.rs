//! Where machines come from: each provider turns a wish for workers into leases, and takes the machines back.
//!
//! Nothing above can tell the providers apart. A lease is an endpoint, not a connection: nothing here speaks to the
//! machine over SSH.

pub mod hosts;
pub mod local;
mod placement;

use std::time::Duration;

use tokio::sync::mpsc;

use crate::model::MachineId;
use crate::ssh::Endpoint;

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
}

/// What a provider has to tell while machines come.
#[derive(Debug)]
pub enum LeaseEvent {
    Ready(Box<Lease>),
    Failed { machine: MachineId, name: String, error: ProviderError },
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
    Hosts(#[from] HostsError),
    #[error(transparent)]
    Local(#[from] LocalError),
}

/// The source of a run's machines.
pub enum Provider {
    Local(Local),
    Hosts(Hosts),
}

impl Provider {
    /// Begins to lease machines for as many workers as are asked for, and returns how many machines will be heard of.
    ///
    /// Every machine is told of by one event, as soon as it is ready or has failed. Machine numbers count from 0.
    pub fn launch(&mut self, request: LaunchRequest, events: mpsc::Sender<LeaseEvent>) -> usize {
        match self {
            Provider::Local(local) => local.launch(request, events),
            Provider::Hosts(hosts) => hosts.launch(request, events),
        }
    }

    /// Gives every machine back, also those that are still on their way. Nothing of this run stays behind.
    pub async fn release_all(self) {
        match self {
            Provider::Local(local) => local.release_all().await,
            Provider::Hosts(hosts) => hosts.release_all().await,
        }
    }
}

impl ProviderError {
    pub fn help(&self) -> String {
        match self {
            ProviderError::Hosts(error) => error.help(),
            ProviderError::Local(error) => error.help(),
        }
    }
}
