//! Who a container is: cgroup paths and mounts of a process, and answers of the API server and of the kubelet. However
//! the bytes are cut, a list's elements are the same.
#![no_main]

use agent::discover::{container, unit};
use agent::identity::{items::Items, object::Event, pod_resources};
use libfuzzer_sys::fuzz_target;
use prost::Message;

type Elements = (Vec<Vec<u8>>, bool);

fn elements(pieces: &[&[u8]]) -> Elements {
    let (mut items, mut found) = (Items::default(), Vec::new());
    let well = pieces.iter().all(|piece| {
        let each = |element: &[u8]| {
            found.push(element.to_vec());
            Ok(())
        };
        items.feed(piece, each).is_ok()
    });
    (found, well)
}

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    for container in [container::from_cgroup(&text), container::from_mountinfo(&text)].into_iter().flatten() {
        assert!(!container.id.is_empty() && text.contains(&container.id));
        assert!(container.pod_uid.is_none_or(|uid| !uid.is_empty()));
    }
    if let Some(unit) = unit::from_cgroup(&text) {
        assert!(!unit.is_empty());
    }
    let whole = elements(&[input]);
    let (head, tail) = input.split_at(usize::from(input.first().copied().unwrap_or_default()).min(input.len()));
    assert_eq!(whole, elements(&[head, tail]));
    assert_eq!(whole, elements(&input.chunks(1).collect::<Vec<_>>()));
    for line in input.split(|byte| *byte == b'\n') {
        if let Ok(Event::Added(pod) | Event::Modified(pod) | Event::Deleted(pod)) = serde_json::from_slice(line) {
            assert!(pod.into_pod().containers.iter().all(|(id, _)| !id.is_empty()));
        }
    }
    if let Ok(answer) = pod_resources::ListResponse::decode(input) {
        let uses = pod_resources::uses(answer);
        assert!(uses.is_sorted() && uses.windows(2).all(|two| two[0] != two[1]));
        assert!(uses.iter().all(|gpu| gpu.resource.starts_with("nvidia.com/")));
    }
});
