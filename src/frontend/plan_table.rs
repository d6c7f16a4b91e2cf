//! Shows where machines would be looked for, what would be launched, and what that costs an hour.
//!
//! Plain text without colours, whatever it is written to. Nothing here prints or decides.

use std::io;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::{
    provider::ec2::{Choice, Pool, PriceBasis},
    text,
};

const COLUMNS: [&str; 7] = ["type", "zone", "workers", "$/hour", "$/worker-hour", "interruption", "notes"];
const NUMBERS: std::ops::Range<usize> = 2..5;

/// How wide the terminal is that standard output is; `None` if it is none.
pub fn terminal_width() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(size.ws_col).filter(|columns| *columns > 0)
}

/// The table and the lines below it. Without a width no cell is broken.
pub fn render(choice: &Choice, width: Option<u16>) -> String {
    let mut lines: Vec<String> = pool_table(choice, width).lines().map(|line| line.trim_end().to_owned()).collect();
    lines.push(String::new());
    lines.push(would_launch(choice));
    if choice.pools.len() > 1 {
        lines.push(format!("EC2 picks from {} pools by price and capacity, so others may come", choice.pools.len()));
    }
    lines.extend(choice.left_out.iter().map(|(name, refusal)| format!("left out: {name}: {refusal}")));
    lines.join("\n") + "\n"
}

fn pool_table(choice: &Choice, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(COLUMNS);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.add_rows(choice.pools.iter().map(row));
    for (position, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if NUMBERS.contains(&position) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

fn row(pool: &Pool) -> [String; COLUMNS.len()] {
    [
        pool.instance_type.clone(),
        pool.zone.clone(),
        pool.workers_per_machine.to_string(),
        rate(pool.price_per_hour),
        rate(pool.price_per_worker_hour),
        pool.interruption.map_or_else(|| "never".into(), |chance| chance.to_string()),
        notes(pool),
    ]
}

fn notes(pool: &Pool) -> String {
    let estimated = match pool.price_basis {
        PriceBasis::SpotPrice => None,
        PriceBasis::Savings => Some("price estimated from spot"),
        PriceBasis::Size => Some("price guessed from size"),
    };
    let notes: Vec<&str> =
        pool.burstable.then_some("burstable: full speed costs extra").into_iter().chain(estimated).collect();
    notes.join(", ")
}

fn would_launch(choice: &Choice) -> String {
    let expected = &choice.expected;
    let machines: Vec<String> = expected.machines.iter().map(|(name, count)| format!("{count} x {name}")).collect();
    let spare = match expected.workers.saturating_sub(choice.workers) {
        0 => String::new(),
        spare => format!(" (room for {spare} more)"),
    };
    format!(
        "would launch: {} ({}) for {}{spare}: about ${} an hour",
        machines.join(", "),
        choice.market,
        text::counted(choice.workers as usize, "worker"),
        rate(expected.price_per_hour)
    )
}

/// Four places tell machines apart; what is less needs more of them.
fn rate(dollars: f64) -> String {
    if dollars < 0.001 { format!("{dollars:.7}") } else { format!("{dollars:.4}") }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::provider::ec2::{Architecture, Interruption, Market, Offer, Wish, choose};

    fn offer(instance_type: &str, vcpus: u32, interruption: Interruption, savings: Option<u32>) -> Offer {
        Offer {
            instance_type: instance_type.into(),
            vcpus,
            memory_mib: u64::from(vcpus) * 4096,
            architecture: Architecture::X86_64,
            burstable: instance_type.starts_with('t'),
            gpu: false,
            bare_metal: false,
            current: true,
            spot: BTreeMap::from([("us-east-1a".into(), 0.02 * f64::from(vcpus))]),
            on_demand_zones: BTreeSet::from(["us-east-1a".into()]),
            interruption,
            savings,
        }
    }

    fn choice(market: Market, instance_types: &[&str]) -> Choice {
        let offers = [
            offer("m5.xlarge", 4, Interruption::Below5, Some(60)),
            offer("m5a.2xlarge", 8, Interruption::Unlisted, None),
            offer("t3.large", 2, Interruption::From10To15, Some(70)),
        ];
        let wish = Wish {
            workers: 5,
            cpu_per_worker: 1.0,
            memory_per_worker_mib: 3000,
            interrupt_prob: 80,
            market,
            instance_types: instance_types.iter().map(|name| (*name).into()).collect(),
            architecture: Architecture::X86_64,
            max_price: (market == Market::Spot).then_some(0.15),
            zones: None,
        };
        choose(&offers, &wish).unwrap()
    }

    #[test]
    fn pools_and_what_would_be_launched_are_shown() {
        let shown = render(&choice(Market::Spot, &["m5.xlarge", "m5a.2xlarge", "t3.large"]), None);
        let expected = [
            "type       zone        workers  $/hour  $/worker-hour  interruption  notes",
            "t3.large   us-east-1a        2  0.0400         0.0200  10-15 %       burstable: full speed costs extra",
            "m5.xlarge  us-east-1a        3  0.0800         0.0267  <5 %",
            "",
            "would launch: 2 x m5.xlarge (spot) for 5 workers (room for 1 more): about $0.1600 an hour",
            "EC2 picks from 2 pools by price and capacity, so others may come",
            "left out: m5a.2xlarge: too dear ($0.1600 an hour in us-east-1a)",
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn estimates_are_called_estimates() {
        let shown = render(&choice(Market::OnDemand, &["m5.xlarge"]), Some(200));
        let expected = [
            "type       zone        workers  $/hour  $/worker-hour  interruption  notes",
            "m5.xlarge  us-east-1a        3  0.2000         0.0667  never         price estimated from spot",
            "",
            "would launch: 2 x m5.xlarge (on-demand) for 5 workers (room for 1 more): about $0.4000 an hour",
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_narrow_terminal_is_respected() {
        let choice = choice(Market::OnDemand, &["t3.large"]);
        let table = pool_table(&choice, Some(60));
        assert!(table.lines().all(|line| line.chars().count() <= 60), "{table}");
        assert!(table.lines().count() > pool_table(&choice, None).lines().count());
    }

    #[test]
    fn there_are_no_colours() {
        assert!(!render(&choice(Market::Spot, &[]), Some(80)).contains('\u{1b}'));
    }

    #[test]
    fn tiny_prices_are_not_nothing() {
        assert_eq!((rate(0.00001), rate(0.0345)), ("0.0000100".into(), "0.0345".into()));
    }
}
