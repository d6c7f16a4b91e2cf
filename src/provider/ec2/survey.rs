//! What an account lets a run do, found out by asking and by dry runs. Changes nothing.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use aws_sdk_sts::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextRef},
    error::BoxError,
    primitives::{DateTime, DateTimeFormat},
};

use super::{
    Architecture, Ec2Plan, Market,
    api::{Cloud, Subnet},
    error::Ec2Error,
    image::{BootImage, Wanted},
    network,
};

/// Who AWS takes us for.
#[derive(Clone, Debug)]
pub struct Identity {
    pub account: String,
    pub arn: String,
}

/// AWS's first answer.
#[derive(Debug)]
pub struct Greeting {
    pub identity: Result<Identity, Ec2Error>,
    /// By how many seconds this computer's clock is ahead, if AWS has answered at all.
    pub clock_ahead: Option<i64>,
}

/// Service Quotas' codes for the standard machine families.
const SPOT_QUOTA: &str = "L-34B43A08";
const ON_DEMAND_QUOTA: &str = "L-1216C47A";

/// The families that these quotas are about.
const STANDARD: [&str; 11] = ["a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"];

pub async fn greet(cloud: &Cloud) -> Greeting {
    let clock = Clock::default();
    let config = aws_sdk_sts::config::Builder::from(cloud.config()).interceptor(clock.clone()).build();
    let asked = aws_sdk_sts::Client::from_conf(config).get_caller_identity().send().await;
    let identity = asked
        .map_err(|error| Ec2Error::of("GetCallerIdentity", error))
        .map(|known| Identity { account: known.account.unwrap_or_default(), arn: known.arn.unwrap_or_default() });
    let clock_ahead = *clock.ahead.lock().unwrap_or_else(PoisonError::into_inner);
    Greeting { identity, clock_ahead }
}

/// Reads the date of each answer.
#[derive(Clone, Debug, Default)]
struct Clock {
    ahead: Arc<Mutex<Option<i64>>>,
}

impl Intercept for Clock {
    fn name(&self) -> &'static str {
        "cloudist's clock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let theirs = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        if let Some(theirs) = theirs {
            let ours = DateTime::from(SystemTime::now());
            *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(ours.secs() - theirs.secs());
        }
        Ok(())
    }
}

/// The subnets that a run would use.
pub async fn subnets(cloud: &Cloud, plan: &Ec2Plan) -> Result<Vec<Subnet>, Ec2Error> {
    network::subnets(cloud, plan).await
}

/// The address that machines would let in; `None` if that is left to security groups that were named.
pub async fn client_address(plan: &Ec2Plan) -> Result<Option<IpAddr>, Ec2Error> {
    network::client_address(plan).await
}

/// What machines of an architecture would boot.
pub async fn image(cloud: &Cloud, plan: &Ec2Plan, architecture: Architecture) -> Result<BootImage, Ec2Error> {
    BootImage::find(cloud, &Wanted::from(plan.settings.image.as_str()), &architecture.to_string()).await
}

/// Whether what a run has made could be found again.
pub async fn listing(cloud: &Cloud) -> Result<(), Ec2Error> {
    cloud.belongings("none").await.map(|_| ())
}

/// How many virtual CPUs of standard machines may run at once.
pub async fn quota(cloud: &Cloud, market: Market) -> Result<f64, Ec2Error> {
    let code = match market {
        Market::Spot => SPOT_QUOTA,
        Market::OnDemand => ON_DEMAND_QUOTA,
    };
    let client = aws_sdk_servicequotas::Client::new(cloud.config());
    let found = client.get_service_quota().service_code("ec2").quota_code(code).send().await;
    let found = found.map_err(|error| Ec2Error::of("GetServiceQuota", error))?;
    Ok(found.quota.and_then(|quota| quota.value).unwrap_or_default())
}

/// Whether a machine counts against the quotas that [`quota`] asks for.
pub fn is_standard(instance_type: &str) -> bool {
    let family = instance_type.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
    STANDARD.contains(&family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accelerators_have_quotas_of_their_own() {
        assert!(["m7i.large", "is4gen.large", "t3.nano", "z1d.large"].into_iter().all(is_standard));
        assert!(!["g5.xlarge", "inf2.xlarge", "hpc7a.48xlarge", "mac2.metal"].into_iter().any(is_standard));
    }
}
