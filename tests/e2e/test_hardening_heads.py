"""Request heads that break RFC 9112's grammar or the limits, and clients that send too slowly."""
import threading
import time

import pytest

import harness
from wire import FOLLOWER, PROXY, Recorder, check_refused, engine_pids, exchange, request, status_of


@pytest.fixture
def recorder():
    recorder = Recorder()
    yield recorder
    recorder.close()


@pytest.fixture
def proxy(moongate, recorder):
    gateway = moongate(server=PROXY, upstream=recorder.port)
    pids = harness.eventually(lambda: engine_pids(gateway), what="the engine runs")
    yield gateway
    assert engine_pids(gateway) == pids, "the engine was replaced"


REST = b"Host: a\r\n\r\n"


@pytest.mark.moongate_only
def test_request_lines_outside_the_grammar_are_refused(proxy, recorder):
    lines = [
        b"GET  / HTTP/1.1\r\n", b"GET /  HTTP/1.1\r\n", b"GET\t/ HTTP/1.1\r\n", b"GET /\tHTTP/1.1\r\n", b" GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1 \r\n", b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r", b"GET /a\rb HTTP/1.1\r\n", b"GET /a\nb HTTP/1.1\r\n",
        b"GET /a\x00b HTTP/1.1\r\n", b"GET /\x7f HTTP/1.1\r\n", b"GET /a b HTTP/1.1\r\n", b"GET / HTTP/1.1\x00\r\n",
        b"G\x00T / HTTP/1.1\r\n", b"\x00GET / HTTP/1.1\r\n", b"G@T / HTTP/1.1\r\n", b"G{T / HTTP/1.1\r\n", b"GET: / HTTP/1.1\r\n",
        b"G\xc3\x89T / HTTP/1.1\r\n", b"GET / http/1.1\r\n", b"GET / HTTP/1\r\n", b"GET / HTTP/1.\r\n", b"GET / HTTP/.1\r\n",
        b"GET / HTTP/1.10\r\n", b"GET / HTTP/01.1\r\n", b"GET / HTTP/1.1.1\r\n", b"GET / HTTP/1,1\r\n", b"GET / HTTP /1.1\r\n",
        b"GET / HTTP/+1.1\r\n", b"GET / HTTPS/1.1\r\n", b"GET / FTP/1.1\r\n", b"GET / \r\n", b"GET /\r\n", b"GET \r\n", b"GET\r\n",
        b"GET HTTP/1.1\r\n", b"GET  HTTP/1.1\r\n", b"/ HTTP/1.1\r\n", b"GET a HTTP/1.1\r\n", b"GET * HTTP/1.1\r\n",
        b"GET ? HTTP/1.1\r\n", b"GET \\ HTTP/1.1\r\n", b"GET http:// HTTP/1.1\r\n", b"GET http:///a HTTP/1.1\r\n",
        b"GET http:/a HTTP/1.1\r\n", b"GET //: HTTP/1.1\r\n GET / HTTP/1.1\r\n", b"GET / HTTP/0.9\r\n",
        b"\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n", b"\nGET / HTTP/1.1\r\n", b"\rGET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 40 + b"\r\n",
    ]
    check_refused(proxy, recorder, [line + REST for line in lines], wanted=(400, 405, 505, None))


def test_versions_it_does_not_speak(proxy, recorder):
    check_refused(proxy, recorder, [b"GET / HTTP/%s\r\n" % v + REST for v in (b"2.0", b"3.0", b"9.9")], wanted=(505,))


@pytest.mark.moongate_only
def test_field_lines_outside_the_grammar_are_refused(proxy, recorder):
    lines = [
        b"X : y\r\n", b"X\t: y\r\n", b" X: y\r\n", b"\tX: y\r\n", b": y\r\n", b":\r\n", b"X\r\n", b"X y\r\n", b"X\x00: y\r\n",
        b"X: a\x00b\r\n", b"X: a\rb\r\n", b"X: a\nb: c\r\n", b"X: a\n", b"X: a\r", b"X: a\r\r\n", b"X: a\r\n b\r\n",
        b"X: a\r\n\tb\r\n", b"X:\r\n y\r\n", b"X: a\x01\r\n", b"X: a\x08b\r\n", b"X: \x1b[31m\r\n", b"X: a\x7f\r\n", b"X\x01: y\r\n",
        b"X\n: y\r\n", b"X\r\n: y\r\n", b"X\x0b: y\r\n", b"\x00\r\n", b"A: b\r\n\x00: c\r\n", b"GET / HTTP/1.1\r\n",
        b"A: b\n\r\nX: y\r\n", b"A: b\r\n\n",
    ]
    cases = [request(headers=line, method=b"GET") for line in lines]
    cases += [b"GET / HTTP/1.1\r\n" + line + REST for line in lines]  # before the Host too
    check_refused(proxy, recorder, cases)


