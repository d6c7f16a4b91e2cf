//! Further channels of a machine's connection, for contents.
//!
//! A server grants each channel a window of its own (OpenSSH's is 2 MiB), and at a distance those windows bound what goes
//! through. Where there can be no further channel everything goes over the one that there is.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    MachineError,
    link::{Link, Outgoing},
};
use crate::{
    protocol::{
        Frame,
        runner::{FromRunner, Place, ToRunner},
    },
    ssh, templates, text,
};

/// Nearer than this a window doesn't matter.
const FAR: Duration = Duration::from_millis(8);

/// So much of a round trip each channel is to bridge: with OpenSSH's windows they bring 200 MiB/s together.
const BRIDGED: Duration = Duration::from_millis(10);

/// Channels in all. A server allows ten sessions on a connection, and whoever looks at the machine needs some.
const MOST: u32 = 4;

/// What OpenSSH grants a channel.
const WINDOW: u64 = 2 << 20;

/// What one channel brings sooner has arrived before others are up and have paid for the process that each of them starts.
const WORTH_IT: Duration = Duration::from_millis(300);

/// The lanes of one machine.
pub struct Lanes {
    pub opening: Opening,
    pub carrying: Carrying,
    /// What is to be sent between contents.
    pub between: mpsc::UnboundedSender<ToRunner>,
}

/// Brings lanes up and watches them.
pub struct Opening {
    session: ssh::Session,
    python: String,
    further: u32,
    starting: JoinSet<(u32, Result<ssh::Child, ssh::ChildError>)>,
    /// Those whose command runs.
    started: BTreeMap<u32, ssh::ChildStdin>,
    /// Those that the runner has told of.
    told: BTreeSet<u32>,
    ending: JoinSet<u32>,
    usable: mpsc::UnboundedSender<ssh::ChildStdin>,
}

/// Sends over all lanes that are up.
pub struct Carrying {
    distance: Duration,
    further: u32,
    arriving: mpsc::UnboundedReceiver<ssh::ChildStdin>,
    between: mpsc::UnboundedReceiver<ToRunner>,
    next_between: Option<ToRunner>,
    lanes: Vec<ssh::ChildStdin>,
    /// The next message's, once lanes were asked for.
    place: Place,
}

impl Lanes {
    pub fn new(link: &Link) -> Self {
        let (usable, arriving) = mpsc::unbounded_channel();
        let (between, to_send_between) = mpsc::unbounded_channel();
        let further = further(link.distance);
        let opening = Opening {
            session: link.session(),
            python: link.python.clone(),
            further,
            starting: JoinSet::new(),
            started: BTreeMap::new(),
            told: BTreeSet::new(),
            ending: JoinSet::new(),
            usable,
        };
        let carrying = Carrying {
            distance: link.distance,
            further,
            arriving,
            between: to_send_between,
            next_between: None,
            lanes: Vec::new(),
            place: None,
        };
        Self { opening, carrying, between }
    }
}

fn further(distance: Duration) -> u32 {
    if distance < FAR {
        return 0;
    }
    (distance.as_micros().div_ceil(BRIDGED.as_micros()) as u32).clamp(2, MOST) - 1
}

/// Whether one channel would take long enough for so much.
fn is_worth_it(bytes: u64, distance: Duration) -> bool {
    bytes as f64 / WINDOW as f64 * distance.as_secs_f64() >= WORTH_IT.as_secs_f64()
}

impl Opening {
    /// Takes what the runner says about lanes.
    pub fn hear(&mut self, message: FromRunner) {
        match message {
            FromRunner::Lanes { path: Some(path) } => (1..=self.further).for_each(|number| self.start(number, &path)),
            FromRunner::Lane { number } => {
                self.told.insert(number);
                self.hand_over(number);
            }
            _ => {}
        }
    }

    fn start(&mut self, number: u32, path: &str) {
        let words = [&self.python, "-IS", "-c", templates::LANE, path].map(text::quoted);
        let command = format!("exec {} {number}", words.join(" "));
        let session = self.session.clone();
        self.starting.spawn(async move { (number, session.exec(&command).await) });
    }

