"""ngx.req.socket: the request's body as a stream, and the whole connection taken from HTTP."""
import threading

import pytest

import harness
from test_lua_sockets import LUA

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"


def post(gateway, *parts, head=HEAD, pause=None):
    """The answer to a request whose body comes in `parts`."""
    body = b"".join(parts)
    with gateway.connect() as client:
        client.send(head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body))
        for part in parts:
            client.send(part)
        return client.read_response()


def start(moongate, code, server="", **values):
    return moongate(server=server + LUA % code, **values)


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
def test_reqsock_receive(moongate, bytewise):
    gateway = start(moongate, """
        local s = assert(ngx.req.socket())
        show(s:receive(5)) show(s:receive()) show(s:receive("*l")) show(s:receive("*a")) show(s:receive(1))""",
                    server="lua_socket_log_errors off;")
    body = b"12345 and\r\na line\nthe rest\n!"
    parts = [body[i:i + 1] for i in range(len(body))] if bytewise else [body]
    answer = post(gateway, *parts)
    assert answer.text == "12345\n and\na line\nthe rest\n!\nnil|closed|\n"


def test_reqsock_receiveany(moongate):
    gateway = start(moongate, """
        local s = assert(ngx.req.socket()) local n = 0
        while true do local d, err = s:receiveany(1000) if not d then show(err) break end n = n + #d end show(n)""",
                    server="lua_socket_log_errors off; client_max_body_size 10m;")
    assert post(gateway, b"x" * 300_000).text == "closed\n300000\n"


def test_reqsock_receiveuntil(moongate):
    gateway = start(moongate, """
        local s = assert(ngx.req.socket()) local f = s:receiveuntil("--b")
        show(f()) show(f(2)) show(f(5)) show(f(5)) show(f())""", server="lua_socket_log_errors off;")
    assert post(gateway, b"one--btwo-", b"-bthree-").text == "one\ntw\no\nnil|nil|nil\nnil|closed|three\n"


@pytest.mark.parametrize("name, call", [("settimeout", "s:settimeout(60)"), ("settimeouts", "s:settimeouts(9, 9, 60)"),
                                        ("directive", "")])
def test_reqsock_timeouts(moongate, name, call):
    gateway = start(moongate, f"""
        local s = assert(ngx.req.socket()) {call} show(s:receive(10))""",
                    server="lua_socket_read_timeout 60ms;" if name == "directive" else "")
    with gateway.connect() as client:
        client.send(HEAD + b"Content-Length: 10\r\n\r\nhalf")
        assert client.read_response().text == "nil|timeout|half\n"
    assert "lua tcp socket read timed out" in gateway.error_log()


def test_a_client_that_leaves_in_its_body(moongate):
    gateway = start(moongate, 'local s = ngx.req.socket() ngx.log(ngx.WARN, "got: ", select(2, s:receive(10)))')
    with gateway.connect() as client:
        client.send(HEAD + b"Content-Length: 10\r\n\r\nhalf")
    harness.eventually(lambda: "got: client aborted" in gateway.error_log())


def test_reqsock_refusals(moongate):
    gateway = start(moongate, """
        show(pcall(ngx.req.socket, 1, 2))
        local s, err = ngx.req.socket() if not s then return show(err) end
        show(s:receive("*a")) show(ngx.req.socket()) show(s.send) show(s.close)
        ngx.req.read_body() show(ngx.req.get_body_data())""", server="""
        location /read { content_by_lua_block { ngx.req.read_body() ngx.say(select(2, ngx.req.socket())) } }
        location /discard { content_by_lua_block { ngx.req.discard_body() ngx.say(select(2, ngx.req.socket())) } }""")
    first = "false|expecting zero arguments, but got 2\n"
    assert gateway.get("/").text == first + "no body\n"
    assert post(gateway, b"body").text == first + "body\nnil|request body already exists\nnil\nnil\nnil\n"
    assert post(gateway, b"body", head=HEAD.replace(b"/", b"/read", 1)).text == "request body already exists\n"
    assert post(gateway, b"body", head=HEAD.replace(b"/", b"/discard", 1)).text in (
        "request body discarded\n", "no body\n")  # nginx forgets a body that had come with the head


