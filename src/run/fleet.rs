//! The machines of one run, as they come and go.
//!
//! The fleet owns every machine task and every channel to them. It decides nothing about work: runs ask it for the next
//! event and tell single machines what to do.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::{self, JoinError, JoinSet},
    time::{sleep_until, timeout},
};

use super::{Recorder, Registration, Watch, peers::Peers};
use crate::{
    machine::{self, Command, Event, MachineError, Preparation},
    model::{MachineId, event::What, live::Sight},
    provider::{Bill, LaunchRequest, Lease, LeaseEvent, Provider, ProviderError, ec2::Baking},
    registry::{Source, WorkerInfo},
    text,
};

/// Machine messages waiting for the coordinator; beyond it machines wait, and so do their runners.
const EVENTS_WAITING: usize = 256;

/// Machines that were told to finish get this long before their tasks are dropped.
const FINISH_PATIENCE: Duration = Duration::from_secs(15);

/// What a run learns from its fleet.
#[derive(Debug)]
pub enum FleetEvent {
    /// A machine was leased; it connects now.
    Leased {
        machine: MachineId,
        name: String,
        workers: u32,
    },
    /// A machine could not be had.
    NotLeased {
        name: String,
        error: ProviderError,
    },
    Machine(MachineId, Event),
    /// The run has cost what it may.
    BudgetSpent,
    /// Something about the machines that the user should know.
    Note(String),
    /// Something about a machine that may matter to the tests.
    Warning(String),
    /// The provider has answered all that was asked for; no further machine will come.
    LeasesOver,
}

/// What is known when machines are asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetPlan {
    /// Names the run on the machines.
    pub run: String,
    pub workers: u32,
    /// The interpreter of the workers, where it is known before anything has been sent.
    pub python: Option<String>,
    /// What runs the runner.
    pub boot_python: String,
    /// The variables that workers get.
    pub env: BTreeMap<String, String>,
    /// Whether machines may have the snapshot's contents from each other.
    pub peers: bool,
}

pub struct Fleet {
    provider: Provider,
    plan: FleetPlan,
    leases: mpsc::Receiver<LeaseEvent>,
    /// Another request to the provider is answered the same way.
    lease_sender: mpsc::WeakSender<LeaseEvent>,
    leases_open: bool,
    /// Said once.
    budget_spent: bool,
    events: mpsc::Receiver<(MachineId, Event)>,
    event_sender: mpsc::Sender<(MachineId, Event)>,
    preparation: watch::Sender<Option<Arc<Preparation>>>,
    machines: BTreeMap<MachineId, Member>,
    peers: Peers,
    registration: Registration,
    /// Machines that outlive the run, and for how long.
    kept: BTreeMap<MachineId, Duration>,
    tasks: JoinSet<()>,
    machine_of: HashMap<task::Id, MachineId>,
    /// What has been told of machines' environments.
    differences: BTreeSet<String>,
    /// What happened before anybody asked.
    held: VecDeque<FleetEvent>,
    recorder: Recorder,
    watch: Watch,
}

struct Member {
    name: String,
    commands: mpsc::UnboundedSender<Command>,
    /// A member that has told its end gets no further event, whatever its task still does.
    over: bool,
}

impl Fleet {
    /// Asks the provider for machines; they arrive as events.
    pub fn launch(mut provider: Provider, plan: FleetPlan, registration: Registration) -> Self {
        let (lease_sender, leases) = mpsc::channel(EVENTS_WAITING);
        let (event_sender, events) = mpsc::channel(EVENTS_WAITING);
        let peers = Peers::new(plan.peers);
        let weak_sender = lease_sender.downgrade();
        provider.launch(LaunchRequest { workers: plan.workers }, lease_sender);
        Self {
            provider,
            plan,
            leases,
            lease_sender: weak_sender,
            leases_open: true,
            budget_spent: false,
            events,
            event_sender,
            preparation: watch::Sender::new(None),
            machines: BTreeMap::new(),
            peers,
            registration,
            kept: BTreeMap::new(),
            tasks: JoinSet::new(),
            machine_of: HashMap::new(),
            differences: BTreeSet::new(),
            held: VecDeque::new(),
            recorder: Recorder::default(),
            watch: Watch::default(),
        }
    }

    /// Asks for machines in the place of some that went. Answers whether there is any hope of them.
    pub fn replace(&mut self, workers: u32) -> bool {
        if !self.provider.can_replace() {
            return false;
        }
        let sender = self.lease_sender.upgrade().unwrap_or_else(|| {
            while let Ok(event) = self.leases.try_recv() {
                let event = self.leased(event);
                self.held.push_back(event);
            }
            let (sender, leases) = mpsc::channel(EVENTS_WAITING);
            (self.leases, self.lease_sender) = (leases, sender.downgrade());
            sender
        });
        self.leases_open = true;
        self.provider.launch(LaunchRequest { workers }, sender);
        true
    }

