"""proxy_pass against scripted upstreams: URIs, headers, bodies, redirects, faulty responses."""
import threading
import time

import pytest

import harness
from harness import answer

OK = answer(b"hello", headers=["X-From: a"])


def proxied(moongate, upstream, inside="", script=OK, http="", location="/"):
    server = upstream(script)
    gateway = moongate(http=http, server="location %s { proxy_pass http://127.0.0.1:%%UP%%; %s }"
                       % (location, inside), up=server.port)
    return gateway, server


def test_response_passes_with_status_headers_and_body(moongate, upstream):
    gateway, server = proxied(moongate, upstream, script=answer(
        b"made", status="201 Made It", headers=["X-A: 1", "x-b: 2", "X-A: 3", "Date: x", "Server: y",
                                                "X-Accel-Expires: 5"]))
    got = gateway.get("/a")
    assert (got.status, got.reason, got.body) == (201, "Made It", b"made")
    assert got.all("X-A") == ["1", "3"] and got.header("x-b") == "2"
    assert got.header("Server") != "y" and got.header("Date") != "x" and got.header("X-Accel-Expires") is None


def test_default_request_headers(moongate, upstream):
    gateway, server = proxied(moongate, upstream)
    gateway.request("GET", "/a?b=%20c", headers={
        "Host": "example.org", "X-One": "1", "Connection": "close, X-Hop", "X-Hop": "z", "TE": "trailers",
        "Upgrade": "h2c", "Keep-Alive": "3", "Proxy-Connection": "x", "Cookie": "a=b"})
    sent = server.requests[0]
    assert sent.target == "/a?b=%20c" and sent.version == "HTTP/1.1"
    assert sent.header("Host") == f"127.0.0.1:{server.port}"
    assert sent.header("X-One") == "1" and sent.header("Cookie") == "a=b"
    for name in ("Connection", "X-Hop", "TE", "Upgrade", "Keep-Alive", "Proxy-Connection"):
        assert sent.header(name) is None, name


def test_connection_header_cannot_take_identity_away(moongate, upstream):
    gateway, server = proxied(moongate, upstream)
    gateway.request("GET", "/", headers={"Connection": "close, X-Forwarded-For, Cookie",
                                         "X-Forwarded-For": "9.9.9.9", "Cookie": "a=b"})
    assert server.requests[0].header("X-Forwarded-For") == "9.9.9.9"
    assert server.requests[0].header("Cookie") == "a=b"


def test_set_header_replaces_adds_and_removes(moongate, upstream):
    gateway, server = proxied(moongate, upstream, """
        proxy_set_header Host $host; proxy_set_header X-Real $remote_addr; proxy_set_header X-Gone "";
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Empty $arg_none;""")
    gateway.request("GET", "/", headers={"Host": "example.org", "X-Gone": "1", "X-Real": "spoofed",
                                         "X-Forwarded-For": "1.2.3.4"})
    sent = server.requests[0]
    assert sent.all("Host") == ["example.org"] and sent.all("X-Real") == ["127.0.0.1"]
    assert sent.header("X-Gone") is None and sent.header("X-Empty") is None
    assert sent.all("X-Forwarded-For") == ["1.2.3.4, 127.0.0.1"]


@pytest.mark.parametrize("location,target,request_uri,expected", [
    ("/a/", "", "/a/b%20c?x=%2f", "/a/b%20c?x=%2f"),
    ("/a/", "/", "/a/b%20c?x=%2f", "/b%20c?x=%2f"),
    ("/a/", "/z/", "/a/b", "/z/b"),
    ("/a", "/z", "/abc", "/zbc"),
    ("= /a", "/only?q=1", "/a", "/only?q=1"),
    ("~ ^/r", "", "/r/%41b", "/r/%41b"),
    ("/v/", "/w$uri", "/v/x?y=1", "/w/v/x"),
    ("/v2/", "$request_uri", "/v2/%41?y=1", "/v2/%41?y=1"),
])
def test_uri_mapping(moongate, upstream, location, target, request_uri, expected):
    server = upstream(OK)
    gateway = moongate(server="location %s { proxy_pass http://127.0.0.1:%%UP%%%s; }" % (location, target),
                       up=server.port)
    assert gateway.get(request_uri).status == 200
    assert server.requests[0].target == expected


