//! Where events go in: the last ones of each topic are kept, and each is handed to the outputs that there are. Shared by
//! all threads that tell of something; nobody waits in it for longer than a copy of a few hundred pointers takes.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Event, Record, TOPICS, Topic};
use crate::export::{lines, otlp};

/// Events of a topic that are kept. Older ones have gone to the outputs, and are no loss.
pub const KEPT: usize = 512;

/// Queues to the outputs; a queue that is full counts what it does not take.
#[derive(Debug, Default)]
struct Outputs {
    records: Option<lines::Queue>,
    otlp: Option<otlp::Queue>,
}

/// The way in.
#[derive(Debug, Default)]
pub struct Journal {
    outputs: Mutex<Outputs>,
    kept: Mutex<[VecDeque<Arc<Event>>; TOPICS.len()]>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// Hands everything from now on to these outputs.
    pub fn open(&self, records: Option<lines::Queue>, otlp: Option<otlp::Queue>) {
        *locked(&self.outputs) = Outputs { records, otlp };
    }

    /// Lets go of the outputs, which can end then.
    pub fn close(&self) {
        *locked(&self.outputs) = Outputs::default();
    }

    /// Keeps an event and hands it on.
    pub fn tell(&self, event: Event) {
        let event = Arc::new(event);
        {
            let outputs = locked(&self.outputs);
            if let Some(records) = &outputs.records {
                records.send(Record::from(&event));
            }
            if let Some(otlp) = &outputs.otlp {
                otlp.send(Record::from(&event));
            }
        }
        let kept = &mut locked(&self.kept)[event.topic as usize];
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event);
    }

    /// The last events of a topic, newest first.
    pub fn last(&self, topic: Topic) -> Vec<Arc<Event>> {
        locked(&self.kept)[topic as usize].iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Severity;

    #[test]
    fn the_last_ones_are_kept() {
        let journal = Journal::default();
        for number in 0..KEPT as u64 + 5 {
            journal.tell(Event::new(Topic::Change, "x", Severity::Info).with("number", number));
        }
        let last = journal.last(Topic::Change);
        let number = |at: usize| last[at].attributes.get("number").cloned();
        assert_eq!(last.len(), KEPT);
        assert_eq!((number(0), number(KEPT - 1)), (Some((KEPT as u64 + 4).into()), Some(5_u64.into())));
    }
}
