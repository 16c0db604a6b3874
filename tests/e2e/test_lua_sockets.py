"""TCP cosockets: connecting, sending and receiving, what they answer when things go wrong, and their phases."""
import socket
import threading
import time

import pytest

import harness
import peers

LUA = """location / { content_by_lua_block {
    local function show(...) local t = {...} for i = 1, select("#", ...) do t[i] = tostring(t[i]) end
                             ngx.say(table.concat(t, "|")) end
    local function open(...) local s = ngx.socket.tcp() assert(s:connect("127.0.0.1", ...)) return s end
    %s } }"""


def run(moongate, code, http="", server="", **values):
    """What `code` says, line by line; %PEER% is its peer's port."""
    gateway = moongate(http=http, server=server + LUA % code, **values)
    answer = gateway.get("/")
    assert answer.status == 200, gateway.error_log()
    return answer.text.splitlines(), gateway


@pytest.mark.parametrize("name", ["tcp", "stream"])
def test_ngx_socket_tcp(moongate, name):
    with peers.Peer(peers.echo_lines) as peer:
        lines, _ = run(moongate, f"""
            local s = ngx.socket.{name}()
            show(s:connect("127.0.0.1", %PEER%)) show(s:send("one\\n")) show(s:receive())
            show(s:close()) show(s:close()) show(s:receive()) show(s:send("x"))
            show(pcall(ngx.socket.{name}, 1))""", peer=peer.port)
    assert lines == ["1", "4", "one", "1", "nil|closed", "nil|closed", "nil|closed",
                     "false|expecting zero arguments, but got 1"]


def test_ngx_socket_connect(moongate):
    with peers.Peer(peers.echo_lines) as peer:
        lines, _ = run(moongate, """
            local s = ngx.socket.connect("127.0.0.1", %PEER%)
            show(s:send("a\\n"), s:receive())
            show(ngx.socket.connect("127.0.0.1", %DEAD%))""", peer=peer.port, dead=harness.free_port())
    assert lines == ["2|a", "nil|connection refused"]


def test_tcpsock_connect_arguments(moongate):
    lines, _ = run(moongate, """
        local s = ngx.socket.tcp()
        show(s:connect("127.0.0.1"))
        show(s:connect("127.0.0.1", 70000))
        show(s:connect("no.such.name", 80))
        show(s:connect("bad/host", 80))
        show(pcall(s.connect, s)) show(pcall(s.connect, s, "a", 1, {pool_size = 0}))
        show(pcall(s.connect, s, "a", 1, {pool_size = "x"})) show(pcall(s.connect, s, "a", 1, {backlog = -1}))
        show(pcall(s.connect, s, "a", 1, {pool = {}}))""")
    assert lines == [
        "nil|missing the port number", "nil|bad port number: 70000",
        'nil|no resolver defined to resolve "no.such.name"',
        'nil|failed to parse host name "bad/host": invalid host',
        "false|ngx.socket connect: expecting 2, 3, or 4 arguments (including the object), but seen 1",
        "false|bad argument #4 to '?' (bad \"pool_size\" option value: 0)",
        "false|bad argument #4 to '?' (bad \"pool_size\" option type: string)",
        "false|bad argument #4 to '?' (bad \"backlog\" option value: -1)",
        "false|bad argument #4 to '?' (bad \"pool\" option type: table)"]


def test_tcpsock_connect_unix(moongate, tmp_path):
    with peers.Peer(peers.echo_lines, path=tmp_path / "s"):
        lines, _ = run(moongate, """
            local s = ngx.socket.tcp()
            show(s:connect("unix:%PATH%")) show(s:send("u\\n"), s:receive()) show(s:setkeepalive())
            show(s:connect("unix:%PATH%", nil)) show(s:getreusedtimes())
            show(ngx.socket.tcp():connect("unix:/no/such/socket"))""", path=tmp_path / "s")
    assert lines == ["1", "2|u", "1", "1", "1", "nil|no such file or directory"]


