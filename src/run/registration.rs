//! The run's entries in the registry and in its logs, for those who look at machines from outside.
//!
//! Follows what happens to machines. Trouble with it is told once and never in the way of the run.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::Watch;
use crate::{
    machine::{Event, Facts, MachineError},
    model::{
        MachineId,
        live::{Sight, Speaker},
    },
    protocol::runner::FromRunner,
    provider::{Charge, Lease},
    registry::{
        self, ChargeInfo, GroundInfo, Record, RegistryError, Rented, RunInfo, RunLog, Source, WorkerInfo, Working,
    },
    text,
};

/// Where a fleet is written down.
pub struct Registration {
    record: Option<Record>,
    log: Option<RunLog>,
    /// Not told yet.
    trouble: Option<String>,
    writing: Option<JoinHandle<()>>,
    /// Not written, because something else was just then.
    unwritten: Option<Working>,
    watch: Watch,
}

impl Registration {
    pub fn open(info: &RunInfo) -> Self {
        let (record, trouble) = match Record::open(info) {
            Ok(record) => (Some(record), None),
            Err(error) => (None, Some(trouble(&error))),
        };
        Self { record, log: RunLog::open(&info.run), trouble, writing: None, unwritten: None, watch: Watch::default() }
    }

    /// Somebody wants to see what machines say.
    pub fn watched_by(&mut self, watch: Watch) {
        self.watch = watch;
    }

    /// What is in the way of it, once.
    pub fn trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    /// A machine is about to be used.
    pub fn admit(&mut self, lease: &Lease) {
        let rented = lease.rented.as_ref().map(|rented| Rented {
            instance_type: rented.instance_type.clone(),
            zone: rented.zone.clone(),
            price_per_hour: rented.price_per_hour,
            lease_seconds: lease.tenancy.map_or(0, |tenancy| tenancy.lease.as_secs()),
        });
        if let Some(rented) = &rented {
            self.watch.tell(|| Sight::Machine {
                machine: lease.machine.0,
                instance_type: rented.instance_type.clone(),
                zone: rented.zone.clone(),
                per_hour: rented.price_per_hour,
                lease: rented.lease_seconds,
            });
        }
        let called = (lease.machine.0, lease.name.as_str());
        self.note(|record| record.add(called, &lease.endpoint, lease.workers, rented));
        if let Some(log) = &mut self.log {
            log.add(lease.machine.0, &lease.name);
        }
        self.say(lease.machine, Source::Machine, &format!("leased: {}", lease.endpoint.label));
    }

    pub fn hear(&mut self, machine: MachineId, event: &Event) {
        match event {
            Event::Prepared(facts) => self.prepared(machine, facts),
            Event::Entered(stage) => self.say(machine, Source::Machine, &format!("begins with {stage}")),
            Event::Leaving { within } => {
                self.say(machine, Source::Machine, &format!("will be taken away in {} s", within.as_secs()));
            }
            Event::InitOutput(bytes) => self.bytes(machine, Source::Init, bytes),
            Event::Message(message, blob) => self.message(machine, message, blob),
            Event::Lost(error) => self.lost(machine, error),
            Event::Ended => self.forget(machine),
            Event::Contents(_) | Event::Differs(_) => {}
        }
    }

    fn prepared(&mut self, machine: MachineId, facts: &Facts) {
        let ground = GroundInfo {
            tree: facts.tree.clone(),
            cwd: facts.cwd.clone(),
            python: facts.python.clone(),
            sys_path: facts.sys_path.clone(),
        };
        self.note(|record| record.prepared(machine.0, ground));
        let text = format!("ready in {}, with {}: {}", facts.cwd, facts.python, facts.timings);
        self.say(machine, Source::Machine, &text);
    }

