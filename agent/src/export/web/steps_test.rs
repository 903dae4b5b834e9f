//! Requests and readings made up here, and the windows and series that come of them.

use super::*;

const S: u64 = 1_000_000_000;

fn request(end_s: u64, ttft_s: f64) -> (Request, u64) {
    let request = Request {
        start_ns: (end_s - 1) * S,
        duration_s: 1.0,
        ttft_s: Some(ttft_s),
        tpot_s: Some(0.02),
        input_tokens: Some(10),
        output_tokens: Some(20),
        ..Request::default()
    };
    (request, end_s * S)
}

fn add(steps: &mut Steps, end_s: u64, ttft_s: f64) {
    let (request, end_ns) = request(end_s, ttft_s);
    steps.add(&request, end_ns);
}

#[test]
fn a_window_holds_what_ended_in_it() {
    let mut steps = Steps::new(0);
    for end_s in 1..=200 {
        add(&mut steps, end_s, if end_s > 160 { 0.4 } else { 0.1 });
    }
    let sums = steps.sums(200 * S, 30);
    // The window begins at the edge of a step.
    assert_eq!((sums.requests, sums.seconds, sums.output_tokens), (31, 30.0, 620));
    let ttft = sums.ttft.quantile(0.5).expect("some");
    assert!((0.35..0.46).contains(&ttft), "{ttft}");
    assert_eq!(steps.sums(200 * S, 60).requests, 61);
    assert_eq!(steps.sums(400 * S, 60).requests, 0);
}

#[test]
fn a_rate_is_of_the_time_in_which_the_service_was_known() {
    let mut steps = Steps::new(100 * S);
    (101..=110).for_each(|end_s| add(&mut steps, end_s, 0.1));
    assert_eq!(steps.sums(110 * S, 60).seconds, 10.0);
}

#[test]
fn steps_roll_and_take_no_more_memory() {
    let mut steps = Steps::new(0);
    (1..=901).for_each(|end_s| add(&mut steps, end_s, 0.1));
    let (held, bytes) = (steps.steps.len(), steps.bytes());
    (902..=9000).for_each(|end_s| add(&mut steps, end_s, 0.1));
    assert_eq!((steps.steps.len(), held), (181, 181));
    assert_eq!(steps.bytes(), bytes);
    let points = steps.points(9000 * S);
    assert_eq!(points.len(), 180);
    assert!(points.iter().all(|point| point.is_some_and(|point| point.requests == 5)), "{points:?}");
}

#[test]
fn a_late_one_counts_where_it_ended_and_a_very_late_one_nowhere() {
    let mut steps = Steps::new(0);
    add(&mut steps, 2000, 0.1);
    add(&mut steps, 1500, 0.1);
    add(&mut steps, 1000, 0.1);
    assert_eq!(steps.steps.iter().map(|step| step.number).collect::<Vec<_>>(), [300, 400]);
    let points = steps.points(2005 * S);
    assert_eq!(points.iter().flatten().map(|point| point.requests).sum::<u32>(), 2);
}

#[test]
fn before_it_was_known_there_is_no_point_and_then_nothing_is_zero() {
    let mut steps = Steps::new(500 * S);
    steps.read(700 * S, 3, None);
    let points = steps.points(1000 * S);
    assert_eq!(points.iter().take_while(|point| point.is_none()).count(), 80);
    assert_eq!(points[100 - 20], Some(Point::default()));
    assert_eq!(points.iter().flatten().map(|point| point.in_flight).sum::<u32>(), 3);
}

#[test]
fn cpu_is_the_growth_of_the_counters() {
    let mut steps = Steps::new(0);
    let reading =
        |at_s: u64, cores: u64| Reading { at_ns: at_s * S, oncpu_ns: at_s * cores * S, runqueue_ns: at_s * S / 2 };
    assert_eq!(steps.sums(10 * S, 30).cpu, None);
    (0..100).step_by(2).for_each(|at_s| steps.read(at_s * S, 0, Some(reading(at_s, 3))));
    let cpu = steps.sums(98 * S, 30).cpu.expect("read");
    assert_eq!(cpu, [90.0, 15.0, 30.0]);
    // Another process has the place now.
    steps.read(100 * S, 0, Some(reading(100, 1)));
    assert_eq!(steps.sums(100 * S, 30).cpu, None);
}
