//! What is measured: one file per scenario. Here they are put in order and their figures into one report.

pub(crate) mod acks;
pub(crate) mod fairness;
pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod peers;
pub(crate) mod resume;
pub(crate) mod soak;
pub(crate) mod storm;
pub(crate) mod targeted;

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use crate::{
    args::{Args, Plan, Scenario},
    crew::Crew,
    error::BenchError,
    fleet::{Destination, Script, new_run},
    floor, interrupt, limits,
    metrics::Metrics,
    report::{self, Report, Section},
    server::Server,
    source::Source,
    stamps::Heard,
    worker::{self, Assignment, Order},
};

/// The room that all clients join.
const ROOM: &str = "bench";
/// Missing messages that are told.
const MISSING_MAX: usize = 40;
/// How long surplus messages are waited for at the end.
const LINGER: Duration = Duration::from_millis(300);
/// How long the server may take to notice that everybody has gone.
const GONE_MAX: Duration = Duration::from_secs(10);
/// Between two looks at that.
const LOOK: Duration = Duration::from_millis(50);

/// Runs what was asked for and prints the report.
pub(crate) fn run(args: Args) -> Result<(), BenchError> {
    let per_process = limits::connections_per_process();
    let scenarios = match args.scenario.clone() {
        Some(Scenario::FloorReader { sockets, frame }) => return floor::run_reader(sockets, &frame),
        Some(Scenario::FloorSender { sockets, frame }) => return floor::run_sender(sockets, &frame),
        Some(Scenario::Worker) => return worker::run(),
        Some(Scenario::Peers(company)) => {
            return peers::run(&Plan::resolve(args, per_process)?, &company);
        }
        Some(one) => vec![one],
        None => all(),
    };
    let plan = Plan::resolve(args, per_process)?;
    if let Some(path) = &plan.json {
        report::check_writable(path)?;
    }
    interrupt::listen()?;
    let mut report = Report::default();
    for scenario in &scenarios {
        match measure(&plan, scenario) {
            Ok(section) => report.add(section),
            Err(error) => {
                print!("{}", report.table());
                return Err(error);
            }
        }
    }
    print!("{}", report.table());
    match &plan.json {
        Some(path) => report.write_json(path),
        None => Ok(()),
    }
}

/// All but the soak, each as short as it can be and still mean something.
fn all() -> Vec<Scenario> {
    vec![
        Scenario::Idle(idle::Options::default()),
        Scenario::Fanout(fanout::Options::default()),
        Scenario::Targeted(targeted::Options::default()),
        Scenario::Storm(storm::Options::default()),
        Scenario::Resume(resume::Options::default()),
        Scenario::Acks(acks::Options::default()),
        Scenario::Fairness(fairness::Options::default()),
    ]
}

fn measure(plan: &Plan, scenario: &Scenario) -> Result<Section, BenchError> {
    match scenario {
        Scenario::Idle(options) => idle::measure(plan, options),
        Scenario::Fanout(options) => fanout::measure(plan, options),
        Scenario::Targeted(options) => with_server(plan, |server| targeted::run(plan, options, server)),
        Scenario::Storm(options) => with_server(plan, |server| storm::run(plan, options, server)),
        Scenario::Resume(options) => with_server(plan, |server| resume::run(plan, options, server)),
        Scenario::Acks(options) => with_server(plan, |server| acks::run(plan, options, server)),
        Scenario::Fairness(options) => with_server(plan, |server| fairness::run(plan, options, server)),
        Scenario::Soak(options) => with_server(plan, |server| soak::run(plan, options, server)),
        Scenario::Peers(_)
        | Scenario::FloorReader { .. }
        | Scenario::FloorSender { .. }
        | Scenario::Worker => Err(BenchError::Arguments("a process of the bench's own".to_owned())),
    }
}

/// Runs `scenario` with the server of the plan, or a new one.
fn with_server<T>(
    plan: &Plan,
    scenario: impl FnOnce(&Server) -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    if plan.servers > 1 {
        return Err(BenchError::Arguments("--servers: this scenario has one server".to_owned()));
    }
    let mut server = Server::of(plan.running.as_ref())?;
    scenario(&server).map_err(|error| failed(std::slice::from_mut(&mut server), error))
}

/// Runs `scenario` with as many servers as the plan has.
fn with_servers<T>(
    plan: &Plan,
    scenario: impl FnOnce(&[Server]) -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    let servers = (0..plan.servers).map(|_| Server::of(plan.running.as_ref()));
    let mut servers = servers.collect::<Result<Vec<_>, _>>()?;
    scenario(&servers).map_err(|error| failed(&mut servers, error))
}

/// What is to be said of a run that broke off. A signal reaches the processes of the bench and the server as well, so
/// that their ends are no news then.
fn failed(servers: &mut [Server], error: BenchError) -> BenchError {
    match interrupt::check() {
        Err(interrupted) => interrupted,
        Ok(()) => servers.iter_mut().fold(error, |error, server| server.explain(error)),
    }
}

