//! What every machine is to have in place, made from what the caller knows.
//!
//! Runs on a blocking thread: it reads the whole project.

use std::{collections::BTreeMap, env, path::PathBuf, sync::Arc, thread};

use serde_json::{Value, json};

use super::RunError;
use crate::{
    cache,
    environment::{self, Carried, Wish},
    machine::{InitPlan, Preparation, SessionPlan},
    snapshot::{self, Digest, Limits, Request},
};

/// A run's project, in local terms.
#[derive(Clone, Debug)]
pub struct Ground {
    pub rootdir: PathBuf,
    pub cwd: PathBuf,
    /// The project's entries of `sys.path`, in order.
    pub sys_path: Vec<PathBuf>,
    /// Further directories that hold code.
    pub further: Vec<PathBuf>,
    pub extra_files: Vec<String>,
    /// Bytes that a snapshot may have.
    pub limit: u64,
    pub init_command: Option<String>,
    /// The environment that machines are to have; nothing where they have the one here.
    pub environment: Option<Wish>,
    /// The interpreter there, if the user named one.
    pub python: Option<String>,
    /// What makes the workers pytest sessions; nothing for plain commands.
    pub session: Option<SessionGround>,
}

#[derive(Clone, Debug)]
pub struct SessionGround {
    pub args: Vec<String>,
    pub inifile: Option<PathBuf>,
    pub env: BTreeMap<String, String>,
    pub mainargv: Vec<String>,
    pub testrunuid: String,
    pub workerinput: Value,
    /// What the command line named.
    pub initial: Vec<PathBuf>,
}

/// Takes the snapshot and works out what goes with it.
pub fn prepare(ground: &Ground) -> Result<Preparation, RunError> {
    let chosen = ground.environment.as_ref().map(environment::choose).transpose()?.flatten();
    let (environment, carried) =
        chosen.map_or((None, Carried::default()), |(request, carried)| (Some(request), carried));
    let carried_files = carried.files.iter().filter_map(|path| path.to_str().map(str::to_owned));
    let snapshot = snapshot::take(&Request {
        rootdir: ground.rootdir.clone(),
        cwd: ground.cwd.clone(),
        sys_path: ground.sys_path.clone(),
        directories: ground.further.clone(),
        files: ground.extra_files.iter().cloned().chain(carried_files).collect(),
        home: env::home_dir(),
        // Without a cache every file is read anew, which is slower and just as right.
        cache_dir: cache::directory().ok(),
        limits: Limits { bytes: ground.limit, ..Limits::default() },
        threads: thread::available_parallelism().map_or(1, usize::from),
    })?;
    let id = snapshot.manifest.id();
    let session = ground.session.as_ref().map(|session| SessionPlan {
        rootdir: ground.rootdir.clone(),
        inifile: session.inifile.clone(),
        args: session.args.clone(),
        env: json!(session.env),
        mainargv: session.mainargv.clone(),
        testrunuid: session.testrunuid.clone(),
        workerinput: session.workerinput.clone(),
        initial: session.initial.clone(),
    });
    let mut sys_path = ground.sys_path.clone();
    sys_path.extend(ground.further.iter().filter(|path| !ground.sys_path.contains(path)).cloned());
    sys_path.extend(carried.directories);
    Ok(Preparation {
        environment,
        id,
        manifest: snapshot::compress(&snapshot.manifest.encode()).into(),
        snapshot: Arc::new(snapshot),
        cwd: ground.cwd.clone(),
        sys_path,
        python: ground.python.clone(),
        init: ground.init_command.as_deref().map(|command| init_plan(command, &id)),
        session,
    })
}

/// The command is due again when it changes or the snapshot does.
fn init_plan(command: &str, snapshot: &Digest) -> InitPlan {
    let key = Digest::of(format!("{snapshot}\n{command}").as_bytes());
    InitPlan { command: command.to_owned(), key: key.to_string() }
}
