"""balancer_by_lua* and every function of ngx.balancer. A row's options come one test each."""
import socket

import pytest

import harness

FORMS = ("block", "file")


def group(code, form="block", more=""):
    directive = f"balancer_by_lua_block {{ {code} }}" if form == "block" else "balancer_by_lua_file code/it.lua;"
    return "upstream group { server 0.0.0.1; %s %s }" % (directive, more)


PROXY = "location / { proxy_pass http://group; proxy_http_version 1.1; proxy_set_header Connection ''; }"
SHOW = "add_header X-Addr $upstream_addr always; add_header X-Status $upstream_status always;"


def to(*ports):
    """Lua: asks these ports in order, one a try; the last again and again."""
    return """local balancer = require "ngx.balancer"
        local ports = {%s}
        ngx.ctx.tries = (ngx.ctx.tries or 0) + 1
        if not ngx.ctx.more and #ports > 1 then
            ngx.ctx.more = true
            assert(balancer.set_more_tries(#ports - 1))
        end
        assert(balancer.set_current_peer("127.0.0.1", ports[math.min(ngx.ctx.tries, #ports)]))""" % ", ".join(
        str(port) for port in ports)


@pytest.mark.parametrize("form", FORMS)
def test_balancer_by_lua(moongate, upstream, form):
    behind = upstream(harness.answer("one"))
    code = to(behind.port)
    gateway = moongate(http=group(code, form), server=SHOW + PROXY, files={"code/it.lua": code})
    answer = gateway.get("/a?b=c")
    assert (answer.body, answer.header("X-Addr")) == (b"one", f"127.0.0.1:{behind.port}")
    assert behind.requests[0].target == "/a?b=c"


def test_without_a_peer_the_servers_are_asked(moongate, upstream):
    behind = upstream(harness.answer("configured"))
    gateway = moongate(http="upstream group { server 127.0.0.1:%UP%; balancer_by_lua_block { local x = 1 } }",
                       server=PROXY, up=behind.port)
    assert gateway.get("/").body == b"configured"


class TestSetCurrentPeer:
    def test_by_request(self, moongate, upstream):
        behind = [upstream(harness.answer(name)) for name in ("a", "b")]
        gateway = moongate(http=group("""local balancer = require "ngx.balancer"
            assert(balancer.set_current_peer("127.0.0.1", tonumber(ngx.var.arg_port)))"""), server=PROXY)
        for each, name in zip(behind + behind, (b"a", b"b") * 2):
            assert gateway.get(f"/?port={each.port}").body == name

    def test_port_in_the_address(self, moongate, upstream):
        behind = upstream(harness.answer("x"))
        gateway = moongate(http=group('assert(require("ngx.balancer").set_current_peer("127.0.0.1:%d"))'
                                      % behind.port), server=PROXY)
        assert gateway.get("/").body == b"x"

    def test_unix_socket(self, moongate, tmp_path):
        path = str(tmp_path / "s")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        gateway = moongate(http=group('assert(require("ngx.balancer").set_current_peer("unix:%s"))' % path),
                           server=SHOW + PROXY)
        with gateway.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            peer, _ = listener.accept()
            assert peer.recv(4096).startswith(b"GET / HTTP/1.1\r\n")
            peer.sendall(harness.answer("over a path"))
            answer = client.read_response()
            peer.close()
        listener.close()
        assert (answer.body, answer.header("X-Addr")) == (b"over a path", f"unix:{path}")

    @pytest.mark.parametrize("call, message", [
        ('"example.org", 80', "no host allowed"), ('"127.0.0.1:99999", 1', "invalid port"), ('"", 80', "no host")])
    def test_refuses(self, moongate, call, message):
        gateway = moongate(http=group("""local ok, err = require("ngx.balancer").set_current_peer(%s)
            ngx.log(ngx.ERR, "refused: ", tostring(ok), " ", err) ngx.exit(ngx.ERROR)""" % call), server=PROXY)
        assert gateway.get("/").status == 500
        assert f"refused: nil {message}" in gateway.error_log()

    @pytest.mark.parametrize("function, arguments", [
        ("set_current_peer", '"127.0.0.1", 80'), ("set_more_tries", "1"), ("get_last_failure", ""),
        ("set_timeouts", "1, 1, 1"), ("recreate_request", "")])
    def test_elsewhere_there_is_no_upstream(self, moongate, function, arguments):
        gateway = moongate(server="""location / { content_by_lua_block {
            local a, b, c = require("ngx.balancer").%s(%s) ngx.say(c or b) } }""" % (function, arguments))
        assert gateway.get("/").body == b"no upstream found\n"

    def test_is_for_the_balancer_alone(self, moongate, upstream):
        gateway = moongate(http=group(to(upstream().port)), server="""location / { proxy_pass http://group;
            header_filter_by_lua_block { local ok, err = require("ngx.balancer").set_more_tries(1)
                                         ngx.header.X_Error = err } }""")
        assert gateway.get("/").header("X-Error") == "API disabled in the current context"


