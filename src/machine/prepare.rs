//! The snapshot in place and the init command done.

use std::{
    convert::Infallible,
    future,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Command, Contents, Event, ExitText, Facts, MachineError, PreparationReceiver, Stage, Teller,
    boot::Booted,
    environment,
    link::Link,
    modules::{self, Bundle},
    supply,
    sync::{self, Synced},
};
use crate::{
    environment::Request,
    protocol::runner::{FromRunner, Session, ToRunner},
    snapshot::{self, Digest, Mapping, Recipes, Remembered, Snapshot},
};

/// What every machine of a run is to have in place, and what its workers need.
#[derive(Debug)]
pub struct Preparation {
    pub snapshot: Arc<Snapshot>,
    /// How long it took to take the snapshot.
    pub scan: Duration,
    pub id: Digest,
    /// The manifest's canonical bytes.
    pub manifest: Bytes,
    /// What the project's trees are named by on a machine.
    pub key: String,
    /// What is known of earlier snapshots, if there is a place to keep it.
    pub remembered: Option<Remembered>,
    pub recipes: Option<Recipes>,
    /// Set by the machine that sees to the recipes: the first one that has everything.
    pub recorded: OnceLock<()>,
    pub compressed: OnceLock<Bytes>,
    /// Where commands and tests run; a directory of the snapshot.
    pub cwd: PathBuf,
    /// In front of the interpreter's own, in order.
    pub sys_path: Vec<PathBuf>,
    /// The interpreter there, if the user named one.
    pub python: Option<String>,
    /// The environment that is asked of the machine, if any.
    pub environment: Option<Request>,
    pub init: Option<InitPlan>,
    pub session: Option<SessionPlan>,
}

impl Preparation {
    /// The manifest as it travels.
    pub fn compressed(&self) -> Bytes {
        self.compressed.get_or_init(|| snapshot::compress(&self.manifest).into()).clone()
    }

    /// Has recipes made of the large contents among these files, which were sent: once in a run, now that no machine waits.
    fn record(self: &Arc<Self>, sent: Vec<u32>) -> Option<JoinHandle<()>> {
        let recipes = self.recipes.clone().filter(|_| !sent.is_empty() && self.recorded.set(()).is_ok())?;
        let snapshot = Arc::clone(&self.snapshot);
        Some(tokio::task::spawn_blocking(move || snapshot.record(&sent, &recipes)))
    }
}

#[derive(Clone, Debug)]
pub struct InitPlan {
    pub command: String,
    /// A machine that has done the command for this key does not repeat it.
    pub key: String,
    /// Variables to run it with.
    pub env: Value,
}

/// What the pytest sessions of a run have in common, in local paths.
#[derive(Debug)]
pub struct SessionPlan {
    pub rootdir: PathBuf,
    pub inifile: Option<PathBuf>,
    pub args: Vec<String>,
    pub env: Value,
    pub mainargv: Vec<String>,
    pub testrunuid: String,
    pub workerinput: Value,
    /// What the command line named.
    pub initial: Vec<PathBuf>,
    /// How long a test may take.
    pub timeout: Option<Duration>,
    pub preload: Vec<String>,
    pub retries: u32,
    pub fresh: bool,
    pub groups: bool,
    pub together: bool,
    pub remember: bool,
    pub hold: Option<Duration>,
}

/// The snapshot as it lies on one machine.
pub struct Ground {
    pub preparation: Arc<Preparation>,
    pub mapping: Mapping,
    pub cwd: String,
    /// The interpreter for workers and commands.
    pub python: String,
    recording: Option<JoinHandle<()>>,
}

/// The interpreter of machines about which nothing is known.
const ANY_PYTHON: &str = "python3";

pub async fn prepare(
    link: &mut Link,
    booted: Booted,
    provided_python: Option<String>,
    preparation: &mut PreparationReceiver,
    orders: &mut mpsc::UnboundedReceiver<Command>,
    teller: &Teller,
) -> Result<(Facts, Ground), MachineError> {
    let preparation = tokio::select! {
        known = known(preparation) => known,
        // A runner that dies while it waits is noticed at once.
        message = link.incoming.next() => return Err(refused(link.machine(), message?.0)),
    };
    let mut timings = booted.timings;
    timings.add("scan", preparation.scan);
    timings.ended("wait");
    if preparation.session.is_some() {
        modules::bring(&mut link.outgoing, Bundle::Workers).await?;
    }
    if let Some(request) = &preparation.environment {
        environment::ask(link, request).await?;
    }
    link.enter(Stage::Sync);
    teller.tell(Event::Entered(Stage::Sync)).await;
    let before = link.outgoing.written;
    let synced = sync::sync(link, &preparation, booted.known, orders, teller).await?;
    let Synced { tree, round_trips, sent, from_others } = synced;
    teller.tell(Event::Contents(Contents::Whole)).await;
    let recording = preparation.record(sent);
    (timings.round_trips, timings.from_others) = (round_trips, from_others);
    timings.sent = link.outgoing.written - before;
    timings.ended("sync");
    let mapping = Mapping::new(preparation.snapshot.layout.clone(), &tree);
    let cwd = mapping.to_remote(&preparation.cwd).unwrap_or_else(|| tree.clone());
    let mut made = None;
    if let Some(request) = &preparation.environment {
        environment::enter(link, teller).await;
        made = environment::settle(link, request, (&preparation.id, &mut *orders), teller).await?;
        timings.ended("environment");
    }
    let chosen = preparation.python.clone().or(made).or(provided_python);
    let mut init_cached = false;
    if let Some(init) = &preparation.init {
        link.enter(Stage::Init);
        teller.tell(Event::Entered(Stage::Init)).await;
        init_cached = run_init(link, init, &cwd, chosen.clone(), (&preparation.id, orders), teller).await?;
    }
    timings.ended("init");
    link.enter(Stage::Serve);
    let python = chosen.unwrap_or_else(|| ANY_PYTHON.into());
    let ground = Ground { preparation, mapping, cwd, python, recording };
    let Booted { platform, cpus, home, .. } = booted;
    let (cwd, python, sys_path) = (ground.cwd.clone(), ground.python.clone(), ground.sys_path());
    Ok((Facts { platform, cpus, home, tree, cwd, python, sys_path, init_cached, timings }, ground))
}

