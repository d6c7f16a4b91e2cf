//! Bytes that can be checked after a journey, and processes that should be gone.

use std::time::Duration;

use bytes::Bytes;
use cloudist::ssh::{ChildOutput, ChildStdin};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sha2::{Digest, Sha256};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Incompressible, and the same each time.
pub fn noise(length: usize) -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut noise = Vec::with_capacity(length + 8);
    while noise.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(length);
    noise.into()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Reads to the end, keeping only the length and the hash.
pub async fn digest(mut output: ChildOutput) -> (usize, String) {
    let (mut length, mut hasher) = (0, Sha256::new());
    while let Some(bytes) = output.next().await {
        length += bytes.len();
        hasher.update(&bytes);
    }
    (length, hex(&hasher.finalize()))
}

pub async fn send(mut stdin: ChildStdin, bytes: Bytes) {
    stdin.write(bytes).await.expect("the command reads");
    stdin.close();
}

/// Reads up to the first newline.
pub async fn first_line(output: &mut ChildOutput) -> String {
    let mut line = Vec::new();
    while !line.contains(&b'\n') {
        line.extend_from_slice(&output.next().await.expect("a line"));
    }
    String::from_utf8_lossy(&line).trim().into()
}

/// Waits for the end of a process that is none of ours.
pub async fn gone(pid: &str) {
    let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a pid");
    let watched = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        // SAFETY: an `OwnedFd` keeps the one descriptor that it owns open.
        Ok(watched) => unsafe { AsyncFd::register_with_interest(watched, Interest::READABLE) }.expect("a watch"),
        Err(Errno::SRCH) => return,
        Err(error) => panic!("{error}"),
    };
    drop(promptly(watched.readable()).await.expect("an end"));
}

/// Turns a hang into a failure; how long it takes short of that doesn't matter.
pub async fn promptly<T>(step: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), step).await.expect("this hangs")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
