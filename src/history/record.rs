//! What a run leaves in the history.
//!
//! Plain values; where they are kept is told in `store`.

use std::{fmt, str::FromStr};

/// How a test ended, in pytest's words, or in ours where pytest has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    /// Failed in its setup or teardown.
    Error,
    Skipped,
    Xfailed,
    Xpassed,
    /// Its process died.
    Crashed,
    /// It was given up: its machines were lost, or no worker was left.
    Lost,
}

const WORDS: [(Outcome, &str); 8] = [
    (Outcome::Passed, "passed"),
    (Outcome::Failed, "failed"),
    (Outcome::Error, "error"),
    (Outcome::Skipped, "skipped"),
    (Outcome::Xfailed, "xfailed"),
    (Outcome::Xpassed, "xpassed"),
    (Outcome::Crashed, "crashed"),
    (Outcome::Lost, "lost"),
];

impl Outcome {
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::Error | Self::Crashed | Self::Lost)
    }

    /// Whether the test ran to its end, so that its duration is one.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Passed | Self::Skipped | Self::Xfailed | Self::Xpassed)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.iter().find(|(outcome, _)| outcome == self).map_or("", |(_, word)| word);
        f.write_str(word)
    }
}

impl FromStr for Outcome {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        WORDS.iter().find(|(_, known)| *known == word).map(|(outcome, _)| *outcome).ok_or(())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct OutcomeRecord {
    pub nodeid: String,
    /// Earlier tests of the same file with the same node id.
    pub k: u32,
    pub outcome: Outcome,
    /// Seconds.
    pub setup: f64,
    pub call: f64,
    pub teardown: f64,
    /// `None` if it never got to one.
    pub worker: Option<u32>,
    pub machine: String,
    /// From 1; more if machines were lost under it.
    pub attempt: u32,
    /// How often a plugin ran it again at once.
    pub reruns: u32,
}

impl OutcomeRecord {
    pub fn seconds(&self) -> f64 {
        self.setup + self.call + self.teardown
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    pub name: String,
    /// The project's root directory.
    pub root: String,
    /// Seconds since 1970.
    pub began: f64,
    pub ended: f64,
    pub mode: String,
    pub workers: u32,
    pub machines: u32,
    pub provider: String,
    pub dollars: Option<f64>,
    /// `done`, `stopped`, `failed` or `abandoned`.
    pub ending: &'static str,
    /// What was run, as a shell takes it.
    pub command: String,
    /// Tests that ended badly; of a command, workers on which it did.
    pub failed: u32,
    /// In the order in which they became known.
    pub outcomes: Vec<OutcomeRecord>,
    /// Files, as node ids begin with them, and the seconds that their import took.
    pub imports: Vec<(String, f64)>,
}
