//! Decides whether a server's host key is the expected one.
//!
//! A key is pinned, or listed in a known_hosts file; there is no third way, and no setting that accepts any key.

use std::path::PathBuf;
use std::sync::Arc;

use russh::keys::{Algorithm, HashAlg, PublicKey};

use super::HostKeyError;
use super::known_hosts::{KnownHosts, Verdict};

/// How the server must prove who it is.
#[derive(Clone, Debug)]
pub enum HostKey {
    /// This very key.
    Pinned(PublicKey),
    /// A key that these files list for the host.
    KnownHosts {
        files: Vec<PathBuf>,
        /// The name to look up: the host, or its `HostKeyAlias`.
        name: String,
        /// `None` for an alias, which is looked up without a port.
        port: Option<u16>,
    },
}

/// A [`HostKey`] with its files read.
#[derive(Debug)]
pub(super) enum Expectation {
    Pinned { label: String, key: PublicKey },
    Listed { known: KnownHosts, files: Vec<PathBuf>, name: String, port: Option<u16> },
}

impl HostKey {
    pub(super) async fn expectation(&self, label: &str) -> Result<Expectation, HostKeyError> {
        match self {
            HostKey::Pinned(key) => Ok(Expectation::Pinned { label: label.into(), key: key.clone() }),
            HostKey::KnownHosts { files, name, port } => {
                let mut known = KnownHosts::default();
                for file in files {
                    match tokio::fs::read(file).await {
                        Ok(bytes) => known.add_file(file, &String::from_utf8_lossy(&bytes)),
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                        Err(error) => {
                            return Err(HostKeyError::Unreadable { file: file.clone(), source: Arc::new(error) });
                        }
                    }
                }
                Ok(Expectation::Listed { known, files: files.clone(), name: name.clone(), port: *port })
            }
        }
    }
}

impl Expectation {
    /// The kinds of key that can pass.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        match self {
            Expectation::Pinned { key, .. } => vec![key.algorithm()],
            Expectation::Listed { known, name, port, .. } => known.algorithms(name, *port),
        }
    }

    pub(super) fn check(&self, key: &PublicKey) -> Result<(), HostKeyError> {
        match self {
            Expectation::Pinned { key: expected, .. } if expected.key_data() == key.key_data() => Ok(()),
            Expectation::Pinned { label, key: expected } => Err(HostKeyError::Mismatch {
                host: label.clone(),
                expected: vec![fingerprint(expected)],
                got: fingerprint(key),
                recorded: None,
            }),
            Expectation::Listed { known, files, name, port } => {
                let host = KnownHosts::name_with_port(name, *port);
                match known.check(name, *port, key) {
                    Verdict::Known => Ok(()),
                    Verdict::Revoked(at) => Err(HostKeyError::Revoked { host, got: fingerprint(key), at }),
                    Verdict::Mismatch(recorded) => Err(HostKeyError::Mismatch {
                        host,
                        expected: recorded.iter().map(|(key, _)| fingerprint(key)).collect(),
                        got: fingerprint(key),
                        recorded: recorded.into_iter().next().map(|(_, place)| place),
                    }),
                    Verdict::Unknown { authority } => Err(HostKeyError::Unknown {
                        host,
                        port: port.unwrap_or(22),
                        algorithm: key.algorithm().to_string(),
                        got: fingerprint(key),
                        files: files.clone(),
                        authority,
                    }),
                }
            }
        }
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}