class Names(threading.Thread):
    """A name server: every A question for "name.test" has the answer 127.0.0.1, others have none."""

    def __init__(self):
        super().__init__(daemon=True)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                question, client = self.sock.recvfrom(512)
            except OSError:
                return
            end = question.index(b"\0", 12) + 5
            body = question[12:end]
            if body.startswith(b"\x04name\x04test\0"):
                is_a = body[-4:-2] == b"\0\x01"
                head = question[:2] + b"\x81\x80\0\x01" + (b"\0\x01" if is_a else b"\0\0") + b"\0\0\0\0"
                answer = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01" if is_a else b""
            else:
                head, answer = question[:2] + b"\x81\x83\0\x01\0\0\0\0\0\0", b""
            self.sock.sendto(head + body + answer, client)


def test_tcpsock_connect_resolves_names(moongate):
    names = Names()
    with peers.Peer(peers.echo_lines) as peer:
        lines, _ = run(moongate, """
            local s = ngx.socket.tcp()
            show(s:connect("name.test", %PEER%)) show(s:send("n\\n"), s:receive())
            show(s:connect("other.test", %PEER%))""",
                       server="resolver 127.0.0.1:%NAMES% ipv6=off;", peer=peer.port, names=names.port)
    names.sock.close()
    assert lines == ["1", "2|n", "nil|other.test could not be resolved (3: Host not found)"]


def test_tcpsock_bind(moongate):
    def script(connection, _):
        connection.sendall(connection.getpeername()[0].encode() + b"\n")
    with peers.Peer(script) as peer:
        lines, _ = run(moongate, """
            local s = ngx.socket.tcp()
            show(s:bind("127.0.0.9")) show(s:connect("127.0.0.1", %PEER%)) show(s:receive())
            show(s:bind("nonsense")) show(pcall(s.bind, s))""", peer=peer.port)
    assert lines == ["true", "1", "127.0.0.9", "nil|bad address", "false|expecting 2 arguments, but got 1"]


def test_tcpsock_send(moongate):
    received = []
    done = threading.Event()

    def script(connection, _):
        data = b""
        while chunk := connection.recv(65536):
            data += chunk
        received.append(data)
        done.set()
    with peers.Peer(script) as peer:
        lines, _ = run(moongate, """
            local s = open(%PEER%)
            show(s:send("text,")) show(s:send(12)) show(s:send(1.5)) show(s:send(true)) show(s:send(nil))
            show(s:send({"a", {"b", 3, {"c"}}, 4.25})) show(s:send("")) show(s:send({}))
            show(s:send({string.rep("x", 3000), string.rep("y", 3000)}))
            show(pcall(s.send, s, {1, nil, 3})) show(pcall(s.send, s, {true}))
            show(pcall(s.send, s, {a = 1})) show(pcall(s.send, s, print)) show(pcall(s.send, s))
            s:close()""", peer=peer.port)
        assert done.wait(harness.TIMEOUT)
    assert received == [b"text,121.5truenilab3c4.25" + b"x" * 3000 + b"y" * 3000]
    assert lines == ["5", "2", "3", "4", "3", "8", "0", "0", "6000",
                     "false|bad argument #2 to '?' (bad data type nil found)",
                     "false|bad argument #2 to '?' (bad data type boolean found)",
                     "false|bad argument #2 to '?' (non-array table found)",
                     "false|bad argument #2 to '?' (string, number, boolean, nil, or array table expected, "
                     "got function)",
                     "false|expecting 2 arguments (including the object), but got 1"]


@pytest.mark.parametrize("what", ["data", "{data:sub(1, 100000), data:sub(100001)}"])
def test_tcpsock_send_waits_for_a_slow_peer(moongate, what):
    release = threading.Event()
    size = 16 * 1024 * 1024

    def script(connection, _):
        release.wait(harness.TIMEOUT)
        digest, left = 0, size
        while left:
            chunk = connection.recv(1 << 20)
            digest = (digest + sum(chunk[::4099])) & 0xffffffff
            left -= len(chunk)
        connection.sendall(b"all\n")
    with peers.Peer(script) as peer:
        threading.Timer(0.1, release.set).start()
        lines, _ = run(moongate, f"""
            local s = open(%PEER%) local data = string.rep("0123456789abcdef", {size // 16})
            show(s:send({what}) == #data) data = nil collectgarbage() show(s:receive())""", peer=peer.port)
    assert lines == ["true", "all"]


