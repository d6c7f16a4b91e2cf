//! The calls to EC2 that a run makes, and no others: `cloudist iam-policy` lists them.
//!
//! Turns SDK shapes into ours and errors into [`Ec2Error`]; decides nothing.

use std::{collections::BTreeMap, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, default_provider::region::DefaultRegionChain,
    profile::ProfileFileCredentialsProvider, provider_config::ProviderConfig, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_sdk_ec2::{
    Client,
    config::ProvideCredentials,
    types::{
        Filter, FleetLaunchTemplateConfigRequest, FleetLaunchTemplateOverridesRequest,
        FleetLaunchTemplateSpecificationRequest, FleetOnDemandAllocationStrategy, FleetType, Image, Instance,
        IpPermission, IpRange, Ipv6Range, OnDemandOptionsRequest, RequestLaunchTemplateData, ResourceType,
        SpotAllocationStrategy, SpotOptionsRequest, Tag, TagSpecification, TargetCapacitySpecificationRequest,
    },
};

use super::{Market, error::Ec2Error, tags};

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

/// EC2 refuses to hear of less, in dollars an hour.
const LEAST_PRICE: f64 = 0.001;

/// As many instant fleets as EC2 deletes in one call.
const FLEETS_AT_ONCE: usize = 25;

const TRIES: u32 = 5;
const CALL_PATIENCE: Duration = Duration::from_secs(60);

impl Cloud {
    /// Finds credentials and region as AWS's own tools do; makes no call to EC2.
    pub async fn find(place: &Place) -> Result<Self, Ec2Error> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
            .timeout_config(TimeoutConfig::builder().operation_timeout(CALL_PATIENCE).build());
        let mut region = place.region.clone().map(Region::new);
        if let Some(profile) = &place.profile {
            if region.is_none() {
                region = DefaultRegionChain::builder().profile_name(profile).build().region().await;
            }
            // The SDK's own chain looks at AWS_ACCESS_KEY_ID first: a profile that was asked for wins over it.
            let provider = ProfileFileCredentialsProvider::builder()
                .configure(&ProviderConfig::without_region().with_region(region.clone()))
                .profile_name(profile);
            loader = loader.profile_name(profile).credentials_provider(provider.build());
        }
        if let Some(region) = region {
            loader = loader.region(region);
        }
        let config = loader.load().await;
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

    /// The regions that the account may use.
    pub async fn regions(&self) -> Result<Vec<String>, Ec2Error> {
        let found = self.client.describe_regions().send().await;
        let found = found.map_err(|error| Ec2Error::of("DescribeRegions", error))?;
        let mut regions: Vec<String> =
            found.regions.unwrap_or_default().into_iter().filter_map(|region| region.region_name).collect();
        regions.sort();
        Ok(regions)
    }

    pub async fn default_subnets(&self) -> Result<Vec<Subnet>, Ec2Error> {
        let found = self
            .client
            .describe_subnets()
            .filters(filter("default-for-az", ["true".into()]))
            .filters(filter("state", ["available".into()]))
            .send()
            .await
            .map_err(|error| Ec2Error::of("DescribeSubnets", error))?;
        let subnets: Vec<Subnet> = found.subnets().iter().filter_map(subnet).collect();
        if subnets.is_empty() {
            return Err(Ec2Error::NoDefaultNetwork { region: self.region.clone() });
        }
        Ok(subnets)
    }

    pub async fn subnets(&self, ids: &[String]) -> Result<Vec<Subnet>, Ec2Error> {
        let found = self.client.describe_subnets().set_subnet_ids(Some(ids.to_vec())).send().await;
        let found = found.map_err(|error| self.unknown("subnet", ids, Ec2Error::of("DescribeSubnets", error)))?;
        Ok(found.subnets().iter().filter_map(subnet).collect())
    }

    fn unknown(&self, what: &'static str, names: &[String], error: Ec2Error) -> Ec2Error {
        if error.is_not_found() || matches!(&error, Ec2Error::Api { code, .. } if code.contains("Malformed")) {
            return Ec2Error::Unknown { what, name: names.join(", "), region: self.region.clone() };
        }
        error
    }

    /// The newest of Amazon's or Canonical's images with such a name.
    pub async fn newest_image(&self, owner: &str, name: &str) -> Result<Option<Image>, Ec2Error> {
        let found = self
            .client
            .describe_images()
            .owners(owner)
            .filters(filter("name", [name.into()]))
            .filters(filter("state", ["available".into()]))
            .send()
            .await
            .map_err(|error| Ec2Error::of("DescribeImages", error))?;
        Ok(found.images.unwrap_or_default().into_iter().max_by(|a, b| a.creation_date.cmp(&b.creation_date)))
    }

    pub async fn image(&self, id: &str) -> Result<Image, Ec2Error> {
        let name = [id.to_owned()];
        let found = self.client.describe_images().image_ids(id).send().await;
        let found = found.map_err(|error| self.unknown("image", &name, Ec2Error::of("DescribeImages", error)))?;
        found.images.unwrap_or_default().into_iter().next().ok_or_else(|| Ec2Error::Unknown {
            what: "image",
            name: id.to_owned(),
            region: self.region.clone(),
        })
    }

    pub async fn create_group(&self, name: &str, vpc: &str, tags: &[(String, String)]) -> Result<String, Ec2Error> {
        let made = match self.make_group(name, vpc, tags).await {
            // The first answer was lost on the way.
            Err(Ec2Error::Api { code, .. }) if code == "InvalidGroup.Duplicate" => self.group_named(name, vpc).await?,
            made => made?,
        };
        Ok(made)
    }

    async fn group_named(&self, name: &str, vpc: &str) -> Result<String, Ec2Error> {
        let found = self
            .client
            .describe_security_groups()
            .filters(filter("group-name", [name.to_owned()]))
            .filters(filter("vpc-id", [vpc.to_owned()]))
            .send()
            .await
            .map_err(|error| Ec2Error::of("DescribeSecurityGroups", error))?;
        Ok(found.security_groups().iter().find_map(|group| group.group_id.clone()).unwrap_or_default())
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
                        Market::Spot => aws_sdk_ec2::types::DefaultTargetCapacityType::Spot,
                        Market::OnDemand => aws_sdk_ec2::types::DefaultTargetCapacityType::OnDemand,
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

    pub async fn instances_by_id(&self, ids: &[String]) -> Result<Vec<Seen>, Ec2Error> {
        self.instances(vec![filter("instance-id", ids.to_vec())]).await
    }

    /// Instances with such a tag that are not gone.
    pub async fn instances_by_tag(&self, key: &str, values: Vec<String>) -> Result<Vec<Seen>, Ec2Error> {
        let alive = ["pending", "running", "stopping", "stopped", "shutting-down"].map(str::to_owned);
        self.instances(vec![by_tag(key, values), filter("instance-state-name", alive)]).await
    }

    async fn instances(&self, filters: Vec<Filter>) -> Result<Vec<Seen>, Ec2Error> {
        let mut pages = self.client.describe_instances().set_filters(Some(filters)).into_paginator().send();
        let mut seen = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| Ec2Error::of("DescribeInstances", error))?;
            seen.extend(page.reservations().iter().flat_map(|set| set.instances()).map(Seen::from));
        }
        Ok(seen)
    }

    /// Everything with such a tag.
    pub async fn belongings(&self, key: &str, values: Vec<String>) -> Result<Belongings, Ec2Error> {
        let filters = || Some(vec![by_tag(key, values.clone())]);
        let instances = self.instances_by_tag(key, values.clone());
        let templates = self.client.describe_launch_templates().set_filters(filters()).send();
        let groups = self.client.describe_security_groups().set_filters(filters()).send();
        let fleets = self.fleets(key, &values);
        let (instances, templates, groups, fleets) = tokio::join!(instances, templates, groups, fleets);
        let templates = templates.map_err(|error| Ec2Error::of("DescribeLaunchTemplates", error))?;
        let groups = groups.map_err(|error| Ec2Error::of("DescribeSecurityGroups", error))?;
        Ok(Belongings {
            instances: instances?,
            fleets: fleets?,
            templates: templates.launch_templates().iter().filter_map(|made| made.launch_template_id.clone()).collect(),
            groups: groups.security_groups().iter().filter_map(|made| made.group_id.clone()).collect(),
        })
    }

    /// Fleets with such a tag that were not deleted. `DescribeFleets` shows instant ones by their ids alone.
    async fn fleets(&self, key: &str, values: &[String]) -> Result<Vec<String>, Ec2Error> {
        let tags = self
            .client
            .describe_tags()
            .filters(filter("key", [key.to_owned()]))
            .filters(filter("value", values.to_vec()))
            .filters(filter("resource-type", ["fleet".to_owned()]))
            .send()
            .await
            .map_err(|error| Ec2Error::of("DescribeTags", error))?;
        let ids: Vec<String> = tags.tags().iter().filter_map(|tag| tag.resource_id.clone()).collect();
        if ids.is_empty() {
            return Ok(ids);
        }
        let found = self.client.describe_fleets().set_fleet_ids(Some(ids)).send().await;
        let found = match found.map_err(|error| Ec2Error::of("DescribeFleets", error)) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            found => found?,
        };
        let lives = |state: &str| !state.starts_with("deleted");
        let living =
            found.fleets().iter().filter(|fleet| fleet.fleet_state().is_none_or(|state| lives(state.as_str())));
        Ok(living.filter_map(|fleet| fleet.fleet_id.clone()).collect())
    }

    /// The runs whose tags are on anything in this region. What is renewed last counts.
    pub async fn tagged_runs(&self) -> Result<Vec<TaggedRun>, Ec2Error> {
        let filters = || Some(vec![filter("tag-key", [tags::RUN.to_owned()])]);
        let instances = self.instances(vec![
            filter("tag-key", [tags::RUN.to_owned()]),
            filter("instance-state-name", ["pending", "running", "stopping", "stopped"].map(str::to_owned)),
        ]);
        let templates = self.client.describe_launch_templates().set_filters(filters()).send();
        let groups = self.client.describe_security_groups().set_filters(filters()).send();
        let (instances, templates, groups) = tokio::join!(instances, templates, groups);
        let templates = templates.map_err(|error| Ec2Error::of("DescribeLaunchTemplates", error))?;
        let groups = groups.map_err(|error| Ec2Error::of("DescribeSecurityGroups", error))?;
        let mut tagged: Vec<Vec<(String, String)>> = instances?.into_iter().map(|seen| seen.tags).collect();
        tagged.extend(templates.launch_templates().iter().map(|made| pairs(made.tags())));
        tagged.extend(groups.security_groups().iter().map(|made| pairs(made.tags())));
        let mut runs: BTreeMap<String, TaggedRun> = BTreeMap::new();
        for tags in tagged {
            let value = |key: &str| tags.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
            let Some(run) = value(tags::RUN) else { continue };
            let overdue = value(tags::EXPIRES).is_none_or(|end| tags::is_over(&end));
            let owner = value(tags::OWNER).unwrap_or_default();
            let known = runs.entry(run.clone()).or_insert(TaggedRun { run, owner, overdue });
            known.overdue &= overdue;
        }
        Ok(runs.into_values().collect())
    }

    pub async fn terminate(&self, ids: &[String]) -> Result<(), Ec2Error> {
        for some in ids.chunks(500) {
            let call = self.client.terminate_instances().set_instance_ids(Some(some.to_vec()));
            // Nothing on the machines is worth an orderly shutdown, and the group goes only after the machines.
            let call = call.skip_os_shutdown(true).send().await;
            match call.map_err(|error| Ec2Error::of("TerminateInstances", error)) {
                Err(error) if error.is_not_found() => self.terminate_one_by_one(some).await?,
                result => result.map(|_| ())?,
            }
        }
        Ok(())
    }

    /// One that isn't known makes EC2 refuse the whole list.
    async fn terminate_one_by_one(&self, ids: &[String]) -> Result<(), Ec2Error> {
        for id in ids {
            let call = self.client.terminate_instances().instance_ids(id).skip_os_shutdown(true).send().await;
            match call.map_err(|error| Ec2Error::of("TerminateInstances", error)) {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    pub async fn delete_fleets(&self, ids: &[String]) -> Result<(), Ec2Error> {
        for some in ids.chunks(FLEETS_AT_ONCE) {
            let call = self.client.delete_fleets().set_fleet_ids(Some(some.to_vec())).terminate_instances(true);
            let reply = call.send().await.map_err(|error| Ec2Error::of("DeleteFleets", error))?;
            for failed in reply.unsuccessful_fleet_deletions() {
                let error = failed.error();
                let code = error.and_then(|error| error.code()).map_or("", |code| code.as_str());
                if code != "fleetIdDoesNotExist" {
                    let detail = error.and_then(|error| error.message()).unwrap_or_default().to_owned();
                    return Err(Ec2Error::of_code("DeleteFleets", code.to_owned(), detail));
                }
            }
        }
        Ok(())
    }

    pub async fn delete_template(&self, id: &str) -> Result<(), Ec2Error> {
        let call = self.client.delete_launch_template().launch_template_id(id).send().await;
        gone(call.map(|_| ()).map_err(|error| Ec2Error::of("DeleteLaunchTemplate", error)))
    }

    pub async fn delete_group(&self, id: &str) -> Result<(), Ec2Error> {
        let call = self.client.delete_security_group().group_id(id).send().await;
        gone(call.map(|_| ()).map_err(|error| Ec2Error::of("DeleteSecurityGroup", error)))
    }

    pub async fn tag(&self, ids: &[String], tags: &[(String, String)]) -> Result<(), Ec2Error> {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        let call = self.client.create_tags().set_resources(Some(ids.to_vec())).set_tags(Some(tags)).send().await;
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
            let tags = self.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
            LaunchTemplateTagSpecificationRequest::builder().resource_type(kind).set_tags(Some(tags)).build()
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

fn pairs(tags: &[Tag]) -> Vec<(String, String)> {
    tags.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned()))).collect()
}

fn subnet(subnet: &aws_sdk_ec2::types::Subnet) -> Option<Subnet> {
    let text = |value: Option<&str>| value.map(str::to_owned);
    Some(Subnet { id: text(subnet.subnet_id())?, zone: text(subnet.availability_zone())?, vpc: text(subnet.vpc_id())? })
}

fn filter(name: &str, values: impl IntoIterator<Item = String>) -> Filter {
    Filter::builder().name(name).set_values(Some(values.into_iter().collect())).build()
}

fn by_tag(key: &str, values: Vec<String>) -> Filter {
    filter(&format!("tag:{key}"), values)
}

fn tagged(kind: ResourceType, tags: &[(String, String)]) -> TagSpecification {
    let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
    TagSpecification::builder().resource_type(kind).set_tags(Some(tags)).build()
}

/// What isn't there needs no removal.
fn gone(result: Result<(), Ec2Error>) -> Result<(), Ec2Error> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    }
}