def test_rewrite_break_replaces_the_whole_uri(moongate, upstream):
    server = upstream(OK)
    gateway = moongate(server="""location /a/ { rewrite ^/a/(.*) /new/$1?k=v break;
                                 proxy_pass http://127.0.0.1:%UP%/ignored/; }""", up=server.port)
    gateway.get("/a/b?c=d")
    assert server.requests[0].target == "/new/b?k=v&c=d"


def test_request_body_with_length_and_chunks(moongate, upstream):
    gateway, server = proxied(moongate, upstream)
    assert gateway.request("POST", "/", body=b"x" * 100000).status == 200
    assert server.requests[0].body == b"x" * 100000
    assert server.requests[0].header("Content-Length") == "100000"
    with gateway.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert client.read_response().status == 200
    assert server.requests[1].body == b"abcde"
    assert server.requests[1].header("Content-Length") == "5"
    assert server.requests[1].header("Transfer-Encoding") is None


def test_unbuffered_request_body_streams(moongate, upstream):
    first = threading.Event()

    def script(request, connection):
        return answer(b"%d" % len(request.body), headers=["X-TE: %s" % request.header("Transfer-Encoding")])
    gateway, server = proxied(moongate, upstream, "proxy_request_buffering off;", script)
    with gateway.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        harness.eventually(lambda: server.open_connections == 1)
        client.send(b"2\r\nde\r\n0\r\n\r\n")
        got = client.read_response()
    assert got.body == b"5" and got.header("X-TE") == "chunked"
    assert not first.is_set()


def test_set_body_and_method(moongate, upstream):
    gateway, server = proxied(moongate, upstream, 'proxy_set_body "b=$arg_x"; proxy_method PUT;')
    gateway.request("POST", "/?x=1", body=b"ignored")
    assert (server.requests[0].method, server.requests[0].body) == ("PUT", b"b=1")


def test_body_is_not_announced_when_not_passed(moongate, upstream):
    gateway, server = proxied(moongate, upstream, "proxy_pass_request_body off;")
    gateway.request("POST", "/", body=b"abc")
    assert server.requests[0].header("Content-Length") is None and server.requests[0].body == b""


def test_chunked_response_and_trailers(moongate, upstream):
    body = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
            b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-T: end\r\n\r\n")
    gateway, _ = proxied(moongate, upstream, "proxy_pass_trailers on; add_header X-Trailer-Now $upstream_http_trailer;",
                         body)
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        raw = client.read_all()
    assert b"0\r\nX-T: end\r\n\r\n" in raw and b"hello" in raw and b" world" in raw


