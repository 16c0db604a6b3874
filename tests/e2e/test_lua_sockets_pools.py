"""Pools of idle cosockets: reuse, limits, time-outs, peers that close, the queue of connects, reloads."""
import threading
import time

import pytest

import harness
import peers
from test_lua_sockets import full_listener, run


def echo(connection, number):
    """Answers each line with the connection's number."""
    for _ in connection.makefile("rb"):
        connection.sendall(b"%d\n" % number)


ASK = """
    local function ask(s) assert(s:send("x\\n")) return (s:receive()) end
"""


def test_tcpsock_setkeepalive(moongate):
    with peers.Peer(echo) as peer:
        lines, _ = run(moongate, ASK + """
            local s = open(%PEER%) show(ask(s), s:getreusedtimes()) show(s:setkeepalive()) show(s:send("x"))
            show(s:close()) show(s:setkeepalive())
            show(s:connect("127.0.0.1", %PEER%)) show(ask(s), s:getreusedtimes()) show(s:setkeepalive(1000, 5))
            s = open(%PEER%) show(ask(s), s:getreusedtimes())
            local t = open(%PEER%) show(ask(t), t:getreusedtimes())
            show(pcall(s.setkeepalive, s, 1, 2, 3)) show(ngx.socket.tcp():setkeepalive())""",
                       server="lua_socket_log_errors off;", peer=peer.port)
    assert lines == ["1|0", "1", "nil|closed", "nil|closed", "nil|closed", "1", "1|1", "1", "1|2", "2|0",
                     "false|expecting 1 to 3 arguments (including the object), but got 4", "nil|closed"]


def test_tcpsock_getreusedtimes(moongate):
    with peers.Peer(echo) as peer:
        lines, _ = run(moongate, ASK + """
            show(ngx.socket.tcp():getreusedtimes())
            for i = 0, 3 do local s = open(%PEER%) show(s:getreusedtimes()) s:setkeepalive() end
            show(pcall(ngx.socket.tcp().getreusedtimes))""", peer=peer.port)
    assert lines[:5] == ["nil|closed", "0", "1", "2", "3"]


def test_connections_are_kept_over_requests(moongate):
    with peers.Peer(echo) as peer:
        _, gateway = run(moongate, ASK + "local s = open(%PEER%) show(ask(s)) s:setkeepalive()", peer=peer.port)
        for _ in range(5):
            assert gateway.get("/").text == "1\n"
    assert peer.count == 1


def test_unread_data_is_not_kept(moongate):
    def script(connection, _):
        connection.recv(10)
        connection.sendall(b"one\ntwo\n")
        connection.recv(10)
    with peers.Peer(script) as peer:
        lines, _ = run(moongate, """
            local s = open(%PEER%) s:send("x") show(s:receive()) show(s:setkeepalive()) show(s:receive())
            show(s:setkeepalive())""", peer=peer.port)
    assert lines == ["one", "nil|unread data in buffer", "two", "1"]


def test_what_arrives_before_setkeepalive_is_noticed(moongate):
    arrived = threading.Event()

    def script(connection, _):
        connection.sendall(b"surprise")
        arrived.set()
        connection.recv(10)
    with peers.Peer(script) as peer:
        lines, _ = run(moongate, "local s = open(%PEER%) ngx.sleep(0.1) show(s:setkeepalive()) show(s:close())",
                       peer=peer.port)
    assert lines == ["nil|connection in dubious state", "nil|closed"]


def test_a_peer_that_closed_before_setkeepalive(moongate):
    with peers.Peer(lambda connection, _: None) as peer:
        lines, _ = run(moongate, "local s = open(%PEER%) ngx.sleep(0.1) show(s:setkeepalive())", peer=peer.port)
    assert lines == ["nil|closed"]


@pytest.mark.parametrize("what", [b"", b"noise"], ids=["closes", "speaks"])
def test_idle_connections_end_when_the_peer_closes_or_speaks(moongate, what):
    go = threading.Event()

    def script(connection, number):
        connection.recv(10)
        connection.sendall(b"%d\n" % number)
        if number == 1:
            go.wait(harness.TIMEOUT)
            connection.sendall(what)
            if what:
                connection.recv(10)
        else:
            connection.recv(10)
    with peers.Peer(script) as peer:
        _, gateway = run(moongate, ASK + "local s = open(%PEER%) show(ask(s)) s:setkeepalive()", peer=peer.port)
        go.set()
        harness.eventually(lambda: peer.open == 0)
        assert gateway.get("/").text == "2\n"


