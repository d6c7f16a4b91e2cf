//! What a machine is told on its stdin, and what it answers on its stdout: one line of JSON each.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parameters {
    /// The directory that holds the homes; the machine takes the first free one.
    pub pool: PathBuf,
    /// The only key that may log in, in OpenSSH's format.
    pub client_key: String,
    /// The key that the machine must prove to hold, in OpenSSH's format.
    pub host_key: String,
    pub env: BTreeMap<String, String>,
}

/// A later line on stdin: this word, and for how many seconds it goes on without one.
pub(super) const KEEP: &str = "keep";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub port: u16,
    pub home: PathBuf,
}
