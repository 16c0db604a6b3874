"""HTTP/1 on the client's side: connections, bodies, limits. Holds for the reference where not marked otherwise."""
import re
import time

import pytest

import harness
from wire import exchange, request, status_of

ECHO = "location / { proxy_pass http://127.0.0.1:%UPSTREAM%; proxy_http_version 1.1; }"


def echo(request, connection):
    return harness.answer(request.body, headers=(f"X-Method: {request.method}", f"X-Target: {request.target}"))


def test_keep_alive_and_close(moongate):
    gateway = moongate(server="location / { return 200 fine; }")
    with gateway.connect() as client:
        for _ in range(5):
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            response = client.read_response()
            assert response.body == b"fine" and response.header("Connection") == "keep-alive"
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert client.read_response().header("Connection") == "close"
        assert client.is_closed()


def test_http_10(moongate):
    gateway = moongate(server="location / { return 200 fine; }")
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.read_response().header("Connection") == "close"
        assert client.is_closed()
    with gateway.connect() as client:
        for _ in range(3):
            client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            response = client.read_response()
            assert response.body == b"fine" and response.header("Connection") == "keep-alive"
            assert response.version == "HTTP/1.1"


def test_http_10_gets_no_chunks(moongate, upstream):
    def script(request, connection):
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

    server = upstream(script)
    gateway = moongate(server=ECHO, upstream=server.port)
    answer, closed = exchange(gateway, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    head, body = answer.split(b"\r\n\r\n", 1)
    assert closed and body == b"abcde" and b"chunked" not in head


def test_pipelined_requests_are_answered_in_order(moongate, upstream):
    server = upstream(lambda request, connection: harness.answer(request.target))
    gateway = moongate(server="location /local { return 200 local; }" + ECHO, upstream=server.port)
    with gateway.connect() as client:
        client.send(b"".join(b"GET /%s%d HTTP/1.1\r\nHost: a\r\n\r\n" % (kind, n) for n in range(20) for kind in (b"up", b"local")))
        for n in range(20):
            assert client.read_response().body == b"/up%d" % n
            assert client.read_response().body == b"local"


def test_pipelined_posts_with_bodies(moongate, upstream):
    server = upstream(echo)
    gateway = moongate(server=ECHO, upstream=server.port)
    with gateway.connect() as client:
        client.send(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfirst"
                    b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsec\r\n3\r\nond\r\n0\r\nX: y\r\n\r\n"
                    b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [client.read_response().body for _ in range(3)] == [b"first", b"second", b""]


def test_a_request_in_single_bytes(moongate, upstream):
    server = upstream(echo)
    gateway = moongate(server=ECHO, upstream=server.port)
    with gateway.connect() as client:
        for byte in b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n":
            client.send(bytes([byte]))
        assert client.read_response().body == b"abc"


def test_head_has_the_headers_of_get_and_no_body(moongate, upstream):
    server = upstream(harness.answer(b"12345", headers=("ETag: x",)))
    gateway = moongate(server="location /r { return 200 fine; } location /f { root html; } " + ECHO, upstream=server.port,
                       files={"html/f": "file"})
    with gateway.connect() as client:
        for target, length in ((b"/r", "4"), (b"/f", "4"), (b"/missing", None), (b"/p", "5")):
            client.send(b"HEAD %s HTTP/1.1\r\nHost: a\r\n\r\n" % target)
            response = client.read_response("HEAD")
            if length:
                assert response.status == 200 and response.header("Content-Length") == length, target
        client.send(b"GET /r HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().body == b"fine"


def test_expect_100_continue(moongate, upstream):
    server = upstream(echo)
    gateway = moongate(server="client_max_body_size 10; location /deny { deny all; }" + ECHO, upstream=server.port)
    with gateway.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"hello")
        assert client.read_response().body == b"hello"
    for target, length, status in ((b"/", 11, 413), (b"/deny", 5, 403)):
        with gateway.connect() as client:
            client.send(b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n" % (target, length))
            head = client.read_until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status), head
    # Not asked for in HTTP/1.0.
    with gateway.connect() as client:
        client.send(b"POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
        assert client.read_until(b"\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_bodies_of_many_sizes(moongate, upstream, buffering):
    server = upstream(echo)
    gateway = moongate(server=f"client_max_body_size 0; client_body_buffer_size 8k; proxy_request_buffering {buffering};" + ECHO,
                       upstream=server.port)
    with gateway.connect() as client:
        for size in (0, 1, 4095, 4096, 8191, 8192, 8193, 70000, 1000000):
            body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + body)
            assert client.read_response().body == body, size
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in
                              (body[at:at + 5000] for at in range(0, size, 5000)))
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nTrailer: x\r\n\r\n")
            assert client.read_response().body == body, size


def test_a_body_beyond_the_buffer_goes_to_a_file(moongate, upstream):
    server = upstream(echo)
    gateway = moongate(http="log_format f '$request_body_file|$request_body';",
                       server="client_body_buffer_size 1k; client_body_temp_path %PREFIX%/body; access_log %PREFIX%/logs/a.log f;" + ECHO,
                       upstream=server.port)
    assert gateway.request("POST", "/", body=b"small").body == b"small"
    assert gateway.request("POST", "/", body=b"x" * 5000).body == b"x" * 5000

    def lines():
        text = (gateway.prefix / "logs/a.log").read_text().splitlines()
        return text if len(text) == 2 else None

    small, large = harness.eventually(lines)
    assert small == "-|small"
    name, body = large.split("|")
    assert name.startswith(f"{gateway.prefix}/body/") and body == "-", large
    harness.eventually(lambda: not harness.pathlib.Path(name).exists(), what="the file is removed")


def test_client_max_body_size(moongate, upstream):
    server = upstream(echo)
    gateway = moongate(server="client_max_body_size 100; location /big { client_max_body_size 1m; proxy_pass http://127.0.0.1:%UPSTREAM%; }"
                       + ECHO, upstream=server.port)
    assert gateway.request("POST", "/", body=b"x" * 100).status == 200
    assert gateway.request("POST", "/big", body=b"x" * 1000).status == 200
    answer, closed = exchange(gateway, request(headers=b"Content-Length: 101\r\n", body=b"x" * 101))
    assert closed and status_of(answer) == 413
    answer, closed = exchange(gateway, request(headers=b"Transfer-Encoding: chunked\r\n", body=b"64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n")
                              + request(headers=b"Transfer-Encoding: chunked\r\n", body=b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n"))
    assert closed and re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"413"]
    assert len(server.requests) == 3


def test_lingering_close_lets_the_answer_through(moongate):
    """A 413 while the client still sends: it must be able to read the answer, not get a reset."""
    gateway = moongate(server="client_max_body_size 10; location / { return 200; }")
    with gateway.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 100000)
        for _ in range(20):
            client.send(b"x" * 100000)
        assert client.read_response().status == 413


def test_large_headers(moongate):
    gateway = moongate(http="client_header_buffer_size 1k; large_client_header_buffers 4 8k;",
                       server='location / { return 200 "$http_x"; }')
    for size in (10, 900, 1100, 4000, 8000):
        assert gateway.get("/", headers={"X": "v" * size}).text == "v" * size
    assert gateway.get("/?" + "a" * 7000).status == 200
    assert gateway.get("/?" + "a" * 9000).status == 414
    assert gateway.get("/", headers={"X": "v" * 9000}).status == 400


def test_underscores_and_invalid_names(moongate, upstream):
    plain = b"X_Y: 1\r\nX.Z: 2\r\nX-V: 3\r\nConnection: close\r\n"
    for directives, passed in (("", ["X-V"]), ("underscores_in_headers on;", ["X_Y", "X-V"]),
                               ("ignore_invalid_headers off;", ["X_Y", "X.Z", "X-V"])):
        server = upstream(echo)
        gateway = moongate(http=directives, server=ECHO, upstream=server.port)
        answer, _ = exchange(gateway, request(method=b"GET", headers=plain))
        assert status_of(answer) == 200, (directives, answer)
        assert [name for name, _ in server.requests[0].headers if name.startswith("X")] == passed


def test_absolute_form(moongate, upstream):
    server = upstream(echo)
    gateway = moongate(server="location /h { return 200 \"$host|$uri|$request_uri|$scheme\"; }" + ECHO, upstream=server.port)
    for target, want in ((b"http://B.example:81/h?x", b"b.example|/h|/h?x|http"), (b"HTTP://b/h", b"b|/h|/h|http")):
        answer, _ = exchange(gateway, request(target, b"Connection: close\r\n", method=b"GET"))
        assert answer.endswith(want), answer
    answer, _ = exchange(gateway, request(b"http://b", b"Connection: close\r\n", method=b"GET"))
    assert status_of(answer) == 200 and server.requests[-1].target == "/"
    answer, _ = exchange(gateway, request(b"http://b?q", b"Connection: close\r\n", method=b"GET"))
    assert status_of(answer) == 200 and server.requests[-1].target == "/?q"


def test_leading_empty_lines_are_passed_over(moongate):
    gateway = moongate(server="location / { return 200 fine; }")
    with gateway.connect() as client:
        client.send(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().status == 200
        client.send(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().status == 200


@pytest.mark.parametrize("directive, header", [("keepalive_timeout 10 7;", "timeout=7"), ("keepalive_timeout 10;", None)])
def test_keepalive_header(moongate, directive, header):
    gateway = moongate(server=directive + "location / { return 200; }")
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().header("Keep-Alive") == header


def test_keepalive_limits(moongate):
    gateway = moongate(server="keepalive_requests 3; keepalive_timeout 300ms; location /0 { keepalive_timeout 0; return 200; } "
                       "location / { return 200; } location /d { keepalive_disable none; return 200; }")
    with gateway.connect() as client:
        answers = []
        for _ in range(3):
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answers.append(client.read_response().header("Connection"))
        assert answers == ["keep-alive", "keep-alive", "close"] and client.is_closed()
    with gateway.connect() as client:
        client.send(b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().header("Connection") == "close" and client.is_closed()
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.read_response()
        begin = time.monotonic()
        assert client.is_closed()
        assert 0.2 < time.monotonic() - begin < 2


def test_half_closed_client_gets_its_answer(moongate, upstream):
    server = upstream(echo)
    gateway = moongate(server="location /r { return 200 fine; }" + ECHO, upstream=server.port)
    answer, _ = exchange(gateway, b"GET /r HTTP/1.1\r\nHost: a\r\n\r\n", close=True)
    assert answer.endswith(b"fine")


def test_limit_rate_spreads_a_file_over_time(moongate):
    gateway = moongate(server="root html; limit_rate 40k;", files={"html/big": "x" * 60000})
    began = time.monotonic()
    answer = gateway.get("/big")
    lasted = time.monotonic() - began
    assert len(answer.body) == 60000
    assert 0.3 < lasted < 3


@pytest.mark.moongate_only
@pytest.mark.parametrize("server, words", [
    ("listen 127.0.0.1:%PORT% proxy_protocol;", "proxy_protocol"),
    ("listen 127.0.0.1:%PORT%; disable_symlinks on;", "disable_symlinks"),
])
def test_what_would_be_unsafe_to_ignore_is_refused(moongate, server, words):
    gateway = moongate("events {} http { server { " + server + " } }", start=False)
    ended = gateway.run("-t")
    assert ended.returncode == 1
    assert words in ended.stderr and "not built yet" in ended.stderr
