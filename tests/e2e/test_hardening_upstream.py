"""Upstreams that misbehave: 502 or an aborted response, never a split one, and the connection is not used again."""
import threading
import time

import pytest

import harness
from wire import exchange, request, status_of

POOL = """upstream pool { server 127.0.0.1:%UPSTREAM%; keepalive 8; }"""
LOCATION = """location / { proxy_pass http://pool; proxy_http_version 1.1; proxy_set_header Connection '';
              proxy_next_upstream off; proxy_read_timeout 2s; }"""
GOOD = harness.answer(b"good")
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def play(moongate, upstream, bad, location=LOCATION):
    """The first request gets `bad` from the upstream, the second a good answer. The first answer's bytes."""
    used = []

    def script(request, connection):
        used.append(connection)
        return bad if len(used) == 1 else GOOD

    server = upstream(script)
    gateway = moongate(http=POOL, server=location, upstream=server.port)
    with gateway.connect(timeout=5) as client:
        client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        first = client.read_all()
    second = gateway.get("/")
    assert second.status == 200 and second.text == "good", second
    return first, len(used) > 1 and used[0] is used[1], gateway


HEAD = b"HTTP/1.1 200 OK\r\n"
REFUSED = [
    b"garbage\r\n\r\n", b"\x00\x01\x02\x03\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1200 OK\r\n\r\n", b"http/1.1 200 OK\r\n\r\n", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1\r\n\r\n", b"ICY 200 OK\r\n\r\n", b"HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n",
    HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", HEAD + b"Content-Length: -1\r\n\r\n",
    HEAD + b"Content-Length: 0x5\r\n\r\nhello", HEAD + b"Content-Length: 5,5\r\n\r\nhello", HEAD + b"Content-Length:\r\n\r\n",
    HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", HEAD + b"Content-Length: 5 5\r\n\r\nhello",
    HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: cow\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"X y\r\n\r\n", HEAD + b": y\r\n\r\n", HEAD + b"X: a\x00b\r\n\r\n", HEAD + b"X: a\rb\r\n\r\n", HEAD + b"X: a\r\n folded\r\n\r\n",
    HEAD + b"X: a\nSet-Cookie: b\n\n", b"HTTP/1.1 200 OK\n\n", HEAD + b"X : y\r\n\r\n",
    HEAD + b"X: " + b"a" * 100000 + b"\r\n\r\n", HEAD + b"".join(b"X%d: y\r\n" % n for n in range(20000)) + b"\r\n",
    b"HTTP/1.1 200 " + b"a" * 100000 + b"\r\n\r\n",
]


@pytest.mark.moongate_only
@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_a_response_that_cannot_be_trusted_is_a_502(moongate, upstream, number):
    first, reused, _ = play(moongate, upstream, REFUSED[number])
    assert status_of(first) == 502, (REFUSED[number][:90], first[:200])
    assert not reused
    assert b"Set-Cookie" not in first


EXTRA = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"


@pytest.mark.parametrize("bad", [
    harness.answer(b"fine") + EXTRA,
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n" + EXTRA,
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + EXTRA,
    b"HTTP/1.1 204 No Content\r\n\r\n" + EXTRA,
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison",
])
def test_bytes_behind_a_response_reach_nobody(moongate, upstream, bad):
    first, reused, _ = play(moongate, upstream, bad)
    assert b"poison" not in first and first.count(b"HTTP/1.1 ") == 1, first
    assert not reused


def test_bytes_that_come_later_on_an_idle_connection_reach_nobody(moongate, upstream):
    """Response queue poisoning: the upstream speaks while its connection waits in the pool."""
    connections = []

    def script(request, connection):
        connections.append(connection)
        return harness.answer(b"%d" % len(connections))

    server = upstream(script)
    gateway = moongate(http=POOL, server=LOCATION, upstream=server.port)
    assert gateway.get("/").text == "1"
    connections[0].send(EXTRA)
    for n in range(2, 6):
        assert gateway.get("/").text == str(n)


def test_head_and_304_bodies_do_not_shift_the_next_response(moongate, upstream):
    server = upstream(lambda request, connection: harness.answer(b"poison") if request.method == "HEAD" else GOOD)
    gateway = moongate(http=POOL, server=LOCATION, upstream=server.port)
    for _ in range(3):
        assert gateway.request("HEAD", "/").header("Content-Length") == "6"
        assert gateway.get("/").text == "good"


