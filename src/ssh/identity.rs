//! Which keys we can offer: one of our own making, or those of the user's agent and key files.
//!
//! Reads public halves only, where it can; never asks for a passphrase, never writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKey, PublicKey, decode_secret_key, load_public_key};
use tokio::net::UnixStream;

/// Who we are at an endpoint.
#[derive(Clone, Debug)]
pub enum Identity {
    Key(Arc<PrivateKey>),
    Offer(KeyOffer),
}

/// The keys to try, as OpenSSH would.
#[derive(Clone, Debug)]
pub struct KeyOffer {
    /// The agent's socket.
    pub agent: Option<PathBuf>,
    pub files: Vec<PathBuf>,
    pub agent_keys: AgentKeys,
}

/// Which of the agent's keys to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentKeys {
    All,
    /// Only those that a key file names: `IdentitiesOnly yes`.
    Listed,
}

pub(super) type Agent = AgentClient<UnixStream>;

/// The keys of one attempt to get in, in the order in which to try them.
pub(super) struct Candidates {
    pub agent: Option<Agent>,
    pub keys: Vec<Candidate>,
    /// Keys that cannot be offered, each with the reason.
    pub skipped: Vec<String>,
}

pub(super) struct Candidate {
    pub name: String,
    pub public: PublicKey,
    pub secret: Secret,
}

pub(super) enum Secret {
    Here(Arc<PrivateKey>),
    InAgent,
}

/// What a key file gives away without a passphrase.
struct KeyFile {
    path: PathBuf,
    public: PublicKey,
    secret: Option<Arc<PrivateKey>>,
}

impl Identity {
    pub(super) async fn candidates(&self) -> Candidates {
        match self {
            Identity::Key(key) => Candidates {
                agent: None,
                keys: vec![Candidate {
                    name: describe("the run's own key", key.public_key()),
                    public: key.public_key().clone(),
                    secret: Secret::Here(Arc::clone(key)),
                }],
                skipped: Vec::new(),
            },
            Identity::Offer(offer) => offer.candidates().await,
        }
    }
}

impl KeyOffer {
    /// The agent's keys that a file names, the agent's other keys, then the files' own.
    async fn candidates(&self) -> Candidates {
        let mut skipped = Vec::new();
        let (agent, held) = match &self.agent {
            Some(socket) => open_agent(socket, &mut skipped).await,
            None => (None, Vec::new()),
        };
        let files: Vec<KeyFile> = self.files.iter().filter_map(|path| read_key_file(path, &mut skipped)).collect();
        let listed = |key: &PublicKey| files.iter().any(|file| file.public.key_data() == key.key_data());
        let in_agent = |key: &PublicKey| held.iter().any(|(held, _)| held.key_data() == key.key_data());

        let (mut offered, others): (Vec<_>, Vec<_>) = held.iter().partition(|(key, _)| listed(key));
        if self.agent_keys == AgentKeys::All {
            offered.extend(others);
        }
        let mut keys: Vec<Candidate> = offered
            .into_iter()
            .map(|(key, comment)| Candidate {
                name: describe(&format!("{comment} in the agent"), key),
                public: key.clone(),
                secret: Secret::InAgent,
            })
            .collect();
        for file in files.iter().filter(|file| !in_agent(&file.public)) {
            match &file.secret {
                Some(secret) => keys.push(Candidate {
                    name: describe(&file.path.display().to_string(), &file.public),
                    public: file.public.clone(),
                    secret: Secret::Here(Arc::clone(secret)),
                }),
                None => skipped.push(encrypted(&file.path)),
            }
        }
        Candidates { agent, keys, skipped }
    }
}

async fn open_agent(socket: &Path, skipped: &mut Vec<String>) -> (Option<Agent>, Vec<(PublicKey, String)>) {
    let unusable = |error: russh::keys::Error| format!("the keys of the agent at {}: {error}", socket.display());
    let mut agent = match AgentClient::connect_uds(socket).await {
        Ok(agent) => agent,
        Err(error) => {
            skipped.push(unusable(error));
            return (None, Vec::new());
        }
    };
    match agent.request_identities().await {
        Ok(identities) => {
            let held = identities
                .into_iter()
                .filter_map(|identity| match identity {
                    AgentIdentity::PublicKey { key, comment } => Some((key, comment)),
                    AgentIdentity::Certificate { .. } => None,
                })
                .collect();
            (Some(agent), held)
        }
        Err(error) => {
            skipped.push(unusable(error));
            (None, Vec::new())
        }
    }
}

/// `None` for a file that is absent, which is normal for the default names, or of no use.
fn read_key_file(path: &Path, skipped: &mut Vec<String>) -> Option<KeyFile> {
    let public_path = {
        let mut name = path.as_os_str().to_owned();
        name.push(".pub");
        PathBuf::from(name)
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // The private half may be in the agent alone.
            let public = load_public_key(&public_path).ok()?;
            return Some(KeyFile { path: path.into(), public, secret: None });
        }
        Err(error) => {
            skipped.push(format!("{}: {error}", path.display()));
            return None;
        }
    };
    if let Ok(public) = PublicKey::from_openssh(text.trim_end()) {
        return Some(KeyFile { path: path.into(), public, secret: None });
    }
    match decode_secret_key(&text, None) {
        Ok(secret) => {
            Some(KeyFile { path: path.into(), public: secret.public_key().clone(), secret: Some(Arc::new(secret)) })
        }
        Err(error) => {
            let public = match PrivateKey::from_openssh(&text) {
                Ok(locked) if locked.is_encrypted() => Some(locked.public_key().clone()),
                _ if text.contains("ENCRYPTED") => load_public_key(&public_path).ok(),
                _ => {
                    skipped.push(format!("{}: {error}", path.display()));
                    return None;
                }
            };
            if public.is_none() {
                skipped.push(encrypted(path));
            }
            Some(KeyFile { path: path.into(), public: public?, secret: None })
        }
    }
}

fn encrypted(path: &Path) -> String {
    let path = path.display();
    format!("{path} is encrypted or absent, and not in the ssh-agent: run `ssh-add {path}`")
}

fn describe(name: &str, key: &PublicKey) -> String {
    format!("{name} ({} {})", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}
