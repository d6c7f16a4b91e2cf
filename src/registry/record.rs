//! The run's side of the registry: writes what there is, and takes it away.
//!
//! Everything is readable to this user alone, since keys and variables are in it.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{GroundInfo, MachineInfo, Reach, RegistryError, Rented, RunInfo, Working, directory, now, ssh_config};
use crate::{
    cache,
    ssh::{Endpoint, Identity, LineEnding},
};

pub(super) const RUN: &str = "run.json";
pub(super) const LOCK: &str = "lock";
pub(super) const WORKING: &str = "working.json";
const KEY: &str = "key";

/// The record of a living run. Dropping it leaves the files and lets go of the lock: whoever looks next clears them away.
#[derive(Debug)]
pub struct Record {
    directory: PathBuf,
    run: String,
    machines: BTreeMap<u32, MachineInfo>,
    key_written: bool,
    _lock: File,
}

impl Record {
    /// Nobody sees the directory before it is locked.
    pub fn open(info: &RunInfo) -> Result<Self, RegistryError> {
        let above = directory()?;
        let (path, new) = (above.join(&info.run), above.join(format!(".{}.new", info.run)));
        let written = || -> io::Result<File> {
            DirBuilder::new().recursive(true).mode(0o700).create(&new)?;
            let lock = private_file(&new.join(LOCK))?;
            lock.lock()?;
            private_file(&new.join(RUN))?.write_all(&json(info)?)?;
            fs::rename(&new, &path)?;
            Ok(lock)
        };
        match written() {
            Ok(lock) => Ok(Self {
                directory: path,
                run: info.run.clone(),
                machines: BTreeMap::new(),
                key_written: false,
                _lock: lock,
            }),
            Err(source) => Err(RegistryError::Disk { action: "write", path, source }),
        }
    }

    /// A machine that is about to be used.
    pub fn add(
        &mut self,
        (number, name): (u32, &str),
        endpoint: &Endpoint,
        workers: u32,
        rented: Option<Rented>,
    ) -> Result<(), RegistryError> {
        let key = self.directory.join(KEY);
        if let Identity::Key(secret) = &endpoint.identity
            && !self.key_written
        {
            let text = secret.to_openssh(LineEnding::LF).map_err(RegistryError::Key)?;
            let written = private_file(&key).and_then(|mut file| file.write_all(text.as_bytes()));
            written.map_err(|source| RegistryError::Disk { action: "write", path: key.clone(), source })?;
            self.key_written = true;
        }
        let info = MachineInfo {
            name: name.to_owned(),
            number,
            reach: Reach::of(endpoint, &key)?,
            workers,
            since: now(),
            ground: None,
            rented,
            kept_until: None,
        };
        self.put(number, info)
    }

    /// The project is in place there.
    pub fn prepared(&mut self, number: u32, ground: GroundInfo) -> Result<(), RegistryError> {
        let Some(info) = self.machines.get(&number) else { return Ok(()) };
        self.put(number, MachineInfo { ground: Some(ground), ..info.clone() })
    }

    /// It is gone.
    pub fn remove(&mut self, number: u32) {
        self.machines.remove(&number);
        ssh_config::remove(&self.directory, number);
        fs::remove_file(self.file(number)).ok();
    }

    /// Where what the workers are at is written to.
    pub fn working(&self) -> PathBuf {
        self.directory.join(WORKING)
    }

    /// The run is over: machines that stay do so until then, and nothing else is left.
    pub fn close(mut self, kept: &BTreeMap<u32, u64>) {
        let all: Vec<u32> = self.machines.keys().copied().collect();
        for number in all {
            match (kept.get(&number), self.machines.get(&number)) {
                (Some(&until), Some(info)) => {
                    let info = MachineInfo { kept_until: Some(until), ..info.clone() };
                    // What can't be written is gone from here, and ends by itself.
                    self.put(number, info).ok();
                }
                _ => self.remove(number),
            }
        }
        if self.machines.is_empty() {
            fs::remove_dir_all(&self.directory).ok();
        }
    }

    fn put(&mut self, number: u32, info: MachineInfo) -> Result<(), RegistryError> {
        let path = self.file(number);
        let written = json(&info)
            .and_then(|text| cache::write_whole(&path, &text))
            .and_then(|()| ssh_config::write(&self.directory, &self.run, &info));
        self.machines.insert(number, info);
        written.map_err(|source| RegistryError::Disk { action: "write", path, source })
    }

    fn file(&self, number: u32) -> PathBuf {
        self.directory.join(machine_file(number))
    }
}

/// What the workers are at, replaced whole.
pub fn write_working(path: &Path, working: &Working) -> io::Result<()> {
    cache::write_whole(path, &json(working)?)
}

pub(super) fn machine_file(number: u32) -> String {
    format!("machine-{number}.json")
}

fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec_pretty(value)?)
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)
}
