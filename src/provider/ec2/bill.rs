//! What machines have cost, and when they will have cost as much as may be spent.
//!
//! Estimates from list prices and the clock: EC2 sends the real bill. Pure: times are counted from the run's start.

use std::fmt;
use std::time::Duration;

use super::offer::Market;
use crate::model::MachineId;

/// The time one machine is ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Stay {
    pub machine: MachineId,
    pub instance_type: String,
    pub zone: String,
    pub market: Market,
    /// Dollars.
    pub price_per_hour: f64,
    pub on_demand_per_hour: Option<f64>,
    pub disk_gib: u32,
    pub address: Address,
    pub launched: Duration,
    /// `None` while it is running.
    pub ended: Option<Duration>,
}

/// Under what kind of address a machine is reached. A public one costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    Public,
    Private,
}

/// All machines of a run.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub stays: Vec<Stay>,
}

/// What one machine has cost, and what it goes on to cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Charge {
    pub machine: MachineId,
    pub dollars: f64,
    pub per_hour: f64,
    /// How much of the time to come is in it already.
    pub paid_ahead: Duration,
}

/// What the machines of a run cost up to a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bill {
    pub machines: usize,
    pub machine_hours: f64,
    /// Everything: machines, disks, addresses.
    pub dollars: f64,
    pub spot_dollars: f64,
    pub on_demand_dollars: f64,
    pub disk_dollars: f64,
    pub address_dollars: f64,
    /// What everything would have cost without spot machines, where the on-demand prices are known.
    pub all_on_demand_dollars: Option<f64>,
}

/// Linux machines and their disks are billed by the second, at least for a minute:
/// <https://aws.amazon.com/about-aws/whats-new/2017/10/announcing-amazon-ec2-per-second-billing/>.
const LEAST_SECONDS: u64 = 60;

/// The gp3 list price of us-east-1 for a GiB and a month of 30 days; other regions ask up to twice as much.
const DISK_PER_GIB_MONTH: f64 = 0.08;
const HOURS_PER_MONTH: f64 = 30.0 * 24.0;

/// A public IPv4 address in use, in every region: <https://aws.amazon.com/vpc/pricing/>.
const ADDRESS_PER_HOUR: f64 = 0.005;

impl Stay {
    /// What is billed up to a moment; nothing before the launch.
    fn billed_hours(&self, now: Duration) -> f64 {
        if now < self.launched {
            return 0.0;
        }
        let lasted = self.ended.map_or(now, |ended| ended.min(now)).saturating_sub(self.launched);
        let seconds = lasted.as_secs() + u64::from(lasted.subsec_nanos() > 0);
        seconds.max(LEAST_SECONDS) as f64 / 3600.0
    }

    fn disk_per_hour(&self) -> f64 {
        f64::from(self.disk_gib) * DISK_PER_GIB_MONTH / HOURS_PER_MONTH
    }

    fn address_per_hour(&self) -> f64 {
        match self.address {
            Address::Public => ADDRESS_PER_HOUR,
            Address::Private => 0.0,
        }
    }

    fn per_hour(&self) -> f64 {
        self.price_per_hour + self.disk_per_hour() + self.address_per_hour()
    }
}

impl Account {
    pub fn bill(&self, now: Duration) -> Bill {
        let mut bill = Bill { all_on_demand_dollars: Some(0.0), ..Bill::default() };
        for stay in self.stays.iter().filter(|stay| stay.launched <= now) {
            let hours = stay.billed_hours(now);
            let own = hours * stay.price_per_hour;
            let on_demand = match stay.market {
                Market::Spot => stay.on_demand_per_hour.map(|price| hours * price),
                Market::OnDemand => Some(own),
            };
            match stay.market {
                Market::Spot => bill.spot_dollars += own,
                Market::OnDemand => bill.on_demand_dollars += own,
            }
            let extras = hours * (stay.disk_per_hour() + stay.address_per_hour());
            bill.machines += 1;
            bill.machine_hours += hours;
            bill.dollars += own + extras;
            bill.disk_dollars += hours * stay.disk_per_hour();
            bill.address_dollars += hours * stay.address_per_hour();
            bill.all_on_demand_dollars =
                bill.all_on_demand_dollars.zip(on_demand).map(|(sum, dollars)| sum + dollars + extras);
        }
        bill
    }

    /// What each machine that runs costs.
    pub fn charges(&self, now: Duration) -> Vec<Charge> {
        let running = self.stays.iter().filter(|stay| stay.ended.is_none() && stay.launched <= now);
        let charge = |stay: &Stay| {
            let hours = stay.billed_hours(now);
            Charge {
                machine: stay.machine,
                dollars: hours * stay.per_hour(),
                per_hour: stay.per_hour(),
                paid_ahead: (stay.launched + Duration::from_secs_f64(hours * 3600.0)).saturating_sub(now),
            }
        };
        running.map(charge).collect()
    }

