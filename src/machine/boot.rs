//! From a lease to a runner that answers.

use std::{convert::Infallible, future, time::Instant};

use super::{
    Event, MachineError, Stage, Start, Teller, Timings,
    link::Link,
    modules::{self, Bundle},
};
use crate::{
    protocol::{
        PROTOCOL,
        runner::{FromRunner, ToRunner},
    },
    ssh::{self, Retry},
};

/// cloudist's directory on a machine.
const BASE: &str = "~/.cache/cloudist";

/// Reads eight digits and as many bytes of compressed source from descriptor 0, never further, and executes them.
const BOOTSTRAP: &str = r#"import os, zlib
def r(n):
    b = b""
    while len(b) < n:
        c = os.read(0, n - len(b))
        if not c:
            os._exit(3)
        b += c
    return b
exec(compile(zlib.decompress(r(int(r(8)))), "<cloudist runner>", "exec"))"#;

/// What is known once the runner answers.
pub struct Booted {
    pub platform: String,
    pub cpus: u32,
    pub home: String,
    /// Key and id of the snapshots that its trees have.
    pub known: Vec<(String, String)>,
    pub timings: Timings,
}

pub async fn boot(start: &Start, teller: &Teller) -> Result<(Link, Booted), MachineError> {
    let machine = start.lease.name.clone();
    let mut timings = Timings::begin();
    teller.tell(Event::Entered(Stage::Connect)).await;
    let session = ssh::connect_with_retry(&start.lease.endpoint, Retry::within(start.lease.patience)).await.map_err(
        |source| {
            let rented = start.lease.tenancy.is_some();
            MachineError::Connect { machine: machine.clone(), rented, source }
        },
    )?;
    timings.ended("connect");
    teller.tell(Event::Entered(Stage::Boot)).await;
    let command = format!("exec {} -IS -c '{BOOTSTRAP}'", crate::text::quoted(&start.boot_python));
    let asked = Instant::now();
    let child = session
        .exec(&command)
        .await
        .map_err(|error| MachineError::Boot { machine: machine.clone(), detail: crate::text::chain(&error) })?;
    // The channel is open, and the command not yet answered. A server that was still busy with the login took longer over that than
    // the way is long.
    let opened = asked.elapsed();
    let mut link = Link::new(machine, session.clone(), child, start.boot_python.clone(), opened);
    let mut distance = opened;
    let measuring = async {
        distance = session.round_trip().await.map_or(opened, |trip| trip.min(opened));
        future::pending::<Infallible>().await
    };
    let booted = tokio::select! {
        // It asks before the runner's modules are on the way, which its answer would wait for.
        biased;
        never = measuring => match never {},
        booted = become_ready(start, &mut link, timings) => booted?,
    };
    link.distance = distance;
    Ok((link, booted))
}

/// Brings the runner, and waits until it is up.
async fn become_ready(start: &Start, link: &mut Link, mut timings: Timings) -> Result<Booted, MachineError> {
    link.outgoing.send_raw(modules::RUNNER.clone()).await?;
    let (run, code) = (start.run.clone(), modules::CODE.clone());
    let hello = ToRunner::Hello { protocol: PROTOCOL, run, base: BASE.into(), code };
    link.outgoing.send_with(&hello, modules::FIRST.clone()).await?;
    if let Some(python) = &start.python {
        modules::bring(&mut link.outgoing, Bundle::Workers).await?;
        // Importing pytest takes longer than most syncs: it begins now.
        link.outgoing.send(&ToRunner::Prepare { python: python.clone(), env: start.env.clone() }).await?;
    }
    link.incoming.skip_preamble().await?;
    let (message, _) = link.incoming.next().await?;
    match message {
        FromRunner::Ready { protocol, platform, cpus, home, known, .. } if protocol == PROTOCOL => {
            timings.ended("boot");
            Ok(Booted { platform, cpus, home, known, timings })
        }
        other => Err(MachineError::Boot {
            machine: link.machine().to_owned(),
            detail: format!("the runner answered {other:?}"),
        }),
    }
}