class TestTries:
    def test_set_more_tries_asks_the_next_peer(self, moongate, upstream):
        dead, behind = harness.free_port(), upstream(harness.answer("alive"))
        gateway = moongate(http=group(to(dead, behind.port)), server=SHOW + PROXY)
        answer = gateway.get("/")
        assert (answer.body, answer.header("X-Addr")) == (b"alive", f"127.0.0.1:{dead}, 127.0.0.1:{behind.port}")
        assert answer.header("X-Status") == "502, 200"

    def test_without_it_one_try_is_made(self, moongate):
        gateway = moongate(http=group(to(harness.free_port())), server=SHOW + PROXY)
        answer = gateway.get("/")
        assert (answer.status, answer.header("X-Status")) == (502, "502")

    def test_set_more_tries_is_bounded_by_proxy_next_upstream_tries(self, moongate):
        dead = harness.free_port()
        gateway = moongate(http=group("""local balancer = require "ngx.balancer"
            local ok, err = balancer.set_more_tries(5)
            ngx.log(ngx.ERR, "more: ", tostring(ok), " ", tostring(err))
            assert(balancer.set_current_peer("127.0.0.1", %d))""" % dead),
                           server="proxy_next_upstream_tries 3; " + SHOW + PROXY)
        assert gateway.get("/").header("X-Status") == "502, 502, 502"
        assert "more: true reduced tries due to limit" in gateway.error_log()

    def test_proxy_next_upstream_decides_for_statuses(self, moongate, upstream):
        bad, good = upstream(harness.answer("bad", "503 Sorry")), upstream(harness.answer("good"))
        config = dict(http=group(to(bad.port, good.port)))
        gateway = moongate(server=PROXY, **config)
        assert gateway.get("/").body == b"bad"
        gateway = moongate(server="proxy_next_upstream http_503;" + PROXY, **config)
        assert gateway.get("/").body == b"good"

    def test_get_last_failure(self, moongate, upstream):
        dead = harness.free_port()
        bad = upstream(harness.answer("", "404 Not Found"))
        good = upstream(harness.answer("good"))
        gateway = moongate(http=group("""local state, status = require("ngx.balancer").get_last_failure()
            ngx.log(ngx.ERR, "last: ", tostring(state), " ", tostring(status), ";") """ + to(dead, bad.port, good.port)),
                           server="proxy_next_upstream error http_404;" + PROXY)
        assert gateway.get("/").body == b"good"
        log = gateway.error_log()
        assert log.index("last: nil nil;") < log.index("last: failed 502;") < log.index("last: next 404;")