    /// Dollars spent up to a moment.
    pub fn spent_by(&self, now: Duration) -> f64 {
        self.stays.iter().map(|stay| stay.billed_hours(now) * stay.per_hour()).sum()
    }

    /// The second by which a budget will be spent if the machines that run go on and no others come; `None` if never.
    pub fn reaches(&self, budget: f64) -> Option<Duration> {
        let rate: f64 = self.stays.iter().filter(|stay| stay.ended.is_none()).map(Stay::per_hour).sum();
        let last = self.stays.iter().map(|stay| stay.ended.unwrap_or(stay.launched)).max().unwrap_or_default();
        let hours = if rate > 0.0 { (budget / rate).max(0.0) } else { 0.0 };
        // By then everything that is spent at the present rate alone would be enough. A cast from a float saturates.
        let enough = (hours * 3600.0) as u64;
        let reached = |second: u64| self.spent_by(Duration::from_secs(second)) >= budget;
        let mut high = last.as_secs().saturating_add(enough).saturating_add(LEAST_SECONDS);
        if !reached(high) {
            return None;
        }
        let mut low = 0;
        while low < high {
            let middle = low + (high - low) / 2;
            if reached(middle) { high = middle } else { low = middle + 1 }
        }
        Some(Duration::from_secs(high))
    }
}

impl fmt::Display for Bill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machines = if self.machines == 1 { "machine" } else { "machines" };
        write!(f, "cloudist: {} {machines} for {:.2} machine-hours", self.machines, self.machine_hours)?;
        write!(f, ": {}", Dollars(self.dollars))?;
        let parts = [
            ("spot", self.spot_dollars),
            ("on-demand", self.on_demand_dollars),
            ("disk", self.disk_dollars),
            ("addresses", self.address_dollars),
        ];
        let parts = parts.iter().filter(|(_, dollars)| *dollars > 0.0);
        let parts: Vec<String> = parts.map(|(name, dollars)| format!("{name} {}", Dollars(*dollars))).collect();
        if !parts.is_empty() {
            write!(f, " ({})", parts.join(", "))?;
        }
        match self.all_on_demand_dollars {
            Some(dollars) if self.spot_dollars > 0.0 => {
                write!(f, "; on-demand would have cost about {}", Dollars(dollars))
            }
            _ => Ok(()),
        }
    }
}

/// An amount as one reads it: to a cent, small ones to a tenth of a cent.
struct Dollars(f64);

