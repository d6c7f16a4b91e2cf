//! One machine from its lease to its end: connect → boot the runner → sync → init → serve.
//!
//! A machine is one task that owns its SSH session. It tells the coordinator what happens and does what it is told;
//! it decides nothing about tests.

mod boot;
mod command;
mod environment;
mod error;
mod lanes;
mod link;
mod modules;
mod prepare;
mod sending;
mod serve;
mod supply;
mod sync;
mod tenancy;
mod timings;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

pub use command::{Command, CommandId, Signal};
pub use error::{ExitText, MachineError, Stage};
pub use prepare::{InitPlan, Preparation, SessionPlan};
pub use supply::{Contents, Peer, SeedOrder, Supply};
pub use timings::Timings;

use self::{boot::Booted, link::Link, tenancy::Steward};
use crate::{model::MachineId, protocol::runner::FromRunner, provider::Lease};

/// What a machine tells about itself.
#[derive(Debug)]
pub enum Event {
    /// It has entered this stage.
    Entered(Stage),
    /// The init command printed something.
    InitOutput(Bytes),
    /// Its environment differs from the one here, in words.
    Differs(String),
    /// It is ready to work.
    Prepared(Facts),
    /// A message of its runner about work.
    Message(FromRunner, Bytes),
    /// What it has and lacks of the snapshot.
    Contents(Contents),
    /// It will be taken away, and soon.
    Leaving { within: Duration },
    /// It is gone, and whatever it had not finished with it. Nothing follows.
    Lost(MachineError),
    /// It ended because it was told to. Nothing follows.
    Ended,
}

/// What is known of a machine once its runner is up and prepared.
#[derive(Clone, Debug)]
pub struct Facts {
    pub platform: String,
    pub cpus: u32,
    pub home: String,
    /// Where the snapshot lies there.
    pub tree: String,
    /// Where commands and tests run.
    pub cwd: String,
    /// The interpreter of workers and commands.
    pub python: String,
    pub sys_path: Vec<String>,
    /// Whether the init command was found done by an earlier run.
    pub init_cached: bool,
    pub timings: Timings,
}

/// What the coordinator will want on every machine, as soon as it is known.
pub type PreparationReceiver = watch::Receiver<Option<Arc<Preparation>>>;

/// What a machine begins with.
pub struct Start {
    pub lease: Lease,
    /// The run's name.
    pub run: String,
    /// The interpreter that runs the runner; any Python will do.
    pub boot_python: String,
    /// The workers' interpreter there, where it is known beforehand.
    pub python: Option<String>,
    /// The variables that workers get.
    pub env: Value,
}

/// Runs a leased machine until it is told to finish, its commands end, or it is lost.
pub async fn run(
    start: Start,
    preparation: PreparationReceiver,
    mut commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<(MachineId, Event)>,
) {
    let machine = start.lease.machine;
    let teller = Teller { machine, events };
    let last = match live(start, preparation, &mut commands, &teller).await {
        Ok(()) => Event::Ended,
        Err(error) => Event::Lost(error),
    };
    teller.tell(last).await;
}

async fn live(
    start: Start,
    mut preparation: PreparationReceiver,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    teller: &Teller,
) -> Result<(), MachineError> {
    let (mut link, booted) = tokio::select! {
        booted = boot::boot(&start, teller) => booted?,
        never = prepare::compress_ahead(preparation.clone()) => match never {},
        () = finish_requested(commands, None) => return Ok(()),
        () = start.lease.ended.cancelled() => return Err(ended(&start.lease, Stage::Connect)),
    };
    let result = match start.lease.tenancy {
        None => work(&mut link, booted, start.python, &mut preparation, commands, teller).await,
        Some(tenancy) => {
            let session = link.session();
            let working = async {
                let steward = Steward::begin(&session, &start.lease.name, tenancy, &start.boot_python).await?;
                tokio::select! {
                    result = work(&mut link, booted, start.python, &mut preparation, commands, teller) => result,
                    () = start.lease.ended.cancelled() => Err(ended(&start.lease, Stage::Serve)),
                    never = steward.serve(teller) => match never {},
                }
            };
            let result = working.await;
            if let Ok(stays) = &result
                && let Some(keep) = stays.or(tenancy.keep)
            {
                tenancy::keep(&session, tenancy, keep).await;
            }
            result
        }
    };
    // Whatever happened, the runner is to end what it began; one that is gone is not waited for.
    if !matches!(result, Err(MachineError::Lost { .. })) {
        link.end().await;
    }
    result.map(|_| ())
}

/// What is left to say of a machine whose provider has seen its end.
fn ended(lease: &Lease, stage: Stage) -> MachineError {
    MachineError::Lost { machine: lease.name.clone(), stage, detail: "the machine has ended".into() }
}

async fn work(
    link: &mut Link,
    booted: Booted,
    provided_python: Option<String>,
    preparation: &mut PreparationReceiver,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    teller: &Teller,
) -> Result<Option<Duration>, MachineError> {
    let (orders, mut waiting) = mpsc::unbounded_channel();
    let (facts, ground) = tokio::select! {
        prepared = prepare::prepare(link, booted, provided_python, preparation, &mut waiting, teller) => prepared?,
        () = finish_requested(commands, Some(&orders)) => return Ok(None),
    };
    while let Ok(order) = waiting.try_recv() {
        serve::obey_one(&mut link.outgoing, &ground, order).await?;
    }
    let tree = facts.tree.clone();
    teller.tell(Event::Prepared(facts)).await;
    let stays = serve::serve(link, &ground, commands, teller).await?;
    if let Some(time) = stays {
        tenancy::reserve(&link.session(), &tree, time).await;
    }
    ground.settle().await;
    Ok(stays)
}

/// Waits for the order to finish; work can't be asked of a machine that isn't ready. What is said about contents is
/// passed on.
async fn finish_requested(
    commands: &mut mpsc::UnboundedReceiver<Command>,
    orders: Option<&mpsc::UnboundedSender<Command>>,
) {
    while let Some(command) = commands.recv().await {
        match (command, orders) {
            (Command::Finish, _) => return,
            (command @ (Command::Take(_) | Command::Seed(_)), Some(orders)) => {
                orders.send(command).ok();
            }
            _ => {}
        }
    }
}

/// The machine's way to the coordinator.
struct Teller {
    machine: MachineId,
    events: mpsc::Sender<(MachineId, Event)>,
}

impl Teller {
    async fn tell(&self, event: Event) {
        // A coordinator that has gone doesn't want to know; the task then ends by its commands' end.
        self.events.send((self.machine, event)).await.ok();
    }
}
