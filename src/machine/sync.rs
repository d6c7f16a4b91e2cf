//! Brings the snapshot to a machine: what is wanted, what it takes, and the order to make it so, in one message where
//! that can be foreseen.
//!
//! A machine tells in its first message which snapshots its trees have, so it is told the difference to one of them. It
//! answers that the tree stands, or what it lacks. Never trusts it to have what it says: what it makes is verified there.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::Instant;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{
    Command, Contents, Event, MachineError, Peer, Preparation, Supply, Teller,
    link::{Link, Outgoing},
    prepare::refused,
    supply::supply,
};
use crate::{
    protocol::runner::{FromRunner, Step, ToRunner},
    snapshot::{self, Difference, Digest, Manifest, Parcel, Parcels, SnapshotError, Splice, Wanted},
};

/// What a machine most likely lacks is sent before it has asked if it is no more than this.
const FORESEEN: u64 = 1 << 20;

/// Asked more often than this, a machine loses what it is sent.
const ROUNDS: u32 = 5;

/// Parcels that may wait for the wire.
const PARCELS_WAITING: usize = 4;

/// A wire that is faster than this, in bytes a second, gains nothing by compression.
const WORTH_COMPRESSING: u64 = 40 << 20;

/// How the snapshot came to lie on the machine.
pub struct Synced {
    pub tree: String,
    pub round_trips: u32,
    /// Bytes that came from other machines.
    pub from_others: u64,
}

/// As much as this is sent from here without asking.
const SMALL: u64 = 64 << 10;

