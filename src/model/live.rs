//! What those who watch a run are told besides its events: what is true for a moment and isn't kept.
//!
//! Nothing here reads a clock; times are as in [`super::event`].

use serde::Serialize;

use super::event::Event;

/// A piece of news for those who watch.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    Event(Event),
    /// What a machine that was leased is.
    Machine {
        machine: u32,
        instance_type: String,
        zone: String,
        per_hour: f64,
        /// Seconds that it lives on when nobody speaks to it.
        lease: u64,
    },
    /// What workers are at now, of those for whom that has changed; nothing while they wait.
    At(Vec<(u32, Option<Work>)>),
    /// What machines have cost until now, in US dollars.
    Charges(Vec<(u32, f64)>),
    Figures(Figures),
    /// Output of a machine or a worker, as it comes.
    Said {
        machine: u32,
        speaker: Speaker,
        text: String,
    },
    /// What the run tells its user.
    Note(String),
    /// Something could not be collected, and why.
    NotCollected {
        name: String,
        reason: String,
    },
}

/// What a worker is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Collects(String),
    Test(String),
    Command(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Speaker {
    /// The engine, about the machine.
    Machine,
    /// The init command, or what makes the environment.
    Init,
    Worker(u32),
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    pub done: u32,
    pub failed: u32,
    /// Tests that are known, which are all if `complete`.
    pub total: u32,
    pub complete: bool,
    /// Seconds until its end, where that can be guessed.
    pub left: Option<f64>,
    pub busy: u32,
    /// Those that are up.
    pub workers: u32,
    pub wanted: u32,
    pub machines: u32,
    /// What it has cost, where machines cost something.
    pub dollars: Option<f64>,
}
