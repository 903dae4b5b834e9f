//! Room for a bounded number of connections, and for the answers that they have not read. A newcomer gets in: for it goes
//! whoever has shown longest that it may not ask, else whoever has asked for nothing for longest. For an answer goes whoever
//! has read nothing of its own for longest.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// Connections at a time. Each has buffers of some 10 KiB, and some 30 KiB with TLS.
pub const MOST: usize = 256;
/// Of these, connections that have not had a request answered yet.
pub const MOST_WAITING: usize = 64;
/// Bytes of all answers that are not read yet. A larger one is given if it is the only one.
pub const MOST_HELD: usize = 16 << 20;
/// From a request to the last byte of its answer.
const ANSWER: Duration = Duration::from_secs(30);

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
    /// Its password is being checked, which takes its turn: it would never come to that if it had to go meanwhile.
    checked: bool,
    /// When it last asked or read.
    used: u64,
    /// Bytes of its answer.
    holds: usize,
}

/// One connection's place; free again on drop.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    number: u64,
    leave: Arc<Notify>,
    /// A request was answered, if only with a refusal.
    answered: AtomicBool,
    due: Mutex<Instant>,
    unread: AtomicBool,
}

/// Room of an answer; free again on drop.
#[derive(Debug)]
pub struct Held {
    place: Arc<Place>,
    bytes: usize,
}

impl Places {
    /// A place for a connection that just came. None where all have to go already and are not gone yet, and where all that
    /// might have to are being checked.
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state();
        let live = state.taken.values().filter(|taken| !taken.leaving).count();
        let waiting = state.taken.values().filter(|taken| !taken.leaving && !taken.admitted).count();
        // Those that leave still take memory, for a moment.
        if state.taken.len() >= 2 * MOST {
            return None;
        }
        let is_crowded = waiting >= MOST_WAITING;
        if (is_crowded || live >= MOST) && !state.send_one_away(is_crowded) {
            return None;
        }
        let (number, leave) = (state.next, Arc::new(Notify::new()));
        state.next += 1;
        let used = state.tick();
        let taken =
            Taken { leave: Arc::clone(&leave), admitted: false, leaving: false, checked: false, used, holds: 0 };
        state.taken.insert(number, taken);
        drop(state);
        let due = Mutex::new(Instant::now() + ANSWER);
        let (answered, unread) = (AtomicBool::new(false), AtomicBool::new(false));
        Some(Place { places: Arc::clone(self), number, leave, answered, due, unread })
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

    /// False where nobody has to go: all are being checked. `waiting`: one of those that have not shown that they may ask.
    fn send_one_away(&mut self, waiting: bool) -> bool {
        let stays = self.taken.values_mut().filter(|taken| !taken.leaving && !taken.checked);
        let goes = stays.filter(|taken| !(waiting && taken.admitted)).min_by_key(|taken| (taken.admitted, taken.used));
        let Some(taken) = goes else { return false };
        taken.leaving = true;
        taken.leave.notify_one();
        true
    }
}

impl State {
    /// Bytes that others than this one hold; of those that stay, or of all.
    fn held(&self, besides: u64, all: bool) -> usize {
        let others = self.taken.iter().filter(|(number, taken)| **number != besides && (all || !taken.leaving));
        others.map(|(_, taken)| taken.holds).sum()
    }

    fn make_room(&mut self, number: u64, bytes: usize) {
        while self.held(number, false) > MOST_HELD.saturating_sub(bytes) {
            let others = self.taken.iter_mut().filter(|(other, taken)| **other != number && !taken.leaving);
            let holds = others.map(|(_, taken)| taken).filter(|taken| taken.holds != 0);
            let Some(taken) = holds.min_by_key(|taken| taken.used) else { return };
            taken.leaving = true;
            taken.leave.notify_one();
        }
    }
}

