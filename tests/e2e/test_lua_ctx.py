"""ngx.ctx, lua_ctx_keep and ngx.conn.ctx."""
import signal

import pytest

import harness

SAY = "content_by_lua_block { ngx.say(ngx.var.uri, ' ', tostring(ngx.ctx.mark), ' ', tostring(ngx.ctx.mark2)) }"
WAYS = {
    "exec": 'location = /from { %KEEP% access_by_lua_block { ngx.ctx.mark = "kept" ngx.exec("/to") } }',
    "exec_named": 'location = /from { %KEEP% content_by_lua_block { ngx.ctx.mark = "kept" ngx.exec("@to") } }',
    "error_page": """location = /from { %KEEP% error_page 418 /to; access_by_lua_block { ngx.ctx.mark = "kept" }
                     content_by_lua_block { ngx.exit(418) } }""",
    "error_page_named": """location = /from { %KEEP% error_page 418 = @to;
                           rewrite_by_lua_block { ngx.ctx.mark = "kept" ngx.exit(418) } }""",
    "set_uri": 'location = /from { %KEEP% rewrite_by_lua_block { ngx.ctx.mark = "kept" ngx.req.set_uri("/to", true) } }',
    "try_files": 'location = /from { %KEEP% rewrite_by_lua_block { ngx.ctx.mark = "kept" } try_files /none @to; }',
}


def ways(way, keep):
    return WAYS[way].replace("%KEEP%", keep) + " location = /to { %s } location @to { %s }" % (SAY, SAY)


@pytest.mark.parametrize("way", WAYS)
def test_ctx_is_cleared_by(moongate, way):
    gateway = moongate(server=ways(way, ""))
    assert gateway.get("/from").text.split()[1] == "nil"


@pytest.mark.moongate_only
@pytest.mark.parametrize("way", WAYS)
def test_lua_ctx_keep(moongate, way):
    gateway = moongate(server=ways(way, "lua_ctx_keep on;"))
    for _ in range(3):
        assert gateway.get("/from").text.split()[1] == "kept"


@pytest.mark.moongate_only
def test_lua_ctx_keep_of_server_reaches_the_log_phase(moongate):
    gateway = moongate(http="lua_ctx_keep on;", server="""
        location = /a { access_by_lua_block { ngx.ctx.n = 1 ngx.exec("/b") } }
        location = /b { access_by_lua_block { ngx.ctx.n = ngx.ctx.n + 1 ngx.exec("/c") } }
        location = /c { content_by_lua_block { ngx.ctx.n = ngx.ctx.n + 1 ngx.say(ngx.ctx.n) }
                        log_by_lua_block { ngx.log(ngx.ERR, "counted ", ngx.ctx.n) } }
        location = /off { lua_ctx_keep off; access_by_lua_block { ngx.ctx.n = 1 ngx.exec("/end") } }
        location = /end { content_by_lua_block { ngx.say(tostring(ngx.ctx.n)) } }""")
    assert gateway.get("/a").body == b"3\n"
    harness.eventually(lambda: "counted 3" in gateway.error_log())
    assert gateway.get("/off").body == b"nil\n"


def test_ctx_is_shared_by_phases(moongate):
    gateway = moongate(server="""location / {
        rewrite_by_lua_block { ngx.ctx.a = 1 } access_by_lua_block { ngx.ctx.a = ngx.ctx.a + 1 }
        content_by_lua_block { ngx.say(ngx.ctx.a) }
        log_by_lua_block { ngx.log(ngx.ERR, "in log ", ngx.ctx.a) } }""")
    assert gateway.get("/").body == b"2\n"
    harness.eventually(lambda: "in log 2" in gateway.error_log())


