"""UDP cosockets."""
import socket
import threading

import pytest

import harness
from test_lua_sockets import Names, run


class Datagrams(threading.Thread):
    """Answers each datagram with `answer(data)`; None: no answer."""

    def __init__(self, answer=lambda data: data, path=None):
        super().__init__(daemon=True)
        self.sock = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0) if path is None else str(path))
        if path is not None:
            path.chmod(0o666)
        else:
            self.port = self.sock.getsockname()[1]
        self.answer, self.clients = answer, []
        self.start()

    def run(self):
        while True:
            try:
                data, client = self.sock.recvfrom(70000)
            except OSError:
                return
            self.clients.append(client)
            answer = self.answer(data)
            if answer is not None:
                self.sock.sendto(answer, client)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


def test_ngx_socket_udp(moongate):
    with Datagrams() as peer:
        lines, _ = run(moongate, """
            local u = ngx.socket.udp() show(u:setpeername("127.0.0.1", %PEER%))
            show(u:send("hello")) show(u:receive()) show(u:close()) show(u:close()) show(u:send("x")) show(u:receive())
            show(pcall(ngx.socket.udp, 1))""", peer=peer.port)
    assert lines == ["1", "1", "hello", "1", "nil|closed", "nil|closed", "nil|closed",
                     "false|expecting zero arguments, but got 1"]


def test_udpsock_setpeername(moongate):
    names = Names()
    with Datagrams() as peer:
        lines, _ = run(moongate, """
            local u = ngx.socket.udp()
            show(u:setpeername("name.test", %PEER%)) show(u:send("n"), u:receive())
            show(u:setpeername("other.test", %PEER%)) show(u:setpeername("127.0.0.1", 70000))
            show(pcall(u.setpeername, u)) show(u:setpeername("unix:/no/such"))
            show(u:setpeername("127.0.0.1", %PEER%)) show(u:send("again"), u:receive())""",
                       server="resolver 127.0.0.1:%NAMES% ipv6=off;", peer=peer.port, names=names.port)
    names.sock.close()
    assert lines == ["1", "1|n", "nil|other.test could not be resolved (3: Host not found)",
                     "nil|bad port number: 70000",
                     "false|ngx.socket.udp setpeername: expecting 2 or 3 arguments (including the object), "
                     "but seen 1", "nil|no such file or directory", "1", "1|again"]


def test_udpsock_setpeername_without_resolver(moongate):
    lines, _ = run(moongate, 'show(ngx.socket.udp():setpeername("name.test", 53))')
    assert lines == ['nil|no resolver defined to resolve "name.test"']


def test_udpsock_send(moongate):
    with Datagrams() as peer:
        lines, _ = run(moongate, """
            local u = ngx.socket.udp() u:setpeername("127.0.0.1", %PEER%)
            for _, v in ipairs {"text", 12, 1.5, true, {"a", {"b", 2}}} do show(u:send(v), u:receive()) end
            show(u:send(nil), u:receive())
            show(pcall(u.send, u, {true})) show(pcall(u.send, u, print))""", peer=peer.port)
    assert lines == ["1|text", "1|12", "1|1.5", "1|true", "1|ab2", "1|nil",
                     "false|bad argument #2 to '?' (bad data type boolean found)",
                     "false|bad argument #2 to '?' (string, number, boolean, nil, or array table expected, got function)"]


@pytest.mark.moongate_only
def test_udpsock_send_too_much(moongate):
    with Datagrams() as peer:
        lines, _ = run(moongate, """
            local u = ngx.socket.udp() u:setpeername("127.0.0.1", %PEER%)
            show(u:send(string.rep("x", 70000))) show(u:send("x"), u:receive()) show(u:send(""), u:receive() == "")""",
                       peer=peer.port)
    assert lines == ["nil|message too long", "1|x", "1|true"]


def test_udpsock_receive(moongate):
    with Datagrams(lambda data: b"0123456789" * int(data)) as peer:
        lines, _ = run(moongate, """
            local u = ngx.socket.udp() u:setpeername("127.0.0.1", %PEER%)
            u:send("1") show(u:receive(4)) u:send("2") show(#u:receive()) u:send("6000") show(#u:receive())
            u:send("1") u:send("1") show(u:receive(), u:receive())
            show(pcall(u.receive, u, 1, 2))""", peer=peer.port)
    assert lines == ["0123", "20", "60000", "0123456789|0123456789",
                     "false|expecting 1 or 2 arguments (including the object), but got 3"]


def test_udpsock_settimeout(moongate):
    with Datagrams(lambda data: None) as peer:
        lines, gateway = run(moongate, """
            local u = ngx.socket.udp() u:settimeout(40) u:setpeername("127.0.0.1", %PEER%)
            local t = ngx.now() show(u:receive()) ngx.update_time() show(ngx.now() - t < 1)
            u:settimeout(30) show(u:receive()) show(pcall(u.settimeout, u))""", peer=peer.port)
    assert lines == ["nil|timeout", "true", "nil|timeout",
                     "false|ngx.socket settimeout: expecting at least 2 arguments (including the object) but seen 1"]
    assert gateway.error_log().count("lua udp socket read timed out") == 2


def test_nobody_listens(moongate):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        dead = sock.getsockname()[1]
    lines, gateway = run(moongate, """
        local u = ngx.socket.udp() show(u:setpeername("127.0.0.1", %DEAD%)) show(u:send("x")) show(u:receive())""",
                         dead=dead)
    assert lines == ["1", "1", "nil|connection refused"]


@pytest.mark.moongate_only
def test_udpsock_bind(moongate):
    with Datagrams() as peer:
        lines, _ = run(moongate, """
            local u = ngx.socket.udp() show(u:bind("127.0.0.7")) show(u:setpeername("127.0.0.1", %PEER%))
            show(u:send("x"), u:receive()) show(u:bind("nonsense"))""", peer=peer.port)
        assert peer.clients[0][0] == "127.0.0.7"
    assert lines == ["true", "1", "1|x", "nil|bad address"]


def test_unix_datagrams(moongate, tmp_path):
    with Datagrams(lambda data: data.upper(), path=tmp_path / "d"):
        lines, _ = run(moongate, """
            local u = ngx.socket.udp() show(u:setpeername("unix:%PATH%")) show(u:send("abc"), u:receive())""",
                       path=tmp_path / "d")
    assert lines == ["1", "1|ABC"]


def test_a_second_reader_is_told_that_the_socket_is_busy(moongate):
    with Datagrams() as peer:
        lines, _ = run(moongate, """
            local u = ngx.socket.udp() u:setpeername("127.0.0.1", %PEER%) u:settimeout(60)
            local t = ngx.thread.spawn(function () return u:receive() end)
            show(u:receive()) show(u:send("x")) show(u:close()) show(u:setpeername("127.0.0.1", 1))
            show(ngx.thread.wait(t))""", peer=peer.port)
    assert lines == ["nil|socket busy", "nil|socket busy", "nil|socket busy", "nil|socket busy", "true|nil|timeout"]


@pytest.mark.moongate_only
@pytest.mark.parametrize("phase", ["header_filter", "body_filter", "log"])
def test_udp_waits_in_every_phase(moongate, phase):
    with Datagrams() as peer:
        gateway = moongate(server="""%s_by_lua_block {
            local u = ngx.socket.udp() u:setpeername("127.0.0.1", %%PEER%%) u:send("x")
            ngx.log(ngx.ERR, "got: ", (u:receive())) }
            location / { return 200 "body"; }""" % phase, peer=peer.port)
        assert gateway.get("/").text == "body"
        harness.eventually(lambda: "got: x" in gateway.error_log())