/// Where the clients of a plan go, when they are in this process.
fn destination(plan: &Plan, server: &Server) -> Destination {
    Destination {
        addresses: vec![server.address()],
        script: Script {
            protocol: plan.protocol,
            authority: server.authority().to_owned(),
            namespace: plan.namespace.clone(),
            room: Some(ROOM.to_owned()),
            users: false,
            run: new_run(),
            acks: false,
        },
        concurrency: plan.concurrency,
        patience: plan.patience,
        tries_again: false,
    }
}

/// What the clients of a plan do, when they are in processes of their own: they join [`ROOM`] and stamp.
fn assignment(plan: &Plan, server: &Server) -> Assignment {
    Assignment {
        protocol: plan.protocol.name.to_owned(),
        addresses: vec![server.address()],
        authority: server.authority().to_owned(),
        namespace: plan.namespace.clone(),
        room: Some(ROOM.to_owned()),
        users: false,
        run: new_run(),
        acks: false,
        first: 0,
        concurrency: plan.concurrency,
        patience: plan.patience.as_secs(),
        tries_again: false,
        stamped: true,
        naps: false,
        first_in_line: false,
        distinct: false,
        in_order_from: None,
    }
}

/// What was accepted and what came of it: the balance that decides whether a run may be believed.
#[derive(Debug)]
struct Books {
    accepted: u64,
    sum: u64,
    /// How long nothing may come while something is missing.
    patience: Duration,
    /// Whether each message is meant for one client only.
    distinct: bool,
    /// Whom to ask what became of what is missing.
    server: SocketAddr,
}

impl Books {
    /// Nothing was pushed yet to `server`.
    fn new(plan: &Plan, server: &Server) -> Self {
        Self { accepted: 0, sum: 0, patience: plan.patience, distinct: false, server: server.address() }
    }

    /// Every message is meant for one client only.
    fn of_single(self) -> Self {
        Self { distinct: true, ..self }
    }

    /// Waits until everything that `source` pushed since the last call has come to all of its `receivers`; answers what
    /// they heard, or an error that says what is missing or too much.
    fn balance(
        &mut self,
        source: &Source,
        receivers: u64,
        crew: &mut Crew,
        what: &str,
    ) -> Result<Heard, BenchError> {
        let accepted = source.accepted() - self.accepted;
        let sum = source.sum().wrapping_sub(self.sum);
        (self.accepted, self.sum) = (source.accepted(), source.sum());
        let expected = accepted * receivers;
        let done = match crew.hear(expected, self.patience) {
            Err(BenchError::Lost(why)) => return Err(self.lost(&why, source, crew, what)),
            done => done?,
        };
        let heard = done.heard;
        let mut faults = done.broken;
        faults.extend(heard.faults.iter().cloned());
        let right = heard.received == expected && heard.sum == sum.wrapping_mul(receivers);
        if right && heard.faulty == 0 && faults.is_empty() {
            return Ok(heard);
        }
        let faults: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        Err(BenchError::Lost(format!(
            "{what}: {accepted} pushes accepted, {expected} messages expected, {} received, {} of them wrong{faults}",
            heard.received, heard.faulty
        )))
    }
}

impl Books {
    /// What is missing, as far as it can be told.
    fn lost(&self, why: &str, source: &Source, crew: &mut Crew, what: &str) -> BenchError {
        let mut text = format!("{what}: {why}");
        if self.distinct {
            match crew.missing(source.total(), MISSING_MAX) {
                Ok(missing) => text.push_str(&format!("\n  the first that are missing: {missing:?}")),
                Err(error) => return error,
            }
        }
        if let Some(metrics) = Metrics::read(self.server) {
            for name in ["tidings_deliveries_total", "tidings_unwritten_total", "tidings_connections"] {
                text.push_str(&format!("\n  {name} {}", metrics.sum(name).unwrap_or_default()));
            }
        }
        BenchError::Lost(text)
    }
}

/// Waits a moment for what should not come.
fn linger(crew: &mut Crew) -> Result<(), BenchError> {
    thread::sleep(LINGER);
    match crew.ask(&Order::Report)?.heard.received {
        0 => Ok(()),
        surplus => Err(BenchError::Lost(format!("{surplus} more messages arrived than were sent"))),
    }
}

/// Waits until the server has noticed that nobody is connected, where it says how many are.
fn gone(server: &Server) -> Result<(), BenchError> {
    let end = Instant::now() + GONE_MAX;
    loop {
        let metrics = Metrics::read(server.address());
        match metrics.and_then(|metrics| metrics.sum("tidings_connections")) {
            Some(left) if left > 0.0 => {}
            Some(_) | None => return Ok(()),
        }
        if Instant::now() > end {
            let what = format!("still counts connections {GONE_MAX:?} after the last was closed");
            return Err(BenchError::Protocol { who: "the server".to_owned(), what });
        }
        thread::sleep(LOOK);
    }
}

/// The addresses of several servers.
fn addresses(servers: &[Server]) -> Vec<SocketAddr> {
    servers.iter().map(Server::address).collect()
}
