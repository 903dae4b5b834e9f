//! One question to each source: answered, refused, and nobody there.

use support::kubernetes::{
    Fault, Pod,
    kubelet::{Answer, Kubelet, one_gpu},
};

use super::*;
use crate::identity::ask;

#[test]
fn both_sources_are_asked_once() {
    let (folder, api) = (tempfile::tempdir().unwrap(), Api::start().unwrap());
    api.put(&Pod::new("a", "c", "c1"));
    let socket = folder.path().join("kubelet.sock");
    let gpu = one_gpu("llm", "a", "c", "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f");
    let _kubelet = Kubelet::start(&socket, Answer::Message(gpu)).unwrap();
    let settings = settings(&api.address.to_string(), api.account().to_owned(), socket);
    let answers = ask(&settings).unwrap();
    assert_eq!((answers.list, answers.watch, answers.pod_resources), (Ok(1), Ok(()), Ok(1)));
    assert_eq!(api.seen().len(), 2, "a list and a watch");
}

#[test]
fn what_is_refused_is_told_apart() {
    let api = Api::start().unwrap();
    let settings = settings(&api.address.to_string(), api.account().to_owned(), "/nonexistent.sock".into());
    api.watch_faults(&[Fault::Status(403, None)]);
    let answers = ask(&settings).unwrap();
    assert_eq!((answers.list, answers.watch.unwrap_err().kind), (Ok(0), Kind::Forbidden));
    assert_eq!(answers.pod_resources.unwrap_err().kind, Kind::Connect);
    api.accept("another token");
    let answers = ask(&settings).unwrap();
    let kinds = [answers.list.unwrap_err().kind, answers.watch.unwrap_err().kind];
    assert_eq!(kinds, [Kind::Unauthorized; 2]);
}
