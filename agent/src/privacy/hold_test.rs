//! What is held, in each mode: bounded, given back, and gone back from.

use super::*;
use crate::config;

fn guard(mode: Mode) -> Guard {
    Guard::new(&config::Privacy { mode, max_bytes: 3000, total_bytes: 1 << 20, ..config::Privacy::default() })
}

fn holding(guard: &Guard) -> Holding {
    Holding::new(guard, guard.mode(), &guard.hashing())
}

fn text(holding: Holding) -> String {
    match holding.take().0 {
        Taken::Text { bytes, .. } => String::from_utf8(bytes.to_vec()).unwrap(),
        _ => String::new(),
    }
}

#[test]
fn what_is_held_is_bounded_and_given_back() {
    let guard = guard(Mode::Redacted);
    let mut all = Vec::new();
    for _ in 0..2000 {
        let mut one = holding(&guard);
        one.add(&[b'x'; 5000], Kind::Text, None, true);
        assert!(one.missing.end);
        all.push(one);
    }
    assert!(guard.held().bytes() <= 1 << 20, "{}", guard.held().bytes());
    let held: usize = all.drain(..).map(|one| text(one).len()).sum();
    assert!((800_000..=1 << 20).contains(&held), "{held}");
    assert_eq!(guard.held().bytes(), 0);
}

#[test]
fn nothing_is_kept_behind_what_had_no_room() {
    let guard = guard(Mode::Redacted);
    let mut many = holding(&guard);
    (0..PIECES).for_each(|_| many.add(b"x", Kind::Text, None, false));
    let place = many.place();
    many.add(b"password: ", Kind::Text, None, false);
    many.add(b"hunter22", Kind::Text, None, true);
    many.back_to(&place);
    many.add(b"y", Kind::Text, None, true);
    assert!(many.missing.end);
    assert_eq!(text(many), "x".repeat(PIECES) + "y");
    let mut others: Vec<Holding> = (0..500).map(|_| holding(&guard)).collect();
    others.iter_mut().for_each(|other| other.add(&[b'x'; 5000], Kind::Text, None, true));
    // The last bytes that were too few for one of them.
    others.extend((0..9).map(|_| holding(&guard)));
    others.iter_mut().for_each(|other| other.add(b"x", Kind::Text, None, true));
    let mut late = holding(&guard);
    late.add(b"password: ", Kind::Text, None, true);
    drop(others);
    late.add(b"hunter22", Kind::Text, None, true);
    assert!(late.missing.end);
    assert_eq!(text(late), "");
}

#[test]
fn going_back_forgets_in_each_mode() {
    for mode in [Mode::Redacted, Mode::Hash] {
        let guard = guard(mode);
        let hashing = guard.hashing();
        let [mut one, mut other] = [0, 1].map(|_| Holding::new(&guard, mode, &hashing));
        one.add(b"hello", Kind::Text, None, true);
        let place = one.place();
        one.add(b"nonsense", Kind::Reasoning, None, true);
        one.back_to(&place);
        one.add(b" world", Kind::Text, None, true);
        other.add(b"hello world", Kind::Text, None, true);
        match (one.take().0, other.take().0) {
            (Taken::Hash(one), Taken::Hash(other)) => assert_eq!(one, other),
            (Taken::Text { bytes: one, pieces }, Taken::Text { bytes: other, pieces: others }) => {
                assert_eq!((one, pieces), (other, others));
            }
            _ => panic!("nothing was held"),
        }
    }
}

#[test]
fn what_is_begun_anew_replaces_only_once_it_is_settled() {
    let guard = guard(Mode::Redacted);
    let mut one = holding(&guard);
    let beginning = one.place();
    one.add(b"hello", Kind::Text, None, true);
    let place = one.place();
    one.begin_anew(&beginning);
    one.add(b"x", Kind::Text, None, true);
    let anew = one.place();
    one.begin_anew(&beginning);
    one.back_to(&anew);
    one.back_to(&place);
    one.add(b" you", Kind::Text, None, true);
    one.begin_anew(&beginning);
    one.add(b"hello you there", Kind::Text, None, true);
    one.settle();
    assert_eq!(text(one), "hello you there");
    assert_eq!(guard.held().bytes(), 0);
    let mut other = holding(&guard);
    other.add(b"hello", Kind::Text, None, true);
    other.begin_anew(&beginning);
    drop(other);
    assert_eq!(guard.held().bytes(), 0);
}

#[test]
fn two_messages_are_not_one() {
    let guard = guard(Mode::Hash);
    let hashing = guard.hashing();
    let hash = |parts: &[&str]| {
        let mut one = Holding::new(&guard, Mode::Hash, &hashing);
        parts.iter().for_each(|part| one.add(part.as_bytes(), Kind::Text, None, false));
        let Taken::Hash(hash) = one.take().0 else { panic!("no hash") };
        hash.hash
    };
    assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
    assert_eq!(hash(&["ab", "c"]), hash(&["ab", "c"]));
}
