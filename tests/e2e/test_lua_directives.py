"""Each *_by_lua directive in its block, string and file forms, and the settings that steer them."""
import pytest

import harness


def forms(name, code, *, arguments="", block=True, string=True):
    """The same code in every form of a directive, with the file it needs."""
    made = {}
    if block:
        made["block"] = f"{name}_block {arguments} {{ {code} }}"
    if string:
        made["string"] = f"{name} {arguments} '{code}';"
    made["file"] = f"{name}_file {arguments} code/it.lua;"
    return made


FORMS = ("block", "string", "file")


@pytest.mark.parametrize("form", FORMS)
def test_content(moongate, form):
    code = 'ngx.say("made by ", ngx.get_phase())'
    gateway = moongate(server="location / { default_type text/x-own; %s }" % forms("content_by_lua", code)[form],
                       files={"code/it.lua": code})
    answer = gateway.get("/")
    assert (answer.status, answer.body, answer.header("Content-Type")) == (200, b"made by content\n", "text/x-own")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("phase", ["rewrite", "access"])
def test_rewrite_and_access(moongate, phase, form):
    code = 'ngx.ctx.seen = ngx.get_phase() if ngx.var.arg_stop then ngx.exit(403) end'
    gateway = moongate(server="""location / { %s
        content_by_lua_block { ngx.say(ngx.ctx.seen) } }""" % forms(f"{phase}_by_lua", code)[form],
                       files={"code/it.lua": code})
    assert gateway.get("/").body == f"{phase}\n".encode()
    assert gateway.get("/?stop=1").status == 403


@pytest.mark.parametrize("form", FORMS)
def test_set(moongate, form):
    code = "return (ngx.arg[1] or 1) + (ngx.arg[2] or 2)"
    arguments = {"block": "$sum", "string": "$sum", "file": "$sum"}[form]
    directive = forms("set_by_lua", code, arguments=arguments)[form]
    if form != "block":
        directive = directive[:-1] + " $arg_a 5;"
    gateway = moongate(server='location / { %s return 200 "$sum"; }' % directive, files={"code/it.lua": code})
    assert gateway.get("/?a=4").body == (b"3" if form == "block" else b"9")


@pytest.mark.parametrize("form", FORMS)
def test_filters_and_log(moongate, form):
    head, body, log = 'ngx.header["X-Phase"] = ngx.get_phase()', 'ngx.arg[1] = ngx.arg[1]:upper()', \
        'ngx.log(ngx.ERR, "phase is ", ngx.get_phase())'
    directives = "\n".join(forms(f"{name}_by_lua", code)[form].replace("it.lua", f"{name}.lua")
                           for name, code in (("header_filter", head), ("body_filter", body), ("log", log)))
    gateway = moongate(server='location / { %s content_by_lua_block { ngx.say("quiet") } }' % directives,
                       files={"code/header_filter.lua": head, "code/body_filter.lua": body, "code/log.lua": log})
    answer = gateway.get("/")
    assert (answer.body, answer.header("X-Phase")) == (b"QUIET\n", "header_filter")
    harness.eventually(lambda: "phase is log" in gateway.error_log())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["init_by_lua", "init_worker_by_lua"])
def test_init(moongate, name, form):
    code = 'package.loaded.state = { text = "from " .. ngx.get_phase() }'
    gateway = moongate(http=forms(name, code)[form], files={"code/it.lua": code}, server="""
        location / { content_by_lua_block { ngx.say(require("state").text) } }""")
    assert gateway.get("/").body == b"from init\n" if name == "init_by_lua" else b"from init_worker\n"


def test_server_rewrite(moongate):
    gateway = moongate(server="""
        server_rewrite_by_lua_block { if ngx.var.uri == "/old" then ngx.req.set_uri("/new") end }
        location /new { return 200 "new $uri"; }
        location /old { return 200 "old"; }""")
    assert gateway.get("/old").body == b"new /new"


def test_content_file_with_variables(moongate):
    gateway = moongate(server="location ~ ^/run/(.+)$ { content_by_lua_file code/$1.lua; }",
                       files={"code/one.lua": "ngx.say(1)", "code/two.lua": "ngx.say(2)"})
    assert gateway.get("/run/one").body == b"1\n"
    assert gateway.get("/run/two").body == b"2\n"
    assert gateway.get("/run/three").status == 404


def test_package_path(moongate):
    gateway = moongate(http='lua_package_path "$prefix/lib/?.lua;;";', files={"lib/own.lua": "return { answer = 42 }"},
                       server='location / { content_by_lua_block { ngx.say(require("own").answer, '
                              'type(require("resty.core").version)) } }')
    assert gateway.get("/").body == b"42string\n"


def test_need_request_body(moongate):
    gateway = moongate(server="""lua_need_request_body on;
        location / { content_by_lua_block { ngx.say(ngx.req.get_body_data()) } }""")
    assert gateway.request("POST", "/", body="abc").body == b"abc\n"