def test_a_field_without_a_colon_or_with_nul_is_refused(proxy, recorder):
    """Where the reference is strict too."""
    check_refused(proxy, recorder, [request(headers=h, method=b"GET") for h in (b"X: a\x00b\r\n", b"X\x00: y\r\n")])


def test_host_is_needed_once_and_valid(proxy, recorder):
    hosts = [b"", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nhost: b\r\n", b"Host: a b\r\n", b"Host: a/b\r\n", b"Host: a..b\r\n",
             b"Host: a\x00\r\n", b"Host:\r\n"]
    check_refused(proxy, recorder, [request(method=b"GET", host=host) for host in hosts])


@pytest.mark.moongate_only
def test_hosts_that_two_readers_may_split_differently_are_refused(proxy, recorder):
    hosts = [b"Host: a@b\r\n", b"Host: a?b\r\n", b"Host: a#b\r\n", b"Host: a\\b\r\n", b"Host: a, b\r\n", b"Host: a:b\r\n",
             b"Host: a:80:80\r\n", b"Host: a:65536\r\n", b"Host: [::1\r\n", b"Host: ::1\r\n", b"Host: [::1]x\r\n", b"Host: :80\r\n",
             b"Host: []\r\n", b"Host: a:-1\r\n", b"Host: a:+80\r\n", b"Host: \xe9\r\n", b"Host: http://a\r\n"]
    check_refused(proxy, recorder, [request(method=b"GET", host=host) for host in hosts])


def test_the_targets_authority_counts_not_the_host_field(moongate, upstream):
    server = upstream()
    gateway = moongate(http="server { listen 127.0.0.1:%PORT%; server_name evil; return 403; }",
                       server="server_name good; location / { proxy_pass http://127.0.0.1:%UPSTREAM%; proxy_set_header Host $host; }",
                       upstream=server.port)
    answer, _ = exchange(gateway, b"GET http://good/x HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n")
    assert status_of(answer) == 200
    assert server.requests[0].all("Host") == ["good"] and server.requests[0].target == "/x"
    answer, _ = exchange(gateway, b"GET http://evil/x HTTP/1.1\r\nHost: good\r\nConnection: close\r\n\r\n")
    assert status_of(answer) == 403


def test_connect_and_trace_are_not_served(moongate, recorder):
    gateway = moongate(server=PROXY, upstream=recorder.port)
    for data in (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n",
                 b"TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"):
        answer, closed = exchange(gateway, data)
        assert closed and status_of(answer) in (400, 405), (data, answer)
    assert recorder.received == b""