/// What goes to the machine before it is asked to build.
struct Round {
    opening: Option<(ToRunner, Bytes)>,
    wanted: Vec<Wanted>,
}

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
    orders: &mut mpsc::UnboundedReceiver<Command>,
    teller: &Teller,
) -> Result<Synced, MachineError> {
    let machine = link.machine().to_owned();
    let (mut round, base) = first_round(preparation, known).await;
    let (mut trip, mut from_others, mut rounds) = (0, 0, 0);
    while rounds < ROUNDS {
        trip += 1;
        let bytes = round.bytes(preparation);
        let supply = if bytes <= SMALL { Supply::Here } else { supply(link, bytes, orders, teller).await? };
        let (message, body) = match supply {
            Supply::Here => {
                rounds += 1;
                send(link, preparation, round).await?
            }
            Supply::Peer(peer) => {
                let (bytes, message, body) = fetch(link, preparation, *peer).await?;
                from_others += bytes;
                if !matches!(message, FromRunner::Built { .. }) {
                    teller.tell(Event::Contents(Contents::Failed)).await;
                }
                (message, body)
            }
        };
        round = match message {
            FromRunner::Built { tree, .. } => return Ok(Synced { tree, round_trips: trip, from_others }),
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

impl Round {
    /// What it costs to send it, before compression.
    fn bytes(&self, preparation: &Preparation) -> u64 {
        let opening = self.opening.as_ref().map_or(0, |(_, blob)| blob.len() as u64);
        let files = preparation.snapshot.manifest.files();
        let sizes = self.wanted.iter().map(|wanted| files[wanted.file as usize].1.saturating_sub(wanted.arrived));
        opening + sizes.sum::<u64>()
    }
}

/// Has the machine get what it lacks, the manifest included, from another one. What did arrive counts: the answer is
/// that to `build`.
async fn fetch(
    link: &mut Link,
    preparation: &Preparation,
    peer: Peer,
) -> Result<(u64, FromRunner, Bytes), MachineError> {
    let Peer { address, port, pin, number, token } = peer;
    let (id, key) = (preparation.id.to_string(), preparation.key.clone());
    link.outgoing.send(&ToRunner::FetchFrom { id, key, address, port, pin, number, token }).await?;
    let mut from_others = 0;
    loop {
        match link.incoming.next().await? {
            (FromRunner::FetchedFrom { bytes }, _) => from_others = bytes,
            (message, body) => return Ok((from_others, message, body)),
        }
    }
}

/// With what is known of the machine, as much as can be foreseen of what it will need; and the snapshot that it has.
async fn first_round(preparation: &Arc<Preparation>, known: Vec<(String, String)>) -> (Round, Option<Arc<Manifest>>) {
    if known.is_empty() {
        // It has nothing at all.
        let lacking = lacking(&preparation.snapshot.manifest, &Manifest::default());
        return (Round { opening: Some(whole_manifest(preparation)), wanted: lacking.0 }, None);
    }
    let preparation = Arc::clone(preparation);
    let round = tokio::task::spawn_blocking(move || {
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
        let (wanted, size) = lacking(&preparation.snapshot.manifest, &base);
        let wanted = if size <= FORESEEN { wanted } else { Vec::new() };
        (Round { opening: Some(opening), wanted }, Some(Arc::new(base)))
    });
    round.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn whole_manifest(preparation: &Preparation) -> (ToRunner, Bytes) {
    let message = ToRunner::Snapshot {
        id: preparation.id.to_string(),
        key: preparation.key.clone(),
        base: None,
        ops: Vec::new(),
    };
    (message, preparation.compressed())
}

fn difference(preparation: &Preparation, base: &Digest, difference: Difference) -> (ToRunner, Bytes) {
    let message = ToRunner::Snapshot {
        id: preparation.id.to_string(),
        key: preparation.key.clone(),
        base: Some(base.to_string()),
        ops: difference.steps.iter().map(step).collect(),
    };
    (message, snapshot::compress(&difference.bytes).into())
}

fn step(step: &Splice) -> Step {
    match *step {
        Splice::Copy { start, length } => Step::Copy([start, length]),
        Splice::Insert(length) => Step::Insert(length),
    }
}

/// What one snapshot has and another lacks, and how large that is.
fn lacking(new: &Manifest, old: &Manifest) -> (Vec<Wanted>, u64) {
    let mut total = 0;
    let wanted = new.lacking(old).map(|(file, size, old)| {
        total += size;
        Wanted { file, arrived: 0, old }
    });
    (wanted.collect(), total)
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
    });
    Some(wanted.collect())
}

/// Sends a round and the order to build, and waits for the answer. A machine may refuse in the middle: a full disk need
/// not be written to any further.
async fn send(
    link: &mut Link,
    preparation: &Arc<Preparation>,
    round: Round,
) -> Result<(FromRunner, Bytes), MachineError> {
    let machine = link.machine().to_owned();
    let Link { outgoing, incoming, .. } = link;
    let sending = async {
        if let Some((message, blob)) = round.opening {
            outgoing.send_with(&message, blob).await?;
        }
        send_contents(outgoing, preparation, round.wanted, &machine).await?;
        outgoing.send(&ToRunner::Build { id: preparation.id.to_string() }).await
    };
    tokio::pin!(sending);
    let mut sent = false;
    loop {
        tokio::select! {
            result = &mut sending, if !sent => {
                result?;
                sent = true;
            }
            message = incoming.next() => return message,
        }
    }
}

/// Files are read and, where the wire is slow, compressed on a thread of their own, a few parcels ahead of the wire.
async fn send_contents(
    outgoing: &mut Outgoing,
    preparation: &Arc<Preparation>,
    wanted: Vec<Wanted>,
    machine: &str,
) -> Result<(), MachineError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let (sender, mut parcels) = mpsc::channel::<Result<Parcel, SnapshotError>>(PARCELS_WAITING);
    let rate = Arc::new(AtomicU64::new(u64::MAX));
    let (reading, slow) = (Arc::clone(preparation), Arc::clone(&rate));
    tokio::task::spawn_blocking(move || {
        let snapshot = &reading.snapshot;
        let mut parcels = match Parcels::new(&snapshot.manifest, &snapshot.sources, wanted, reading.recipes.clone()) {
            Ok(parcels) => parcels,
            Err(error) => return drop(sender.blocking_send(Err(error))),
        };
        let is_behind = || sender.capacity() == 0 && slow.load(Ordering::Relaxed) < WORTH_COMPRESSING;
        while let Some(parcel) = parcels.next(is_behind()) {
            if sender.blocking_send(parcel).is_err() {
                return;
            }
        }
    });
    let (began, mut sent) = (Instant::now(), 0_u64);
    while let Some(parcel) = parcels.recv().await {
        let parcel = parcel.map_err(|source| MachineError::Source { machine: machine.to_owned(), source })?;
        let (header, data) = message(parcel);
        sent += data.len() as u64;
        outgoing.send_large(&header, data).await?;
        rate.store((sent as f64 / began.elapsed().as_secs_f64()) as u64, Ordering::Relaxed);
    }
    Ok(())
}

fn message(parcel: Parcel) -> (ToRunner, Bytes) {
    match parcel {
        Parcel::Pack { files, compressed, data } => (ToRunner::Pack { files, z: compressed }, data),
        Parcel::Part { file, offset, compressed, data } => {
            (ToRunner::Part { file, offset, z: compressed, from: None, ops: Vec::new() }, data)
        }
        Parcel::Patch { file, offset, old, steps, data } => {
            let ops = steps.iter().map(step).collect();
            (ToRunner::Part { file, offset, z: false, from: Some(old.to_string()), ops }, data)
        }
    }
}
