//! What a machine that can fetch nothing needs, collected here by the local interpreter's pip.

use std::{path::PathBuf, process::Stdio};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::{EnvironmentError, Request};
use crate::{cache, templates};

/// The platform in the machine's own words; only the collector reads them.
pub type MachineTags = Value;

/// A file that is brought, by its content.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub sha256: String,
    pub size: u64,
    /// `wheel` or `tool`.
    pub role: String,
    #[serde(skip_serializing, default)]
    pub path: PathBuf,
}

/// Collects what `request` needs on such a machine, or finds what was collected for its like.
pub async fn collect(request: &Request, machine: &MachineTags) -> Result<Vec<File>, EnvironmentError> {
    let failed = |detail: String| EnvironmentError::Wheelhouse { detail };
    let cache = cache::directory().map_err(|error| failed(error.to_string()))?;
    let wish = json!({"collection": request.collection(), "machine": machine, "cache": cache}).to_string();
    let mut child = tokio::process::Command::new(&request.python)
        .args(["-c", templates::WHEELHOUSE])
        .envs(request.variables())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(wish.as_bytes()).await.map_err(|error| failed(error.to_string()))?;
    drop(stdin);
    let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let clean: Vec<String> = said.lines().map(redacted).collect();
        return Err(failed(clean.join("\n")));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

/// A line without what stands before an `@` in addresses.
fn redacted(line: &str) -> String {
    line.split(' ')
        .map(|word| {
            if word.contains("://") && word.contains('@') {
                super::index::without_credentials(word)
            } else {
                word.into()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}
