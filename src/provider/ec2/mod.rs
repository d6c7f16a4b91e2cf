//! Machines that are rented from EC2 for a run, and given back at its end.
//!
//! Nothing is set up in the account beforehand. Everything that is made carries the run's tag, and is on record here before
//! it is made; each machine ends by itself when it has not been spoken to for a lease. See docs/design/ec2.md.

mod advisor;
mod api;
mod arrival;
mod bake;
mod bill;
mod choice;
mod clearing;
mod desk;
mod error;
mod forecast;
mod https;
mod image;
mod launch;
pub mod leaving;
mod ledger;
mod market;
mod network;
mod offer;
mod policy;
mod refusal;
pub mod survey;
pub mod sweep;
mod tags;
pub mod trials;
mod user_data;
mod warm;

use std::{collections::BTreeMap, env, path::PathBuf, sync::LazyLock, time::Duration};

use futures_util::FutureExt;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::{LaunchRequest, LeaseEvent};
use crate::{model::MachineId, plan::Ec2Settings};

pub use api::{Baked, Cloud, Place, State, Subnet};
pub use bake::{Baking, images, remove_image};
pub use bill::{Account, Bill, Charge};
pub use choice::{Choice, ChoiceError, Expected, Pool, Refusal, Wish, choose};
pub use error::Ec2Error;
pub use forecast::{Forecast, forecast};
pub use image::BootImage;
pub use ledger::directory as records_directory;
pub use market::{Supply, supply};
pub use offer::{Architecture, Interruption, Market, Offer, Price, PriceBasis};
pub use policy::{Partition, policy};
pub use user_data::LEASE_FILE;

/// What a run wants of EC2.
#[derive(Clone, Debug)]
pub struct Ec2Plan {
    /// Names the run on everything that is made for it.
    pub run: String,
    pub cpu_per_worker: f64,
    pub memory_per_worker_mib: u64,
    pub interrupt_prob: u32,
    pub settings: Ec2Settings,
    /// Names the environment that machines are to have. Without it they are new, and start from no image of ours.
    pub environment: Option<watch::Receiver<EnvironmentKey>>,
}

/// Names an environment: images that have it are found by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvironmentKey {
    /// It is still being found out.
    Sought,
    /// None will be made, or it can't be told which.
    None,
    Key(String),
}

/// The provider: a line to the desk, which is a task that owns all that is rented.
pub struct Ec2 {
    orders: mpsc::UnboundedSender<Order>,
    stop: CancellationToken,
    desk: JoinHandle<Result<Option<String>, Ec2Error>>,
    account: watch::Receiver<Account>,
    began: Instant,
    spent: CancellationToken,
}

enum Order {
    Launch {
        request: LaunchRequest,
        events: mpsc::Sender<LeaseEvent>,
    },
    /// A single machine is of no more use.
    Dismiss(MachineId),
    /// These outlive the run by so long, for whoever wants to look at them.
    Keep(BTreeMap<MachineId, Duration>),
    /// An image of a machine, for the environment with this key.
    Bake {
        machine: MachineId,
        environment: String,
        answer: oneshot::Sender<Result<Baking, Ec2Error>>,
    },
}

/// How many desks are open in this process.
static OPEN: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// Counts a desk for as long as it lives, however it ends.
struct Open;

impl Open {
    fn new() -> Self {
        OPEN.send_modify(|open| *open += 1);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.send_modify(|open| *open -= 1);
    }
}

/// Waits until every desk has given back what it rented: for whoever has lost hold of them.
pub async fn closed() {
    OPEN.subscribe().wait_for(|open| *open == 0).await.ok();
}

impl Ec2Plan {
    pub fn place(&self) -> Place {
        Place { region: self.settings.region.clone(), profile: self.settings.profile.clone() }
    }

    fn market(&self) -> Market {
        if self.interrupt_prob == 0 { Market::OnDemand } else { Market::Spot }
    }

    /// What programs are compiled for on the machines: named types decide it.
    fn architecture(&self, offers: &[Offer]) -> Architecture {
        let named = |offer: &&Offer| self.settings.instance_types.contains(&offer.instance_type);
        offers.iter().find(named).map_or(Architecture::X86_64, |offer| offer.architecture)
    }

