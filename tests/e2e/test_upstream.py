"""upstream {}: balancing, failures, retries, connection reuse, the $upstream_* variables."""
import collections
import socket
import threading

import pytest

import harness
from harness import answer


def group(moongate, servers, options="", location="", **values):
    lines = " ".join(f"server 127.0.0.1:{port}{' ' + extra if extra else ''};" for port, extra in servers)
    return moongate(http="upstream u { %s %s }" % (options, lines), server="""
        location / { proxy_pass http://u; %s add_header X-Addr $upstream_addr always;
                     add_header X-Status $upstream_status always; }""" % location, **values)


def dead_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_weights_interleave_smoothly(moongate, upstream):
    a, b, c = (upstream(answer(name)) for name in ("a", "b", "c"))
    gateway = group(moongate, [(a.port, "weight=5"), (b.port, ""), (c.port, "")])
    with gateway.connect() as client:
        order = ""
        for _ in range(7):
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            order += client.read_response().text
    assert order == "aabacaa"


def test_refused_server_is_passed_over_and_logged(moongate, upstream):
    dead = dead_port()
    live = upstream(answer(b"live"))
    gateway = group(moongate, [(dead, ""), (live.port, "")])
    got = gateway.get("/")
    assert got.body == b"live"
    assert got.header("X-Addr") == f"127.0.0.1:{dead}, 127.0.0.1:{live.port}"
    assert got.header("X-Status") == "502, 200"
    assert "connect() failed (111: Connection refused) while connecting to upstream" in gateway.error_log()
    for _ in range(4):
        assert gateway.get("/").header("X-Addr") == f"127.0.0.1:{live.port}"


def test_no_live_upstreams(moongate):
    gateway = group(moongate, [(dead_port(), ""), (dead_port(), "")])
    assert gateway.get("/").status == 502
    got = gateway.get("/")
    assert got.status == 502 and got.header("X-Addr") == "u"
    assert "no live upstreams while connecting to upstream" in gateway.error_log()
    assert 'upstream: "http://u/"' in gateway.error_log()


def test_backup_serves_only_without_others(moongate, upstream):
    backup = upstream(answer(b"backup"))
    live = upstream(answer(b"live"))
    gateway = group(moongate, [(backup.port, "backup"), (live.port, "")])
    assert gateway.get("/").body == b"live"
    gateway = group(moongate, [(backup.port, "backup"), (dead_port(), "")])
    assert gateway.get("/").body == b"backup"


def test_statuses_that_ask_the_next(moongate, upstream):
    bad = upstream(answer(b"bad", "503 Busy"))
    good = upstream(answer(b"good"))
    gateway = group(moongate, [(bad.port, "max_fails=0"), (good.port, "")],
                    location="proxy_next_upstream error http_503;")
    got = gateway.get("/")
    assert got.body == b"good" and got.header("X-Status") == "503, 200"
    assert gateway.request("POST", "/", body=b"x").status in (200, 503)


def test_post_is_not_sent_twice(moongate, upstream):
    first = upstream(lambda request, connection: None)
    second = upstream(answer(b"second"))
    gateway = group(moongate, [(first.port, ""), (second.port, "")])
    assert gateway.request("POST", "/", body=b"x").status == 502
    assert len(first.requests) == 1 and not second.requests


def test_post_is_repeated_where_allowed(moongate, upstream):
    first = upstream(lambda request, connection: None)
    second = upstream(answer(b"second"))
    gateway = group(moongate, [(first.port, ""), (second.port, "")],
                    location="proxy_next_upstream error non_idempotent;")
    assert gateway.request("POST", "/", body=b"x").body == b"second"
    assert second.requests[0].body == b"x"


def test_tries_are_limited(moongate, upstream):
    live = upstream(answer(b"live"))
    gateway = group(moongate, [(dead_port(), ""), (dead_port(), ""), (live.port, "")],
                    location="proxy_next_upstream_tries 2;")
    assert gateway.get("/").status == 502


def test_connections_are_kept_by_default(moongate, upstream):
    server = upstream()
    gateway = group(moongate, [(server.port, "")])
    for _ in range(5):
        gateway.get("/")
    assert server.accepted == 1 and len(server.requests) == 5


def test_keepalive_zero_and_implicit_upstreams_keep_none(moongate, upstream):
    server = upstream()
    gateway = group(moongate, [(server.port, "")], options="keepalive 0;")
    for _ in range(3):
        gateway.get("/")
    assert server.accepted == 3
    gateway = moongate(server="location / { proxy_pass http://127.0.0.1:%UP%; }", up=server.port)
    for _ in range(3):
        gateway.get("/")
    assert server.accepted == 6


