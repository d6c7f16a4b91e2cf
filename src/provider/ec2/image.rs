//! What machines boot, and what follows from it: the login user and the disk's name.

use super::{api::Cloud, error::Ec2Error};

/// What was asked for, before it is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    AmazonLinux,
    Ubuntu,
    Id(String),
    /// The name of a public parameter that holds an image's id.
    Parameter(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootImage {
    /// An image's id, or `resolve:ssm:NAME`, which EC2 resolves at each launch.
    pub id: String,
    pub user: String,
    pub root_device: String,
}

const AMAZON: &str = "amazon";
/// Canonical's account, as its documentation names it.
const CANONICAL: &str = "099720109477";

impl From<&str> for Wanted {
    fn from(text: &str) -> Self {
        let name = text.strip_prefix("resolve:ssm:").unwrap_or(text);
        match name {
            "al2023" => Self::AmazonLinux,
            "ubuntu" => Self::Ubuntu,
            id if id.starts_with("ami-") => Self::Id(id.into()),
            name => Self::Parameter(name.into()),
        }
    }
}

impl BootImage {
    /// Looks up what EC2 has. An SSM parameter is looked up by EC2 itself, at the launch.
    pub async fn find(cloud: &Cloud, wanted: &Wanted, architecture: &str) -> Result<Self, Ec2Error> {
        let found = match wanted {
            Wanted::AmazonLinux => {
                cloud.newest_image(AMAZON, &format!("al2023-ami-2023.*-kernel-*-{architecture}")).await?
            }
            Wanted::Ubuntu => {
                let architecture = if architecture == "x86_64" { "amd64" } else { architecture };
                let name = format!("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{architecture}-server-*");
                cloud.newest_image(CANONICAL, &name).await?
            }
            Wanted::Id(id) => Some(cloud.image(id).await?),
            Wanted::Parameter(name) => {
                let user = login_user(name);
                let root_device = if user == "ubuntu" { "/dev/sda1" } else { "/dev/xvda" };
                return Ok(Self {
                    id: format!("resolve:ssm:{name}"),
                    user: user.into(),
                    root_device: root_device.into(),
                });
            }
        };
        let image = found.ok_or_else(|| Ec2Error::Unknown {
            what: "image",
            name: format!("{wanted:?} for {architecture}"),
            region: cloud.region.clone(),
        })?;
        let described = format!("{} {}", image.name().unwrap_or_default(), image.description().unwrap_or_default());
        Ok(Self {
            id: image.image_id().unwrap_or_default().to_owned(),
            user: login_user(&described).into(),
            root_device: image.root_device_name().unwrap_or("/dev/xvda").to_owned(),
        })
    }
}

/// The user that an image's makers let in by key.
fn login_user(about: &str) -> &'static str {
    let about = about.to_lowercase();
    let known =
        [("ubuntu", "ubuntu"), ("canonical", "ubuntu"), ("debian", "admin"), ("rocky", "rocky"), ("fedora", "fedora")];
    known.iter().find(|(mark, _)| about.contains(mark)).map_or("ec2-user", |(_, user)| user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_told_by_its_form() {
        assert_eq!(Wanted::from("al2023"), Wanted::AmazonLinux);
        assert_eq!(Wanted::from("ami-0123"), Wanted::Id("ami-0123".into()));
        let parameter = Wanted::Parameter("/aws/service/x".into());
        assert_eq!(Wanted::from("/aws/service/x"), parameter);
        assert_eq!(Wanted::from("resolve:ssm:/aws/service/x"), parameter);
    }

    #[test]
    fn the_login_user_follows_from_the_maker() {
        assert_eq!(login_user("al2023-ami-2023.9-kernel-6.12-x86_64"), "ec2-user");
        assert_eq!(login_user("/aws/service/canonical/ubuntu/server/24.04/x"), "ubuntu");
        assert_eq!(login_user("debian-13-amd64"), "admin");
    }
}
