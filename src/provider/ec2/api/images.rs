//! Calls about images of our own: made from machines that have an environment in place.
//!
//! They carry a run's tag like everything that is made, and outlive the run. Public images are looked up elsewhere.

use std::time::Duration;

use aws_sdk_ec2::{
    client::Waiters,
    types::{Image, ResourceType},
};

use super::{Cloud, gone, looking::filter, making::tagged, pairs};
use crate::provider::ec2::{error::Ec2Error, tags};

/// An image that is to be made.
#[derive(Clone, Debug)]
pub struct ImageOrder {
    pub instance: String,
    pub name: String,
    pub description: String,
    pub tags: Vec<(String, String)>,
}

/// An image of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baked {
    pub id: String,
    pub state: String,
    pub architecture: String,
    pub root_device: String,
    pub disk_gib: u32,
    pub snapshots: Vec<String>,
    pub environment: String,
    pub base: String,
    pub user: String,
    pub owner: String,
    /// Seconds since 1970.
    pub created: u64,
}

impl Cloud {
    /// Begins an image. EC2 restarts the machine for it, so that its disk is whole.
    pub async fn create_image(&self, order: &ImageOrder) -> Result<String, Ec2Error> {
        let made = self
            .client
            .create_image()
            .instance_id(&order.instance)
            .name(&order.name)
            .description(&order.description)
            .tag_specifications(tagged(ResourceType::Image, &order.tags))
            .tag_specifications(tagged(ResourceType::Snapshot, &order.tags))
            .send()
            .await
            .map_err(|error| Ec2Error::of("CreateImage", error))?;
        Ok(made.image_id.unwrap_or_default())
    }

    /// Waits until an image can be launched.
    pub async fn image_available(&self, id: &str, patience: Duration) -> Result<(), Ec2Error> {
        let waited = self.client.wait_until_image_available().image_ids(id).wait(patience).await;
        waited.map(|_| ()).map_err(|error| Ec2Error::Image { image: id.to_owned(), detail: crate::text::chain(&error) })
    }

    /// Our own images: those with an environment, or with this one.
    pub async fn baked(&self, environment: Option<&str>) -> Result<Vec<Baked>, Ec2Error> {
        let wanted = match environment {
            Some(key) => filter(&format!("tag:{}", tags::ENVIRONMENT), [key.to_owned()]),
            None => filter("tag-key", [tags::ENVIRONMENT.to_owned()]),
        };
        let found = self.client.describe_images().owners("self").filters(wanted).send().await;
        let found = found.map_err(|error| Ec2Error::of("DescribeImages", error))?;
        let mut images: Vec<Baked> = found.images().iter().map(Baked::from).collect();
        images.sort_by_key(|image| image.created);
        Ok(images)
    }

    /// Removes an image, then the disks in it.
    pub async fn remove_image(&self, image: &Baked) -> Result<(), Ec2Error> {
        let call = self.client.deregister_image().image_id(&image.id).send().await;
        gone(call.map(|_| ()).map_err(|error| Ec2Error::of("DeregisterImage", error)))?;
        for snapshot in &image.snapshots {
            let call = self.client.delete_snapshot().snapshot_id(snapshot).send().await;
            gone(call.map(|_| ()).map_err(|error| Ec2Error::of("DeleteSnapshot", error)))?;
        }
        Ok(())
    }
}

impl From<&Image> for Baked {
    fn from(image: &Image) -> Self {
        let tags = pairs(image.tags());
        let value =
            |key: &str| tags.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone()).unwrap_or_default();
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let disks: Vec<_> = image.block_device_mappings().iter().filter_map(|device| device.ebs()).collect();
        Self {
            id: text(image.image_id()),
            state: text(image.state().map(|state| state.as_str())),
            architecture: text(image.architecture().map(|architecture| architecture.as_str())),
            root_device: text(image.root_device_name()),
            disk_gib: disks.iter().filter_map(|disk| u32::try_from(disk.volume_size()?).ok()).sum(),
            snapshots: disks.iter().filter_map(|disk| disk.snapshot_id().map(str::to_owned)).collect(),
            environment: value(tags::ENVIRONMENT),
            base: value(tags::BASE),
            user: value(tags::USER),
            owner: value(tags::OWNER),
            created: value(tags::CREATED).parse().unwrap_or_default(),
        }
    }
}
