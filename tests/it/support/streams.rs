//! Bytes that can be checked after a journey, and processes that should be gone.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cloudist::ssh::{ChildOutput, ChildStdin};
use sha2::{Digest, Sha256};

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

/// Whether the process disappears, or is a zombie, soon.
pub async fn ends_soon(pid: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let status = std::fs::read_to_string(Path::new("/proc").join(pid).join("status"));
        if status.map_or(true, |status| status.contains("State:\tZ")) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
