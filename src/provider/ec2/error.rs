//! What can go wrong with EC2, one variant for each thing a user would cure differently.
//!
//! AWS's own codes are sorted here, and nowhere else.

use std::{io, path::PathBuf};

use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use thiserror::Error;

use super::choice::ChoiceError;

#[derive(Debug, Error)]
pub enum Ec2Error {
    #[error("there are no AWS credentials: {detail}")]
    NoCredentials { detail: String },
    #[error("the AWS credentials have expired or are not valid: {detail}")]
    StaleCredentials { detail: String },
    #[error("no AWS region is set")]
    NoRegion,
    #[error("these AWS credentials may not call {action}: {detail}")]
    Denied { action: &'static str, detail: String },
    #[error("cannot reach EC2 to call {action}: {detail}")]
    Unreachable { action: &'static str, detail: String },
    #[error("{region} has no default VPC with a subnet")]
    NoDefaultNetwork { region: String },
    #[error("there is no {what} {name} in {region}")]
    Unknown { what: &'static str, name: String, region: String },
    #[error("the account's quota for {market} machines is used up: {detail}")]
    Quota { market: &'static str, detail: String },
    #[error("EC2 has none of the machines that would do: {detail}")]
    NoCapacity { detail: String },
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    #[error("{instance} ended before it could be used: {detail}")]
    Stillborn { instance: String, detail: String },
    #[error("{instance} did not start within {}", humantime::format_duration(*.after))]
    NeverStarted { instance: String, after: std::time::Duration },
    #[error("cannot find out this computer's public address: {detail}")]
    ClientAddress { detail: String },
    #[error("the record of what is being rented cannot be kept in {}", .path.display())]
    Ledger { path: PathBuf, source: io::Error },
    #[error("cannot make the keys of this run")]
    Key(#[source] russh::keys::ssh_key::Error),
    #[error("{action} failed: {detail} ({code})")]
    Api { action: &'static str, code: String, detail: String },
    #[error("the image {image} was not finished: {detail}")]
    Image { image: String, detail: String },
    #[error("the first minute of the machines would cost more than the budget of ${budget}")]
    Budget { budget: f64 },
    #[error("the part of cloudist that rents machines broke down")]
    Broken,
}

impl Ec2Error {
    /// Sorts the failure of a call.
    pub(super) fn of<E, R>(action: &'static str, error: SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        let Some(service) = error.as_service_error() else {
            return Self::Unreachable { action, detail: DisplayErrorContext(&error).to_string() };
        };
        let code = service.code().unwrap_or("no code").to_owned();
        let detail = service.message().unwrap_or("no further word").to_owned();
        Self::of_code(action, code, detail)
    }

    pub(super) fn of_code(action: &'static str, code: String, detail: String) -> Self {
        match code.as_str() {
            "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => Self::Denied { action, detail },
            "AuthFailure"
            | "InvalidClientTokenId"
            | "RequestExpired"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException" => Self::StaleCredentials { detail },
            "MaxSpotInstanceCountExceeded" => Self::Quota { market: "spot", detail },
            "VcpuLimitExceeded" | "InstanceLimitExceeded" => Self::Quota { market: "on-demand", detail },
            _ => Self::Api { action, code, detail },
        }
    }

    /// For each of several machines, if it is the account that is in the way: asking again would not help.
    pub(super) fn of_the_account(&self) -> Option<Self> {
        match self {
            Self::Denied { action, detail } => Some(Self::Denied { action, detail: detail.clone() }),
            Self::StaleCredentials { detail } => Some(Self::StaleCredentials { detail: detail.clone() }),
            _ => None,
        }
    }

    /// Whether the call named something that isn't there (any more).
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { code, .. } if code.ends_with(".NotFound") || code.contains("DoesNotExist") || code.ends_with("NotFoundException"))
    }

    /// Whether something else still holds on to what was to be deleted.
    pub(super) fn is_in_use(&self) -> bool {
        matches!(self, Self::Api { code, .. } if code == "DependencyViolation")
    }

    /// Whether the user asked for something that cannot be, rather than that it could not be had.
    pub fn is_a_wrong_setting(&self) -> bool {
        matches!(self, Self::NoRegion | Self::Unknown { .. } | Self::Choice(_))
    }

    pub fn help(&self) -> String {
        match self {
            Self::NoCredentials { .. } => "set them up with `aws configure` or AWS_PROFILE, see what `cloudist doctor` says, or stay on this machine: --cd-provider=local".into(),
            Self::StaleCredentials { .. } => "renew them (`aws sso login`, a new access key) and check the clock of this computer; `cloudist doctor` tries them".into(),
            Self::NoRegion => "name one: --cd-region us-east-1, or AWS_REGION".into(),
            Self::Denied { .. } => "attach the policy that `cloudist iam-policy` prints to this user or role".into(),
            Self::Unreachable { .. } => "check the network, the proxy (HTTPS_PROXY) and the region's name; `cloudist doctor` tries each".into(),
            Self::NoDefaultNetwork { .. } => "name a subnet that this computer can reach: --cd-subnet subnet-…, or make a default VPC: aws ec2 create-default-vpc".into(),
            Self::Unknown { what, .. } => format!("check the {what}'s name and the region (--cd-region)"),
            Self::Quota { market: "spot", .. } => "ask for fewer workers, let on-demand machines help (--cd-fallback=on-demand), or have the quota \"All Standard Spot Instance Requests\" raised".into(),
            Self::Quota { .. } => "ask for fewer workers, or have the quota \"Running On-Demand Standard instances\" raised".into(),
            Self::NoCapacity { .. } => "name no instance type or several, use another region, or let on-demand machines help: --cd-fallback=on-demand".into(),
            Self::Choice(error) => error.help(),
            Self::Stillborn { .. } | Self::NeverStarted { .. } => "a disk key that may not be used, or a quota of volumes, can be the reason; `cloudist doctor` tells more".into(),
            Self::ClientAddress { .. } => "name a security group that lets this computer in on port 22: --cd-security-group sg-…".into(),
            Self::Ledger { .. } => "set CLOUDIST_STATE_DIR to a directory that can be written: nothing is rented without a record of it".into(),
            Self::Key(_) => "check the system's random number source".into(),
            Self::Image { .. } => "`cloudist bake --list` shows what there is, `cloudist bake --remove` removes it".into(),
            Self::Budget { .. } => "raise --cd-budget, or ask for fewer workers".into(),
            Self::Api { .. } | Self::Broken => "`cloudist sweep` removes what may be left over; `cloudist doctor` tells more".into(),
        }
    }
}
