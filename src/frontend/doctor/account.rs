//! The checks of the AWS account: asks, and makes dry runs. Changes nothing.

use super::check::{Check, Report};
use crate::{
    frontend::bridge,
    plan::{Fallback, Settings},
    provider::ec2::{
        Cloud, Ec2Error, Ec2Plan, Forecast, Market, Subnet, forecast,
        survey::{self, Greeting},
        sweep,
        trials::{Permission, Trial, try_all},
    },
    text,
};

/// AWS takes no request that is signed five minutes early or late.
const CLOCK_FAILS: i64 = 300;
const CLOCK_WARNS: i64 = 60;

pub async fn examine(report: &mut Report, settings: &Settings, credentials: Option<&str>) {
    let plan = bridge::ec2_plan(settings, "");
    let cloud = match Cloud::find(&plan.place()).await {
        Ok(cloud) => cloud,
        Err(error) => return report.add(Check::refused(subject_of(&error), &error)),
    };
    report.add(Check::ok("credentials", format!("found by {}", credentials.unwrap_or("this machine's role"))));
    // Where nobody answers, each takes its time to find out.
    let (Greeting { identity, clock_ahead }, subnets) =
        tokio::join!(survey::greet(&cloud), survey::subnets(&cloud, &plan));
    if let Some(ahead) = clock_ahead {
        report.add(clock(ahead));
    }
    match identity {
        Ok(identity) => {
            report.add(Check::ok("identity", format!("{} in account {}", identity.arn, identity.account)));
        }
        Err(error @ Ec2Error::StaleCredentials { .. }) => return report.add(Check::refused("identity", &error)),
        Err(error) => report.add(Check::warn("identity", text::chain(&error), error.help())),
    }
    let subnets = match subnets {
        Ok(subnets) => subnets,
        Err(error) => {
            report.add(Check::refused(subject_of(&error), &error));
            if matches!(error, Ec2Error::Unreachable { .. }) {
                return;
            }
            Vec::new()
        }
    };
    if !subnets.is_empty() {
        report.add(Check::ok("region", format!("{}, with {} subnets that would be used", cloud.region, subnets.len())));
    }
    report.add(address(&plan).await);
    let launch = launch(report, &cloud, &plan, settings.num_workers).await;
    if let (Some(launch), Some(subnet)) = (&launch, subnets.first()) {
        permissions(report, &cloud, &plan, launch, subnet).await;
    }
    quotas(report, &cloud, settings, launch.as_ref()).await;
    report.add(left_over(&cloud, &plan).await);
}

fn subject_of(error: &Ec2Error) -> &'static str {
    match error {
        Ec2Error::NoCredentials { .. } | Ec2Error::StaleCredentials { .. } => "credentials",
        Ec2Error::NoRegion | Ec2Error::Unreachable { .. } => "region",
        Ec2Error::Denied { .. } => "permissions",
        _ => "network",
    }
}

fn clock(ahead: i64) -> Check {
    let finding = match ahead {
        0 => "as AWS's".into(),
        1.. => format!("{ahead} s ahead of AWS's"),
        _ => format!("{} s behind AWS's", -ahead),
    };
    let help = "set it, best by a time service: AWS takes no request that is five minutes early or late";
    match ahead.abs() {
        CLOCK_FAILS.. => Check::fail("clock", finding, help),
        CLOCK_WARNS.. => Check::warn("clock", finding, help),
        _ => Check::ok("clock", finding),
    }
}

async fn address(plan: &Ec2Plan) -> Check {
    match survey::client_address(plan).await {
        Ok(Some(address)) => Check::ok("address", format!("machines would let in {address} alone")),
        Ok(None) => Check::ok("address", "left to the security groups that are named"),
        Err(error) => Check::refused("address", &error),
    }
}

async fn launch(report: &mut Report, cloud: &Cloud, plan: &Ec2Plan, workers: u32) -> Option<Forecast> {
    let forecast = match forecast(cloud, plan, workers).await {
        Ok(forecast) => forecast,
        // Told of already.
        Err(Ec2Error::NoDefaultNetwork { .. }) => return None,
        Err(error) => {
            report.add(Check::refused("market", &error));
            return None;
        }
    };
    let (pools, dollars) = (forecast.choice.pools.len(), forecast.hour.dollars);
    report.add(Check::ok("market", format!("{pools} pools would do; about ${dollars:.4} an hour (`cloudist plan`)")));
    report.add(match &forecast.caveat {
        None => Check::ok("advisor", "it is known how often machines are taken away"),
        Some(caveat) => {
            Check::warn("advisor", caveat, "check that this computer may reach spot-bid-advisor.s3.amazonaws.com")
        }
    });
    Some(forecast)
}

