//! What many connections and unkind ones may cost.

use inferscope_abi::CLOSE_CLOSED;

use super::*;
use crate::session::connection::Connection;

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 320, "{} bytes", size_of::<Connection>());
    let mut wire = Wire::server();
    wire.record_bytes = 7;
    for socket in 0..1000 {
        wire.switch(socket);
        wire.request(chat(true)).response(STREAM_HEAD).response(token("a")).response(STREAM_END);
    }
    assert_eq!((wire.out.len(), wire.sessions.connections()), (1000, 1000));
    let table = wire.sessions.connections.capacity() * size_of::<(u64, Connection)>();
    let queues: usize = wire.sessions.connections.values().map(|c| c.in_flight.capacity() * size_of::<usize>()).sum();
    assert!(table + queues < 1000 * 1024, "{table} and {queues} bytes");
}

#[test]
fn idle_connections_are_forgotten_and_taken_up_again() {
    let mut wire = Wire::server();
    wire.request(get("/a")).response(OK);
    let idle = wire.now + Limits::default().idle_ns;
    wire.sessions.tick(idle, &mut |_| ());
    assert_eq!(wire.sessions.connections(), 1);
    wire.sessions.tick(idle + 1, &mut |_| ());
    assert_eq!((wire.sessions.connections(), wire.sessions.stats().evictions), (0, 1));
    wire.request(get("/b")).response(OK).request(get("/c")).response(OK);
    assert_eq!(wire.said(), ["GET /a 200 Complete", "GET /c 200 Complete"]);
}

#[test]
fn more_connections_than_the_limit() {
    let mut wire = Wire::server();
    wire.sessions = Sessions::new(Limits { connections: 64, ..Limits::default() });
    wire.switch(1);
    wire.request(get("/slow"));
    for socket in 2..1000 {
        wire.switch(socket);
        wire.request(get("/a")).response(OK);
        assert!(wire.sessions.connections() <= 64);
    }
    assert_eq!(wire.out.len(), 998);
    assert_eq!(wire.sessions.in_flight().count(), 1, "idle ones go first");
    assert!(wire.sessions.stats().evictions > 900);
}

#[test]
fn more_requests_than_the_limit() {
    let mut wire = Wire::server();
    wire.sessions = Sessions::new(Limits { in_flight_per_connection: 4, ..Limits::default() });
    wire.request(get("/a").repeat(5)).response(OK.repeat(5));
    assert_eq!((wire.said().len(), wire.sessions.in_flight().count()), (0, 0));
    assert_eq!(wire.failures(), [("in_flight", 1), ("pipelined", 1)]);
    assert_eq!(wire.sessions.stats().exchanges_lost, 5);
    wire.close(CLOSE_CLOSED);
    assert_eq!(wire.sessions.connections(), 0);
}

#[test]
fn ten_megabytes_of_one_line() {
    for role in [Role::Server, Role::Client] {
        let mut wire = Wire::new(role);
        let line = vec![b'A'; 10 << 20];
        wire.request("GET / HTTP/1.1\r\nx: ").request(&line);
        assert_eq!(wire.failures(), [("head_too_long", 1)]);
        wire.request(get("/a")).response("HTTP/1.1 200 OK\r\nx: ").response(&line);
        assert_eq!(wire.failures(), [("head_too_long", 2)]);
        let stats = wire.sessions.stats();
        assert!(stats.bytes_skipped > 19 << 20, "{stats:?}");
        wire.request(get("/b")).response(OK);
        assert_eq!(wire.said(), ["GET /b 200 Complete"]);
    }
}

#[test]
fn long_heads_are_read_and_longer_ones_counted() {
    for record_bytes in [997, 8192] {
        let mut wire = Wire::server();
        wire.record_bytes = record_bytes;
        let cookie = |bytes: usize| format!("GET /a HTTP/1.1\r\ncookie: {}\r\n\r\n", "c".repeat(bytes));
        wire.request(cookie(60_000)).response(OK);
        assert_eq!((wire.said().len(), wire.sessions.stats().exchanges_lost), (1, 0));
        wire.request(cookie(70_000)).response(OK);
        assert_eq!((wire.said().len(), wire.sessions.stats().exchanges_lost), (1, 1));
        assert_eq!(wire.failures(), [("head_too_long", 1)]);
        wire.request(get("/b")).response(OK);
        assert_eq!((wire.said().len(), wire.sessions.stats().exchanges_lost), (2, 1));
    }
}

#[test]
fn nothing_is_held_without_room() {
    let mut wire = Wire::server();
    wire.sessions = Sessions::new(Limits {
        connections: 0,
        in_flight_per_connection: 0,
        head_bytes: 0,
        idle_ns: 0,
        chunk_times: 0,
        wanted: Default::default(),
    });
    wire.request(get("/a")).response(OK);
    assert!(wire.said().is_empty());
}
