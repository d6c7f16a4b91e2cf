//! The machines of a run as sources of contents for each other: their addresses, and what admits one to another.
//!
//! Does what [`Spread`] decides. Speaks to no machine itself.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::spread::{Order, Source, Spread};
use crate::{
    machine::{Command, Contents, Peer, SeedOrder, Supply},
    model::MachineId,
};

pub struct Peers {
    spread: Spread,
    began: Instant,
    /// Made when the first seed is wanted; all seeds of a run have the same.
    credentials: Option<Credentials>,
    seeds: BTreeMap<MachineId, Seed>,
}

struct Credentials {
    certificate: String,
    key: String,
    /// The SHA-256 of the certificate.
    pin: String,
}

struct Seed {
    secret: [u8; 32],
    /// Each token has a number of its own.
    tokens: u64,
    listens_at: Option<(String, u16)>,
}

impl Peers {
    pub fn new(wanted: bool) -> Self {
        Self { spread: Spread::new(wanted), began: Instant::now(), credentials: None, seeds: BTreeMap::new() }
    }

    /// A machine is there.
    pub fn joined(&mut self, machine: MachineId) {
        self.spread.joined(machine);
    }

    pub fn hear(&mut self, machine: MachineId, contents: Contents) {
        match contents {
            Contents::Lacks { bytes } => self.spread.lacks(machine, bytes),
            Contents::Failed { something_came } => self.spread.failed(machine, something_came),
            Contents::TooSlow => self.spread.left(machine),
            Contents::Whole => self.spread.whole(machine),
            Contents::Seeding { address, port } => {
                if let Some(seed) = self.seeds.get_mut(&machine) {
                    seed.listens_at = Some((address, port));
                    self.spread.seeds(machine, true);
                }
            }
            Contents::NotSeeding => self.spread.seeds(machine, false),
        }
    }

    pub fn lost(&mut self, machine: MachineId) {
        self.seeds.remove(&machine);
        self.spread.lost(machine);
    }

    /// What to tell which machine. To be asked until there is nothing, and again at [`Peers::next_deadline`].
    pub fn poll_command(&mut self) -> Option<(MachineId, Command)> {
        loop {
            return Some(match self.spread.poll_order(self.now())? {
                Order::Take(machine, Source::Here) => (machine, Command::Take(Supply::Here)),
                Order::Take(machine, Source::Seed(seed)) => match self.admission(seed) {
                    Some(peer) => (machine, Command::Take(Supply::Peer(Box::new(peer)))),
                    None => (machine, Command::Take(Supply::Here)),
                },
                Order::Seed(machine) => match self.seed(machine) {
                    Some(order) => (machine, Command::Seed(Box::new(order))),
                    None => {
                        self.spread.seeds(machine, false);
                        continue;
                    }
                },
            });
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.spread.next_deadline(self.now()).map(|deadline| self.began + deadline)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// What a machine needs to serve others. None if no certificate can be made: then everything comes from here.
    fn seed(&mut self, machine: MachineId) -> Option<SeedOrder> {
        if self.credentials.is_none() {
            self.credentials = Credentials::make().ok();
        }
        let credentials = self.credentials.as_ref()?;
        let secret: [u8; 32] = rand::random();
        self.seeds.insert(machine, Seed { secret, tokens: 0, listens_at: None });
        Some(SeedOrder {
            secret: hex(&secret),
            certificate: credentials.certificate.clone(),
            key: credentials.key.clone(),
        })
    }

    /// Admits one machine to a seed, once.
    fn admission(&mut self, seed: MachineId) -> Option<Peer> {
        let patience = self.spread.patience(seed, self.now());
        let pin = self.credentials.as_ref()?.pin.clone();
        let seed = self.seeds.get_mut(&seed)?;
        let (address, port) = seed.listens_at.clone()?;
        seed.tokens += 1;
        let mut token = Hmac::<Sha256>::new_from_slice(&seed.secret).ok()?;
        token.update(seed.tokens.to_string().as_bytes());
        let token = hex(&token.finalize().into_bytes());
        Some(Peer { address, port, pin, number: seed.tokens, token, patience })
    }
}

impl Credentials {
    fn make() -> Result<Self, rcgen::Error> {
        let made = rcgen::generate_simple_self_signed(vec!["cloudist.invalid".to_owned()])?;
        Ok(Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            pin: hex(&Sha256::digest(made.cert.der())),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
