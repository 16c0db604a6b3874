"""Words, numbers and small print of the Lua API that scripts and log scanners rely on: each as ngx_lua has it."""
import pytest

import harness


def lines(moongate, code, **arguments):
    gateway = moongate(server="location / { content_by_lua_block { %s } }" % code, **arguments)
    answer = gateway.get("/")
    assert answer.status == 200, gateway.logs()
    return answer.text.splitlines()


@pytest.mark.parametrize("pattern, words", [
    ("(abc", 'missing ) in "(abc"'),
    ("*a", 'nothing to repeat in "*a" at "*a"'),
    ("a)", 'unmatched parentheses in "a)" at ")"'),
    ("[a", 'missing terminating ] for character class in "[a"'),
])
def test_re_pattern_errors_in_pcre1_words(moongate, pattern, words):
    assert lines(moongate, "ngx.say(select(2, ngx.re.match('x', '%s')))" % pattern) == [
        "pcre_compile() failed: " + words]


def test_re_match_errors_have_pcre1_numbers(moongate):
    code = r"""
        ngx.say(select(2, ngx.re.match("\xe4\xbd\xa0\xe5", "x", "u")))
        ngx.say(select(3, ngx.re.find(("a"):rep(40) .. "!", [[^(a+)+$]])))"""
    assert lines(moongate, code, http="lua_regex_match_limit 500;") == [
        "pcre_exec() failed: -10", "pcre_exec() failed: -8"]


@pytest.mark.parametrize("template, words", [
    ("[$0] [${1", 'the closing bracket in "1" variable is missing'),
    ("a $name", 'attempt to use named capturing variable "name" (named captures not supported yet)'),
    ("a ${name}", 'attempt to use named capturing variable "name" (named captures not supported yet)'),
    ("a $", 'lua script: invalid capturing variable name found in "a $"'),
    ("a ${", 'lua script: invalid capturing variable name found in "a ${"'),
])
def test_re_sub_template_errors(moongate, template, words):
    gateway = moongate(server="""location / { content_by_lua_block {
        ngx.say(select(3, ngx.re.sub("x", "(x)", "%s"))) } }""" % template)
    assert gateway.get("/").text == "failed to compile the replacement template\n"
    assert words in gateway.error_log()


def test_escape_uri_types_uri_and_args(moongate):
    assert lines(moongate, r"""
        ngx.say(ngx.escape_uri("/a b?c#%<>[]{}\\^`|+\"\r", 0)) ngx.say(ngx.escape_uri("a b+c&d?<>", 1))""") == [
        '/a%20b%3Fc%23%25<>[]{}\\^`|+"%0D', "a%20b%2Bc&d%3F<>"]


def test_log_level_stderr_has_no_name_and_counts_arguments_behind_the_level(moongate):
    gateway = moongate(server="""location / { content_by_lua_block {
        ngx.log(ngx.STDERR, "loud") ngx.say(select(2, pcall(ngx.log, ngx.ERR, "a", {}))) } }""")
    assert "bad argument #2 to" in gateway.get("/").text
    assert any(" [] " in line and "loud" in line for line in gateway.error_log().splitlines())


def test_var_set_to_nil_is_gone(moongate):
    gateway = moongate(server="""location / { set $own 1; content_by_lua_block {
        ngx.var.own = nil ngx.say(tostring(ngx.var.own))
        ngx.say(tostring(ngx.var.args)) ngx.var.args = nil ngx.say(tostring(ngx.var.args)) } }
        location ~ ^/c/(.) { content_by_lua_block { ngx.say(tostring(ngx.var[0]), ngx.var[1], tostring(ngx.var[2])) } }""")
    assert gateway.get("/?a=1").text.splitlines() == ["nil", "a=1", "nil"]
    assert gateway.get("/").text.splitlines() == ["nil", "nil", "nil"]
    assert gateway.get("/c/x").text == "nilxnil\n"


def test_worker_pid_is_the_variable_pid(moongate):
    assert lines(moongate, "ngx.say(ngx.worker.pid() == tonumber(ngx.var.pid))") == ["true"]


def test_set_header_host_changes_the_variable_host(moongate):
    gateway = moongate(server="""location / { set $before $host; content_by_lua_block {
        ngx.req.set_header("Host", "Other.example:81") ngx.say(ngx.var.before, " ", ngx.var.host) } }""")
    assert gateway.get("/", headers={"Host": "one.example"}).text == "one.example other.example\n"


