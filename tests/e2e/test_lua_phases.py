"""Every *_by_lua directive of the request's phases, with what its phase may do; TLS directives are read; -t runs
init_by_lua."""
import pytest

import harness

LUA = "default_type text/plain;"
# The phases that ngx_lua leaves out, and precontent; all of them may answer.
OWN_PHASES = ["post_read", "find_config", "post_rewrite", "preaccess", "post_access", "precontent"]
SERVER_PHASES = {"post_read", "find_config"}


def form_of(name, form, code):
    return {"block": f"{name}_block {{ {code} }}", "string": f"{name} '{code}';",
            "file": f"{name}_file code/it.lua;"}[form]


@pytest.mark.moongate_only
@pytest.mark.parametrize("form", ["block", "string", "file"])
@pytest.mark.parametrize("phase", OWN_PHASES)
def test_own_phase(moongate, phase, form):
    """The code runs, knows its phase, may wait, and leaves the request to the rest."""
    code = "ngx.sleep(0.001) ngx.ctx.seen = (ngx.ctx.seen or []) .. ngx.get_phase()".replace("[]", '""')
    directive = form_of(f"{phase}_by_lua", form, code)
    server, location = (directive, "") if phase in SERVER_PHASES else ("", directive)
    gateway = moongate(server="""%s
        location / { %s %s content_by_lua_block { ngx.say(ngx.ctx.seen) } }""" % (server, LUA, location),
                       files={"code/it.lua": code})
    assert gateway.get("/").body == f"{phase}\n".encode()


@pytest.mark.moongate_only
@pytest.mark.parametrize("phase", OWN_PHASES)
def test_own_phase_may_end_the_request(moongate, phase):
    code = """%s_by_lua_block {
        local how = ngx.var.arg_how
        if how == "exit" then return ngx.exit(429)
        elseif how == "say" then ngx.say("said in ", ngx.get_phase()) return ngx.exit(200)
        elseif how == "redirect" then return ngx.redirect("/there")
        elseif how == "error" then error("broken on purpose")
        end }""" % phase
    gateway = moongate(http=code, server="location / { %s return 200 content; } " % LUA
                       if phase in ("post_read", "find_config") else
                       "location / { %s content_by_lua_block { ngx.print('content') } }" % LUA)
    assert gateway.get("/").body == b"content"
    assert gateway.get("/?how=exit").status == 429
    assert gateway.get("/?how=say").body == f"said in {phase}\n".encode()
    moved = gateway.get("/?how=redirect")
    assert (moved.status, moved.header("Location")) == (302, "/there")
    assert gateway.get("/?how=error").status == 500
    assert "broken on purpose" in gateway.error_log()


@pytest.mark.moongate_only
def test_phases_run_in_order(moongate):
    phases = ["post_read", "server_rewrite", "find_config", "rewrite", "post_rewrite", "preaccess", "access",
              "post_access", "precontent", "header_filter"]
    http = "\n".join('%s_by_lua_block { ngx.ctx.order = (ngx.ctx.order or "") .. " " .. ngx.get_phase() }' % phase
                     for phase in phases)
    gateway = moongate(http=http, server="""location / {
        content_by_lua_block { ngx.ctx.order = ngx.ctx.order .. " " .. ngx.get_phase() ngx.send_headers()
                               ngx.say(ngx.ctx.order) } }""")
    assert gateway.get("/").text.split() == phases[:-1] + ["content", "header_filter"]


@pytest.mark.moongate_only
def test_post_read_runs_once_a_request(moongate):
    gateway = moongate(server="""
        post_read_by_lua_block { ngx.log(ngx.ERR, "read ", ngx.var.uri) }
        location = /a { rewrite ^ /b last; }
        location = /b { error_page 418 = /c; return 418; }
        location = /c { internal; return 200 "$uri"; }""")
    assert gateway.get("/a").body == b"/c"
    assert [line.split("read ")[1].split(",")[0] for line in gateway.error_log().splitlines()
            if "[lua]" in line] == ["/a"]


