//! `cloudist doctor`: checks what a run needs, here and on EC2, one line each.

mod account;
mod check;
mod local;

use futures_util::FutureExt;

use super::{args::DoctorArgs, bridge, config, failure::Failure, pytest};
use crate::{
    plan::{ProviderKind, Settings},
    provider::ec2::{Place, credentials_place},
};
use check::{Check, Form, Report};

pub fn doctor(args: DoctorArgs) -> Result<u8, Failure> {
    let cwd = pytest::current_dir()?;
    let mut report = Report::new(if args.json { Form::Json } else { Form::Lines });
    report.add(local::version());
    let settings = config::settings(args.run.0, "--", &cwd);
    report.add(local::settings(&settings));
    report.add(local::state());
    report.add(local::cache());
    local::python(&mut report, args.local_python.as_deref(), &cwd);
    if let Ok(settings) = settings {
        machines(&mut report, &settings)?;
    }
    report.finish()
}

fn machines(report: &mut Report, settings: &Settings) -> Result<(), Failure> {
    let place = Place { region: settings.ec2.region.clone(), profile: settings.ec2.profile.clone() };
    let credentials = credentials_place(&place);
    match (settings.provider, &credentials) {
        (Some(ProviderKind::Ec2), _) => {}
        (Some(ProviderKind::Hosts), _) => report.add(Check::ok("provider", "hosts: machines that you have")),
        (_, None) => report.add(Check::warn(
            "provider",
            "local: there are no AWS credentials, so EC2 was not looked at",
            "processes on this machine (--cd-provider=local) need none; for EC2 set credentials up with `aws configure` or \
             AWS_PROFILE",
        )),
        (_, Some(_)) => report.add(Check::ok("provider", "local: processes on this machine")),
    }
    if settings.provider == Some(ProviderKind::Ec2) {
        bridge::runtime()?.block_on(account::examine(report, settings, credentials.as_deref()).boxed_local());
    } else if let Some(check) = local::left_over() {
        report.add(check);
    }
    Ok(())
}