    /// Gives back a machine that is of no more use.
    pub fn dismiss(&self, machine: MachineId) {
        self.provider.dismiss(machine);
    }

    /// Has an image of the first machine begun, where machines are made from images.
    pub async fn bake(&self, environment: String) -> Option<Result<Baking, ProviderError>> {
        let (machine, _) = self.machines.iter().find(|(_, member)| !member.over)?;
        self.provider.bake(*machine, environment).await
    }

    /// What the machines have cost until now, if they cost anything.
    pub fn bill(&self) -> Option<Bill> {
        self.provider.bill()
    }

    /// From now on, somebody watches what happens.
    pub fn watched_by(&mut self, watch: Watch) {
        self.registration.watched_by(watch.clone());
        self.watch = watch;
    }

    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// From now on, what happens is written down.
    pub fn record(&mut self, recorder: Recorder) {
        self.recorder = recorder;
    }

    pub fn recorder_mut(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Nothing more is written down.
    pub fn take_recorder(&mut self) -> Recorder {
        std::mem::take(&mut self.recorder)
    }

    /// The run's name.
    pub fn run(&self) -> &str {
        &self.plan.run
    }

    /// Tells all machines, those that come later too, what they are to have in place.
    pub fn prepare(&self, preparation: Preparation) {
        self.preparation.send_replace(Some(Arc::new(preparation)));
    }

    /// Lets machines come and get ready while something else is awaited. What they tell is kept for [`Fleet::next`].
    pub async fn meanwhile<T>(&mut self, awaited: impl Future<Output = T>) -> T {
        tokio::pin!(awaited);
        loop {
            tokio::select! {
                result = &mut awaited => return result,
                event = self.happens(), if self.held.len() < EVENTS_WAITING => self.held.push_back(event),
            }
        }
    }

    /// The next thing that happens. Cancel safe.
    pub async fn next(&mut self) -> FleetEvent {
        match self.held.pop_front() {
            Some(event) => event,
            None => self.happens().await,
        }
    }

    async fn happens(&mut self) -> FleetEvent {
        if let Some(trouble) = self.registration.trouble() {
            return FleetEvent::Note(trouble);
        }
        let event = self.occurs().await;
        match &event {
            FleetEvent::Machine(machine, event) => self.recorder.hear(*machine, event),
            FleetEvent::Note(text) | FleetEvent::Warning(text) => self.watch.tell(|| Sight::Note(text.clone())),
            _ => {}
        }
        event
    }

    async fn occurs(&mut self) -> FleetEvent {
        loop {
            while let Some((machine, command)) = self.peers.poll_command() {
                self.tell(machine, command);
            }
            let deadline = self.peers.next_deadline();
            tokio::select! {
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {}
                lease = self.leases.recv(), if self.leases_open => match lease {
                    Some(event) => return self.leased(event),
                    None => {
                        self.leases_open = false;
                        return FleetEvent::LeasesOver;
                    }
                },
                () = self.provider.budget_spent(), if !self.budget_spent => {
                    self.budget_spent = true;
                    return FleetEvent::BudgetSpent;
                }
                Some((machine, event)) = self.events.recv() => {
                    if let Event::Contents(contents) = event {
                        self.peers.hear(machine, contents);
                        continue;
                    }
                    if matches!(event, Event::Lost(_) | Event::Ended)
                        && let Some(member) = self.machines.get_mut(&machine)
                    {
                        member.over = true;
                        self.peers.lost(machine);
                        self.kept.remove(&machine);
                    }
                    if let Event::Differs(how) = event {
                        self.registration.say(machine, Source::Machine, &format!("its environment differs: {how}"));
                        // Machines tend to differ alike.
                        if self.differences.insert(how.clone()) {
                            let text = format!("the environment on {} differs: {how}", self.name(machine));
                            return FleetEvent::Warning(text);
                        }
                        continue;
                    }
                    self.registration.hear(machine, &event);
                    return FleetEvent::Machine(machine, event);
                }
                Some(joined) = self.tasks.join_next_with_id() => {
                    if let Some(event) = self.task_ended(joined) {
                        return event;
                    }
                }
            }
        }
    }

    /// Tells one machine what to do; a machine that is gone doesn't hear it.
    pub fn tell(&self, machine: MachineId, command: Command) {
        if let Some(member) = self.machines.get(&machine) {
            member.commands.send(command).ok();
        }
    }

    pub fn tell_all(&self, command: impl Fn() -> Command) {
        for member in self.machines.values() {
            member.commands.send(command()).ok();
        }
    }

    pub fn name(&self, machine: MachineId) -> &str {
        self.machines.get(&machine).map_or("?", |member| &member.name)
    }

    /// Whether the provider may still bring a machine.
    pub fn awaits_leases(&self) -> bool {
        self.leases_open || self.held.iter().any(|event| matches!(event, FleetEvent::Leased { .. }))
    }

    /// The machine outlives the run by so long, if it is there at its end.
    pub fn keep(&mut self, machine: MachineId, time: Duration) {
        self.kept.insert(machine, time);
    }

    /// What the workers are at, for those who ask from outside.
    pub fn working(&mut self, workers: Vec<WorkerInfo>) {
        self.registration.working(workers, self.provider.charges());
    }

    /// A line about what a worker has done.
    pub fn log(&mut self, machine: MachineId, source: Source, text: &str) {
        self.registration.say(machine, source, text);
    }

    pub fn machines(&self) -> usize {
        self.machines.len()
    }

    /// Ends every machine and gives them back. Whatever they still say is dropped. An error means that something may be
    /// left; the answer tells of what stays on purpose.
    pub async fn finish(mut self) -> Result<Option<String>, ProviderError> {
        self.take_recorder().discard();
        for (machine, member) in &self.machines {
            if let Some(&time) = self.kept.get(machine) {
                member.commands.send(Command::Stay(time)).ok();
            }
            member.commands.send(Command::Finish).ok();
        }
        let stays = self.who_stays();
        self.machines.clear();
        let drained = async {
            while !self.tasks.is_empty() {
                tokio::select! {
                    _ = self.tasks.join_next() => {}
                    Some(_) = self.events.recv() => {}
                }
            }
        };
        timeout(FINISH_PATIENCE, drained).await.ok();
        self.tasks.shutdown().await;
        let released = self.provider.release_all_but(&self.kept).await;
        self.registration.close(&self.kept).await;
        let released = released?;
        Ok(stays.or(released))
    }

    /// What to tell of machines that outlive the run.
    fn who_stays(&self) -> Option<String> {
        let longest = self.kept.values().max()?;
        let names: Vec<&str> = self.kept.keys().map(|machine| self.name(*machine)).collect();
        let (first, duration) = (names.first()?, humantime::format_duration(*longest));
        let stay = if names.len() == 1 { "stays" } else { "stay" };
        let tests = self.preparation.borrow().as_ref().is_some_and(|preparation| preparation.session.is_some());
        let debugger = if tests { "`cloudist pdb` steps into it, " } else { "" };
        Some(format!(
            "{} {stay} for {duration}, since something failed there: {debugger}`cloudist ssh {first}` looks around, `cloudist down` ends it now",
            names.join(", ")
        ))
    }

    fn leased(&mut self, event: LeaseEvent) -> FleetEvent {
        match event {
            LeaseEvent::Ready(lease) => self.admit(*lease),
            LeaseEvent::Failed { name, error, .. } => {
                let reason = || text::chain(&error);
                self.recorder.note(|| What::NotLeased { name: name.clone(), reason: reason() });
                FleetEvent::NotLeased { name, error }
            }
            LeaseEvent::Note(text) => FleetEvent::Note(text),
        }
    }

    fn admit(&mut self, lease: Lease) -> FleetEvent {
        let (commands, command_receiver) = mpsc::unbounded_channel();
        let (machine, name, workers) = (lease.machine, lease.name.clone(), lease.workers);
        self.registration.admit(&lease);
        self.peers.joined(machine);
        self.recorder.note(|| What::Leased { machine: machine.0, name: name.clone(), workers });
        self.machines.insert(machine, Member { name: name.clone(), commands, over: false });
        let life = machine::run(
            machine::Start {
                lease,
                run: self.plan.run.clone(),
                boot_python: self.plan.boot_python.clone(),
                python: self.plan.python.clone(),
                env: json!(self.plan.env),
            },
            self.preparation.subscribe(),
            command_receiver,
            self.event_sender.clone(),
        );
        let task = self.tasks.spawn(life.boxed());
        self.machine_of.insert(task.id(), machine);
        FleetEvent::Leased { machine, name, workers }
    }

    /// A machine's task that ended in order has told so itself; one that panicked could not.
    fn task_ended(&mut self, joined: Result<(task::Id, ()), JoinError>) -> Option<FleetEvent> {
        let id = match &joined {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let machine = self.machine_of.remove(&id)?;
        let error = joined.err()?;
        let member = self.machines.get_mut(&machine)?;
        member.over = true;
        self.peers.lost(machine);
        self.registration.forget(machine);
        let lost = MachineError::Broken { machine: member.name.clone(), detail: error.to_string() };
        Some(FleetEvent::Machine(machine, Event::Lost(lost)))
    }
}
