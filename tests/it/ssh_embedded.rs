//! The embedded machines, as child processes of the real program, and the SSH client against them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cloudist::provider::local::Launcher;
use cloudist::provider::{LaunchRequest, Lease, LeaseEvent, Local, Provider};
use cloudist::ssh::{
    AuthError, ChildError, ConnectFailure, Disconnection, Endpoint, ExitStatus, HostKey, HostKeyError, Identity,
    Liveness, Session, Signal, generate_key,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::support::streams::{digest, first_line, gone, noise, promptly, send, sha256};

const MIB: usize = 1 << 20;

struct Machines {
    provider: Provider,
    leases: Vec<Lease>,
    pool: TempDir,
}

impl Machines {
    async fn start(workers: u32) -> Self {
        let pool = tempfile::tempdir().expect("a directory");
        let (provider, leases) = launch(workers, pool.path()).await;
        Self { provider, leases, pool }
    }

    fn endpoint(&self) -> Endpoint {
        self.leases[0].endpoint.clone()
    }

    async fn connect(&self) -> Session {
        Session::connect(&self.endpoint()).await.expect("a session")
    }
}

async fn launch(workers: u32, pool: &Path) -> (Provider, Vec<Lease>) {
    let env = BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]);
    let program = env!("CARGO_BIN_EXE_cloudist").into();
    let launcher = Launcher::new(program, vec!["machine".into()], pool.into(), env).expect("a launcher");
    let mut provider = Provider::Local(Local::with_launcher(launcher));
    let (sender, mut events) = mpsc::channel(8);
    provider.launch(LaunchRequest { workers }, sender);
    let mut leases = Vec::new();
    while let Some(event) = events.recv().await {
        match event {
            LeaseEvent::Ready(lease) => leases.push(*lease),
            other => panic!("{other:?}"),
        }
    }
    leases.sort_by_key(|lease| lease.machine);
    (provider, leases)
}

async fn output(session: &Session, command: &str) -> String {
    let done = session.exec(command).await.expect("a command").output().await.expect("its end");
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).expect("text").trim().into()
}

#[tokio::test]
async fn a_command_runs_in_the_machines_own_home() {
    let machines = Machines::start(1).await;
    let session = machines.connect().await;
    let home = output(&session, "pwd").await;
    assert_eq!(home, output(&session, "echo $HOME").await);
    assert!(Path::new(&home).starts_with(machines.pool.path().canonicalize().expect("the pool")));
    assert_eq!(output(&session, "echo $GREETING").await, "hello");
    assert_eq!(output(&session, "sh -c ': </dev/tty' 2>/dev/null || echo no terminal").await, "no terminal");

    let child = session.exec("echo out; echo err >&2; exit 7").await.expect("a command");
    let done = child.output().await.expect("its end");
    assert_eq!((done.status, done.stdout, done.stderr), (ExitStatus::Code(7), b"out\n".into(), b"err\n".into()));
    let child = session.exec("kill -SEGV $$").await.expect("a command");
    assert_eq!(child.output().await.expect("its end").status, ExitStatus::Signal("SEGV".into()));
    machines.provider.release_all().await.expect("all is given back");
}

#[tokio::test]
async fn workers_are_spread_over_machines_with_homes_of_their_own() {
    let pool = tempfile::tempdir().expect("a directory");
    let (provider, leases) = launch(9, pool.path()).await;
    let names: Vec<&str> = leases.iter().map(|lease| lease.name.as_str()).collect();
    assert_eq!(names, ["local-0", "local-1", "local-2"]);
    assert!(leases.iter().all(|lease| lease.workers == 3));
    let mut homes = Vec::new();
    for lease in &leases {
        let session = Session::connect(&lease.endpoint).await.expect("a session");
        homes.push(output(&session, "touch mark; pwd").await);
    }
    homes.sort();
    homes.dedup();
    assert_eq!(homes.len(), 3);
    provider.release_all().await.expect("all is given back");

    let (provider, leases) = launch(1, pool.path()).await;
    let session = Session::connect(&leases[0].endpoint).await.expect("a session");
    assert_eq!(output(&session, "ls").await, "mark", "a home is used again");
    provider.release_all().await.expect("all is given back");
}

