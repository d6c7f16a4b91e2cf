//! The calls to EC2 that a run makes, and no others. What they need to be allowed stands in `policy.rs`.
//!
//! Turns SDK shapes into ours and errors into [`Ec2Error`]; decides nothing.

mod images;
mod looking;
mod making;
mod removing;
mod shapes;

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region, SdkConfig, profile::ProfileFileCredentialsProvider, provider_config::ProviderConfig,
    retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_sdk_ec2::{Client, config::ProvideCredentials, types::Tag};
use futures_util::FutureExt;

use super::{error::Ec2Error, https};

pub use images::{Baked, ImageOrder};
pub use shapes::{
    Belongings, Blueprint, FleetOrder, FleetReply, Launched, Override, PoolError, Seen, State, Subnet, TaggedRun,
};

/// Which account and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub region: Option<String>,
    pub profile: Option<String>,
}

/// One region of the user's account.
#[derive(Clone, Debug)]
pub struct Cloud {
    client: Client,
    config: SdkConfig,
    pub region: String,
}

const TRIES: u32 = 5;
const CALL_PATIENCE: Duration = Duration::from_secs(60);

impl Cloud {
    /// Finds credentials and region as AWS's own tools do; makes no call to EC2.
    pub async fn find(place: &Place) -> Result<Self, Ec2Error> {
        let https = https::for_the_sdk();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(https.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
            .timeout_config(TimeoutConfig::builder().operation_timeout(CALL_PATIENCE).build());
        let mut region = place.region.clone().map(Region::new);
        if let Some(profile) = &place.profile {
            if region.is_none() {
                let regional = aws_config::defaults(BehaviorVersion::latest()).http_client(https.clone());
                region = regional.profile_name(profile).no_credentials().load().boxed().await.region().cloned();
            }
            // The SDK's own chain looks at AWS_ACCESS_KEY_ID first: a profile that was asked for wins over it.
            let provider = ProfileFileCredentialsProvider::builder()
                .configure(&ProviderConfig::without_region().with_http_client(https).with_region(region.clone()))
                .profile_name(profile);
            loader = loader.profile_name(profile).credentials_provider(provider.build());
        }
        if let Some(region) = region {
            loader = loader.region(region);
        }
        let config = loader.load().boxed().await;
        let missing = |detail: String| Ec2Error::NoCredentials {
            detail: match &place.profile {
                Some(profile) => format!("profile {profile}: {detail}"),
                None => detail,
            },
        };
        let provider =
            config.credentials_provider().ok_or_else(|| missing("no source of them is configured".into()))?;
        provider.provide_credentials().await.map_err(|error| missing(crate::text::chain(&error)))?;
        let region = config.region().ok_or(Ec2Error::NoRegion)?.to_string();
        Ok(Self { client: Client::new(&config), config, region })
    }

    /// The same account elsewhere.
    pub fn in_region(&self, region: &str) -> Self {
        let config = self.config.to_builder().region(Region::new(region.to_owned())).build();
        Self { client: Client::new(&config), config, region: region.to_owned() }
    }

    /// What clients of other services are made from.
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    pub fn client(&self) -> &Client {
        &self.client
    }
}

fn pairs(tags: &[Tag]) -> Vec<(String, String)> {
    tags.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned()))).collect()
}

/// What isn't there needs no removal.
fn gone(result: Result<(), Ec2Error>) -> Result<(), Ec2Error> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    }
}
