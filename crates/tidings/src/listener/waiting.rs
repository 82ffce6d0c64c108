//! Connections that have not asked for anything yet: how many there may be. It knows no socket.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// An address has a crowd in a full line when more than one of this many in it is from there.
const CROWD_SHARE: usize = 8;

/// Connections that have not asked for anything yet. When there are too many, the next one waits in the kernel
/// until somebody has asked, which is soon in a storm of clients; or until the oldest has been silent for some
/// time, and has to go: who holds many of them open and says nothing cannot keep others out. The largest crowd
/// from one address has less time.
#[derive(Debug)]
pub(crate) struct Waiting {
    limit: usize,
    patience: Patience,
    line: Mutex<Line>,
    left: Notify,
}

/// How long connections may be silent when the line is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Any of them.
    pub(crate) with_all: Duration,
    /// Those of the address with the largest crowd.
    pub(crate) with_a_crowd: Duration,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    /// By arrival.
    places: BTreeMap<u64, Waits>,
    /// The places of each address, by arrival.
    addresses: HashMap<u64, BTreeSet<u64>>,
    /// How many places each address has.
    sizes: BTreeSet<(usize, u64)>,
}

#[derive(Debug)]
struct Waits {
    since: Instant,
    address: Option<u64>,
    /// Hears, by being dropped, that the place is lost.
    _lost: oneshot::Sender<()>,
}

impl Line {
    fn add(&mut self, waits: Waits) -> u64 {
        let number = self.next;
        self.next += 1;
        if let Some(address) = waits.address {
            let places = self.addresses.entry(address).or_default();
            self.sizes.remove(&(places.len(), address));
            places.insert(number);
            self.sizes.insert((places.len(), address));
        }
        self.places.insert(number, waits);
        number
    }

    fn remove(&mut self, number: u64) {
        let Some(Waits { address: Some(address), .. }) = self.places.remove(&number) else { return };
        let Some(places) = self.addresses.get_mut(&address) else { return };
        self.sizes.remove(&(places.len(), address));
        places.remove(&number);
        if places.is_empty() {
            self.addresses.remove(&address);
        } else {
            self.sizes.insert((places.len(), address));
        }
    }

    /// Who has to go first when the line of `limit` is full, and when.
    fn first_to_go(&self, limit: usize, patience: Patience) -> Option<(u64, Instant)> {
        let (oldest, waits) = self.places.first_key_value()?;
        let oldest = (*oldest, waits.since + patience.with_all);
        let crowd = self.sizes.last().filter(|(size, _)| *size > limit / CROWD_SHARE);
        let of_crowd = crowd.and_then(|(_, address)| self.addresses.get(address)?.first());
        let of_crowd = of_crowd
            .and_then(|number| Some((*number, self.places.get(number)?.since + patience.with_a_crowd)));
        Some(of_crowd.filter(|(_, at)| *at < oldest.1).unwrap_or(oldest))
    }
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
    pub(crate) fn new(limit: usize, patience: Patience) -> Arc<Self> {
        Arc::new(Self { limit, patience, line: Mutex::default(), left: Notify::new() })
    }

    /// Waits until there is room for one more.
    pub(crate) async fn room(&self) {
        loop {
            let at = {
                let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
                if line.places.len() < self.limit {
                    return;
                }
                let Some((number, at)) = line.first_to_go(self.limit, self.patience) else { return };
                if at <= Instant::now() {
                    line.remove(number);
                    return;
                }
                at
            };
            tokio::select! {
                () = self.left.notified() => {}
                () = tokio::time::sleep_until(at) => {}
            }
        }
    }

    /// A new connection, and the address that it counts for, if any. The second answer is told, by an error,
    /// when the place is lost or given back.
    pub(crate) fn enter(self: &Arc<Self>, address: Option<u64>) -> (Place, oneshot::Receiver<()>) {
        let (lost, told) = oneshot::channel();
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let number = line.add(Waits { since: Instant::now(), address, _lost: lost });
        drop(line);
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
            line.remove(self.number);
            drop(line);
            self.waiting.left.notify_one();
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
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn line(limit: usize, with_all: Duration, with_a_crowd: Duration) -> Arc<Waiting> {
        Waiting::new(limit, Patience { with_all, with_a_crowd })
    }

    #[tokio::test]
    async fn the_oldest_has_to_go_when_it_was_silent() {
        let waiting = line(2, Duration::ZERO, LONG);
        let (first, mut first_told) = waiting.enter(None);
        waiting.room().await;
        let (second, mut second_told) = waiting.enter(None);
        assert_eq!(first_told.try_recv(), Err(TryRecvError::Empty));
        waiting.room().await;
        let (third, mut third_told) = waiting.enter(None);
        assert_eq!(first_told.try_recv(), Err(TryRecvError::Closed));
        assert!(!first.has_left() && waiting.len() == 2);
        second.leave();
        assert!(second.has_left() && waiting.len() == 1);
        assert_eq!(second_told.try_recv(), Err(TryRecvError::Closed));
        waiting.room().await;
        assert_eq!(third_told.try_recv(), Err(TryRecvError::Empty), "there was room");
        drop((first, second, third));
        assert_eq!(waiting.len(), 0);
    }

    #[tokio::test]
    async fn the_next_one_waits_while_everybody_is_new() {
        let waiting = line(1, LONG, Duration::ZERO);
        let (place, mut told) = waiting.enter(None);
        let mut room = pin!(waiting.room());
        assert!(poll_fn(|context| Poll::Ready(room.as_mut().poll(context).is_pending())).await);
        assert_eq!(told.try_recv(), Err(TryRecvError::Empty));
        place.leave();
        room.await;
    }

    #[tokio::test]
    async fn of_a_crowd_the_oldest_goes_at_once() {
        let waiting = line(16, LONG, Duration::ZERO);
        let mut places: Vec<_> = [None, None, None, Some(1), Some(1), Some(2), Some(2), Some(2)]
            .into_iter()
            .chain((0..8).map(|_| Some(3)))
            .map(|address| waiting.enter(address))
            .collect();
        let lost = |places: &mut Vec<(Place, oneshot::Receiver<()>)>| -> Vec<usize> {
            let lost = |told: &mut oneshot::Receiver<()>| told.try_recv() == Err(TryRecvError::Closed);
            places.iter_mut().enumerate().filter_map(|(at, (_, told))| lost(told).then_some(at)).collect()
        };
        for expected in [vec![8], vec![8, 9], vec![8, 9, 10], vec![8, 9, 10, 11], vec![8, 9, 10, 11, 12]] {
            waiting.room().await;
            assert_eq!(lost(&mut places), expected);
            places.push(waiting.enter(None));
        }
        // Three each: the one whose number is higher.
        waiting.room().await;
        assert_eq!(lost(&mut places), [8, 9, 10, 11, 12, 13]);
        places.push(waiting.enter(None));
        waiting.room().await;
        assert_eq!(lost(&mut places), [5, 8, 9, 10, 11, 12, 13]);
        places.push(waiting.enter(None));
        {
            let mut room = pin!(waiting.room());
            let waits = poll_fn(|context| Poll::Ready(room.as_mut().poll(context).is_pending())).await;
            assert!(waits, "two of sixteen are no crowd");
        }
        drop(places);
        let line = waiting.line.lock().unwrap();
        assert!(line.places.is_empty() && line.addresses.is_empty() && line.sizes.is_empty());
    }
}
