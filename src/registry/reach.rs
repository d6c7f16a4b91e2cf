//! An endpoint in a form that a file can hold: keys by the path of their file, host keys in OpenSSH's form.
//!
//! What is read back makes the same endpoint: the same host key is expected, and nothing else.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::RegistryError;
use crate::ssh::{
    AgentKeys, Endpoint, Handshakes, HostKey, Identity, KeyOffer, Liveness, PrivateKey, PublicKey, Transport,
};

/// How to get to a machine, and who we are there.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Reach {
    pub label: String,
    pub way: Way,
    pub user: String,
    pub who: Who,
    pub expects: Expects,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    Tcp { host: String, port: u16 },
    ProxyCommand(String),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// The key that was made for the run.
    Key(PathBuf),
    /// The user's own keys.
    Offer { agent: Option<PathBuf>, files: Vec<PathBuf>, only_listed: bool },
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expects {
    /// In OpenSSH's form.
    Pinned(String),
    KnownHosts {
        files: Vec<PathBuf>,
        name: String,
        port: Option<u16>,
    },
}

impl Reach {
    /// `key` is where the run's own key lies, if the endpoint has one.
    pub(super) fn of(endpoint: &Endpoint, key: &Path) -> Result<Self, RegistryError> {
        let Endpoint { label, transport, user, identity, host_key, .. } = endpoint;
        Ok(Self {
            label: label.clone(),
            way: match transport {
                Transport::Tcp { host, port } => Way::Tcp { host: host.clone(), port: *port },
                Transport::ProxyCommand(command) => Way::ProxyCommand(command.clone()),
            },
            user: user.clone(),
            who: match identity {
                Identity::Key(_) => Who::Key(key.to_owned()),
                Identity::Offer(KeyOffer { agent, files, agent_keys }) => Who::Offer {
                    agent: agent.clone(),
                    files: files.clone(),
                    only_listed: *agent_keys == AgentKeys::Listed,
                },
            },
            expects: match host_key {
                HostKey::Pinned(key) => Expects::Pinned(key.to_openssh().map_err(RegistryError::Key)?),
                HostKey::KnownHosts { files, name, port } => {
                    Expects::KnownHosts { files: files.clone(), name: name.clone(), port: *port }
                }
            },
        })
    }

    /// The endpoint, with the run's key read from its file.
    pub fn endpoint(&self) -> Result<Endpoint, RegistryError> {
        let identity = match &self.who {
            Who::Key(path) => {
                let unreadable = |source: io::Error| RegistryError::Disk { action: "read", path: path.clone(), source };
                let text = std::fs::read_to_string(path).map_err(unreadable)?;
                Identity::Key(Arc::new(PrivateKey::from_openssh(text).map_err(RegistryError::Key)?))
            }
            Who::Offer { agent, files, only_listed } => Identity::Offer(KeyOffer {
                agent: agent.clone(),
                files: files.clone(),
                agent_keys: if *only_listed { AgentKeys::Listed } else { AgentKeys::All },
            }),
        };
        let host_key = match &self.expects {
            Expects::Pinned(key) => HostKey::Pinned(PublicKey::from_openssh(key).map_err(RegistryError::Key)?),
            Expects::KnownHosts { files, name, port } => {
                HostKey::KnownHosts { files: files.clone(), name: name.clone(), port: *port }
            }
        };
        Ok(Endpoint {
            label: self.label.clone(),
            transport: match &self.way {
                Way::Tcp { host, port } => Transport::Tcp { host: host.clone(), port: *port },
                Way::ProxyCommand(command) => Transport::ProxyCommand(command.clone()),
            },
            user: self.user.clone(),
            identity,
            host_key,
            connect_timeout: Endpoint::CONNECT_TIMEOUT,
            liveness: Liveness::default(),
            handshakes: Handshakes::default(),
        })
    }
}
