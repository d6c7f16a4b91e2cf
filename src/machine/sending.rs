//! One round of contents on its way to a machine: read, compressed where that pays, and sent, with the order to build.
//!
//! Reads files on a thread of its own. Doesn't decide what goes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    Command, Event, MachineError, Preparation, Stage, Teller,
    lanes::{Carrying, Lanes},
    link::{Link, Outgoing},
    supply::{Orders, about_seeding, seed_message},
};
use crate::{
    protocol::runner::{FromRunner, Place, Step, ToRunner},
    snapshot::{Parcel, Parcels, SMALL_EDIT, SnapshotError, Splice, Wanted},
};

/// Parcels that may wait for the wire.
const PARCELS_WAITING: usize = 4;

/// A wire that is faster than this, in bytes a second, gains nothing by compression.
const WORTH_COMPRESSING: u64 = 40 << 20;

/// What may be on the way: OpenSSH's window, and what waits here until it has room.
const ON_THE_WAY: u64 = 6 << 20;

/// A frame can't hold a manifest of any length as it is.
const UNWIELDY: usize = 16 << 20;

/// What goes to the machine before it is asked to build.
pub struct Round {
    pub opening: Option<(ToRunner, Opening)>,
    pub wanted: Vec<Wanted>,
}

/// What the machine is to learn the snapshot's manifest from.
pub enum Opening {
    Whole,
    Difference(Bytes),
}

impl Opening {
    fn bytes(&self, preparation: &Preparation) -> usize {
        match self {
            Self::Whole => preparation.manifest.len(),
            Self::Difference(blob) => blob.len(),
        }
    }

    /// As it travels. Nearby it takes longer to compress a manifest than to send what that saves.
    async fn blob(self, preparation: &Arc<Preparation>, is_far: bool) -> Bytes {
        match self {
            Self::Whole if is_far || preparation.manifest.len() > UNWIELDY => {
                let preparation = Arc::clone(preparation);
                let compressing = tokio::task::spawn_blocking(move || preparation.compressed());
                compressing.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
            }
            Self::Whole => preparation.manifest.clone(),
            Self::Difference(blob) => blob,
        }
    }
}

impl Round {
    /// What it costs to send it, before compression.
    pub fn bytes(&self, preparation: &Preparation) -> u64 {
        let opening = self.opening.as_ref().map_or(0, |(_, opening)| opening.bytes(preparation) as u64);
        let files = preparation.snapshot.manifest.files();
        let sizes = self.wanted.iter().map(|wanted| {
            let size = files[wanted.file as usize].1.saturating_sub(wanted.arrived);
            if wanted.unasked { size.min(SMALL_EDIT) } else { size }
        });
        opening + sizes.sum::<u64>()
    }
}

/// Sends a round and the order to build, and waits for the answer. A machine may refuse in the middle: a full disk need
/// not be written to any further.
///
/// Others may be served meanwhile, with what has arrived.
pub async fn send(
    link: &mut Link,
    lanes: &mut Lanes,
    preparation: &Arc<Preparation>,
    round: Round,
    (orders, teller): (&mut Orders, &Teller),
) -> Result<(FromRunner, Bytes), MachineError> {
    let machine = link.machine().to_owned();
    let Link { outgoing, incoming, .. } = link;
    let files: Vec<u32> = round.wanted.iter().map(|wanted| wanted.file).collect();
    let bytes = round.bytes(preparation);
    let Lanes { opening, carrying, between } = lanes;
    let is_far = carrying.is_far();
    let contents = Outflow::read(preparation, round.wanted, is_far);
    let sending = async {
        if let Some((message, opening)) = round.opening {
            outgoing.send_with(&message, opening.blob(preparation, is_far).await).await?;
        }
        carrying.ask(outgoing, bytes).await?;
        contents.send((outgoing, carrying), &machine).await?;
        let id = preparation.id.to_string();
        carrying.send(outgoing, |place| ToRunner::Build { id, place }, Bytes::new()).await?;
        carrying.send_between(outgoing).await
    };
    tokio::pin!(sending);
    loop {
        tokio::select! {
            Err(lost) = &mut sending => return Err(lost),
            message = incoming.next_while_sending() => {
                let (message, body) = message?;
                if message.is_of_lanes() {
                    opening.hear(message);
                    continue;
                }
                let message = match about_seeding(message) {
                    Ok(contents) => {
                        teller.tell(Event::Contents(contents)).await;
                        continue;
                    }
                    Err(message) => message,
                };
                if let FromRunner::Error { kind, .. } = &message && kind == "corrupt" {
                    still_the_same(preparation, files, &machine).await?;
                }
                return Ok((message, body));
            }
            Some(order) = orders.recv() => if let Command::Seed(order) = order {
                between.send(seed_message(*order, &preparation.id)).ok();
            },
            Err(detail) = opening.watch() => {
                return Err(MachineError::Lost { machine: machine.clone(), stage: Stage::Sync, detail });
            }
        }
    }
}

