//! The bridge to the local pytest: pumps frames and runs the tests that it asks for.

use std::{
    collections::BTreeMap,
    io,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use futures_util::{FutureExt, future::LocalBoxFuture};
use tokio::{sync::watch, task, time::timeout};

use super::{
    announce, config,
    failure::{Failure, exit_code},
    init::project_root,
    line::Line,
    pytest, recording, remains,
    remember::Keeper,
    screen::{Screen, Writers},
    team, travel,
};
use crate::{
    environment::{self, Request, Wish},
    plan::{Mode, Peers, ProviderKind, Settings},
    protocol::{
        PROTOCOL,
        bridge::{FromPlugin, Hello, Level, ToPlugin},
    },
    provider::{
        Ec2, Ec2Plan, Hosts, Local, Provider, ProviderError,
        ec2::{self, EnvironmentKey},
        hosts::{HostList, SshConfig, ssh_config_file},
    },
    registry::{self, RunInfo},
    run::{
        Fleet, FleetPlan, Ground, Listener, Registration, RunError, SessionGround, Variables, prepare,
        tests::{Ending, Rules, TestRun},
    },
};

/// `cloudist bridge`: serves the plugin that started this process.
pub fn bridge() -> Result<u8, Failure> {
    let pipes = rustix::io::dup(rustix::stdio::stdin()).and_then(|read| {
        let write = rustix::io::dup(rustix::stdio::stdout())?;
        Ok((read, write))
    });
    let (read, write) = pipes.map_err(|error| internal("failed to take over stdin and stdout", error.into()))?;
    runtime()?.block_on(async {
        let mut line = Line::open(read, write)?;
        line.part_on_signals()?;
        let mut screen = Screen::default();
        let served = to_the_end(async {
            serve(line, None, &mut screen).boxed_local().await;
            Ok(0)
        });
        let served = served.await;
        screen.close();
        served
    })
}

/// After a fault of ours, machines get so long to be given back.
const FAULT_PATIENCE: Duration = Duration::from_secs(120);

/// Runs to the end, and if it breaks down, at least until nothing is rented any more.
pub fn to_the_end<'a, T: 'a>(
    run: impl Future<Output = Result<T, Failure>> + 'a,
) -> LocalBoxFuture<'a, Result<T, Failure>> {
    let run = AssertUnwindSafe(run.boxed_local()).catch_unwind();
    async {
        match run.await {
            Ok(result) => result,
            Err(_) => {
                // What the run held is dropped, and with it the line to whoever rents: that ends by giving everything back.
                timeout(FAULT_PATIENCE, ec2::closed()).await.ok();
                Err(Failure::new(exit_code::INTERNAL, "a part of cloudist broke down")
                    .with_help("this is a fault of cloudist: please report it with the lines above"))
            }
        }
    }
    .boxed_local()
}

pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    // One thread: small frames pass faster through it than through several, and one owner needs no locks.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| internal("failed to start the event loop", error))
}

pub fn internal(what: &str, error: io::Error) -> Failure {
    Failure::new(exit_code::INTERNAL, format!("{what}: {error}"))
}

/// Machines that were asked for before the local pytest had spoken.
pub struct EarlyFleet {
    pub fleet: Fleet,
    pub settings: Settings,
    /// The options they were asked for with.
    pub flags: crate::plan::Flags,
}

/// Whether the plugin ever spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    Run,
    /// pytest ended on its own: `--help`, `--collect-only`, a usage error, or there is none.
    Nothing,
}

