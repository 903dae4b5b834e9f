//! Recorded ring bytes in, golden records and metrics out: everything between the ring and the exports, without root.
//! `UPDATE_GOLDEN=1` writes the files of `data/replay` anew, the recordings too, which change with the wire types.

#![allow(clippy::unwrap_used)]

mod dialects;
mod engine;
mod golden;
mod kernel;
mod play;
mod scenes;

use play::Replay;

/// Some scenes through one agent: the text of a scrape at the end.
#[test]
fn replay_metrics() {
    let mut replay = Replay::default();
    for scene in [scenes::streamed, scenes::cancelled, scenes::client] {
        replay.sessions_anew();
        scene().into_iter().for_each(|record| replay.record(&record));
    }
    let text = replay.metrics();
    let problems = support::exposition::problems(&text);
    assert!(problems.is_empty(), "{problems:?}");
    golden::compare("metrics.txt", text.as_bytes());
}

/// Each scene as it was recorded: its bytes are what the wire types say today, and its records are the golden ones.
#[test]
fn replay_scenes() {
    for (name, scene) in scenes::SCENES {
        golden::compare(&format!("{name}.ring"), &golden::framed(&scene()));
        let mut replay = Replay::default();
        golden::frames(&golden::read(&format!("{name}.ring"))).iter().for_each(|record| replay.record(record));
        golden::compare(&format!("{name}.jsonl"), replay.told().as_bytes());
    }
}

/// A recording that ends anywhere, or lacks any one record, never gives a record that the whole one does not give.
#[test]
fn replay_with_losses() {
    for (name, scene) in scenes::SCENES {
        let records = scene();
        let whole = play::finished(&records);
        for left_out in 0..records.len() {
            let mut some = records.clone();
            some.remove(left_out);
            let cut = play::finished(&records[..left_out]);
            let lossy = play::finished(&some);
            play::assert_none_extra(name, left_out, &whole, &cut);
            play::assert_none_extra(name, left_out, &whole, &lossy);
        }
    }
}