@pytest.mark.parametrize("buffer", ["1", "3", "4k", "64k"])
@pytest.mark.parametrize("dribble", [False, True], ids=["whole", "bytewise"])
def test_tcpsock_receive(moongate, buffer, dribble):
    data = b"line one\r\nl\ri\r\rne two\nexactly10!0123456789\n\nrest\r\nof it"

    def script(connection, _):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(0, len(data), 1 if dribble else len(data)):
            connection.sendall(data[i:i + (1 if dribble else len(data))])
    with peers.Peer(script) as peer:
        lines, _ = run(moongate, """
            local s = open(%PEER%)
            show(s:receive()) show(s:receive("*l")) show(s:receive(10)) show(s:receive("10")) show(s:receive(0))
            show(s:receive("*l")) show(s:receive()) show((s:receive("*a"):gsub("\\r\\n", ";")))
            show(s:receive("*a")) show(s:receive()) show(s:receive())""",
                       server=f"lua_socket_buffer_size {buffer}; lua_socket_log_errors off;", peer=peer.port)
    assert lines == ["line one", "line two", "exactly10!", "0123456789", "", "", "", "rest;of it", "",
                     "nil|closed|", "nil|closed"]


def test_tcpsock_receive_arguments(moongate):
    with peers.Peer(peers.sends(b"x")) as peer:
        lines, _ = run(moongate, """
            local s = open(%PEER%)
            show(pcall(s.receive, s, "*x")) show(pcall(s.receive, s, "line")) show(pcall(s.receive, s, -1))
            show(pcall(s.receive, s, {})) show(pcall(s.receive, s, 1, 2)) show(pcall(s.receive, 1))
            show(s:receive("1"))""", peer=peer.port)
    assert lines == [
        "false|bad argument #2 to '?' (bad pattern argument)", "false|bad argument #2 to '?' (bad pattern argument: line)",
        "false|bad argument #2 to '?' (bad pattern argument)", "false|bad argument #2 to '?' (bad pattern argument)",
        "false|expecting 1 or 2 arguments (including the object), but got 3",
        "false|bad argument #1 to '?' (table expected, got number)", "x"]


def test_tcpsock_receive_much(moongate):
    size = 5_000_001
    with peers.Peer(peers.sends(b"ab" * 3_000_000, then_waits=False)) as peer:
        lines, _ = run(moongate, f"""
            local s = open(%PEER%) local data = s:receive({size})
            show(#data, data:sub(1, 2), data:sub(-1)) show(#s:receive("*a"))""", peer=peer.port)
    assert lines == [f"{size}|ab|a", str(6_000_000 - size)]


def test_tcpsock_receive_partial_data_at_the_end(moongate):
    with peers.Peer(peers.sends(b"one\nhalf a li\rne", then_waits=False)) as peer:
        lines, _ = run(moongate, """
            local s = open(%PEER%) show(s:receive()) show(s:receive()) s:close()
            local function plain(a, b, c) show(a, b, (c:gsub("\\n", "~"):gsub("\\r", ";"))) end
            s = open(%PEER%) plain(s:receive(100)) show(s:send("still")) s:close()
            s = open(%PEER%) plain(s:receiveuntil("--")())""", peer=peer.port)
    assert lines == ["one", "nil|closed|half a line", "nil|closed|one~half a li;ne", "5",
                     "nil|closed|one~half a li;ne"]


def test_tcpsock_receiveany(moongate):
    with peers.Peer(peers.sends(b"0123456789abcdef", then_waits=False)) as peer:
        lines, _ = run(moongate, """
            local s = open(%PEER%)
            show(s:receiveany(4)) show(s:receiveany(6)) show(s:receiveany(100)) show(s:receiveany(5))
            s = open(%PEER%)
            show(pcall(s.receiveany, s)) show(pcall(s.receiveany, s, 0)) show(pcall(s.receiveany, s, "x"))""",
                       server="lua_socket_log_errors off;", peer=peer.port)
    assert lines == ["0123", "456789", "abcdef", "nil|closed|",
                     "false|expecting 2 arguments (including the object), but got 1",
                     "false|bad argument #2 to '?' (bad max argument)",
                     "false|bad argument #2 to '?' (bad max argument)"]


UNTIL = [
    (b"hello, world --abc\nmore--abc", "--abc", ["hello, world ", "\nmore"]),
    (b"-----abc--abc", "--abc", ["---", ""]),
    (b"aabaabaaabx", "aabaaa", ["aab"]),
    (b"ababababac!", "ababac", ["abab"]),
    (b"abcabcabdx", "abcabd", ["abc"]),
    (b"xxa", "a", ["xx"]),
    (b"--ab--abc", "--abc", ["--ab"]),
]


