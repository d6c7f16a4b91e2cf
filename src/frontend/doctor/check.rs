//! One check with its verdict, and the list of them as it is shown.

use serde_json::{Value, json};

use crate::{
    frontend::failure::{Failure, exit_code},
    provider::ec2::Ec2Error,
    text,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// A run may succeed all the same.
    Warn,
    Fail,
}

#[derive(Clone, Debug)]
pub struct Check {
    pub subject: &'static str,
    pub verdict: Verdict,
    pub finding: String,
    /// What to do.
    pub help: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Lines,
    Json,
}

/// The checks so far. Lines are shown as they come: some take a while.
pub struct Report {
    form: Form,
    checks: Vec<Check>,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Check {
    pub fn ok(subject: &'static str, finding: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Ok, finding: finding.into(), help: None }
    }

    pub fn warn(subject: &'static str, finding: impl Into<String>, help: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Warn, finding: finding.into(), help: Some(help.into()) }
    }

    pub fn fail(subject: &'static str, finding: impl Into<String>, help: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Fail, finding: finding.into(), help: Some(help.into()) }
    }

    pub fn failed(subject: &'static str, failure: &Failure) -> Self {
        Self { subject, verdict: Verdict::Fail, finding: failure.message.clone(), help: failure.help.clone() }
    }

    pub fn refused(subject: &'static str, error: &Ec2Error) -> Self {
        Self::fail(subject, text::chain(error), error.help())
    }

    fn document(&self) -> Value {
        json!({
            "check": self.subject,
            "verdict": self.verdict.word(),
            "finding": self.finding,
            "help": self.help,
        })
    }

    fn show(&self) {
        println!("{:<5} {:<12} {}", self.verdict.word(), self.subject, self.finding);
        if let Some(help) = &self.help {
            println!("{:<18} help: {help}", "");
        }
    }
}

impl Report {
    pub fn new(form: Form) -> Self {
        Self { form, checks: Vec::new() }
    }

    pub fn add(&mut self, check: Check) {
        if self.form == Form::Lines {
            check.show();
        }
        self.checks.push(check);
    }

    /// Sums up; the exit status.
    pub fn finish(self) -> Result<u8, Failure> {
        let count = |verdict| self.checks.iter().filter(|check| check.verdict == verdict).count();
        match self.form {
            Form::Lines => println!(
                "{} checks: {} failed, {} with a warning",
                self.checks.len(),
                count(Verdict::Fail),
                count(Verdict::Warn)
            ),
            Form::Json => {
                let checks: Vec<Value> = self.checks.iter().map(Check::document).collect();
                let text = serde_json::to_string_pretty(&checks)
                    .map_err(|error| Failure::new(exit_code::INTERNAL, error.to_string()))?;
                println!("{text}");
            }
        }
        Ok(if count(Verdict::Fail) == 0 { 0 } else { exit_code::NO_MACHINE })
    }
}
