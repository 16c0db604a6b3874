"""The ngx API, an area a test: what scripts of lua-nginx-module's users rely on."""
import base64
import hashlib
import hmac
import json
import re
import zlib

import pytest

import harness


def run(moongate, code, path="/", method="GET", headers=None, body=None, http="", server="", **arguments):
    gateway = moongate(http=http, server="%s location / { content_by_lua_block { %s } }" % (server, code), **arguments)
    answer = gateway.request(method, path, headers, body)
    assert answer.status < 500, gateway.logs()
    return answer


def test_say_and_print_write_all_types(moongate):
    answer = run(moongate, 'ngx.print(1, 2.5, "a", nil, true, ngx.null, {"b", {3, false}}) ngx.say() ngx.say("end")')
    assert answer.body == b"12.5aniltruenullb3false\nend\n"


def test_output_refuses_what_it_cannot_write(moongate):
    answer = run(moongate, """
        ngx.say(select(2, pcall(ngx.say, print))) ngx.say(select(2, pcall(ngx.say, { x = 1 })))""")
    first, second = answer.text.splitlines()
    assert "bad argument #1" in first and "string, number, boolean, nil, ngx.null, or array table expected" in first
    assert "non-array table found" in second


def test_eof_ends_the_response_and_code_goes_on(moongate):
    gateway = moongate(server="""location / { content_by_lua_block {
        ngx.say("x") ngx.eof() local ok, why = ngx.say("y") ngx.log(ngx.ERR, "after: ", why) } }""")
    assert gateway.get("/").body == b"x\n"
    harness.eventually(lambda: "after: seen eof" in gateway.error_log())


def test_send_headers_and_headers_sent(moongate):
    gateway = moongate(server="""location / { content_by_lua_block {
        local before = ngx.headers_sent ngx.send_headers() ngx.header["X-Late"] = "1"
        ngx.say(tostring(before), tostring(ngx.headers_sent)) } }""")
    answer = gateway.get("/")
    assert answer.body == b"falsetrue\n" and answer.header("X-Late") is None
    assert "attempt to set ngx.header.HEADER after sending out response headers" in gateway.error_log()


def test_exit_codes(moongate):
    gateway = moongate(server="""
        location /status { content_by_lua_block { ngx.exit(tonumber(ngx.var.arg_s)) } }
        location /page { error_page 404 /own; content_by_lua_block { ngx.exit(404) } }
        location /own { internal; return 200 "own"; }
        location /body { content_by_lua_block { ngx.status = 410 ngx.say("gone") ngx.exit(ngx.HTTP_OK) } }
        location /ok { rewrite_by_lua_block { ngx.exit(ngx.OK) } content_by_lua_block { ngx.say("went on") } }
        location /access { access_by_lua_block { ngx.exit(ngx.DECLINED) } content_by_lua_block { ngx.say("in") } }
        location /early { access_by_lua_block { ngx.say("from access") ngx.exit(200) }
                          content_by_lua_block { ngx.say("never") } }""")
    for status in (403, 404, 503, 204):
        assert gateway.get(f"/status?s={status}").status == status
    assert gateway.get("/page").text == "own"
    answer = gateway.get("/body")
    assert (answer.status, answer.body) == (410, b"gone\n")
    assert gateway.get("/ok").body == b"went on\n"
    assert gateway.get("/access").body == b"in\n"
    assert gateway.get("/early").body == b"from access\n"
    assert gateway.raw(b"GET /status?s=444 HTTP/1.1\r\nHost: a\r\n\r\n") == b""


