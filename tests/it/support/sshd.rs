//! A real OpenSSH server on a loopback port, which lives as long as the value that stands for it.
//!
//! It runs as the user who runs the tests, with a home directory of its own, so that nobody's shell set-up interferes;
//! it lets chosen keys in, and takes any further lines for its configuration.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use cloudist::ssh::{
    Endpoint, Handshakes, HostKey, Identity, Liveness, PrivateKey, PublicKey, Transport, generate_key,
};
use russh::keys::ssh_key::LineEnding;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PROGRAM: &str = "/usr/sbin/sshd";

pub struct Sshd {
    directory: TempDir,
    server: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    port: u16,
    host_key: PublicKey,
    client_key: Arc<PrivateKey>,
}

/// What may differ from server to server.
#[derive(Default)]
pub struct SshdBuilder {
    lines: Vec<String>,
    authorized: Vec<PublicKey>,
}

impl SshdBuilder {
    /// A line of sshd_config. Of several `SetEnv` lines sshd obeys one: yours must name a HOME as well.
    pub fn config(mut self, line: &str) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Lets another key in, besides [`Sshd::client_key`].
    pub fn authorize(mut self, key: &PublicKey) -> Self {
        self.authorized.push(key.clone());
        self
    }

    /// A machine without an sshd can't run these tests, and says so.
    pub fn start(self) -> Sshd {
        assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is missing: install openssh-server, as `tests/run tools` does");
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").expect("sshd's privilege separation directory");
        }
        let host_key = generate_key("host").expect("a host key");
        let client_key = Arc::new(generate_key("client").expect("a client key"));
        // Somebody else may take the port between our look and sshd's bind.
        for _ in 0..5 {
            if let Some(sshd) = self.try_start(&host_key, &client_key) {
                return sshd;
            }
        }
        panic!("sshd did not start");
    }

    fn try_start(&self, host_key: &PrivateKey, client_key: &Arc<PrivateKey>) -> Option<Sshd> {
        let directory = tempfile::tempdir().expect("a directory for sshd");
        let port = free_port();
        let file = |name: &str| directory.path().join(name);
        write_key(&file("host_key"), host_key);
        let authorized = std::iter::once(client_key.public_key())
            .chain(&self.authorized)
            .map(|key| key.to_openssh().expect("a public key"))
            .collect::<Vec<_>>()
            .join("\n");
        std::fs::create_dir(file("home")).expect("a home");
        std::fs::write(file("authorized_keys"), authorized + "\n").expect("authorized_keys");
        std::fs::write(file("sshd_config"), self.configuration(directory.path(), port)).expect("sshd_config");

        let mut server = Command::new(PROGRAM)
            .args(["-D", "-e", "-f"])
            .arg(file("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sshd");
        let mut stderr = BufReader::new(server.stderr.take().expect("sshd's stderr"));
        let log = Arc::new(Mutex::new(String::new()));
        loop {
            let mut line = String::new();
            if stderr.read_line(&mut line).expect("sshd's log") == 0 {
                eprintln!("sshd ended: {}", log.lock().expect("the log"));
                server.wait().expect("sshd's end");
                return None;
            }
            let listening = line.contains("Server listening");
            log.lock().expect("the log").push_str(&line);
            if listening {
                break;
            }
        }
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                writeln!(kept.lock().expect("the log"), "{line}").expect("a string");
            }
        });
        Some(Sshd {
            directory,
            server,
            log,
            reader: Some(reader),
            port,
            host_key: host_key.public_key().clone(),
            client_key: Arc::clone(client_key),
        })
    }

    fn configuration(&self, directory: &Path, port: u16) -> String {
        let directory = directory.display();
        let mut text = self.lines.join("\n");
        // The first word on a setting counts, so the test's own lines are ahead.
        write!(
            text,
            "\nListenAddress 127.0.0.1\nPort {port}\nHostKey {directory}/host_key\nPidFile none\nUsePAM no\n\
             StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             AuthorizedKeysFile {directory}/authorized_keys\nLogLevel VERBOSE\nPrintMotd no\n\
             SetEnv HOME={directory}/home\n"
        )
        .expect("a string");
        text
    }
}

impl Sshd {
    pub fn builder() -> SshdBuilder {
        SshdBuilder::default()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn host_key(&self) -> &PublicKey {
        &self.host_key
    }

    /// The key that is let in.
    pub fn client_key(&self) -> &Arc<PrivateKey> {
        &self.client_key
    }

    /// The home directory of commands; they start in the user's usual one all the same.
    pub fn home(&self) -> PathBuf {
        self.directory().join("home")
    }

    /// A directory for whatever a test needs to write; it goes with the server.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn user() -> String {
        let id = Command::new("id").arg("-un").output().expect("id");
        String::from_utf8(id.stdout).expect("a user name").trim().into()
    }

    /// Pins the right host key and uses the right client key.
    pub fn endpoint(&self) -> Endpoint {
        let host = "127.0.0.1".to_owned();
        Endpoint {
            label: format!("m0 ({host}:{})", self.port),
            transport: Transport::Tcp { host, port: self.port },
            user: Sshd::user(),
            identity: Identity::Key(Arc::clone(&self.client_key)),
            host_key: HostKey::Pinned(self.host_key.clone()),
            connect_timeout: Endpoint::CONNECT_TIMEOUT,
            liveness: Liveness::default(),
            handshakes: Handshakes::default(),
        }
    }

    /// Writes a file whose line `ssh-keyscan` would have printed.
    pub fn known_hosts(&self, key: &PublicKey) -> PathBuf {
        let path = self.directory().join("known_hosts");
        let key = key.to_openssh().expect("a public key");
        std::fs::write(&path, format!("[127.0.0.1]:{} {key}\n", self.port)).expect("known_hosts");
        path
    }

    /// Writes the client key as a key file.
    pub fn client_key_file(&self) -> PathBuf {
        let path = self.directory().join("id_ed25519");
        write_key(&path, &self.client_key);
        path
    }

    /// All that the server has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    /// Signals the server, its connections, and their commands.
    pub fn signal(&self, signal: Signal) {
        for pid in tree(i32::try_from(self.server.id()).expect("a pid")).into_iter().filter_map(Pid::from_raw) {
            // Some end while others are signalled.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.server.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Writes a private key as ssh wants it: readable by its owner alone.
pub fn write_key(path: &Path, key: &PrivateKey) {
    std::fs::write(path, key.to_openssh(LineEnding::LF).expect("a private key")).expect("a key file");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("the mode of a key file");
}

/// A process and its descendants. Connections are no members of the server's process group.
fn tree(root: i32) -> Vec<i32> {
    let listed = std::fs::read_dir("/proc").expect("/proc").flatten();
    let parents: Vec<(i32, i32)> = listed
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
