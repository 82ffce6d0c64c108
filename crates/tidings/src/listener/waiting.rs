//! Connections that have not asked for anything yet: how many there may be. It knows no socket.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Connections that have not asked for anything yet. When there are too many, the oldest has to go: who
/// holds many of them open and says nothing cannot keep others out.
#[derive(Debug)]
pub(crate) struct Waiting {
    limit: usize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    /// By arrival. What is taken out hears of it.
    places: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A place in the line, given back by [`Place::leave`] or when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Arc<Waiting>,
    number: u64,
    left: AtomicBool,
}

impl Waiting {
    /// A line for at most `limit`.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, line: Mutex::default() })
    }

    /// A new connection. The second answer is told, by an error, when the place is lost or given back.
    pub(crate) fn enter(self: &Arc<Self>) -> (Place, oneshot::Receiver<()>) {
        let (lost, told) = oneshot::channel();
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let number = line.next;
        line.next += 1;
        line.places.insert(number, lost);
        let oldest = if line.places.len() > self.limit { line.places.pop_first() } else { None };
        drop(line);
        drop(oldest);
        (Place { waiting: Arc::clone(self), number, left: AtomicBool::new(false) }, told)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).places.len()
    }
}

impl Place {
    /// The connection has asked for something.
    pub(crate) fn leave(&self) {
        if !self.left.swap(true, Ordering::AcqRel) {
            let mut line = self.waiting.line.lock().unwrap_or_else(PoisonError::into_inner);
            let place = line.places.remove(&self.number);
            drop(line);
            drop(place);
        }
    }

    /// Whether it has asked for something.
    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_has_to_go() {
        let waiting = Waiting::new(2);
        let (first, mut first_told) = waiting.enter();
        let (second, mut second_told) = waiting.enter();
        assert!(first_told.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        let (third, mut third_told) = waiting.enter();
        assert!(first_told.try_recv() == Err(oneshot::error::TryRecvError::Closed));
        assert!(!first.has_left() && waiting.len() == 2);
        second.leave();
        assert!(second.has_left() && waiting.len() == 1);
        assert!(second_told.try_recv() == Err(oneshot::error::TryRecvError::Closed));
        let (_fourth, _) = waiting.enter();
        assert!(third_told.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        drop((first, second, third));
        assert_eq!(waiting.len(), 1);
    }
}
