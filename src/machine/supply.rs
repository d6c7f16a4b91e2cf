//! Where a machine gets what it lacks of the snapshot: from here, or from a machine that has it or is about to.
//!
//! What the two ends say to each other about it. Who gets it from whom is decided elsewhere.

use std::time::Duration;

use super::{
    Command, Event, MachineError, Teller,
    link::{Link, Outgoing},
    prepare::refused,
};
use crate::{
    model::SEED_PORTS,
    protocol::runner::{FromRunner, ToRunner},
    snapshot::Digest,
};

/// What a machine is told while it gets ready.
pub(super) type Orders = tokio::sync::mpsc::UnboundedReceiver<Command>;

/// What a machine tells about contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// It waits to be told where to get so many bytes.
    Lacks { bytes: u64 },
    /// Where it was told to get them it did not get all of them.
    Failed { something_came: bool },
    /// The same, and the reason was that the time for it was over.
    TooSlow,
    /// It has everything.
    Whole,
    /// It serves others there.
    Seeding { address: String, port: u16 },
    /// It can't, or no longer.
    NotSeeding,
}

/// What a machine is told.
#[derive(Clone, Debug)]
pub enum Supply {
    /// It comes from here.
    Here,
    Peer(Box<Peer>),
}

/// A machine that serves others, and what opens it, once.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: String,
    pub port: u16,
    /// The SHA-256 of its certificate.
    pub pin: String,
    pub number: u64,
    pub token: String,
    /// For how long, if it doesn't have everything itself.
    pub patience: Option<Duration>,
}

/// What a machine needs to serve others.
#[derive(Clone, Debug)]
pub struct SeedOrder {
    /// Tokens are made from it.
    pub secret: String,
    pub certificate: String,
    pub key: String,
}

/// Waits to be told where to get what is lacking.
pub(super) async fn supply(
    link: &mut Link,
    bytes: u64,
    snapshot: &Digest,
    orders: &mut Orders,
    teller: &Teller,
) -> Result<Supply, MachineError> {
    teller.tell(Event::Contents(Contents::Lacks { bytes })).await;
    loop {
        tokio::select! {
            Some(order) = orders.recv() => match order {
                Command::Take(supply) => return Ok(supply),
                other => obey(other, &mut link.outgoing, snapshot).await?,
            },
            message = link.incoming.next() => match about_seeding(message?.0) {
                Ok(contents) => teller.tell(Event::Contents(contents)).await,
                Err(other) => return Err(refused(link.machine(), other)),
            },
        }
    }
}

/// Has a machine serve others, if that is the order; nothing else is asked of one that gets ready.
pub(super) async fn obey(order: Command, outgoing: &mut Outgoing, snapshot: &Digest) -> Result<(), MachineError> {
    match order {
        Command::Seed(order) => outgoing.send(&seed_message(*order, snapshot)).await,
        _ => Ok(()),
    }
}

/// The order to serve others, in the runner's words.
pub(super) fn seed_message(order: SeedOrder, snapshot: &Digest) -> ToRunner {
    let SeedOrder { secret, certificate, key } = order;
    let id = snapshot.to_string();
    ToRunner::Seed { id, secret, certificate, key, ports: (SEED_PORTS.start, SEED_PORTS.end) }
}

/// What a runner that serves others has said about it, or any other message as it was.
pub(super) fn about_seeding(message: FromRunner) -> Result<Contents, FromRunner> {
    match message {
        FromRunner::Seeding { address: Some(address), port: Some(port) } => Ok(Contents::Seeding { address, port }),
        FromRunner::Seeding { .. } => Ok(Contents::NotSeeding),
        other => Err(other),
    }
}