    /// Runs beside the sending, and is safe to cancel. Ends if a lane does that was told to be up.
    pub async fn watch(&mut self) -> Result<Infallible, String> {
        loop {
            tokio::select! {
                Some(Ok((number, child))) = self.starting.join_next() => {
                    // A server that allows no further session is no obstacle.
                    let Ok(ssh::Child { stdin, mut process, .. }) = child else { continue };
                    self.started.insert(number, stdin);
                    self.ending.spawn(async move {
                        process.wait().await.ok();
                        number
                    });
                    self.hand_over(number);
                }
                Some(Ok(number)) = self.ending.join_next() => {
                    if self.told.contains(&number) {
                        return Err(format!("channel {number} for contents was closed there"));
                    }
                }
                else => std::future::pending().await,
            }
        }
    }

    fn hand_over(&mut self, number: u32) {
        if self.told.contains(&number)
            && let Some(stdin) = self.started.remove(&number)
        {
            // Nobody takes it if nothing more is to be sent.
            self.usable.send(stdin).ok();
        }
    }
}

impl Carrying {
    /// Whether windows matter.
    pub fn is_far(&self) -> bool {
        self.further > 0
    }

    /// Asks for lanes if so many bytes are better sent over several.
    pub async fn ask(&mut self, outgoing: &mut Outgoing, bytes: u64) -> Result<(), MachineError> {
        if !self.is_far() || self.place.is_some() || !is_worth_it(bytes, self.distance) {
            return Ok(());
        }
        self.place = Some(0);
        outgoing.send(&ToRunner::Lanes).await
    }

    /// Sends what is to be sent between contents. Safe to cancel, as are the next two.
    pub async fn send_waiting(&mut self, outgoing: &mut Outgoing) -> Result<(), MachineError> {
        loop {
            self.next_between = self.next_between.take().or_else(|| self.between.try_recv().ok());
            let Some(message) = &self.next_between else { return Ok(()) };
            outgoing.send(message).await?;
            self.next_between = None;
        }
    }

    /// The same though no contents follow; ends when nothing more can come.
    pub async fn send_between(&mut self, outgoing: &mut Outgoing) -> Result<(), MachineError> {
        loop {
            self.send_waiting(outgoing).await?;
            self.next_between = self.between.recv().await;
            if self.next_between.is_none() {
                return Ok(());
            }
        }
    }

    /// The same, and nothing more comes.
    pub async fn send_rest(&mut self, outgoing: &mut Outgoing) -> Result<(), MachineError> {
        self.between.close();
        self.send_waiting(outgoing).await
    }

    /// Sends a message whose turn comes after those that were sent before it, over whichever way has most room.
    pub async fn send(
        &mut self,
        outgoing: &mut Outgoing,
        message: impl FnOnce(Place) -> ToRunner,
        blob: Bytes,
    ) -> Result<(), MachineError> {
        while let Ok(lane) = self.arriving.try_recv() {
            self.lanes.push(lane);
        }
        self.send_waiting(outgoing).await?;
        let message = message(self.place);
        self.place = self.place.map(|place| place + 1);
        let roomiest = self.lanes.iter_mut().max_by_key(|lane| lane.room());
        let Some(lane) = roomiest.filter(|lane| lane.room() > outgoing.room()) else {
            return outgoing.send_large(&message, blob).await;
        };
        let head = Frame::with_blob(&message, blob.clone()).head();
        outgoing.written += (head.len() + blob.len()) as u64;
        let written = async {
            lane.write(head).await?;
            lane.write(blob).await
        };
        written.await.map_err(|error: ssh::ChildError| outgoing.lost(text::chain(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_further_away_the_more_lanes() {
        let further = |milliseconds| further(Duration::from_millis(milliseconds));
        assert_eq!([0, 7, 8, 20, 21, 35, 100, 1000].map(further), [0, 0, 1, 1, 2, 3, 3, 3]);
    }

    #[test]
    fn the_further_away_the_sooner_they_are_worth_it() {
        let enough =
            |megabytes: u64, milliseconds: u64| is_worth_it(megabytes << 20, Duration::from_millis(milliseconds));
        assert!(!enough(10, 20) && enough(31, 20));
        assert!(!enough(5, 100) && enough(7, 100));
    }
}
