//! The record of what may be rented, on this computer's disk: written before anything is, removed when all of it is gone.
//!
//! One file for each run, locked while the run lives. Whatever ends the run without a word leaves the file for
//! `cloudist sweep`, which finds everything else by the run's tag.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{api::Place, error::Ec2Error};
use crate::cache;

/// What is known of a run that rents, or rented, machines.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub run: String,
    pub region: String,
    pub profile: Option<String>,
    /// Seconds since 1970.
    pub began: u64,
    pub lease_seconds: u64,
    /// Machines that wait for another run.
    #[serde(default)]
    pub kept: Option<Kept>,
}

/// What it takes to use machines again.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Seconds since 1970; by then they have ended.
    pub until: u64,
    /// What they were asked for with: another run takes them only if it asks for the same.
    pub wish: String,
    pub template: String,
    /// What lets this computer in, if it is ours.
    pub group: Option<String>,
    pub client_address: Option<IpAddr>,
    pub user: String,
    /// In OpenSSH's form.
    pub client_key: String,
    pub host_key: String,
    pub machines: Vec<KeptMachine>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct KeptMachine {
    pub id: String,
    pub workers: u32,
}

/// The entry of a living run. Dropping it leaves the file, and lets go of the lock.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    pub entry: Entry,
    _lock: File,
}

impl Entry {
    pub fn place(&self) -> Place {
        Place { region: Some(self.region.clone()), profile: self.profile.clone() }
    }
}

impl Ledger {
    pub fn open(entry: Entry) -> Result<Self, Ec2Error> {
        let directory = directory();
        let path = directory.join(format!("{}.json", entry.run));
        let written = || -> io::Result<File> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
            let mut file = locked(&path)?;
            file.write_all(&serde_json::to_vec_pretty(&entry)?)?;
            // A power cut must not lose it: the machines would live on, unknown to anybody.
            file.sync_all()?;
            File::open(&directory)?.sync_all()?;
            Ok(file)
        };
        match written() {
            Ok(lock) => Ok(Self { path, entry, _lock: lock }),
            Err(source) => Err(Ec2Error::Ledger { path, source }),
        }
    }

    /// Leaves machines for another run. The record is replaced whole, and let go of.
    pub fn keep(mut self, kept: Kept) -> Result<(), Ec2Error> {
        self.entry.kept = Some(kept);
        let written = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(self.path.parent().unwrap_or(Path::new(".")))?;
            file.write_all(&serde_json::to_vec_pretty(&self.entry)?)?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            Ok(())
        };
        written().map_err(|source| Ec2Error::Ledger { path: self.path.clone(), source })
    }

    /// Nothing of the run is left.
    pub fn close(self) {
        fs::remove_file(&self.path).ok();
    }
}

/// A new file, locked. Before it was locked, somebody else may have taken it for one that was left behind.
fn locked(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
        file.lock()?;
        let ours = file.metadata()?.ino();
        if fs::metadata(path).is_ok_and(|there| there.ino() == ours) {
            return Ok(file);
        }
    }
}

/// The records whose run is no longer alive, held from now on.
pub fn orphans() -> io::Result<Vec<Ledger>> {
    let found = records()?.into_iter().filter_map(|path| orphan(&path).transpose());
    let mut found = found.collect::<io::Result<Vec<_>>>()?;
    found.sort_by(|a, b| a.entry.run.cmp(&b.entry.run));
    Ok(found)
}

/// The runs on this computer that go on, or that are being cleared up.
pub fn alive() -> io::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for path in records()? {
        let locked = match File::open(&path) {
            Ok(file) => matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if locked && let Some(run) = path.file_stem() {
            found.insert(run.to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

fn records() -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "json")).collect())
}

fn orphan(path: &Path) -> io::Result<Option<Ledger>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Between the opening and the lock the file may have been replaced or removed: then it isn't the record.
    let same = fs::metadata(path)
        .is_ok_and(|now| file.metadata().is_ok_and(|held| (now.dev(), now.ino()) == (held.dev(), held.ino())));
    if !same {
        return Ok(None);
    }
    // A file without sense was cut off before its run had rented anything.
    let entry = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    match entry {
        Some(entry) => Ok(Some(Ledger { path: path.to_owned(), entry, _lock: file })),
        None => {
            fs::remove_file(path).ok();
            Ok(None)
        }
    }
}

/// Where the records lie.
pub fn directory() -> PathBuf {
    cache::state_directory().unwrap_or_else(|_| env::temp_dir().join("cloudist")).join("runs")
}