def test_default_type_can_be_left_out(moongate):
    gateway = moongate(server="""
        location /on.html { types { text/html html; } content_by_lua_block { ngx.say(1) } }
        location /off { lua_use_default_type off; content_by_lua_block { ngx.say(1) } }""")
    assert gateway.get("/on.html").header("Content-Type") == "text/html"
    assert gateway.get("/off").header("Content-Type") is None


def test_underscores_in_response_headers(moongate):
    gateway = moongate(server="""
        location /on { content_by_lua_block { ngx.header.x_a = 1 ngx.say(1) } }
        location /off { lua_transform_underscores_in_response_headers off;
                        content_by_lua_block { ngx.header.x_a = 1 ngx.say(1) } }""")
    assert gateway.get("/on").header("X-A") == "1"
    assert gateway.get("/off").header("x_a") == "1"


def test_http10_responses_get_a_length(moongate):
    gateway = moongate(server="""
        location /held { content_by_lua_block { ngx.say("ab") ngx.say("cd") } }
        location /not { lua_http10_buffering off; content_by_lua_block { ngx.say("ab") } }""")
    held = gateway.raw(b"GET /held HTTP/1.0\r\n\r\n")
    assert b"Content-Length: 6\r\n" in held and held.endswith(b"ab\ncd\n")
    assert b"Content-Length" not in gateway.raw(b"GET /not HTTP/1.0\r\n\r\n")


def test_code_cache_off_gives_each_request_its_own_state(moongate):
    gateway = moongate(http='init_by_lua_block { package.loaded.counter = { n = 0 } }', server="""
        location /on { content_by_lua_block { local c = require "counter" c.n = c.n + 1 ngx.say(c.n) } }
        location /off { lua_code_cache off;
                        content_by_lua_block { local c = require "counter" c.n = c.n + 1 ngx.say(c.n) } }""")
    gateway.allow("lua_code_cache is off")
    assert [gateway.get("/on").body for _ in range(3)] == [b"1\n", b"2\n", b"3\n"]
    assert [gateway.get("/off").body for _ in range(3)] == [b"1\n", b"1\n", b"1\n"]


def test_inner_levels_inherit_and_replace(moongate):
    gateway = moongate(http="header_filter_by_lua_block { ngx.header.x_level = 'http' }", server="""
        location /a { return 200 a; }
        location /b { header_filter_by_lua_block { ngx.header.x_level = 'location' } return 200 b; }""")
    assert gateway.get("/a").header("X-Level") == "http"
    assert gateway.get("/b").header("X-Level") == "location"


def test_rewrite_directives_run_before_rewrite_by_lua(moongate):
    gateway = moongate(server="""location / { set $a 1; rewrite_by_lua_block { ngx.var.a = ngx.var.a .. "2" } set $a "${a}0";
        content_by_lua_block { ngx.say(ngx.var.a) } }""")
    assert gateway.get("/").body == b"102\n"


@pytest.mark.parametrize("text, message", [
    ("location / { content_by_lua_block { ngx.say(1) } content_by_lua_block { ngx.say(2) } }", "is duplicate"),
    ("content_by_lua_block { ngx.say(1) }", "directive is not allowed here"),
    ("location / { content_by_lua_block { ngx.say('}') ", "unexpected end of file"),
])
def test_mistakes_are_refused(moongate, text, message):
    gateway = moongate(server=text, start=False)
    result = gateway.run("-t")
    assert result.returncode == 1
    assert message in result.stderr


def test_faults_are_500_with_a_traceback(moongate):
    gateway = moongate(server="""
        location /run { content_by_lua_block { local function f() error("boom") end f() } }
        location /syntax { content_by_lua_block { local = } }
        location /access { access_by_lua_block { nothing.field = 1 } content_by_lua_block { ngx.say("no") } }
        location /missing { content_by_lua_file code/none.lua; }
        location /fine { content_by_lua_block { ngx.say("fine") } }""")
    assert gateway.get("/run").status == 500
    log = gateway.error_log()
    assert "lua entry thread aborted: runtime error: content_by_lua(nginx.conf:" in log and "boom" in log
    assert "stack traceback:\ncoroutine 0:" in log
    assert gateway.get("/syntax").status == 500
    assert "failed to load inlined Lua code: content_by_lua(nginx.conf:" in gateway.error_log()
    assert gateway.get("/access").status == 500
    assert gateway.get("/missing").status == 404
    assert gateway.get("/fine").body == b"fine\n"


def test_rewrite_last_before_rewrite_by_lua_leaves_it_out(moongate):
    gateway = moongate(server="""
        location /main { rewrite ^/main/x$ /to last; rewrite_by_lua_block { ngx.exit(503) } }
        location /to { rewrite_by_lua_block { ngx.ctx.ran = "there" } content_by_lua_block { ngx.say(ngx.ctx.ran) } }""")
    assert gateway.get("/main/x").body == b"there\n" and gateway.get("/main/y").status == 503
