//! The other side of the registry: which machines there are, and which one is meant.
//!
//! Clears away what runs left that are gone, unless machines of theirs stay.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use super::{
    ChargeInfo, MachineInfo, RegistryError, RunInfo, WorkerInfo, Working, directory, now,
    record::{LOCK, RUN, WORKING, machine_file},
    ssh_config,
};

/// A run whose machines are there.
#[derive(Clone, Debug)]
pub struct Live {
    pub info: RunInfo,
    /// Whether it goes on; otherwise its machines were kept.
    pub running: bool,
    pub machines: Vec<MachineInfo>,
    pub workers: Vec<WorkerInfo>,
    pub charges: Vec<ChargeInfo>,
    pub directory: PathBuf,
}

/// A machine and the run that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub live: &'a Live,
    pub machine: &'a MachineInfo,
}

/// The runs that have machines, the latest first.
pub fn look() -> Result<Vec<Live>, RegistryError> {
    let above = directory()?;
    let entries = match fs::read_dir(&above) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(RegistryError::Disk { action: "read", path: above, source }),
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && let Some(live) = look_at(&entry.path())? {
            found.push(live);
        }
    }
    found.sort_by(|a, b| (b.info.began, &b.info.run).cmp(&(a.info.began, &a.info.run)));
    Ok(found)
}

fn look_at(directory: &Path) -> Result<Option<Live>, RegistryError> {
    let running = match lives(&directory.join(LOCK)) {
        Ok(Some(running)) => running,
        // It ended just now.
        Ok(None) => return Ok(None),
        Err(source) => return Err(RegistryError::Disk { action: "read", path: directory.into(), source }),
    };
    let Some(info) = read::<RunInfo>(&directory.join(RUN))? else { return Ok(None) };
    let mut machines = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("machine-")
            && entry.path().extension().is_some_and(|end| end == "json")
            && let Some(machine) = read::<MachineInfo>(&entry.path())?
        {
            machines.push(machine);
        }
    }
    if !running {
        machines.retain(|machine| machine.kept_until.is_some_and(|until| until > now()));
        if machines.is_empty() {
            fs::remove_dir_all(directory).ok();
            return Ok(None);
        }
    }
    machines.sort_by_key(|machine| machine.number);
    // A file that is being replaced, or has gone, tells of nothing.
    let Working { workers, charges } = read(&directory.join(WORKING)).ok().flatten().unwrap_or_default();
    Ok(Some(Live { info, running, machines, workers, charges, directory: directory.into() }))
}

/// Whether the run that holds the lock goes on; nothing if there is no lock.
fn lives(lock: &Path) -> io::Result<Option<bool>> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(false)),
        Err(TryLockError::WouldBlock) => Ok(Some(true)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RegistryError> {
    match fs::read(path) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(value) => Ok(Some(value)),
            Err(source) => Err(RegistryError::Garbled { path: path.into(), source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RegistryError::Disk { action: "read", path: path.into(), source }),
    }
}

/// A machine that stayed has been ended.
pub fn forget(place: Place<'_>) {
    let directory = &place.live.directory;
    ssh_config::remove(directory, place.machine.number);
    fs::remove_file(directory.join(machine_file(place.machine.number))).ok();
    let others = fs::read_dir(directory).into_iter().flatten().flatten();
    if !others.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("machine-")) {
        fs::remove_dir_all(directory).ok();
    }
}

impl Live {
    pub fn places(&self) -> impl Iterator<Item = Place<'_>> {
        self.machines.iter().map(|machine| Place { live: self, machine })
    }

    /// What a machine's workers are at.
    pub fn workers_of(&self, machine: &MachineInfo) -> impl Iterator<Item = &WorkerInfo> {
        let number = machine.number;
        self.workers.iter().filter(move |worker| worker.machine == number)
    }
}

impl Place<'_> {
    /// Whether a user who wrote this means this machine: its name, or `NAME@RUN`.
    pub fn is_called(&self, name: &str) -> bool {
        match name.rsplit_once('@') {
            _ if self.machine.name == name => true,
            Some((machine, run)) => machine == self.machine.name && run == self.live.info.run,
            None => false,
        }
    }

    /// The name that no other machine has.
    pub fn full_name(&self) -> String {
        format!("{}@{}", self.machine.name, self.live.info.run)
    }

    /// How long it has been there.
    pub fn age(&self) -> u64 {
        now().saturating_sub(self.machine.since)
    }

    /// For how long it still is there: while its run goes on, what its lease gives it; afterwards, what it was kept for.
    pub fn left(&self) -> Option<u64> {
        match (self.machine.kept_until, &self.machine.rented) {
            (Some(until), _) => Some(until.saturating_sub(now())),
            (None, Some(rented)) => Some(rented.lease_seconds),
            (None, None) => None,
        }
    }

    /// What it costs, as its run was last told by who rents it.
    pub fn charge(&self) -> Option<&ChargeInfo> {
        self.live.charges.iter().find(|charge| charge.machine == self.machine.number)
    }

    /// What it has cost, in US dollars; also of what came after its run.
    pub fn cost(&self) -> Option<f64> {
        let charge = self.charge()?;
        Some(charge.dollars + charge.per_hour * now().saturating_sub(charge.paid_until) as f64 / 3600.0)
    }
}