    fn message(&mut self, machine: MachineId, message: &FromRunner, blob: &Bytes) {
        match message {
            FromRunner::Output { worker: Some(worker), .. } => self.bytes(machine, Source::Worker(*worker), blob),
            // A command's output is the caller's to keep.
            FromRunner::Output { id: Some(worker), .. } => {
                self.show(machine, Source::Worker(*worker), || String::from_utf8_lossy(blob).into_owned());
            }
            FromRunner::Died { worker, stderr, .. } => {
                self.say(machine, Source::Worker(*worker), stderr);
                self.say(machine, Source::Machine, &format!("the process of gw{worker} died"));
            }
            FromRunner::Failed { worker, message, .. } => self.say(machine, Source::Worker(*worker), message),
            FromRunner::Up { worker, .. } => self.say(machine, Source::Machine, &format!("gw{worker} is up")),
            FromRunner::Error { stage, message, .. } => {
                self.say(machine, Source::Machine, &format!("{stage}: {message}"));
            }
            _ => {}
        }
    }

    fn lost(&mut self, machine: MachineId, error: &MachineError) {
        self.say(machine, Source::Machine, &text::chain(error));
        self.forget(machine);
    }

    /// It is gone.
    pub fn forget(&mut self, machine: MachineId) {
        if let Some(record) = &mut self.record {
            record.remove(machine.0);
        }
    }

    /// A line of a log.
    pub fn say(&mut self, machine: MachineId, source: Source, text: &str) {
        self.show(machine, source, || format!("{text}\n"));
        if let Some(log) = &mut self.log {
            log.say(machine.0, source, text);
        }
    }

    fn bytes(&mut self, machine: MachineId, source: Source, bytes: &[u8]) {
        self.show(machine, source, || String::from_utf8_lossy(bytes).into_owned());
        if let Some(log) = &mut self.log {
            log.bytes(machine.0, source, bytes);
        }
    }

    fn show(&self, machine: MachineId, source: Source, text: impl FnOnce() -> String) {
        let speaker = match source {
            Source::Machine => Speaker::Machine,
            Source::Init => Speaker::Init,
            Source::Worker(worker) => Speaker::Worker(worker),
            // The run's events tell of tests.
            Source::Test(_) => return,
        };
        self.watch.tell(|| Sight::Said { machine: machine.0, speaker, text: text() });
    }

    /// Writes what the workers are at, and what machines cost, in the background; waits for the next time, or the end, while the last one is
    /// still being written.
    pub fn working(&mut self, workers: Vec<WorkerInfo>, charges: Vec<Charge>) {
        if !charges.is_empty() {
            let dollars = || charges.iter().map(|charge| (charge.machine.0, charge.dollars)).collect();
            self.watch.tell(|| Sight::Charges(dollars()));
        }
        let now = registry::now();
        let charges = charges.into_iter().map(|charge| ChargeInfo {
            machine: charge.machine.0,
            dollars: charge.dollars,
            per_hour: charge.per_hour,
            paid_until: now + charge.paid_ahead.as_secs(),
        });
        let working = Working { workers, charges: charges.collect() };
        if let Some(log) = &mut self.log {
            log.flush();
        }
        let idle = self.writing.as_ref().is_none_or(JoinHandle::is_finished);
        self.unwritten = (!idle).then(|| working.clone());
        if let (Some(record), true) = (&self.record, idle) {
            let path: PathBuf = record.working();
            self.writing = Some(tokio::task::spawn_blocking(move || {
                // What can't be told now is told a second later.
                registry::write_working(&path, &working).ok();
            }));
        }
    }

    /// The run is over. Of the machines that are kept, these are still there.
    pub async fn close(mut self, kept: &BTreeMap<MachineId, Duration>) {
        if let Some(writing) = self.writing.take() {
            writing.await.ok();
        }
        if let (Some(record), Some(working)) = (&self.record, &self.unwritten) {
            registry::write_working(&record.working(), working).ok();
        }
        let kept = kept.iter().map(|(machine, time)| (machine.0, registry::now() + time.as_secs())).collect();
        if let Some(record) = self.record {
            record.close(&kept);
        }
    }

    fn note(&mut self, write: impl FnOnce(&mut Record) -> Result<(), RegistryError>) {
        if let Some(record) = &mut self.record
            && let Err(error) = write(record)
        {
            self.trouble.get_or_insert_with(|| trouble(&error));
        }
    }
}

fn trouble(error: &RegistryError) -> String {
    format!("`cloudist ps`, `ssh` and the like may not see this run: {}", text::chain(error))
}
