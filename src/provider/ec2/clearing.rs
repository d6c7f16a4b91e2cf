//! Takes back whatever carries a run's tag: machines first, then what they held on to.
//!
//! The same for the end of a run, after a crash, and in `cloudist sweep`. Safe to repeat, and to interrupt.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    api::{Belongings, Cloud},
    error::Ec2Error,
};

/// What ends slowly on EC2's side gets this long.
const PATIENCE: Duration = Duration::from_secs(240);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    pub instances: Vec<String>,
    pub others: usize,
}

/// Removes everything of a run. `known` are instances that the listing may not show yet.
pub async fn clear(cloud: &Cloud, run: &str, known: &[String]) -> Result<Cleared, Ec2Error> {
    let found = cloud.belongings(run).await?;
    let mut instances: Vec<String> = known.to_vec();
    instances.extend(found.instances.iter().map(|seen| seen.id.clone()).filter(|id| !known.contains(id)));
    // The meter stops here.
    cloud.terminate(&instances).await?;
    remove_plans(cloud, &found).await?;
    remove_groups(cloud, &found.groups).await?;
    let others = found.fleets.len() + found.templates.len() + found.groups.len();
    Ok(Cleared { instances, others })
}

async fn remove_plans(cloud: &Cloud, found: &Belongings) -> Result<(), Ec2Error> {
    cloud.delete_fleets(&found.fleets).await?;
    for template in &found.templates {
        cloud.delete_template(template).await?;
    }
    Ok(())
}

/// A group goes when the last machine in it has.
async fn remove_groups(cloud: &Cloud, groups: &[String]) -> Result<(), Ec2Error> {
    let deadline = Instant::now() + PATIENCE;
    for group in groups {
        let mut pause = FIRST_PAUSE;
        loop {
            match cloud.delete_group(group).await {
                Err(error) if error.is_in_use() && Instant::now() + pause < deadline => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                result => break result?,
            }
        }
    }
    Ok(())
}