class TestTimeouts:
    CODE = """local balancer = require "ngx.balancer" assert(balancer.set_timeouts(%s))
        assert(balancer.set_current_peer("127.0.0.1", %d))"""

    def test_read(self, moongate, upstream):
        def slow(request, connection):
            connection.sock.settimeout(5)
            connection.sock.recv(1)
        behind = upstream(slow)
        gateway = moongate(http=group(self.CODE % ("nil, nil, 0.05", behind.port)), server=PROXY)
        assert gateway.get("/").status == 504
        assert "upstream timed out" in gateway.error_log()

    def test_connect(self, moongate):
        """A full backlog: the connection is never accepted."""
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        gateway = moongate(http=group(self.CODE % ("0.05, 1, 1", port)), server="proxy_connect_timeout 9s;" + PROXY)
        assert gateway.get("/").status == 504
        for each in [listener, *fillers]:
            each.close()

    @pytest.mark.parametrize("arguments, message", [("0", "bad connect timeout"), ("1, -1", "bad send timeout"),
                                                    ('1, 1, "x"', "bad read timeout")])
    def test_refuses(self, moongate, arguments, message):
        gateway = moongate(http=group(self.CODE % (arguments, 1)), server=PROXY)
        assert gateway.get("/").status == 500
        assert message in gateway.error_log()


def show_try(request, _):
    return harness.answer(request.header("X-Try", "none") + " " + request.body.decode())


def test_recreate_request(moongate, upstream):
    gateway = moongate(http=group(to(harness.free_port(), upstream(show_try).port) + """
        ngx.req.set_header("X-Try", ngx.ctx.tries)
        if ngx.ctx.tries == 2 and ngx.var.arg_again then assert(balancer.recreate_request()) end"""), server=PROXY)
    assert gateway.request("POST", "/", body="old").body == b"none old"
    assert gateway.request("POST", "/?again=1", body="old").body == b"2 old"


@pytest.mark.moongate_only
def test_recreate_request_with_another_body(moongate, upstream):
    gateway = moongate(http=group(to(harness.free_port(), upstream(show_try).port) + """
        if ngx.ctx.tries == 2 then
            ngx.req.set_body_data("new body of its own") assert(balancer.recreate_request())
        end"""), server="access_by_lua_block { ngx.req.read_body() } " + PROXY)
    assert gateway.request("POST", "/", body="old").body == b"none new body of its own"
    assert gateway.request("GET", "/").body == b"none new body of its own"


class TestEnd:
    @pytest.mark.parametrize("code, status", [("ngx.ERROR", 500), ("-3", 502), ("ngx.OK", 200)])
    def test_ngx_exit(self, moongate, upstream, code, status):
        gateway = moongate(http=group(to(upstream().port) + f" ngx.exit({code})"), server=PROXY)
        assert gateway.get("/").status == status

    @pytest.mark.moongate_only
    def test_ngx_exit_with_a_status(self, moongate):
        gateway = moongate(http=group("ngx.exit(403)"), server=PROXY)
        assert gateway.get("/").status == 403

    def test_an_error_is_500(self, moongate):
        gateway = moongate(http=group('error("no peer today")'), server=PROXY)
        assert gateway.get("/").status == 500
        log = gateway.error_log()
        assert "failed to run balancer_by_lua*: balancer_by_lua(nginx.conf:" in log and "no peer today" in log
        assert "stack traceback:" in log

    def test_code_that_cannot_be_read_is_500(self, moongate):
        gateway = moongate(http=group("local ="), server=PROXY)
        assert gateway.get("/").status == 500
        assert "failed to load inlined Lua code: balancer_by_lua(nginx.conf:" in gateway.error_log()

    def test_ngx_ctx_and_phase(self, moongate, upstream):
        gateway = moongate(http=group(to(upstream().port) + " ngx.ctx.where = ngx.ctx.where .. ngx.get_phase()"),
                           server="""location / { access_by_lua_block { ngx.ctx.where = "access " }
                                     header_filter_by_lua_block { ngx.header.X_Where = ngx.ctx.where }
                                     proxy_pass http://group; }""")
        assert gateway.get("/").header("X-Where") == "access balancer"


@pytest.mark.parametrize("text, message", [
    ("server 127.0.0.1; balancer_by_lua_block { } balancer_by_lua_block { }", "is duplicate"),
    ("balancer_by_lua_block { }", "no servers are inside upstream"),
    ("balancer_by_lua_block { } server 127.0.0.1 backup;", 'does not support parameter "backup"')])
def test_mistakes(moongate, text, message):
    result = moongate(http="upstream group { %s }" % text, server=PROXY, start=False).run("-t")
    assert result.returncode == 1 and message in result.stderr


