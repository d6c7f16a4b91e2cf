//! Machines that the user already has, as named in `--cd-hosts`.
//!
//! Each is looked up in the user's SSH configuration, and must be listed in known_hosts. Nothing is ever installed,
//! started or stopped there by this provider: releasing a host is a matter of closing its connections.

mod config;
mod list;
mod resolve;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{LaunchRequest, Lease, LeaseEvent, spread_over};
use crate::model::MachineId;
use crate::ssh::Handshakes;

pub use list::{HostEntry, HostList};
pub use resolve::SshConfig;

/// A host should be up; this much is for one that sheds load.
const PATIENCE: Duration = Duration::from_secs(10);

/// A host that cannot be used.
#[derive(Debug, Error)]
pub enum HostsError {
    #[error("no host is named")]
    Empty,
    #[error("host {position} of the list, {entry:?}: {problem}")]
    Entry { position: usize, entry: String, problem: &'static str },
    #[error("ssh cannot make sense of the configuration of {host}: {said}")]
    Config { host: String, said: String },
    #[error("cannot ask ssh for the configuration of {host}")]
    Ssh { host: String, source: io::Error },
}

impl HostsError {
    /// Whether the list itself is wrong, rather than a host.
    pub fn is_misspelled(&self) -> bool {
        matches!(self, HostsError::Empty | HostsError::Entry { .. })
    }

    pub fn help(&self) -> String {
        match self {
            HostsError::Empty | HostsError::Entry { .. } => {
                "name hosts like this: --cd-hosts user@h1:22,h2,[::1]:2222".into()
            }
            HostsError::Config { host, .. } | HostsError::Ssh { host, .. } => {
                format!("see what `ssh -G {host}` says")
            }
        }
    }
}

/// The provider of hosts that are there already.
pub struct Hosts {
    list: HostList,
    config: Arc<SshConfig>,
    resolving: JoinSet<()>,
}

impl Hosts {
    pub fn new(list: HostList, config: SshConfig) -> Self {
        Self { list, config: Arc::new(config), resolving: JoinSet::new() }
    }

    pub(super) fn launch(&mut self, request: LaunchRequest, events: mpsc::Sender<LeaseEvent>) {
        let weights: Vec<u32> = self.list.hosts().iter().map(|host| host.weight).collect();
        let shares = spread_over(request.workers, &weights);
        let entries = self.list.hosts();
        let leases = shares.into_iter().enumerate().filter_map(|(number, share)| {
            let entry = entries.get(share.machine)?.clone();
            Some((MachineId(u32::try_from(number).unwrap_or(u32::MAX)), entry, share.workers))
        });
        let leases: Vec<_> = leases.collect();
        self.resolving.spawn(resolve_all(leases, Arc::clone(&self.config), events).boxed());
    }

    pub(super) async fn release_all(mut self) {
        self.resolving.shutdown().await;
    }
}

/// Resolves the hosts side by side. Those that turn out to be one server share its handshakes.
async fn resolve_all(
    leases: Vec<(MachineId, HostEntry, u32)>,
    config: Arc<SshConfig>,
    events: mpsc::Sender<LeaseEvent>,
) {
    let mut resolving = JoinSet::new();
    for (machine, entry, workers) in leases {
        let config = Arc::clone(&config);
        resolving.spawn(async move {
            let resolved = config.resolve(&entry).await;
            (machine, entry, workers, resolved)
        });
    }
    let mut servers: BTreeMap<String, Handshakes> = BTreeMap::new();
    while let Some(resolved) = resolving.join_next().await {
        let Ok((machine, entry, workers, resolved)) = resolved else { continue };
        let name = entry.name();
        let event = match resolved {
            Ok(host) => {
                let handshakes = servers.entry(host.entrance()).or_default().clone();
                let endpoint = host.endpoint(&name, handshakes);
                LeaseEvent::Ready(Box::new(Lease {
                    machine,
                    name,
                    endpoint,
                    workers,
                    patience: PATIENCE,
                    cores: None,
                    ended: Default::default(),
                    tenancy: None,
                    rented: None,
                }))
            }
            Err(error) => LeaseEvent::Failed { machine, name, error: error.into() },
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// The file that `ssh -F` is to read instead of the user's, from `CLOUDIST_SSH_CONFIG`.
pub fn ssh_config_file() -> Option<PathBuf> {
    std::env::var_os("CLOUDIST_SSH_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}
