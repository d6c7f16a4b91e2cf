//! The machines of this user's runs, on this computer's disk: what it takes to reach them a second time, and what they do.
//!
//! A directory for each run below the state directory, locked while the run lives, with a file for each machine. A run
//! writes it before it uses a machine and takes it away at its end; what a killed run left is cleared by whoever looks
//! next. See docs/design/debugging.md. Never speaks to a machine, and rents or ends none.

mod logs;
mod look;
mod reach;
mod record;
mod ssh_config;

use std::{collections::BTreeMap, io, path::PathBuf, time::SystemTime};

use serde::{Deserialize, Serialize};

use crate::{cache, ssh};

pub use logs::{LogLine, RunLog, Source, latest_logs, log_directory, parse as parse_log_line};
pub use look::{Live, Place, forget, look};
pub use reach::{Expects, Reach, Way, Who};
pub use record::{Record, write_working};
pub use ssh_config::{block as ssh_config_block, include as ssh_config_include};

/// A registry that can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("failed to {action} {}", path.display())]
    Disk { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} does not hold what it should", path.display())]
    Garbled { path: PathBuf, source: serde_json::Error },
    #[error("failed to write the key of the machines")]
    Key(#[source] ssh::KeyError),
}

/// What the machines of a run have in common.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct RunInfo {
    pub run: String,
    pub provider: String,
    /// The directory here that it was started in.
    pub project: PathBuf,
    /// Seconds since 1970.
    pub began: u64,
    /// The process that runs it.
    pub pid: u32,
    /// The variables that workers get.
    pub env: BTreeMap<String, String>,
}

/// One machine of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MachineInfo {
    pub name: String,
    pub number: u32,
    pub reach: Reach,
    pub workers: u32,
    /// Seconds since 1970.
    pub since: u64,
    /// Once the project is in place there.
    pub ground: Option<GroundInfo>,
    /// What is rented, where it is.
    pub rented: Option<Rented>,
    /// Until when it stays although the run is over, in seconds since 1970.
    pub kept_until: Option<u64>,
}

/// The project as it lies on a machine.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct GroundInfo {
    /// Where the snapshot lies.
    pub tree: String,
    /// Where tests and commands run.
    pub cwd: String,
    /// The interpreter of workers and commands.
    pub python: String,
    pub sys_path: Vec<String>,
}

/// A machine that costs something.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Rented {
    pub instance_type: String,
    pub zone: String,
    /// Of the machine alone, in US dollars.
    pub price_per_hour: f64,
    /// How long it lives on when nobody speaks to it.
    pub lease_seconds: u64,
}

/// What a run tells again and again.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Working {
    pub workers: Vec<WorkerInfo>,
    /// Of machines that cost something.
    pub charges: Vec<ChargeInfo>,
}

/// What a machine has cost by its provider's account, with all that belongs to it. In US dollars.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ChargeInfo {
    /// Its number.
    pub machine: u32,
    pub dollars: f64,
    pub per_hour: f64,
    /// Until when that is paid, in seconds since 1970.
    pub paid_until: u64,
}

/// What one worker is at.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct WorkerInfo {
    pub worker: String,
    /// The number of its machine.
    pub machine: u32,
    /// The test, file or command.
    pub at: Option<String>,
    pub done: u32,
    pub failed: u32,
    /// The tests that failed on it, where they can be gone into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
}

impl GroundInfo {
    /// What the runner keeps of the project beside it.
    pub fn beside(&self, name: &str) -> String {
        format!("{}.cloudist/{name}", self.tree)
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn directory() -> Result<PathBuf, RegistryError> {
    let state = cache::state_directory();
    state.map(|state| state.join("machines")).map_err(|source| RegistryError::Disk {
        action: "find",
        path: "the state directory".into(),
        source,
    })
}