/// Runs what the plugin on `line` asks for, from its `hello` to the end.
pub async fn serve(mut line: Line, early: Option<EarlyFleet>, screen: &mut Screen) -> Served {
    let mut early = early;
    let first = line.bridge.incoming.recv();
    let first = match &mut early {
        // Machines connect and import pytest while the local pytest starts.
        Some(early) => early.fleet.meanwhile(first).await,
        None => first.await,
    };
    let hello = match first {
        Some(Ok(FromPlugin::Hello(hello))) => hello,
        Some(Ok(_)) => return refuse(line, early, "the first message was not a hello").await,
        Some(Err(error)) => return refuse(line, early, &crate::text::chain(&error)).await,
        None => {
            if let Some(early) = early {
                give_back(early).await;
            }
            return Served::Nothing;
        }
    };
    let mut keeper = None;
    let (mut fleet, result) = run(&mut line, &hello, early, &mut keeper, screen).await;
    screen.leave();
    let bill = fleet.as_ref().and_then(Fleet::bill).filter(|bill| bill.machines > 0);
    // The local pytest sums up while the machines end; this process stays until both are done, and the run is written down.
    let recorder = fleet.as_mut().map(|fleet| recording::end(fleet, &result, bill.as_ref())).unwrap_or_default();
    let listener = recorder.listener();
    let farewell = async {
        let remembering = async {
            let trouble = match keeper {
                Some(keeper) => keeper.close(bill.as_ref()).await,
                None => None,
            };
            if let Some(trouble) = trouble {
                recording::say(&listener, &format!("cloudist: {trouble}"));
            }
        };
        let summing_up = async {
            let (recorder, end) = recording::conclude(recorder, announce::end(result, bill.clone())).await;
            line.tell(&end).await;
            line.hang_up(&listener).await;
            recorder
        };
        tokio::join!(summing_up, remembering).0
    };
    let recorder = match fleet {
        Some(fleet) => {
            let (recorder, finished) = tokio::join!(farewell, fleet.finish());
            remains::tell(finished, &listener);
            recorder
        }
        None => farewell.await,
    };
    recording::close(recorder).await;
    Served::Run
}

/// There was no run for them.
async fn give_back(early: EarlyFleet) {
    remains::tell(early.fleet.finish().await, &Listener::default());
}

async fn refuse(line: Line, early: Option<EarlyFleet>, detail: &str) -> Served {
    if let Some(early) = early {
        give_back(early).await;
    }
    let error = RunError::Bridge { detail: detail.into() };
    line.tell(&announce::end(Err(error.into()), None)).await;
    line.hang_up(&Listener::default()).await;
    Served::Run
}

/// The fleet comes back whatever happens, since it has to be ended.
async fn run(
    line: &mut Line,
    hello: &Hello,
    early: Option<EarlyFleet>,
    keeper: &mut Option<Keeper>,
    screen: &mut Screen,
) -> (Option<Fleet>, Result<(Ending, ProviderKind), Failure>) {
    let (mut fleet, settings) = match muster(hello, early, screen).await {
        Ok(mustered) => mustered,
        Err(failure) => return (None, Err(failure)),
    };
    line.tell(&announce::plan(fleet.run(), &settings)).await;
    team::explain(line, &settings, Path::new(&hello.cwd)).await;
    let variables = match travel::variables(&settings) {
        Ok(variables) => variables,
        Err(failure) => return (Some(fleet), Err(failure)),
    };
    announce::show(line, hello, &settings, screen).await;
    recording::pytest_started(&mut fleet, hello, &settings);
    let ground = ground(hello, &settings, variables, fleet.run());
    let preparing = task::spawn_blocking(move || prepare(&ground));
    let rules = Rules::new(&settings, hello);
    let (opened, notes) = Keeper::open(hello, &settings, fleet.run()).await;
    let keeper = keeper.insert(opened);
    for text in notes {
        line.tell(&ToPlugin::Note { level: Level::Warning, text, help: None }).await;
    }
    let ending =
        TestRun::new(rules, &mut fleet, &mut line.bridge, &mut keeper.memory).drive(preparing).boxed_local().await;
    keeper.ended(&ending, &fleet, settings.num_workers);
    (Some(fleet), ending.map(|ending| (ending, provider_of(&settings))).map_err(Failure::from))
}

