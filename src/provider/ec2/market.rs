//! Finds out what EC2 has on offer: machine types, today's spot prices, and how often machines are taken away.
//!
//! What changes rarely is kept on disk for some hours. The spot advisor's data is public and optional: without it the
//! choice is coarser, and says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use aws_sdk_ec2::types::{Filter, InstanceTypeInfo, LocationType};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    advisor::Advice,
    api::Cloud,
    error::Ec2Error,
    https,
    offer::{Architecture, Interruption, Offer},
};
use crate::cache;

/// The public file behind AWS's spot instance advisor.
const ADVISOR: &str = "https://spot-bid-advisor.s3.amazonaws.com/spot-advisor-data.json";
const ADVISOR_PATIENCE: Duration = Duration::from_secs(10);

const HOUR: Duration = Duration::from_secs(3600);
const TYPES_KEEP: Duration = Duration::from_secs(24 * 3600);
const ADVICE_KEEPS: Duration = Duration::from_secs(6 * 3600);
/// Spot prices move slowly, but a price that is an hour old is no price.
const PRICES_KEEP: Duration = Duration::from_secs(600);

const LINUX: &str = "Linux/UNIX";

/// What is on offer, and what could not be found out about it.
#[derive(Clone, Debug)]
pub struct Supply {
    pub offers: Vec<Offer>,
    pub caveat: Option<String>,
}

/// What never changes about a type.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Model {
    name: String,
    vcpus: u32,
    memory_mib: u64,
    architectures: Vec<String>,
    burstable: bool,
    gpu: bool,
    bare_metal: bool,
    current: bool,
}

type Prices = BTreeMap<String, BTreeMap<String, f64>>;
type Zones = BTreeMap<String, BTreeSet<String>>;

/// Everything that the region sells.
pub async fn supply(cloud: &Cloud) -> Result<Supply, Ec2Error> {
    let region = &cloud.region;
    let (models, prices, zones, advice) = tokio::join!(
        kept(format!("types-{region}"), TYPES_KEEP, models(cloud)),
        kept(format!("prices-{region}"), PRICES_KEEP, prices(cloud)),
        kept(format!("zones-{region}"), TYPES_KEEP, zones(cloud)),
        advice(region),
    );
    let (models, prices, zones) = (models?, prices?, zones?);
    let (advice, caveat) = match advice {
        Ok(advice) => (advice, None),
        Err(detail) => {
            (Advice::default(), Some(format!("{detail}: every type counts as one that is often taken away")))
        }
    };
    let offers = models.into_iter().filter_map(|model| {
        let architecture =
            match model.architectures.iter().map(String::as_str).find(|one| matches!(*one, "x86_64" | "arm64"))? {
                "arm64" => Architecture::Arm64,
                _ => Architecture::X86_64,
            };
        let rating = advice.rating(&model.name);
        Some(Offer {
            spot: prices.get(&model.name).cloned().unwrap_or_default(),
            on_demand_zones: zones.get(&model.name).cloned().unwrap_or_default(),
            interruption: rating.map_or(Interruption::Unlisted, |rating| rating.interruption),
            savings: rating.and_then(|rating| rating.savings),
            instance_type: model.name,
            vcpus: model.vcpus,
            memory_mib: model.memory_mib,
            architecture,
            burstable: model.burstable,
            gpu: model.gpu,
            bare_metal: model.bare_metal,
            current: model.current,
        })
    });
    Ok(Supply { offers: offers.collect(), caveat })
}

async fn models(cloud: &Cloud) -> Result<Vec<Model>, Ec2Error> {
    let mut pages = cloud.client().describe_instance_types().into_paginator().send();
    let mut models = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| Ec2Error::of("DescribeInstanceTypes", error))?;
        models.extend(page.instance_types().iter().filter_map(model));
    }
    Ok(models)
}

fn model(info: &InstanceTypeInfo) -> Option<Model> {
    let architectures = info.processor_info().map(|processor| processor.supported_architectures()).unwrap_or_default();
    Some(Model {
        name: info.instance_type()?.as_str().to_owned(),
        vcpus: u32::try_from(info.v_cpu_info()?.default_v_cpus()?).ok()?,
        memory_mib: u64::try_from(info.memory_info()?.size_in_mib()?).ok()?,
        architectures: architectures.iter().map(|one| one.as_str().to_owned()).collect(),
        burstable: info.burstable_performance_supported().unwrap_or(false),
        gpu: info.gpu_info().is_some()
            || info.inference_accelerator_info().is_some()
            || info.neuron_info().is_some()
            || info.fpga_info().is_some()
            || info.media_accelerator_info().is_some(),
        bare_metal: info.bare_metal().unwrap_or(false),
        current: info.current_generation().unwrap_or(true),
    })
}