def test_keepalive_requests_and_timeout(moongate, upstream):
    server = upstream()
    gateway = group(moongate, [(server.port, "")], options="keepalive 4; keepalive_requests 2;")
    for _ in range(4):
        gateway.get("/")
    assert server.accepted == 2
    gateway = group(moongate, [(server.port, "")], options="keepalive 4; keepalive_timeout 50ms;")
    gateway.get("/")
    harness.eventually(lambda: server.open_connections == 0)


def test_idle_connection_that_is_closed_is_not_used(moongate, upstream):
    def script(request, connection):
        connection.send(answer(b"once"))
        return None  # closes without having said so
    server = upstream(script)
    gateway = group(moongate, [(server.port, "")])
    for _ in range(5):
        assert gateway.get("/").body == b"once"
        harness.eventually(lambda: server.open_connections == 0)
    assert server.accepted == 5


def test_concurrent_requests_use_connections_of_their_own(moongate, upstream):
    barrier = threading.Barrier(3, timeout=10)

    def script(request, connection):
        barrier.wait()
        return answer(request.target)
    server = upstream(script)
    gateway = group(moongate, [(server.port, "")])
    results = {}
    threads = [threading.Thread(target=lambda n=n: results.update({n: gateway.get(f"/{n}").text})) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: f"/{n}" for n in range(3)}


def test_consistent_hash_sticks_and_spreads(moongate, upstream):
    servers = [upstream(answer(str(n))) for n in range(4)]
    gateway = group(moongate, [(s.port, "") for s in servers], options="hash $request_uri consistent;")
    seen = {path: gateway.get(path).body for path in (f"/{n}" for n in range(40))}
    assert all(gateway.get(path).body == body for path, body in seen.items())
    assert len(set(seen.values())) == 4


@pytest.mark.parametrize("method", ["ip_hash;", "hash $uri;", "random;", "random two;", "least_conn;"])
def test_methods_answer(moongate, upstream, method):
    servers = [upstream(answer(str(n))) for n in range(3)]
    gateway = group(moongate, [(s.port, "") for s in servers], options=method)
    counts = collections.Counter(gateway.get("/").text for _ in range(60))
    assert sum(counts.values()) == 60 and set(counts) <= {"0", "1", "2"}
    if method in ("ip_hash;", "hash $uri;"):
        assert len(counts) == 1
    if method == "least_conn;":
        assert set(counts.values()) == {20}
    if method.startswith("random"):
        assert len(counts) == 3


def test_max_conns_sends_the_overflow_elsewhere(moongate, upstream):
    go = threading.Event()

    def held(request, connection):
        go.wait(10)
        return answer(b"held")
    small, other = upstream(held), upstream(answer(b"other"))
    gateway = group(moongate, [(small.port, "max_conns=1 weight=100"), (other.port, "")])
    waiting = threading.Thread(target=lambda: gateway.get("/"))
    waiting.start()
    harness.eventually(lambda: len(small.requests) == 1)
    assert all(gateway.get("/").body == b"other" for _ in range(3))
    go.set()
    waiting.join()


def test_variables_across_an_error_page(moongate, upstream):
    second = upstream(answer(b"second", headers=["X-Up: v", "Set-Cookie: c=d; Path=/"]))
    dead = dead_port()
    gateway = moongate(server="""
        location / { proxy_pass http://127.0.0.1:%DEAD%; error_page 502 = @second; }
        location @second { proxy_pass http://127.0.0.1:%UP%; add_header X-Addr $upstream_addr;
            add_header X-Status $upstream_status; add_header X-V "$upstream_http_x_up $upstream_cookie_c"; }""",
                       dead=dead, up=second.port)
    got = gateway.get("/")
    assert got.header("X-Addr") == f"127.0.0.1:{dead} : 127.0.0.1:{second.port}"
    assert got.header("X-Status") == "502 : 200" and got.header("X-V") == "v d"


@pytest.mark.parametrize("http,message", [
    ("upstream u { }", "no servers are inside upstream in "),
    ("upstream u { server 127.0.0.1 weight=0; }", 'invalid parameter "weight=0" in '),
    ("upstream u { server 127.0.0.1 wait=1; }", 'invalid parameter "wait=1" in '),
    ("upstream u { server 127.0.0.1; } upstream u { server 127.0.0.1; }", 'duplicate upstream "u" in '),
    ("upstream u { server nope.invalid; }", 'host not found in upstream "nope.invalid" in '),
    ("upstream u { server 127.0.0.1:0; }", 'invalid port in upstream "127.0.0.1:0" in '),
    ("upstream u { ip_hash; server 127.0.0.1 backup; }", 'balancing method does not support parameter "backup" in '),
    ("upstream u { server a.test resolve; }", "no resolver defined to resolve names at run time in upstream"),
    ("upstream u { keepalive x; server 127.0.0.1; }", 'invalid value "x" in "keepalive" directive in '),
])
def test_configuration_errors(moongate, http, message):
    gateway = moongate(http=http, server="", start=False)
    result = gateway.run("-t")
    assert result.returncode == 1 and message in result.stderr