/// Has the manifest compressed while the machine is not up yet; some machine will want it so.
pub async fn compress_ahead(mut preparation: PreparationReceiver) -> Infallible {
    let preparation = known(&mut preparation).await;
    tokio::task::spawn_blocking(move || preparation.compressed());
    future::pending().await
}

/// Waits until it is known what the machine is to have.
async fn known(preparation: &mut PreparationReceiver) -> Arc<Preparation> {
    loop {
        if let Some(preparation) = preparation.borrow_and_update().as_ref() {
            return Arc::clone(preparation);
        }
        if preparation.changed().await.is_err() {
            // The run ended before it knew; the order to finish is on its way.
            future::pending::<()>().await;
        }
    }
}

/// Runs the init command unless it was run before; answers whether it was.
async fn run_init(
    link: &mut Link,
    init: &InitPlan,
    cwd: &str,
    python: Option<String>,
    (snapshot, orders): (&Digest, &mut mpsc::UnboundedReceiver<Command>),
    teller: &Teller,
) -> Result<bool, MachineError> {
    let machine = link.machine().to_owned();
    let message = ToRunner::Init {
        command: init.command.clone(),
        key: init.key.clone(),
        cwd: cwd.to_owned(),
        env: init.env.clone(),
        python: python.unwrap_or_default(),
    };
    link.outgoing.send(&message).await?;
    loop {
        let message = tokio::select! {
            message = link.incoming.next() => message?,
            Some(order) = orders.recv() => {
                supply::obey(order, &mut link.outgoing, snapshot).await?;
                continue;
            }
        };
        match message {
            (FromRunner::InitOutput, bytes) => teller.tell(Event::InitOutput(bytes)).await,
            (FromRunner::InitDone { status: 0, cached, .. }, _) => return Ok(cached),
            (FromRunner::InitDone { status, tail, log, .. }, _) => {
                return Err(MachineError::Init { machine, status: ExitText(status), tail, log });
            }
            (other, _) => match supply::about_seeding(other) {
                Ok(contents) => teller.tell(Event::Contents(contents)).await,
                Err(other) => return Err(refused(&machine, other)),
            },
        }
    }
}

/// What the runner said instead of the answer that was due.
pub(super) fn refused(machine: &str, message: FromRunner) -> MachineError {
    let machine = machine.to_owned();
    match message {
        FromRunner::Error { stage, kind, message } if stage == "snapshot" => {
            MachineError::Sync { machine, kind, detail: message }
        }
        FromRunner::Error { kind, message, .. } => MachineError::Refused { machine, kind, detail: message },
        other => MachineError::Refused {
            machine,
            kind: "protocol".into(),
            detail: format!("its runner sent {other:?} out of turn"),
        },
    }
}

impl Ground {
    /// The sessions of this machine's workers, in its own paths.
    pub fn session(&self) -> Option<Session> {
        let plan = self.preparation.session.as_ref()?;
        Some(Session {
            python: self.python.clone(),
            cwd: self.cwd.clone(),
            sys_path: self.sys_path(),
            args: plan.args.clone(),
            rootdir: self.mapping.to_remote(&plan.rootdir).unwrap_or_else(|| self.cwd.clone()),
            inifile: plan.inifile.as_ref().and_then(|path| self.mapping.to_remote(path)),
            env: plan.env.clone(),
            paths: self.mapping.to_local(),
            mainargv: plan.mainargv.clone(),
            testrunuid: plan.testrunuid.clone(),
            workerinput: plan.workerinput.clone(),
            initial: plan.initial.iter().filter_map(|path| self.mapping.to_remote(path)).collect(),
            preload: plan.preload.clone(),
            timeout: plan.timeout.map(|timeout| timeout.as_secs_f64()),
            retries: plan.retries,
            fresh: plan.fresh,
            groups: plan.groups,
            together: plan.together,
            remember: plan.remember,
            hold: plan.hold.map(|time| time.as_secs_f64()),
        })
    }

    /// Waits for what is made here of what the machine has.
    pub async fn settle(self) {
        if let Some(recording) = self.recording {
            recording.await.ok();
        }
    }

    pub fn sys_path(&self) -> Vec<String> {
        self.preparation.sys_path.iter().filter_map(|path| self.mapping.to_remote(path)).collect()
    }
}
