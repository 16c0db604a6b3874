"""ngx.run_worker_thread: Lua in threads of its own, from every phase. What ngx_lua does too holds on the reference."""
import time

import pytest

import harness

MODULE = """
local M = { setting = 42 }
function M.echo(...) return ... end
function M.fail() error("it is broken") end
function M.fail_with_table() error({}) end
function M.nap(seconds) os.execute("sleep " .. seconds) return "woken" end
function M.unsupported() return 1, {function() end} end
function M.circle() local t = {} t.t = t return t end
function M.count() M.counter = (M.counter or 0) + 1 return M.counter end
function M.api()
    ngx.shared.dict:set("from_thread", "yes")
    return table.concat({ngx.md5("a"), ngx.encode_base64("abc"), ngx.re.gsub("hello", "l+", "L"), ngx.encode_args({a = "b c"}),
                         ngx.quote_sql_str("a'b"), ngx.config.subsystem, #ngx.hmac_sha1("k", "v"), ngx.shared.dict:get("key")}, " ")
end
function M.more()
    ngx.log(ngx.WARN, "from the thread")
    return ngx.escape_uri("a b"), ngx.now() > 1e9, ngx.null == nil, type(ngx.HTTP_OK), require("cjson").encode({1})
end
return M
"""


def start(moongate, code, main="thread_pool pool threads=4;", http="", server="", phase="content"):
    return moongate("""%s
        events {}
        http { access_log off; lua_package_path "%%PREFIX%%/?.lua;;"; lua_shared_dict dict 1m; %s
            server { listen 127.0.0.1:%%PORT%%; %s
                location / { %s_by_lua_block {
                    local function run(...) return ngx.run_worker_thread("pool", "work", ...) end
                    local function say(...)
                        local values = {...}
                        for i = 1, select("#", ...) do values[i] = tostring(values[i]) end
                        ngx.say(table.concat(values, "|"))
                    end
                    %s } } } }""" % (main, http, server, phase, code), files={"work.lua": MODULE})


def test_values_are_copied(moongate):
    gateway = start(moongate, """
        say(run("echo")) say(run("echo", nil, true, 1.5, "text\\0end", nil))
        local ok, t = run("echo", {1, 2, {deep = {x = "y"}}, [true] = false, key = ngx.null})
        say(ok, #t, t[3].deep.x, t[true], t.key == ngx.null)
        local mine = {1} local _, theirs = run("echo", mine) say(mine == theirs)""")
    assert gateway.get("/").body == b"true\ntrue|nil|true|1.5|text\0end|nil\ntrue|3|y|false|true\nfalse\n"


def test_what_cannot_be_copied_is_told(moongate):
    gateway = start(moongate, """
        say(run("echo", print)) say(run("echo", {{coroutine.create(function() end)}})) say(run("echo", io.stdout))
        local t = {} t.t = t say(run("echo", t))
        say(run("unsupported")) say(run("circle"))""")
    deep = "suspicious circular references, table depth exceed max depth: 100"
    assert gateway.get("/").text.splitlines() == [
        "false|unsupported Lua type: LUA_TFUNCTION in the argument",
        "false|unsupported Lua type: LUA_TTHREAD in the argument",
        "false|unsupported Lua type: LUA_TUSERDATA in the argument",
        "false|%s in the argument" % deep,
        "false|unsupported Lua type: LUA_TFUNCTION in the return value",
        "false|%s in the return value" % deep]


def test_wrong_calls(moongate):
    gateway = start(moongate, """
        local call = ngx.run_worker_thread
        say(call("pool", "work")) say(call("none", "work", "echo")) say(call({}, "work", "echo"))
        say(call("pool", {}, "echo")) say(call("pool", "work", {})) say(call("pool", "work", "none"))
        say(call("pool", "work", "setting")) say(call("pool", "string", "len", "abc"))
        local ok, message = call("pool", "missing.module", "echo") say(ok, message:match("module 'missing.module' not found"))
        ok, message = run("fail") say(ok, message:match("it is broken"))""")
    assert gateway.get("/").text.splitlines() == [
        "false|expecting at least 3 arguments", "false|thread pool none not found",
        "false|threadpool should be a string", "false|module name should be a string",
        "false|function name should be a string", "false|invalid function", "false|invalid function", "true|3",
        "false|module 'missing.module' not found", "false|it is broken"]


def test_api_in_the_thread(moongate):
    gateway = start(moongate, """
        ngx.shared.dict:set("key", "shared") say(run("api")) say(ngx.shared.dict:get("from_thread"))""")
    assert gateway.get("/").text == ("true|0cc175b9c0f1b6a831c399e269772661 YWJj heLo a=b%20c 'a\\'b' http 20 shared\n"
                                     "yes\n")


@pytest.mark.moongate_only
def test_more_api_in_the_thread(moongate):
    gateway = start(moongate, 'say(run("more")) say(run("fail_with_table"))')
    assert gateway.get("/").text == "true|a%20b|true|false|number|[1]\nfalse|unknown reason\n"
    assert "from the thread" in gateway.error_log()


