//! From a host's name to its endpoint, by way of the user's SSH configuration.
//!
//! Asks `ssh -G`, the only reader of that configuration that gets all of it right; without ssh, defaults apply. Whatever
//! the configuration says of `StrictHostKeyChecking`, a host key must be listed.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::config::{Here, HostConfig, Proxy};
use super::{HostEntry, HostsError};
use crate::ssh::{AgentKeys, Endpoint, Handshakes, HostKey, Identity, KeyOffer, Liveness, Transport};

/// `Match exec` may run programs, which may hang.
const ANSWER: Duration = Duration::from_secs(20);

/// Where the settings of hosts come from.
#[derive(Clone, Debug)]
pub struct SshConfig {
    /// The file to read instead of the user's own.
    file: Option<PathBuf>,
    here: Here,
}

/// A host with its settings.
#[derive(Debug)]
pub(super) struct Resolved {
    config: HostConfig,
    transport: Transport,
}

impl SshConfig {
    /// Reads `file`, or the user's own configuration.
    pub fn new(file: Option<PathBuf>) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let here = Here {
            home: variable("HOME").unwrap_or_else(|| "/".into()).into(),
            user: variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "root".into()),
            auth_sock: variable("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(PathBuf::from),
            variable,
        };
        Self { file, here }
    }

    pub(super) async fn resolve(&self, entry: &HostEntry) -> Result<Resolved, HostsError> {
        let config = match self.ask_ssh(entry).await? {
            Some(text) => HostConfig::parse(&text, &entry.host, &self.here),
            None => {
                let mut config = HostConfig::defaults(&entry.host, &self.here);
                config.user = entry.user.clone().unwrap_or(config.user);
                config.port = entry.port.unwrap_or(config.port);
                config
            }
        };
        let transport = self.transport(&config);
        Ok(Resolved { config, transport })
    }

    /// `None` where there is no ssh.
    async fn ask_ssh(&self, entry: &HostEntry) -> Result<Option<String>, HostsError> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-G").stdin(Stdio::null()).kill_on_drop(true);
        if let Some(file) = &self.file {
            ssh.arg("-F").arg(file);
        }
        if let Some(user) = &entry.user {
            ssh.arg("-l").arg(user);
        }
        if let Some(port) = entry.port {
            ssh.arg("-p").arg(port.to_string());
        }
        ssh.arg("--").arg(&entry.host);
        let failed = |source| HostsError::Ssh { host: entry.host.clone(), source };
        let output = match timeout(ANSWER, ssh.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(Err(error)) => return Err(failed(error)),
            Err(elapsed) => return Err(failed(io::Error::new(io::ErrorKind::TimedOut, elapsed))),
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(HostsError::Config { host: entry.host.clone(), said });
        }
        Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    fn transport(&self, config: &HostConfig) -> Transport {
        match &config.proxy {
            Proxy::Direct => Transport::Tcp { host: config.host.clone(), port: config.port },
            Proxy::Command(command) => Transport::ProxyCommand(command.clone()),
            Proxy::Jump(hops) => Transport::ProxyCommand(self.jump(hops, &config.host, config.port)),
        }
    }

    /// The command that passes through the hops. It never asks, and never trusts a hop that isn't known.
    fn jump(&self, hops: &[String], host: &str, port: u16) -> String {
        let mut words: Vec<String> = ["ssh", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes"].map(Into::into).into();
        if let Some(file) = &self.file {
            words.extend(["-F".into(), file.to_string_lossy().into_owned()]);
        }
        if let Some((last, before)) = hops.split_last() {
            if !before.is_empty() {
                words.extend(["-J".into(), before.join(",")]);
            }
            words.extend(["-W".into(), format!("[{host}]:{port}"), "--".into(), destination(last)]);
        }
        shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default()
    }
}

/// A hop as a destination that ssh takes together with a port.
fn destination(hop: &str) -> String {
    if hop.starts_with("ssh://") { hop.into() } else { format!("ssh://{hop}") }
}

impl Resolved {
    /// The server that sees our handshakes first.
    pub(super) fn entrance(&self) -> String {
        match &self.transport {
            Transport::Tcp { host, port } => format!("{host}:{port}"),
            Transport::ProxyCommand(command) => match &self.config.proxy {
                Proxy::Jump(hops) => hops.first().cloned().unwrap_or_default(),
                Proxy::Direct | Proxy::Command(_) => command.clone(),
            },
        }
    }

    pub(super) fn endpoint(self, name: &str, handshakes: Handshakes) -> Endpoint {
        let HostConfig { host, user, port, identity_files, agent, known_hosts, host_key_alias, .. } = self.config;
        let host_key = match host_key_alias {
            Some(alias) => HostKey::KnownHosts { files: known_hosts, name: alias, port: None },
            None => HostKey::KnownHosts { files: known_hosts, name: host.clone(), port: Some(port) },
        };
        let agent_keys = if self.config.identities_only { AgentKeys::Listed } else { AgentKeys::All };
        Endpoint {
            label: format!("{name} ({host}:{port})"),
            transport: self.transport,
            user,
            identity: Identity::Offer(KeyOffer { agent, files: identity_files, agent_keys }),
            host_key,
            connect_timeout: self.config.connect_timeout.unwrap_or(Endpoint::CONNECT_TIMEOUT),
            liveness: Liveness::default(),
            handshakes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_goes_hop_by_hop() {
        let config = SshConfig::new(Some("/a b/config".into()));
        assert_eq!(
            config.jump(&["one".into(), "u@two:2022".into()], "10.0.0.1", 22),
            "ssh '-oBatchMode=yes' '-oStrictHostKeyChecking=yes' -F '/a b/config' -J one -W '[10.0.0.1]:22' -- ssh://u@two:2022"
        );
    }
}
