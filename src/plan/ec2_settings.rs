//! What a run asks of EC2, besides the size of its machines.

use std::time::Duration;

use bytesize::ByteSize;

use super::{
    error::SettingError,
    settings::Reader,
    values::{disk, dollars, keyword, lease, truth},
};

/// What to do when spot machines run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    None,
    OnDemand,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ec2Settings {
    pub region: Option<String>,
    pub profile: Option<String>,
    pub instance_types: Vec<String>,
    pub image: String,
    pub subnets: Vec<String>,
    pub security_groups: Vec<String>,
    pub private_ip: bool,
    /// Dollars an hour for one machine.
    pub max_price: Option<f64>,
    /// Dollars for the run.
    pub budget: Option<f64>,
    pub disk: ByteSize,
    pub fallback: Fallback,
    pub lease: Duration,
    /// How long machines outlive the run.
    pub keep: Option<Duration>,
}

impl Ec2Settings {
    pub(super) fn read(read: &Reader) -> Result<Self, SettingError> {
        Ok(Self {
            region: read.text("region")?,
            profile: read.text("profile")?,
            instance_types: read.list("instance-type")?,
            image: read.text("image")?.unwrap_or_else(|| "al2023".into()),
            subnets: read.list("subnet")?,
            security_groups: read.list("security-group")?,
            private_ip: read.parsed("private-ip", "`true` or `false`", truth)?.unwrap_or(false),
            max_price: read.parsed("max-price", "an amount of dollars above 0", dollars)?,
            budget: read.parsed("budget", "an amount of dollars above 0", dollars)?,
            disk: read
                .parsed("disk", "an amount of data of at least 8 GiB (a number of GiB, or with a unit)", disk)?
                .unwrap_or(ByteSize::gib(16)),
            fallback: read.parsed("fallback", "`none` or `on-demand`", keyword)?.unwrap_or(Fallback::None),
            lease: read
                .parsed("lease", "a duration of at least 5 seconds (90s, 15m, 1h)", lease)?
                .unwrap_or(Duration::from_secs(15 * 60)),
            keep: read.parsed("keep", "a duration of at least 5 seconds (90s, 15m, 1h)", lease)?,
        })
    }
}