def test_requests_of_one_connection_share_no_ctx(moongate):
    gateway = moongate(server="""location / { content_by_lua_block {
        ngx.ctx.n = (ngx.ctx.n or 0) + 1 ngx.ctx[ngx.var.arg_name] = true
        local names = {} for name in pairs(ngx.ctx) do names[#names + 1] = name end
        table.sort(names) ngx.say(table.concat(names, ",")) } }""")
    with gateway.connect() as connection:
        for name in ("a", "b", "z"):
            connection.send(b"GET /?name=%s HTTP/1.1\r\nHost: a\r\n\r\n" % name.encode())
            assert connection.read_response().body == b"%s\n" % ",".join(sorted([name, "n"])).encode()


def ask(connection, path="/"):
    connection.send(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
    return connection.read_response().body.decode().strip()


@pytest.mark.moongate_only
class TestConnCtx:
    SERVER = """location / { content_by_lua_block {
        local ctx = ngx.conn.ctx ctx.n = (ctx.n or 0) + 1 ngx.say(ctx.n) } }
        location /log { log_by_lua_block { ngx.conn.ctx.n = 100 } return 200; }
        location /exec { rewrite_by_lua_block { ngx.conn.ctx.n = 50 ngx.exec("/") } }
        location /assign { content_by_lua_block { ngx.conn.ctx = { n = 7 }
            local ok, err = pcall(function() ngx.conn.ctx = 1 end) ngx.say(tostring(ok), " ", err) } }
        location /same { content_by_lua_block { ngx.say(tostring(require "ngx.conn" == ngx.conn), " ",
            tostring(ngx.conn.other)) } }
        location /timer { content_by_lua_block { local ok, err
            ngx.timer.at(0, function() ok, err = pcall(function() return ngx.conn.ctx end)
                ngx.log(ngx.ERR, "in a timer: ", err) end) ngx.say(1) } }"""

    def test_ngx_conn_ctx_is_the_connections(self, moongate):
        gateway = moongate(server=self.SERVER)
        with gateway.connect() as one, gateway.connect() as two:
            assert [ask(one), ask(one), ask(two), ask(one), ask(two)] == ["1", "2", "1", "3", "2"]
            ask(one, "/log")
            assert ask(one) == "101"
            assert ask(one, "/exec") == "51"
            assert ask(two) == "3"

    def test_can_be_replaced(self, moongate):
        gateway = moongate(server=self.SERVER)
        with gateway.connect() as one:
            assert ask(one, "/assign").startswith("false ") and ask(one) == "8"
            assert ask(one, "/same") == "true nil"

    def test_is_for_requests_alone(self, moongate):
        gateway = moongate(server=self.SERVER)
        with gateway.connect() as one:
            ask(one, "/timer")
        harness.eventually(lambda: "API disabled in the context of ngx.timer" in gateway.error_log())

    def test_is_freed_with_the_connection(self, moongate):
        gateway = moongate(server="""location / { content_by_lua_block {
            local seen = package.loaded.seen or setmetatable({}, { __mode = "k" })
            package.loaded.seen = seen
            seen[ngx.conn.ctx] = true ngx.say(1) } }
            location /left { content_by_lua_block { collectgarbage() collectgarbage()
                local n = 0 for _ in pairs(package.loaded.seen) do n = n + 1 end ngx.say(n) } }""")
        with gateway.connect() as stays:
            ask(stays)
            for _ in range(5):
                with gateway.connect() as goes:
                    ask(goes)
            harness.eventually(lambda: ask(stays, "/left") == "1")

    def test_begins_anew_after_a_reload(self, moongate):
        gateway = moongate(server=self.SERVER)
        with gateway.connect() as one:
            assert [ask(one), ask(one)] == ["1", "2"]
            gateway.reload()
            # The connection goes on; its table belongs to the old code.
            harness.eventually(lambda: ask(one) == "1")
            assert ask(one) == "2"

    def test_each_request_has_its_own_without_code_cache(self, moongate):
        gateway = moongate(http="lua_code_cache off;", server=self.SERVER)
        gateway.allow("lua_code_cache is off")
        with gateway.connect() as one:
            assert [ask(one), ask(one)] == ["1", "1"]
