//! Images of our own, with an environment in place: how they are made, found again, and removed.
//!
//! Whether the environment is really there is found out on the machine, as always: an image only saves the work.

use std::time::Duration;

use super::{
    Ec2Plan, EnvironmentKey, Place,
    api::{Baked, Cloud, ImageOrder},
    desk::Desk,
    error::Ec2Error,
    image::BootImage,
    tags,
};
use crate::model::MachineId;

/// An image takes minutes, and a large disk many.
const PATIENCE: Duration = Duration::from_secs(45 * 60);

/// From then on an image is used with a word about its age: what it was made from has had updates since.
const OLD: Duration = Duration::from_secs(30 * 24 * 3600);

/// As many letters of the key as a name shows.
const SHOWN: usize = 12;

/// An image that EC2 is making.
pub struct Baking {
    pub image: String,
    cloud: Cloud,
}

impl Baking {
    /// Waits until it can be launched.
    pub async fn available(&self) -> Result<Baked, Ec2Error> {
        self.cloud.image_available(&self.image, PATIENCE).await?;
        self.look().await?.ok_or_else(|| Ec2Error::Image {
            image: self.image.clone(),
            detail: "it was removed while it was being made".into(),
        })
    }

    /// Takes it back, in whatever state it is.
    pub async fn abandon(&self) -> Result<(), Ec2Error> {
        match self.look().await? {
            Some(image) => self.cloud.remove_image(&image).await,
            None => Ok(()),
        }
    }

    async fn look(&self) -> Result<Option<Baked>, Ec2Error> {
        Ok(self.cloud.baked(None).await?.into_iter().find(|image| image.id == self.image))
    }
}

/// All images of our own in a region, the oldest first.
pub async fn images(place: &Place) -> Result<(Cloud, Vec<Baked>), Ec2Error> {
    let cloud = Cloud::find(place).await?;
    let images = cloud.baked(None).await?;
    Ok((cloud, images))
}

pub async fn remove_image(cloud: &Cloud, image: &Baked) -> Result<(), Ec2Error> {
    cloud.remove_image(image).await
}

/// The newest image with the plan's environment, and what to say of it.
pub(super) async fn find(
    cloud: &Cloud,
    plan: &Ec2Plan,
    architecture: &str,
) -> Result<Option<(BootImage, String)>, Ec2Error> {
    let Some(key) = plan.environment_key().await else { return Ok(None) };
    let fits = |image: &Baked| {
        image.state == "available"
            && image.architecture == architecture
            && image.base == plan.settings.image
            && image.disk_gib <= plan.disk_gib()
    };
    let Some(image) = cloud.baked(Some(&key)).await?.into_iter().rfind(fits) else { return Ok(None) };
    let age = Duration::from_secs(tags::now().saturating_sub(image.created));
    let days = age.as_secs() / (24 * 3600);
    let old = if age > OLD { format!(" {days} days ago: `cloudist bake` makes a fresh one") } else { String::new() };
    let about = format!("machines start from {}, which was baked with this environment{old}", image.id);
    Ok(Some((BootImage { id: image.id, user: image.user, root_device: image.root_device }, about)))
}

impl Ec2Plan {
    /// The key of the environment, once it is known; nothing if it can't be told.
    async fn environment_key(&self) -> Option<String> {
        let mut known = self.environment.clone()?;
        match &*known.wait_for(|key| *key != EnvironmentKey::Sought).await.ok()? {
            EnvironmentKey::Key(key) => Some(key.clone()),
            EnvironmentKey::None | EnvironmentKey::Sought => None,
        }
    }
}

impl Desk {
    /// Begins an image of a machine. It is made while the machine stays, and outlives it.
    pub(super) async fn bake(&self, machine: MachineId, environment: &str) -> Result<Baking, Ec2Error> {
        let rented = self.rented.iter().find(|(_, rented)| **rented == machine);
        let (Some(premises), Some((instance, _))) = (&self.premises, rented) else { return Err(Ec2Error::Broken) };
        let shown = &environment[..SHOWN.min(environment.len())];
        let base = &self.plan.settings.image;
        let order = ImageOrder {
            instance: instance.clone(),
            name: format!("cloudist-{shown}-{}", self.plan.run),
            description: format!("a Python environment ({shown}) on {base}"),
            tags: vec![
                ("Name".into(), format!("cloudist {shown}")),
                (tags::RUN.into(), self.plan.run.clone()),
                (tags::OWNER.into(), tags::owner()),
                (tags::ENVIRONMENT.into(), environment.to_owned()),
                (tags::BASE.into(), base.clone()),
                (tags::USER.into(), premises.image.user.clone()),
                (tags::CREATED.into(), tags::now().to_string()),
            ],
        };
        let image = premises.cloud.create_image(&order).await?;
        Ok(Baking { image, cloud: premises.cloud.clone() })
    }
}
