//! Every line is written or counted, and none is written in half: on a full disk, on a pipe that nobody reads, and at
//! the end.

use std::{
    cell::Cell,
    io::{ErrorKind, Read, Write},
    os::fd::AsFd,
    path::PathBuf,
};

use super::super::output::Out;
use super::*;
use crate::correlate::Request;

const SOON: Duration = Duration::from_secs(20);

fn request(number: u32) -> Arc<Request> {
    Arc::new(Request { pid: number, ..Request::default() })
}

fn pid(record: &Record) -> u32 {
    match record {
        Record::Request(request, _) => request.pid,
        Record::Event(event) => event.pid.unwrap(),
    }
}

fn number_line(record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
    writeln!(out, "{:04}", pid(record))
}

/// As long as a record is.
fn long_line(record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
    writeln!(out, "{:0900}", pid(record))
}

thread_local! {
    /// How often a failure, and how often its end was told.
    static TOLD: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

fn told(result: Result<(), &io::Error>) {
    let (failed, again) = TOLD.get();
    TOLD.set(if result.is_err() { (failed + 1, again) } else { (failed, again + 1) });
}

/// A disk with so much room; or, where nothing can be taken back, a pipe whose reader goes.
struct Disk {
    out: Out,
    room: usize,
    takes_back: bool,
}

impl Output for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        let written = self.out.write(&bytes[..bytes.len().min(self.room)])?;
        self.room -= written;
        Ok(written)
    }

    fn at_once(&self) -> usize {
        self.out.at_once()
    }

    fn take_back(&mut self, bytes: u64) -> bool {
        self.takes_back && self.out.take_back(bytes)
    }

    fn ends_torn(&self) -> bool {
        self.out.ends_torn()
    }
}

struct Bench {
    writer: Writer<Disk>,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(takes_back: bool, before: &str) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        std::fs::write(&path, before).unwrap();
        let out = Disk { out: Out::append(&path).unwrap(), room: 0, takes_back };
        let writer = Writer {
            torn: out.ends_torn(),
            out,
            counts: Arc::default(),
            format: number_line,
            told,
            told_at: None,
            down: false,
            batch: Vec::new(),
            ends: Vec::new(),
        };
        Bench { writer, path, _folder: folder }
    }

    /// Writes a batch of these with so much room.
    fn write(&mut self, room: usize, numbers: std::ops::RangeInclusive<u32>) {
        self.writer.out.room = room;
        numbers.for_each(|number| self.writer.add(&Record::from(&request(number))));
        self.writer.write_batch();
    }

    #[track_caller]
    fn assert(&self, text: &str, settled: u64, lost: u64) {
        assert_eq!(std::fs::read_to_string(&self.path).unwrap(), text);
        let counts = &self.writer.counts;
        assert_eq!((counts.settled.load(Ordering::Relaxed), counts.lost.load(Ordering::Relaxed)), (settled, lost));
    }
}

#[test]
fn a_full_disk_has_whole_lines_and_takes_more_once_there_is_room() {
    let mut bench = Bench::new(true, "");
    bench.write(17, 1..=10);
    bench.assert("0001\n0002\n0003\n", 10, 7);
    bench.write(0, 11..=12);
    bench.assert("0001\n0002\n0003\n", 12, 9);
    assert!(bench.writer.counts.failing.load(Ordering::Relaxed));
    bench.write(100, 13..=13);
    bench.assert("0001\n0002\n0003\n0013\n", 13, 9);
    assert!(!bench.writer.counts.failing.load(Ordering::Relaxed));
}

#[test]
fn half_a_line_that_stays_is_a_line_of_its_own() {
    let mut bench = Bench::new(false, "");
    bench.write(12, 1..=3);
    bench.assert("0001\n0002\n00", 3, 1);
    bench.write(0, 4..=4);
    bench.assert("0001\n0002\n00", 4, 2);
    // Room for the end of that line only.
    bench.write(1, 5..=5);
    bench.assert("0001\n0002\n00\n", 5, 3);
    bench.write(100, 6..=6);
    bench.assert("0001\n0002\n00\n0006\n", 6, 3);
    let mut bench = Bench::new(true, "another's ha");
    bench.write(100, 1..=1);
    bench.assert("another's ha\n0001\n", 1, 0);
}