def test_the_worker_goes_on_meanwhile(moongate):
    gateway = start(moongate, """
        if ngx.var.arg_nap then return say(run("nap", ngx.var.arg_nap)) end say("here")""")
    with gateway.connect() as slow:
        slow.send(b"GET /?nap=0.5 HTTP/1.1\r\nHost: a\r\n\r\n")
        started = time.monotonic()
        assert gateway.get("/").body == b"here\n"
        assert time.monotonic() - started < 0.4
        assert slow.read_response().body == b"true|woken\n"


def test_vm_pool_size(moongate):
    gateway = start(moongate, """
        local naps = {}
        for i = 1, 3 do naps[i] = ngx.thread.spawn(run, "nap", "0.2") end
        for i = 1, 3 do say(ngx.thread.wait(naps[i])) end
        say(run("echo", "again"))""", http="lua_worker_thread_vm_pool_size 2;")
    assert gateway.get("/").text == "true|true|woken\ntrue|true|woken\ntrue|false|no available Lua vm\ntrue|again\n"


@pytest.mark.moongate_only  # the reference crashes
def test_max_queue(moongate):
    gateway = start(moongate, """
        local naps = {}
        for i = 1, 3 do naps[i] = ngx.thread.spawn(run, "nap", "0.2") ngx.sleep(0.05) end
        for i = 1, 3 do say(ngx.thread.wait(naps[i])) end""", main="thread_pool pool threads=1 max_queue=1;")
    assert gateway.get("/").text == "true|true|woken\ntrue|true|woken\ntrue|false|ngx_thread_task_post failed\n"
    assert 'thread pool "pool" queue overflow: 1 tasks waiting' in gateway.error_log()


def test_killed_and_abandoned_calls_give_their_vm_back(moongate):
    gateway = start(moongate, """
        if ngx.var.arg_abandon then ngx.thread.spawn(run, "nap", "0.2") return ngx.exit(204) end
        local nap = ngx.thread.spawn(run, "nap", "0.1")
        say(ngx.thread.kill(nap)) say(run("echo")) ngx.sleep(0.3) say(run("echo", 1))""",
                    http="lua_worker_thread_vm_pool_size 1;")
    assert gateway.get("/").text == "1\nfalse|no available Lua vm\ntrue|1\n"
    assert gateway.get("/?abandon=1").status == 204
    harness.eventually(lambda: gateway.get("/").text.startswith("1\nfalse"))


@pytest.mark.moongate_only
@pytest.mark.parametrize("phase", ["set", "server_rewrite", "rewrite", "access", "header_filter", "body_filter", "log"])
def test_every_phase(moongate, phase):
    code = """local ok, text = ngx.run_worker_thread("pool", "work", "nap", "0.02") ngx.log(ngx.WARN, "got ", text)"""
    directive = ("set_by_lua_block $a" if phase == "set" else phase + "_by_lua_block") + " { " + code + " }"
    gateway = start(moongate, 'say("ok")', server=directive)
    assert gateway.get("/").body == b"ok\n"
    harness.eventually(lambda: "got woken" in gateway.error_log())


@pytest.mark.moongate_only
def test_init_worker_and_timers(moongate):
    gateway = start(moongate, 'say("ok")', http="""init_worker_by_lua_block {
        local function work() ngx.log(ngx.WARN, ngx.get_phase(), " got ", select(2, ngx.run_worker_thread("pool", "work", "nap", "0"))) end
        work() ngx.timer.at(0, work) }""")
    harness.eventually(lambda: "init_worker got woken" in gateway.error_log())
    harness.eventually(lambda: "timer got woken" in gateway.error_log())


@pytest.mark.moongate_only
def test_reload_and_stop_while_a_thread_runs(moongate):
    gateway = start(moongate, 'ngx.thread.spawn(run, "nap", "1") ngx.exit(204)')
    assert gateway.get("/").status == 204
    gateway.reload()
    started = time.monotonic()
    gateway.stop()
    assert time.monotonic() - started < 0.9


def test_many_calls(moongate):
    gateway = start(moongate, """
        local sum = 0
        for round = 1, 50 do
            local threads = {}
            for i = 1, 10 do threads[i] = ngx.thread.spawn(run, "echo", i, {i}) end
            for i = 1, 10 do local _, ok, n, t = ngx.thread.wait(threads[i]) if ok and t[1] == n then sum = sum + n end end
        end
        say(sum)""")
    assert gateway.get("/").body == b"2750\n"


def test_config_of_the_server_in_both(moongate):
    gateway = start(moongate, 'say(ngx.config.prefix()) say(ngx.config.nginx_configure():match("^%s*%-%-%S+") ~= nil)')
    assert gateway.get("/").text == "%s/\ntrue\n" % gateway.prefix
