//! Answers that no API server should give, and some that it does give.

use support::kubernetes::{Fault, Pod};

use super::*;

#[test]
fn whatever_is_answered_the_pods_are_known_in_the_end() {
    for (fault, kind) in [
        (Fault::Status(500, None), Kind::Server),
        (Fault::Status(503, Some(0)), Kind::Server),
        (Fault::Status(429, Some(0)), Kind::Throttled),
        (Fault::Status(403, None), Kind::Forbidden),
        (Fault::Status(404, None), Kind::Answer),
        (Fault::Garbage, Kind::Answer),
        (Fault::Cut(700), Kind::Connect),
        (Fault::Hang, Kind::Timeout),
        (Fault::Huge(8 << 20), Kind::TooLarge),
    ] {
        let api = Api::start().unwrap();
        api.put(&Pod::new("a", "c", "c0"));
        api.list_faults(&[fault.clone(), fault.clone()]);
        let is_cut = matches!(fault, Fault::Cut(_) | Fault::Hang);
        if !is_cut {
            api.watch_faults(std::slice::from_ref(&fault));
        }
        let hangs = matches!(fault, Fault::Hang);
        // Short only where an answer has to be given up: a busy machine may be late with the others.
        let answer = if hangs { Duration::from_millis(200) } else { EAGER.pods.answer };
        let pace = worker::Pace { pods: Pace { answer, ..EAGER.pods }, ..EAGER };
        let settings = settings(&api.address.to_string(), api.account().to_owned(), "/nonexistent.sock".into());
        let started = start_at(settings, pace);
        wait(&format!("{fault:?}: a watch"), || api.watches() == 1);
        api.put(&Pod::new("b", "c", "c1"));
        wait(&format!("{fault:?}: its event"), || started.of("c1").is_some());
        assert!(started.is_up() && started.of("c0").is_some(), "{fault:?}");
        let (errors, wants) = (started.errors(kind), if is_cut { 2 } else { 3 });
        // Other answers than the hanging ones may take longer than so short a time too.
        assert!(errors == wants || hangs && errors > wants, "{fault:?}: {errors} errors, not {wants}");
    }
}

use watch::Pace;

#[test]
fn a_server_that_wants_to_be_left_alone_is() {
    let api = Api::start().unwrap();
    api.list_faults(&[Fault::Status(429, Some(1))]);
    let began = Instant::now();
    let started = start(&api);
    wait("the list", || started.is_up());
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[test]
fn slow_answers_and_events_in_pieces_are_read() {
    let api = Api::start().unwrap();
    (0..4).for_each(|n| api.put(&Pod::new(&format!("p{n}"), "c", &format!("c{n}"))));
    let slow = Fault::Slow(Duration::from_millis(2));
    api.list_faults(std::slice::from_ref(&slow));
    api.watch_faults(&[slow]);
    let started = start(&api);
    wait("the list", || started.identities.pods() == 4);
    wait("the watch", || api.watches() == 1);
    (4..9).for_each(|n| api.put(&Pod::new(&format!("p{n}"), "c", &format!("c{n}"))));
    wait("the events", || started.of("c8").is_some() && started.identities.pods() == 9);
    assert!(started.is_up());
}

#[test]
fn an_event_that_breaks_off_is_asked_for_again() {
    let api = Api::start().unwrap();
    api.watch_faults(&[Fault::Cut(300)]);
    let started = start(&api);
    wait("the watch", || api.watches() == 1);
    api.put(&Pod::new("a", "c", "c0"));
    wait("the event", || started.of("c0").is_some());
    assert_eq!(started.errors(Kind::Connect), 1);
    let lists = api.seen().iter().filter(|seen| !seen.path.contains("watch=1")).count();
    assert_eq!((lists, started.is_up()), (1, true));
}

#[test]
fn a_server_that_is_away_is_waited_for() {
    let api = Api::start().unwrap();
    let account = api.account().to_owned();
    let copy = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let started = start_at(settings(&nobody.to_string(), account.clone(), "/nonexistent.sock".into()), EAGER);
    wait("refusals", || started.errors(Kind::Connect) >= 2);
    assert!(!started.is_up() && started.identities.of(&container("c0", Some("u"))).is_none());
    // An authority that is not the server's, and no files at all.
    let other = Api::start().unwrap();
    std::fs::copy(other.account().join("ca.crt"), copy.path().join("ca.crt")).unwrap();
    std::fs::write(copy.path().join("token"), "token-1").unwrap();
    let mistrusts =
        start_at(settings(&api.address.to_string(), copy.path().to_owned(), "/nonexistent.sock".into()), EAGER);
    wait("mistrust", || mistrusts.errors(Kind::Connect) >= 2);
    assert!(api.seen().is_empty(), "no token goes to a server that shows another certificate");
    std::fs::copy(account.join("ca.crt"), copy.path().join("ca.crt")).unwrap();
    wait("trust", || mistrusts.is_up() && api.watches() == 1);
    std::fs::remove_file(copy.path().join("token")).unwrap();
    api.end_watches();
    wait("no token", || mistrusts.errors(Kind::Account) >= 2);
}

#[test]
fn more_pods_than_there_is_room_for_are_counted() {
    let api = Api::start().unwrap();
    (0..5000).for_each(|n| api.put(&Pod::new(&format!("p{n}"), "c", &format!("c{n}"))));
    let started = start(&api);
    wait("the list", || started.is_up());
    assert_eq!((started.identities.pods(), started.errors(Kind::Room)), (4096, 904));
}
