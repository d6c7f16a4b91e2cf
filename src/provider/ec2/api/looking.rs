//! Calls that change nothing.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, Image};

use super::{Belongings, Cloud, Seen, Subnet, TaggedRun, pairs};
use crate::provider::ec2::{error::Ec2Error, tags};

impl Cloud {
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

    pub(super) async fn group_named(&self, name: &str, vpc: &str) -> Result<String, Ec2Error> {
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

    pub async fn instances_by_id(&self, ids: &[String]) -> Result<Vec<Seen>, Ec2Error> {
        self.instances(vec![filter("instance-id", ids.to_vec())]).await
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

    /// Everything with the tag of a run, but machines that are gone.
    pub async fn belongings(&self, run: &str) -> Result<Belongings, Ec2Error> {
        let of_run = || filter(&format!("tag:{}", tags::RUN), [run.to_owned()]);
        let filters = || Some(vec![of_run()]);
        let alive = ["pending", "running", "stopping", "stopped", "shutting-down"].map(str::to_owned);
        let instances = self.instances(vec![of_run(), filter("instance-state-name", alive)]);
        let templates = self.client.describe_launch_templates().set_filters(filters()).send();
        let groups = self.client.describe_security_groups().set_filters(filters()).send();
        let fleets = self.fleets(run);
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

    /// The fleets of a run that were not deleted. `DescribeFleets` shows instant ones by their ids alone.
    async fn fleets(&self, run: &str) -> Result<Vec<String>, Ec2Error> {
        let tagged = self
            .client
            .describe_tags()
            .filters(filter("key", [tags::RUN.to_owned()]))
            .filters(filter("value", [run.to_owned()]))
            .filters(filter("resource-type", ["fleet".to_owned()]))
            .send()
            .await
            .map_err(|error| Ec2Error::of("DescribeTags", error))?;
        let ids: Vec<String> = tagged.tags().iter().filter_map(|tag| tag.resource_id.clone()).collect();
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
}

fn subnet(subnet: &aws_sdk_ec2::types::Subnet) -> Option<Subnet> {
    let text = |value: Option<&str>| value.map(str::to_owned);
    Some(Subnet { id: text(subnet.subnet_id())?, zone: text(subnet.availability_zone())?, vpc: text(subnet.vpc_id())? })
}

pub(super) fn filter(name: &str, values: impl IntoIterator<Item = String>) -> Filter {
    Filter::builder().name(name).set_values(Some(values.into_iter().collect())).build()
}
