//! Listening, accepting and the life of a connection, on threads or in processes.

use crate::behaviour::Behaviour;
use crate::content::Reply;
use crate::dialect;
use crate::request::{Inbox, Request};
use crate::respond::{GZIPPED, Next, whole};
use crate::socket::Socket;
use crate::stats::Stats;
use crate::stream::stream;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Accept on one thread, a new thread for each connection.
    Threads,
    /// One connection after the other on the accepting thread.
    Single,
    /// Worker processes share the listener; each starts a thread per connection.
    Prefork,
    /// A new process for each connection.
    Fork,
}

pub struct Shared {
    pub behaviour: Behaviour,
    pub model: String,
    pub stats: &'static Stats,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// The listener and its address in the spelling of `--listen`.
    fn bind(at: &str) -> Result<(Self, String)> {
        if let Some(name) = at.strip_prefix("unix:@") {
            let address = SocketAddr::from_abstract_name(name)?;
            return Ok((Listener::Unix(UnixListener::bind_addr(&address)?), at.to_owned()));
        }
        if let Some(path) = at.strip_prefix("unix:") {
            let _ = std::fs::remove_file(path);
            return Ok((Listener::Unix(UnixListener::bind(path)?), at.to_owned()));
        }
        let l = TcpListener::bind(at)?;
        let address = l.local_addr()?.to_string();
        Ok((Listener::Tcp(l), address))
    }

    fn accept(&self) -> std::io::Result<OwnedFd> {
        match self {
            Listener::Tcp(l) => l.accept().map(|(s, _)| s.into()),
            Listener::Unix(l) => l.accept().map(|(s, _)| s.into()),
        }
    }
}

/// Serves until killed.
pub fn run(shared: Shared, listen: &[String], mode: Mode, workers: usize) -> Result<()> {
    let shared = Arc::new(shared);
    let mut listeners = Vec::new();
    let mut out = std::io::stdout().lock();
    for at in listen {
        let (listener, address) = Listener::bind(at).with_context(|| format!("cannot listen on {at}"))?;
        listeners.push(listener);
        writeln!(out, "listening on {address} pid {}", std::process::id())?;
    }
    if mode == Mode::Prefork {
        prefork(workers)?;
    }
    if mode == Mode::Fork {
        // SAFETY: ignored children are reaped by the kernel.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    }
    out.flush()?;
    drop(out);
    std::thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(|| accept_loop(&shared, listener, mode));
        }
    });
    Ok(())
}

/// Makes the workers and, in the parent, waits for them for ever; returns in each worker.
fn prefork(workers: usize) -> Result<()> {
    let parent = std::process::id();
    for _ in 0..workers.max(1) {
        // SAFETY: no other thread runs yet.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: asks for a signal when the parent ends.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                if std::os::unix::process::parent_id() != parent {
                    bail!("the parent ended first");
                }
                return Ok(());
            }
            -1 => bail!("fork: {}", std::io::Error::last_os_error()),
            _ => {}
        }
    }
    std::io::stdout().flush()?;
    // SAFETY: waits for any child, status not wanted.
    while unsafe { libc::wait(std::ptr::null_mut()) } > 0 {}
    std::process::exit(0)
}

fn accept_loop(shared: &Arc<Shared>, listener: &Listener, mode: Mode) {
    loop {
        let fd = match listener.accept() {
            Ok(fd) => fd,
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionAborted => continue,
            Err(e) => return eprintln!("accept: {e}"),
        };
        match mode {
            Mode::Single => connection(shared, fd),
            Mode::Fork => fork_for(shared, fd),
            Mode::Threads | Mode::Prefork => {
                let shared = Arc::clone(shared);
                std::thread::spawn(move || connection(&shared, fd));
            }
        }
    }
}

fn fork_for(shared: &Shared, fd: OwnedFd) {
    // SAFETY: the child uses the allocator (safe after fork with glibc) and system calls, then ends.
    if unsafe { libc::fork() } == 0 {
        connection(shared, fd);
        std::process::exit(0);
    }
}

fn connection(shared: &Shared, fd: OwnedFd) {
    let mut socket = Socket::new(fd, shared.stats);
    let mut inbox = Inbox::default();
    let mut counted = false;
    loop {
        let request = match inbox.next(&mut socket, &shared.behaviour) {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(e) => return eprintln!("request: {e:#}"),
        };
        let own = request.path.starts_with("/test/");
        if !own && !counted {
            Stats::add(&shared.stats.connections, 1);
            counted = true;
        }
        match respond(shared, &mut socket, &request, own) {
            Ok(Next::KeepAlive) => {}
            Ok(Next::Close) => return,
            Err(e) => {
                Stats::add(&shared.stats.cut, 1);
                return eprintln!("response: {e:#}");
            }
        }
    }
}

fn respond(shared: &Shared, socket: &mut Socket, request: &Request, own: bool) -> Result<Next> {
    let how = request.behaviour(&shared.behaviour)?;
    let stats = shared.stats;
    if own {
        let plain = Behaviour { keep_alive: how.keep_alive, ..Behaviour::default() };
        return Ok(whole(socket, &plain, 200, "application/json", "", stats.to_json().as_bytes())?);
    }
    Stats::add(&stats.requests, 1);
    if how.dup {
        socket.duplicate()?;
    }
    let next = answer(shared, socket, request, &how)?;
    let cut = how.turn.is_some_and(|t| {
        use crate::behaviour::Turn::*;
        matches!(t, Abort | Close | Replace | CloseRange | LyingChunk)
    });
    Stats::add(if cut { &stats.cut } else { &stats.completed }, 1);
    Ok(next)
}

fn answer(shared: &Shared, socket: &Socket, request: &Request, how: &Behaviour) -> Result<Next> {
    let path = request.path.as_str();
    if how.garbage_head {
        socket.write_all(how, &[0x15, 0x03, 0x01, 0x00, 0xff, b'\n', 0x80, b'x'].repeat(64))?;
        return Ok(Next::Close);
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    let n = shared.stats.next_id.fetch_add(1, Relaxed);
    let serial = format!("test{:x}-{n:x}", std::process::id());
    let reply = dialect::reply(path, &body, how, &shared.model, serial);
    if reply.is_some() {
        Stats::add(&shared.stats.llm_requests, 1);
    }
    if how.status >= 400 {
        let body = dialect::error_body(path, how.status).to_string();
        return Ok(whole(socket, how, how.status, "application/json", "", body.as_bytes())?);
    }
    if how.gzip {
        return Ok(whole(socket, how, 200, "application/json", "content-encoding: gzip\r\n", GZIPPED)?);
    }
    match reply {
        Some(Reply::Streamed(script)) => Ok(stream(socket, how, &script)?),
        Some(Reply::Whole { headers, body }) => {
            std::thread::sleep(std::time::Duration::from_millis(how.prefill_ms));
            Ok(whole(socket, how, 200, "application/json", &headers, body.as_bytes())?)
        }
        None => plain(shared, socket, how, path),
    }
}

fn plain(shared: &Shared, socket: &Socket, how: &Behaviour, path: &str) -> Result<Next> {
    match dialect::page(path, &shared.model) {
        Some((kind, body)) => Ok(whole(socket, how, 200, kind, "", body.as_bytes())?),
        None => Ok(whole(socket, how, 404, "application/json", "", b"{\"error\":\"no such path\"}")?),
    }
}
