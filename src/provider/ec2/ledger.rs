//! The record of what may be rented, on this computer's disk: written before anything is, removed when all of it is gone.
//!
//! One file for each run, locked while the run lives. Whatever ends the run without a word leaves the file for
//! `cloudist sweep`, which finds everything else by the run's tag.

use std::{
    env,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{api::Place, error::Ec2Error};

/// What is known of a run that rents, or rented, machines.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub run: String,
    pub region: String,
    pub profile: Option<String>,
    /// Seconds since 1970.
    pub began: u64,
    pub lease_seconds: u64,
}

/// The entry of a living run. Dropping it leaves the file, and lets go of the lock.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    _lock: File,
}

/// An entry that somebody left behind, held while it is cleared up.
#[derive(Debug)]
pub struct Orphan {
    pub entry: Entry,
    ledger: Ledger,
}

impl Entry {
    pub fn place(&self) -> Place {
        Place { region: Some(self.region.clone()), profile: self.profile.clone() }
    }
}

impl Ledger {
    pub fn open(entry: &Entry) -> Result<Self, Ec2Error> {
        let directory = directory();
        let path = directory.join(format!("{}.json", entry.run));
        let written = || -> io::Result<File> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
            file.lock()?;
            file.write_all(&serde_json::to_vec_pretty(entry)?)?;
            // A power cut must not lose it: the machines would live on, unknown to anybody.
            file.sync_all()?;
            File::open(&directory)?.sync_all()?;
            Ok(file)
        };
        match written() {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(source) => Err(Ec2Error::Ledger { path, source }),
        }
    }

    /// Nothing of the run is left.
    pub fn close(self) {
        fs::remove_file(&self.path).ok();
    }
}

impl Orphan {
    pub fn close(self) {
        self.ledger.close();
    }
}

/// The entries whose run is no longer alive.
pub fn orphans() -> io::Result<Vec<Orphan>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(directory()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "json")
            && let Some(orphan) = orphan(&path)?
        {
            found.push(orphan);
        }
    }
    found.sort_by(|a, b| a.entry.run.cmp(&b.entry.run));
    Ok(found)
}

fn orphan(path: &Path) -> io::Result<Option<Orphan>> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // A file without sense was cut off before its run had rented anything.
    let entry = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    match entry {
        Some(entry) => Ok(Some(Orphan { entry, ledger: Ledger { path: path.to_owned(), _lock: file } })),
        None => {
            fs::remove_file(path).ok();
            Ok(None)
        }
    }
}

/// `CLOUDIST_STATE_DIR`, else `cloudist` below `XDG_STATE_HOME` or `~/.local/state`.
pub fn directory() -> PathBuf {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = named("CLOUDIST_STATE_DIR")
        .or_else(|| named("XDG_STATE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("cloudist")))
        .or_else(|| named("HOME").map(|home| home.join(".local/state/cloudist")))
        .unwrap_or_else(|| env::temp_dir().join("cloudist"));
    base.join("runs")
}
