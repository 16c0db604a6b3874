"""ngx.location.capture and capture_multi: what a subrequest inherits, what comes back, and what ends it."""
import json
import re
import time

import pytest

import harness
from harness import answer

JSON = 'local cjson = require "cjson" '


def capture(moongate, code, method="GET", headers=None, body=None, server="", **arguments):
    """Runs `code` as the content of /; returns the response."""
    gateway = moongate(server="%s location = / { content_by_lua_block { %s } }" % (server, code), **arguments)
    reply = gateway.request(method, "/", headers, body)
    assert reply.status == 200, gateway.logs()
    return reply


# --- ngx.location.capture: the result ---

def test_capture_returns_status_header_body_truncated(moongate):
    reply = capture(moongate, JSON + """
        local res = ngx.location.capture("/sub")
        ngx.print(cjson.encode({ res.status, res.body, res.truncated, res.header["X-One"], res.header["X-Two"],
                                 res.header["Content-Type"] }))""", server="""
        location = /sub { default_type text/x-sub; content_by_lua_block {
            ngx.status = 203 ngx.header["X-One"] = "1" ngx.header["X-Two"] = { "a", "b" } ngx.say("hello") } }""")
    assert json.loads(reply.body) == [203, "hello\n", False, "1", ["a", "b"], "text/x-sub"]
    assert reply.header("X-One") is None


def test_capture_static_file(moongate):
    reply = capture(moongate, """
        local res = ngx.location.capture("/a.txt")
        ngx.say(res.status, " ", res.header["Content-Length"], " ", res.header["Last-Modified"] ~= nil, " ", res.body)""",
                    files={"html/a.txt": "file"}, server="root html;")
    assert reply.body == b"200 4 true file\n"


def test_capture_large_file_is_whole(moongate):
    content = bytes(range(256)) * 5000
    reply = capture(moongate, 'local r = ngx.location.capture("/a.bin") ngx.print(r.body)',
                    files={"html/a.bin": content}, server="root html;")
    assert reply.body == content


def test_capture_status_replaces_error_page(moongate):
    reply = capture(moongate, """
        for _, uri in ipairs{"/none", "/denied", "/moved", "/lua"} do
            local res = ngx.location.capture(uri)
            ngx.say(res.status, " [", res.body, "] ", res.header.Location)
        end""", server="""
        root html; error_page 404 403 /page; location = /page { return 200 "page"; }
        location = /denied { return 403; }
        location = /moved { rewrite ^ /there redirect; }
        location = /lua { content_by_lua_block { ngx.exit(503) } }""")
    lines = reply.text.splitlines()
    assert lines[0] == "404 [] nil" and lines[1] == "403 [] nil" and lines[3] == "503 [] nil"
    assert lines[2].startswith("302 [] ") and lines[2].endswith("/there")


def test_capture_lua_error_is_500(moongate):
    reply = capture(moongate, 'ngx.say(ngx.location.capture("/bad").status)',
                    server='location = /bad { content_by_lua_block { error("no") } }')
    assert reply.body == b"500\n"


