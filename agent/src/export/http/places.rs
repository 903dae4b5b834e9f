//! Room for a bounded number of connections. A newcomer always gets in: for it goes whoever has shown longest that it may
//! not ask, else whoever has asked for nothing for longest.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

/// Connections at a time. Each has buffers of some 10 KiB, and some 30 KiB with TLS.
pub const MOST: usize = 256;
/// Of these, connections that have not had a request answered yet.
pub const MOST_WAITING: usize = 64;

/// All places.
#[derive(Debug, Default)]
pub struct Places(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By number of place; numbers go up.
    taken: BTreeMap<u64, Taken>,
    next: u64,
    /// Goes up with every request.
    clock: u64,
}

#[derive(Debug)]
struct Taken {
    leave: Arc<Notify>,
    admitted: bool,
    leaving: bool,
    used: u64,
}

/// One connection's place; free again on drop.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    number: u64,
    leave: Arc<Notify>,
    /// A request was answered, if only with a refusal.
    answered: AtomicBool,
}

impl Places {
    /// A place for a connection that just came. None where all have to go already and are not gone yet.
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state();
        let live = state.taken.values().filter(|taken| !taken.leaving).count();
        let waiting = state.taken.values().filter(|taken| !taken.leaving && !taken.admitted).count();
        // Those that leave still take memory, for a moment.
        if state.taken.len() >= 2 * MOST {
            return None;
        }
        if live >= MOST || waiting >= MOST_WAITING {
            state.send_one_away();
        }
        let (number, leave) = (state.next, Arc::new(Notify::new()));
        state.next += 1;
        let used = state.tick();
        state.taken.insert(number, Taken { leave: Arc::clone(&leave), admitted: false, leaving: false, used });
        drop(state);
        Some(Place { places: Arc::clone(self), number, leave, answered: AtomicBool::new(false) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn send_one_away(&mut self) {
        let stays = self.taken.values_mut().filter(|taken| !taken.leaving);
        if let Some(taken) = stays.min_by_key(|taken| (taken.admitted, taken.used)) {
            taken.leaving = true;
            taken.leave.notify_one();
        }
    }
}

impl Place {
    /// Its caller may ask, and just did.
    pub fn admit(&self) {
        let mut state = self.places.state();
        let used = state.tick();
        let Some(taken) = state.taken.get_mut(&self.number) else { return };
        taken.used = used;
        taken.admitted = true;
    }

    /// Whether its caller may ask.
    pub fn is_admitted(&self) -> bool {
        self.places.state().taken.get(&self.number).is_some_and(|taken| taken.admitted)
    }

    /// A request was answered, if only with a refusal.
    pub fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether one was.
    pub fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Done when it has to go for another.
    pub async fn has_to_go(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn has_to_go(place: &Place) -> bool {
        pin!(place.has_to_go()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn who_stalls_gives_way_to_who_comes() {
        let places = Arc::new(Places::default());
        let good = places.take().unwrap();
        good.admit();
        let stalled: Vec<Place> = (0..MOST_WAITING + 36).map(|_| places.take().unwrap()).collect();
        let gone = stalled.iter().filter(|place| has_to_go(place)).count();
        assert_eq!(gone, 36);
        assert!(stalled[..35].iter().all(|place| !place.is_admitted()) && !has_to_go(&good));
        drop(stalled);
        assert_eq!(places.state().taken.len(), 1);
    }

    #[test]
    fn a_full_house_sends_away_who_asked_longest_ago() {
        let places = Arc::new(Places::default());
        let all: Vec<Place> = (0..MOST).map(|_| places.take().inspect(Place::admit).unwrap()).collect();
        all[0].admit();
        let new = places.take().unwrap();
        let gone: Vec<usize> = (0..MOST).filter(|at| has_to_go(&all[*at])).collect();
        assert_eq!((gone, has_to_go(&new)), (vec![1], false));
    }

    #[test]
    fn places_are_bounded_even_if_nobody_goes() {
        let places = Arc::new(Places::default());
        let all: Vec<Place> = std::iter::from_fn(|| places.take()).take(10 * MOST).collect();
        assert_eq!(all.len(), 2 * MOST);
    }
}
