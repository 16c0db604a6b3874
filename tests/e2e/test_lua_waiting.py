"""Waiting from Lua: in every phase, in coroutines and light threads, cancelled, and by thousands at once."""
import selectors
import socket
import time

import pytest

import harness

NAP = "ngx.sleep(0.05)"


def test_first_line_arrives_before_the_wait(moongate):
    gateway = moongate(server="""location / { content_by_lua_block {
        ngx.say("hello") ngx.flush() ngx.sleep(0.5) ngx.say("the world") } }""")
    with gateway.connect() as connection:
        started = time.monotonic()
        connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        connection.read_until(b"hello\n")
        assert time.monotonic() - started < 0.4
        connection.read_until(b"the world\n")
        assert time.monotonic() - started >= 0.5


@pytest.mark.moongate_only
@pytest.mark.parametrize("phase", ["server_rewrite", "rewrite", "access", "header_filter", "body_filter", "log"])
def test_every_phase_may_wait(moongate, phase):
    gateway = moongate(server="""
        %s_by_lua_block { local before = ngx.now() %s ngx.ctx.slept = ngx.now() - before >= 0.04
                          if ngx.get_phase() == "log" then ngx.log(ngx.ERR, "slept ", tostring(ngx.ctx.slept)) end }
        location / { header_filter_by_lua_block { ngx.header.x_slept = tostring(ngx.ctx.slept) }
                     content_by_lua_block { ngx.say("body") } }
        location /own { content_by_lua_block { ngx.say("body") } }
        """ % (phase, NAP))
    started = time.monotonic()
    answer = gateway.get("/own" if phase == "header_filter" else "/")
    assert answer.body == b"body\n"
    if phase == "log":
        harness.eventually(lambda: "slept true" in gateway.error_log())
    else:
        assert time.monotonic() - started >= 0.05
    if phase in ("server_rewrite", "rewrite", "access"):
        assert answer.header("X-Slept") == "true"


@pytest.mark.moongate_only
def test_set_and_init_worker_may_wait(moongate):
    gateway = moongate(http="init_worker_by_lua_block { %s package.loaded.ready = true }" % NAP, server="""
        location / { set_by_lua_block $a { %s return "a" } set_by_lua_block $b { return ngx.var.a .. "b" }
                     return 200 $b; }
        location /ready { content_by_lua_block { ngx.say(tostring(package.loaded.ready)) } }""" % NAP)
    assert gateway.get("/").body == b"ab"
    harness.eventually(lambda: gateway.get("/ready").body == b"true\n")


@pytest.mark.moongate_only
def test_body_filter_waits_keep_the_order(moongate):
    gateway = moongate(server="""location / {
        content_by_lua_block { for i = 1, 5 do ngx.say(i) ngx.flush(true) end }
        body_filter_by_lua_block { ngx.sleep(0.01) } }""")
    assert gateway.get("/").body == b"1\n2\n3\n4\n5\n"


def test_coroutines_wait_and_exchange_values(moongate):
    gateway = moongate(server="""location / { content_by_lua_block {
        local co = coroutine.create(function (a) local b = coroutine.yield(a + 1) ngx.sleep(0.01) return b * 2 end)
        ngx.say(coroutine.resume(co, 1)) ngx.say(coroutine.status(co))
        ngx.say(coroutine.resume(co, 21)) ngx.say(coroutine.status(co)) ngx.say(coroutine.resume(co))
        local gen = coroutine.wrap(function () for i = 1, 3 do ngx.sleep(0) coroutine.yield(i) end end)
        for i in gen do ngx.print(i) end
        ngx.say(select(2, coroutine.resume(coroutine.create(function () error("oops", 0) end)))) } }""")
    assert gateway.get("/").text.splitlines() == [
        "true2", "suspended", "true42", "dead", "falsecannot resume dead coroutine", "123oops"]


def test_light_threads(moongate):
    gateway = moongate(server="""location / { content_by_lua_block {
        local function f(n) ngx.sleep(0.02 * n) return n, "done" end
        local a, b = ngx.thread.spawn(f, 3), ngx.thread.spawn(f, 1)
        ngx.say(ngx.thread.wait(a, b)) ngx.say(ngx.thread.wait(a))
        local c = ngx.thread.spawn(function () ngx.sleep(10) end)
        ngx.say(ngx.thread.kill(c)) ngx.say(ngx.thread.wait(c))
        local d = ngx.thread.spawn(function () error("bad", 0) end)
        ngx.say(ngx.thread.wait(d)) } }""")
    started = time.monotonic()
    assert gateway.get("/").text.splitlines() == ["true1done", "true3done", "1", "nilalready waited or killed",
                                                  "falsebad"]
    assert time.monotonic() - started < 5