#[test]
fn a_failure_is_told_once_a_minute_and_its_end_once() {
    let mut bench = Bench::new(true, "");
    for _ in 0..5 {
        bench.write(0, 1..=1);
    }
    assert_eq!(TOLD.get(), (1, 0));
    bench.write(100, 2..=2);
    bench.write(100, 3..=3);
    assert_eq!(TOLD.get(), (1, 1));
    bench.write(0, 4..=4);
    bench.write(100, 5..=5);
    assert_eq!(TOLD.get(), (1, 1));
}

#[test]
fn a_line_that_cannot_be_made_is_lost_alone() {
    let mut bench = Bench::new(true, "");
    bench.writer.out.room = 100;
    bench.writer.add(&Record::from(&request(1)));
    bench.writer.format = |_, out| {
        out.extend(b"half");
        Err(ErrorKind::InvalidData.into())
    };
    bench.writer.add(&Record::from(&request(2)));
    bench.writer.write_batch();
    bench.assert("0001\n", 2, 1);
}

#[test]
fn a_device_that_is_always_full_loses_every_line() {
    let out = Out::append("/dev/full".as_ref()).unwrap();
    let lines = Lines::start("lines", out, number_line, told, ()).unwrap();
    let (queue, lost) = (lines.queue(), lines.lost());
    (0..100).for_each(|number| queue.send(&request(number)));
    drop(queue);
    assert_eq!(lines.end(SOON), 0);
    assert_eq!(lost.load(Ordering::Relaxed), 100);
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_nobody_and_every_line_is_counted() {
    let (mut reader, pipe) = io::pipe().unwrap();
    let lines = Lines::start("lines", Out::shared(pipe.as_fd()).unwrap(), long_line, told, ()).unwrap();
    let (queue, lost) = (lines.queue(), lines.lost());
    let sent = QUEUE as u64 + 5_000;
    (0..sent).for_each(|number| queue.send(&request(number as u32)));
    // The writer may be late, but what it has not begun by the end it never writes.
    let line = format!("{:0900}\n", 0).len() as u64;
    let until = Instant::now() + SOON;
    while rustix::io::ioctl_fionread(&reader).unwrap() <= 50 * line {
        assert!(Instant::now() < until, "the pipe is not being filled");
        std::thread::yield_now();
    }
    drop(queue);
    let left = lines.end(Duration::from_millis(200));
    assert!(left >= QUEUE as u64 - 100, "{left} lines were left");
    let mut written = vec![0; rustix::io::ioctl_fionread(&reader).unwrap() as usize];
    reader.read_exact(&mut written).unwrap();
    assert!(written.ends_with(b"\n"), "half a line");
    let written = written.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert!(written > 50, "{written} lines were written");
    assert_eq!(written + lost.load(Ordering::Relaxed), sent);
}

#[test]
fn a_slow_reader_has_every_line_that_was_queued() {
    let (reader, pipe) = io::pipe().unwrap();
    let longer_than_a_pipe_takes_at_once: Format = |record, out| writeln!(out, "{:010000}", pid(record));
    let out = Out::shared(pipe.as_fd()).unwrap();
    drop(pipe);
    let lines = Lines::start("lines", out, longer_than_a_pipe_takes_at_once, told, ()).unwrap();
    let (queue, lost) = (lines.queue(), lines.lost());
    (0..100).for_each(|number| queue.send(&request(number)));
    drop(queue);
    let read = std::thread::spawn(move || io::read_to_string(reader).unwrap());
    assert_eq!((lines.end(SOON), lost.load(Ordering::Relaxed)), (0, 0));
    let numbers: Vec<u32> = read.join().unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}
