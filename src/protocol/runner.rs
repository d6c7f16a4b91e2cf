//! Engine ↔ runner: what goes to a machine and what comes back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{TestName, WireTest};

/// What the runner writes before its first frame.
pub const MAGIC: &[u8] = b"\0cloudist-runner 1\n";

/// What the engine says to a runner. The `code` of `Hello` names all modules, those that follow later too: what is kept of them
/// compiled is found by that.
#[derive(Debug, Serialize)]
#[serde(tag = "t", rename_all = "kebab-case")]
pub enum ToRunner {
    Hello { protocol: u32, run: String, base: String, code: String },
    Modules,
    Prepare { python: String, env: Value },
    Snapshot { id: String, key: String, base: Option<String>, ops: Vec<Step> },
    Lanes,
    Pack { files: Vec<u32>, z: bool, place: Place },
    Part { file: u32, offset: u64, z: bool, from: Option<String>, ops: Vec<Step>, place: Place },
    Build { id: String, place: Place },
    Seed { id: String, secret: String, certificate: String, key: String, ports: (u16, u16) },
    FetchFrom(FetchFrom),
    Environment,
    EnvFile { name: String, sha256: String, size: u64, offset: u64 },
    Init { command: String, key: String, cwd: String, env: Value, python: String },
    Start { workers: Vec<u32>, count: u32, session: Box<Session> },
    Spawn { worker: u32 },
    Run { worker: u32, file: u32, spec: FileSpec, tests: Option<Vec<RunTest>>, execute: bool },
    Recall { worker: u32, count: u32 },
    Close { worker: u32, interrupt: bool },
    Abort { grace: f64 },
    Exec { id: u32, argv: Vec<String>, cwd: String, env: Value, python: String, stdin: bool, account: bool },
    Stdin { id: u32, eof: bool },
    Signal { id: u32, signal: &'static str },
    Fetch { id: u32, globs: Vec<String>, cwd: String },
}

/// Which machine to get a snapshot's contents from.
#[derive(Debug, Serialize)]
pub struct FetchFrom {
    pub id: String,
    pub key: String,
    pub address: String,
    pub port: u16,
    pub pin: String,
    pub number: u64,
    pub token: String,
    /// Seconds.
    pub patience: Option<f64>,
}

/// Where a message belongs among those that come over several channels; nothing where there is one.
pub type Place = Option<u64>;

/// How a text is made of another one that the machine has.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Step {
    /// `[start, length]` of the other one.
    Copy([u64; 2]),
    /// So many bytes of the blob.
    Insert(u64),
}

/// `[index, node id, k]`.
pub type RunTest = (u32, String, u32);

/// `[outcome, seconds of setup, seconds of call, reruns]`, where the outcome is one of `p`, `f`, `e`, `s`, `x`, `X`.
pub type Told = (char, f64, f64, u32);

/// How to reach a file: its path, the directories above it, and which of its tests are wanted.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct FileSpec {
    pub path: String,
    pub chain: Vec<String>,
    #[serde(default)]
    pub select: Option<Vec<Vec<String>>>,
    /// Whether the user named this very file.
    #[serde(default)]
    pub initial: bool,
    /// The test from which on they are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Vec<String>>,
}

/// Everything a worker needs to be a pytest of its own.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    pub python: String,
    pub cwd: String,
    pub sys_path: Vec<String>,
    pub args: Vec<String>,
    pub rootdir: String,
    pub inifile: Option<String>,
    pub env: Value,
    /// `[remote prefix, local prefix]`, longest remote prefix first.
    pub paths: Vec<(String, String)>,
    pub mainargv: Vec<String>,
    pub testrunuid: String,
    pub workerinput: Value,
    /// What the command line named: the conftest files there are loaded first.
    pub initial: Vec<String>,
    /// Seconds that a test may take.
    pub timeout: Option<f64>,
    /// Modules that are imported before workers are forked.
    pub preload: Vec<String>,
    /// How often a test that fails runs again.
    pub retries: u32,
    /// Whether each test has a process of its own.
    pub fresh: bool,
    /// Whether the marks that put tests into groups are to be told.
    pub groups: bool,
    /// Whether the tests of a file stay together: then what one of them is marked as, all are.
    pub together: bool,
    /// Whether what each worker runs is kept there, for those who come to look at a failure.
    pub remember: bool,
    /// Seconds that failed tests are held where they failed.
    pub hold: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "t", rename_all = "kebab-case")]