impl fmt::Display for Dollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            none if none <= 0.0 => f.write_str("$0"),
            little if little < 0.0005 => f.write_str("<$0.001"),
            small if small < 0.0995 => write!(f, "${small:.3}"),
            amount => write!(f, "${amount:.2}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn stay(launched: u64, ended: Option<u64>) -> Stay {
        Stay {
            machine: MachineId(0),
            instance_type: "m5.large".into(),
            zone: "us-east-1a".into(),
            market: Market::Spot,
            price_per_hour: 0.036,
            on_demand_per_hour: Some(0.096),
            disk_gib: 0,
            address: Address::Private,
            launched: seconds(launched),
            ended: ended.map(seconds),
        }
    }

    fn account(stays: impl IntoIterator<Item = Stay>) -> Account {
        Account { stays: stays.into_iter().collect() }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn a_minute_is_billed_at_least_and_then_every_second_begun() {
        let account = account([stay(10, None)]);
        // A hundred-thousandth of a dollar a second.
        for (now, billed) in [(9.9, 0.0), (10.0, 60.0), (70.0, 60.0), (70.1, 61.0), (71.0, 61.0), (3610.0, 3600.0)] {
            let spent = account.spent_by(Duration::from_secs_f64(now));
            assert!(near(spent, billed * 1e-5), "{spent} at {now}");
        }
    }

    #[test]
    fn machines_that_ended_cost_no_more() {
        let account = account([stay(0, Some(100)), stay(0, Some(5))]);
        assert!(near(account.spent_by(seconds(50)), 120e-5));
        assert!(near(account.spent_by(seconds(90)), 150e-5));
        assert!(near(account.spent_by(seconds(9999)), 160e-5));
    }

    #[test]
    fn disks_and_addresses_count() {
        let dear = Stay { disk_gib: 90, address: Address::Public, ..stay(0, Some(3600)) };
        let bill = account([dear]).bill(seconds(4000));
        assert!(near(bill.disk_dollars, 0.01) && near(bill.address_dollars, 0.005), "{bill:?}");
        assert!(near(bill.dollars, 0.051) && near(bill.all_on_demand_dollars.unwrap(), 0.111), "{bill:?}");
    }

    #[test]
    fn the_bill_adds_up_to_what_was_spent() {
        let account = account([
            stay(0, Some(100)),
            Stay { market: Market::OnDemand, disk_gib: 8, ..stay(20, None) },
            Stay { address: Address::Public, on_demand_per_hour: None, ..stay(90, None) },
        ]);
        for now in [0, 15, 20, 80, 90, 500, 5000] {
            let bill = account.bill(seconds(now));
            assert!(near(bill.dollars, account.spent_by(seconds(now))), "{now}");
            let parts = bill.spot_dollars + bill.on_demand_dollars + bill.disk_dollars + bill.address_dollars;
            assert!(near(bill.dollars, parts), "{now}");
            assert_eq!(bill.all_on_demand_dollars.is_some(), now < 90, "{now}");
        }
    }

    #[test]
    fn what_a_machine_costs_can_be_reckoned_on() {
        let account = account([stay(10, None), Stay { disk_gib: 90, ..stay(0, None) }, stay(0, Some(5))]);
        let spent = |charge: &Charge, later: f64| {
            charge.dollars + charge.per_hour * (later - charge.paid_ahead.as_secs_f64()).max(0.0) / 3600.0
        };
        for now in [20, 69, 70, 3600] {
            let charges = account.charges(seconds(now));
            assert_eq!(charges.len(), 2);
            for (charge, stay) in charges.iter().zip(&account.stays) {
                for later in [0, 1, 50, 51, 1000] {
                    let expected = Account { stays: vec![stay.clone()] }.spent_by(seconds(now + later));
                    assert!(near(spent(charge, later as f64), expected), "{now} {later}");
                }
            }
        }
        assert_eq!(account.charges(seconds(9)).len(), 1);
    }

    #[test]
    fn a_budget_is_reached_to_the_second() {
        let account = account([stay(0, Some(100)), stay(40, None), Stay { disk_gib: 20, ..stay(200, None) }]);
        for tenths_of_millis in 0..200 {
            let budget = f64::from(tenths_of_millis) * 1e-4;
            let second = account.reaches(budget).unwrap().as_secs();
            assert!(account.spent_by(seconds(second)) >= budget);
            assert!(second == 0 || account.spent_by(seconds(second - 1)) < budget, "{budget}");
        }
    }

    #[test]
    fn a_budget_is_not_reached_once_the_machines_have_ended() {
        let ended = account([stay(0, Some(100))]);
        assert_eq!(ended.reaches(0.002), None);
        assert_eq!(ended.reaches(0.000795), Some(seconds(80)));
        assert_eq!(Account::default().reaches(1.0), None);
        assert_eq!(Account::default().reaches(0.0), Some(Duration::ZERO));
    }

    #[test]
    fn sums_without_sense_are_survived() {
        let account = account([stay(0, None)]);
        assert_eq!(account.reaches(f64::NAN), None);
        assert_eq!(account.reaches(f64::INFINITY), None);
        assert_eq!(account.reaches(-1.0), Some(Duration::ZERO));
        assert!(account.reaches(1e12).is_some());
    }

    #[test]
    fn the_bill_is_one_line() {
        let stays = (0..16).map(|_| Stay { disk_gib: 64, price_per_hour: 0.138, ..stay(0, Some(95)) });
        let stays = stays.map(|stay| Stay { on_demand_per_hour: Some(0.43), ..stay });
        assert_eq!(
            account(stays).bill(seconds(100)).to_string(),
            "cloudist: 16 machines for 0.42 machine-hours: $0.061 (spot $0.058, disk $0.003); \
             on-demand would have cost about $0.18"
        );
        let one = Stay { market: Market::OnDemand, price_per_hour: 2.5, ..stay(0, Some(7200)) };
        assert_eq!(
            account([one]).bill(seconds(7200)).to_string(),
            "cloudist: 1 machine for 2.00 machine-hours: $5.00 (on-demand $5.00)"
        );
        assert_eq!(Bill::default().to_string(), "cloudist: 0 machines for 0.00 machine-hours: $0");
        let tiny = Stay { price_per_hour: 0.00001, on_demand_per_hour: None, ..stay(0, Some(60)) };
        assert_eq!(
            account([tiny]).bill(seconds(60)).to_string(),
            "cloudist: 1 machine for 0.02 machine-hours: <$0.001 (spot <$0.001)"
        );
    }
}
