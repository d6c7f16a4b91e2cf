//! What the coordinator asks of a machine. Paths are the user's own; the machine maps them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::Value;

use super::{SeedOrder, Supply};
use crate::{
    model::{FileId, WorkerId},
    protocol::runner::{FileSpec, RunTest},
};

/// A command of `ssh-run` on one machine: the number of its worker.
pub type CommandId = u32;

#[derive(Debug)]
pub enum Command {
    /// Starts pytest workers.
    Start {
        workers: Vec<WorkerId>,
        count: u32,
    },
    /// A fresh process for a worker that died.
    Spawn(WorkerId),
    Run {
        worker: WorkerId,
        file: FileId,
        spec: Arc<FileSpec>,
        tests: Option<Vec<RunTest>>,
        execute: bool,
    },
    Recall {
        worker: WorkerId,
        count: u32,
    },
    /// Lets the session end after what the worker has left, or ends what it is at as well.
    Close {
        worker: WorkerId,
        interrupt: bool,
    },
    /// Ends all sessions; running tests get this many seconds.
    Abort {
        grace: f64,
    },
    Exec {
        id: CommandId,
        argv: Vec<String>,
        env: Value,
        stdin: bool,
    },
    Stdin {
        id: CommandId,
        data: Bytes,
        eof: bool,
    },
    Signal {
        id: CommandId,
        signal: Signal,
    },
    Fetch {
        id: CommandId,
        globs: Vec<String>,
    },
    /// Where to get what it said it lacks.
    Take(Supply),
    /// Serves other machines of the run.
    Seed(Box<SeedOrder>),
    /// It outlives the run by so long.
    Stay(Duration),
    /// Ends the runner and the connection.
    Finish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Terminate,
    Kill,
}

impl Signal {
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "INT",
            Self::Terminate => "TERM",
            Self::Kill => "KILL",
        }
    }
}