def test_header_names_and_values_cannot_split_the_head(moongate):
    gateway = moongate(server=r"""location / { content_by_lua_block {
        ngx.header["a: b\nc"] = "x\r\ny: z\tt" ngx.req.set_header("q r\n", "1")
        ngx.say(ngx.req.get_headers()["q%20r%0A"]) } }""")
    answer = gateway.get("/")
    assert answer.header("a%3A%20b%0Ac") == "x%0D%0Ay: z\tt" and answer.header("c") is None
    assert answer.text == "1\n"


def test_raw_header_is_what_came(moongate):
    gateway = moongate(server="""location / { content_by_lua_block {
        ngx.req.set_header("X-New", "1") ngx.print(ngx.req.raw_header(), "|", ngx.req.raw_header(true)) } }""")
    with gateway.connect() as client:
        client.send(b"\r\nGET / HTTP/1.1\r\nhost:  a\r\nX-b:c\r\n\r\n")
        fields = b"host:  a\r\nX-b:c\r\n\r\n"
        assert client.read_response().body == b"GET / HTTP/1.1\r\n" + fields + b"|" + fields


def test_resp_get_headers_knows_chunks_once_they_are_chosen(moongate):
    gateway = moongate(server="""location / { content_by_lua_block { ngx.say("x") }
        header_filter_by_lua_block { ngx.ctx.early = ngx.resp.get_headers().transfer_encoding }
        body_filter_by_lua_block {
            ngx.log(ngx.ERR, "te ", ngx.ctx.early, " ", ngx.resp.get_headers().transfer_encoding) } }""")
    gateway.get("/")
    harness.eventually(lambda: "te nil chunked" in gateway.error_log())


@pytest.mark.moongate_only  # nginx sends all of it
def test_body_ends_where_the_announced_length_does(moongate):
    gateway = moongate(server="""location / { content_by_lua_block { ngx.header.content_length = 3 ngx.say("Hello") } }""")
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = client.read_response()
        assert answer.body == b"Hel" and answer.header("Content-Length") == "3"
        assert client.read_all() == b""


@pytest.mark.parametrize("call", ["ngx.exec('/x')", "ngx.redirect('/x')", "ngx.req.set_uri('/x', true)"])
@pytest.mark.parametrize("phase", ["header_filter", "log"])
def test_calls_that_end_the_phase_are_refused_elsewhere(moongate, call, phase):
    gateway = moongate(server="""location / { return 200; %s_by_lua_block {
        ngx.log(ngx.ERR, select(2, pcall(function() %s end))) } }""" % (phase, call))
    gateway.get("/")
    harness.eventually(lambda: "API disabled in the context of %s_by_lua*" % phase in gateway.error_log())


def test_exec_of_a_named_location_drops_its_query_with_a_warning(moongate):
    gateway = moongate(server="""location / { content_by_lua_block { ngx.exec("@n?a=1") } }
        location @n { return 200 "named"; }
        location /up { content_by_lua_block { ngx.exec("/a/../../b") } }""")
    assert gateway.get("/").text == "named"
    assert "query strings a=1 ignored when exec'ing named location @n" in gateway.error_log()
    assert gateway.get("/up").status == 500
    assert 'unsafe URI "/a/../../b" was detected' in gateway.error_log()


def test_satisfy_any_says_when_nobody_granted(moongate):
    gateway = moongate(server="""location / { satisfy any; deny all; access_by_lua_block { ngx.exit(403) }
        content_by_lua_block { ngx.say("in") } }""")
    assert gateway.get("/").status == 403 and "access forbidden by rule" in gateway.error_log()


def test_variables_of_a_family_cannot_be_set(moongate):
    gateway = moongate(server="""location / { content_by_lua_block {
        ngx.say(select(2, pcall(function() ngx.var.arg_foo = "x" end)), ngx.var.arg_foo) } }""")
    assert 'variable "arg_foo" not found for writing' in gateway.get("/?foo=1").text


@pytest.mark.parametrize("path, status, body", [
    ("/403", 403, "403 Forbidden"), ("/201", 201, ""), ("/page", 404, "own page"), ("/0", 200, "made")])
