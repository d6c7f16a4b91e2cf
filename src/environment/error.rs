//! Why it can't be said here what environment the machines are to have.

use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    #[error("failed to ask {} what is installed in it: {detail}", python.display())]
    Describe { python: PathBuf, detail: String },
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} can't be understood: {detail}", path.display())]
    Malformed { path: PathBuf, detail: String },
    #[error("--cd-env=uv needs a uv.lock or pylock.toml, and {} has none", root.display())]
    NoLock { root: PathBuf },
    #[error("--cd-env=conda needs a conda environment here, and {} is none", prefix.display())]
    NotConda { prefix: PathBuf },
    #[error("--cd-env={name}: there is no such file")]
    NoFile { name: String },
    #[error("failed to collect wheels for the machine: {detail}")]
    Wheelhouse { detail: String },
}

impl EnvironmentError {
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Describe { .. } => Some("--cd-env=none leaves the machines as they are"),
            Self::NoLock { .. } => Some("`uv lock` makes one; --cd-env=auto mirrors what is installed here"),
            Self::NotConda { .. } => Some("activate it, or use --cd-env=auto"),
            Self::Wheelhouse { .. } => {
                Some("each package needs a wheel for the machine's platform, or must build here")
            }
            Self::Read { .. } | Self::Malformed { .. } | Self::NoFile { .. } => None,
        }
    }
}
