//! Calls that take things back. What isn't there counts as taken back.

use super::{Cloud, gone};
use crate::provider::ec2::error::Ec2Error;

/// As many instant fleets as EC2 deletes in one call.
const FLEETS_AT_ONCE: usize = 25;

impl Cloud {
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
}