def test_exec_and_redirect(moongate):
    gateway = moongate(server="""
        location /exec { content_by_lua_block { ngx.exec("/target?a=1", { b = "2 3" }) } }
        location /named { content_by_lua_block { ngx.ctx.x = 1 ngx.exec("@there") } }
        location @there { content_by_lua_block { ngx.say(ngx.var.uri, " ", tostring(ngx.ctx.x)) } }
        location /target { internal; content_by_lua_block {
            ngx.say(ngx.var.uri, "?", ngx.var.args, " ", tostring(ngx.req.is_internal())) } }
        location /moved { content_by_lua_block { ngx.redirect("/to?x=1", 301) } }
        location /away { access_by_lua_block { ngx.redirect("http://example.org/") } }
        location /bad { content_by_lua_block { ngx.say(select(2, pcall(ngx.redirect, "/a\\nb"))) } }""")
    assert gateway.get("/exec").text == "/target?a=1&b=2%203 true\n"
    assert gateway.get("/named").text == "/named nil\n"
    answer = gateway.get("/moved")
    assert (answer.status, answer.header("Location")) == (301, "/to?x=1")
    answer = gateway.get("/away")
    assert (answer.status, answer.header("Location")) == (302, "http://example.org/")
    assert "unsafe byte" in gateway.get("/bad").text


def test_variables(moongate):
    gateway = moongate(server=r"""set $own "start";
        location ~ ^/(\w+)/(\d+)$ { content_by_lua_block {
            ngx.say(ngx.var[1], ngx.var[2], tostring(ngx.var[3])) ngx.say(ngx.var.own) ngx.var.own = "changed"
            ngx.say(ngx.var.own, " ", ngx.var.arg_q, " ", tostring(ngx.var.nothing))
            ngx.say(ngx.var.http_x_y, ngx.var.request_method, ngx.var.remote_addr)
            ngx.say(select(2, pcall(function () ngx.var.unknown = 1 end))) } }""")
    lines = gateway.get("/abc/12?q=Z", headers={"X-Y": "hy"}).text.splitlines()
    assert lines[:4] == ["abc12nil", "start", "changed Z nil", "hyGET127.0.0.1"]
    assert 'variable "unknown" not found for writing' in lines[4]


def test_ctx_lives_over_phases_and_is_the_request_s_own(moongate):
    gateway = moongate(server="""location / {
        rewrite_by_lua_block { ngx.ctx.n = (ngx.ctx.n or 0) + 1 } access_by_lua_block { ngx.ctx.n = ngx.ctx.n + 1 }
        content_by_lua_block { ngx.say(ngx.ctx.n) } }""")
    with gateway.connect() as connection:
        for _ in range(3):
            connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.read_response().body == b"2\n"


def test_response_headers(moongate):
    answer = run(moongate, """
        ngx.header["X-One"] = "1" ngx.header["X-Many"] = { "a", "b" } ngx.header.content_type = "text/own"
        ngx.header["X-Gone"] = "x" ngx.header["X-Gone"] = nil ngx.header["X-Split"] = "a\\r\\nX-Forged: 1"
        ngx.status = 202
        local all = ngx.resp.get_headers()
        ngx.say(ngx.header["X-One"], #ngx.header["X-Many"], all["x-one"], all.x_one, ngx.status)""")
    assert answer.status == 202 and answer.body == b"1211202\n"
    assert answer.header("Content-Type") == "text/own" and answer.all("X-Many") == ["a", "b"]
    assert answer.header("X-Gone") is None and answer.header("X-Forged") is None


def test_content_length_set_by_lua(moongate):
    answer = run(moongate, 'ngx.header.content_length = 5 ngx.print("12345")')
    assert answer.header("Content-Length") == "5" and answer.header("Transfer-Encoding") is None


def test_request_headers(moongate):
    answer = run(moongate, """
        local h = ngx.req.get_headers() ngx.say(h.host, h["x-a"], h.X_A)
        ngx.req.set_header("X-New", "n") ngx.req.set_header("X-Two", { "1", "2" }) ngx.req.clear_header("X-A")
        h = ngx.req.get_headers() ngx.say(h["x-new"], table.concat(h["x-two"], ","), tostring(h["x-a"]))
        ngx.say(ngx.var.http_x_new) ngx.say(ngx.req.get_headers(0, true)["X-New"])
        ngx.say((ngx.req.raw_header():gsub("\\r\\n.*", "")))""", headers={"Host": "h", "X-A": "v"})
    assert answer.text.splitlines() == ["hvv", "n1,2nil", "n", "n", "GET / HTTP/1.1"]