@pytest.mark.moongate_only
class TestFindConfig:
    SERVER = """
        find_config_by_lua_block {
            local choice = ngx.var.arg_to
            if choice == "table" then return {} elseif choice then return choice end
            if ngx.var.arg_uri then ngx.req.set_uri(ngx.var.arg_uri) end
        }
        location = /plain { return 200 "plain $uri"; }
        location /prefix/ { return 200 "prefix $uri"; }
        location ~ ^/re/(.+)$ { return 200 "re $1 $uri"; }
        location /inner { internal; return 200 "inner $uri"; }
        location @named { return 200 "named $uri"; }
        location / { return 200 "other $uri"; }"""

    @pytest.mark.parametrize("query, wanted", [
        ("", "plain /plain"), ("to=/prefix/", "prefix /plain"), ("to=/prefix/deep/er", "prefix /plain"),
        ("to=/re/this", "re this /plain"), ("to=@named", "named /plain"), ("uri=/prefix/a", "prefix /prefix/a"),
        ("to=/none", "other /plain")])
    def test_chooses(self, moongate, query, wanted):
        gateway = moongate(server=self.SERVER)
        assert gateway.get(f"/plain?{query}").text == wanted

    @pytest.mark.parametrize("query, status", [("to=nonsense", 500), ("to=table", 500), ("to=@none", 500),
                                               ("to=/inner", 404)])
    def test_refuses(self, moongate, query, status):
        gateway = moongate(server=self.SERVER)
        assert gateway.get(f"/plain?{query}").status == status
        if query.startswith("to=n") or query == "to=table":
            assert "find_config_by_lua* returned" in gateway.error_log()

    def test_proxies_the_whole_uri(self, moongate, upstream):
        """The URI does not begin with the location's name, so nothing of it is replaced."""
        behind = upstream()
        gateway = moongate(server="""find_config_by_lua_block { return "/chosen/" }
            location /chosen/ { proxy_pass http://127.0.0.1:%UP%/new/; }""", up=behind.port)
        assert gateway.get("/asked/for").status == 200
        assert behind.requests[0].target == "/asked/for"

    def test_runs_again_for_a_changed_uri(self, moongate):
        gateway = moongate(server="""
            find_config_by_lua_block { ngx.ctx.n = (ngx.ctx.n or 0) + 1 if ngx.var.uri == "/b" then return "/c" end }
            location = /a { rewrite ^ /b last; }
            location = /c { content_by_lua_block { ngx.say(ngx.ctx.n, ngx.var.uri) } }""")
        assert gateway.get("/a").body == b"2/b\n"


@pytest.mark.moongate_only
def test_post_rewrite_may_change_the_uri(moongate):
    gateway = moongate(server="""
        location = /a { set $x 1; post_rewrite_by_lua_block { ngx.req.set_uri("/b", true) } return 200 never; }
        location = /c { set $x 1; post_rewrite_by_lua_block { ngx.req.set_uri("/b", true) } }
        location = /b { return 200 "$uri"; }""")
    assert gateway.get("/a").body == b"never"
    assert gateway.get("/c").body == b"/b"


@pytest.mark.moongate_only
def test_preaccess_precedes_and_post_access_follows_access_control(moongate):
    gateway = moongate(server="""location / {
        preaccess_by_lua_block { ngx.header["X-Pre"] = 1 }
        post_access_by_lua_block { ngx.header["X-Post"] = 1 }
        deny all; content_by_lua_block { ngx.say(1) } }
        location /any { satisfy any; deny all; access_by_lua_block { return }
        post_access_by_lua_block { ngx.header["X-Post"] = 1 } content_by_lua_block { ngx.say(1) } }""")
    answer = gateway.get("/")
    assert (answer.status, answer.header("X-Pre"), answer.header("X-Post")) == (403, "1", None)
    assert gateway.get("/any").header("X-Post") == "1"


@pytest.mark.moongate_only
@pytest.mark.parametrize("no_postpone", ["off", "on"])
def test_precontent_by_lua_no_postpone(moongate, no_postpone):
    gateway = moongate(http="precontent_by_lua_no_postpone %s;" % no_postpone, server="""location / {
        precontent_by_lua_block { if ngx.var.uri == "/page.html" then ngx.exit(410) end }
        try_files /none @other; }
        location @other { return 200 other; }""", files={"html/page.html": "page"})
    assert gateway.get("/page.html").status == (410 if no_postpone == "on" else 200)


