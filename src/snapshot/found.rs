//! What lies on the local disk, as far as a snapshot cares.
//!
//! Plain values and the one way to make them from metadata. Never reads contents.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::manifest::Mode;

/// Local paths, links in them resolved, and what is there.
pub type Findings = BTreeMap<PathBuf, Found>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// `source` is where the content is read from: another path if a link was replaced by a copy.
    File {
        source: PathBuf,
        stat: FileStat,
    },
    Symlink {
        target: PathBuf,
    },
    Directory,
    Special,
}

/// What tells that a file is still the one that was looked at before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    pub size: u64,
    pub modified: Timestamp,
    pub changed: Timestamp,
    pub inode: u64,
    pub device: u64,
    pub mode: Mode,
}

/// Nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i128);

impl FileStat {
    pub fn of(metadata: &Metadata) -> Self {
        let moment =
            |seconds: i64, nanoseconds: i64| Timestamp(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds));
        Self {
            size: metadata.len(),
            modified: moment(metadata.mtime(), metadata.mtime_nsec()),
            changed: moment(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
            mode: match metadata.mode() & 0o100 {
                0 => Mode::Plain,
                _ => Mode::Executable,
            },
        }
    }
}