def test_exit_in_header_filter_replaces_the_response(moongate, path, status, body):
    gateway = moongate(server="""
        location /403 { content_by_lua_block { ngx.say("made") } header_filter_by_lua_block { ngx.exit(403) } }
        location /201 { content_by_lua_block { ngx.say("made") ngx.say("more") } header_filter_by_lua_block { ngx.exit(201) } }
        location /0 { content_by_lua_block { ngx.say("made") } header_filter_by_lua_block { ngx.exit(0) } }
        location /page { error_page 404 = /own; content_by_lua_block { ngx.say("made") } header_filter_by_lua_block { ngx.exit(404) } }
        location /own { return 404 "own page"; }""")
    answer = gateway.get(path)
    assert answer.status == status and body in answer.text and (body == "made" or "made" not in answer.text)


def test_conditions_hold_for_lua_responses(moongate):
    gateway = moongate(server="""location / { content_by_lua_block {
        ngx.header.last_modified = "Thu, 10 May 2012 07:50:48 GMT"
        local ok, why = ngx.say("x") ngx.log(ngx.WARN, "say: ", ok, " ", why) } }""")
    assert gateway.get("/", headers={"If-Unmodified-Since": "Thu, 10 May 2012 07:50:47 GMT"}).status == 412
    harness.eventually(lambda: "say: nil nginx output filter error" in gateway.error_log())


def test_304_has_no_default_type(moongate):
    gateway = moongate(server="location / { default_type text/plain; content_by_lua_block { ngx.status = 304 } }")
    answer = gateway.get("/")
    assert answer.status == 304 and answer.header("Content-Type") is None


def test_errors_of_filters_and_log_name_their_directive(moongate):
    gateway = moongate(server="""
        location /head { return 200; header_filter_by_lua_block { error("bad head") } }
        location /wrap { return 200; header_filter_by_lua_block {
            local co = coroutine.wrap(function() error("deep") end) co() } }
        location /log { return 200; log_by_lua_block { error(nil) } }
        location /set { set_by_lua_block $x { error("bad set") } return 200; }""")
    for path in ("/head", "/wrap", "/log", "/set"):
        try:
            gateway.get(path)
        except (ConnectionError, harness.Closed):
            pass  # the head was not made
    harness.eventually(lambda: "failed to run log_by_lua*: unknown reason" in gateway.error_log())
    log = gateway.error_log()
    assert "failed to run header_filter_by_lua*: header_filter_by_lua(nginx.conf:" in log and ": bad head\n" in log
    assert "in function 'co'" in log and "failed to run set_by_lua*: set_by_lua(nginx.conf:" in log
    assert "entry thread aborted" not in log


def test_thread_wait_gives_what_error_was_called_with(moongate):
    first, second = lines(moongate, """
        local t = ngx.thread.spawn(function() error("oops") end)
        local ok, first, second = ngx.thread.wait(t) ngx.say(ok, " ", first, " ", second)
        local u = ngx.thread.spawn(function() ngx.sleep(0) error({ code = 7 }) end)
        local ok, value = ngx.thread.wait(u) ngx.say(ok, " ", value.code)""")
    assert first.startswith("false oops content_by_lua(nginx.conf:") and first.endswith(": oops")
    assert second == "false 7"


@pytest.mark.moongate_only  # ngx_lua gives a local variable of the failed function
def test_thread_wait_gives_the_message_of_lua_s_own_errors(moongate):
    why, = lines(moongate, """
        local t = ngx.thread.spawn(function() local x = nil ngx.sleep(0) return x.y end)
        local ok, why = ngx.thread.wait(t) ngx.say(why)""")
    assert why.endswith("attempt to index local 'x' (a nil value)")


def test_init_body_beyond_its_size_is_a_file(moongate):
    gateway = moongate(server="""location / { content_by_lua_block {
        ngx.req.read_body()
        ngx.req.init_body(4) for _, part in ipairs { "h", "ell", "o", "" } do ngx.req.append_body(part) end
        ngx.req.finish_body()
        local name = ngx.req.get_body_file()
        ngx.say(tostring(ngx.req.get_body_data()), " ", io.open(name):read("*a"), " ", ngx.var.http_content_length)
        ngx.req.init_body(5) ngx.req.append_body("hello") ngx.req.finish_body()
        ngx.say(ngx.req.get_body_data(), " ", tostring(ngx.req.get_body_file()))
        ngx.req.init_body(0) ngx.req.append_body("x") ngx.req.finish_body()
        ngx.say(tostring(ngx.req.get_body_data())) } }""")
    assert gateway.get("/").text.splitlines() == ["nil hello 5", "hello nil", "nil"]
    assert "a client request body is buffered to a temporary file" in gateway.error_log()


