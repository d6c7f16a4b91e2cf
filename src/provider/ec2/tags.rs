//! The tags by which everything that was rented is found again.

use std::time::{Duration, SystemTime};

pub const RUN: &str = "cloudist-run";
pub const OWNER: &str = "cloudist-owner";
/// Seconds since 1970, after which whoever rented it has not been heard of for a whole lease.
pub const EXPIRES: &str = "cloudist-expires";

/// On images: the key of the environment that is in place.
pub const ENVIRONMENT: &str = "cloudist-environment";
/// On images: the setting that named the image it was made from.
pub const BASE: &str = "cloudist-base";
/// On images: who logs in.
pub const USER: &str = "cloudist-user";
/// On images: when it was made, in seconds since 1970.
pub const CREATED: &str = "cloudist-created";

pub fn of_run(run: &str, lease: Duration) -> Vec<(String, String)> {
    vec![
        ("Name".into(), format!("cloudist {run}")),
        (RUN.into(), run.into()),
        (OWNER.into(), owner()),
        (EXPIRES.into(), expiry(lease)),
    ]
}

pub fn expiry(lease: Duration) -> String {
    (now() + lease.as_secs()).to_string()
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Who rents: the user and this computer.
pub fn owner() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".into());
    let system = rustix::system::uname();
    format!("{user}@{}", system.nodename().to_string_lossy())
}

/// Whether a tag's time is over.
pub fn is_over(expires: &str) -> bool {
    expires.parse().is_ok_and(|end: u64| end < now())
}
