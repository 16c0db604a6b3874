"""What happens to Lua code when its client leaves: lua_check_client_abort and ngx.on_abort."""
import pytest

import harness

ASK = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
HTTP = "log_format short '$uri $status';"
LOG = "access_log logs/access.log short;"


def leave(gateway, path, wait="started"):
    """Asks, waits until the log says that the code runs, and closes the connection."""
    with gateway.connect() as connection:
        connection.send(ASK % path.encode())
        harness.eventually(lambda: wait in gateway.error_log())


def log_has(gateway, text):
    harness.eventually(lambda: text in gateway.error_log(), what=text)


def statuses(gateway):
    path = gateway.prefix / "logs/access.log"
    return path.read_text().splitlines() if path.exists() else []


CODE = """ngx.log(ngx.ERR, "started") ngx.sleep(0.3) ngx.log(ngx.ERR, "went on")"""


@pytest.mark.parametrize("phase", ["rewrite", "access", "content"])
def test_lua_check_client_abort_on_ends_the_code(moongate, phase):
    content = "" if phase == "content" else "content_by_lua_block { ngx.say(1) }"
    gateway = moongate(http=HTTP, server="%s location / { lua_check_client_abort on; %s_by_lua_block { %s } %s }"
                       % (LOG, phase, CODE, content))
    leave(gateway, "/")
    harness.eventually(lambda: statuses(gateway) == ["/ 499"])
    log_has(gateway, "client prematurely closed connection")
    assert "went on" not in gateway.error_log()


def test_lua_check_client_abort_off_lets_it_run(moongate):
    gateway = moongate(http=HTTP, server="%s location / { content_by_lua_block { %s ngx.say(1) } }" % (LOG, CODE))
    leave(gateway, "/")
    log_has(gateway, "went on")


@pytest.mark.parametrize("phase", ["rewrite", "access", "content"])
def test_ngx_on_abort_runs_the_callback(moongate, phase):
    content = "" if phase == "content" else "content_by_lua_block { ngx.say(1) }"
    gateway = moongate(server="""location / { lua_check_client_abort on; %s_by_lua_block {
        local ok, err = ngx.on_abort(function() ngx.log(ngx.ERR, "gone in ", ngx.get_phase()) ngx.exit(499) end)
        ngx.log(ngx.ERR, "set: ", ok, " ", err) %s } %s }""" % (phase, CODE, content))
    leave(gateway, "/")
    log_has(gateway, f"gone in {phase}")
    assert "set: 1 nil" in gateway.error_log()
    gateway.get("/")
    assert gateway.error_log().count("went on") == 1  # of the client that stayed


def test_ngx_on_abort_without_exit_lets_the_code_end(moongate):
    gateway = moongate(server="""location / { lua_check_client_abort on; content_by_lua_block {
        ngx.on_abort(function() ngx.sleep(0.01) ngx.log(ngx.ERR, "cleaned") end) %s } }""" % CODE)
    leave(gateway, "/")
    log_has(gateway, "cleaned")
    log_has(gateway, "went on")


def test_ngx_on_abort_callback_outlives_the_entry_thread(moongate):
    gateway = moongate(server="""location / { lua_check_client_abort on; content_by_lua_block {
        ngx.on_abort(function() ngx.sleep(0.4) ngx.log(ngx.ERR, "cleaned late") end)
        ngx.log(ngx.ERR, "started") ngx.sleep(0.2) ngx.log(ngx.ERR, "went on") }
        log_by_lua_block { ngx.log(ngx.ERR, "over") } }""")
    leave(gateway, "/")
    log_has(gateway, "over")
    log = gateway.error_log()
    assert log.index("went on") < log.index("cleaned late") < log.index("over")