def test_another_method_before_is_a_warning(moongate):
    result = moongate(http="upstream group { least_conn; server 127.0.0.1; balancer_by_lua_block { } }", server=PROXY,
                      start=False).run("-t")
    assert result.returncode == 0 and "load balancing method redefined" in result.stderr


@pytest.mark.moongate_only
class TestWaiting:
    def test_may_wait(self, moongate, upstream):
        behind = upstream(harness.answer("after a nap"))
        gateway = moongate(http=group("ngx.sleep(0.02) " + to(behind.port)), server=PROXY)
        assert gateway.get("/").body == b"after a nap"

    def test_waits_before_each_try_and_threads_run(self, moongate, upstream):
        behind = upstream(harness.answer("found"))
        gateway = moongate(http=group("""
            local thread = ngx.thread.spawn(function() ngx.sleep(0.01) return "known" end)
            local ok, text = ngx.thread.wait(thread) assert(ok and text == "known") """
                                      + to(harness.free_port(), behind.port)), server=PROXY)
        assert gateway.get("/").body == b"found"

    def test_a_client_that_leaves_ends_the_wait(self, moongate):
        gateway = moongate(http="log_format short $status;" + group(
            'ngx.log(ngx.ERR, "started") ngx.sleep(5) ngx.log(ngx.ERR, "went on")'),
            server="access_log logs/access.log short;" + PROXY)
        with gateway.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            harness.eventually(lambda: "started" in gateway.error_log())
        harness.eventually(lambda: (gateway.prefix / "logs/access.log").read_text() == "499\n", timeout=3)
        assert "went on" not in gateway.error_log()


def asks(gateway, count, path="/"):
    for _ in range(count):
        assert gateway.get(path).status == 200


def test_keepalive_of_the_upstream_holds_for_lua_peers(moongate, upstream):
    one, two = upstream(), upstream()
    gateway = moongate(http=group('require("ngx.balancer").set_current_peer("127.0.0.1", tonumber(ngx.var.arg_p))',
                                  more="keepalive 4;"), server=PROXY)
    for _ in range(3):
        asks(gateway, 1, f"/?p={one.port}")
        asks(gateway, 1, f"/?p={two.port}")
    assert (one.accepted, two.accepted) == (1, 1)