@pytest.mark.parametrize("buffer", ["1", "4k"])
@pytest.mark.parametrize("data, pattern, expected", UNTIL, ids=[row[1] + str(i) for i, row in enumerate(UNTIL)])
def test_tcpsock_receiveuntil(moongate, data, pattern, expected, buffer):
    with peers.Peer(peers.sends(data, then_waits=False)) as peer:
        lines, _ = run(moongate, f"""
            local s = open(%PEER%) local f = s:receiveuntil("{pattern}")
            for i = 1, {len(expected)} do local d = f() show((d:gsub("\\n", "~"))) end""",
                       server=f"lua_socket_buffer_size {buffer};", peer=peer.port)
    assert lines == [text.replace("\n", "~") for text in expected]


@pytest.mark.parametrize("buffer", ["1", "4k"])
def test_tcpsock_receiveuntil_with_sizes(moongate, buffer):
    with peers.Peer(peers.sends(b"hello, world\n--abc\nnext--abcrest", then_waits=False)) as peer:
        lines, _ = run(moongate, """
            local s = open(%PEER%) local f = s:receiveuntil("--abc")
            show(f(4)) show(f(4)) show((f(100):gsub("\\n", "~"))) show(f(4)) show((f(2):gsub("\\n", "~"))) show(f(100))
            show(f(100)) show(f(1)) show(f(10)) show(f(10))""",
                       server=f"lua_socket_buffer_size {buffer}; lua_socket_log_errors off;", peer=peer.port)
    assert lines == ["hell", "o, w", "orld~", "nil|nil|nil", "~n", "ext", "nil|nil|nil", "r", "nil|closed|est",
                     "nil|closed"]


def test_tcpsock_receiveuntil_inclusive(moongate):
    with peers.Peer(peers.sends(b"one;two;;three", then_waits=False)) as peer:
        lines, _ = run(moongate, """
            local s = open(%PEER%) local f = s:receiveuntil(";", {inclusive = true})
            show(f()) show(f(2)) show(f()) show(f()) show(f()) show(f())
            show(s:receiveuntil("")) show(pcall(s.receiveuntil, s, "x", {inclusive = 1}))
            show(pcall(s.receiveuntil, s))""", server="lua_socket_log_errors off;", peer=peer.port)
    assert lines[:3] == ["one;", "tw", "o;"]
    assert lines[-3:] == ["nil|pattern is empty", 'false|bad "inclusive" option value type: number',
                          "false|expecting 2 or 3 arguments (including the object), but got 1"]


@pytest.mark.parametrize("pattern", ["aab", "abab", "aaaa", "abcab", "a", "abaab", "aabaaab"])
def test_receiveuntil_agrees_with_a_plain_search(moongate, pattern):
    import random
    rng = random.Random(pattern)
    data = "".join(rng.choice("aab") for _ in range(3000)) + pattern
    expected = [len(part) for part in data.split(pattern)]
    # split() finds matches from left to right without overlap, as receiveuntil does.
    with peers.Peer(peers.sends(data.encode(), then_waits=False)) as peer:
        lines, _ = run(moongate, f"""
            local s = open(%PEER%) local f = s:receiveuntil("{pattern}")
            local sizes = {{}} while true do local d = f() if not d then break end sizes[#sizes + 1] = #d end
            ngx.say(table.concat(sizes, ","))""", server="lua_socket_buffer_size 7;", peer=peer.port)
    assert lines[0] == ",".join(str(size) for size in expected[:-1])


# --- time-outs, and what is logged

def test_lua_socket_read_timeout(moongate):
    with peers.Peer(peers.sends(b"par\rt")) as peer:
        lines, gateway = run(moongate, """
            local s = open(%PEER%) local t = ngx.now()
            show(s:receive()) ngx.update_time() show(ngx.now() - t < 2)
            show(s:receive(3)) show(s:receiveany(1)) show(s:receiveuntil("x")()) show(s:send("alive"))""",
                             server="lua_socket_read_timeout 60ms;", peer=peer.port)
    assert lines == ["nil|timeout|part", "true", "nil|timeout|", "nil|timeout|", "nil|timeout|", "5"]
    assert gateway.error_log().count("lua tcp socket read timed out") == 4
    assert "client: 127.0.0.1" in gateway.error_log()


