//! How a machine can be lost, and what can be done about it.

use std::fmt;

use crate::{protocol::FrameError, snapshot::SnapshotError, ssh};

/// The steps of a machine's life, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Connect,
    Boot,
    Sync,
    Environment,
    Init,
    Serve,
}

#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("failed to connect to {machine}")]
    Connect { machine: String, rented: bool, source: ssh::ConnectError },
    #[error("failed to start the runner on {machine}: {detail}")]
    Boot { machine: String, detail: String },
    #[error("another run has claimed {machine}")]
    Claimed { machine: String },
    #[error("failed to bring the snapshot to {machine}: {detail}")]
    Sync { machine: String, kind: String, detail: String },
    #[error("failed to read the project for {machine}")]
    Source { machine: String, source: SnapshotError },
    #[error("the init command failed on {machine} with {status}; its last lines:\n{tail}")]
    Init { machine: String, status: ExitText, tail: String, log: String },
    #[error("failed to make the environment on {machine}; the last lines:\n{detail}")]
    Environment { machine: String, detail: String, log: String },
    #[error("the environment on {machine} differs from the one here: {detail}")]
    Differs { machine: String, detail: String },
    #[error("failed to prepare {machine}: {detail}")]
    Refused { machine: String, kind: String, detail: String },
    #[error("the connection to {machine} was lost while it was {stage}: {detail}")]
    Lost { machine: String, stage: Stage, detail: String },
    #[error("the part of cloudist that drives {machine} broke down: {detail}")]
    Broken { machine: String, detail: String },
    #[error("{machine} sent what can't be understood")]
    Protocol { machine: String, source: FrameError },
}

impl MachineError {
    pub fn stage(&self) -> Stage {
        match self {
            Self::Connect { .. } => Stage::Connect,
            Self::Boot { .. } => Stage::Boot,
            Self::Claimed { .. } => Stage::Connect,
            Self::Sync { .. } | Self::Source { .. } => Stage::Sync,
            Self::Environment { .. } | Self::Differs { .. } => Stage::Environment,
            Self::Init { .. } => Stage::Init,
            Self::Refused { .. } | Self::Protocol { .. } | Self::Broken { .. } => Stage::Serve,
            Self::Lost { stage, .. } => *stage,
        }
    }

    /// Whether it was the machine's own fate: another one may do better.
    pub fn is_bad_luck(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Claimed { .. })
    }

    /// What the user can do.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Connect { rented: true, source, .. } if source.is_transient() => Some(
                "its security group has to let this computer's public address in on port 22 (--cd-security-group), and the \
                 network here has to let SSH out; inside the VPC use --cd-private-ip"
                    .into(),
            ),
            Self::Connect { source, .. } => Some(source.help()),
            Self::Boot { detail, .. } if detail.contains("not found") => {
                Some("a machine needs `python3` (3.8 or newer) on the PATH of a non-interactive shell".into())
            }
            Self::Sync { kind, .. } if kind == "disk-full" => {
                Some("free space under ~/.cache/cloudist there, or leave large files out with a .cloudistignore".into())
            }
            Self::Source { source, .. } => Some(source.help().into()),
            Self::Init { machine, log, .. } => Some(format!(
                "the command runs in the project's directory there; its whole output is in {log} on {machine}"
            )),
            Self::Environment { machine, log, .. } if !log.is_empty() => {
                Some(format!("its whole output is in {log} on {machine}; --cd-env=none leaves the machines as they are"))
            }
            Self::Environment { .. } => Some("--cd-env=none leaves the machines as they are".into()),
            Self::Differs { .. } => Some("without --cd-env-strict it is a warning".into()),
            Self::Lost { .. } => {
                Some("the machine was taken away or ended, or the network failed; running it again does no harm".into())
            }
            Self::Boot { .. }
            | Self::Claimed { .. }
            | Self::Sync { .. }
            | Self::Refused { .. }
            | Self::Protocol { .. }
            | Self::Broken { .. } => None,
        }
    }
}

impl Stage {
    /// Its name in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Boot => "boot",
            Self::Sync => "sync",
            Self::Environment => "environment",
            Self::Init => "init",
            Self::Serve => "serve",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Boot => "starting",
            Self::Sync => "receiving the snapshot",
            Self::Environment => "making its environment",
            Self::Init => "running the init command",
            Self::Serve => "working",
        })
    }
}

/// An exit status as the runner sends it: negative for a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitText(pub i32);

impl fmt::Display for ExitText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            status if status < 0 => write!(f, "signal {}", signal_name(-status)),
            status => write!(f, "exit status {status}"),
        }
    }
}

fn signal_name(number: i32) -> String {
    match rustix::process::Signal::from_named_raw(number) {
        Some(signal) => format!("{signal:?}").replace("Signal::", ""),
        None => number.to_string(),
    }
}
