//! Plugin ↔ engine: the local pytest's side of a run.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Frame, FrameError, runner::FileSpec};
use crate::model::live::Figures;

#[derive(Debug, Deserialize)]
#[serde(tag = "t", rename_all = "kebab-case")]
pub enum FromPlugin {
    Hello(Box<Hello>),
    Files {
        files: Vec<FileSpec>,
    },
    FilesEnd {
        errors: u32,
    },
    Stop {
        reason: String,
        #[serde(default)]
        message: String,
    },
    /// What it has printed; also after `bye`, until it hangs up.
    Printed {
        stream: u8,
        #[serde(skip)]
        data: Bytes,
    },
    /// It writes to the terminal that `screen` named, or could not.
    OnScreen {
        moved: bool,
    },
    Bye,
}

impl FromPlugin {
    pub fn read(frame: &Frame) -> Result<Self, FrameError> {
        let mut message = frame.parse()?;
        if let Self::Printed { data, .. } = &mut message {
            data.clone_from(&frame.blob);
        }
        Ok(message)
    }
}

/// What the local pytest knows once it is configured. All paths are the user's.
#[derive(Clone, Debug, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub pytest: String,
    pub python: String,
    pub cwd: String,
    pub rootdir: String,
    #[serde(default)]
    pub inipath: Option<String>,
    pub sys_path: Vec<String>,
    #[serde(default)]
    pub roots: Vec<String>,
    pub args: Vec<String>,
    pub mainargv: Vec<String>,
    /// Options as given on pytest's command line, by name without `--cd-`.
    pub flags: BTreeMap<String, Vec<String>>,
    pub mode: String,
    #[serde(default)]
    pub maxfail: u32,
    #[serde(default)]
    pub continue_on_collection_errors: bool,
    /// The order in which files are told is one in which they are to run.
    #[serde(default)]
    pub ordered: bool,
    /// What plugins put into `workerinput` in `pytest_configure_node`.
    #[serde(default)]
    pub workerinput: Value,
    /// Files and directories that the command line named.
    #[serde(default)]
    pub initial: Vec<String>,
    /// What it prints goes to a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Why the whole terminal may not be taken for a view of the run, if it may not.
    #[serde(default)]
    pub unviewable: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "t", rename_all = "kebab-case")]
pub enum ToPlugin {
    Plan {
        run: String,
        provider: String,
        mode: String,
        workers: u32,
        line: String,
    },
    /// How far the run is, about once a second.
    Progress(Figures),
    /// A terminal to write to from now on, and the file in which what was written there is kept while something else is shown.
    Screen {
        terminal: String,
        held: String,
    },
    Note {
        level: Level,
        text: String,
        help: Option<String>,
    },
    WorkerUp {
        worker: u32,
        machine: String,
        info: Value,
    },
    Collected {
        worker: u32,
        file: u32,
        tests: u32,
        deselected: Vec<String>,
        errors: u32,
        notfound: Vec<Value>,
        notfound_messages: Vec<String>,
        total: u32,
        files_left: u32,
    },
    CollectionComplete {
        total: u32,
    },
    Results {
        worker: u32,
        tests: Vec<(u32, u32, u32, f64)>,
        drop: Vec<u32>,
    },
    Late {
        worker: u32,
        file: u32,
        index: u32,
        failed: u32,
    },
    Event {
        worker: u32,
        kind: String,
    },
    Output {
        worker: u32,
        stream: u8,
    },
    Crashed {
        worker: u32,
        file: u32,
        index: u32,
        nodeid: String,
        when: String,
        message: String,
    },
    Lost {
        /// Whose it was, if it was somebody's.
        #[serde(skip_serializing_if = "Option::is_none")]
        worker: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        nodeid: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        message: String,
    },
    WorkerDown {
        worker: u32,
        exitstatus: i32,
        stopped: Option<String>,
    },
    End {
        status: EndStatus,
        message: String,
        help: Option<String>,
        exit_code: i32,
        summary: Value,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Info,
    Warning,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndStatus {
    Done,
    Stopped,
    Failed,
}