impl Place {
    /// Room for an answer, for which others may have to go. None where they have to already and are not gone yet.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let mut state = self.places.state();
        let held = state.held(self.number, true);
        if held != 0 && held + bytes > 2 * MOST_HELD.max(bytes) {
            return None;
        }
        state.make_room(self.number, bytes);
        let used = state.tick();
        let taken = state.taken.get_mut(&self.number)?;
        taken.holds += bytes;
        taken.used = used;
        Some(Held { place: Arc::clone(self), bytes })
    }

    /// It has a request: its answer is due from now on.
    pub fn asked(&self) {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + ANSWER;
    }

    /// When its answer must have been read.
    pub fn due(&self) -> Instant {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its answer was not read in time.
    pub fn left_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// Whether that happened.
    pub fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Its caller may ask, and just did.
    pub fn admit(&self) {
        let mut state = self.places.state();
        let used = state.tick();
        let Some(taken) = state.taken.get_mut(&self.number) else { return };
        taken.used = used;
        taken.admitted = true;
    }

    /// Whether its caller may ask is being found out, or no more.
    pub fn set_checked(&self, checked: bool) {
        if let Some(taken) = self.places.state().taken.get_mut(&self.number) {
            taken.checked = checked;
        }
    }

    /// Whether that is being found out.
    pub fn is_checked(&self) -> bool {
        self.places.state().taken.get(&self.number).is_some_and(|taken| taken.checked)
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

impl Held {
    /// A piece is on its way.
    pub fn moves(&self) {
        let mut state = self.place.places.state();
        let used = state.tick();
        if let Some(taken) = state.taken.get_mut(&self.place.number) {
            taken.used = used;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(taken) = self.place.places.state().taken.get_mut(&self.place.number) {
            taken.holds -= self.bytes;
        }
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
    fn who_is_being_checked_stays_until_that_is_done() {
        let places = Arc::new(Places::default());
        let known = places.take().inspect(Place::admit).unwrap();
        let all: Vec<Place> = (0..MOST_WAITING).map(|_| places.take().unwrap()).collect();
        all.iter().for_each(|place| place.set_checked(true));
        assert!(places.take().is_none());
        all[7].set_checked(false);
        assert!(places.take().is_some());
        assert_eq!((0..MOST_WAITING).filter(|at| has_to_go(&all[*at])).collect::<Vec<_>>(), [7]);
        assert!(!has_to_go(&known));
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
    fn for_an_answer_goes_who_has_read_nothing_for_longest() {
        let places = Arc::new(Places::default());
        let half = MOST_HELD / 2;
        let all: Vec<Arc<Place>> = (0..4).map(|_| Arc::new(places.take().unwrap())).collect();
        let first = all[0].hold(half).unwrap();
        let second = all[1].hold(half).unwrap();
        first.moves();
        let _third = all[2].hold(half).unwrap();
        assert_eq!((0..4).filter(|at| has_to_go(&all[*at])).collect::<Vec<_>>(), [1]);
        // One that is larger than all together may have is given alone, once those before it have gone.
        assert!(all[3].hold(4 * MOST_HELD).is_some());
        assert_eq!((0..4).filter(|at| has_to_go(&all[*at])).collect::<Vec<_>>(), [0, 2]);
        drop((first, second));
        assert_eq!(places.state().held(9, true), half);
    }

    #[test]
    fn answers_are_bounded_even_if_nobody_goes() {
        let places = Arc::new(Places::default());
        let all: Vec<Arc<Place>> = (0..10).map(|_| Arc::new(places.take().unwrap())).collect();
        let held: Vec<Held> = all.iter().filter_map(|place| place.hold(MOST_HELD)).collect();
        assert_eq!(held.len(), 2);
    }

    #[test]
    fn places_are_bounded_even_if_nobody_goes() {
        let places = Arc::new(Places::default());
        let all: Vec<Place> = std::iter::from_fn(|| places.take()).take(10 * MOST).collect();
        assert_eq!(all.len(), 2 * MOST);
    }
}
