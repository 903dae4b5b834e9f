//! Lists and watches as they should be, and what every long-lived watch goes through.

use support::kubernetes::Pod;

use super::*;

#[test]
fn pods_are_listed_and_then_watched() {
    let api = Api::start().unwrap();
    let (first, second) = (Pod::new("vllm-0", "vllm", "c0"), Pod::new("vllm-1", "vllm", "c1"));
    api.put(&first);
    let started = start(&api);
    wait("the list", || started.of("c0").is_some());
    wait("the watch", || api.watches() == 1);
    assert!(started.is_up());
    let known = started.identities.of(&container("c0", None)).unwrap();
    assert_eq!((&*known.namespace, &*known.pod, &*known.node), ("llm", "vllm-0", NODE));
    assert_eq!(known.labels[..], [("label_app".to_owned(), "chat".to_owned())]);
    // It has no container yet, then one, then another.
    api.put(&Pod { containers: vec![("vllm".to_owned(), None)], ..second.clone() });
    wait("the second pod", || started.identities.pods() == 2);
    let by_pod = || started.identities.of(&container("c1", Some("uid-of-vllm-1")));
    assert_eq!((started.of("c1"), by_pod().unwrap().container), (None, None));
    api.put(&second);
    wait("its container", || by_pod().is_some_and(|known| known.container.as_deref() == Some("vllm")));
    api.put(&Pod::new("vllm-1", "vllm", "c2"));
    wait("its restart", || started.of("c2").is_some());
    api.delete(&second);
    wait("its end", || started.identities.pods() == 1);
    assert_eq!(started.of("c1"), Some(("vllm-1".to_owned(), Some("vllm".to_owned()))), "for late records");
    assert_eq!(started.of("c2"), started.of("c1"));
    let paths: Vec<String> = api.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths.len(), 2, "{paths:?}");
    assert!(paths[0].ends_with("&resourceVersion=0"), "{paths:?}");
    assert!(paths[1].contains("&watch=1&allowWatchBookmarks=true"), "{paths:?}");
}

#[test]
fn a_watch_that_ends_is_taken_up_where_it_was() {
    let api = Api::start().unwrap();
    api.put(&Pod::new("a", "c", "c0"));
    let started = start(&api);
    for round in 1..4 {
        wait("a watch", || api.watches() == 1);
        api.put(&Pod::new("a", "c", &format!("c{round}")));
        wait("the event", || started.of(&format!("c{round}")).is_some());
        api.bookmark();
        api.end_watches();
        wait("another watch", || api.seen().len() == 2 + round);
    }
    let lists = api.seen().iter().filter(|seen| !seen.path.contains("watch=1")).count();
    assert_eq!((lists, started.is_up()), (1, true));
    assert_eq!(started.errors(Kind::Connect), 0);
    // Each began behind the event, or behind the bookmark if that came in time.
    let last = api.seen().pop().unwrap();
    assert!(["105", "106", "107"].iter().any(|version| last.path.ends_with(&format!("resourceVersion={version}"))));
}

#[test]
fn a_watch_that_is_too_old_begins_with_a_list() {
    let api = Api::start().unwrap();
    api.put(&Pod::new("a", "c", "c0"));
    let gone = Pod::new("b", "c", "c1");
    api.put(&gone);
    let started = start(&api);
    wait("a watch", || api.watches() == 1);
    // What happens between two watches is forgotten before the second.
    api.watch_faults(&[support::kubernetes::Fault::Status(410, None)]);
    api.end_watches();
    api.delete(&gone);
    api.put(&Pod::new("d", "c", "c3"));
    api.forget();
    wait("the new pod", || started.of("c3").is_some());
    wait("the end of the old one", || started.identities.pods() == 2);
    wait("a watch", || api.watches() == 1);
    assert!(started.is_up() && started.errors(Kind::Expired) >= 1);
    // The same in the middle of a watch, as an event.
    let expired = started.errors(Kind::Expired);
    api.put(&Pod::new("e", "c", "c4"));
    wait("a watch that works", || started.of("c4").is_some());
    api.end_watches();
    api.bookmark();
    api.forget();
    wait("a list or a watch from there on", || api.watches() == 1);
    api.put(&Pod::new("f", "c", "c5"));
    wait("what follows", || started.of("c5").is_some());
    assert!(started.is_up() && started.errors(Kind::Expired) >= expired);
}

#[test]
fn a_token_that_was_replaced_is_read_again() {
    let api = Api::start().unwrap();
    api.put(&Pod::new("a", "c", "c0"));
    let started = start(&api);
    wait("a watch", || api.watches() == 1);
    api.accept("token-2");
    // An open watch goes on.
    api.put(&Pod::new("b", "c", "c1"));
    wait("its event", || started.of("c1").is_some());
    api.end_watches();
    wait("the refusal", || started.errors(Kind::Unauthorized) >= 2);
    assert!(!started.is_up());
    assert!(started.of("c0").is_some(), "what was known is known still");
    api.put(&Pod::new("d", "c", "c2"));
    api.hand_out("token-2").unwrap();
    wait("what happened meanwhile", || started.of("c2").is_some());
    assert!(started.is_up());
    let lists = api.seen().iter().filter(|seen| !seen.path.contains("watch=1")).count();
    assert_eq!(lists, 1, "the watch went on where it was");
}

#[test]
fn what_gathers_while_the_thread_rests_is_all_taken() {
    const PODS: usize = 300;
    let api = Api::start().unwrap();
    let gather = watch::Pace { gather: Duration::from_millis(50), ..EAGER.pods };
    let settings = settings(&api.address.to_string(), api.account().to_owned(), "/nonexistent.sock".into());
    let started = start_at(settings, worker::Pace { pods: gather, ..EAGER });
    wait("the watch", || api.watches() == 1);
    (0..PODS).for_each(|number| api.put(&Pod::new(&format!("p{number}"), "c", &format!("c{number}"))));
    wait("all of them", || started.identities.pods() == PODS);
    api.delete(&Pod::new("p7", "c", "c7"));
    wait("an end", || started.identities.pods() == PODS - 1);
    assert_eq!((api.seen().len(), started.errors(Kind::Timeout)), (2, 0));
}
