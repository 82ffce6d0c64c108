//! What is measured: one file per scenario. Here they are put in order and their figures into one report.

pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod peers;

use crate::{
    args::{Args, Plan, Scenario},
    error::BenchError,
    fleet::{Destination, Script},
    floor, interrupt, limits,
    report::{self, Report},
    server::Server,
};

/// The room that all clients join.
const ROOM: &str = "bench";

/// Runs what was asked for and prints the report.
pub(crate) fn run(args: Args) -> Result<(), BenchError> {
    let per_process = limits::connections_per_process();
    match &args.scenario {
        Some(Scenario::FloorReader { sockets, frame }) => return floor::run_reader(*sockets, frame),
        Some(Scenario::FloorSender { sockets, frame }) => return floor::run_sender(*sockets, frame),
        Some(Scenario::Holder { address, clients, first }) => {
            let (address, clients, first) = (*address, *clients, *first);
            let plan = Plan::resolve(args, per_process)?;
            return idle::run_holder(&plan, address, clients, first);
        }
        Some(Scenario::Peers(company)) => {
            let company = company.clone();
            return peers::run(&Plan::resolve(args, per_process)?, &company);
        }
        Some(Scenario::Idle | Scenario::Fanout) | None => {}
    }
    let plan = Plan::resolve(args, per_process)?;
    if let Some(path) = &plan.json {
        report::check_writable(path)?;
    }
    interrupt::listen()?;
    let mut report = Report::new(&plan);
    if plan.idle {
        let mut server = Server::of(plan.running.as_ref())?;
        let figures = idle::run(&plan, &server).map_err(|error| failed(&mut server, error))?;
        report.add_idle(figures);
    }
    if plan.fanout {
        let mut server = Server::of(plan.running.as_ref())?;
        let figures = fanout::run(&plan, &server).map_err(|error| failed(&mut server, error))?;
        report.add_fanout(figures);
    }
    print!("{}", report.table());
    match &plan.json {
        Some(path) => report::write_json(path, &report),
        None => Ok(()),
    }
}

/// What is to be said of a run that broke off. A signal reaches the processes of the bench and the server as well, so
/// that their ends are no news then.
fn failed(server: &mut Server, error: BenchError) -> BenchError {
    match interrupt::check() {
        Err(interrupted) => interrupted,
        Ok(()) => server.explain(error),
    }
}

/// Where the clients of a plan go.
fn destination(plan: &Plan, server: &Server) -> Destination {
    Destination {
        address: server.address(),
        script: Script {
            protocol: plan.protocol,
            authority: server.authority().to_owned(),
            namespace: plan.namespace.clone(),
            room: Some(ROOM.to_owned()),
            acks: false,
        },
        concurrency: plan.concurrency,
        patience: plan.patience,
    }
}