def test_capture_truncated(moongate, upstream):
    broken = upstream(lambda request, connection: connection.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort") or None)
    reply = capture(moongate, """
        local res = ngx.location.capture("/sub") ngx.say(res.status, " ", res.truncated, " ", res.body)""",
                    server="location = /sub { proxy_buffering off; proxy_pass http://127.0.0.1:%d; }" % broken.port)
    assert reply.body == b"200 true short\n"


def test_capture_proxied(moongate, upstream):
    other = upstream(answer("from there", "201 Created", ["X-There: 1", "Set-Cookie: a=1", "Set-Cookie: b=2"]))
    reply = capture(moongate, JSON + """
        local res = ngx.location.capture("/sub/x?q=1")
        ngx.print(cjson.encode({ res.status, res.body, res.header["X-There"], res.header["Set-Cookie"] }))""",
                    headers={"X-Mine": "yes"},
                    server="location /sub/ { proxy_pass http://127.0.0.1:%d/up/; }" % other.port)
    assert json.loads(reply.body) == [201, "from there", "1", ["a=1", "b=2"]]
    request = other.requests[0]
    assert (request.method, request.target) == ("GET", "/up/x?q=1")
    assert request.header("X-Mine") == "yes"


# --- options ---

METHODS = ("GET POST PUT HEAD DELETE OPTIONS MKCOL COPY MOVE PROPFIND PROPPATCH LOCK UNLOCK PATCH TRACE").split()


@pytest.mark.parametrize("method", METHODS)
def test_capture_option_method(moongate, method):
    reply = capture(moongate, """
        local res = ngx.location.capture("/sub", { method = ngx.HTTP_%s })
        ngx.say(res.status, " ", res.header["X-Method"], " ", res.header["X-Main"], " ", #res.body)""" % method, server="""
        location = /sub { content_by_lua_block {
            ngx.header["X-Method"] = ngx.req.get_method() ngx.header["X-Main"] = ngx.var.request_method
            ngx.print("12345") } }""")
    assert reply.text == f"200 {method} GET {0 if method == 'HEAD' else 5}\n"


def test_capture_option_args(moongate):
    reply = capture(moongate, """
        for _, q in ipairs{ { "/sub?a=1", { args = "b=2" } }, { "/sub", { args = { c = "x y" } } }, { "/sub?a=1", {} },
                            { "/sub", { args = 7 } } } do
            ngx.say(ngx.location.capture(q[1], q[2]).body)
        end""", server='location = /sub { content_by_lua_block { ngx.print(ngx.var.args) } }')
    assert reply.text.splitlines() == ["a=1&b=2", "c=x%20y", "a=1", "7"]


def test_capture_option_body(moongate):
    reply = capture(moongate, """
        for _, options in ipairs{ { body = "text" }, { body = 12, method = ngx.HTTP_PUT }, { body = "" } } do
            ngx.print(ngx.location.capture("/sub", options).body)
        end""", "POST", body="of the parent", server="""
        location = /sub { content_by_lua_block { ngx.req.read_body()
            ngx.say(ngx.req.get_body_data(), " ", ngx.var.http_content_length) } }""")
    assert reply.text.splitlines() == ["text 4", "12 2", "nil 0"]


def test_capture_option_always_forward_body(moongate, upstream):
    other = upstream()
    capture(moongate, """
        ngx.req.read_body()
        ngx.location.capture("/sub?get")
        ngx.location.capture("/sub?forward", { always_forward_body = true })
        ngx.location.capture("/sub?post", { method = ngx.HTTP_POST })""", "POST", body="mine",
            server="location = /sub { proxy_pass http://127.0.0.1:%d; }" % other.port)
    bodies = {request.target.split("?")[1]: request.body for request in other.requests}
    assert bodies == {"get": b"", "forward": b"mine", "post": b"mine"}


def test_capture_forwards_chunked_body_with_a_length(moongate, upstream):
    other = upstream()
    gateway = moongate(server="""
        location = / { content_by_lua_block { ngx.req.read_body()
            ngx.location.capture("/sub", { method = ngx.HTTP_POST }) } }
        location = /sub { proxy_pass http://127.0.0.1:%d; }""" % other.port)
    gateway.raw(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    request = other.requests[0]
    assert request.body == b"abc" and request.all("Content-Length") == ["3"]
    assert request.header("Transfer-Encoding") is None


def test_capture_forwards_body_in_a_file(moongate, upstream):
    other = upstream()
    body = b"x" * 100000
    capture(moongate, """ngx.req.read_body()
        for i = 1, 2 do ngx.location.capture("/sub", { method = ngx.HTTP_PUT }) end ngx.say("done")""",
            "POST", body=body, server="""client_body_buffer_size 1k; client_body_in_file_only clean;
            location = /sub { proxy_pass http://127.0.0.1:%d; }""" % other.port)
    assert [request.body for request in other.requests] == [body, body]


def test_capture_option_ctx(moongate):
    reply = capture(moongate, """
        local mine = {} ngx.location.capture("/sub", { ctx = mine })
        ngx.location.capture("/sub", { ctx = ngx.ctx }) ngx.location.capture("/sub")
        ngx.say(mine.seen, " ", ngx.ctx.seen)""",
                    server='location = /sub { content_by_lua_block { ngx.ctx.seen = (ngx.ctx.seen or 0) + 1 } }')
    assert reply.body == b"1 1\n"


VARS = """
    location = /sub { set $fresh "own"; content_by_lua_block {
        ngx.print(ngx.var.given, " ", ngx.var.fresh) ngx.var.given = "changed" } }"""


@pytest.mark.parametrize("options, inside, outside", [
    ("", " own", "mine"),
    ("copy_all_vars = true", "mine own", "mine"),
    ("share_all_vars = true", "mine own", "changed"),
    ('vars = { given = "other" }', "other own", "mine"),
    ('copy_all_vars = true, vars = { given = 5 }', "5 own", "mine"),
    ('share_all_vars = true, vars = { given = "g" }', "g own", "changed"),
], ids=["none", "copy_all_vars", "share_all_vars", "vars", "copy_and_vars", "share_and_vars"])
def test_capture_option_vars(moongate, options, inside, outside):
    gateway = moongate(server=VARS + """ location = / { set $given "mine"; content_by_lua_block {
        local body = ngx.location.capture("/sub", { %s }).body ngx.say(body, "|", ngx.var.given) } }""" % options)
    assert gateway.get("/").text.replace("nil", "") == f"{inside}|{outside}\n"


@pytest.mark.parametrize("call, message", [
    ('ngx.location.capture()', "expecting one or two arguments"),
    ('ngx.location.capture("/a", 1)', "expecting table as the 2nd argument for subrequest 0, but got number"),
    ('ngx.location.capture("/a", { method = "GET" })', "Bad http request method"),
    ('ngx.location.capture("/a", { method = 99 })', "failed to adjust the subrequest: -1"),
    ('ngx.location.capture("/a", { args = true })', "Bad args option value"),
    ('ngx.location.capture("/a", { vars = 1 })', "Bad vars option value"),
    ('ngx.location.capture("/a", { vars = { [1] = 2 } })', 'attempt to use a non-string key in the "vars" option table'),
    ('ngx.location.capture("/a", { vars = { given = {} } })', "attempt to use bad variable value type table"),
    ('ngx.location.capture("/a", { vars = { uri = "/x" } })', "failed to adjust the subrequest: 500"),
    ('ngx.location.capture("/a", { vars = { unknown_one = "x" } })', "failed to adjust the subrequest: -1"),
    ('ngx.location.capture("/a", { copy_all_vars = 1 })', "Bad copy_all_vars option value"),
    ('ngx.location.capture("/a", { share_all_vars = "1" })', "Bad share_all_vars option value"),
    ('ngx.location.capture("/a", { ctx = 1 })', "Bad ctx option value type number, expected a Lua table"),
    ('ngx.location.capture("/a", { body = true })', "Bad http request body"),
    ('ngx.location.capture("/../a")', "unsafe uri in argument #1: /../a"),
    ('ngx.location.capture_multi()', "only one argument is expected, but got 0"),
    ('ngx.location.capture_multi({})', "at least one subrequest should be specified"),
    ('ngx.location.capture_multi({ "/a" })', "the query argument 0 is not a table, but a string"),
    ('ngx.location.capture_multi({ { "/a", {}, 3 } })', "query argument 0 expecting one or two arguments"),
])
def test_capture_refuses(moongate, call, message):
    reply = capture(moongate, "local given ngx.print(select(2, pcall(function() return %s end)))" % call,
                    server="set $given 1; location /a { return 200; }")
    assert message in reply.text


# --- capture_multi ---

def test_capture_multi_runs_together_and_keeps_order(moongate):
    reply = capture(moongate, """
        local start = ngx.now()
        local a, b, c = ngx.location.capture_multi{ { "/sub?d=0.3&n=a" }, { "/sub?d=0.1&n=b", {} }, { "/sub?d=0.2&n=c" } }
        ngx.update_time()
        ngx.say(a.body, b.body, c.body, " ", ngx.now() - start < 0.5)""", server="""
        location = /sub { content_by_lua_block { ngx.sleep(tonumber(ngx.var.arg_d)) ngx.print(ngx.var.arg_n) } }""")
    assert reply.body == b"abc true\n"


def test_capture_multi_many(moongate):
    reply = capture(moongate, """
        local queries = {} for i = 1, 200 do queries[i] = { "/sub?n=" .. i } end
        local all = { ngx.location.capture_multi(queries) } local sum = 0
        for _, res in ipairs(all) do sum = sum + tonumber(res.body) end ngx.say(#all, " ", sum)""",
                    server="location = /sub { content_by_lua_block { ngx.sleep(0) ngx.print(ngx.var.arg_n) } }")
    assert reply.body == b"200 20100\n"


# --- where a subrequest goes ---

def test_capture_nested_and_its_limit(moongate):
    gateway = moongate(server="""
        location = /down { content_by_lua_block {
            local n = tonumber(ngx.var.arg_n)
            if n == 0 then ngx.print("end") return end
            local ok, res = pcall(ngx.location.capture, "/down?n=" .. n - 1)
            ngx.print(ok and res.body or res) } }""")
    assert gateway.get("/down?n=51").body == b"end"
    assert b"failed to issue subrequest: -1" in gateway.get("/down?n=52").body
    assert 'lua subrequests cycle while processing "/down"' in gateway.error_log()


def test_capture_internal_location_and_no_access_phase(moongate):
    reply = capture(moongate, """
        local res = ngx.location.capture("/sub") ngx.say(res.status, " ", res.body, " ", tostring(ngx.is_subrequest))""", server="""
        location = /sub { internal; deny all; access_by_lua_block { ngx.exit(403) }
            content_by_lua_block { ngx.print(tostring(ngx.is_subrequest), tostring(ngx.req.is_internal())) } }""")
    assert reply.body == b"200 truetrue false\n"


def test_capture_follows_exec_redirects_and_rewrites(moongate):
    reply = capture(moongate, """
        for _, uri in ipairs{"/exec", "/named", "/rewrite", "/try"} do ngx.print(ngx.location.capture(uri).body) end""",
                    server="""
        location = /exec { content_by_lua_block { ngx.exec("/to", "a=exec") } }
        location = /named { content_by_lua_block { ngx.exec("@to") } }
        location @to { echo "named $uri"; }
        location = /rewrite { rewrite ^ /to?a=rewrite last; }
        location = /try { try_files /none @to; }
        location = /to { echo "to $arg_a"; }""")
    assert reply.text.splitlines() == ["to exec", "named /named", "to rewrite", "named /try"]


def test_capture_redirect_is_returned(moongate):
    reply = capture(moongate, """
        local res = ngx.location.capture("/sub") ngx.say(res.status, " ", res.header.Location)""",
                    server='location = /sub { content_by_lua_block { ngx.redirect("/over", 307) } }')
    assert reply.body == b"307 /over\n"


def test_capture_runs_the_locations_filters(moongate):
    reply = capture(moongate, """
        local res = ngx.location.capture("/sub") ngx.print(res.header["X-Filter"], " ", res.body)""", server="""
        location = /sub { echo sub;
            header_filter_by_lua_block { ngx.header["X-Filter"] = "set" }
            body_filter_by_lua_block { ngx.arg[1] = string.upper(ngx.arg[1]) } }
        header_filter_by_lua_block { ngx.header["X-Outer"] = "set" }""")
    assert reply.body == b"set SUB\n" and reply.header("X-Outer") == "set"


def test_capture_keeps_request_uri_and_changes_uri(moongate):
    gateway = moongate(server="""
        location = /main { content_by_lua_block { ngx.print(ngx.location.capture("/sub?x=1").body) } }
        location = /sub { echo "$request_uri $uri $args $request_method"; }""")
    assert gateway.request("POST", "/main?m=1", body="").text == "/main?m=1 /sub x=1 POST\n"


def test_capture_inherits_headers(moongate):
    reply = capture(moongate, """
        ngx.req.set_header("X-Set", "later") ngx.print(ngx.location.capture("/sub").body)
        ngx.print(ngx.req.get_headers()["X-Sub"])""", headers={"X-Own": "1"}, server="""
        location = /sub { content_by_lua_block {
            ngx.say(ngx.var.http_x_own, " ", ngx.var.http_x_set) ngx.req.set_header("X-Sub", "1") } }""")
    assert reply.text == "1 later\nnil"


# --- in every phase ---

def test_capture_in_rewrite_and_access(moongate):
    gateway = moongate(server="""
        location = / {
            rewrite_by_lua_block { ngx.ctx.a = ngx.location.capture("/sub?n=rewrite").body }
            access_by_lua_block { ngx.ctx.b = ngx.location.capture("/sub?n=access").body }
            content_by_lua_block { ngx.say(ngx.ctx.a, ngx.ctx.b) } }
        location = /sub { echo -n $arg_n; }""")
    assert gateway.get("/").body == b"rewriteaccess\n"


@pytest.mark.moongate_only
@pytest.mark.parametrize("phase, config", [
    ("set", 'set_by_lua_block $v { return ngx.location.capture("/sub").body } return 200 $v;'),
    ("header_filter", """header_filter_by_lua_block { ngx.header["X-Got"] = ngx.location.capture("/sub").body }
                         return 200 sub;"""),
    ("body_filter", """body_filter_by_lua_block {
            if ngx.arg[1] ~= "" then ngx.arg[1] = ngx.location.capture("/sub").body end }
        return 200 xxx;"""),
    ("log", """log_by_lua_block { ngx.log(ngx.WARN, "got ", ngx.location.capture("/sub").body) } return 200 sub;"""),
])
def test_capture_in_phase(moongate, phase, config):
    gateway = moongate(server="""location = / { %s }
        location = /sub { content_by_lua_block { ngx.sleep(0.01) ngx.print("sub") } }""" % config)
    reply = gateway.get("/")
    assert reply.body == b"sub", gateway.logs()
    if phase == "header_filter":
        assert reply.header("X-Got") == "sub"
    if phase == "log":
        harness.eventually(lambda: "got sub" in gateway.error_log())


def test_capture_in_a_timer_is_refused(moongate):
    gateway = moongate(server="""location = / { content_by_lua_block {
        ngx.timer.at(0, function() ngx.log(ngx.WARN, "said: ", select(2, pcall(ngx.location.capture, "/"))) end) } }""")
    gateway.get("/")
    harness.eventually(lambda: re.search("said: .*(API disabled|no request)", gateway.error_log()))


def test_capture_in_light_threads(moongate):
    reply = capture(moongate, """
        local function get(n) return ngx.location.capture("/sub?n=" .. n).body end
        local a, b = ngx.thread.spawn(get, "a"), ngx.thread.spawn(get, "b")
        local _, x = ngx.thread.wait(a) local _, y = ngx.thread.wait(b) ngx.say(x, y)""",
                    server="location = /sub { content_by_lua_block { ngx.sleep(0.01) ngx.print(ngx.var.arg_n) } }")
    assert reply.body == b"ab\n"


# --- logs and ends ---

@pytest.mark.parametrize("log_subrequest", ["on", "off"])
def test_capture_log_subrequest(moongate, log_subrequest):
    gateway = moongate(http="log_format l '$uri $status'; ", server="""
        access_log logs/access.log l; log_subrequest %s;
        location = / { content_by_lua_block { ngx.location.capture("/sub") } }
        location = /sub { return 204; }""" % log_subrequest)
    gateway.get("/")
    path = gateway.prefix / "logs/access.log"
    harness.eventually(lambda: "/ 200" in path.read_text())
    assert ("/sub 204" in path.read_text()) == (log_subrequest == "on")


def test_capture_444_ends_the_main_request(moongate):
    gateway = moongate(server="""
        location = / { content_by_lua_block { ngx.location.capture("/sub") ngx.say("no") } }
        location = /sub { return 444; }""")
    assert gateway.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == b""


@pytest.mark.moongate_only
def test_capture_is_cancelled_by_exit(moongate):
    gateway = moongate(server="""
        location = / { content_by_lua_block {
            ngx.thread.spawn(function() ngx.location.capture("/sub") end) ngx.sleep(0.01) ngx.exit(403) } }
        location = /sub { content_by_lua_block { ngx.sleep(5) ngx.log(ngx.ERR, "went on") } }""")
    start = time.monotonic()
    assert gateway.get("/").status == 403
    assert time.monotonic() - start < 3 and "went on" not in gateway.error_log()


@pytest.mark.moongate_only
@pytest.mark.parametrize("check", ["lua_check_client_abort on;", ""], ids=["lua_check_client_abort", "proxied"])
def test_capture_is_cancelled_with_its_client(moongate, upstream, check):
    closed = []

    def wait(request, connection):
        closed.append(None)
        while connection._more():
            pass
        closed.append(True)

    other = upstream(wait)
    gateway = moongate(server="""
        location = / { %s content_by_lua_block { ngx.location.capture("/sub") } }
        location = /sub { proxy_pass http://127.0.0.1:%d; }""" % (check, other.port))
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        harness.eventually(lambda: len(closed) == 1)
    harness.eventually(lambda: len(closed) == 2, what="the upstream connection is closed")


def test_capture_many_times_in_a_row(moongate):
    reply = capture(moongate, """
        local n = 0 for i = 1, 3000 do n = n + #ngx.location.capture("/sub").body end ngx.say(n)""",
                    server='location = /sub { return 200 "0123456789"; }')
    assert reply.body == b"30000\n"


def test_exec_to_a_named_location_has_no_arguments(moongate):
    gateway = moongate(server="""location = / { content_by_lua_block { ngx.exec("@to?a=1", "b=2") } }
        location @to { echo [$args]; }""")
    assert gateway.get("/").body == b"[]\n"