def test_lua_socket_send_timeout(moongate):
    stop = threading.Event()
    with peers.Peer(lambda connection, _: stop.wait(harness.TIMEOUT)) as peer:
        lines, gateway = run(moongate, """
            local s = open(%PEER%) local data = string.rep("x", 32 * 1024 * 1024)
            show(s:send(data)) show(s:send("x")) show(s:close())""",
                             server="lua_socket_send_timeout 60ms;", peer=peer.port)
        stop.set()
    assert lines == ["nil|timeout", "nil|closed", "1"]
    assert "lua tcp socket write timed out" in gateway.error_log()
    assert "attempt to send data on a closed socket: u:" in gateway.error_log()


def full_listener():
    """A listener whose queue is full: connecting to it neither succeeds nor fails."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    return listener, fillers


def test_lua_socket_connect_timeout(moongate):
    listener, fillers = full_listener()
    port = listener.getsockname()[1]
    lines, gateway = run(moongate, "local s = ngx.socket.tcp() show(s:connect('127.0.0.1', %PEER%))",
                         server="lua_socket_connect_timeout 60ms;", peer=port)
    for one in [listener, *fillers]:
        one.close()
    assert lines == ["nil|timeout"]
    assert f"lua tcp socket connect timed out, when connecting to 127.0.0.1:{port}," in gateway.error_log()


def test_tcpsock_settimeout(moongate):
    with peers.Peer(peers.sends(b"")) as peer:
        lines, _ = run(moongate, """
            local s = ngx.socket.tcp() s:settimeout(50) s:connect("127.0.0.1", %PEER%)
            local function timed(f, ...) ngx.update_time() local t = ngx.now() local r = {f(...)} ngx.update_time()
                return (ngx.now() - t) < 0.18, unpack(r) end
            show(timed(s.receive, s)) s:settimeout(0) s:settimeout(nil) show(timed(s.receive, s))
            show(pcall(s.settimeout, s)) show(pcall(s.settimeout, s, -1)) show(pcall(s.settimeout, s, 2^31))""",
                       server="lua_socket_read_timeout 200ms;", peer=peer.port)
    assert lines == ["true|nil|timeout|", "false|nil|timeout|",
                     "false|ngx.socket settimeout: expecting 2 arguments (including the object) but seen 1",
                     "false|bad timeout value", "false|bad timeout value"]


def test_tcpsock_settimeouts(moongate):
    with peers.Peer(peers.sends(b"")) as peer:
        lines, _ = run(moongate, """
            local s = ngx.socket.tcp() s:settimeouts(1000, 1000, 50) s:connect("127.0.0.1", %PEER%)
            local t = ngx.now() show(s:receive()) ngx.update_time() show(ngx.now() - t < 0.9)
            s:settimeouts(1000, 1000, 60) show(s:receive())
            show(pcall(s.settimeouts, s, 1, 2)) show(pcall(s.settimeouts, s, 1, -2, 3))""", peer=peer.port)
    assert lines == ["nil|timeout|", "true", "nil|timeout|",
                     "false|ngx.socket settimeout: expecting 4 arguments (including the object) but seen 3",
                     "false|bad timeout value"]


def test_lua_socket_log_errors(moongate):
    with peers.Peer(peers.sends(b"")) as peer:
        _, gateway = run(moongate, """
            local s = open(%PEER%) s:settimeout(20) s:receive() s:close() s:receive() s:send("x")
            s:connect("127.0.0.1", %DEAD%)""",
                         server="lua_socket_log_errors off;", peer=peer.port, dead=harness.free_port())
        assert "timed out" not in gateway.error_log() and "closed socket" not in gateway.error_log()


def test_refused_connections_are_logged(moongate):
    lines, gateway = run(moongate, "show(ngx.socket.tcp():connect('127.0.0.1', %DEAD%))", dead=harness.free_port())
    assert lines == ["nil|connection refused"]
    assert "connect() " in gateway.error_log() and "failed (111: Connection refused)" in gateway.error_log()


def test_a_reset_is_told(moongate):
    import struct

    def script(connection, _):
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with peers.Peer(script) as peer:
        lines, gateway = run(moongate, """
            local s = open(%PEER%) s:send("ab") show(s:receive("*a")) show(s:receive())""", peer=peer.port)
    assert lines == ["nil|connection reset by peer|", "nil|closed"]
    assert "recv() failed (104: Connection reset by peer)" in gateway.error_log()


# --- options

def test_tcpsock_setoption_getoption(moongate):
    with peers.Peer(peers.sends(b"")) as peer:
        lines, _ = run(moongate, """
            local s = ngx.socket.tcp() show(pcall(s.setoption, s, "keepalive", true))
            s:connect("127.0.0.1", %PEER%)
            for _, name in ipairs {"keepalive", "reuseaddr", "tcp-nodelay"} do
                show(name, s:getoption(name)) show(s:setoption(name, 1)) show(s:getoption(name)) end
            show(s:setoption("sndbuf", 20000), s:getoption("sndbuf") >= 20000)
            show(s:setoption("rcvbuf", 20000), s:getoption("rcvbuf") >= 20000)
            show(s:getoption()) show(s:setoption("keepalive")) show(s:getoption("x"))
            s:close() show(s:getoption("keepalive"))""", peer=peer.port)
    assert lines[0].startswith("false|") and lines[0].endswith("socket is never created nor connected")
    assert lines[1:] == ["keepalive|0", "true", "1", "reuseaddr|0", "true", "1", "tcp-nodelay|0", "true", "1",
                         "true|true", "true|true", 'nil|missing the "option" argument',
                         'nil|missing the "value" argument', "nil|unsupported option x", "nil|closed"]


@pytest.mark.moongate_only
def test_tcpsock_getfd(moongate):
    with peers.Peer(peers.sends(b"")) as peer:
        lines, _ = run(moongate, """
            local s = open(%PEER%) show(s:getfd() > 2) s:close() show(s:getfd())""", peer=peer.port)
    assert lines == ["true", "nil|closed"]


def test_tcpsock_setclientcert(moongate):
    with peers.Peer(peers.sends(b"")) as peer:
        lines, _ = run(moongate, """
            local s = open(%PEER%) show(s:setclientcert()) show(s:setclientcert("x"))
            show(s:setclientcert("x", "y"))""", peer=peer.port)
    assert lines == ["true", "nil|client certificate must be supplied with corresponding private key",
                     "nil|bad cert arg: cdata expected, got string"]


# --- two light threads on one socket, and whose a socket is

def test_full_duplex_and_busy_errors(moongate):
    with peers.Peer(peers.echo_lines) as peer:
        lines, _ = run(moongate, """
            local s = open(%PEER%)
            local reader = ngx.thread.spawn(function () return s:receive() end)
            show(s:receive()) show(s:receiveany(1)) show(s:receiveuntil("x")()) show(s:close()) show(s:setkeepalive())
            show(s:connect("127.0.0.1", %PEER%)) show(s:send("dup\\n")) show(ngx.thread.wait(reader))
            show(s:close())""", peer=peer.port)
    busy = "nil|socket busy reading"
    assert lines == [busy, busy, busy, busy, busy, busy, "4", "true|dup", "1"]


def test_busy_writing(moongate):
    stop = threading.Event()
    with peers.Peer(lambda connection, _: stop.wait(harness.TIMEOUT)) as peer:
        lines, _ = run(moongate, """
            local s = open(%PEER%) s:settimeout(100)
            local writer = ngx.thread.spawn(function () return s:send(string.rep("x", 32 * 1024 * 1024)) end)
            show(s:send("x")) show(s:close()) show(s:setkeepalive()) show(s:connect("127.0.0.1", %PEER%))
            show(ngx.thread.wait(writer))""", peer=peer.port)
        stop.set()
    busy = "nil|socket busy writing"
    assert lines == [busy, busy, busy, busy, "true|nil|timeout"]


def test_busy_connecting(moongate):
    listener, fillers = full_listener()
    lines, _ = run(moongate, """
        local s = ngx.socket.tcp() s:settimeout(80)
        local one = ngx.thread.spawn(function () return s:connect("127.0.0.1", %PEER%) end)
        show(s:connect("127.0.0.1", %PEER%)) show(s:close()) show(s:send("x")) show(ngx.thread.wait(one))""",
                   peer=listener.getsockname()[1])
    for one in [listener, *fillers]:
        one.close()
    assert lines[0] == "nil|socket busy connecting" and lines[1] == "nil|socket busy connecting"
    assert lines[3] == "true|nil|timeout"


def test_a_killed_reader_closes_the_socket(moongate):
    with peers.Peer(peers.sends(b"")) as peer:
        lines, _ = run(moongate, """
            local s = open(%PEER%)
            local reader = ngx.thread.spawn(function () return s:receive() end)
            show(ngx.thread.kill(reader)) show(s:send("x"))""", peer=peer.port)
        harness.eventually(lambda: peer.open == 0)
    assert lines == ["1", "nil|closed"]


def test_a_socket_belongs_to_its_request(moongate):
    with peers.Peer(peers.echo_lines) as peer:
        gateway = moongate(server="""
            location /keep { content_by_lua_block {
                local s = ngx.socket.tcp() assert(s:connect("127.0.0.1", %PEER%)) package.loaded.kept = s
                ngx.say("kept") ngx.flush(true) ngx.sleep(ngx.var.arg_hold and 0.3 or 0) } }
            location /use { content_by_lua_block {
                local s = package.loaded.kept
                for _, f in ipairs {"receive", "send", "close", "setkeepalive"} do
                    ngx.say(f, ": ", select(-1, pcall(s[f], unpack({s, f == "send" and "x" or nil})))) end
                ngx.say("connect: ", select(-1, pcall(s.connect, s, "127.0.0.1", %PEER%))) } }""", peer=peer.port)
        with gateway.connect() as holding:
            holding.send(b"GET /keep?hold=1 HTTP/1.1\r\nHost: a\r\n\r\n")
            holding.read_until(b"kept")
            assert gateway.get("/use").text.splitlines() == [
                f"{name}: bad request" for name in ("receive", "send", "close", "setkeepalive", "connect")]
        gateway.get("/keep")
        harness.eventually(lambda: peer.open <= 1)


def test_the_end_of_a_request_closes_its_sockets(moongate):
    with peers.Peer(peers.echo_lines) as peer:
        run(moongate, "package.loaded.s = open(%PEER%)", peer=peer.port)
        harness.eventually(lambda: peer.count == 1 and peer.open == 0)


def test_collected_sockets_are_closed(moongate):
    with peers.Peer(peers.sends(b"")) as peer:
        lines, _ = run(moongate, """
            for i = 1, 20 do open(%PEER%) end collectgarbage() collectgarbage() ngx.sleep(0.05) show("ok")""",
                       peer=peer.port)
        harness.eventually(lambda: peer.count == 20 and peer.open == 0)
    assert lines == ["ok"]


def test_a_client_that_leaves_cancels_the_wait(moongate):
    with peers.Peer(peers.echo_lines) as peer:
        gateway = moongate(server="lua_check_client_abort on;" + LUA % """
            local s = open(%PEER%) s:send("x\\n") s:receive() ngx.say("waits") ngx.flush(true) s:receive()""",
                           peer=peer.port)
        with gateway.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            client.read_until(b"waits")
            assert peer.open == 1
        harness.eventually(lambda: peer.open == 0)


def test_methods_want_their_object(moongate):
    lines, _ = run(moongate, """
        local s, u = ngx.socket.tcp(), ngx.socket.udp()
        for _, f in ipairs {"receive", "close", "getreusedtimes", "setkeepalive"} do show((pcall(s[f], 3))) end
        show((pcall(s.connect, 3, "127.0.0.1", 80)))""")
    assert lines == ["false"] * 5


# --- phases

PHASES = ["server_rewrite", "rewrite", "access", "header_filter", "body_filter", "log", "set", "init_worker", "timer"]


@pytest.mark.moongate_only
@pytest.mark.parametrize("phase", PHASES)
def test_cosockets_wait_in_every_phase(moongate, phase):
    def slow_echo(connection, _):
        for line in connection.makefile("rb"):
            time.sleep(0.03)
            connection.sendall(line)
    code = """local s = ngx.socket.tcp() local ok, err = s:connect("127.0.0.1", %PEER%)
              local sent = ok and s:send("from " .. ngx.get_phase() .. "\\n")
              local line = sent and s:receive()
              ngx.log(ngx.ERR, "got: ", line or err) s:setkeepalive() """
    http = server = ""
    if phase == "init_worker":
        http = "init_worker_by_lua_block { %s }" % code
    elif phase == "timer":
        server = "rewrite_by_lua_block { ngx.timer.at(0, function () %s end) }" % code
    elif phase == "set":
        server = "set_by_lua_block $x { %s return 1 }" % code
    else:
        server = "%s_by_lua_block { %s }" % (phase, code)
    with peers.Peer(slow_echo) as peer:
        gateway = moongate(http=http, server=server + 'location / { content_by_lua_block { ngx.print("body") } }',
                           peer=peer.port)
        assert gateway.get("/").text == "body"
        harness.eventually(lambda: f"got: from {phase}" in gateway.error_log())
        count = gateway.error_log().count(f"got: from {phase}")
        assert count >= 1


def test_coroutines_may_use_sockets(moongate):
    with peers.Peer(peers.echo_lines) as peer:
        lines, _ = run(moongate, """
            local co = coroutine.wrap(function () local s = open(%PEER%)
                for i = 1, 3 do s:send(i .. "\\n") coroutine.yield(s:receive()) end end)
            show(co(), co(), co())""", peer=peer.port)
    assert lines == ["1|2|3"]


def test_not_in_init(moongate):
    gateway = moongate(http="""init_by_lua_block {
        package.loaded.seen = select(2, pcall(ngx.socket.tcp)) }""", server=LUA % "show(package.loaded.seen)")
    assert "no request found" in gateway.get("/").text


# --- real servers

RESP = """
    local function command(s, ...)
        local parts = {"*", select("#", ...), "\\r\\n"}
        for i = 1, select("#", ...) do local v = tostring((select(i, ...)))
            parts[#parts + 1] = {"$", #v, "\\r\\n", v, "\\r\\n"} end
        assert(s:send(parts))
    end
    local function reply(s)
        local line = assert(s:receive())
        local kind, rest = line:sub(1, 1), line:sub(2)
        if kind == "+" then return rest elseif kind == "-" then return nil, rest
        elseif kind == ":" then return tonumber(rest)
        elseif kind == "$" then
            if rest == "-1" then return ngx.null end
            local data = assert(s:receive(tonumber(rest))) assert(s:receive(2)) return data
        else local list = {} for i = 1, tonumber(rest) do list[i] = reply(s) end return list end
    end
"""


def test_redis(moongate):
    with peers.redis() as server:
        lines, _ = run(moongate, RESP + """
            local s = open(%REDIS%)
            command(s, "SET", "key", "value\\r\\nwith lines") show(reply(s))
            command(s, "GET", "key") show((reply(s):gsub("\\r\\n", "~")))
            command(s, "GET", "missing") show(reply(s) == ngx.null)
            for i = 1, 100 do command(s, "RPUSH", "list", i) end
            for i = 1, 100 do assert(reply(s) == i) end
            command(s, "LRANGE", "list", 0, -1) local list = reply(s) show(#list, list[1], list[100])
            command(s, "NONSENSE") show((reply(s)))
            command(s, "SET", "big", string.rep("b", 300000)) show(reply(s)) command(s, "GET", "big") show(#reply(s))
            show(s:setkeepalive(10000, 10))
            s = open(%REDIS%) show(s:getreusedtimes())
            command(s, "SUBSCRIBE", "news") show(reply(s)[1])
            local other = open(%REDIS%)
            local t = ngx.thread.spawn(function () return reply(s)[3] end)
            command(other, "PUBLISH", "news", "hello") show(reply(other)) show(ngx.thread.wait(t))""",
                       redis=server.port)
    assert lines == ["OK", "value~with lines", "true", "100|1|100", "nil", "OK", "300000", "1", "1", "subscribe",
                     "1", "true|hello"]


def test_memcached(moongate):
    with peers.memcached() as server:
        lines, _ = run(moongate, """
            local s = open(%MEMC%)
            s:send("set k 0 0 5\\r\\nhello\\r\\n") show(s:receive())
            s:send("get k\\r\\n") show(s:receive()) show(s:receive(5)) show(s:receive()) show(s:receive())
            s:send({"get ", "none", "\\r\\n"}) show(s:receive()) s:send("flush_all\\r\\n") show(s:receive())
            show(s:setkeepalive())""", memc=server.port)
    assert lines == ["STORED", "VALUE k 0 5", "hello", "", "END", "END", "OK", "1"]
