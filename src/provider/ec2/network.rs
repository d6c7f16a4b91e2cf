//! Where machines are put and who may reach them.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use super::{
    Ec2Plan,
    api::{Cloud, Subnet},
    error::Ec2Error,
    https,
};

/// Answers with the address that a request came from.
const WHO_AM_I: &str = "https://checkip.amazonaws.com";
const PATIENCE: Duration = Duration::from_secs(10);

/// The subnets of a run, all of one VPC.
pub async fn subnets(cloud: &Cloud, plan: &Ec2Plan) -> Result<Vec<Subnet>, Ec2Error> {
    if plan.settings.subnets.is_empty() {
        cloud.default_subnets().await
    } else {
        cloud.subnets(&plan.settings.subnets).await
    }
}

/// The address that machines are to let in; `None` if that is left to security groups that were named.
pub async fn client_address(plan: &Ec2Plan) -> Result<Option<IpAddr>, Ec2Error> {
    match plan.settings.security_groups.is_empty() {
        true => seen_address(plan.settings.private_ip).await.map(Some),
        false => Ok(None),
    }
}

/// The address from which machines will see this computer.
async fn seen_address(private: bool) -> Result<IpAddr, Ec2Error> {
    if private {
        return own_address().map_err(|error| Ec2Error::ClientAddress { detail: error.to_string() });
    }
    let url = std::env::var("CLOUDIST_CHECKIP_URL").unwrap_or_else(|_| WHO_AM_I.into());
    let text = https::text(&url, PATIENCE)
        .await
        .map_err(|error| Ec2Error::ClientAddress { detail: crate::text::chain(&error) })?;
    let text = text.trim();
    text.parse().map_err(|_| Ec2Error::ClientAddress { detail: format!("{url} answered {text:?}") })
}

/// This computer's address towards private networks. Connecting a datagram socket sends nothing.
fn own_address() -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(SocketAddr::from(([10, 255, 255, 255], 9)))?;
    Ok(socket.local_addr()?.ip())
}