@pytest.mark.parametrize("no_postpone", ["off", "on"])
def test_rewrite_by_lua_no_postpone(moongate, no_postpone):
    gateway = moongate(http="rewrite_by_lua_no_postpone %s;" % no_postpone, server="""
        location / { set $order "directive "; rewrite_by_lua_block { ngx.var.order = ngx.var.order .. "lua " }
                     content_by_lua_block { ngx.say(ngx.var.order) } }
        location /if { set $runs ""; rewrite_by_lua_block { ngx.ctx.runs = (ngx.ctx.runs or 0) + 1 }
                       if ($arg_a) { set $x 1; } content_by_lua_block { ngx.say(ngx.ctx.runs) } }""")
    # Before the directives, what Lua wrote is overwritten (and the variable is still empty).
    assert gateway.get("/").body == (b"directive \n" if no_postpone == "on" else b"directive lua \n")
    assert gateway.get("/if?a=1").body == b"1\n"


@pytest.mark.parametrize("no_postpone", ["off", "on"])
def test_access_by_lua_no_postpone(moongate, no_postpone):
    gateway = moongate(http="access_by_lua_no_postpone %s;" % no_postpone, server="""location / {
        deny all; access_by_lua_block { ngx.exit(410) } content_by_lua_block { ngx.say("in") } }""")
    assert gateway.get("/").status == (410 if no_postpone == "on" else 403)


@pytest.mark.parametrize("form", ["block", "file"])
def test_server_rewrite_by_lua(moongate, form):
    code = 'if ngx.var.arg_stop then ngx.exit(403) end ngx.ctx.seen = ngx.get_phase()'
    gateway = moongate(server="""%s location / { content_by_lua_block { ngx.say(ngx.ctx.seen) } }"""
                       % form_of("server_rewrite_by_lua", form, code), files={"code/it.lua": code})
    assert gateway.get("/").body == b"server_rewrite\n"
    assert gateway.get("/?stop=1").status == 403


@pytest.mark.parametrize("form", ["block", "file"])
def test_exit_worker_by_lua(moongate, form):
    code = 'ngx.log(ngx.ERR, "leaving in ", ngx.get_phase(), " exiting ", tostring(ngx.worker.exiting()))'
    gateway = moongate(http=form_of("exit_worker_by_lua", form, code), files={"code/it.lua": code},
                       server="location / { return 200; }")
    assert gateway.get("/").status == 200
    gateway.stop()
    assert "leaving in exit_worker exiting true" in gateway.error_log()


@pytest.mark.moongate_only
def test_exit_worker_may_wait(moongate):
    gateway = moongate(http='exit_worker_by_lua_block { ngx.sleep(0.05) ngx.log(ngx.ERR, "slept and left") }',
                       server="location / { return 200; }")
    gateway.stop()
    assert "slept and left" in gateway.error_log()


TLS = [("ssl_client_hello_by_lua", "server"), ("ssl_certificate_by_lua", "server"),
       ("ssl_session_store_by_lua", "http"), ("ssl_session_fetch_by_lua", "http"),
       ("proxy_ssl_certificate_by_lua", "location"), ("proxy_ssl_verify_by_lua", "location")]


@pytest.mark.moongate_only
@pytest.mark.parametrize("form", ["block", "file"])
@pytest.mark.parametrize("name, level", TLS)
def test_tls_code_is_read(moongate, name, level, form):
    """The code is not compiled before the first handshake needs it; a second statement is refused."""
    directive = form_of(name, form, "this is no Lua")
    for text, status in ((directive, 0), (directive * 2, 1)):
        parts = {"http": "", "server": "", "location": ""}
        parts[level] = text
        gateway = moongate(http=parts["http"], start=False, files={"code/it.lua": "this is no Lua"},
                           server="%(server)s location / { %(location)s return 200; }" % parts)
        result = gateway.run("-t")
        assert result.returncode == status, result.stderr
        assert ("is duplicate" in result.stderr) == (status == 1)