/// The spot price of each type in each zone, as of now.
async fn prices(cloud: &Cloud) -> Result<Prices, Ec2Error> {
    let mut pages = cloud
        .client()
        .describe_spot_price_history()
        .product_descriptions(LINUX)
        .start_time(SystemTime::now().into())
        .into_paginator()
        .send();
    let mut newest: BTreeMap<(String, String), (i64, f64)> = BTreeMap::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| Ec2Error::of("DescribeSpotPriceHistory", error))?;
        for entry in page.spot_price_history() {
            let (Some(of), Some(zone), Some(price)) = (
                entry.instance_type(),
                entry.availability_zone(),
                entry.spot_price().and_then(|price| price.parse::<f64>().ok()),
            ) else {
                continue;
            };
            let since = entry.timestamp().map_or(0, |time| time.secs());
            let known = newest.entry((of.as_str().to_owned(), zone.to_owned())).or_insert((since, price));
            if since >= known.0 {
                *known = (since, price);
            }
        }
    }
    let mut prices = Prices::new();
    for ((of, zone), (_, price)) in newest {
        prices.entry(of).or_default().insert(zone, price);
    }
    Ok(prices)
}

/// The zones in which each type is sold.
async fn zones(cloud: &Cloud) -> Result<Zones, Ec2Error> {
    let mut pages = cloud
        .client()
        .describe_instance_type_offerings()
        .location_type(LocationType::AvailabilityZone)
        .set_filters(None::<Vec<Filter>>)
        .into_paginator()
        .send();
    let mut zones = Zones::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| Ec2Error::of("DescribeInstanceTypeOfferings", error))?;
        for offering in page.instance_type_offerings() {
            if let (Some(of), Some(zone)) = (offering.instance_type(), offering.location()) {
                zones.entry(of.as_str().to_owned()).or_default().insert(zone.to_owned());
            }
        }
    }
    Ok(zones)
}

/// The advisor's word on a region: fresh, or else the last one that was heard.
async fn advice(region: &str) -> Result<Advice, String> {
    let file = "spot-advisor".to_owned();
    let text: Result<String, String> = match read(&file, ADVICE_KEEPS) {
        Some(text) => Ok(text),
        None => match fetch_advice().await {
            Ok(text) => {
                write(&file, &text);
                Ok(text)
            }
            Err(error) => {
                read(&file, 24 * 365 * HOUR).ok_or_else(|| format!("the spot advisor can't be asked ({error})"))
            }
        },
    };
    Advice::parse(&text?, region).map_err(|error| crate::text::chain(&error))
}

async fn fetch_advice() -> Result<String, String> {
    let url = std::env::var("CLOUDIST_SPOT_ADVISOR_URL").unwrap_or_else(|_| ADVISOR.into());
    https::text(&url, ADVISOR_PATIENCE).await.map_err(|error| crate::text::chain(&error))
}

/// What is on disk if it is young enough, else what is asked for now.
async fn kept<T: DeserializeOwned + Serialize>(
    name: String,
    age: Duration,
    asked: impl Future<Output = Result<T, Ec2Error>>,
) -> Result<T, Ec2Error> {
    if let Some(value) = read(&name, age) {
        return Ok(value);
    }
    let value = asked.await?;
    write(&name, &value);
    Ok(value)
}

fn path(name: &str) -> Option<PathBuf> {
    Some(cache::directory().ok()?.join("ec2").join(format!("{name}.json")))
}

fn read<T: DeserializeOwned>(name: &str, age: Duration) -> Option<T> {
    let path = path(name)?;
    let written = fs::metadata(&path).ok()?.modified().ok()?;
    let fresh = SystemTime::now().duration_since(written).is_ok_and(|since| since < age);
    fresh.then(|| serde_json::from_slice(&fs::read(&path).ok()?).ok())?
}

/// Without a cache everything is asked for anew, which is slower and just as right.
fn write<T: Serialize>(name: &str, value: &T) {
    if let (Some(path), Ok(content)) = (path(name), serde_json::to_vec(value)) {
        cache::write_whole(&path, &content).ok();
    }
}
