//! The runner's own code on its way to a machine: what every runner needs at once, the rest when something needs it.

use std::sync::LazyLock;

use bytes::Bytes;

use super::{MachineError, link::Outgoing};
use crate::{
    protocol::runner::ToRunner,
    snapshot::{self, Digest},
    templates::{self, Module},
};

/// Modules that travel together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bundle {
    Environment,
    Workers,
}

/// The runner itself, as the bootstrap takes it.
pub static RUNNER: LazyLock<Bytes> = LazyLock::new(|| {
    let packed = snapshot::compress_well(templates::RUNNER.as_bytes());
    let length = format!("{:08}", packed.len());
    [length.as_bytes(), &packed].concat().into()
});

/// What comes with `hello`.
pub static FIRST: LazyLock<Bytes> = LazyLock::new(|| packed(templates::RUNNER_MODULES));

static ENVIRONMENT: LazyLock<Bytes> = LazyLock::new(|| packed(templates::ENVIRONMENT_MODULES));
static WORKERS: LazyLock<Bytes> = LazyLock::new(|| packed(templates::WORKER_MODULES));

/// Names all modules together.
pub static CODE: LazyLock<String> = LazyLock::new(|| {
    let all = [templates::RUNNER_MODULES, templates::ENVIRONMENT_MODULES, templates::WORKER_MODULES].concat();
    Digest::of(&json(&all)).to_string()
});

/// Sends modules before the first message that needs them.
pub async fn bring(outgoing: &mut Outgoing, bundle: Bundle) -> Result<(), MachineError> {
    if outgoing.brought.contains(&bundle) {
        return Ok(());
    }
    outgoing.brought.push(bundle);
    let modules = match bundle {
        Bundle::Environment => &ENVIRONMENT,
        Bundle::Workers => &WORKERS,
    };
    outgoing.send_with(&ToRunner::Modules, Bytes::clone(modules)).await
}

fn packed(modules: &[Module]) -> Bytes {
    snapshot::compress_well(&json(modules)).into()
}

fn json(modules: &[Module]) -> Vec<u8> {
    let modules: serde_json::Map<_, _> =
        modules.iter().map(|(name, source)| ((*name).to_owned(), (*source).into())).collect();
    serde_json::to_vec(&modules).expect("texts make JSON")
}
