//! `cloudist plan`: what a run would rent from EC2, and for how much. Launches nothing.

use serde_json::{Value, json};

use super::{
    args::PlanArgs,
    bridge, config,
    failure::{Failure, exit_code},
    plan_table, pytest, team,
};
use crate::{
    plan::{
        ProviderKind, Settings,
        workers::{MOST_CHOSEN, Work},
    },
    provider::{
        ProviderError,
        ec2::{Choice, Cloud, Ec2Error, Forecast, Interruption, Market, Pool, PriceBasis, forecast},
    },
    run::RunError,
};

pub fn plan(args: PlanArgs) -> Result<u8, Failure> {
    let settings = config::settings(args.run.0, "--", &pytest::current_dir()?)?;
    let work = team::work(&Settings { provider: Some(ProviderKind::Ec2), ..settings.clone() }, &pytest::current_dir()?);
    let plan = bridge::ec2_plan(&settings, "");
    let found = bridge::runtime()?.block_on(async {
        let cloud = Cloud::find(&plan.place()).await?;
        forecast(&cloud, &plan, settings.num_workers).await
    });
    let forecast = found.map_err(failure)?;
    let mut caveats: Vec<String> = forecast.caveat.iter().cloned().collect();
    if let Some(provider) = settings.provider.filter(|provider| *provider != ProviderKind::Ec2) {
        caveats.push(format!("a run with these settings rents nothing: its provider is {provider}, not ec2"));
    }
    for caveat in &caveats {
        eprintln!("cloudist: {caveat}");
    }
    let text = match args.json {
        true => serde_json::to_string_pretty(&document(&forecast, work.as_ref(), &caveats))
            .map_err(|error| Failure::new(exit_code::INTERNAL, error.to_string()))?,
        false => in_words(&forecast, settings.ec2.budget) + &in_time(&forecast, work.as_ref()),
    };
    println!("{}", text.trim_end());
    Ok(0)
}

pub fn failure(error: Ec2Error) -> Failure {
    RunError::from(ProviderError::from(error)).into()
}

fn in_words(forecast: &Forecast, budget: Option<f64>) -> String {
    let mut text = format!("{} machines in {}\n\n", forecast.choice.market, forecast.region);
    text += &plan_table::render(&forecast.choice, plan_table::terminal_width());
    text += &format!("with disks and public addresses: about ${:.4} an hour", forecast.hour.dollars);
    if forecast.choice.market == Market::Spot
        && let Some(dollars) = forecast.hour.all_on_demand_dollars
    {
        text += &format!("; on-demand about ${dollars:.4}");
    }
    if let Some(budget) = budget {
        text +=
            &format!("\nthe budget of ${budget:.2} is spent after about {:.1} hours", budget / forecast.hour.dollars);
    }
    text
}

/// What the recorded tests take and cost with fewer workers or more.
fn in_time(forecast: &Forecast, work: Option<&Work>) -> String {
    let Some(work) = work else { return String::new() };
    let chosen = forecast.choice.workers;
    let dollars = worker_hour(forecast);
    let mut text = format!("\n\n{:>9}{:>12}{:>11}\n", "workers", "time", "$");
    for row in work.teams(chosen, MOST_CHOSEN) {
        let mark = if row.workers == chosen { "  *" } else { "" };
        let cost = dollars * f64::from(row.workers) * row.takes.as_secs_f64() / 3600.0;
        text += &format!("{:>9}{:>12}{cost:>11.4}{mark}\n", row.workers, team::rounded(row.takes));
    }
    text
}

/// What an hour of one worker costs, with its part of disks and addresses.
fn worker_hour(forecast: &Forecast) -> f64 {
    forecast.hour.dollars / f64::from(forecast.choice.expected.workers.max(1))
}

fn teams(forecast: &Forecast, work: &Work) -> Value {
    let dollars = worker_hour(forecast);
    let teams = work.teams(forecast.choice.workers, MOST_CHOSEN);
    teams
        .iter()
        .map(|team| {
            let seconds = team.takes.as_secs_f64();
            json!({
                "workers": team.workers,
                "seconds": seconds,
                "dollars": dollars * f64::from(team.workers) * seconds / 3600.0,
            })
        })
        .collect()
}

fn document(forecast: &Forecast, work: Option<&Work>, caveats: &[String]) -> Value {
    let Choice { market, workers, pools, expected, left_out } = &forecast.choice;
    let left_out: serde_json::Map<String, Value> =
        left_out.iter().map(|(name, refusal)| (name.clone(), refusal.to_string().into())).collect();
    json!({
        "region": forecast.region,
        "market": market.to_string(),
        "workers": workers,
        "pools": pools.iter().map(pool).collect::<Vec<_>>(),
        "launch": {
            "machines": expected.machines,
            "workers": expected.workers,
            "machine_dollars_per_hour": expected.price_per_hour,
            "dollars_per_hour": forecast.hour.dollars,
            "on_demand_dollars_per_hour": forecast.hour.all_on_demand_dollars,
        },
        "teams": work.map(|work| teams(forecast, work)),
        "left_out": left_out,
        "caveats": caveats,
    })
}

fn pool(pool: &Pool) -> Value {
    let interruption = |chance: Interruption| json!({"bucket": chance.to_string(), "percent": chance.percent()});
    json!({
        "type": pool.instance_type,
        "zone": pool.zone,
        "architecture": pool.architecture.to_string(),
        "workers_per_machine": pool.workers_per_machine,
        "dollars_per_hour": pool.price_per_hour,
        "dollars_per_worker_hour": pool.price_per_worker_hour,
        "price_from": match pool.price_basis {
            PriceBasis::SpotPrice => "spot price",
            PriceBasis::Savings => "spot price and savings",
            PriceBasis::Size => "size",
        },
        "interruption": pool.interruption.map(interruption),
        "burstable": pool.burstable,
    })
}