@pytest.mark.moongate_only
@pytest.mark.parametrize("directive", [
    "lua_ssl_protocols TLSv1.2 TLSv1.3", "lua_ssl_ciphers HIGH", "lua_ssl_verify_depth 3",
    "lua_ssl_certificate a.pem", "lua_ssl_certificate_key a.key", "lua_ssl_trusted_certificate ca.pem",
    "lua_ssl_crl crl.pem", "lua_ssl_key_log keys.log", "lua_ssl_conf_command MinProtocol TLSv1.2"])
def test_tls_settings_are_read(moongate, directive):
    gateway = moongate(start=False, server="%s; location / { %s; return 200; }" % (directive, directive))
    assert gateway.run("-t").returncode == 0


@pytest.mark.moongate_only
def test_lua_upstream_skip_openssl_default_verify_is_read(moongate):
    gateway = moongate(start=False, server="location / { lua_upstream_skip_openssl_default_verify on; return 200; }")
    assert gateway.run("-t").returncode == 0


@pytest.mark.moongate_only
def test_unknown_tls_protocol_is_refused(moongate):
    result = moongate(start=False, server="lua_ssl_protocols TLSv9;").run("-t")
    assert result.returncode == 1 and "TLSv9" in result.stderr


@pytest.mark.moongate_only
@pytest.mark.parametrize("code, fine", [("assert(true)", True), ('error("no init today")', False),
                                        ("local = 1", False)])
def test_a_test_of_the_configuration_runs_init_by_lua(moongate, code, fine):
    gateway = moongate(http="init_by_lua_block { %s }" % code, server="location / { return 200; }", start=False)
    result = gateway.run("-t")
    assert result.returncode == (0 if fine else 1)
    assert ("test is successful" in result.stderr) == fine
    assert ("[error]" in result.stderr and "init_by_lua" in result.stderr) != fine
    if "today" in code:
        assert "init_by_lua error: init_by_lua(nginx.conf:" in result.stderr and "no init today" in result.stderr


@pytest.mark.moongate_only
def test_a_test_of_the_configuration_starts_no_worker_code(moongate):
    gateway = moongate(http="""lua_shared_dict d 64k;
        init_by_lua_block { ngx.shared.d:set("a", 1) print("init ran") }
        init_worker_by_lua_block { print("worker ran") } exit_worker_by_lua_block { print("exit ran") }""",
                       server="location / { return 200; }", start=False)
    assert gateway.run("-t").returncode == 0
    assert "worker ran" not in gateway.error_log() and "exit ran" not in gateway.error_log()


def test_get_phase_of_init(moongate):
    gateway = moongate(http='init_by_lua_block { package.loaded.at = { phase = ngx.get_phase() } }', server="""
        location / { content_by_lua_block { ngx.say(require("at").phase, " ", ngx.get_raw_phase and 1) } }""")
    assert gateway.get("/").body == b"init 1\n"


class TestResponseFunctions:
    @pytest.mark.moongate_only
    def test_ngx_resp_set_status(self, moongate):
        gateway = moongate(server="""location / { content_by_lua_block {
            local resp = require "ngx.resp"
            resp.set_status(404, "Gone fishing")
            local ok, err = pcall(resp.set_status, 404, "a\\r\\nb")
            ngx.say(tostring(ok)) } }
            location /plain { content_by_lua_block { require("ngx.resp").set_status(201) ngx.say(1) } }""")
        answer = gateway.get("/")
        assert (answer.status, answer.reason, answer.body) == (404, "Gone fishing", b"false\n")
        assert (gateway.get("/plain").status, gateway.get("/plain").reason) == (201, "Created")

    def test_ngx_resp_add_header(self, moongate):
        gateway = moongate(server="""location / { content_by_lua_block {
            local resp = require "ngx.resp"
            resp.add_header("X-A", "1") resp.add_header("X-A", {"2", "3"}) ngx.say(1) } }""")
        assert gateway.get("/").all("X-A") == ["1", "2", "3"]

    @pytest.mark.moongate_only
    def test_ngx_resp_bypass_if_checks(self, moongate):
        gateway = moongate(server="""location / { header_filter_by_lua_block { }
            rewrite_by_lua_block { if ngx.var.arg_bypass then require("ngx.resp").bypass_if_checks() end } }""",
                           files={"html/page.html": "page"})
        etag = gateway.get("/page.html").header("ETag")
        assert gateway.get("/page.html", headers={"If-None-Match": etag}).status == 304
        assert gateway.get("/page.html?bypass=1", headers={"If-None-Match": etag}).status == 200
        assert gateway.get("/page.html?bypass=1", headers={"If-Match": '"other"'}).status == 200

    def test_ngx_resp_get_headers(self, moongate):
        gateway = moongate(server="""location / { content_by_lua_block {
            ngx.header["X-A"] = {"1", "2"} ngx.header.content_type = "text/own"
            local headers = ngx.resp.get_headers()
            ngx.say(headers["x-a"][2], headers.content_type) } }""")
        assert gateway.get("/").body == b"2text/own\n"

    def test_ngx_req_is_internal(self, moongate):
        gateway = moongate(server="""
            location = /a { rewrite_by_lua_block { ngx.ctx.before = ngx.req.is_internal()
                                                   if ngx.var.arg_go then ngx.exec("/b") end }
                            content_by_lua_block { ngx.say(tostring(ngx.req.is_internal())) } }
            location = /b { content_by_lua_block { ngx.say(tostring(ngx.req.is_internal())) } }""")
        assert gateway.get("/a").body == b"false\n"
        assert gateway.get("/a?go=1").body == b"true\n"


