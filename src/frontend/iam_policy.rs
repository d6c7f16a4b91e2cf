//! `cloudist iam-policy`: what an AWS user or role has to be allowed.

use super::{
    args::{IamPolicyArgs, PartitionName},
    failure::{Failure, exit_code},
};
use crate::provider::ec2::{Partition, policy};

pub fn print(args: &IamPolicyArgs) -> Result<u8, Failure> {
    let partition = match args.partition {
        PartitionName::Aws => Partition::Aws,
        PartitionName::AwsCn => Partition::China,
        PartitionName::AwsUsGov => Partition::UsGov,
    };
    let text = serde_json::to_string_pretty(&policy(partition))
        .map_err(|error| Failure::new(exit_code::INTERNAL, error.to_string()))?;
    println!("{text}");
    Ok(0)
}