#[tokio::test]
async fn only_the_runs_own_key_opens_only_the_machines_own_door() {
    let machines = Machines::start(1).await;
    let stranger = Arc::new(generate_key("stranger").expect("a key"));
    let endpoint = Endpoint { identity: Identity::Key(Arc::clone(&stranger)), ..machines.endpoint() };
    let Err(error) = Session::connect(&endpoint).await else { panic!("a stranger got in") };
    assert!(matches!(error.failure, ConnectFailure::Auth(AuthError::Rejected { .. })), "{error:?}");

    let endpoint = Endpoint { host_key: HostKey::Pinned(stranger.public_key().clone()), ..machines.endpoint() };
    let Err(error) = Session::connect(&endpoint).await else { panic!("an impostor got through") };
    assert!(matches!(error.failure, ConnectFailure::HostKey(HostKeyError::Mismatch { .. })), "{error:?}");
    machines.provider.release_all().await.expect("all is given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_go_each_way_at_the_same_time() {
    let machines = Machines::start(1).await;
    let session = machines.connect().await;
    let bytes = noise(100 * MIB);
    let child = session.exec("cat").await.expect("a command");
    let both = async { tokio::join!(digest(child.stdout), send(child.stdin, bytes.clone())) };
    let (received, ()) = promptly(both).await;
    assert_eq!(received, (bytes.len(), sha256(&bytes)));
    machines.provider.release_all().await.expect("all is given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_talks_before_it_listens_blocks_nobody() {
    let machines = Machines::start(1).await;
    let session = machines.connect().await;
    let child = session.exec("head -c 100000000 /dev/zero; cat | wc -c").await.expect("a command");
    let both = async { tokio::join!(child.stdout.collect(), send(child.stdin, noise(100 * MIB))) };
    let (received, ()) = promptly(both).await;
    assert_eq!(received.len(), 100_000_000 + (100 * MIB).to_string().len() + 1);
    machines.provider.release_all().await.expect("all is given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_never_reads_costs_patience_and_not_the_connection() {
    let machines = Machines::start(1).await;
    let liveness = Liveness { keepalive: Duration::from_secs(1), unanswered: 2 };
    let session = Session::connect(&Endpoint { liveness, ..machines.endpoint() }).await.expect("a session");
    let mut child = session.exec("sleep 6; echo awake").await.expect("a command");
    let both = async { tokio::join!(first_line(&mut child.stdout), child.stdin.write(noise(200 * MIB))) };
    let (said, written) = promptly(both).await;
    assert_eq!(said, "awake");
    assert!(matches!(written, Err(ChildError::StdinClosed { .. })), "{written:?}");
    assert!(child.process.wait().await.expect("its end").success());
    assert_eq!(output(&session, "echo still here").await, "still here");
    machines.provider.release_all().await.expect("all is given back");
}

#[tokio::test]
async fn an_output_that_nobody_wants_holds_up_nobody() {
    let machines = Machines::start(1).await;
    let session = machines.connect().await;
    let child = session.exec("head -c 300000000 /dev/zero >&2; echo done").await.expect("a command");
    drop(child.stderr);
    assert_eq!(promptly(child.stdout.collect()).await, b"done\n");
    machines.provider.release_all().await.expect("all is given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_is_read_late_arrives_whole() {
    let machines = Machines::start(1).await;
    let liveness = Liveness { keepalive: Duration::from_secs(1), unanswered: 2 };
    let session = Session::connect(&Endpoint { liveness, ..machines.endpoint() }).await.expect("a session");
    let child = session.exec("head -c 200000000 /dev/zero").await.expect("a command");
    // Longer than a peer that doesn't answer would be borne with.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(promptly(digest(child.stdout)).await.0, 200_000_000);
    machines.provider.release_all().await.expect("all is given back");
}

#[tokio::test]
async fn what_an_ended_command_said_can_still_be_read() {
    let machines = Machines::start(1).await;
    let session = machines.connect().await;
    let said = "exec 3<&0; (read go <&3; echo late) & echo early";
    let mut child = session.exec(said).await.expect("a command");
    assert!(child.process.wait().await.expect("its end").success());
    drop(child.process);
    drop(child.stdin);
    assert_eq!(promptly(child.stdout.collect()).await, b"early\nlate\n");
    machines.provider.release_all().await.expect("all is given back");
}

#[tokio::test]
async fn many_commands_at_once() {
    let machines = Machines::start(1).await;
    let session = machines.connect().await;
    let running: Vec<_> = (0..200)
        .map(|number| {
            let session = session.clone();
            tokio::spawn(async move { output(&session, &format!("echo {number}")).await })
        })
        .collect();
    for (number, command) in running.into_iter().enumerate() {
        assert_eq!(command.await.expect("a task"), number.to_string());
    }
    machines.provider.release_all().await.expect("all is given back");
}

#[tokio::test]
async fn signals_reach_the_whole_group() {
    let machines = Machines::start(1).await;
    let session = machines.connect().await;
    let mut child = session.exec("sleep 1000 & echo $!; wait").await.expect("a command");
    let pid = first_line(&mut child.stdout).await;
    child.process.signal(Signal::TERM).await.expect("a signal");
    assert_eq!(child.process.wait().await.expect("its end"), ExitStatus::Signal("TERM".into()));
    gone(&pid).await;
    machines.provider.release_all().await.expect("all is given back");
}

#[tokio::test]
async fn a_command_dies_with_its_channel_and_with_its_connection() {
    let machines = Machines::start(1).await;
    let session = machines.connect().await;
    let stubborn = "trap '' HUP; sleep 1000 & echo $!; wait";
    let mut child = session.exec(stubborn).await.expect("a command");
    let pid = first_line(&mut child.stdout).await;
    drop(child);
    gone(&pid).await;

    let mut child = session.exec(stubborn).await.expect("a command");
    let pid = first_line(&mut child.stdout).await;
    session.disconnect().await;
    gone(&pid).await;
    machines.provider.release_all().await.expect("all is given back");
}

/// A process that left its group, its session, and its parent.
const DAEMON: &str = "(setsid sh -c 'trap \"\" HUP TERM; echo $$; exec sleep 1000' &) ; exit 0";

#[tokio::test]
async fn nothing_outlives_a_machine() {
    let machines = Machines::start(1).await;
    let session = machines.connect().await;
    let mut child = session.exec(DAEMON).await.expect("a command");
    let pid = first_line(&mut child.stdout).await;
    assert!(child.process.wait().await.expect("its end").success());
    assert!(Path::new("/proc").join(&pid).exists());
    promptly(machines.provider.release_all()).await.expect("all is given back");
    assert!(!Path::new("/proc").join(&pid).exists(), "gone when the machine is released");
    assert!(matches!(promptly(session.closed()).await, Disconnection::Dropped));
    assert!(matches!(session.exec("true").await, Err(ChildError::Disconnected { .. })));
}

#[tokio::test]
async fn a_machine_ends_when_its_owner_just_vanishes() {
    let machines = Machines::start(1).await;
    let session = machines.connect().await;
    let mut child = session.exec(DAEMON).await.expect("a command");
    let pid = first_line(&mut child.stdout).await;
    drop(machines.provider);
    gone(&pid).await;
    promptly(session.closed()).await;
}

#[tokio::test]
async fn a_machine_that_cannot_start_says_why() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let program = env!("CARGO_BIN_EXE_cloudist").into();
    let pool = file.path().join("pool");
    let launcher = Launcher::new(program, vec!["machine".into()], pool, BTreeMap::new()).expect("a launcher");
    let mut provider = Provider::Local(Local::with_launcher(launcher));
    let (sender, mut events) = mpsc::channel(8);
    provider.launch(LaunchRequest { workers: 1 }, sender);
    let Some(LeaseEvent::Failed { error, .. }) = events.recv().await else { panic!("it started") };
    assert!(error.to_string().contains("did not start"), "{error}");
    assert!(error.help().contains("CLOUDIST_CACHE_DIR"));
    provider.release_all().await.expect("all is given back");
}