/// The machines for this run: the early ones if they are what is wanted, else new ones.
async fn muster(hello: &Hello, early: Option<EarlyFleet>, screen: &mut Screen) -> Result<(Fleet, Settings), Failure> {
    if hello.protocol != PROTOCOL {
        if let Some(early) = early {
            give_back(early).await;
        }
        let detail = format!("the plugin speaks protocol {}, this is {PROTOCOL}", hello.protocol);
        return Err(RunError::Bridge { detail }.into());
    }
    let mut flags = hello.flags.clone();
    flags.insert("mode".into(), vec![hello.mode.clone()]);
    if let Some(early) = &early {
        flags.extend(early.flags.clone());
        flags.insert("mode".into(), vec![hello.mode.clone()]);
    }
    let merged = config::settings(flags, "--cd-", Path::new(&hello.cwd));
    let inherited = early.is_some();
    let (early, settings) = match (early, merged) {
        (early, Ok(settings)) => (early, settings),
        (Some(early), Err(failure)) => {
            give_back(early).await;
            return Err(failure);
        }
        (None, Err(failure)) => return Err(failure),
    };
    if let Some(early) = early {
        if same_machines(&early.settings, &settings) && recording::covers(&early.settings, &settings) {
            return Ok((early.fleet, settings));
        }
        give_back(early).await;
    }
    if !inherited {
        screen.take(&settings, Writers::Above);
    }
    let mut fleet = launch(&settings, Path::new(&hello.python))?;
    fleet.watched_by(screen.watch());
    recording::begin(&mut fleet, &settings, &[]);
    Ok((fleet, settings))
}

/// What a machine about which nothing is known calls its Python.
const PYTHON: &str = "python3";

/// Asks for the machines that `settings` want.
pub fn launch(settings: &Settings, local_python: &Path) -> Result<Fleet, Failure> {
    launch_from(settings, local_python, Some(environment_key(settings, local_python)))
}

/// The same; without a key none is used that was there before, and no image of ours.
pub fn launch_from(
    settings: &Settings,
    local_python: &Path,
    environment: Option<watch::Receiver<EnvironmentKey>>,
) -> Result<Fleet, Failure> {
    let run = run_id();
    let provider = match provider_of(settings) {
        ProviderKind::Local => Provider::Local(
            Local::new(BTreeMap::new()).map_err(provider_failure)?.with_machines(settings.local_machines),
        ),
        ProviderKind::Hosts => {
            let list = settings.hosts.join(",").parse::<HostList>().map_err(provider_failure)?;
            Provider::Hosts(Hosts::new(list, SshConfig::new(ssh_config_file())))
        }
        ProviderKind::Ec2 => Provider::Ec2(Ec2::new(Ec2Plan { environment, ..ec2_plan(settings, &run) })),
    };
    let plan = FleetPlan {
        run,
        workers: settings.num_workers,
        python: match (&settings.python, provider_of(settings)) {
            // A relative interpreter lies in the snapshot, or is made by the init command.
            (Some(python), _) => python.starts_with('/').then(|| python.clone()),
            (None, ProviderKind::Local) => local_python.to_str().map(str::to_owned),
            (None, _) => None,
        },
        boot_python: match provider_of(settings) {
            // Not by way of the PATH: what stands for python3 there may be a slow shim.
            ProviderKind::Local => local_python.to_str().unwrap_or(PYTHON).to_owned(),
            ProviderKind::Hosts | ProviderKind::Ec2 => PYTHON.to_owned(),
        },
        env: travel::variables(settings)?.workers,
        // Nothing is nearer to machines of this computer than this computer.
        peers: settings.peers == Peers::Auto && provider_of(settings) != ProviderKind::Local,
    };
    let info = RunInfo {
        run: plan.run.clone(),
        provider: provider_of(settings).to_string(),
        project: pytest::current_dir()?,
        began: registry::now(),
        pid: process::id(),
        env: plan.env.clone(),
    };
    Ok(Fleet::launch(provider, plan, Registration::open(&info)))
}

/// The provider that [`config::settings`] has settled on.
pub(super) fn provider_of(settings: &Settings) -> ProviderKind {
    settings.provider.unwrap_or(ProviderKind::Local)
}

/// What is wanted of EC2 for this run.
pub fn ec2_plan(settings: &Settings, run: &str) -> Ec2Plan {
    Ec2Plan {
        run: run.to_owned(),
        cpu_per_worker: settings.cpu_per_worker,
        memory_per_worker_mib: settings.memory_per_worker.as_u64().div_ceil(1 << 20),
        interrupt_prob: settings.interrupt_prob,
        settings: settings.ec2.clone(),
        environment: None,
    }
}

