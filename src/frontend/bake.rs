//! `cloudist bake`: an image with the environment in place, for machines of later runs.
//!
//! Rents one machine as `ssh-run` does, with an empty project, and gives it back in every case. The project's files never get there.

use std::path::PathBuf;

use futures_util::FutureExt;
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task,
};

use super::{
    args::BakeArgs,
    bridge, config,
    failure::{Failure, exit_code},
    init::project_root,
    interpreter,
    plan::failure,
    pytest, remains, travel,
};
use crate::{
    environment::Request,
    plan::{ProviderKind, Settings},
    provider::ec2::{Baked, Baking, Place, images, remove_image},
    run::{
        Fleet, Ground, Listener, RunError,
        command::{CommandOutput, CommandPlan, CommandRun, CommandWish, Stdin, Stream},
        prepare,
    },
    templates,
};

pub const EXAMPLES: &str = "\
Examples:
  cloudist bake                          the environment of this project
  cloudist bake --list                   the images that there are
  cloudist bake --remove ami-0123        remove one, and the disk in it
  cloudist bake --remove --all           remove all

Exit status: 0; 90 if a setting is wrong or there is no environment to bake; 91 if EC2 can't be asked
or doesn't make the image; 92 to 95 as `cloudist --help` tells; 130 after Ctrl-C.";

/// What EC2 asks for a GiB of a snapshot in a month, in most regions.
const DOLLARS_PER_GIB_MONTH: f64 = 0.05;

/// Pieces of output that may wait.
const WAITING: usize = 64;

pub fn bake(args: BakeArgs) -> Result<u8, Failure> {
    let cwd = pytest::current_dir()?;
    let mut settings = config::settings(args.run.0.clone(), "--", &cwd)?;
    let place = Place { region: settings.ec2.region.clone(), profile: settings.ec2.profile.clone() };
    let runtime = bridge::runtime()?;
    if args.list {
        return runtime.block_on(list(&place, args.json));
    }
    if let Some(wanted) = &args.remove {
        return runtime.block_on(remove(&place, wanted, args.all));
    }
    // Only there are machines made from images, and one is enough. It is given back when the image is there.
    settings.provider = Some(ProviderKind::Ec2);
    settings.num_workers = 1;
    settings.ec2.keep = None;
    let python = interpreter::find(args.local_python.as_deref())?;
    let result = runtime.block_on(bridge::to_the_end(make(settings, python, cwd)));
    runtime.shutdown_background();
    result
}

async fn make(settings: Settings, python: PathBuf, cwd: PathBuf) -> Result<u8, Failure> {
    let variables = travel::variables(&settings)?;
    let empty = tempfile::tempdir()
        .map_err(|error| Failure::new(exit_code::INTERNAL, format!("cannot make an empty directory: {error}")))?;
    let ground = Ground {
        environment: bridge::environment_wish(&settings, &python, &project_root(&cwd), &cwd),
        rootdir: empty.path().to_owned(),
        cwd: empty.path().to_owned(),
        sys_path: Vec::new(),
        further: Vec::new(),
        extra_files: Vec::new(),
        limit: settings.snapshot_limit.as_u64(),
        init_command: None,
        variables,
        carries: false,
        python: settings.python.clone(),
        session: None,
    };
    // Before anything is rented: it says what is wrong, and whether there is anything to bake.
    let preparation = task::spawn_blocking(move || prepare(&ground)).await;
    let preparation = preparation.map_err(|error| Failure::new(exit_code::INTERNAL, error.to_string()))??;
    let Some(key) = preparation.environment.as_ref().filter(|request| request.makes_something()).map(Request::key)
    else {
        let failure = Failure::new(exit_code::SETTINGS, "there is no environment to bake");
        return Err(failure.with_help("name one: --cd-env auto, uv, pip, conda or a file"));
    };
    let (wish_sender, wishes) = mpsc::channel(WAITING);
    let mut signals = Signals::new()?;
    let mut fleet = bridge::launch_from(&settings, &python, None)?;
    let cleaned = {
        let cleaning = clean(&mut fleet, preparation, wishes);
        tokio::pin!(cleaning);
        tokio::select! {
            result = &mut cleaning => result,
            code = signals.next() => {
                wish_sender.send(CommandWish::Terminate).await.ok();
                cleaning.await.ok();
                Err(Failure::new(code, "interrupted: no image was made"))
            }
        }
    };
    let made = match cleaned {
        Ok(()) => image(&fleet, key, &mut signals).await,
        Err(failure) => Err(failure),
    };
    let bill = fleet.bill().filter(|bill| bill.machines > 0);
    remains::tell(fleet.finish().await, &Listener::default());
    if let Some(bill) = bill {
        eprintln!("{bill}");
    }
    println!("{}", told(&made?, &settings.ec2.image));
    Ok(0)
}