def test_lua_socket_keepalive_timeout(moongate):
    with peers.Peer(echo) as peer:
        _, gateway = run(moongate, ASK + "local s = open(%PEER%) show(ask(s)) s:setkeepalive()",
                         server="lua_socket_keepalive_timeout 60ms;", peer=peer.port)
        harness.eventually(lambda: peer.open == 0, timeout=3)
        assert gateway.get("/").text == "2\n"


def test_setkeepalive_time_wins_and_zero_is_without_end(moongate):
    with peers.Peer(echo) as peer:
        lines, _ = run(moongate, ASK + """
            local a, b = open(%PEER%), open(%PEER%) ask(a) ask(b) a:setkeepalive(40) b:setkeepalive(0)
            ngx.sleep(0.25)
            local c = open(%PEER%) show(c:getreusedtimes()) local d = open(%PEER%) show(d:getreusedtimes())""",
                       server="lua_socket_keepalive_timeout 100ms;", peer=peer.port)
    assert lines == ["1", "0"]


@pytest.mark.parametrize("how", ["directive", "argument", "option"])
def test_lua_socket_pool_size(moongate, how):
    server = "lua_socket_pool_size 2;" if how == "directive" else ""
    size = ", 2" if how == "argument" else ""
    option = ", {pool_size = 2}" if how == "option" else ""
    with peers.Peer(echo) as peer:
        lines, _ = run(moongate, ASK + f"""
            local all = {{}} for i = 1, 4 do all[i] = open(%PEER%{option}) ask(all[i]) end
            for i = 1, 4 do show(all[i]:setkeepalive(10000{size})) end
            local list = {{}} for i = 1, 3 do local s = open(%PEER%) list[i] = s:getreusedtimes() .. ask(s) all[i] = s end
            show(unpack(list))""", server=server, peer=peer.port)
        # The ones used last are kept and come first.
        assert lines == ["1", "1", "1", "1", "14|13|05"]


def test_tcpsock_connect_pool_option(moongate):
    with peers.Peer(echo) as one, peers.Peer(echo) as two:
        lines, _ = run(moongate, ASK + """
            local s = open(%ONE%, {pool = "a"}) ask(s) s:setkeepalive()
            s = open(%ONE%, {pool = "b"}) show(s:getreusedtimes()) s:close()
            s = open(%ONE%) show(s:getreusedtimes()) s:close()
            s = open(%TWO%, {pool = "a"}) show(s:getreusedtimes(), ask(s)) s:close()
            s = open(%ONE%, {pool = 7}) ask(s) s:setkeepalive()
            s = open(%ONE%, {pool = "7"}) show(s:getreusedtimes())""", one=one.port, two=two.port)
        assert two.count == 0
    assert lines == ["0", "0", "1|1", "1"]


def test_tcpsock_connect_backlog(moongate):
    with peers.Peer(echo) as peer:
        lines, _ = run(moongate, ASK + """
            local options = {pool = "p", pool_size = 1, backlog = 1}
            local first = open(%PEER%, options) ask(first)
            local order = {}
            local waiter = ngx.thread.spawn(function ()
                local s = open(%PEER%, options) order[#order + 1] = "second" local got = ask(s)
                local times = s:getreusedtimes() s:setkeepalive() return times, got end)
            show(ngx.socket.tcp():connect("127.0.0.1", %PEER%, options))
            order[#order + 1] = "first" first:setkeepalive()
            show(ngx.thread.wait(waiter)) show(unpack(order))
            local s = open(%PEER%, options)
            waiter = ngx.thread.spawn(function () local s = open(%PEER%, options) return s:getreusedtimes(), ask(s) end)
            s:close() show(ngx.thread.wait(waiter))""", peer=peer.port)
    assert lines == ["nil|too many waiting connect operations", "true|1|1", "first|second", "true|0|2"]


def test_backlog_time_out(moongate):
    with peers.Peer(echo) as peer:
        lines, gateway = run(moongate, ASK + """
            local options = {pool = "p", pool_size = 1, backlog = 2}
            local first = open(%PEER%, options)
            local s = ngx.socket.tcp() s:settimeout(50) show(s:connect("127.0.0.1", %PEER%, options))
            first:close() show(s:connect("127.0.0.1", %PEER%, options)) show(ask(s))""", peer=peer.port)
    assert lines == ["nil|timeout", "1", "2"]
    assert f"lua tcp socket queued connect timed out, when trying to connect to 127.0.0.1:{peer.port}" \
        in gateway.error_log()