pub enum FromRunner {
    Ready {
        protocol: u32,
        python: Vec<u32>,
        executable: String,
        platform: String,
        cpus: u32,
        #[serde(default)]
        memory: u64,
        home: String,
        base: String,
        /// Key and id of the snapshots that its trees have.
        #[serde(default)]
        known: Vec<(String, String)>,
    },
    Need {
        id: String,
        manifest: bool,
    },
    Built {
        id: String,
        tree: String,
        seconds: f64,
    },
    /// Where further channels are to report; without a path there can be none.
    Lanes {
        path: Option<String>,
    },
    /// A further channel can be used.
    Lane {
        number: u32,
    },
    /// Where it serves others; without an address it doesn't, or no longer.
    Seeding {
        #[serde(default)]
        address: Option<String>,
        #[serde(default)]
        port: Option<u16>,
    },
    FetchedFrom {
        bytes: u64,
        #[serde(default)]
        slow: bool,
    },
    Error {
        stage: String,
        kind: String,
        message: String,
    },
    EnvOutput,
    EnvNeed(EnvironmentNeed),
    EnvDone {
        status: i32,
        #[serde(default)]
        python: Option<String>,
        cached: bool,
        seconds: f64,
        #[serde(default)]
        log: String,
        #[serde(default)]
        tail: String,
    },
    InitOutput,
    InitDone {
        status: i32,
        cached: bool,
        seconds: f64,
        log: String,
        #[serde(default)]
        tail: String,
    },
    Up {
        worker: u32,
        pid: u32,
        info: Value,
    },
    Failed {
        worker: u32,
        kind: String,
        message: String,
    },
    Collected {
        worker: u32,
        file: u32,
        tests: Vec<TestName>,
        /// Which tests marks put into groups: `[index, group]`.
        #[serde(default)]
        groups: Vec<(u32, String)>,
        /// Which tests don't run beside others: `[index, kinds]`, where `s` is for serial and `e` for exclusive. They aren't queued by `execute`.
        #[serde(default)]
        apart: Vec<(u32, String)>,
        #[serde(default)]
        deselected: Vec<String>,
        errors: u32,
        first: bool,
        /// When the import began, in seconds by the machine's clock, and how long it took.
        #[serde(default)]
        start: f64,
        #[serde(default)]
        seconds: f64,
        #[serde(default)]
        notfound: Vec<Value>,
        /// What pytest would say of each.
        #[serde(default)]
        notfound_messages: Vec<String>,
    },
    Results {
        worker: u32,
        /// `[file, index, failed reports, seconds]`
        tests: Vec<(u32, u32, u32, f64)>,
        /// For each of them what the history wants to know.
        #[serde(default)]
        told: Vec<Told>,
    },
    Late {
        worker: u32,
        file: u32,
        index: u32,
        failed: u32,
        #[serde(default)]
        seconds: f64,
    },
    Missing {
        worker: u32,
        tests: Vec<WireTest>,
    },
    Recalled {
        worker: u32,
        tests: Vec<WireTest>,
        files: Vec<u32>,
    },
    Event {
        worker: u32,
        kind: String,
    },
    /// Workers import it after all.
    NotPreloaded {
        module: String,
        reason: String,
    },
    Output {
        #[serde(default)]
        worker: Option<u32>,
        #[serde(default)]
        id: Option<u32>,
        stream: u8,
    },
    Down {
        worker: u32,
        exitstatus: i32,
        #[serde(default)]
        stopped: Option<String>,
    },
    Died {
        worker: u32,
        status: i32,
        #[serde(default)]
        running: Option<WireTest>,
        #[serde(default)]
        collecting: Option<u32>,
        #[serde(default)]
        last: Option<WireTest>,
        #[serde(default)]
        stderr: String,
        #[serde(default)]
        timeout: Option<TimedOut>,
    },
    /// So many more bytes have gone to the command.
    StdinTaken {
        id: u32,
        size: u64,
    },
    Exited {
        id: u32,
        status: i32,
    },
    FetchedFile {
        id: u32,
        path: String,
        mode: u32,
        offset: u64,
        size: u64,
        last: bool,
    },
    Fetched {
        id: u32,
        count: u64,
    },
}

/// The process was ended since its test took too long.
#[derive(Debug, Deserialize)]
pub struct TimedOut {
    pub seconds: f64,
    /// `setup`, `call` or `teardown`.
    pub when: String,
}

/// What a machine lacks to make the environment.
#[derive(Debug, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum EnvironmentNeed {
    /// It can fetch nothing; the platform in its own words.
    Wheelhouse { machine: Value },
    /// Files that were offered.
    Files { lacking: Vec<LackingFile> },
}

#[derive(Debug, Deserialize)]
pub struct LackingFile {
    pub sha256: String,
}

impl FromRunner {
    /// Whether it answers a request for an environment.
    pub fn is_of_environment(&self) -> bool {
        match self {
            Self::EnvOutput | Self::EnvNeed(_) | Self::EnvDone { .. } => true,
            Self::Error { stage, .. } => stage == "environment",
            _ => false,
        }
    }

    /// Whether it is about further channels.
    pub fn is_of_lanes(&self) -> bool {
        matches!(self, Self::Lanes { .. } | Self::Lane { .. })
    }
}