def test_response_until_close(moongate, upstream):
    gateway, _ = proxied(moongate, upstream, script=b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nall of it")
    assert gateway.get("/").body == b"all of it"


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_large_body_arrives_whole(moongate, upstream, buffering):
    body = bytes(range(256)) * 20000
    gateway, _ = proxied(moongate, upstream, f"proxy_buffering {buffering};", answer(body))
    assert gateway.get("/").body == body


def test_slow_client_is_buffered_to_a_file_and_upstream_let_go(moongate, upstream):
    body = b"0123456789abcdef" * 1000000
    gateway, server = proxied(moongate, upstream, "", answer(body, headers=["Connection: close"]))
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        harness.eventually(lambda: server.accepted == 1 and server.open_connections == 0)
        assert client.read_response().body == body
    assert "buffered to a temporary file" in gateway.error_log()


def test_no_temp_file_means_backpressure(moongate, upstream):
    body = b"0123456789abcdef" * 1000000
    gateway, server = proxied(moongate, upstream, "proxy_max_temp_file_size 0;", answer(body))
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().body == body
    assert "temporary file" not in gateway.error_log()


@pytest.mark.parametrize("header,sent,expected", [
    ("", "http://127.0.0.1:%d/two/x", "/one/x"),
    ("proxy_redirect off;", "http://127.0.0.1:%d/two/x", None),
    ("proxy_redirect default;", "http://127.0.0.1:%d/two/x", "/one/x"),
    ("proxy_redirect http://a/ /b/;", "http://a/c", "/b/c"),
    ("proxy_redirect ~^http://([^/]+)(/.*)$ https://$1$2;", "http://q/r", "https://q/r"),
])
def test_redirects_are_rewritten(moongate, upstream, header, sent, expected):
    server = upstream(lambda request, _: answer(b"", "302 Found", [
        "Location: " + (sent % server.port if "%d" in sent else sent)]))
    gateway = moongate(server="location /one/ { proxy_pass http://127.0.0.1:%%UP%%/two/; %s }" % header,
                       up=server.port)
    location = gateway.get("/one/a").header("Location")
    assert location == (expected or sent % server.port)


def test_cookies_are_rewritten(moongate, upstream):
    gateway, _ = proxied(moongate, upstream, """proxy_cookie_domain localhost example.org; proxy_cookie_path /two/ /one/;
        proxy_cookie_flags a secure httponly samesite=lax;""",
        answer(b"", headers=["Set-Cookie: a=b; Domain=.localhost; Path=/two/x; SameSite=None"]))
    assert gateway.get("/").header("Set-Cookie") == \
        "a=b; Domain=.example.org; Path=/one/x; SameSite=Lax; Secure; HttpOnly"


def test_hide_and_pass_header(moongate, upstream):
    gateway, _ = proxied(moongate, upstream, "proxy_hide_header X-Secret; proxy_pass_header Server;",
                         answer(b"", headers=["x-secret: 1", "Server: mine", "X-Shown: 2"]))
    got = gateway.get("/")
    assert got.header("X-Secret") is None and got.all("Server") == ["mine"] and got.header("X-Shown") == "2"


def test_accel_redirect(moongate, upstream):
    server = upstream(answer(b"not this", headers=["X-Accel-Redirect: /inner/f?q=1", "Set-Cookie: a=b",
                                                   "Content-Type: text/x"]))
    gateway = moongate(server="""location / { proxy_pass http://127.0.0.1:%UP%; }
        location /inner/ { internal; return 200 "$uri $args $upstream_status"; }""", up=server.port)
    got = gateway.get("/")
    assert got.body == b"/inner/f q=1 200" and got.header("Set-Cookie") == "a=b"
    assert gateway.get("/inner/f").status == 404


def test_intercepted_errors(moongate, upstream):
    gateway, _ = proxied(moongate, upstream, "proxy_intercept_errors on; error_page 404 = @other; error_page 500 /no;",
                         answer(b"theirs", "404 Not Found"))
    gateway = moongate(server="""location / { proxy_pass http://127.0.0.1:%UP%; proxy_intercept_errors on;
        error_page 404 = @other; } location @other { return 200 ours; }""",
                       up=upstream(answer(b"theirs", "404 Not Found")).port)
    assert gateway.get("/").body == b"ours"


@pytest.mark.parametrize("raw,words", [
    (b"garbage\r\n\r\n", "upstream sent"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "upstream sent"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "upstream sent"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "upstream sent"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello", "upstream sent"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "upstream sent"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 5000 + b"\r\n\r\n", "upstream sent too big header"),
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "upstream sent unexpected 101"),
    (None, "upstream prematurely closed connection while reading response header from upstream"),
], ids=["garbage", "two-lengths", "length-and-chunked", "negative", "hex", "unknown-coding", "too-big", "101", "closed"])
def test_bad_responses_are_502(moongate, upstream, raw, words):
    gateway, _ = proxied(moongate, upstream, script=lambda request, connection: raw)
    assert gateway.get("/").status == 502
    assert words in gateway.error_log()
    assert "upstream: \"http://127.0.0.1:" in gateway.error_log()


@pytest.mark.parametrize("raw", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\n\n",
])
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_cut_and_broken_bodies_never_look_complete(moongate, upstream, raw, buffering):
    def script(request, connection):
        connection.send(raw)
        return None
    gateway, _ = proxied(moongate, upstream, f"proxy_buffering {buffering};", script)
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(harness.Closed):
            client.read_response()


def test_extra_bytes_end_the_connection(moongate, upstream):
    script = answer(b"hello") + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    server = upstream([script, answer(b"second")])
    gateway = moongate(http="upstream u { server 127.0.0.1:%UP%; }",
                       server="location / { proxy_pass http://u; }", up=server.port)
    assert gateway.get("/").body == b"hello"
    assert gateway.get("/").body == b"second"
    assert server.accepted == 2


