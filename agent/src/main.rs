fn main() {
    let t = std::time::Instant::now();
    let l = agent::probe::load_reporting(&Default::default());
    match l { Ok(l) => { for r in &l.reports { println!("{} {} {:?} {:?}", r.probe, r.program, r.hook, r.error); } 
      println!("{:?}", t.elapsed());
      println!("{}", std::fs::read_to_string("/proc/self/status").unwrap().lines().filter(|l| l.starts_with("Vm")||l.starts_with("Rss")).collect::<Vec<_>>().join("\n"));
    }, Err(e) => println!("{e:?}") }
}