    /// What is asked of machines for so many workers.
    pub fn wish(&self, workers: u32, offers: &[Offer], subnets: &[Subnet]) -> Wish {
        Wish {
            workers,
            cpu_per_worker: self.cpu_per_worker,
            memory_per_worker_mib: self.memory_per_worker_mib,
            interrupt_prob: self.interrupt_prob,
            market: self.market(),
            instance_types: self.settings.instance_types.clone(),
            architecture: self.architecture(offers),
            max_price: self.settings.max_price,
            zones: Some(subnets.iter().map(|subnet| subnet.zone.clone()).collect()),
        }
    }
}

async fn serve(desk: desk::Desk, orders: mpsc::UnboundedReceiver<Order>) -> Result<Option<String>, Ec2Error> {
    let _open = Open::new();
    desk.serve(orders).await
}

impl Ec2 {
    pub fn new(plan: Ec2Plan) -> Self {
        let (orders, order_receiver) = mpsc::unbounded_channel();
        let (account_sender, account) = watch::channel(Account::default());
        let (stop, spent, began) = (CancellationToken::new(), CancellationToken::new(), Instant::now());
        let desk = desk::Desk::new(plan, stop.clone(), spent.clone(), account_sender, began);
        Self { orders, stop, desk: tokio::spawn(serve(desk, order_receiver).boxed()), account, began, spent }
    }

    pub(super) fn launch(&mut self, request: LaunchRequest, events: mpsc::Sender<LeaseEvent>) {
        self.orders.send(Order::Launch { request, events }).ok();
    }

    pub(super) fn dismiss(&self, machine: MachineId) {
        self.orders.send(Order::Dismiss(machine)).ok();
    }

    /// Has an image of a machine begun, for the environment with this key.
    pub async fn bake(&self, machine: MachineId, environment: String) -> Result<Baking, Ec2Error> {
        let (answer, begun) = oneshot::channel();
        self.orders.send(Order::Bake { machine, environment, answer }).ok();
        begun.await.unwrap_or(Err(Ec2Error::Broken))
    }

    /// What each machine that runs costs.
    pub(super) fn charges(&self) -> Vec<Charge> {
        self.account.borrow().charges(self.began.elapsed())
    }

    /// What the run has cost up to now.
    pub(super) fn bill(&self) -> Bill {
        self.account.borrow().bill(self.began.elapsed())
    }

    /// Comes to an end when the run has to, lest it cost more than it may.
    pub(super) fn budget_spent(&self) -> WaitForCancellationFuture<'_> {
        self.spent.cancelled()
    }

    /// Answers with what the user should know of machines that stay on purpose.
    pub(super) async fn release_all(self, kept: &BTreeMap<MachineId, Duration>) -> Result<Option<String>, Ec2Error> {
        let Self { orders, stop, desk, .. } = self;
        orders.send(Order::Keep(kept.clone())).ok();
        stop.cancel();
        drop(orders);
        desk.await.unwrap_or(Err(Ec2Error::Broken))
    }
}

/// Whether it looks as if AWS credentials were set up here. Asks nobody.
pub fn credentials_in_sight() -> bool {
    credentials_place(&Place::default()).is_some()
}

/// Where credentials seem to be, in the order in which they are looked for.
pub fn credentials_place(place: &Place) -> Option<String> {
    if let Some(profile) = &place.profile {
        return Some(format!("the profile {profile}"));
    }
    let variables = [
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ];
    let set = |name: &&str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let file = |variable: &str, usual: &str| {
        let named = env::var_os(variable).map(PathBuf::from);
        named.or_else(|| Some(env::home_dir()?.join(usual))).filter(|path| path.is_file())
    };
    let variable = variables.into_iter().find(set).map(|name| format!("the variable {name}"));
    variable.or_else(|| {
        let files = file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
        let files = files.or_else(|| file("AWS_CONFIG_FILE", ".aws/config"));
        files.map(|path| path.display().to_string())
    })
}

/// How long a rented machine may take to let us in, from the moment it has an address. `CLOUDIST_BOOT_PATIENCE` says otherwise.
fn boot_patience() -> Duration {
    let told = env::var("CLOUDIST_BOOT_PATIENCE").ok().and_then(|text| humantime::parse_duration(&text).ok());
    told.unwrap_or(Duration::from_secs(240))
}