/// Finds out, while other things are asked, which environment machines are to have. What is in the way of it is told later,
/// by those who make the environment.
fn environment_key(settings: &Settings, python: &Path) -> watch::Receiver<EnvironmentKey> {
    let (sender, receiver) = watch::channel(EnvironmentKey::Sought);
    let (settings, python) = (settings.clone(), python.to_owned());
    task::spawn_blocking(move || {
        let request = pytest::current_dir().ok().and_then(|cwd| {
            let wish = environment_wish(&settings, &python, &project_root(&cwd), &cwd)?;
            environment::choose(&wish).ok().flatten()
        });
        let request = request.map(|(request, _)| request).filter(Request::makes_something);
        sender.send_replace(request.map_or(EnvironmentKey::None, |request| EnvironmentKey::Key(request.key())));
    });
    receiver
}

fn provider_failure(error: impl Into<ProviderError>) -> Failure {
    RunError::from(error.into()).into()
}

/// Whether machines that were asked for with one are right for the other.
fn same_machines(asked: &Settings, wanted: &Settings) -> bool {
    let what = |settings: &Settings| {
        let size = (settings.num_workers, settings.local_machines, settings.memory_per_worker);
        (settings.provider, settings.hosts.clone(), size, settings.python.clone(), settings.interrupt_prob)
    };
    what(asked) == what(wanted)
        && asked.cpu_per_worker == wanted.cpu_per_worker
        && asked.ec2 == wanted.ec2
        && asked.setenv == wanted.setenv
        && asked.passenv == wanted.passenv
}

fn ground(hello: &Hello, settings: &Settings, variables: Variables, run: &str) -> Ground {
    let paths = |texts: &[String]| -> Vec<PathBuf> { texts.iter().map(PathBuf::from).collect() };
    let python = Path::new(&hello.python);
    Ground {
        rootdir: PathBuf::from(&hello.rootdir),
        cwd: PathBuf::from(&hello.cwd),
        sys_path: paths(&hello.sys_path),
        further: paths(&hello.roots),
        extra_files: settings.extra_files.clone(),
        limit: settings.snapshot_limit.as_u64(),
        init_command: settings.init_command.clone(),
        variables,
        carries: true,
        python: settings.python.clone(),
        environment: environment_wish(settings, python, Path::new(&hello.rootdir), Path::new(&hello.cwd)),
        session: Some(SessionGround {
            args: hello.args.clone(),
            inifile: hello.inipath.as_ref().map(PathBuf::from),
            mainargv: hello.mainargv.clone(),
            testrunuid: run.to_owned(),
            workerinput: hello.workerinput.clone(),
            initial: paths(&hello.initial),
            timeout: settings.timeout,
            preload: settings.preload.clone(),
            retries: settings.retries,
            fresh: settings.fresh_process,
            groups: settings.mode == Mode::Group,
            together: settings.mode == Mode::File,
            remember: settings.keep_on_failure.is_some(),
            hold: settings.hold_failures,
        }),
    }
}

/// What the machines are asked to have; those of `local` have what is here.
pub fn environment_wish(settings: &Settings, python: &Path, root: &Path, cwd: &Path) -> Option<Wish> {
    (provider_of(settings) != ProviderKind::Local).then(|| Wish {
        choice: settings.environment.clone(),
        strict: settings.environment_strict,
        apt: settings.apt.clone(),
        dnf: settings.dnf.clone(),
        python: python.into(),
        root: root.into(),
        cwd: cwd.into(),
    })
}

/// A name for the run: when it began, and on which process.
pub fn run_id() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", since.as_millis(), process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_becomes_a_failure() {
        let broken = async { if process::id() > 0 { panic!("on purpose") } else { Ok(()) } };
        let failure = runtime().unwrap().block_on(to_the_end(broken)).unwrap_err();
        assert_eq!(failure.exit_code, exit_code::INTERNAL);
    }
}
