//! The processes of clients, from the side of the bench: orders to all of them, and their answers as one.

use std::{
    collections::VecDeque,
    io::BufRead,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;

use crate::{
    child::Child,
    error::BenchError,
    fleet::FIRST_NUMBER,
    interrupt,
    worker::{Assignment, Done, Order, Said},
};

/// Lines that may wait to be looked at.
const LINES_MAX: usize = 1024;
/// Time between two reports, while messages are waited for.
const REPORT: Duration = Duration::from_millis(2);
/// Time between two looks at whether the bench was interrupted.
const LOOK: Duration = Duration::from_millis(100);

/// Some processes of clients.
pub(crate) struct Crew {
    workers: Vec<Worker>,
    said: Receiver<(usize, Result<Said, String>)>,
}

struct Worker {
    child: Child,
    clients: usize,
    /// Answers to orders in the order in which they were given.
    answers: VecDeque<Done>,
    connected: usize,
}

impl Crew {
    /// Starts a process for each entry of `clients`, which says how many it is to hold at most.
    pub(crate) fn start(assignment: &Assignment, clients: &[usize]) -> Result<Self, BenchError> {
        let (sender, said) = sync_channel(LINES_MAX);
        let mut workers = Vec::new();
        let mut first = assignment.first;
        for (index, clients) in clients.iter().enumerate() {
            let mut child = Child::start("client", vec!["worker".into()])?;
            child.say(&to_line(&Assignment { first, ..assignment.clone() })?)?;
            listen(index, &mut child, sender.clone());
            workers.push(Worker { child, clients: *clients, answers: VecDeque::new(), connected: 0 });
            first += clients;
        }
        Ok(Self { workers, said })
    }

    /// Gives all processes an order; [`Crew::poll`] or [`Crew::wait`] has the answer.
    pub(crate) fn order(&mut self, order: &Order) -> Result<(), BenchError> {
        let line = to_line(order)?;
        self.workers.iter_mut().try_for_each(|worker| worker.child.say(&line))
    }

    /// Orders each process to have its part of `count` clients.
    pub(crate) fn order_connect(&mut self, count: usize) -> Result<(), BenchError> {
        let mut left = count;
        for worker in &mut self.workers {
            let part = worker.clients.min(left);
            left -= part;
            worker.child.say(&to_line(&Order::Connect(part))?)?;
        }
        Ok(())
    }

    /// Has `count` clients connected; `bar` shows how many are.
    pub(crate) fn connect(&mut self, count: usize, bar: &ProgressBar) -> Result<Done, BenchError> {
        self.order_connect(count)?;
        bar.set_length(count as u64);
        let done = self.wait_with(bar)?;
        bar.finish_and_clear();
        Ok(done)
    }

    /// Gives an order and waits for the answer.
    pub(crate) fn ask(&mut self, order: &Order) -> Result<Done, BenchError> {
        self.order(order)?;
        self.wait()
    }

    /// What all hear from the last report on, once it is at least `expected` messages; an error that says how many are
    /// missing when none comes for as long as `patience`.
    pub(crate) fn hear(&mut self, expected: u64, patience: Duration) -> Result<Done, BenchError> {
        let mut sum = self.ask(&Order::Report)?;
        let mut progress = Instant::now();
        while sum.heard.received < expected {
            thread::sleep(REPORT);
            let Done { heard, broken, ready, .. } = self.ask(&Order::Report)?;
            if heard.received > 0 {
                progress = Instant::now();
            }
            sum.heard.add(&heard);
            (sum.broken, sum.ready) = (broken, ready);
            if progress.elapsed() > patience {
                let received = sum.heard.received;
                let broken: String = sum.broken.iter().map(|line| format!("\n  {line}")).collect();
                return Err(BenchError::Lost(format!(
                    "nothing more arrives: {expected} messages expected, {received} received, {} missing{broken}",
                    expected - received
                )));
            }
        }
        Ok(sum)
    }

    /// The first of `count` numbers from [`FIRST_NUMBER`] on that did not come, `most` at most.
    pub(crate) fn missing(&mut self, count: u64, most: usize) -> Result<Vec<u64>, BenchError> {
        let seen = self.ask(&Order::Seen)?.seen;
        let came = |index: &u64| {
            let word = usize::try_from(index / 64).ok().and_then(|word| seen.get(word));
            word.is_some_and(|word| word >> (index % 64) & 1 == 1)
        };
        Ok((0..count).filter(|index| !came(index)).take(most).map(|index| FIRST_NUMBER + index).collect())
    }

    /// Waits until all have answered the oldest order that is unanswered.
    pub(crate) fn wait(&mut self) -> Result<Done, BenchError> {
        self.wait_with(&ProgressBar::hidden())
    }

    fn wait_with(&mut self, bar: &ProgressBar) -> Result<Done, BenchError> {
        loop {
            if let Some(done) = self.poll()? {
                return Ok(done);
            }
            match self.said.recv_timeout(LOOK) {
                Ok((index, said)) => self.take(index, said)?,
                Err(RecvTimeoutError::Timeout) => interrupt::check()?,
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
            }
            bar.set_position(self.workers.iter().map(|worker| worker.connected as u64).sum());
        }
    }

    /// What all answered to the oldest order that is unanswered; nothing while one of them has not.
    pub(crate) fn poll(&mut self) -> Result<Option<Done>, BenchError> {
        while let Ok((index, said)) = self.said.try_recv() {
            self.take(index, said)?;
        }
        if self.workers.iter().any(|worker| worker.answers.is_empty()) {
            return Ok(None);
        }
        let mut sum = Done::default();
        for done in self.workers.iter_mut().filter_map(|worker| worker.answers.pop_front()) {
            sum.ready += done.ready;
            sum.seconds = sum.seconds.max(done.seconds);
            sum.refused += done.refused;
            sum.cpu_seconds += done.cpu_seconds;
            sum.broken.extend(done.broken);
            sum.heard.add(&done.heard);
            sum.seen.resize(sum.seen.len().max(done.seen.len()), 0);
            sum.seen.iter_mut().zip(&done.seen).for_each(|(all, own)| *all |= own);
        }
        Ok(Some(sum))
    }

    fn take(&mut self, index: usize, said: Result<Said, String>) -> Result<(), BenchError> {
        let Some(worker) = self.workers.get_mut(index) else { return Ok(()) };
        match said {
            Ok(Said::Progress(connected)) => worker.connected = connected,
            Ok(Said::Done(done)) => worker.answers.push_back(*done),
            Ok(Said::Failed(what)) => return Err(BenchError::Lost(what)),
            Err(what) => return Err(BenchError::Child { name: "client".to_owned(), what }),
        }
        Ok(())
    }
}

fn ended() -> BenchError {
    BenchError::Child { name: "client".to_owned(), what: "ended without a word".to_owned() }
}

/// Passes on what a process says, until it ends.
fn listen(index: usize, child: &mut Child, sender: SyncSender<(usize, Result<Said, String>)>) {
    let Some(output) = child.take_output() else { return };
    thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let said = serde_json::from_str(&line).map_err(|_| line);
            if sender.send((index, said)).is_err() {
                return;
            }
        }
        let _ = sender.send((index, Err("ended without a word".to_owned())));
    });
}

fn to_line(value: &impl serde::Serialize) -> Result<String, BenchError> {
    serde_json::to_string(value).map_err(|error| BenchError::Arguments(error.to_string()))
}

/// How many clients each process holds: at least `processes` of them, none with more than `per_process`.
pub(crate) fn split(clients: usize, processes: usize, per_process: usize) -> Vec<usize> {
    let processes = processes.max(clients.div_ceil(per_process.max(1))).max(1);
    (0..processes).map(|index| (clients * (index + 1)) / processes - (clients * index) / processes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_split_evenly() {
        let check = |clients, processes, parts: &[usize]| {
            assert_eq!(split(clients, processes, 100), parts, "{clients} in {processes}");
        };
        check(10, 1, &[10]);
        check(10, 3, &[3, 3, 4]);
        check(250, 1, &[83, 83, 84]);
        check(0, 1, &[0]);
    }
}