def test_informational_responses(moongate, upstream):
    raw = (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    gateway, _ = proxied(moongate, upstream, script=raw)
    assert gateway.get("/").body == b"hello"


def test_early_hints_pass_where_wanted(moongate, upstream):
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
    gateway, _ = proxied(moongate, upstream, "early_hints 1;", script=raw)
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        raw = client.read_all()
    assert raw.startswith(b"HTTP/1.1 103 ") and b"Link: </a>" in raw and b"HTTP/1.1 200" in raw


def test_head_has_length_and_no_body(moongate, upstream):
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"
    server = upstream(raw)
    gateway = moongate(http="upstream u { server 127.0.0.1:%UP%; }",
                       server="location / { proxy_pass http://u; }", up=server.port)
    with gateway.connect() as client:
        for _ in range(2):
            client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            got = client.read_response("HEAD")
            assert got.header("Content-Length") == "77"
    assert server.accepted == 1


def test_early_answer_to_a_large_body(moongate, upstream):
    done = threading.Event()

    def serve(listener):
        sock, _ = listener.accept()
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 413 Too Big\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        done.wait(5)
        sock.close()
    import socket
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    gateway = moongate(server="client_max_body_size 0; location / { proxy_pass http://127.0.0.1:%UP%; }",
                       up=listener.getsockname()[1])
    got = gateway.request("POST", "/", body=b"x" * 8000000)
    done.set()
    listener.close()
    assert (got.status, got.body) == (413, b"big")


def test_read_timeout_is_504(moongate, upstream):
    def script(request, connection):
        time.sleep(1)
        return None
    gateway, _ = proxied(moongate, upstream, "proxy_read_timeout 100ms;", script)
    assert gateway.get("/").status == 504
    assert ("upstream timed out (110: Connection timed out) while reading response header from upstream"
            in gateway.error_log())


def test_client_that_leaves_ends_the_upstream_connection(moongate, upstream):
    left = threading.Event()

    def script(request, connection):
        if connection.sock.recv(1) == b"":
            left.set()
        return None
    gateway, server = proxied(moongate, upstream, script=script)
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        harness.eventually(lambda: len(server.requests) == 1)
    assert left.wait(5)


def test_accel_buffering_off_sends_pieces_at_once(moongate, upstream):
    go = threading.Event()

    def script(request, connection):
        connection.send(b"HTTP/1.1 200 OK\r\nX-Accel-Buffering: no\r\nContent-Length: 10\r\n\r\nfirst")
        go.wait(5)
        connection.send(b"later")
        return b""
    gateway, _ = proxied(moongate, upstream, script=script)
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_until(b"first").endswith(b"first")
        go.set()
        assert client.read_exactly(5) == b"later"


def test_unix_socket_upstream_refused(moongate):
    gateway = moongate(server="location / { proxy_pass http://unix:%PREFIX%/none.sock:/x; }")
    assert gateway.get("/").status == 502
    assert "connect() failed" in gateway.error_log() or "failed (2: No such file or directory)" in gateway.error_log()
    gateway.allow("failed (2:")


def test_dynamic_target_without_resolver(moongate):
    gateway = moongate(server='location / { set $h "nowhere.test"; proxy_pass http://$h; }')
    assert gateway.get("/").status == 502
    assert "no resolver defined to resolve nowhere.test" in gateway.error_log()


@pytest.mark.parametrize("server,message", [
    ("location / { proxy_pass 127.0.0.1; }", "invalid URL prefix in "),
    ("location / { proxy_pass http://nope.invalid; }", 'host not found in upstream "nope.invalid" in '),
    ("location ~ a { proxy_pass http://127.0.0.1/x; }", '"proxy_pass" cannot have URI part in location given by regular'),
    ("location / { proxy_pass http://127.0.0.1; proxy_pass http://127.0.0.1; }", '"proxy_pass" directive is duplicate in '),
    ("location / { proxy_redirect default; proxy_pass http://127.0.0.1; }", '"proxy_redirect default" should be placed after'),
    ("proxy_buffers 1 4k;", 'there must be at least 2 "proxy_buffers"'),
    ("proxy_cookie_path x;", 'invalid parameter "x" in '),
])
def test_configuration_errors(moongate, server, message):
    gateway = moongate(server=server, start=False)
    result = gateway.run("-t")
    assert result.returncode == 1 and message in result.stderr


def test_a_uri_rewritten_with_break_goes_as_it_is(moongate, upstream):
    peer = upstream(harness.answer("ok"))
    gateway = moongate(server="location /a/ { rewrite ^/a/(.*)$ /a/new/$1 break; "
                              "proxy_pass http://127.0.0.1:%PEER%/x/; }", PEER=peer.port)
    assert gateway.get("/a/b").status == 200
    assert peer.requests[0].target == "/a/new/b"