@pytest.mark.parametrize("phase, status", [("rewrite", 403), ("access", 403), ("content", 403),
                                           ("header_filter", 403), ("server_rewrite", 403)])
def test_ngx_exit_in(moongate, phase, status):
    code = "%s_by_lua_block { ngx.exit(403) }" % phase
    content = "" if phase == "content" else "content_by_lua_block { ngx.say(1) }"
    server, location = (code, "") if phase == "server_rewrite" else ("", code)
    gateway = moongate(server="%s location / { %s %s }" % (server, location, content))
    assert gateway.get("/").status == status


@pytest.mark.parametrize("phase", ["set", "body_filter", "log"])
def test_ngx_exit_is_no_function_of(moongate, phase):
    code = 'local ok, err = pcall(ngx.exit, 403) ngx.log(ngx.ERR, "exit: ", err)'
    directive = "set_by_lua_block $a { %s }" % code if phase == "set" else "%s_by_lua_block { %s }" % (phase, code)
    gateway = moongate(server="location / { %s content_by_lua_block { ngx.say(1) } }" % directive)
    assert gateway.get("/").status == 200
    harness.eventually(lambda: f"API disabled in the context of {phase}_by_lua*" in gateway.error_log())


@pytest.mark.moongate_only
def test_ngx_exit_in_header_filter_has_its_error_page(moongate):
    gateway = moongate(server="""
        location / { error_page 403 /page; content_by_lua_block { ngx.header["X-Old"] = 1 ngx.say(1) }
                     header_filter_by_lua_block { ngx.exit(403) } }
        location = /page { internal; return 200 "the page"; }
        location /plain { return 200 x; header_filter_by_lua_block { if ngx.status == 200 then ngx.exit(410) end } }""")
    answer = gateway.get("/")
    assert (answer.status, answer.body, answer.header("X-Old")) == (403, b"the page", None)
    assert gateway.get("/plain").status == 410


def test_server_rewrite_by_lua_precedes_the_servers_directives(moongate):
    gateway = moongate(server="""
        server_rewrite_by_lua_block { ngx.req.set_header("X-Before", ngx.var.uri) }
        rewrite ^ /new;
        location /new { content_by_lua_block { ngx.say(ngx.var.uri, ngx.req.get_headers()["X-Before"]) } }""")
    assert gateway.get("/old").body == b"/new/old\n"


@pytest.mark.parametrize("form", ["block", "file"])
@pytest.mark.parametrize("name", ["init_worker_by_lua", "exit_worker_by_lua"])
def test_faults_of_worker_code_name_the_directive(moongate, name, form):
    gateway = moongate(http=form_of(name, form, "local = 1"), files={"code/it.lua": "local = 1"},
                       server="location / { return 200; }")
    gateway.stop()
    wanted = f"{name}{'_file' if form == 'file' else ''} error: "
    assert wanted in gateway.error_log()
    assert "near '='" in gateway.error_log()