/// Whether contents that arrived wrong are wrong here: a file can be written to in such a way that it doesn't show.
async fn still_the_same(preparation: &Arc<Preparation>, files: Vec<u32>, machine: &str) -> Result<(), MachineError> {
    let snapshot = Arc::clone(&preparation.snapshot);
    match tokio::task::spawn_blocking(move || snapshot.changed(&files)).await {
        Ok(Some(source)) => Err(MachineError::Source { machine: machine.to_owned(), source }),
        Ok(None) => Ok(()),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Contents on their way to the wire.
struct Outflow {
    parcels: mpsc::Receiver<Result<Parcel, SnapshotError>>,
    /// What gets through, in bytes a second.
    rate: Arc<AtomicU64>,
    /// As much goes out before anything shows.
    unseen: u64,
}

impl Outflow {
    /// Files are read and, where the wire is slow, compressed on a thread of their own, a few parcels ahead of the wire.
    fn read(preparation: &Arc<Preparation>, wanted: Vec<Wanted>, is_far: bool) -> Self {
        let (sender, parcels) = mpsc::channel(PARCELS_WAITING);
        // What goes far has probably a slow wire, which shows once all that is full.
        let (first, unseen) = if is_far { (0, ON_THE_WAY) } else { (u64::MAX, 0) };
        let rate = Arc::new(AtomicU64::new(first));
        let contents = Self { parcels, rate: Arc::clone(&rate), unseen };
        if wanted.is_empty() {
            return contents;
        }
        let preparation = Arc::clone(preparation);
        tokio::task::spawn_blocking(move || {
            let (snapshot, recipes) = (&preparation.snapshot, preparation.recipes.clone());
            let mut parcels = match Parcels::new(&snapshot.manifest, &snapshot.sources, wanted, recipes) {
                Ok(parcels) => parcels,
                Err(error) => return drop(sender.blocking_send(Err(error))),
            };
            let is_behind = || (is_far || sender.capacity() == 0) && rate.load(Ordering::Relaxed) < WORTH_COMPRESSING;
            while let Some(parcel) = parcels.next(is_behind()) {
                if sender.blocking_send(parcel).is_err() {
                    return;
                }
            }
        });
        contents
    }

    async fn send(
        mut self,
        (outgoing, carrying): (&mut Outgoing, &mut Carrying),
        machine: &str,
    ) -> Result<(), MachineError> {
        let (began, mut sent) = (Instant::now(), 0_u64);
        while let Some(parcel) = self.parcels.recv().await {
            let parcel = parcel.map_err(|source| MachineError::Source { machine: machine.to_owned(), source })?;
            let (message, data) = message(parcel);
            sent += data.len() as u64;
            carrying.send(outgoing, message, data).await?;
            let arrived = sent.saturating_sub(self.unseen) as f64;
            self.rate.store((arrived / began.elapsed().as_secs_f64()) as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A parcel in the runner's words, once its place is known.
fn message(parcel: Parcel) -> (Box<dyn FnOnce(Place) -> ToRunner + Send>, Bytes) {
    match parcel {
        Parcel::Pack { files, compressed, data } => {
            (Box::new(move |place| ToRunner::Pack { files, z: compressed, place }), data)
        }
        Parcel::Part { file, offset, compressed, data } => (
            Box::new(move |place| ToRunner::Part { file, offset, z: compressed, from: None, ops: Vec::new(), place }),
            data,
        ),
        Parcel::Patch { file, offset, old, steps, data } => {
            let (from, ops) = (Some(old.to_string()), steps.iter().map(step).collect());
            (Box::new(move |place| ToRunner::Part { file, offset, z: false, from, ops, place }), data)
        }
    }
}

pub fn step(step: &Splice) -> Step {
    match *step {
        Splice::Copy { start, length } => Step::Copy([start, length]),
        Splice::Insert(length) => Step::Insert(length),
    }
}
