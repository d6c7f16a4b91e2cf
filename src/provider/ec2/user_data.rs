//! What a machine is told at its first boot: which host key to show, whom to let in, and when to end by itself.
//!
//! cloud-init reads it as YAML, of which JSON is a part.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use russh::keys::{PrivateKey, ssh_key::LineEnding};
use serde_json::json;

use super::error::Ec2Error;
use crate::templates;

/// Where a machine finds until when it may live, in seconds of its own uptime.
pub const LEASE_FILE: &str = "/run/cloudist/lease";

/// The whole of it, as base64.
///
/// `host` becomes the machine's only host key, so that whoever answers in its place is found out; it is of no use once
/// the run is over.
pub fn render(host: &PrivateKey, client: &PrivateKey, lease: Duration) -> Result<String, Ec2Error> {
    let broken = Ec2Error::Key;
    let guard =
        templates::LEASE_GUARD.replace("@LEASE_FILE@", LEASE_FILE).replace("@SECONDS@", &lease.as_secs().to_string());
    let document = json!({
        "bootcmd": [["sh", "-c", guard]],
        "ssh_deletekeys": true,
        "ssh_genkeytypes": [],
        "ssh_keys": {
            "ed25519_private": host.to_openssh(LineEnding::LF).map_err(broken)?.as_str(),
            "ed25519_public": host.public_key().to_openssh().map_err(broken)?,
        },
        "ssh_authorized_keys": [client.public_key().to_openssh().map_err(broken)?],
        "package_update": false,
        "package_upgrade": false,
    });
    let text = serde_json::to_string_pretty(&document).expect("texts make JSON");
    Ok(BASE64_STANDARD.encode(format!("#cloud-config\n{text}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::generate_key;

    #[test]
    fn it_is_small_enough_for_ec2() {
        let key = || generate_key("test").unwrap();
        let data = render(&key(), &key(), Duration::from_secs(900)).unwrap();
        let text = String::from_utf8(BASE64_STANDARD.decode(&data).unwrap()).unwrap();
        assert!(text.starts_with("#cloud-config\n") && text.len() < 16 << 10, "{} bytes", text.len());
        let json: serde_json::Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
        assert!(json["bootcmd"][0][2].as_str().unwrap().contains("900"));
        assert!(!json["bootcmd"].to_string().contains('@'));
    }
}
