//! What goes into the calls and what comes out of them, without the SDK's many options.

use aws_sdk_ec2::types::Instance;

use super::pairs;
use crate::provider::ec2::offer::Market;

/// A subnet that machines may be put into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub id: String,
    pub zone: String,
    pub vpc: String,
}

/// What `CreateFleet` is to try: one type in one subnet.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    pub instance_type: String,
    pub subnet: String,
    pub weight: u32,
    /// Dollars an hour for one unit of weight.
    pub max_unit_price: Option<f64>,
}

#[derive(Clone, Debug)]
pub struct FleetOrder {
    pub template: String,
    pub market: Market,
    pub capacity: u32,
    pub overrides: Vec<Override>,
    pub token: String,
    pub tags: Vec<(String, String)>,
}

/// What an instant fleet brought, and what it did not.
#[derive(Clone, Debug, Default)]
pub struct FleetReply {
    pub fleet: Option<String>,
    pub instances: Vec<Launched>,
    pub errors: Vec<PoolError>,
}

#[derive(Clone, Debug)]
pub struct Launched {
    pub id: String,
    pub instance_type: String,
    pub subnet: String,
    pub zone: Option<String>,
}

#[derive(Clone, Debug)]
pub struct PoolError {
    pub instance_type: String,
    pub subnet: String,
    pub code: String,
    pub message: String,
}

/// An instance as `DescribeInstances` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub id: String,
    pub state: State,
    pub instance_type: String,
    pub zone: String,
    pub public_ip: Option<String>,
    pub private_ip: Option<String>,
    pub reason: Option<String>,
    pub tags: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Coming,
    Running,
    Going,
    Gone,
}

/// What a launch template says about the machines.
#[derive(Clone, Debug)]
pub struct Blueprint {
    pub image: String,
    pub root_device: String,
    pub disk_gib: i32,
    pub groups: Vec<String>,
    pub public_ip: bool,
    /// Base64.
    pub user_data: String,
    pub tags: Vec<(String, String)>,
}

/// The kinds of thing that a run can leave, in the order in which they are removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belongings {
    pub instances: Vec<Seen>,
    pub fleets: Vec<String>,
    pub templates: Vec<String>,
    pub groups: Vec<String>,
}

/// A run as tags tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedRun {
    pub run: String,
    pub owner: String,
    pub overdue: bool,
}

impl From<&Instance> for Seen {
    fn from(instance: &Instance) -> Self {
        use aws_sdk_ec2::types::InstanceStateName;
        let state = match instance.state().and_then(|state| state.name()) {
            Some(InstanceStateName::Pending) | None => State::Coming,
            Some(InstanceStateName::Running) => State::Running,
            Some(InstanceStateName::Terminated) => State::Gone,
            Some(_) => State::Going,
        };
        let address = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            id: instance.instance_id().unwrap_or_default().to_owned(),
            state,
            instance_type: instance.instance_type().map_or(String::new(), |of| of.as_str().to_owned()),
            zone: instance.placement().and_then(|place| place.availability_zone()).unwrap_or_default().to_owned(),
            public_ip: address(instance.public_ip_address()),
            private_ip: address(instance.private_ip_address()),
            reason: instance.state_reason().and_then(|reason| reason.message()).map(str::to_owned),
            tags: pairs(instance.tags()),
        }
    }
}
