"""The harness itself: a test that passes because the harness looked away would be worth nothing."""
import pytest

import harness


def test_faults_are_found_in_logs(moongate):
    gateway = moongate(server="location / { return 200; }", start=False)
    log = gateway.prefix / "logs/error.log"
    for line in ("2026/01/31 12:00:00 [alert] 1#1: worker process 2 exited on signal 11",
                 "2026/01/31 12:00:00 [emerg] 1#1: bind() to 127.0.0.1:1 failed",
                 "==12==ERROR: AddressSanitizer: heap-use-after-free on address 0x1",
                 "src/http/h1_parser.cc:12:3: runtime error: shift exponent 64 is too large"):
        log.write_text(line + "\n")
        assert gateway.faults() == [line]
    # Lua's own errors are the script's business, not the engine's.
    log.write_text("2026/01/31 12:00:00 [error] 1#1: *1 lua entry thread aborted: runtime error: content_by_lua\n")
    assert gateway.faults() == []
    log.write_text("2026/01/31 12:00:00 [alert] 1#1: expected\n")
    gateway.allow("expected")
    assert gateway.faults() == []


def test_upstream_counts_connections_and_reads_bodies(upstream):
    server = upstream([harness.answer(b"first"), harness.answer(b"last", headers=["Connection: close"])])
    with harness.Connection(server.port) as client:
        client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        assert client.read_response().body == b"first"
        client.send(b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        assert client.read_response().body == b"last"
        assert client.is_closed()
    assert [(r.method, r.target, r.body) for r in server.requests] == [("POST", "/a", b"abc"), ("POST", "/b", b"hi")]
    assert server.accepted == 1


def test_a_silent_peer_is_a_failure_not_a_pass(upstream):
    server = upstream(lambda request, connection: connection.read_until(b"never"))
    with harness.Connection(server.port, timeout=0.05) as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(AssertionError, match="time-out"):
            client.read_response()


def test_ports_are_not_given_twice():
    ports = [harness.free_port() for _ in range(50)]
    assert len(set(ports)) == 50
