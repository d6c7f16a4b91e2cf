//! How long the steps of a machine's preparation took, and what the snapshot cost on the wire.
//!
//! Plain values that a machine fills in as it goes. Never decides anything.

use std::fmt;
use std::time::{Duration, Instant};

/// The steps in the order in which they ended.
#[derive(Clone, Debug)]
pub struct Timings {
    began: Instant,
    steps: Vec<(&'static str, Duration)>,
    /// Bytes that the snapshot took on its way to the machine.
    pub sent: u64,
    /// Bytes of the snapshot that came from other machines.
    pub from_others: u64,
    /// How often the snapshot had to wait for an answer.
    pub round_trips: u32,
}

impl Timings {
    pub fn begin() -> Self {
        Self { began: Instant::now(), steps: Vec::new(), sent: 0, from_others: 0, round_trips: 0 }
    }

    /// A step has ended that began when the one before it ended.
    pub fn ended(&mut self, step: &'static str) {
        self.steps.push((step, self.began.elapsed()));
        self.began = Instant::now();
    }

    /// What each step took, in the order in which they ended.
    pub fn steps(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        self.steps.iter().copied()
    }

    /// A step that took its time somewhere else.
    pub fn add(&mut self, step: &'static str, took: Duration) {
        self.steps.push((step, took));
    }
}

/// `connect 0.081 s, boot 0.120 s, …, sent 1843 bytes, 1 round trip`.
impl fmt::Display for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (step, took) in &self.steps {
            write!(f, "{step} {:.3} s, ", took.as_secs_f64())?;
        }
        let trips = if self.round_trips == 1 { "trip" } else { "trips" };
        write!(f, "sent {} bytes, {} round {trips}", self.sent, self.round_trips)?;
        match self.from_others {
            0 => Ok(()),
            bytes => write!(f, ", {bytes} bytes from other machines"),
        }
    }
}
