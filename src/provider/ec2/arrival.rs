//! Watches launched machines until they have an address, and hands them on as leases.

use std::{sync::Arc, time::Duration};

use russh::keys::{PrivateKey, PublicKey};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    LEASE_FILE, LeaseEvent,
    api::{Cloud, Seen, State},
    boot_patience,
    error::Ec2Error,
};
use crate::{
    model::MachineId,
    provider::{Lease, Rented, Tenancy},
    ssh::{Endpoint, Handshakes, HostKey, Identity, Liveness, Transport},
};

/// From the launch to an address takes seconds; EC2 sometimes needs a minute.
const PATIENCE: Duration = Duration::from_secs(180);
const FIRST_PAUSE: Duration = Duration::from_millis(150);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How often EC2 is asked about machines that are at work.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// EC2 tells of machines that have ended. One that hangs, which it takes for running, is given up after half a minute.
const LIVENESS: Liveness = Liveness { keepalive: Duration::from_secs(8), unanswered: 3 };

/// A booting machine answers with silence: better to knock again.
const KNOCK: Duration = Duration::from_secs(5);

/// A machine that was launched and has not been seen yet.
pub struct Expected {
    pub id: String,
    pub machine: MachineId,
    pub workers: u32,
    pub cores: Option<u32>,
    pub rented: Rented,
    /// Says to whoever works with it that there is no use any more.
    pub ended: CancellationToken,
}

/// What arriving machines are met with.
pub struct Welcome {
    pub cloud: Cloud,
    pub user: String,
    pub client_key: Arc<PrivateKey>,
    pub host_key: PublicKey,
    pub private_ip: bool,
    pub lease: Duration,
    pub keep: Option<Duration>,
}

/// Tells of each machine once: it has an address, or it won't have one. Goes on to look after those that live.
pub async fn welcome(welcome: Welcome, expected: Vec<Expected>, events: mpsc::Sender<LeaseEvent>) {
    let living = announce(&welcome, expected, events).await;
    watch(&welcome.cloud, living).await;
}

/// Answers with the machines that were handed on.
async fn announce(welcome: &Welcome, mut expected: Vec<Expected>, events: mpsc::Sender<LeaseEvent>) -> Vec<Expected> {
    let mut living = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    while !expected.is_empty() {
        let ids: Vec<String> = expected.iter().map(|one| one.id.clone()).collect();
        // One that was just launched may not be listed yet, and a call that fails is made again.
        let seen = welcome.cloud.instances_by_id(&ids).await;
        let failure = seen.as_ref().err().map(ToString::to_string);
        if let Err(error) = &seen
            && error.of_the_account().is_some()
        {
            for one in &expected {
                if let Some(error) = error.of_the_account() {
                    events.send(failed(one, error)).await.ok();
                }
            }
            return living;
        }
        for seen in seen.unwrap_or_default() {
            let Some(at) = expected.iter().position(|one| one.id == seen.id) else { continue };
            if let Some(event) = welcome.look_at(&expected[at], &seen) {
                living.push(expected.swap_remove(at));
                if events.send(event).await.is_err() {
                    return Vec::new();
                }
            }
        }
        if Instant::now() >= deadline {
            for late in expected.drain(..) {
                let error = match &failure {
                    Some(detail) => Ec2Error::Stillborn { instance: late.id.clone(), detail: detail.clone() },
                    None => Ec2Error::NeverStarted { instance: late.id.clone(), after: PATIENCE },
                };
                events.send(failed(&late, error)).await.ok();
            }
            return living;
        }
        if !expected.is_empty() {
            sleep(pause).await;
            pause = pause.mul_f64(1.5).min(LONGEST_PAUSE);
        }
    }
    living
}

/// A machine whose end EC2 knows of is waited for no longer, neither while it boots nor later: its connection would only
/// fall silent.
async fn watch(cloud: &Cloud, mut living: Vec<Expected>) {
    while !living.is_empty() {
        sleep(LOOK_EVERY).await;
        let ids: Vec<String> = living.iter().map(|one| one.id.clone()).collect();
        for seen in cloud.instances_by_id(&ids).await.unwrap_or_default() {
            if matches!(seen.state, State::Going | State::Gone) {
                living.iter().filter(|one| one.id == seen.id).for_each(|one| one.ended.cancel());
                living.retain(|one| one.id != seen.id);
            }
        }
    }
}

impl Welcome {
    fn look_at(&self, expected: &Expected, seen: &Seen) -> Option<LeaseEvent> {
        match seen.state {
            State::Going | State::Gone => {
                let detail = seen.reason.clone().unwrap_or_else(|| "EC2 gives no reason".into());
                Some(failed(expected, Ec2Error::Stillborn { instance: seen.id.clone(), detail }))
            }
            State::Coming | State::Running => {
                let address = if self.private_ip { &seen.private_ip } else { &seen.public_ip };
                address.as_ref().map(|address| LeaseEvent::Ready(Box::new(self.lease(expected, address))))
            }
        }
    }

    fn lease(&self, expected: &Expected, address: &str) -> Lease {
        let endpoint = Endpoint {
            label: format!("{} ({address})", expected.id),
            transport: Transport::Tcp { host: address.to_owned(), port: 22 },
            user: self.user.clone(),
            identity: Identity::Key(Arc::clone(&self.client_key)),
            host_key: HostKey::Pinned(self.host_key.clone()),
            connect_timeout: KNOCK,
            liveness: LIVENESS,
            handshakes: Handshakes::default(),
        };
        Lease {
            machine: expected.machine,
            name: expected.id.clone(),
            endpoint,
            workers: expected.workers,
            patience: boot_patience(),
            cores: expected.cores,
            ended: expected.ended.clone(),
            tenancy: Some(Tenancy { lease: self.lease, keep: self.keep, file: LEASE_FILE }),
            rented: Some(expected.rented.clone()),
        }
    }
}

fn failed(expected: &Expected, error: Ec2Error) -> LeaseEvent {
    LeaseEvent::Failed { machine: expected.machine, name: expected.id.clone(), error: error.into() }
}
