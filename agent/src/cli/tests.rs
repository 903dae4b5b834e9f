//! The command line as users type it.

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn arguments_become_a_configuration() {
    let cli = parse(
        "inferscope run --listen 127.0.0.1:1 --pid 7 --pid 8 --records - --nvml-lib /x.so --otlp http://[::1]:4318 -v",
    )
    .unwrap();
    let Command::Run(run) = &cli.command else { panic!("{cli:?}") };
    let config = run.config(&cli.log).unwrap();
    assert_eq!(config.listen.port(), 1);
    assert_eq!(config.discover.include.pids, [7, 8]);
    assert_eq!(config.records.as_deref(), Some("-".as_ref()));
    assert_eq!(config.nvml.library.as_deref(), Some("/x.so".as_ref()));
    assert_eq!(config.otlp.endpoint.as_deref(), Some("http://[::1]:4318"));
    assert_eq!(config.log.level, LogLevel::Debug);
    let cli = parse("inferscope --log-level trace attach --pid 7 --duration 2m").unwrap();
    let Command::Attach(attach) = &cli.command else { panic!("{cli:?}") };
    let config = attach.config(&cli.log);
    assert!(!config.discover.enabled && config.discover.include.pids == [7]);
    assert_eq!((attach.duration, config.log.level), (Duration::from_secs(120), LogLevel::Trace));
}

#[test]
fn who_may_ask_and_as_whom() {
    let cli = parse("inferscope run --web-config /etc/web.yml").unwrap();
    let Command::Run(run) = &cli.command else { panic!("{cli:?}") };
    assert_eq!(run.config(&cli.log).unwrap().web.config_file.as_deref(), Some("/etc/web.yml".as_ref()));
    let cli = parse("inferscope check --listen [::]:1 --web-config w").unwrap();
    let Command::Check(check) = &cli.command else { panic!("{cli:?}") };
    let config = check.config(&cli.log).unwrap();
    assert_eq!((config.listen.port(), config.web.config_file.as_deref()), (1, Some("w".as_ref())));
    for good in ["--ca-file c --token-file t", "--user u --password-file p", "--cert-file c --key-file k"] {
        assert!(parse(&format!("inferscope top {good}")).is_ok(), "{good}");
    }
    for bad in
        ["--user u", "--password-file p", "--cert-file c", "--key-file k", "--user u --password-file p --token-file t"]
    {
        assert!(parse(&format!("inferscope top {bad}")).is_err(), "{bad}");
    }
}

#[test]
fn attach_takes_several_processes_and_a_format() {
    let attach = |tail: &str| match parse(&format!("inferscope attach {tail}")).unwrap().command {
        Command::Attach(attach) => attach,
        other => panic!("{other:?}"),
    };
    assert_eq!(attach("--pid 7,8 --pid 9").pids, [7, 8, 9]);
    assert_eq!(attach("--pid 7").output(), None);
    let formats = [
        ("t.pftrace", AttachFormat::Perfetto),
        ("t", AttachFormat::Perfetto),
        ("T.JSON", AttachFormat::Json),
        ("p.pb.gz", AttachFormat::Pprof),
        ("flame.svg", AttachFormat::Flamegraph),
        ("t.json --format perfetto", AttachFormat::Perfetto),
    ];
    for (tail, format) in formats {
        assert_eq!(attach(&format!("--pid 7 --out {tail}")).output().unwrap().1, format, "{tail}");
    }
    assert_eq!(attach("--pid 7 --syscalls 0s").syscalls, Duration::ZERO);
}

#[test]
fn ps_reads_what_run_reads() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "[discover]\nexclude = [\"x\"]\n[[discover.service]]\nname = \"chat\"\n").unwrap();
    let tail = format!("--config {} --nvml-lib /x.so", file.path().display());
    let (ps, run) =
        (parse(&format!("inferscope ps {tail}")).unwrap(), parse(&format!("inferscope run {tail}")).unwrap());
    let (Command::Ps(ps), Command::Run(run), log) = (ps.command, run.command, ps.log) else { panic!("two commands") };
    let config = ps.config(&log).unwrap();
    assert_eq!(config, run.config(&log).unwrap());
    assert_eq!((config.discover.service[0].name.as_str(), config.discover.exclude.len()), ("chat", 1));
    assert_eq!(config.nvml.library.as_deref(), Some("/x.so".as_ref()));
}

#[test]
fn mistakes_are_refused() {
    for line in [
        "inferscope",
        "inferscope walk",
        "inferscope run --pid 0",
        "inferscope run --pid x",
        "inferscope run --listen localhost",
        "inferscope run --otlp localhost:4318",
        "inferscope attach",
        "inferscope attach --pid 1 --duration soon",
        "inferscope attach --pid 1 --duration 0s",
        "inferscope attach --pid 1,x",
        "inferscope attach --pid 1 --format json",
        "inferscope attach --pid 1 --out f --format yaml",
        "inferscope attach --pid 1 --syscalls much",
        "inferscope attach --pid 1 --out x --frequency 0",
        "inferscope attach --pid 1 --out x --no-stacks --frequency 9",
        "inferscope top --interval 1ms",
        "inferscope -v --log-level info ps",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
    assert!(parse("inferscope metrics-table").is_ok());
}

#[test]
fn completions_name_the_commands() {
    let mut script = Vec::new();
    completions(Shell::Bash, &mut script).unwrap();
    let script = String::from_utf8(script).unwrap();
    assert!(script.contains("attach") && script.contains("--nvml-lib"));
}

#[test]
fn a_script_that_cannot_be_written_is_an_error() {
    let mut full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let error = completions(Shell::Bash, &mut full).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let mut room = [0; 100];
    assert!(completions(Shell::Zsh, &mut room.as_mut_slice()).is_err());
}
