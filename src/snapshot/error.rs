//! What can go wrong while a snapshot is taken, and what is merely worth telling.
//!
//! Every error names the file it is about and has a help text. Never printed here.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::limits::Excess;
use super::manifest::ManifestError;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("failed to find the directory {} of the project", path.display())]
    NoDirectory { path: PathBuf, source: io::Error },
    #[error("failed to read {} for the snapshot", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("failed to walk the directory {} for the snapshot", path.display())]
    Walk { path: PathBuf, source: ignore::Error },
    #[error("failed to take a snapshot of {}: it kept changing while it was read", path.display())]
    Changing { path: PathBuf },
    #[error("failed to send {}: it has changed since the snapshot was taken", path.display())]
    Changed { path: PathBuf },
    #[error("failed to send file {0}: the snapshot does not have it")]
    UnknownFile(u32),
    #[error("failed to find extra files: {glob:?} matches nothing in {}", directory.display())]
    NoMatch { glob: String, directory: PathBuf },
    #[error("failed to find extra files: {glob:?} is not a valid pattern: {reason}")]
    BadGlob { glob: String, reason: String },
    #[error("failed to take the snapshot: {0}")]
    TooLarge(Box<Excess>),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl SnapshotError {
    /// What the user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NoDirectory { .. } => "check --rootdir and the working directory",
            Self::Unreadable { .. } | Self::Walk { .. } => {
                "make it readable, or leave it out by naming it in a .cloudistignore file (same syntax as .gitignore)"
            }
            Self::Changing { .. } => {
                "stop what writes to it, or leave it out by naming it in a .cloudistignore file (same syntax as .gitignore)"
            }
            Self::Changed { .. } => "start the run again; do not edit the project's files while they are being sent",
            Self::UnknownFile(_) => "start the run again; the machine asked for something it was never offered",
            Self::NoMatch { .. } => {
                "patterns are relative to the directory in which cloudist is started; quote them so that the shell leaves them alone"
            }
            Self::BadGlob { .. } => "patterns know *, **, ?, [a-z] and {a,b}; a backslash takes the meaning away",
            Self::TooLarge(_) => {
                "name what the tests do not need in a .cloudistignore file (same syntax as .gitignore), or raise the limit"
            }
            Self::Manifest(_) => "rename the file, or leave it out by naming it in a .cloudistignore file",
        }
    }
}

/// Something that was left out or done differently; the snapshot is usable all the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// A socket, pipe or device.
    Special { path: PathBuf },
    /// A link to a directory outside the snapshot; it is kept, but may lead nowhere on a machine.
    LeavesSnapshot { link: PathBuf, target: PathBuf },
    /// An entry of `sys.path` that holds far more than a project.
    TooBroad { path: PathBuf },
    /// The stat cache could not be written; the next snapshot will take longer.
    CacheUnwritable { path: PathBuf, reason: String },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Special { path } => {
                write!(f, "{} is not sent: it is a socket, a pipe or a device", path.display())
            }
            Self::LeavesSnapshot { link, target } => write!(
                f,
                "the link {} leads to {}, which is not sent; name that directory as an extra file to have it sent",
                link.display(),
                target.display()
            ),
            Self::TooBroad { path } => write!(
                f,
                "{} is on sys.path but is not sent as a whole; name what is needed of it as extra files",
                path.display()
            ),
            Self::CacheUnwritable { path, reason } => {
                write!(f, "the stat cache {} was not written: {reason}", path.display())
            }
        }
    }
}
