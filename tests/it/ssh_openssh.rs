//! The SSH client against OpenSSH's own server.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cloudist::provider::hosts::{HostList, SshConfig};
use cloudist::provider::{Hosts, LaunchRequest, LeaseEvent, Provider};
use cloudist::ssh::{
    AgentKeys, AuthError, ChildError, ConnectError, ConnectFailure, Disconnection, Endpoint, ExitStatus, HostKey,
    HostKeyError, Identity, KeyOffer, Liveness, PublicKey, Retry, Session, Transport, connect_with_retry, generate_key,
};
use rustix::process::Signal as Kill;
use tokio::sync::mpsc;

use crate::support::sshd::{Sshd, write_key};
use crate::support::streams::{digest, first_line, gone, noise, promptly, send, sha256};

const MIB: usize = 1 << 20;

async fn refused(endpoint: &Endpoint) -> ConnectError {
    match Session::connect(endpoint).await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

fn listed(sshd: &Sshd, file: &Path) -> Endpoint {
    let host_key = HostKey::KnownHosts { files: vec![file.into()], name: "127.0.0.1".into(), port: Some(sshd.port()) };
    Endpoint { host_key, ..sshd.endpoint() }
}

fn offering(sshd: &Sshd, offer: KeyOffer) -> Endpoint {
    Endpoint { identity: Identity::Offer(offer), ..sshd.endpoint() }
}

#[tokio::test]
async fn a_command_has_two_outputs_and_a_status() {
    let sshd = Sshd::builder().start();
    let session = Session::connect(&sshd.endpoint()).await.expect("a session");
    let child = session.exec("echo out; echo err >&2; exit 7").await.expect("a command");
    let done = child.output().await.expect("its end");
    assert_eq!(done.status, ExitStatus::Code(7));
    assert_eq!(done.stdout, b"out\n");
    assert_eq!(done.stderr, b"err\n");

    let child = session.exec("kill -TERM $$").await.expect("a command");
    assert_eq!(child.output().await.expect("its end").status, ExitStatus::Signal("TERM".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_go_each_way_unharmed() {
    let sshd = Sshd::builder().start();
    let session = Session::connect(&sshd.endpoint()).await.expect("a session");
    let bytes = noise(100 * MIB);
    let expected = sha256(&bytes);

    let child = session.exec("cat").await.expect("a command");
    let mut process = child.process;
    let both = async { tokio::join!(digest(child.stdout), send(child.stdin, bytes.clone())) };
    let (received, ()) = promptly(both).await;
    assert_eq!(received, (bytes.len(), expected.clone()));
    assert!(process.wait().await.expect("its end").success());

    let child = session.exec("sha256sum").await.expect("a command");
    let both = async { tokio::join!(child.stdout.collect(), send(child.stdin, bytes)) };
    let (stdout, ()) = promptly(both).await;
    assert!(String::from_utf8_lossy(&stdout).starts_with(&expected));
}

#[tokio::test]
async fn an_impostor_learns_nothing() {
    let sshd = Sshd::builder().start();
    let other = sshd.client_key().public_key().clone();
    let endpoint = Endpoint { host_key: HostKey::Pinned(other), ..sshd.endpoint() };
    let error = refused(&endpoint).await;
    assert!(matches!(error.failure, ConnectFailure::HostKey(HostKeyError::Mismatch { .. })), "{error:?}");
    assert!(!error.is_transient());
    let log = sshd.log();
    assert!(!log.contains(&format!("user {}", Sshd::user())) && !log.contains("publickey"), "{log}");
}

#[tokio::test]
async fn known_hosts_decides() {
    let sshd = Sshd::builder().start();
    let other = generate_key("other").expect("a key").public_key().clone();

    let file = sshd.known_hosts(sshd.host_key());
    Session::connect(&listed(&sshd, &file)).await.expect("a session").disconnect().await;

    let hashed = Command::new("ssh-keygen").arg("-H").arg("-f").arg(&file).stderr(Stdio::null()).status();
    assert!(hashed.expect("ssh-keygen").success());
    assert!(std::fs::read_to_string(&file).expect("the file").starts_with("|1|"));
    Session::connect(&listed(&sshd, &file)).await.expect("a session").disconnect().await;

    let error = refused(&listed(&sshd, &sshd.known_hosts(&other))).await;
    assert!(matches!(error.failure, ConnectFailure::HostKey(HostKeyError::Mismatch { .. })), "{error:?}");
    assert!(error.help().contains("known_hosts:1"), "{}", error.help());

    let error = refused(&listed(&sshd, Path::new("/nonexistent/known_hosts"))).await;
    assert!(matches!(error.failure, ConnectFailure::HostKey(HostKeyError::Unknown { .. })), "{error:?}");
    assert!(error.help().contains(&format!("ssh -p {} 127.0.0.1", sshd.port())), "{}", error.help());

    let revoked = sshd.directory().join("revoked");
    let key = sshd.host_key().to_openssh().expect("a public key");
    std::fs::write(&revoked, format!("* {key}\n@revoked * {key}\n")).expect("a file");
    let error = refused(&listed(&sshd, &revoked)).await;
    assert!(matches!(error.failure, ConnectFailure::HostKey(HostKeyError::Revoked { .. })), "{error:?}");
}

/// An ssh-agent that ends with the value.
struct Agent {
    process: Child,
    directory: tempfile::TempDir,
}

impl Agent {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(directory.path().join("socket")).stdout(Stdio::piped());
        let mut process = command.spawn().expect("ssh-agent");
        let mut announced = BufReader::new(process.stdout.take().expect("its stdout"));
        announced.read_line(&mut String::new()).expect("its socket");
        Self { process, directory }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("socket")
    }

    fn add(&self, key: &Path) {
        let mut command = Command::new("ssh-add");
        command.arg(key).env("SSH_AUTH_SOCK", self.socket()).stderr(Stdio::null());
        assert!(command.status().expect("ssh-add").success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn the_agent_signs() {
    let sshd = Sshd::builder().start();
    let agent = Agent::start();
    let stranger = sshd.directory().join("stranger");
    write_key(&stranger, &generate_key("stranger").expect("a key"));
    agent.add(&stranger);
    let offer = |agent_keys, files| KeyOffer { agent: Some(agent.socket()), files, agent_keys };

    let error = refused(&offering(&sshd, offer(AgentKeys::All, vec![]))).await;
    let ConnectFailure::Auth(AuthError::Rejected { tried, .. }) = &error.failure else { panic!("{error:?}") };
    assert_eq!(tried.len(), 1);

    agent.add(&sshd.client_key_file());
    Session::connect(&offering(&sshd, offer(AgentKeys::All, vec![]))).await.expect("a session").disconnect().await;

    let error = refused(&offering(&sshd, offer(AgentKeys::Listed, vec![stranger]))).await;
    let ConnectFailure::Auth(AuthError::Rejected { tried, .. }) = &error.failure else { panic!("{error:?}") };
    assert_eq!(tried.len(), 1, "only the listed key is offered: {tried:?}");
    let files = vec![sshd.client_key_file()];
    Session::connect(&offering(&sshd, offer(AgentKeys::Listed, files))).await.expect("a session").disconnect().await;
}

#[tokio::test]
async fn key_files_of_every_kind() {
    let kinds = [("rsa", "2048"), ("ecdsa", "256"), ("ecdsa", "521"), ("ed25519", "256")];
    let directory = tempfile::tempdir().expect("a directory");
    let mut builder = Sshd::builder();
    let mut files = Vec::new();
    for (kind, bits) in kinds {
        for format in ["RFC4716", "PEM"] {
            let file = directory.path().join(format!("{kind}{bits}{format}"));
            let made = Command::new("ssh-keygen")
                .args(["-q", "-N", "", "-t", kind, "-b", bits, "-m", format, "-f"])
                .arg(&file)
                .status();
            assert!(made.expect("ssh-keygen").success());
            let public = std::fs::read_to_string(file.with_extension("pub")).expect("a public key");
            builder = builder.authorize(&PublicKey::from_openssh(&public).expect("a public key"));
            files.push(file);
        }
    }
    let sshd = builder.start();
    for file in files {
        let offer = KeyOffer { agent: None, files: vec![file.clone()], agent_keys: AgentKeys::All };
        let session = Session::connect(&offering(&sshd, offer)).await;
        session.unwrap_or_else(|error| panic!("{}: {error:?}", file.display())).disconnect().await;
    }
    assert!(!sshd.log().contains("ssh-rsa SHA256"), "RSA keys sign with SHA-2");
}

#[tokio::test]
async fn an_encrypted_key_is_explained() {
    let sshd = Sshd::builder().start();
    let file = sshd.directory().join("locked");
    let made = Command::new("ssh-keygen").args(["-q", "-N", "secret", "-t", "ed25519", "-f"]).arg(&file).status();
    assert!(made.expect("ssh-keygen").success());
    let offer = KeyOffer { agent: None, files: vec![file.clone()], agent_keys: AgentKeys::All };
    let error = refused(&offering(&sshd, offer)).await;
    assert!(error.help().contains(&format!("ssh-add {}", file.display())), "{}", error.help());
}

#[tokio::test]
async fn a_server_has_only_so_many_sessions() {
    let sshd = Sshd::builder().config("MaxSessions 1").start();
    let session = Session::connect(&sshd.endpoint()).await.expect("a session");
    let child = session.exec("cat").await.expect("a command");
    match session.exec("true").await {
        Err(error @ ChildError::ChannelRefused { .. }) => assert!(error.help().contains("MaxSessions")),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("there were two"),
    }
    assert!(child.output().await.expect("its end").status.success());
}

/// Writes more than any window takes, does `harm` once the command has read some, and tells how the writing failed.
async fn write_until_harmed(session: &Session, harm: impl FnOnce()) -> ChildError {
    let command = "head -c 1000000 >/dev/null; echo read; exec sleep 1000";
    let mut child = session.exec(command).await.expect("a command");
    let writing = async {
        let bytes = noise(MIB);
        loop {
            if let Err(error) = child.stdin.write(bytes.clone()).await {
                return error;
            }
        }
    };
    let harming = async {
        assert_eq!(first_line(&mut child.stdout).await, "read");
        harm();
    };
    promptly(async { tokio::join!(writing, harming) }).await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_learns_of_a_server_that_dies() {
    let sshd = Sshd::builder().start();
    let session = Session::connect(&sshd.endpoint()).await.expect("a session");
    let error = write_until_harmed(&session, || sshd.signal(Kill::KILL)).await;
    assert!(matches!(error, ChildError::Disconnected { source: Disconnection::Dropped, .. }), "{error:?}");
    assert!(matches!(session.closed().await, Disconnection::Dropped));
    assert!(matches!(session.exec("true").await, Err(ChildError::Disconnected { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_learns_of_a_server_that_hangs() {
    let sshd = Sshd::builder().start();
    let liveness = Liveness { keepalive: Duration::from_millis(500), unanswered: 2 };
    let endpoint = Endpoint { liveness, ..sshd.endpoint() };
    let writing = Session::connect(&endpoint).await.expect("a session");
    let idle = Session::connect(&endpoint).await.expect("a session");
    let error = write_until_harmed(&writing, || sshd.signal(Kill::STOP)).await;
    assert!(matches!(error, ChildError::Disconnected { source: Disconnection::Unresponsive, .. }), "{error:?}");
    assert!(matches!(promptly(idle.closed()).await, Disconnection::Unresponsive));
}

#[tokio::test]
async fn disconnecting_waits_for_no_server() {
    let sshd = Sshd::builder().start();
    let session = Session::connect(&sshd.endpoint()).await.expect("a session");
    let mut child = session.exec("sleep 1000").await.expect("a command");
    sshd.signal(Kill::STOP);
    promptly(session.disconnect()).await;
    let error = child.process.wait().await.expect_err("no status");
    assert!(matches!(error, ChildError::Disconnected { source: Disconnection::Local, .. }), "{error:?}");
}

#[tokio::test]
async fn a_dropped_command_gets_the_end_of_its_input() {
    let sshd = Sshd::builder().start();
    let session = Session::connect(&sshd.endpoint()).await.expect("a session");
    let mut child = session.exec("echo $$; exec cat").await.expect("a command");
    let pid = first_line(&mut child.stdout).await;
    drop(child);
    gone(&pid).await;
}

#[tokio::test]
async fn a_full_server_drops_us() {
    let sshd = Sshd::builder().config("MaxStartups 1:100:1").start();
    let hog = TcpStream::connect(("127.0.0.1", sshd.port())).expect("a connection");
    // The server counts the hog once it has greeted it.
    hog.peek(&mut [0]).expect("a greeting");
    let error = refused(&sshd.endpoint()).await;
    assert!(matches!(error.failure, ConnectFailure::Dropped { .. }) && error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_is_dropped_is_tried_again() {
    let sshd = Sshd::builder().start();
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let transport = Transport::Tcp { host: "127.0.0.1".into(), port: door.local_addr().expect("its address").port() };
    let endpoint = Endpoint { transport, ..sshd.endpoint() };
    let relaying = async {
        for _ in 0..2 {
            drop(door.accept().await.expect("a connection"));
        }
        let (mut client, _) = door.accept().await.expect("a connection");
        let mut server = tokio::net::TcpStream::connect(("127.0.0.1", sshd.port())).await.expect("sshd");
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    };
    let connecting = async {
        let session = connect_with_retry(&endpoint, Retry::within(Duration::from_secs(20))).await;
        session.expect("a session").disconnect().await;
    };
    promptly(async { tokio::join!(relaying, connecting) }).await;
}

#[tokio::test]
async fn fifty_connections_at_once_lose_none() {
    let sshd = Sshd::builder().start();
    let endpoint = sshd.endpoint();
    let connecting = (0..50).map(|_| {
        let endpoint = endpoint.clone();
        let retry = Retry::within(Duration::from_secs(20));
        tokio::spawn(async move { connect_with_retry(&endpoint, retry).await.map(|_| ()) })
    });
    for connection in connecting.collect::<Vec<_>>() {
        connection.await.expect("a task").expect("a session");
    }
}

#[tokio::test]
async fn nobody_at_home() {
    let endpoint = |host: &str, port| {
        let key = generate_key("k").expect("a key");
        Endpoint {
            label: "m1".into(),
            transport: Transport::Tcp { host: host.into(), port },
            user: "nobody".into(),
            host_key: HostKey::Pinned(key.public_key().clone()),
            identity: Identity::Key(key.into()),
            connect_timeout: Duration::from_millis(300),
            liveness: Liveness::default(),
            handshakes: Default::default(),
        }
    };
    let error = refused(&endpoint("127.0.0.1", 1)).await;
    assert!(matches!(error.failure, ConnectFailure::Refused { .. }) && error.is_transient(), "{error:?}");
    assert_eq!(error.to_string(), "failed to connect to m1");
    let error = refused(&endpoint("no-such-host.invalid", 22)).await;
    assert!(matches!(error.failure, ConnectFailure::Resolve { .. }), "{error:?}");

    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("its address").port();
    let error = refused(&endpoint("127.0.0.1", port)).await;
    assert!(matches!(error.failure, ConnectFailure::Timeout { .. }), "{error:?}");
}

async fn lease(hosts: &str, config: &Path) -> Endpoint {
    let list: HostList = hosts.parse().expect("a list of hosts");
    let mut provider = Provider::Hosts(Hosts::new(list, SshConfig::new(Some(config.into()))));
    let (sender, mut events) = mpsc::channel(8);
    provider.launch(LaunchRequest { workers: 3 }, sender);
    let event = events.recv().await.expect("an event");
    provider.release_all().await.expect("all is given back");
    match event {
        LeaseEvent::Ready(lease) => {
            assert_eq!(lease.workers, 3);
            lease.endpoint
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn hosts_follow_the_users_configuration() {
    let sshd = Sshd::builder().start();
    let config = sshd.directory().join("config");
    let settings = format!(
        "Host lab jumped proxied\n HostName 127.0.0.1\n Port {port}\n User {user}\n IdentityFile {key}\n \
         IdentitiesOnly yes\n UserKnownHostsFile {known}\n GlobalKnownHostsFile /dev/null\n\
         Host jumped\n ProxyJump lab\n\
         Host proxied\n ProxyCommand ssh -F {config} -W %h:%p lab\n",
        port = sshd.port(),
        user = Sshd::user(),
        key = sshd.client_key_file().display(),
        known = sshd.known_hosts(sshd.host_key()).display(),
        config = config.display(),
    );
    std::fs::write(&config, settings).expect("a configuration");
    for host in ["lab", "jumped", "proxied"] {
        let endpoint = lease(host, &config).await;
        assert_eq!(endpoint.label, format!("{host} (127.0.0.1:{})", sshd.port()));
        let session = Session::connect(&endpoint).await.unwrap_or_else(|error| panic!("{host}: {error:?}"));
        let done = session.exec("echo $HOME").await.expect("a command").output().await.expect("its end");
        assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), sshd.home().to_string_lossy());
        session.disconnect().await;
    }
    let error = refused(&lease("elsewhere", &broken_proxy(&sshd)).await).await;
    assert!(matches!(&error.failure, ConnectFailure::Proxy { stderr, .. } if stderr == "no way"), "{error:?}");
}

fn broken_proxy(sshd: &Sshd) -> std::path::PathBuf {
    let config = sshd.directory().join("broken");
    std::fs::write(&config, "Host *\n ProxyCommand sh -c 'echo no way >&2; exit 1'\n").expect("a configuration");
    config
}
