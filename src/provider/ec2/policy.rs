//! What an account has to allow: the one list of the actions that are called, as an IAM policy.
//!
//! Things may be made only with a run's tag, and changed or removed only if they carry one. A test holds it against the
//! calls really made.

use serde_json::{Value, json};

use super::tags;

/// Where the account is: the commercial regions, or those of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    Aws,
    China,
    UsGov,
}

struct Grant {
    name: &'static str,
    actions: &'static [&'static str],
    on: &'static [&'static str],
    only: Only,
}

#[derive(Clone, Copy)]
enum Only {
    Always,
    /// What is made gets the run's tag in the same call.
    MadeWithTag,
    /// The tag of a run is on it.
    WithTag,
    /// As a part of making a tagged thing.
    AtItsMaking,
    /// The tag that is put on is the date by which machines may be taken for forgotten.
    Renewal,
    /// For the roles that spot machines and fleets need once in an account.
    SpotAndFleet,
}

const MADE: &[&str] = &["fleet", "instance", "launch-template", "security-group", "volume"];

/// What `cloudist bake` makes.
const BAKED: &[&str] = &["image", "snapshot"];

const GRANTS: &[Grant] = &[
    Grant {
        name: "Look",
        actions: &[
            "ec2:DescribeFleets",
            "ec2:DescribeImages",
            "ec2:DescribeInstanceTypeOfferings",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeInstances",
            "ec2:DescribeLaunchTemplates",
            "ec2:DescribeRegions",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSpotPriceHistory",
            "ec2:DescribeSubnets",
            "ec2:DescribeTags",
            "servicequotas:GetServiceQuota",
        ],
        on: &["*"],
        only: Only::Always,
    },
    Grant {
        name: "Make",
        actions: &["ec2:CreateFleet", "ec2:CreateLaunchTemplate", "ec2:CreateSecurityGroup", "ec2:RunInstances"],
        on: MADE,
        only: Only::MadeWithTag,
    },
    Grant { name: "MakeGroupsInNetworks", actions: &["ec2:CreateSecurityGroup"], on: &["vpc"], only: Only::Always },
    // The fleet launches by RunInstances, which is held to the tag.
    Grant {
        name: "MakeFleetsOf",
        actions: &["ec2:CreateFleet"],
        on: &["instance", "launch-template", "volume"],
        only: Only::Always,
    },
    Grant {
        name: "LaunchWith",
        actions: &["ec2:CreateFleet", "ec2:RunInstances"],
        on: &["image", "network-interface", "security-group", "snapshot", "spot-instances-request", "subnet"],
        only: Only::Always,
    },
    Grant { name: "LaunchFrom", actions: &["ec2:RunInstances"], on: &["launch-template"], only: Only::WithTag },
    Grant { name: "TagWhatIsMade", actions: &["ec2:CreateTags"], on: MADE, only: Only::AtItsMaking },
    Grant { name: "Renew", actions: &["ec2:CreateTags"], on: &["instance"], only: Only::Renewal },
    Grant {
        name: "ChangeAndRemoveOwn",
        actions: &[
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:DeleteFleets",
            "ec2:DeleteLaunchTemplate",
            "ec2:DeleteSecurityGroup",
            "ec2:TerminateInstances",
        ],
        on: MADE,
        only: Only::WithTag,
    },
    Grant { name: "MakeImages", actions: &["ec2:CreateImage"], on: BAKED, only: Only::MadeWithTag },
    Grant { name: "MakeImagesOf", actions: &["ec2:CreateImage"], on: &["instance"], only: Only::WithTag },
    Grant { name: "TagImages", actions: &["ec2:CreateTags"], on: BAKED, only: Only::AtItsMaking },
    Grant {
        name: "RemoveImages",
        actions: &["ec2:DeleteSnapshot", "ec2:DeregisterImage"],
        on: BAKED,
        only: Only::WithTag,
    },
    Grant { name: "PublicImages", actions: &["ssm:GetParameters"], on: &["ssm"], only: Only::Always },
    Grant { name: "FirstUse", actions: &["iam:CreateServiceLinkedRole"], on: &["role"], only: Only::SpotAndFleet },
];

/// The actions by which things are made: tags may be put on in these alone.
const MAKING: [&str; 5] = ["CreateFleet", "CreateImage", "CreateLaunchTemplate", "CreateSecurityGroup", "RunInstances"];

/// The policy document.
pub fn policy(partition: Partition) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": GRANTS.iter().map(|grant| grant.statement(partition)).collect::<Vec<_>>(),
    })
}

impl Grant {
    fn statement(&self, partition: Partition) -> Value {
        let resources: Vec<String> = self.on.iter().map(|kind| resource(partition, kind)).collect();
        let mut statement = json!({
            "Sid": format!("Cloudist{}", self.name),
            "Effect": "Allow",
            "Action": self.actions,
            "Resource": resources,
        });
        if let Some(condition) = self.only.condition() {
            statement["Condition"] = condition;
        }
        statement
    }
}

impl Only {
    fn condition(self) -> Option<Value> {
        let requested = format!("aws:RequestTag/{}", tags::RUN);
        let carried = format!("ec2:ResourceTag/{}", tags::RUN);
        Some(match self {
            Self::Always => return None,
            Self::MadeWithTag => json!({"StringLike": {requested: "*"}}),
            Self::WithTag => json!({"StringLike": {carried: "*"}}),
            Self::AtItsMaking => {
                json!({"StringEquals": {"ec2:CreateAction": MAKING}, "StringLike": {requested: "*"}})
            }
            Self::Renewal => json!({
                "StringLike": {carried: "*"},
                "ForAllValues:StringEquals": {"aws:TagKeys": [tags::EXPIRES]},
            }),
            Self::SpotAndFleet => {
                let services = ["spot", "ec2fleet"].map(|service| format!("{service}.amazonaws.com"));
                json!({"StringEquals": {"iam:AWSServiceName": services}})
            }
        })
    }
}

impl Partition {
    fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::China => "aws-cn",
            Self::UsGov => "aws-us-gov",
        }
    }
}

fn resource(partition: Partition, kind: &str) -> String {
    let partition = partition.name();
    match kind {
        "*" => "*".into(),
        "role" => format!("arn:{partition}:iam::*:role/aws-service-role/*"),
        "ssm" => format!("arn:{partition}:ssm:*::parameter/aws/service/*"),
        // Whoever owns them.
        "image" | "snapshot" => format!("arn:{partition}:ec2:*::{kind}/*"),
        kind => format!("arn:{partition}:ec2:*:*:{kind}/*"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_into_a_managed_policy() {
        let text = policy(Partition::UsGov).to_string();
        assert!(text.len() < 6144, "{} characters", text.len());
    }

    #[test]
    fn nothing_is_changed_without_a_tag() {
        let document = policy(Partition::Aws);
        for statement in document["Statement"].as_array().unwrap() {
            let actions = statement["Action"].to_string();
            for verb in ["Delete", "Terminate", "Authorize", "CreateTags"] {
                assert!(!actions.contains(verb) || statement["Condition"].is_object(), "{statement}");
            }
        }
    }
}
