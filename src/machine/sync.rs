//! Brings the snapshot to a machine: what is wanted, what it takes, and the order to make it so, in one message where
//! that can be foreseen.
//!
//! A machine tells in its first message which snapshots its trees have, so it is told the difference to one of them. It
//! answers that the tree stands, or what it lacks. Never trusts it to have what it says: what it makes is verified there.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use super::{
    Contents, Event, MachineError, Peer, Preparation, Supply, Teller,
    lanes::Lanes,
    link::Link,
    prepare::refused,
    sending::{Opening, Round, send, step},
    supply::{Orders, about_seeding, obey, supply},
};
use crate::{
    protocol::runner::{FetchFrom, FromRunner, ToRunner},
    snapshot::{self, Difference, Digest, LARGE, Manifest, Splice, Wanted},
};

/// What a machine most likely lacks is sent before it has asked if it is no more than this.
const FORESEEN: u64 = 1 << 20;

/// Asked more often than this, a machine loses what it is sent.
const ROUNDS: u32 = 5;

/// How the snapshot came to lie on the machine.
pub struct Synced {
    pub tree: String,
    pub round_trips: u32,
    /// The files whose contents were sent from here.
    pub sent: Vec<u32>,
    /// Bytes that came from other machines.
    pub from_others: u64,
}

/// As much as this is sent from here without asking.
const SMALL: u64 = 64 << 10;

/// The blob of `need`.
#[derive(Debug, Deserialize)]
struct Needed {
    files: Vec<(u32, u32)>,
    arrived: std::collections::HashMap<u32, u64>,
}

/// `known` are the snapshots that the machine's trees have: their projects' keys and their ids.
pub async fn sync(
    link: &mut Link,
    preparation: &Arc<Preparation>,
    known: Vec<(String, String)>,
    orders: &mut Orders,
    teller: &Teller,
) -> Result<Synced, MachineError> {
    let machine = link.machine().to_owned();
    let (mut round, base) = first_round(preparation, known).await;
    let (mut trip, mut from_others, mut rounds) = (0, 0, 0);
    let (mut sent, mut lanes) = (Vec::new(), Lanes::new(link));
    while rounds < ROUNDS {
        trip += 1;
        let bytes = round.bytes(preparation);
        let supply =
            if bytes <= SMALL { Supply::Here } else { supply(link, bytes, &preparation.id, orders, teller).await? };
        let (message, body) = match supply {
            Supply::Here => {
                rounds += 1;
                sent.extend(round.wanted.iter().map(|wanted| wanted.file));
                send(link, &mut lanes, preparation, round, (orders, teller)).await?
            }
            Supply::Peer(peer) => {
                lanes.carrying.send_waiting(&mut link.outgoing).await?;
                let (Fetched { bytes, slow }, message, body) =
                    fetch(link, preparation, *peer, (orders, teller)).await?;
                from_others += bytes;
                if !matches!(message, FromRunner::Built { .. }) {
                    let failed = Contents::Failed { something_came: bytes > 0 };
                    teller.tell(Event::Contents(if slow { Contents::TooSlow } else { failed })).await;
                }
                (message, body)
            }
        };
        round = match message {
            FromRunner::Built { tree, .. } => {
                lanes.carrying.send_rest(&mut link.outgoing).await?;
                return Ok(Synced { tree, round_trips: trip, sent, from_others });
            }
            FromRunner::Need { manifest: true, .. } => {
                Round { opening: Some(whole_manifest(preparation)), wanted: Vec::new() }
            }
            FromRunner::Need { manifest: false, .. } => {
                let old = if trip <= 2 { base.as_deref() } else { None };
                let wanted = asked_for(preparation, &body, old).ok_or_else(|| MachineError::Sync {
                    machine: machine.clone(),
                    kind: "protocol".into(),
                    detail: "the list of missing contents can't be read".into(),
                })?;
                Round { opening: None, wanted }
            }
            other => return Err(refused(&machine, other)),
        };
    }
    let detail = format!("after {ROUNDS} attempts it still lacks contents; is its disk in order?");
    Err(MachineError::Sync { machine, kind: "corrupt".into(), detail })
}

/// What came from another machine.
#[derive(Default)]
struct Fetched {
    bytes: u64,
    /// There was no time for all of it.
    slow: bool,
}

/// Has the machine get what it lacks, the manifest included, from another one. What did arrive counts: the answer is
/// that to `build`.
async fn fetch(
    link: &mut Link,
    preparation: &Preparation,
    peer: Peer,
    (orders, teller): (&mut Orders, &Teller),
) -> Result<(Fetched, FromRunner, Bytes), MachineError> {
    let Peer { address, port, pin, number, token, patience } = peer;
    let (id, key) = (preparation.id.to_string(), preparation.key.clone());
    let patience = patience.map(|patience| patience.as_secs_f64());
    let from = FetchFrom { id, key, address, port, pin, number, token, patience };
    link.outgoing.send(&ToRunner::FetchFrom(from)).await?;
    let mut fetched = Fetched::default();
    loop {
        let (message, body) = tokio::select! {
            message = link.incoming.next() => message?,
            Some(order) = orders.recv() => {
                obey(order, &mut link.outgoing, &preparation.id).await?;
                continue;
            }
        };
        match about_seeding(message) {
            Ok(contents) => teller.tell(Event::Contents(contents)).await,
            Err(FromRunner::FetchedFrom { bytes, slow }) => fetched = Fetched { bytes, slow },
            Err(message) => return Ok((fetched, message, body)),
        }
    }
}