@pytest.mark.moongate_only
class TestEnableKeepalive:
    def code(self, port, peer="", keepalive=""):
        return """local balancer = require "ngx.balancer"
            assert(balancer.set_current_peer("127.0.0.1", %d%s)) assert(balancer.enable_keepalive(%s))""" % (
            port, peer, keepalive)

    def test_reuses_connections(self, moongate, upstream):
        behind = upstream()
        gateway = moongate(http=group(self.code(behind.port), more="keepalive 0;"), server=PROXY)
        asks(gateway, 4)
        assert behind.accepted == 1

    def test_max_requests(self, moongate, upstream):
        behind = upstream()
        gateway = moongate(http=group(self.code(behind.port, keepalive="60, 2")), server=PROXY)
        asks(gateway, 6)
        assert behind.accepted == 3

    def test_idle_timeout(self, moongate, upstream):
        behind = upstream()
        gateway = moongate(http=group(self.code(behind.port, keepalive="0.05")), server=PROXY)
        asks(gateway, 1)
        harness.eventually(lambda: behind.open_connections == 0)
        asks(gateway, 1)
        assert behind.accepted == 2

    def test_zero_means_no_limit(self, moongate, upstream):
        behind = upstream()
        gateway = moongate(http=group(self.code(behind.port, keepalive="0, 0")), server=PROXY)
        asks(gateway, 120)
        assert behind.accepted == 1

    @pytest.mark.parametrize("option", [", ngx.var.arg_n", ", { host = ngx.var.arg_n }", ", { pool = ngx.var.arg_n }"])
    def test_a_pool_for_each_name(self, moongate, upstream, option):
        behind = upstream()
        gateway = moongate(http=group(self.code(behind.port, option)), server=PROXY)
        for _ in range(3):
            for name in ("a", "b", "c"):
                asks(gateway, 1, f"/?n={name}")
        assert behind.accepted == 3

    @pytest.mark.parametrize("option, more", [(", { pool_size = 1 }", ""), ("", "balancer_keepalive 1;")])
    def test_pool_size(self, moongate, upstream, option, more):
        """Three at once, one of them is kept."""
        import threading
        gate = threading.Barrier(3)

        def together(request, _):
            if request.target == "/together":
                gate.wait(5)
            return harness.answer("x")
        behind = upstream(together)
        gateway = moongate(http=group(self.code(behind.port, option), more=more), server=PROXY)
        threads = [threading.Thread(target=gateway.get, args=("/together",)) for _ in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        harness.eventually(lambda: behind.open_connections == 1)
        asks(gateway, 3, "/alone")
        assert behind.accepted == 3

    def test_pools_that_are_not_used_any_more_are_forgotten(self, moongate, upstream):
        """Each request another pool, none of which keeps anything: the connection serves its last request."""
        behind = upstream()
        gateway = moongate(http=group(self.code(behind.port, ", ngx.var.arg_n", "60, 1")), server=PROXY)
        for n in range(300):
            asks(gateway, 1, f"/?n={n}")
        assert behind.accepted == 300

    @pytest.mark.parametrize("code, message", [
        ('balancer.enable_keepalive("x")', "bad idle timeout type"), ("balancer.enable_keepalive(-1)", "bad idle timeout"),
        ("balancer.enable_keepalive(1, -1)", "bad max requests"), ("balancer.enable_keepalive(1, {})", "bad max requests"),
        ("assert(balancer.enable_keepalive())", "no current peer set"),
        ('balancer.set_current_peer("127.0.0.1", 1, 5)', "bad host"),
        ('balancer.set_current_peer("127.0.0.1", 1, { pool = 5 })', "bad pool")])
    def test_refuses(self, moongate, code, message):
        gateway = moongate(http=group('local balancer = require "ngx.balancer" ' + code), server=PROXY)
        assert gateway.get("/").status == 500
        assert message in gateway.error_log()


@pytest.mark.moongate_only
def test_bind_to_local_addr(moongate, upstream):
    seen = []

    def script(request, connection):
        seen.append(connection.sock.getpeername()[0])
        return harness.answer("x")
    behind = upstream(script)
    gateway = moongate(http=group("""local balancer = require "ngx.balancer"
        if ngx.var.arg_from then
            local ok, err = balancer.bind_to_local_addr(ngx.var.arg_from)
            if not ok then ngx.log(ngx.ERR, "not bound: ", err) end
        end """ + to(behind.port)), server=PROXY)
    named = f"127.0.0.8:{harness.free_port()}"
    for path in ("/?from=127.0.0.9", "/", "/?from=127.0.0.9", f"/?from={named}", "/?from=nonsense"):
        asks(gateway, 1, path)
    assert seen == ["127.0.0.9", "127.0.0.1", "127.0.0.9", "127.0.0.8", "127.0.0.1"]
    assert behind.accepted == 3
    assert "not bound: invalid local address" in gateway.error_log()


@pytest.mark.moongate_only
def test_set_upstream_tls(moongate, upstream):
    gateway = moongate(http=group("""local balancer = require "ngx.balancer" assert(balancer.set_upstream_tls(false))
        local ok, err = balancer.set_upstream_tls(true) ngx.log(ngx.ERR, "tls: ", tostring(ok), " ", err) """
                                  + to(upstream().port)), server=PROXY)
    asks(gateway, 1)
    assert "tls: nil TLS to upstream servers is not supported yet" in gateway.error_log()


def test_two_workers_of_lua_are_not_mixed_up(moongate, upstream):
    """Requests that choose at the same time keep their own peers."""
    import threading
    behind = [upstream(harness.answer(str(n))) for n in range(4)]
    gateway = moongate(http=group("""local balancer = require "ngx.balancer"
        assert(balancer.set_current_peer("127.0.0.1", tonumber(ngx.var.arg_p)))"""), server=PROXY)
    wrong = []

    def run(n):
        for _ in range(20):
            if gateway.get(f"/?p={behind[n].port}").body != str(n).encode():
                wrong.append(n)
    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong
