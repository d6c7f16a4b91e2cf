//! What every machine is to have in place, made from what the caller knows.
//!
//! Runs on a blocking thread: it reads the whole project.

use std::{
    collections::BTreeMap,
    env,
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::RunError;
use crate::{
    cache,
    environment::{self, Carried, Wish},
    machine::{InitPlan, Preparation, SessionPlan},
    snapshot::{self, Digest, Limits, Recipes, Remembered, Request},
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
    pub variables: Variables,
    /// The environment that machines are to have; nothing where they have the one here.
    pub environment: Option<Wish>,
    /// Whether what no machine could install goes along with the project.
    pub carries: bool,
    /// The interpreter there, if the user named one.
    pub python: Option<String>,
    /// What makes the workers pytest sessions; nothing for plain commands.
    pub session: Option<SessionGround>,
}

/// The environment variables that go to the machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// What workers get.
    pub workers: BTreeMap<String, String>,
    /// The part of it that the user asked for, which commands get too.
    pub asked: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub struct SessionGround {
    pub args: Vec<String>,
    pub inifile: Option<PathBuf>,
    pub mainargv: Vec<String>,
    pub testrunuid: String,
    pub workerinput: Value,
    /// What the command line named.
    pub initial: Vec<PathBuf>,
    pub timeout: Option<Duration>,
    /// Modules that are imported once on each machine.
    pub preload: Vec<String>,
    pub retries: u32,
    /// Whether each test has a process of its own.
    pub fresh: bool,
    pub groups: bool,
    pub together: bool,
    /// Whether machines keep what each worker has run.
    pub remember: bool,
    /// For how long failed tests are held.
    pub hold: Option<Duration>,
}

/// Takes the snapshot and works out what goes with it.
pub fn prepare(ground: &Ground) -> Result<Preparation, RunError> {
    let chosen = ground.environment.as_ref().map(environment::choose).transpose()?.flatten();
    let (environment, carried) =
        chosen.map_or((None, Carried::default()), |(request, carried)| (Some(request), carried));
    let carried = if ground.carries { carried } else { Carried::default() };
    let carried_files = carried.files.iter().filter_map(|path| path.to_str().map(str::to_owned));
    let began = Instant::now();
    let snapshot = snapshot::take(&Request {
        rootdir: ground.rootdir.clone(),
        cwd: ground.cwd.clone(),
        sys_path: ground.sys_path.clone(),
        directories: ground.further.clone(),
        files: ground.extra_files.iter().cloned().chain(carried_files).collect(),
        home: env::home_dir(),
        kept_back: [cache::directory(), cache::state_directory()].into_iter().flatten().collect(),
        // Without a cache every file is read anew, which is slower and just as right.
        cache_dir: cache::directory().ok(),
        limits: Limits { bytes: ground.limit, ..Limits::default() },
        threads: thread::available_parallelism().map_or(1, usize::from),
    })?;
    let manifest = snapshot.manifest.encode();
    let id = Digest::of(&manifest);
    let key = snapshot.layout.key();
    let remembered = cache::directory().ok().map(|directory| Remembered::of_project(&directory, &key));
    if let Some(remembered) = &remembered {
        // Without it the next snapshot costs more on the wire, and is just as right.
        remembered.save(&id, &manifest).ok();
    }
    let session = ground.session.as_ref().map(|session| SessionPlan {
        rootdir: ground.rootdir.clone(),
        inifile: session.inifile.clone(),
        args: session.args.clone(),
        env: json!(ground.variables.workers),
        mainargv: session.mainargv.clone(),
        testrunuid: session.testrunuid.clone(),
        workerinput: session.workerinput.clone(),
        initial: session.initial.clone(),
        preload: session.preload.clone(),
        timeout: session.timeout,
        retries: session.retries,
        fresh: session.fresh,
        groups: session.groups,
        together: session.together,
        remember: session.remember,
        hold: session.hold,
    });
    let mut sys_path = ground.sys_path.clone();
    sys_path.extend(ground.further.iter().filter(|path| !ground.sys_path.contains(path)).cloned());
    sys_path.extend(carried.directories);
    Ok(Preparation {
        environment,
        id,
        manifest: manifest.into(),
        key,
        remembered,
        recipes: cache::directory().ok().map(|directory| Recipes::new(&directory)),
        recorded: OnceLock::new(),
        compressed: OnceLock::new(),
        snapshot: Arc::new(snapshot),
        scan: began.elapsed(),
        cwd: ground.cwd.clone(),
        sys_path,
        python: ground.python.clone(),
        init: ground.init_command.as_deref().map(|command| init_plan(command, &id, &ground.variables.asked)),
        session,
    })
}

/// The command is due again when it changes, its variables do, or the snapshot does.
fn init_plan(command: &str, snapshot: &Digest, variables: &BTreeMap<String, String>) -> InitPlan {
    let key = Digest::of(json!([snapshot.to_string(), command, variables]).to_string().as_bytes());
    InitPlan { command: command.to_owned(), key: key.to_string(), env: json!(variables) }
}