/// With what is known of the machine, as much as can be foreseen of what it will need; and the snapshot that it has.
async fn first_round(preparation: &Arc<Preparation>, known: Vec<(String, String)>) -> (Round, Option<Arc<Manifest>>) {
    let preparation = Arc::clone(preparation);
    let round = tokio::task::spawn_blocking(move || {
        if known.is_empty() {
            // It has nothing at all.
            let lacking = lacking(&preparation.snapshot.manifest, &Manifest::default());
            return (Round { opening: Some(whole_manifest(&preparation)), wanted: lacking }, None);
        }
        let ids = known.iter().filter(|(key, _)| *key == preparation.key);
        let ids: Vec<_> = ids.filter_map(|(_, id)| Digest::from_hex(id.as_bytes())).collect();
        if ids.contains(&preparation.id) {
            let length = preparation.manifest.len() as u64;
            let same = Difference { steps: vec![Splice::Copy { start: 0, length }], bytes: Vec::new() };
            return (
                Round { opening: Some(difference(&preparation, &preparation.id, same)), wanted: Vec::new() },
                None,
            );
        }
        let bases = ids.iter().filter_map(|id| Some((id, preparation.remembered.as_ref()?.load(id)?)));
        let base = bases.into_iter().find_map(|(id, bytes)| Some((id, Manifest::parse(&bytes).ok()?, bytes)));
        let Some((id, base, bytes)) = base else {
            return (Round { opening: Some(whole_manifest(&preparation)), wanted: Vec::new() }, None);
        };
        let opening = difference(&preparation, id, Difference::of_manifests(&bytes, &preparation.manifest));
        let wanted = foreseen(&preparation, lacking(&preparation.snapshot.manifest, &base));
        (Round { opening: Some(opening), wanted }, Some(Arc::new(base)))
    });
    round.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn whole_manifest(preparation: &Preparation) -> (ToRunner, Opening) {
    let message = ToRunner::Snapshot {
        id: preparation.id.to_string(),
        key: preparation.key.clone(),
        base: None,
        ops: Vec::new(),
    };
    (message, Opening::Whole)
}

fn difference(preparation: &Preparation, base: &Digest, difference: Difference) -> (ToRunner, Opening) {
    let message = ToRunner::Snapshot {
        id: preparation.id.to_string(),
        key: preparation.key.clone(),
        base: Some(base.to_string()),
        ops: difference.steps.iter().map(step).collect(),
    };
    (message, Opening::Difference(snapshot::compress(&difference.bytes).into()))
}

/// What one snapshot has and another lacks.
fn lacking(new: &Manifest, old: &Manifest) -> Vec<Wanted> {
    new.lacking(old).map(|(file, _, old)| Wanted { file, arrived: 0, old, unasked: false }).collect()
}

/// What is sent before the machine has asked: nothing if it is much. An edit inside a large content, of which it is known
/// what it was made of, is little.
fn foreseen(preparation: &Preparation, mut wanted: Vec<Wanted>) -> Vec<Wanted> {
    let files = preparation.snapshot.manifest.files();
    let is_known = |old: &Digest| preparation.recipes.as_ref().is_some_and(|recipes| recipes.load(old).is_some());
    let mut total = 0;
    for one in &mut wanted {
        let (_, size) = files[one.file as usize];
        one.unasked = size >= LARGE && one.old.as_ref().is_some_and(is_known);
        total += if one.unasked { 0 } else { size };
    }
    if total <= FORESEEN { wanted } else { Vec::new() }
}

/// What the machine asked for. None if that can't be understood.
fn asked_for(preparation: &Preparation, body: &[u8], base: Option<&Manifest>) -> Option<Vec<Wanted>> {
    let needed: Needed = serde_json::from_slice(body).ok()?;
    let count = u32::try_from(preparation.snapshot.manifest.files().len()).ok()?;
    if needed.files.iter().any(|(first, last)| first > last || *last >= count) {
        return None;
    }
    let lacking = base.into_iter().flat_map(|base| preparation.snapshot.manifest.lacking(base));
    let before: std::collections::HashMap<_, _> = lacking.map(|(file, _, old)| (file, old)).collect();
    let files = needed.files.iter().flat_map(|(first, last)| *first..=*last);
    let wanted = files.map(|file| Wanted {
        file,
        arrived: needed.arrived.get(&file).copied().unwrap_or(0),
        old: before.get(&file).copied().flatten(),
        unasked: false,
    });
    Some(wanted.collect())
}
