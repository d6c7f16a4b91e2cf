//! Where a machine gets what it lacks of the snapshot: from here, or from a machine that has everything.
//!
//! What the two ends say to each other about it. Who gets it from whom is decided elsewhere.

use super::{Command, Event, MachineError, Teller, link::Link, prepare::refused};
use crate::{
    model::SEED_PORTS,
    protocol::runner::{FromRunner, ToRunner},
};

/// What a machine tells about contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// It waits to be told where to get so many bytes.
    Lacks { bytes: u64 },
    /// Where it was told to get them it did not get all of them.
    Failed,
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

/// A machine that has everything, and what opens it, once.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: String,
    pub port: u16,
    /// The SHA-256 of its certificate.
    pub pin: String,
    pub number: u64,
    pub token: String,
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
    orders: &mut tokio::sync::mpsc::UnboundedReceiver<Command>,
    teller: &Teller,
) -> Result<Supply, MachineError> {
    teller.tell(Event::Contents(Contents::Lacks { bytes })).await;
    loop {
        tokio::select! {
            Some(order) = orders.recv() => if let Command::Take(supply) = order {
                return Ok(supply);
            },
            message = link.incoming.next() => return Err(refused(link.machine(), message?.0)),
        }
    }
}

/// The order to serve others, in the runner's words.
pub(super) fn seed_message(order: SeedOrder, id: String) -> ToRunner {
    let SeedOrder { secret, certificate, key } = order;
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