/// Has the environment made, then everything taken away that an image must not hold.
async fn clean(
    fleet: &mut Fleet,
    preparation: crate::machine::Preparation,
    wishes: mpsc::Receiver<CommandWish>,
) -> Result<(), Failure> {
    let plan = CommandPlan {
        argv: vec!["sh".into(), "-c".into(), templates::BAKE_CLEANUP.into()],
        workers: 1,
        variables: Default::default(),
        stdin: Stdin::Empty,
        fetch: Vec::new(),
        keep_on_failure: None,
    };
    let (output, mut shown) = mpsc::channel(WAITING);
    let showing = task::spawn(async move {
        let mut said = Vec::new();
        while let Some(output) = shown.recv().await {
            match output {
                CommandOutput::Note(text) => eprintln!("cloudist: {text}"),
                CommandOutput::Bytes { stream: Stream::Stderr, data, .. } => said.extend_from_slice(&data),
                _ => {}
            }
        }
        said
    });
    let (_no_input, stdin) = mpsc::channel(1);
    let preparing = task::spawn(async move { Ok::<_, RunError>(preparation) });
    let ending = CommandRun::new(plan, fleet, output).drive(preparing, wishes, stdin).boxed_local().await?;
    let said = showing.await.unwrap_or_default();
    if ending.statuses.get(&0) == Some(&0) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let last = said.trim().lines().last().unwrap_or("the machine was lost").to_owned();
    Err(Failure::new(exit_code::NO_MACHINE, format!("the machine could not be cleaned up for an image: {last}")))
}

/// The image, finished; one that isn't wanted any more is taken back.
async fn image(fleet: &Fleet, key: String, signals: &mut Signals) -> Result<Baked, Failure> {
    let nowhere = || Failure::new(exit_code::NO_MACHINE, "the machine was lost before an image could be made of it");
    let baking: Baking = fleet.bake(key).await.ok_or_else(nowhere)?.map_err(RunError::from)?;
    eprintln!("cloudist: EC2 makes {}; this takes some minutes", baking.image);
    let result = tokio::select! {
        result = baking.available() => result.map_err(failure),
        code = signals.next() => Err(Failure::new(code, "interrupted: the image is taken back")),
    };
    if result.is_err()
        && let Err(error) = baking.abandon().await
    {
        eprintln!("cloudist: the image {} was not removed: {}", baking.image, crate::text::chain(&error));
    }
    result
}

fn told(image: &Baked, base: &str) -> String {
    let (id, gib) = (&image.id, image.disk_gib);
    let dollars = f64::from(gib) * DOLLARS_PER_GIB_MONTH;
    format!(
        "{id} is ready: a disk of {gib} GiB, at most about ${dollars:.2} a month\n\
         runs with this environment and --image {base} start from it; `cloudist bake --remove {id}` removes it"
    )
}

async fn list(place: &Place, as_json: bool) -> Result<u8, Failure> {
    let (_, images) = images(place).await.map_err(failure)?;
    if as_json {
        let rows = images.iter().map(|image| {
            json!({"image": image.id, "state": image.state, "architecture": image.architecture, "gib": image.disk_gib,
                   "environment": image.environment, "base": image.base, "owner": image.owner, "created": image.created})
        });
        println!("{:#}", json!(rows.collect::<Vec<_>>()));
    } else if images.is_empty() {
        println!("there are no images");
    }
    for image in images.iter().filter(|_| !as_json) {
        let Baked { id, state, architecture, disk_gib, environment, base, owner, .. } = image;
        let environment: String = environment.chars().take(12).collect();
        println!("{id:21}  {state:9}  {architecture:6}  {disk_gib:>4} GiB  {environment:12}  {base}  {owner}");
    }
    Ok(0)
}

async fn remove(place: &Place, wanted: &[String], all: bool) -> Result<u8, Failure> {
    let (cloud, images) = images(place).await.map_err(failure)?;
    if wanted.is_empty() && !all {
        return Err(Failure::new(exit_code::SETTINGS, "no image is named").with_help("name some, or add --all"));
    }
    if let Some(unknown) = wanted.iter().find(|id| images.iter().all(|image| image.id != **id)) {
        let text = format!("{unknown} is not an image that cloudist has made in {}", cloud.region);
        return Err(Failure::new(exit_code::SETTINGS, text).with_help("`cloudist bake --list` shows those that are"));
    }
    for image in images.iter().filter(|image| all || wanted.contains(&image.id)) {
        remove_image(&cloud, image).await.map_err(failure)?;
        println!("{} is removed", image.id);
    }
    Ok(0)
}

/// What may come from outside to end it.
struct Signals {
    interrupts: tokio::signal::unix::Signal,
    terminations: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let failed = |error| bridge::internal("failed to watch for signals", error);
        Ok(Self {
            interrupts: signal(SignalKind::interrupt()).map_err(failed)?,
            terminations: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    /// The exit code that the next one leads to.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupts.recv() => exit_code::INTERRUPTED,
            _ = self.terminations.recv() => exit_code::TERMINATED,
        }
    }
}