def test_ngx_on_abort_sees_locals_and_ctx(moongate):
    gateway = moongate(server="""location / { lua_check_client_abort on; content_by_lua_block {
        local thread = ngx.thread.spawn(function() ngx.log(ngx.ERR, "started") ngx.sleep(10) end)
        ngx.ctx.name = "job"
        ngx.on_abort(function() ngx.log(ngx.ERR, "ending ", ngx.ctx.name, " ", ngx.var.uri)
                                ngx.thread.kill(thread) ngx.exit(499) end)
        ngx.thread.wait(thread) } }""")
    leave(gateway, "/")
    log_has(gateway, "ending job /")


@pytest.mark.parametrize("check, arguments, text", [
    ("off", "function() end", "lua_check_client_abort is off"), ("on", "1", "Lua function expected"),
    ("on", "print", "Lua function expected"), ("on", "nil", "Lua function expected")])
def test_ngx_on_abort_refuses(moongate, check, arguments, text):
    gateway = moongate(server="""location / { lua_check_client_abort %s; content_by_lua_block {
        local ok, result, err = pcall(ngx.on_abort, %s) ngx.say(err or result) } }""" % (check, arguments))
    assert text in gateway.get("/").text


def test_ngx_on_abort_twice(moongate):
    gateway = moongate(server="""location / { lua_check_client_abort on; content_by_lua_block {
        local function f() end ngx.on_abort(f) local ok, err = ngx.on_abort(f)
        ngx.say(tostring(ok), " ", err) } }""")
    assert gateway.get("/").body == b"nil duplicate call\n"


def test_an_error_in_the_callback_is_logged(moongate):
    gateway = moongate(server="""location / { lua_check_client_abort on; content_by_lua_block {
        ngx.on_abort(function() error("bad callback") end) %s } }""" % CODE)
    leave(gateway, "/")
    log_has(gateway, "lua user thread aborted: runtime error: content_by_lua(nginx.conf:")
    log_has(gateway, "went on")


@pytest.mark.moongate_only
def test_a_cancelled_wait_in_a_filter_ends_with_its_client(moongate):
    gateway = moongate(http=HTTP, server="""%s location / { lua_check_client_abort on;
        content_by_lua_block { ngx.say("body") }
        header_filter_by_lua_block { ngx.log(ngx.ERR, "started") ngx.sleep(5) ngx.log(ngx.ERR, "went on") } }""" % LOG)
    leave(gateway, "/")
    harness.eventually(lambda: len(statuses(gateway)) == 1, timeout=3)
    assert "went on" not in gateway.error_log()


def test_a_client_that_only_stops_sending_counts_as_gone(moongate):
    gateway = moongate(http=HTTP, server="%s location / { lua_check_client_abort on; content_by_lua_block { %s } }"
                       % (LOG, CODE))
    with gateway.connect() as connection:
        connection.send(ASK % b"/")
        harness.eventually(lambda: "started" in gateway.error_log())
        connection.finish_sending()
        harness.eventually(lambda: statuses(gateway) == ["/ 499"])


@pytest.mark.moongate_only
def test_a_client_that_was_gone_before_ends_the_first_wait(moongate):
    gateway = moongate(http=HTTP, server="""%s location / { rewrite_by_lua_block { ngx.sleep(0.1) }
        lua_check_client_abort off; content_by_lua_block { ngx.exec("/checked") } }
        location = /checked { lua_check_client_abort on; content_by_lua_block { ngx.log(ngx.ERR, "started") %s } }
        location = /with { rewrite_by_lua_block { ngx.sleep(0.1) ngx.exec("/callback") } }
        location = /callback { lua_check_client_abort on; content_by_lua_block {
            ngx.on_abort(function() ngx.log(ngx.ERR, "told late") ngx.exit(499) end) %s } }""" % (LOG, CODE, CODE))
    for path in (b"/", b"/with"):
        with gateway.connect() as connection:
            connection.send(ASK % path)
    harness.eventually(lambda: sorted(statuses(gateway)) == ["/callback 499", "/checked 499"])
    log_has(gateway, "told late")
    assert "went on" not in gateway.error_log()
