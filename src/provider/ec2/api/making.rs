//! Calls that make things, each of them tagged from the first moment.

use aws_sdk_ec2::types::{
    DefaultTargetCapacityType, FleetLaunchTemplateConfigRequest, FleetLaunchTemplateOverridesRequest,
    FleetLaunchTemplateSpecificationRequest, FleetOnDemandAllocationStrategy, FleetType, IpPermission, IpRange,
    Ipv6Range, OnDemandOptionsRequest, RequestLaunchTemplateData, ResourceType, SpotAllocationStrategy,
    SpotOptionsRequest, Tag, TagSpecification, TargetCapacitySpecificationRequest, UserIdGroupPair,
    builders::IpPermissionBuilder,
};

use super::{Blueprint, Cloud, FleetOrder, FleetReply, Launched, PoolError, gone};
use crate::{
    model::SEED_PORTS,
    provider::ec2::{error::Ec2Error, offer::Market},
};

/// EC2 refuses to hear of less, in dollars an hour.
const LEAST_PRICE: f64 = 0.001;

impl Cloud {
    pub async fn create_group(&self, name: &str, vpc: &str, tags: &[(String, String)]) -> Result<String, Ec2Error> {
        let made = match self.make_group(name, vpc, tags).await {
            // The first answer was lost on the way.
            Err(Ec2Error::Api { code, .. }) if code == "InvalidGroup.Duplicate" => self.group_named(name, vpc).await?,
            made => made?,
        };
        Ok(made)
    }

    async fn make_group(&self, name: &str, vpc: &str, tags: &[(String, String)]) -> Result<String, Ec2Error> {
        let made = self
            .client
            .create_security_group()
            .group_name(name)
            .description("lets the computer that rented the machines in")
            .vpc_id(vpc)
            .tag_specifications(tagged(ResourceType::SecurityGroup, tags))
            .send()
            .await
            .map_err(|error| Ec2Error::of("CreateSecurityGroup", error))?;
        Ok(made.group_id.unwrap_or_default())
    }

    /// Lets one address in on port 22.
    pub async fn admit(&self, group: &str, client: std::net::IpAddr) -> Result<(), Ec2Error> {
        let about = "the computer that rented the machines";
        let permission = IpPermission::builder().ip_protocol("tcp").from_port(22).to_port(22);
        let permission = match client {
            std::net::IpAddr::V4(address) => {
                permission.ip_ranges(IpRange::builder().cidr_ip(format!("{address}/32")).description(about).build())
            }
            std::net::IpAddr::V6(address) => permission
                .ipv6_ranges(Ipv6Range::builder().cidr_ipv6(format!("{address}/128")).description(about).build()),
        };
        self.permit(group, permission).await
    }

    /// Lets the group's members in to each other where they hand on the snapshot.
    pub async fn admit_each_other(&self, group: &str) -> Result<(), Ec2Error> {
        let members = UserIdGroupPair::builder().group_id(group).description("machines of the same run").build();
        let permission = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(SEED_PORTS.start.into())
            .to_port((SEED_PORTS.end - 1).into())
            .user_id_group_pairs(members);
        self.permit(group, permission).await
    }

    async fn permit(&self, group: &str, permission: IpPermissionBuilder) -> Result<(), Ec2Error> {
        self.client
            .authorize_security_group_ingress()
            .group_id(group)
            .ip_permissions(permission.build())
            .send()
            .await
            .map(|_| ())
            .map_err(|error| Ec2Error::of("AuthorizeSecurityGroupIngress", error))
            .or_else(|error| match error {
                // The first answer was lost on the way.
                Ec2Error::Api { code, .. } if code == "InvalidPermission.Duplicate" => Ok(()),
                error => Err(error),
            })
    }

    pub async fn create_template(
        &self,
        name: &str,
        blueprint: &Blueprint,
        tags: &[(String, String)],
    ) -> Result<String, Ec2Error> {
        let made = self
            .client
            .create_launch_template()
            .client_token(name)
            .launch_template_name(name)
            .launch_template_data(blueprint.data())
            .tag_specifications(tagged(ResourceType::LaunchTemplate, tags))
            .send()
            .await
            .map_err(|error| Ec2Error::of("CreateLaunchTemplate", error))?;
        Ok(made.launch_template.and_then(|made| made.launch_template_id).unwrap_or_default())
    }