async fn permissions(report: &mut Report, cloud: &Cloud, plan: &Ec2Plan, launch: &Forecast, subnet: &Subnet) {
    let Some(pool) = launch.choice.pools.iter().find(|pool| pool.zone == subnet.zone).or(launch.choice.pools.first())
    else {
        return;
    };
    let image = match survey::image(cloud, plan, pool.architecture).await {
        Ok(image) => image,
        Err(error) => return report.add(Check::refused("image", &error)),
    };
    report.add(Check::ok("image", format!("{}, login user {}", image.id, image.user)));
    if let Err(error) = survey::listing(cloud).await {
        report.add(Check::refused("permissions", &error));
    }
    let trials = try_all(cloud, &image, subnet, &pool.instance_type).await;
    let allowed = trials.iter().filter(|trial| matches!(trial.permission, Permission::Allowed)).count();
    if allowed > 0 {
        report.add(Check::ok(
            "permissions",
            format!("{allowed} of {} calls that change something are allowed", trials.len()),
        ));
    }
    let untold: Vec<&str> = trials
        .iter()
        .filter(|trial| matches!(trial.permission, Permission::DeniedWithoutTag))
        .map(|trial| trial.action)
        .collect();
    if !untold.is_empty() {
        report.add(Check::warn(
            "permissions",
            format!("for things without a run's tag these are denied: {}", untold.join(", ")),
            "that is as it should be with the policy that `cloudist iam-policy` prints; with another one, attach it",
        ));
    }
    trials.iter().filter_map(fault).for_each(|check| report.add(check));
}

fn fault(trial: &Trial) -> Option<Check> {
    let action = trial.action;
    match &trial.permission {
        Permission::Allowed | Permission::DeniedWithoutTag => None,
        Permission::Denied { detail } => {
            let error = Ec2Error::Denied { action, detail: detail.clone() };
            Some(Check::refused("permissions", &error))
        }
        Permission::Unclear { error } => Some(Check::warn(
            "permissions",
            format!("whether {action} is allowed is not clear: {}", text::chain(error)),
            "if a run fails at it, attach the policy that `cloudist iam-policy` prints",
        )),
    }
}

/// Those of the markets that a run would use.
async fn quotas(report: &mut Report, cloud: &Cloud, settings: &Settings, launch: Option<&Forecast>) {
    let first = if settings.interrupt_prob == 0 { Market::OnDemand } else { Market::Spot };
    let falls_back = first == Market::Spot && settings.ec2.fallback == Fallback::OnDemand;
    for market in [first].into_iter().chain(falls_back.then_some(Market::OnDemand)) {
        report.add(match survey::quota(cloud, market).await {
            Ok(quota) => {
                let (enough, need) = match launch.map(|launch| launch.standard_vcpus) {
                    Some(0) => (true, "other machines are wanted".to_owned()),
                    Some(vcpus) => (quota >= f64::from(vcpus), format!("{vcpus} are wanted")),
                    None => (quota > 0.0, "how many are wanted isn't known".to_owned()),
                };
                let finding = format!("{quota} virtual CPUs of standard {market} machines at once; {need}");
                match enough {
                    true => Check::ok("quota", finding),
                    false => Check::fail("quota", finding, quota_help(market)),
                }
            }
            Err(error) => Check::warn(
                "quota",
                format!("the quota of {market} machines can't be asked for: {}", text::chain(&error)),
                "see \"Service Quotas\" of AWS's console, Amazon EC2, \"Standard\" machines; `cloudist iam-policy` has the \
                 permission",
            ),
        });
    }
}

fn quota_help(market: Market) -> String {
    let market = match market {
        Market::Spot => "spot",
        Market::OnDemand => "on-demand",
    };
    Ec2Error::Quota { market, detail: String::new() }.help()
}

async fn left_over(cloud: &Cloud, plan: &Ec2Plan) -> Check {
    let help = "`cloudist sweep` lists and removes it";
    match sweep::find(&plan.place(), sweep::Whose::Own, sweep::Reach::OneRegion).await {
        Ok(findings) if findings.remains.iter().any(|remains| !remains.kept) => {
            let runs = findings.remains.iter().filter(|remains| !remains.kept);
            let names: Vec<String> = runs.map(|remains| format!("{} in {}", remains.run, remains.region)).collect();
            Check::warn("left over", format!("something of runs that are over: {}", names.join(", ")), help)
        }
        Ok(findings) => match findings.blind.first() {
            Some(blind) => Check::warn(
                "left over",
                format!("{} can't be looked at: {}", blind.subject, text::chain(&blind.error)),
                blind.error.help(),
            ),
            None => Check::ok("left over", format!("nothing, neither on record here nor in {}", cloud.region)),
        },
        Err(error) => Check::warn("left over", text::chain(&error), error.help()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::doctor::check::Verdict;

    #[test]
    fn a_clock_may_be_off_by_some_seconds() {
        for (ahead, verdict) in [
            (0, Verdict::Ok),
            (59, Verdict::Ok),
            (-60, Verdict::Warn),
            (299, Verdict::Warn),
            (300, Verdict::Fail),
            (-86400, Verdict::Fail),
        ] {
            assert_eq!(clock(ahead).verdict, verdict, "{ahead}");
        }
    }
}