CUT = [
    HEAD + b"Content-Length: 50\r\n\r\nhello",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"a" * 100000 + b"\r\nhello\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize("number", range(len(CUT)))
@pytest.mark.moongate_only
def test_a_response_cut_short_does_not_look_whole(moongate, upstream, number, buffering):
    used = []

    def script(request, connection):
        used.append(connection)
        if len(used) == 1:
            connection.send(CUT[number])
            return None  # and close
        return GOOD

    server = upstream(script)
    gateway = moongate(http=POOL, server=f"proxy_buffering {buffering};" + LOCATION, upstream=server.port)
    with gateway.connect() as client:
        client.send(GET)  # keep-alive
        try:
            response = client.read_response()
            assert response.status == 502, response
        except harness.Closed:
            pass  # the body broke off, and so did the connection
    assert gateway.get("/").text == "good"
    assert used[0] is not used[1]


@pytest.mark.moongate_only
def test_interim_responses_are_passed_over(moongate, upstream):
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    first, _, _ = play(moongate, upstream, early * 3 + harness.answer(b"final"))
    assert first.endswith(b"final"), first


@pytest.mark.moongate_only
def test_a_flood_of_interim_responses_ends(moongate, upstream):
    sent = []

    def script(request, connection):
        if len(sent) == 0:
            sent.append(1)
            try:
                for _ in range(20000):
                    connection.send(b"HTTP/1.1 100 Continue\r\nX: " + b"a" * 200 + b"\r\n\r\n")
                sent.append("all")
            except OSError:
                pass
            return None
        return GOOD

    server = upstream(script)
    gateway = moongate(http=POOL, server=LOCATION, upstream=server.port)
    answer, _ = exchange(gateway, request(method=b"GET", headers=b"Connection: close\r\n"), timeout=8)
    assert b"\r\n\r\n" in answer and b"502" in answer, answer[:200]
    assert gateway.get("/").text == "good"


@pytest.mark.moongate_only
@pytest.mark.parametrize("bad", [
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
])
def test_an_upgrade_nobody_asked_for_is_a_502(moongate, upstream, bad):
    first, reused, _ = play(moongate, upstream, bad)
    assert status_of(first) == 502, first
    assert b"raw" not in first and b"poison" not in first and not reused


def test_no_tunnel_before_101(moongate, upstream):
    """CVE-2026-2833: what a client sends behind an Upgrade request is a request until the upstream agrees."""
    server = upstream(lambda request, connection: harness.answer(b"no upgrade " + request.target.encode()))
    gateway = moongate(http=POOL, server="""location / { proxy_pass http://pool; proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }
        location /forbidden { deny all; }""", upstream=server.port)
    with gateway.connect() as client:
        client.send(b"GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
                    b"GET /forbidden HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().text == "no upgrade /a"
        assert client.read_response().status == 403
    assert [request.target for request in server.requests] == ["/a"]


def test_an_upstream_that_resets_or_says_nothing(moongate, upstream):
    for script, status in ((lambda request, connection: None, 502),):
        server = upstream(script)
        gateway = moongate(http=POOL, server=LOCATION, upstream=server.port)
        assert gateway.get("/").status == status


def test_a_silent_upstream_is_a_504(moongate, upstream):
    release = threading.Event()
    server = upstream(lambda request, connection: release.wait(5) and None)
    gateway = moongate(http=POOL, server=LOCATION.replace("2s", "300ms"), upstream=server.port)
    begin = time.monotonic()
    assert gateway.get("/").status == 504
    assert time.monotonic() - begin < 2
    release.set()


def test_response_headers_meant_for_the_hop_are_not_passed_on(moongate, upstream):
    server = upstream(harness.answer(b"x", headers=("Connection: X-Hop, keep-alive", "X-Hop: secret", "Keep-Alive: timeout=5",
                                                    "X-Accel-Redirect-Not: 1")))
    gateway = moongate(http=POOL, server=LOCATION, upstream=server.port)
    response = gateway.get("/")
    assert response.text == "x" and response.header("Keep-Alive") is None
    assert response.all("Connection") in ([], ["keep-alive"])