    /// Launches what can be had at once. A repeated call with the same token launches nothing more.
    pub async fn create_fleet(&self, order: &FleetOrder) -> Result<FleetReply, Ec2Error> {
        let overrides = order.overrides.iter().map(|one| {
            FleetLaunchTemplateOverridesRequest::builder()
                .instance_type(one.instance_type.as_str().into())
                .subnet_id(&one.subnet)
                .weighted_capacity(f64::from(one.weight))
                .set_max_price(one.max_unit_price.map(|price| format!("{:.6}", price.max(LEAST_PRICE))))
                .build()
        });
        let config = FleetLaunchTemplateConfigRequest::builder()
            .launch_template_specification(
                FleetLaunchTemplateSpecificationRequest::builder()
                    .launch_template_id(&order.template)
                    .version("$Latest")
                    .build(),
            )
            .set_overrides(Some(overrides.collect()));
        let capacity = i32::try_from(order.capacity).unwrap_or(i32::MAX);
        let call = self.client.create_fleet().r#type(FleetType::Instant).client_token(&order.token);
        let call = match order.market {
            Market::Spot => call.spot_options(
                SpotOptionsRequest::builder()
                    .allocation_strategy(SpotAllocationStrategy::PriceCapacityOptimized)
                    .build(),
            ),
            Market::OnDemand => call.on_demand_options(
                OnDemandOptionsRequest::builder()
                    .allocation_strategy(FleetOnDemandAllocationStrategy::LowestPrice)
                    .build(),
            ),
        };
        let reply = call
            .launch_template_configs(config.build())
            .target_capacity_specification(
                TargetCapacitySpecificationRequest::builder()
                    .total_target_capacity(capacity)
                    .default_target_capacity_type(match order.market {
                        Market::Spot => DefaultTargetCapacityType::Spot,
                        Market::OnDemand => DefaultTargetCapacityType::OnDemand,
                    })
                    .build(),
            )
            .tag_specifications(tagged(ResourceType::Fleet, &order.tags))
            .send()
            .await
            .map_err(|error| Ec2Error::of("CreateFleet", error))?;
        let pool = |overrides: Option<&aws_sdk_ec2::types::LaunchTemplateAndOverridesResponse>| {
            let overrides = overrides.and_then(|both| both.overrides());
            let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
            let instance_type = overrides.and_then(|over| over.instance_type()).map(|of| of.as_str().to_owned());
            (
                instance_type.unwrap_or_default(),
                text(overrides.and_then(|over| over.subnet_id())),
                overrides.and_then(|over| over.availability_zone()).map(str::to_owned),
            )
        };
        let mut launched = Vec::new();
        for set in reply.instances() {
            let (instance_type, subnet, zone) = pool(set.launch_template_and_overrides());
            let instance_type = set.instance_type().map_or(instance_type, |of| of.as_str().to_owned());
            launched.extend(set.instance_ids().iter().map(|id| Launched {
                id: id.clone(),
                instance_type: instance_type.clone(),
                subnet: subnet.clone(),
                zone: zone.clone(),
            }));
        }
        let errors = reply.errors().iter().map(|error| {
            let (instance_type, subnet, _) = pool(error.launch_template_and_overrides());
            PoolError {
                instance_type,
                subnet,
                code: error.error_code().unwrap_or_default().to_owned(),
                message: error.error_message().unwrap_or_default().to_owned(),
            }
        });
        Ok(FleetReply { errors: errors.collect(), instances: launched, fleet: reply.fleet_id })
    }

    pub async fn tag(&self, ids: &[String], tags: &[(String, String)]) -> Result<(), Ec2Error> {
        let call =
            self.client.create_tags().set_resources(Some(ids.to_vec())).set_tags(Some(sdk_tags(tags))).send().await;
        gone(call.map(|_| ()).map_err(|error| Ec2Error::of("CreateTags", error)))
    }
}

impl Blueprint {
    fn data(&self) -> RequestLaunchTemplateData {
        use aws_sdk_ec2::types::{
            LaunchTemplateBlockDeviceMappingRequest, LaunchTemplateEbsBlockDeviceRequest,
            LaunchTemplateHttpTokensState, LaunchTemplateInstanceMetadataEndpointState,
            LaunchTemplateInstanceMetadataOptionsRequest, LaunchTemplateInstanceNetworkInterfaceSpecificationRequest,
            LaunchTemplateTagSpecificationRequest, ShutdownBehavior, VolumeType,
        };
        let tags = |kind: ResourceType| {
            LaunchTemplateTagSpecificationRequest::builder()
                .resource_type(kind)
                .set_tags(Some(sdk_tags(&self.tags)))
                .build()
        };
        RequestLaunchTemplateData::builder()
            .image_id(&self.image)
            .user_data(&self.user_data)
            // A shutdown from within, which the lease's end causes, must not leave a stopped machine with a disk to pay.
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
            .metadata_options(
                LaunchTemplateInstanceMetadataOptionsRequest::builder()
                    .http_endpoint(LaunchTemplateInstanceMetadataEndpointState::Enabled)
                    .http_tokens(LaunchTemplateHttpTokensState::Required)
                    .http_put_response_hop_limit(1)
                    .build(),
            )
            .network_interfaces(
                LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
                    .device_index(0)
                    .associate_public_ip_address(self.public_ip)
                    .delete_on_termination(true)
                    .set_groups(Some(self.groups.clone()))
                    .build(),
            )
            .block_device_mappings(
                LaunchTemplateBlockDeviceMappingRequest::builder()
                    .device_name(&self.root_device)
                    .ebs(
                        LaunchTemplateEbsBlockDeviceRequest::builder()
                            .volume_size(self.disk_gib)
                            .volume_type(VolumeType::Gp3)
                            .delete_on_termination(true)
                            .build(),
                    )
                    .build(),
            )
            .tag_specifications(tags(ResourceType::Instance))
            .tag_specifications(tags(ResourceType::Volume))
            .build()
    }
}

pub(super) fn tagged(kind: ResourceType, tags: &[(String, String)]) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).set_tags(Some(sdk_tags(tags))).build()
}

fn sdk_tags(tags: &[(String, String)]) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}