def test_a_killed_waiter_leaves_the_queue(moongate):
    with peers.Peer(echo) as peer:
        lines, _ = run(moongate, ASK + """
            local options = {pool = "p", pool_size = 1, backlog = 1}
            local first = open(%PEER%, options)
            local function wait() local s = open(%PEER%, options) local got = ask(s) s:close() return got end
            local a = ngx.thread.spawn(wait) show(ngx.thread.kill(a))
            local b = ngx.thread.spawn(wait) first:close() show(ngx.thread.wait(b))
            show(wait())""", peer=peer.port)
    assert lines == ["1", "true|2", "3"]


def test_a_failing_connect_lets_the_next_try(moongate):
    with peers.Peer(echo) as peer:
        lines, _ = run(moongate, ASK + """
            local options = {pool = "p", pool_size = 1, backlog = 2}
            local first = open(%PEER%, options)
            local a = ngx.thread.spawn(function ()
                return ngx.socket.tcp():connect("127.0.0.1", %DEAD%, options) end)
            local b = ngx.thread.spawn(function () local s = open(%PEER%, options) return ask(s) end)
            first:close() show(ngx.thread.wait(a)) show(ngx.thread.wait(b))""",
                       peer=peer.port, dead=harness.free_port())
    assert lines == ["true|nil|connection refused", "true|2"]


@pytest.mark.moongate_only
def test_the_queue_is_the_workers(moongate):
    """One connection, many requests: each gets its turn."""
    with peers.Peer(echo) as peer:
        gateway = moongate(server="""location / { content_by_lua_block {
            local s = ngx.socket.tcp()
            local ok, err = s:connect("127.0.0.1", %PEER%, {pool = "p", pool_size = 1, backlog = 100})
            if not ok then return ngx.say(err) end
            s:send("x\\n") local got = s:receive() ngx.sleep(0.005) s:setkeepalive() ngx.say(got) } }""",
                           peer=peer.port)
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(gateway.get("/").text)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == ["1\n"] * 20 and peer.count == 1


@pytest.mark.moongate_only
def test_pools_survive_a_reload(moongate):
    with peers.Peer(echo) as peer:
        _, gateway = run(moongate, ASK + "local s = open(%PEER%) show(ask(s)) s:setkeepalive()", peer=peer.port)
        gateway.reload(gateway.config.replace("show(ask(s))", 'show("new", ask(s))'))
        harness.eventually(lambda: gateway.get("/").text == "new|1\n")
        assert peer.count == 1


def test_connections_in_use_do_not_fill_an_unbounded_pool(moongate):
    with peers.Peer(echo) as peer:
        lines, _ = run(moongate, ASK + """
            local all = {} for i = 1, 10 do all[i] = open(%PEER%, {pool_size = 1}) end
            for i = 1, 10 do show(ask(all[i]) ~= nil) end""", peer=peer.port)
    assert lines == ["true"] * 10


@pytest.mark.moongate_only
def test_waiting_for_a_name_can_be_killed(moongate):
    import socket
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    with peers.Peer(echo) as peer:
        lines, _ = run(moongate, ASK + """
            local options = {pool = "p", pool_size = 1, backlog = 1}
            local t = ngx.thread.spawn(function () ngx.socket.tcp():connect("some.name", 80, options) end)
            show(ngx.thread.kill(t)) local s = open(%PEER%, options) show(ask(s))""",
                       server="resolver 127.0.0.1:%NAMES%;", peer=peer.port, names=silent.getsockname()[1])
    silent.close()
    assert lines == ["1", "1"]


def test_waiting_for_a_connection_can_be_killed(moongate):
    listener, fillers = full_listener()
    lines, _ = run(moongate, """
        local s = ngx.socket.tcp()
        local t = ngx.thread.spawn(function () s:connect("127.0.0.1", %PEER%, {pool_size = 1}) end)
        show(ngx.thread.kill(t)) show(s:send("x")) show(s:close())""", peer=listener.getsockname()[1])
    for one in [listener, *fillers]:
        one.close()
    assert lines == ["1", "nil|closed", "nil|closed"]
