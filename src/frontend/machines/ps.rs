//! `cloudist ps`: the machines of this user's runs, and what they do, as a table or as JSON.

use std::{io, time::Duration};

use serde_json::{Value, json};

use super::{args::PsArgs, channel, look};
use crate::{
    frontend::{
        failure::Failure,
        plan_table::terminal_width,
        table::{self, TooLong},
    },
    registry::{Live, Place, WorkerInfo},
};

const COLUMNS: [&str; 9] = ["machine", "run", "provider", "type", "age", "lease left", "workers", "cost", "now"];

pub fn ps(args: &PsArgs) -> Result<u8, Failure> {
    let runs = look()?;
    let places: Vec<Place> = runs.iter().flat_map(Live::places).collect();
    if args.json {
        let all: Vec<Value> = places.iter().map(|place| document(*place)).collect();
        let text = serde_json::to_string_pretty(&all).unwrap_or_default();
        channel::show(&mut io::stdout(), (text + "\n").as_bytes())?;
    } else if places.is_empty() {
        eprintln!("there is no machine");
    } else {
        let rows: Vec<Vec<String>> = places.iter().map(|place| row(*place)).collect();
        let table = table::render(&COLUMNS, &rows, terminal_width(), TooLong::IsCut);
        channel::show(&mut io::stdout(), table.as_bytes())?;
    }
    Ok(0)
}

fn row(place: Place) -> Vec<String> {
    let Place { live, machine } = place;
    let none = || table::NONE.to_owned();
    let rented = machine.rented.as_ref();
    vec![
        machine.name.clone(),
        live.info.run.clone(),
        live.info.provider.clone(),
        rented.map_or_else(none, |rented| format!("{} {}", rented.instance_type, rented.zone)),
        duration(place.age()),
        place.left().map_or_else(none, duration),
        machine.workers.to_string(),
        place.cost().map_or_else(none, |dollars| format!("${dollars:.4}")),
        doing(place),
    ]
}

/// A line for each worker; or what else the machine is at.
fn doing(place: Place) -> String {
    let Place { live, machine } = place;
    if !live.running {
        return "kept to be looked at".into();
    }
    let workers: Vec<String> = live.workers_of(machine).filter_map(at).collect();
    match (workers.is_empty(), &machine.ground) {
        (false, _) => workers.join("\n"),
        (true, Some(_)) => "ready".into(),
        (true, None) => "getting ready".into(),
    }
}

fn at(worker: &WorkerInfo) -> Option<String> {
    worker.at.as_ref().map(|at| format!("{}: {at}", worker.worker))
}

fn duration(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

fn document(place: Place) -> Value {
    let Place { live, machine } = place;
    let workers: Vec<Value> = live
        .workers_of(machine)
        .map(|worker| {
            let now = worker.at.as_ref().filter(|_| live.running);
            json!({"worker": worker.worker, "now": now, "done": worker.done, "failed": worker.failed})
        })
        .collect();
    json!({
        "machine": machine.name,
        "run": live.info.run,
        "provider": live.info.provider,
        "project": live.info.project,
        "pid": live.running.then_some(live.info.pid),
        "running": live.running,
        "address": machine.reach.label,
        "type": machine.rented.as_ref().map(|rented| &rented.instance_type),
        "zone": machine.rented.as_ref().map(|rented| &rented.zone),
        "machine_dollars_per_hour": machine.rented.as_ref().map(|rented| rented.price_per_hour),
        "dollars_per_hour": place.charge().map(|charge| charge.per_hour),
        "dollars": place.cost(),
        "age_seconds": place.age(),
        "lease_left_seconds": place.left(),
        "directory": machine.ground.as_ref().map(|ground| &ground.cwd),
        "python": machine.ground.as_ref().map(|ground| &ground.python),
        "num_workers": machine.workers,
        "workers": workers,
    })
}
