//! Dry runs of every call that makes, changes or removes something: EC2 says whether it would be allowed, and does nothing.
//!
//! What removes is tried on things that don't exist. They carry no tag, so that a policy that allows it for a run's own
//! things alone refuses it here.

use aws_sdk_ec2::{
    error::{ProvideErrorMetadata, SdkError},
    types::{
        FleetLaunchTemplateConfigRequest, FleetLaunchTemplateOverridesRequest, FleetLaunchTemplateSpecificationRequest,
        FleetType, IpPermission, IpRange, RequestLaunchTemplateData, ResourceType, Tag, TagSpecification,
        TargetCapacitySpecificationRequest,
    },
};

use super::{
    api::{Cloud, Subnet},
    error::Ec2Error,
    image::BootImage,
    tags,
};

/// The outcome of one dry run.
#[derive(Debug)]
pub struct Trial {
    pub action: &'static str,
    pub permission: Permission,
}

#[derive(Debug)]
pub enum Permission {
    Allowed,
    Denied {
        detail: String,
    },
    /// Denied for a thing without a run's tag, which says nothing about things that have one.
    DeniedWithoutTag,
    Unclear {
        error: Ec2Error,
    },
}

/// Who is let in by the dry run: an address that is reserved for documentation.
const NOBODY: &str = "192.0.2.1/32";

const RUN: &str = "dry-run";

/// Asks for everything that a run does, for a machine of such a type in such a place.
pub async fn try_all(cloud: &Cloud, image: &BootImage, subnet: &Subnet, instance_type: &str) -> Vec<Trial> {
    let ec2 = cloud.client();
    let making = tokio::join!(
        ec2.create_security_group()
            .dry_run(true)
            .group_name("cloudist-dry-run")
            .description("never made")
            .vpc_id(&subnet.vpc)
            .tag_specifications(tagged(ResourceType::SecurityGroup))
            .send(),
        ec2.create_launch_template()
            .dry_run(true)
            .launch_template_name("cloudist-dry-run")
            .launch_template_data(RequestLaunchTemplateData::builder().image_id(&image.id).build())
            .tag_specifications(tagged(ResourceType::LaunchTemplate))
            .send(),
        ec2.create_fleet()
            .dry_run(true)
            .r#type(FleetType::Instant)
            .launch_template_configs(config(subnet, instance_type))
            .target_capacity_specification(
                TargetCapacitySpecificationRequest::builder().total_target_capacity(1).build(),
            )
            .tag_specifications(tagged(ResourceType::Fleet))
            .send(),
        ec2.run_instances()
            .dry_run(true)
            .image_id(&image.id)
            .instance_type(instance_type.into())
            .subnet_id(&subnet.id)
            .min_count(1)
            .max_count(1)
            .tag_specifications(tagged(ResourceType::Instance))
            .tag_specifications(tagged(ResourceType::Volume))
            .send(),
    );
    let permission = IpPermission::builder().ip_protocol("tcp").from_port(22).to_port(22);
    let permission = permission.ip_ranges(IpRange::builder().cidr_ip(NOBODY).build()).build();
    let [group, template, instance, fleet] = NOTHING;
    let removing = tokio::join!(
        ec2.authorize_security_group_ingress().dry_run(true).group_id(group).ip_permissions(permission).send(),
        ec2.create_tags().dry_run(true).resources(instance).tags(tag(tags::EXPIRES, "0")).send(),
        ec2.terminate_instances().dry_run(true).instance_ids(instance).send(),
        ec2.delete_fleets().dry_run(true).fleet_ids(fleet).terminate_instances(true).send(),
        ec2.delete_launch_template().dry_run(true).launch_template_id(template).send(),
        ec2.delete_security_group().dry_run(true).group_id(group).send(),
    );
    vec![
        Trial::of("CreateSecurityGroup", making.0),
        Trial::of("CreateLaunchTemplate", making.1),
        Trial::of("CreateFleet", making.2),
        Trial::of("RunInstances", making.3),
        Trial::of("AuthorizeSecurityGroupIngress", removing.0).on_nothing(),
        Trial::of("CreateTags", removing.1).on_nothing(),
        Trial::of("TerminateInstances", removing.2).on_nothing(),
        Trial::of("DeleteFleets", removing.3).on_nothing(),
        Trial::of("DeleteLaunchTemplate", removing.4).on_nothing(),
        Trial::of("DeleteSecurityGroup", removing.5).on_nothing(),
    ]
}

/// A group, a template, a machine and a fleet that don't exist.
const NOTHING: [&str; 4] = [
    "sg-00000000000000000",
    "lt-00000000000000000",
    "i-00000000000000000",
    "fleet-00000000-0000-0000-0000-000000000000",
];

impl Trial {
    fn of<T, E, R>(action: &'static str, result: Result<T, SdkError<E, R>>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        let permission = match result.map_err(|error| Ec2Error::of(action, error)) {
            Ok(_) => Permission::Allowed,
            Err(Ec2Error::Api { code, .. }) if code == "DryRunOperation" => Permission::Allowed,
            Err(Ec2Error::Denied { detail, .. }) => Permission::Denied { detail },
            Err(error) => Permission::Unclear { error },
        };
        Self { action, permission }
    }

    fn on_nothing(self) -> Self {
        let permission = match self.permission {
            Permission::Denied { .. } => Permission::DeniedWithoutTag,
            // Whoever hears that it isn't there would have been allowed to.
            Permission::Unclear { error } if error.is_not_found() => Permission::Allowed,
            other => other,
        };
        Self { permission, ..self }
    }
}

fn config(subnet: &Subnet, instance_type: &str) -> FleetLaunchTemplateConfigRequest {
    let [_, template, ..] = NOTHING;
    FleetLaunchTemplateConfigRequest::builder()
        .launch_template_specification(
            FleetLaunchTemplateSpecificationRequest::builder().launch_template_id(template).version("$Latest").build(),
        )
        .overrides(
            FleetLaunchTemplateOverridesRequest::builder()
                .instance_type(instance_type.into())
                .subnet_id(&subnet.id)
                .build(),
        )
        .build()
}

fn tagged(kind: ResourceType) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).tags(tag(tags::RUN, RUN)).build()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}