def test_request_line(moongate):
    answer = run(moongate, """
        ngx.say(ngx.req.get_method(), ngx.req.http_version())
        local a = ngx.req.get_uri_args() ngx.say(a.x, table.concat(a.y, "+"), tostring(a.flag), a["sp ce"])
        ngx.req.set_method(ngx.HTTP_POST) ngx.req.set_uri("/other") ngx.req.set_uri_args({ k = { 1, true } })
        ngx.say(ngx.req.get_method(), ngx.var.uri, ngx.var.args) ngx.req.set_uri_args("a=b")
        ngx.say(ngx.var.args, ngx.req.start_time() <= ngx.now())""", path="/p?x=1&y=2&y=3&flag&sp%20ce=%41+b")
    assert answer.text.splitlines() == ["GET1.1", "12+3trueA b", "POST/otherk=1&k", "a=btrue"]


def test_set_uri_with_jump(moongate):
    gateway = moongate(server="""
        location /from { rewrite_by_lua_block { ngx.req.set_uri("/to", true) } content_by_lua_block { ngx.say("no") } }
        location /to { content_by_lua_block { ngx.say("jumped ", ngx.var.uri) } }""")
    assert gateway.get("/from").body == b"jumped /to\n"


def test_body_in_memory_and_in_a_file(moongate):
    gateway = moongate(server="""
        location /data { content_by_lua_block { ngx.req.read_body()
            ngx.say(ngx.req.get_body_data()) ngx.say(tostring(ngx.req.get_body_file()))
            local p = ngx.req.get_post_args() ngx.say(p.a, p.b) } }
        location /file { client_body_buffer_size 1k; content_by_lua_block { ngx.req.read_body()
            ngx.say(tostring(ngx.req.get_body_data()))
            local f = assert(io.open(ngx.req.get_body_file())) ngx.say(#f:read("*a")) } }
        location /set { content_by_lua_block { ngx.req.read_body() ngx.req.set_body_data("new body")
            ngx.say(ngx.req.get_body_data(), ngx.req.get_headers().content_length)
            ngx.req.init_body() ngx.req.append_body("one ") ngx.req.append_body("two") ngx.req.finish_body()
            ngx.say(ngx.req.get_body_data()) } }
        location /discard { content_by_lua_block { ngx.req.discard_body() ngx.say("ok") } }""")
    assert gateway.request("POST", "/data", body="a=1&b=%32").text == "a=1&b=%32\nnil\n12\n"
    assert gateway.request("POST", "/file", body="x" * 5000).text == "nil\n5000\n"
    assert gateway.request("POST", "/set", body="old").text == "new body8\none two\n"
    with gateway.connect() as connection:
        for _ in range(2):
            connection.send(b"POST /discard HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            assert connection.read_response().body == b"ok\n"


def test_log_levels_and_place(moongate):
    gateway = moongate(server="""location / { content_by_lua_block {
        ngx.log(ngx.WARN, "warned ", 1, nil, true) print("printed")
        ngx.say(ngx.ERR, ngx.WARN, ngx.NOTICE, ngx.INFO, ngx.DEBUG, ngx.STDERR) } }""")
    assert gateway.get("/").body == b"456780\n"
    log = gateway.error_log()
    assert re.search(r"\[warn\] .*\[lua\] content_by_lua\(nginx\.conf:\d+\):2: warned 1niltrue, client: 127", log)
    assert re.search(r"\[notice\] .*printed", log)


def test_regular_expressions(moongate):
    answer = run(moongate, r"""
        local m = ngx.re.match("hello, 1234 x", [[(?<d>[0-9])([0-9]+)(z)?]], "jo")
        ngx.say(m[0], m[1], m.d, m[2], tostring(m[3]))
        ngx.say(ngx.re.find("foo bar", "BAR", "ijo")) ngx.say(tostring(ngx.re.match("a", "b")))
        for w in ngx.re.gmatch("a1 b2", [[(\w)\d]], "jo") do ngx.print(w[1]) end ngx.say()
        ngx.say(ngx.re.sub("abc", "(b)", "[$1$0$$]", "jo")) ngx.say(ngx.re.gsub("aXbX", "x", "-", "ijo"))
        ngx.say(ngx.re.gsub("ab", "[ab]", function (n) return n[0]:upper() end, "jo"))
        ngx.say(select(3, ngx.re.find("x", "(")) and "failed")
        ngx.say(table.concat(require("ngx.re").split("a,b;c", "[,;]"), " "))
        ngx.say(#ngx.re.match("é", "^.$", "u")[0]) ngx.say(ngx.re.match("abcd", "ab|abcd", "d")[0])""")
    assert answer.text.splitlines() == ["123411234false", "57", "nil", "ab", "a[bb$]c1", "a-b-2", "AB2", "failed",
                                        "a b c", "2", "abcd"]


def test_times(moongate):
    answer = run(moongate, """
        ngx.update_time() ngx.say(ngx.time(), " ", ngx.now() - ngx.time() < 1)
        ngx.say(#ngx.today(), #ngx.localtime(), #ngx.utctime())
        ngx.say(ngx.http_time(784111777)) ngx.say(ngx.cookie_time(784111777))
        ngx.say(ngx.parse_http_time("Sun, 06 Nov 1994 08:49:37 GMT"), tostring(ngx.parse_http_time("nonsense")))""")
    lines = answer.text.splitlines()
    assert lines[0].endswith(" true") and lines[1] == "101919"
    assert lines[2:] == ["Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06-Nov-94 08:49:37 GMT", "784111777nil"]


def test_encodings(moongate):
    text = "a b&é/\"'"
    answer = run(moongate, """local s = ngx.unescape_uri(ngx.var.arg_s)
        ngx.say(ngx.escape_uri(s)) ngx.say(ngx.encode_base64(s)) ngx.say(ngx.decode_base64(ngx.encode_base64(s)) == s)
        local b = require "ngx.base64" ngx.say(b.encode_base64url("??>>")) ngx.say(b.decode_base64url("Pz8-Pg"))
        ngx.say(ngx.md5(s)) ngx.say(ngx.encode_base64(ngx.md5_bin(s))) ngx.say(ngx.encode_base64(ngx.sha1_bin(s)))
        ngx.say(ngx.encode_base64(ngx.hmac_sha1("key", s))) ngx.say(ngx.crc32_short(s), " ", ngx.crc32_long(s))
        ngx.say(ngx.quote_sql_str("a'b")) ngx.say(ngx.encode_args({ ["k y"] = "v&" }))
        ngx.say(ngx.decode_args("a=1&b=%32").b) ngx.say(tostring(ngx.decode_base64("*")))
        """, path="/?s=a%20b%26%C3%A9%2F%22%27")
    raw = text.encode()
    encode = lambda data: base64.b64encode(data).decode()
    crc = zlib.crc32(raw)
    assert answer.text.splitlines() == [
        "a%20b%26%C3%A9%2F%22'", encode(raw), "true", "Pz8-Pg", "??>>", hashlib.md5(raw).hexdigest(),
        encode(hashlib.md5(raw).digest()), encode(hashlib.sha1(raw).digest()),
        encode(hmac.new(b"key", raw, "sha1").digest()), f"{crc} {crc}", r"'a\'b'", "k%20y=v%26", "2", "nil"]


def test_shared_dictionaries(moongate):
    answer = run(moongate, """local d = ngx.shared.d
        ngx.say(d:set("k", "v", 0, 7)) ngx.say(d:get("k")) ngx.say(d:add("k", 1)) ngx.say(d:replace("none", 1))
        ngx.say(d:incr("n", 2, 40)) ngx.say(d:get("n")) d:set("b", true) ngx.say(d:get("b"))
        ngx.say(d:lpush("l", "a"), d:rpush("l", 5), d:llen("l"), d:lpop("l"), d:rpop("l"), tostring(d:lpop("l")))
        d:set("t", 1, 100) ngx.say(d:ttl("t") > 99) ngx.say(d:expire("t", 0.001)) ngx.sleep(0.02)
        ngx.say(tostring(d:get("t"))) ngx.say(d:get_stale("t")) ngx.say(#d:get_keys()) d:delete("k")
        ngx.say(tostring(d:get("k"))) d:flush_all() ngx.say(tostring(d:get("n"))) ngx.say(d:flush_expired())
        local long = ("x"):rep(10000) d:set("long", long) ngx.say(d:get("long") == long) ngx.say(d:capacity())
        ngx.say(d:safe_set("huge", ("x"):rep(200000)))""", http="lua_shared_dict d 100k;")
    assert answer.text.splitlines() == [
        "truenilfalse", "v7", "falseexistsfalse", "falsenot foundfalse", "42nilfalse", "42", "true", "122a5nil",
        "true", "true", "nil", "1niltrue", "3", "nil", "nil", "0", "true", "102400", "falseno memoryfalse"]


@pytest.mark.moongate_only
def test_shared_dictionaries_are_shared_by_workers(moongate):
    gateway = moongate("""worker_processes 2; events {} http { access_log off; lua_shared_dict d 1m;
        init_worker_by_lua_block { ngx.shared.d:incr("workers", 1, 0) }
        server { listen 127.0.0.1:%PORT%; location / { content_by_lua_block {
            ngx.say(ngx.shared.d:get("workers"), ngx.worker.count()) } } } }""")
    harness.eventually(lambda: gateway.get("/").body == b"22\n")


def test_worker_and_config(moongate):
    answer = run(moongate, """ngx.say(ngx.worker.id(), ngx.worker.count(), ngx.worker.pid() > 0,
        tostring(ngx.worker.exiting())) ngx.say(ngx.config.subsystem, ngx.config.ngx_lua_version, ngx.config.prefix())
        ngx.say(type(ngx.config.nginx_version), tostring(ngx.null), tostring(ngx.is_subrequest))""")
    lines = answer.text.splitlines()
    assert lines[0] == "01truefalse" and lines[1].startswith("http10023/")
    assert lines[2] == "numberuserdata: NULLfalse"


def test_body_filter_ends_and_replaces(moongate):
    gateway = moongate(server="""
        location / { return 200 "secret text"; body_filter_by_lua_block {
            ngx.arg[1] = ngx.arg[1] and ngx.re.gsub(ngx.arg[1], "secret", "open") } 
            header_filter_by_lua_block { ngx.header.content_length = nil } }
        location /cut { content_by_lua_block { ngx.say("a") ngx.flush(true) ngx.say("b") }
            body_filter_by_lua_block { ngx.arg[2] = true } }""")
    assert gateway.get("/").body == b"open text"
    assert gateway.get("/cut").body == b"a\n"


CAPTURED = """local log = require "ngx.errlog" local all = assert(log.get_logs(tonumber(ngx.var.arg_most) or 100))
    for i = 1, #all, 3 do ngx.say(all[i], " ", ngx.now() - all[i + 1] < 60, " ", all[i + 2]) end"""


@pytest.mark.moongate_only  # the reference was built without the patch that it needs
def test_errlog(moongate):
    gateway = moongate(http="lua_capture_error_log 32k;", server="""location / { content_by_lua_block {
        local log = require "ngx.errlog" log.get_logs() ngx.log(ngx.ERR, "captured") log.raw_log(ngx.WARN, "raw line")
        """ + CAPTURED + """ ngx.say(log.get_sys_filter_level(), " ", #log.get_logs()) } }""")
    lines = gateway.get("/").text.splitlines()
    whole = r" true \d{4}/\d\d/\d\d [\d:]{8} \[%s\] \d+#\d+: \*\d+ %s, client: 127\.0\.0\.1, .*request: \"GET / HTTP.*"
    assert re.fullmatch("4" + whole % ("error", r"\[lua\] content_by_lua\(.*\):\d+: captured"), lines[0])
    assert re.fullmatch("5" + whole % ("warn", "raw line"), lines[1])
    assert lines[2:] == ["7 0"]
    assert "raw line" in gateway.error_log()


@pytest.mark.moongate_only
def test_errlog_captures_the_lines_of_the_engine(moongate):
    gateway = moongate(http="lua_capture_error_log 32k; init_by_lua_block { ngx.log(ngx.WARN, 'from init') }",
                       server="location / { root nowhere; } location = /logs { content_by_lua_block { "
                       + CAPTURED + """ } } location /down { proxy_pass http://127.0.0.1:1; }
        location /filter { content_by_lua_block { assert(require("ngx.errlog").set_filter_level(ngx.CRIT)) } }
        location /levels { error_log logs/crit.log crit;
            content_by_lua_block { ngx.log(ngx.ERR, "too low") ngx.log(ngx.CRIT, "high") } }""")
    gateway.allow("No such file|Connection refused|high")
    assert "[lua] init_by_lua(nginx.conf" in (first := gateway.get("/logs").text) and "from init" in first
    assert gateway.get("/absent").status == 404
    assert gateway.get("/down").status == 502
    gateway.get("/levels")
    text = gateway.get("/logs").text
    assert re.search(r"^4 true .*open\(\) .*absent\" failed \(2: No such file or directory\), client: ", text, re.MULTILINE)
    assert re.search(r"^4 true .*connect\(\) failed .*Connection refused\)", text, re.MULTILINE)
    assert "high" in text and "too low" not in text  # what no log takes is not captured either
    gateway.get("/filter")
    gateway.get("/absent")
    gateway.get("/levels")
    text = gateway.get("/logs").text
    assert len(text.splitlines()) == 1 and "high" in text and text.startswith("3 ")


@pytest.mark.moongate_only
def test_errlog_keeps_the_newest_lines_that_fit(moongate):
    gateway = moongate(http="lua_capture_error_log 4k;", server="""location = /logs { content_by_lua_block { """ + CAPTURED
                       + """ } } location / { content_by_lua_block { require("ngx.errlog").get_logs()
        for n = 1, 100 do ngx.log(ngx.WARN, "line ", n, ".") end } }
        location /long { content_by_lua_block { ngx.log(ngx.WARN, ("x"):rep(5000)) } }""")
    gateway.get("/")
    gateway.get("/long")  # larger than the ring: not kept, and nothing goes for it
    numbers = [int(n) for n in re.findall(r"line (\d+)\.", gateway.get("/logs?most=3").text)]
    assert len(numbers) == 3
    numbers += [int(n) for n in re.findall(r"line (\d+)\.", gateway.get("/logs").text)]
    assert numbers == list(range(numbers[0], 101)) and 15 < len(numbers) < 30
    assert gateway.get("/logs").text == ""


def test_new_globals_are_warned_about(moongate):
    gateway = moongate(server="location / { content_by_lua_block { leaked = 1 ngx.say(leaked) } }")
    assert gateway.get("/").body == b"1\n"
    assert "writing a global Lua variable ('leaked')" in gateway.error_log()


def test_cjson_and_lrucache_load(moongate):
    answer = run(moongate, """local c = require("resty.lrucache").new(10) c:set("k", { 1, 2 })
        ngx.say(require("cjson").encode((c:get("k"))))""")
    assert json.loads(answer.body) == [1, 2]


@pytest.mark.moongate_only
def test_every_function_that_resty_core_binds_is_there(moongate):
    names = """ngx_http_lua_ffi_pipe_spawn ngx_http_lua_ffi_ssl_verify_client ngx_http_lua_ffi_sema_gc
        ngx_encode_base64url ngx_decode_base64url ngx_http_lua_ffi_balancer_set_timeouts""".split()
    code = "local ffi = require 'ffi' " + " ".join(
        f"pcall(ffi.cdef, 'int {name}(void);') assert(ffi.C.{name})" for name in names)
    answer = run(moongate, code + """ for _, m in ipairs { "ngx.balancer", "ngx.base64", "ngx.errlog", "ngx.ocsp",
        "ngx.pipe", "ngx.process", "ngx.re", "ngx.req", "ngx.resp", "ngx.semaphore", "ngx.ssl", "ngx.ssl.session",
        "ngx.ssl.clienthello" } do require(m) end ngx.say("all")""")
    assert answer.body == b"all\n"