def test_no_postpone_runs_lua_first(moongate):
    server = """location / { rewrite ^ /other break;
        rewrite_by_lua_block { ngx.header["X-Seen"] = ngx.var.uri }
        deny all; access_by_lua_block { ngx.exit(204) } content_by_lua_block { ngx.say("x") } }"""
    answer = moongate(server=server, http="rewrite_by_lua_no_postpone on; access_by_lua_no_postpone on;").get("/a")
    assert answer.status == 204 and answer.header("X-Seen") == "/a"
    answer = moongate(server=server).get("/a")
    assert answer.status == 403


def test_server_rewrite_by_lua_sees_the_uri_before_rewrite(moongate):
    gateway = moongate(server="""
        server_rewrite_by_lua_block { ngx.log(ngx.ERR, "uri is ", ngx.var.uri) }
        rewrite ^ /re; location /re { return 200 "re"; }""")
    assert gateway.get("/lua").text == "re" and "uri is /lua" in gateway.error_log()


def test_unreadable_and_broken_code_files(moongate, tmp_path):
    locked = tmp_path / "locked.lua"
    locked.mkdir()
    broken = tmp_path / "broken.lua"
    broken.write_text("for end")
    gateway = moongate(server="""location /none { content_by_lua_file %s/none.lua; }
        location /locked { content_by_lua_file %s; } location /broken { content_by_lua_file %s; }"""
                       % (tmp_path, locked, broken))
    assert [gateway.get(path).status for path in ("/none", "/locked", "/broken")] == [404, 503, 500]
    assert 'failed to load external Lua file "%s": ' % broken in gateway.error_log()


def test_init_worker_errors_name_the_directive(moongate):
    gateway = moongate(http="init_worker_by_lua_block { local x = }", server="location / { return 200; }")
    harness.eventually(lambda: "init_worker_by_lua error: init_worker_by_lua(nginx.conf:" in gateway.error_log())


def test_unsafe_uris_are_shown_escaped(moongate):
    gateway = moongate(server=r"""location / { content_by_lua_block {
        ngx.say(select(2, pcall(ngx.redirect, "\r\"a\\b\""))) ngx.say(select(2, pcall(ngx.req.set_uri, "/a\nb")))
        ngx.say(pcall(ngx.req.set_uri, "/a\tb")) } }""")
    assert gateway.get("/").text.splitlines() == [
        r'unsafe byte "0x0d" in redirect uri "\x0D\x22a\x5Cb\x22"',
        r'''unsafe byte "0x0a" in uri "/a\x0Ab" (maybe you want to set the 'binary' argument?)''', "true"]


def test_exact_location_of_a_proxy_redirects_to_its_slash(moongate, upstream):
    gateway = moongate(server="location = /t/ { proxy_pass http://127.0.0.1:1; }")
    answer = gateway.get("/t?a=1")
    assert answer.status == 301 and answer.header("Location").endswith("/t/?a=1")


def test_load_resty_core_is_deprecated(moongate):
    gateway = moongate(http="lua_load_resty_core off;", server="location / { return 200; }")
    assert "lua_load_resty_core is deprecated" in gateway.logs()


def test_status_of_an_error_page_without_its_own(moongate):
    gateway = moongate(server="""
        error_page 404 = /page; location = /page { content_by_lua_block { ngx.say("page") } }
        location /lua { content_by_lua_block { ngx.exit(404) } }
        location /plain { return 404; }
        location /proxied { proxy_pass http://127.0.0.1:%PORT%/own; proxy_intercept_errors on; }
        location /own { error_page 404 /none; return 404; }""")
    assert [gateway.get(path).status for path in ("/lua", "/plain", "/proxied")] == [404, 200, 200]
    assert gateway.get("/lua").text == "page\n"
