//! What happens in a run, as plain values: one line each of events.jsonl, from which all reports are made.
//!
//! Times are seconds since the run began, on one monotonic clock; those marked so are of a machine's own clock. Nothing here
//! reads or writes anything.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

/// The version of the lines' form. Readers pass over what they don't know.
pub const EVENTS_SCHEMA: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since the run began.
    pub at: f64,
    #[serde(flatten)]
    pub what: What,
}

impl Event {
    /// Whether it is about what the user was shown, not about what happened.
    pub fn is_said(&self) -> bool {
        matches!(self.what, What::Printed(_) | What::Unkept { .. })
    }
}

/// How a test ended, in pytest's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Failed,
    Error,
    Skipped,
    Xfailed,
    Xpassed,
    /// Its process died.
    Crashed,
}

impl Outcome {
    pub const ALL: [Self; 7] =
        [Self::Passed, Self::Failed, Self::Error, Self::Skipped, Self::Xfailed, Self::Xpassed, Self::Crashed];

    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Error | Self::Crashed)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Skipped => "skipped",
            Self::Xfailed => "xfailed",
            Self::Xpassed => "xpassed",
            Self::Crashed => "crashed",
        }
    }
}

/// A part of a test: setup, call or teardown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase(
    pub String,
    /// When it began, in seconds by the machine's own clock.
    pub f64,
    /// Seconds that it took.
    pub f64,
);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "kebab-case")]
pub enum What {
    RunStarted(Box<RunStarted>),
    /// The local pytest has spoken.
    PytestStarted {
        pytest: String,
        python: String,
        rootdir: String,
        args: Vec<String>,
        /// What it prints goes to a terminal.
        #[serde(default, skip_serializing_if = "is_false")]
        terminal: bool,
    },
    Leased {
        machine: u32,
        name: String,
        workers: u32,
    },
    NotLeased {
        name: String,
        reason: String,
    },
    /// A machine has entered a stage; the one before it is over.
    Stage {
        machine: u32,
        stage: String,
    },
    /// A machine is ready to work.
    Prepared {
        machine: u32,
        platform: String,
        cpus: u32,
        init_cached: bool,
        /// What it took, step by step, in seconds.
        steps: Vec<(String, f64)>,
        /// Bytes of the snapshot that were sent to it.
        sent: u64,
    },
    MachineLeaving {
        machine: u32,
        within: f64,
    },
    /// It is gone; without a reason because it was told to end.
    MachineGone {
        machine: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A process for the worker has been asked for.
    WorkerStarted {
        worker: u32,
        machine: u32,
    },
    WorkerUp {
        worker: u32,
        machine: u32,
    },
    /// Its session ended.
    WorkerDown {
        worker: u32,
    },
    /// It could not begin, or its process died.
    WorkerDied {
        worker: u32,
        reason: String,
        /// The test that was running.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        test: Option<String>,
    },
    /// Work went to a worker: a file to collect, or so many of its tests.
    Given {
        worker: u32,
        file: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tests: Option<u32>,
        execute: bool,
    },
    /// Work was taken back.
    Recalled {
        worker: u32,
        tests: u32,
        files: u32,
    },
    /// A worker has imported a file; all but the first time only to find tests in it.
    Collected {
        worker: u32,
        file: u32,
        path: String,
        tests: u32,
        errors: u32,
        first: bool,
        /// By the machine's own clock.
        start: f64,
        seconds: f64,
    },
    CollectionComplete {
        tests: u32,
    },
    Test(Box<Test>),
    /// A teardown that came after its test's result.
    Late {
        worker: u32,
        file: u32,
        index: u32,
        phases: Vec<Phase>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<String>,
    },
    /// `ssh-run`'s command has begun.
    CommandStarted {
        worker: u32,
        machine: u32,
    },
    /// With an exit status, or the negated number of the signal that ended it.
    CommandEnded {
        worker: u32,
        status: i32,
    },
    /// Files that were asked for are on their way.
    Fetching {
        worker: u32,
    },
    Fetched {
        worker: u32,
        files: u64,
    },
    /// A test or a file that has no outcome.
    Lost {
        subject: String,
        reason: String,
    },
    RunEnded(Box<RunEnded>),
    /// The user was shown something. Also after the run's end: pytest sums up then.
    Printed(Printed),
    /// Here so much more was printed than is kept of one run.
    Unkept {
        bytes: u64,
    },
}

/// A piece of output, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Printed {
    /// 1 for stdout, 2 for stderr.
    pub stream: u8,
    #[serde(flatten)]
    pub piece: Piece,
}

/// Bytes in a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Piece {
    Text(String),
    /// What is no text.
    Base64(String),
}

impl Piece {
    pub fn of(bytes: &[u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(BASE64_STANDARD.encode(bytes)),
        }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            // Whoever has edited the file has lost it.
            Self::Base64(text) => BASE64_STANDARD.decode(text).unwrap_or_default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    pub schema: u32,
    pub run: String,
    /// Seconds since 1970.
    pub began: f64,
    pub cloudist: String,
    pub provider: String,
    pub mode: String,
    pub workers: u32,
    /// What `ssh-run` runs; nothing if it is pytest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
}

/// The mode of a run of `ssh-run`, which deals no tests.
pub const SSH_RUN: &str = "ssh-run";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    pub worker: u32,
    pub file: u32,
    pub index: u32,
    pub id: String,
    pub outcome: Outcome,
    pub phases: Vec<Phase>,
    /// How often a plugin ran it again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reruns: u32,
    /// A result that came too late to count: another attempt's did.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stale: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunEnded {
    /// `done`, `stopped` or `failed`.
    pub status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// US dollars, where machines cost something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dollars: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bill: Option<String>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_false(truth: &bool) -> bool {
    !truth
}
