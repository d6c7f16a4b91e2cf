//! Why a run as a whole could not be done.

use crate::{
    environment::EnvironmentError, machine::MachineError, plan::SettingError, provider::ProviderError,
    snapshot::SnapshotError,
};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Settings(#[from] SettingError),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error("failed to take a snapshot of the project")]
    Snapshot(#[from] SnapshotError),
    /// The last machine went; the first one's reason is usually the one that matters.
    #[error("no machine is left to work on")]
    NoMachines { source: MachineError },
    #[error("the run was stopped: it has cost almost as much as it may")]
    BudgetSpent,
    #[error("no machine could be had")]
    NothingLeased,
    /// No worker could begin its pytest session.
    #[error("no worker could start pytest on the machines: {message}")]
    Workers { kind: String, message: String },
    #[error("{message}")]
    Interpreter { message: String },
    #[error("failed to run the command on {machine}: {message}")]
    Command { machine: String, message: String },
    #[error("{count} {noun} without an outcome", noun = if *count == 1 { "test was left" } else { "tests were left" })]
    Unfinished { count: usize },
    #[error("the local pytest and cloudist do not understand each other: {detail}")]
    Bridge { detail: String },
    #[error("failed to start {what}")]
    Start { what: String, source: std::io::Error },
    #[error("failed to write {what}")]
    Write { what: String, source: std::io::Error },
    #[error("a part of cloudist broke down: {0}")]
    Internal(String),
}