@pytest.mark.moongate_only
def test_a_connect_tunnel_is_not_opened_by_the_client_alone(proxy, recorder):
    check_refused(proxy, recorder, [(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\nhello", (400, 405)),
                                    (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", (400, 405)),
                                    (b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", (400, 405))])


@pytest.mark.moongate_only
def test_odd_expectations(moongate, recorder):
    gateway = moongate(server=PROXY, upstream=recorder.port)
    for value in (b"100-continue, x", b"200-ok", b"100-continues", b"x=100-continue", b""):
        before = len(recorder.received)
        answer, closed = exchange(gateway, request(headers=b"Expect: " + value + b"\r\nContent-Length: 5\r\n", body=b"hello"))
        assert closed and status_of(answer) in (417, 400), (value, answer)
        assert len(recorder.received) == before
    check_refused(gateway, recorder, [request(headers=b"Expect: 100-continue\r\nExpect: x\r\nContent-Length: 5\r\n", body=b"hello")])


SMALL = "client_header_buffer_size 1k; large_client_header_buffers 2 2k;"


def test_too_long_lines(moongate, recorder):
    gateway = moongate(http=SMALL, server=PROXY, upstream=recorder.port)
    check_refused(gateway, recorder, [
        (request(b"/" + b"a" * 2100, method=b"GET"), (414,)),
        (request(b"/" + b"a" * 200000, method=b"GET"), (414,)),
        (b"GET /" + b"a" * 200000, (414,)),  # no end of line needed
        (request(headers=b"X: " + b"a" * 2100 + b"\r\n", method=b"GET"), (400, 494, 431)),
        (request(headers=b"X" * 2100 + b": y\r\n", method=b"GET"), (400, 494, 431)),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 200000, (400, 494, 431)),
        (request(headers=b"X: " + b"a" * 1000 + b"\r\n" + b"".join(b"X%d: %s\r\n" % (n, b"a" * 1000) for n in range(9)),
                 method=b"GET"), (400, 494, 431)),
    ], follower=False)


@pytest.mark.moongate_only
def test_too_many_fields(moongate, recorder):
    gateway = moongate(http="max_headers 20; large_client_header_buffers 4 32k;", server=PROXY, upstream=recorder.port)
    answer, _ = exchange(gateway, request(headers=b"Connection: close\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(15)),
                                          method=b"GET"))
    assert status_of(answer) == 200
    fields = b"".join(b"X%d: y\r\n" % n for n in range(30))
    check_refused(gateway, recorder, [request(headers=fields, method=b"GET"), request(headers=b"C: d\r\n" * 1000, method=b"GET")],
                  wanted=(400, 431))


@pytest.mark.moongate_only
def test_the_number_of_fields_is_limited_by_default(proxy, recorder):
    check_refused(proxy, recorder, [request(headers=b"a:b\r\n" * 1200, method=b"GET")], wanted=(400, 431))


@pytest.mark.parametrize("data", [
    b"", b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: ",
])
def test_a_slow_head_is_ended(moongate, recorder, data):
    gateway = moongate(http="client_header_timeout 300ms;", server=PROXY, upstream=recorder.port)
    begin = time.monotonic()
    answer, closed = exchange(gateway, data)
    assert closed and status_of(answer) in (None, 408), answer
    assert 0.2 < time.monotonic() - begin < 2
    assert recorder.received == b""


def test_a_head_that_drips_is_ended_all_the_same(moongate, recorder):
    """The time-out is for the whole head: one byte now and then does not begin it anew."""
    gateway = moongate(http="client_header_timeout 400ms;", server=PROXY, upstream=recorder.port)
    with gateway.connect() as client:
        begin = time.monotonic()
        try:
            for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy":
                client.send(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass
        assert time.monotonic() - begin < 2
        assert status_of(client.read_all()) in (None, 408)
    assert recorder.received == b""


def test_a_slow_body_is_ended(moongate, recorder):
    gateway = moongate(http="client_body_timeout 300ms;", server=PROXY, upstream=recorder.port)
    for data in (request(headers=b"Content-Length: 50\r\n", body=b"hello"),
                 request(headers=b"Transfer-Encoding: chunked\r\n", body=b"5\r\nhel")):
        begin = time.monotonic()
        answer, closed = exchange(gateway, data)
        assert closed and status_of(answer) in (None, 408), answer
        assert 0.2 < time.monotonic() - begin < 2
    assert recorder.received == b""


def test_many_connections_that_say_nothing_keep_nobody_out(moongate, recorder):
    gateway = moongate(http="client_header_timeout 500ms;", server=PROXY, upstream=recorder.port)
    silent = [gateway.connect() for _ in range(200)]
    for each in silent[::2]:
        each.send(b"GET / HT")
    assert gateway.get("/").status == 200
    for each in silent:
        assert status_of(each.read_all()) in (None, 408)
        each.close()


def test_clients_that_reset_in_every_state_leave_nothing_behind(moongate, recorder):
    gateway = moongate(server=PROXY, upstream=recorder.port)
    gateway.get("/")
    import socket
    import struct
    whole = request(headers=b"Transfer-Encoding: chunked\r\n", body=b"5\r\nhello\r\n0\r\n\r\n")
    for cut in range(0, len(whole) + 1, 3):
        client = gateway.connect()
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.send(whole[:cut])
        client.close()
    engine = engine_pids(gateway)[0]
    listening = 1

    def settled():
        names = [harness.os.readlink(path) for path in harness.pathlib.Path(f"/proc/{engine}/fd").iterdir()
                 if harness.os.path.lexists(path)]
        return sum(name.startswith("socket:") for name in names)

    assert gateway.get("/").status == 200
    before = settled()
    harness.eventually(lambda: settled() <= before, timeout=3)
    threads = [threading.Thread(target=gateway.get, args=("/",)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
