//! The embedded machines: child processes of this program, each of which serves SSH on a loopback port.
//!
//! This side starts and stops them. What they do is [`serve()`], which the program's hidden `machine` subcommand runs.
//! A machine ends, with all it started, when its stdin does: when it is released, and when this process dies.

mod connection;
mod exec;
mod files;
mod home;
mod launcher;
mod parameters;
mod process_tree;
mod serve;
mod terminal;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{LaunchRequest, Lease, LeaseEvent, Share, spread};
use crate::cache;
use crate::model::MachineId;
use crate::ssh::{PrivateKey, generate_key};

pub use launcher::Launcher;
use launcher::Machine;
pub use serve::{ServeError, serve};

/// A machine that could not be started.
#[derive(Debug, Error)]
pub enum LocalError {
    #[error("cannot make a key for the local machines")]
    Key(#[source] russh::keys::ssh_key::Error),
    #[error("cannot start {}", .program.display())]
    Spawn { program: PathBuf, source: io::Error },
    #[error("the local machine did not start: {said}")]
    Start { said: String, source: Option<io::Error> },
    #[error("the local machines have no place for their home directories")]
    Cache(#[source] io::Error),
}

impl LocalError {
    pub fn help(&self) -> String {
        match self {
            LocalError::Key(_) => "check the system's random number source".into(),
            LocalError::Spawn { .. } => "check the limits on processes and memory (`ulimit -a`)".into(),
            LocalError::Start { .. } => "check that the cache directory is writable (CLOUDIST_CACHE_DIR)".into(),
            LocalError::Cache(_) => "set CLOUDIST_CACHE_DIR to a directory that is writable".into(),
        }
    }
}

/// An embedded machine listens before it is leased; only a crowded computer makes it slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// The provider of embedded machines.
pub struct Local {
    launcher: Arc<Launcher>,
    machines: JoinSet<Option<(MachineId, Machine)>>,
    /// How many machines to start, if that was said.
    count: Option<u32>,
}

impl Local {
    /// `env` is added to the environment of whatever runs on the machines.
    pub fn new(env: BTreeMap<String, String>) -> Result<Self, LocalError> {
        let program =
            std::env::current_exe().map_err(|source| LocalError::Spawn { program: "cloudist".into(), source })?;
        let pool = cache::directory().map_err(LocalError::Cache)?.join("local");
        Ok(Local::with_launcher(Launcher::new(program, vec!["machine".into()], pool, env)?))
    }

    pub fn with_launcher(launcher: Launcher) -> Self {
        Self { launcher: Arc::new(launcher), machines: JoinSet::new(), count: None }
    }

    /// Sets how many machines there are to be; without it a few workers share one.
    pub fn with_machines(self, count: Option<u32>) -> Self {
        Self { count, ..self }
    }

    pub(super) fn launch(&mut self, request: LaunchRequest, events: mpsc::Sender<LeaseEvent>) {
        let shares = spread(request.workers, self.count);
        for share in shares {
            self.machines.spawn(start(Arc::clone(&self.launcher), share, events.clone()).boxed());
        }
    }

    pub(super) async fn release_all(mut self, kept: &BTreeMap<MachineId, Duration>) {
        // A machine that was still starting loses its stdin with its task.
        self.machines.abort_all();
        let mut releases = JoinSet::new();
        while let Some(machine) = self.machines.join_next().await {
            let Ok(Some((number, machine))) = machine else { continue };
            match kept.get(&number) {
                Some(&time) => machine.leave(time).await,
                None => drop(releases.spawn(machine.release().boxed())),
            }
        }
        releases.join_all().await;
    }
}

async fn start(
    launcher: Arc<Launcher>,
    share: Share,
    events: mpsc::Sender<LeaseEvent>,
) -> Option<(MachineId, Machine)> {
    let number = u32::try_from(share.machine).unwrap_or(u32::MAX);
    let machine = MachineId(number);
    let name = format!("local-{number}");
    let (started, event) = match launcher.start(&name).await {
        Ok(started) => {
            let endpoint = started.endpoint(&launcher, &name);
            let lease = Lease {
                machine,
                name,
                endpoint,
                workers: share.workers,
                patience: PATIENCE,
                cores: None,
                ended: Default::default(),
                tenancy: None,
                rented: None,
            };
            (Some(started), LeaseEvent::Ready(Box::new(lease)))
        }
        Err(error) => (None, LeaseEvent::Failed { machine, name, error: error.into() }),
    };
    match events.send(event).await {
        Ok(()) => started.map(|started| (machine, started)),
        // Nobody waits for machines any more.
        Err(_) => None,
    }
}

fn new_key(comment: &str) -> Result<PrivateKey, LocalError> {
    generate_key(comment).map_err(LocalError::Key)
}