def test_phase_ends_with_its_last_thread_and_exit_ends_all(moongate):
    gateway = moongate(server="""
        location /all { content_by_lua_block { ngx.thread.spawn(function () ngx.sleep(0.1) ngx.say("late") end)
                                               ngx.say("early") } }
        location /exit { content_by_lua_block { ngx.thread.spawn(function () ngx.sleep(30) end) ngx.say("x")
                                                ngx.exit(200) } }""")
    assert gateway.get("/all").body == b"early\nlate\n"
    assert gateway.get("/exit").body == b"x\n"


def test_semaphores(moongate):
    gateway = moongate(http='init_by_lua_block { package.loaded.sem = require("ngx.semaphore").new(0) }', server="""
        location /wait { content_by_lua_block { ngx.say(require("sem"):wait(5)) } }
        location /post { content_by_lua_block { require("sem"):post(1) ngx.say("ok") } }
        location /short { content_by_lua_block { ngx.say(require("ngx.semaphore").new(0):wait(0.01)) } }""")
    with gateway.connect() as connection:
        connection.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        assert gateway.get("/short").body == b"falsetimeout\n"
        gateway.get("/post")
        assert connection.read_response().body == b"truenil\n"


def test_timers(moongate):
    gateway = moongate(server="""
        location /at { content_by_lua_block {
            ngx.say(ngx.timer.at(0.01, function (premature, text) ngx.sleep(0.01)
                ngx.log(ngx.ERR, "timer got ", text, " ", tostring(premature)) end, "argument")) } }
        location /every { content_by_lua_block { local n = 0
            ngx.timer.every(0.01, function () n = n + 1 if n == 3 then ngx.log(ngx.ERR, "third tick") end end)
            ngx.say(ngx.timer.pending_count()) } }
        location /later { content_by_lua_block {
            ngx.timer.at(1000, function (premature) ngx.log(ngx.ERR, "premature ", tostring(premature)) end)
            ngx.say("set") } }""")
    assert gateway.get("/at").body == b"1\n"
    harness.eventually(lambda: "timer got argument false" in gateway.error_log())
    assert gateway.get("/every").body == b"1\n"
    harness.eventually(lambda: "third tick" in gateway.error_log())
    gateway.get("/later")
    gateway.stop()
    assert "premature true" in gateway.error_log()


def test_two_thousand_wait_at_once(moongate):
    gateway = moongate("""
        worker_processes 1; worker_rlimit_nofile 10000;
        events { worker_connections 8192; }
        http { access_log off; server { listen 127.0.0.1:%PORT% backlog=4096;
            location /test2 { content_by_lua_block {
                ngx.say("hello") ngx.flush() ngx.sleep(3) ngx.say("the world") } } } }""")
    selector = selectors.DefaultSelector()
    started = time.monotonic()
    received = {}
    for _ in range(2000):
        client = socket.create_connection(("127.0.0.1", gateway.port), 10)
        client.sendall(b"GET /test2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        client.setblocking(False)
        selector.register(client, selectors.EVENT_READ)
        received[client] = b""
    asked = time.monotonic()
    while selector.get_map():
        for key, _ in selector.select(10):
            data = key.fileobj.recv(4096)
            received[key.fileobj] += data
            if not data:
                selector.unregister(key.fileobj)
                key.fileobj.close()
        assert time.monotonic() - started < 30
    assert all(b"hello\n" in text and b"the world\n" in text for text in received.values())
    assert time.monotonic() - asked < 3.5 + (asked - started)


@pytest.mark.moongate_only
def test_a_client_that_leaves_ends_what_waits_for_it(moongate):
    gateway = moongate(server="""lua_check_client_abort on;
        location /gone { content_by_lua_block { ngx.say("x") ngx.flush() local ok = pcall(ngx.sleep, 1)
                                                ngx.log(ngx.ERR, "went on") } }
        location /filter { content_by_lua_block { ngx.say("x") ngx.sleep(1) }
                           header_filter_by_lua_block { ngx.sleep(1) } }
        location /fine { content_by_lua_block { ngx.say("fine") } }""")
    for path in (b"/gone", b"/filter"):
        with gateway.connect() as connection:
            connection.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            time.sleep(0.05)
    harness.eventually(lambda: gateway.error_log().count("client prematurely closed connection") == 2)
    assert gateway.get("/fine").body == b"fine\n"
    time.sleep(1.1)
    assert "went on" not in gateway.error_log()
