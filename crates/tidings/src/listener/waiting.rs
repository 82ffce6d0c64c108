//! Connections that have not asked for anything yet: how many there may be. It knows no socket.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Connections that have not asked for anything yet. When there are too many, the next one waits in the kernel
/// until somebody has asked, which is soon in a storm of clients; or until the oldest has been silent for some
/// time, and has to go: who holds many of them open and says nothing cannot keep others out.
#[derive(Debug)]
pub(crate) struct Waiting {
    limit: usize,
    grace: Duration,
    line: Mutex<Line>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    /// By arrival. What is taken out hears of it.
    places: BTreeMap<u64, (Instant, oneshot::Sender<()>)>,
}

/// A place in the line, given back by [`Place::leave`] or when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Arc<Waiting>,
    number: u64,
    left: AtomicBool,
}

impl Waiting {
    /// A line for at most `limit`, in which everybody may be silent for `grace`.
    pub(crate) fn new(limit: usize, grace: Duration) -> Arc<Self> {
        Arc::new(Self { limit, grace, line: Mutex::default(), left: Notify::new() })
    }

    /// Waits until there is room for one more.
    pub(crate) async fn room(&self) {
        loop {
            let oldest = {
                let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
                if line.places.len() < self.limit {
                    return;
                }
                let Some(oldest) = line.places.first_entry() else { return };
                let since = oldest.get().0;
                if since.elapsed() >= self.grace {
                    drop(oldest.remove());
                    return;
                }
                since
            };
            tokio::select! {
                () = self.left.notified() => {}
                () = tokio::time::sleep_until(oldest + self.grace) => {}
            }
        }
    }

    /// A new connection. The second answer is told, by an error, when the place is lost or given back.
    pub(crate) fn enter(self: &Arc<Self>) -> (Place, oneshot::Receiver<()>) {
        let (lost, told) = oneshot::channel();
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let number = line.next;
        line.next += 1;
        line.places.insert(number, (Instant::now(), lost));
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
            let place = line.places.remove(&self.number);
            drop(line);
            drop(place);
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

    #[tokio::test]
    async fn the_oldest_has_to_go_when_it_was_silent() {
        let waiting = Waiting::new(2, Duration::ZERO);
        let (first, mut first_told) = waiting.enter();
        waiting.room().await;
        let (second, mut second_told) = waiting.enter();
        assert_eq!(first_told.try_recv(), Err(TryRecvError::Empty));
        waiting.room().await;
        let (third, mut third_told) = waiting.enter();
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
        let waiting = Waiting::new(1, Duration::from_secs(3_600));
        let (place, mut told) = waiting.enter();
        let mut room = pin!(waiting.room());
        assert!(poll_fn(|context| Poll::Ready(room.as_mut().poll(context).is_pending())).await);
        assert_eq!(told.try_recv(), Err(TryRecvError::Empty));
        place.leave();
        room.await;
    }
}