@pytest.mark.moongate_only
def test_chunked_bodies_are_streams_too(moongate):
    gateway = start(moongate, """
        local s = assert(ngx.req.socket()) show(s:receive(3)) show(s:receive()) show(s:receive("*a")) show(s:receive())""",
                    server="lua_socket_log_errors off;")
    with gateway.connect() as client:
        client.send(HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nabcd\r\n3\r\ne\nf\r\n0\r\n\r\n")
        assert client.read_response().text == "abc\nde\nf\nnil|closed|\n"


def test_what_is_not_read_is_no_next_request(moongate):
    gateway = start(moongate, "local s = assert(ngx.req.socket()) show(s:receive(4))")
    with gateway.connect() as client:
        for body in (b"one,GET /evil", b"two,GET /evil"):
            client.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert client.read_response().text == body.decode()[:4] + "\n"


def test_the_body_socket_is_busy_reading(moongate):
    gateway = start(moongate, """
        local s = assert(ngx.req.socket())
        local t = ngx.thread.spawn(function () return s:receive(4) end)
        show(s:receive()) show(ngx.thread.wait(t))""")
    with gateway.connect() as client:
        client.send(HEAD + b"Content-Length: 4\r\nConnection: close\r\n\r\n")
        threading.Timer(0.1, lambda: client.send(b"late")).start()
        assert client.read_response().text == "nil|socket busy reading\ntrue|late\n"


RAW = """
    local s, err = ngx.req.socket(true) if not s then return ngx.log(ngx.ERR, "no socket: ", err) end
"""


def test_reqsock_send_raw(moongate):
    gateway = start(moongate, RAW + """
        assert(s:send({"HTTP/1.1 101 Mine\\r\\n", {"X: y", "\\r\\n"}, "\\r\\n"}))
        while true do local line = s:receive() if line == "quit" then break end s:send("echo " .. line .. "\\n") end
        s:send("bye\\n")""")
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nearly\n")
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 101 Mine\r\nX: y\r\n\r\n"
        assert client.read_until(b"\n") == b"echo early\n"
        client.send(b"next\nquit\n")
        assert client.read_all() == b"echo next\nbye\n"


def test_raw_behind_sent_headers(moongate):
    gateway = start(moongate, """
        ngx.status = 101 ngx.header.upgrade = "mine" ngx.send_headers() ngx.flush(true)""" + RAW + """
        s:send("hello\\n") s:send(s:receive() .. "!\\n")""")
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        head = client.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ") and b"Upgrade: mine" in head.replace(b"upgrade", b"Upgrade")
        assert client.read_until(b"\n") == b"hello\n"
        client.send(b"x\n")
        assert client.read_all() == b"x!\n"


def test_raw_refuses_the_usual_output(moongate):
    gateway = start(moongate, RAW + """
        local function tell(...) s:send(tostring(select(2, ...)) .. "\\n") end
        tell(ngx.say("x")) tell(ngx.print("x")) tell(ngx.flush()) tell(ngx.eof()) tell(ngx.req.socket(true))
        tell(ngx.req.socket())""")
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_all().decode().splitlines() == ["raw request socket acquired"] * 4 + [
            "duplicate call", "request body already exists"]


def test_raw_reads_and_writes_at_once(moongate):
    gateway = start(moongate, RAW + """
        local reader = ngx.thread.spawn(function () local n = 0
            while true do local d = s:receiveany(65536) if not d then return n end n = n + #d end end)
        for i = 1, 200 do s:send(string.rep("d", 9999) .. "\\n") end
        local _, n = ngx.thread.wait(reader) s:send("read " .. n .. "\\n")""", server="lua_socket_log_errors off;")
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.send(b"u" * 100_000)
        data = client.read_exactly(2_000_000)
        assert data.count(b"\n") == 200
        client.send(b"u" * 7)
        client.finish_sending()
        assert client.read_all() == b"read 100007\n"


def test_raw_time_out_and_end(moongate):
    gateway = start(moongate, RAW + """
        s:settimeout(50) local a, b, c = s:receive() s:send(tostring(b) .. "|" .. tostring(c) .. "\\n")
        s:settimeouts(1000, 1000, 1000) a, b, c = s:receive() s:send(tostring(b) .. "|" .. tostring(c) .. "\\n")""")
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\npart")
        assert client.read_until(b"\n") == b"timeout|part\n"
        client.send(b"more")
        client.finish_sending()
        assert client.read_all() == b"closed|more\n"


def test_raw_and_http10_buffering(moongate):
    gateway = start(moongate, """ngx.print("x") local s, err = ngx.req.socket(true) ngx.print(tostring(s), err)""")
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        assert client.read_all().endswith(b"xnilhttp 1.0 buffering")


def test_raw_while_the_body_is_read(moongate):
    gateway = start(moongate, """
        ngx.thread.spawn(function () ngx.req.read_body() end)
        show(ngx.req.socket(true))""")
    with gateway.connect() as client:
        client.send(HEAD + b"Content-Length: 4\r\nConnection: close\r\n\r\n")
        threading.Timer(0.1, lambda: client.send(b"body")).start()
        assert client.read_response().text == "nil|pending request body reading in some other thread\n"


def test_not_in_timers(moongate):
    gateway = start(moongate, """
        ngx.timer.at(0, function () ngx.log(ngx.WARN, "timer: ", select(2, pcall(ngx.req.socket))) end)""")
    gateway.get("/")
    harness.eventually(lambda: "timer: API disabled in the context of ngx.timer" in gateway.error_log())
