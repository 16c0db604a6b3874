"""ngx.pipe: child processes from Lua. Debian's ngx_lua is built without it, so that these run on Moongate only."""
import os
import time

import pytest

import harness

pytestmark = pytest.mark.moongate_only


def run(moongate, code, **more):
    gateway = moongate(server="""location / { content_by_lua_block {
        local pipe = require "ngx.pipe"
        local function say(...)
            local values, last = {...}, select("#", ...)
            while last > 1 and values[last] == nil do last = last - 1 end
            for i = 1, last do values[i] = tostring(values[i]) end
            ngx.say(table.concat(values, "|"))
        end
        %s } }""" % code, **more)
    return gateway, gateway.get("/").body.decode()


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_spawn_with_arguments_and_with_a_shell_line(moongate):
    _, body = run(moongate, """
        local proc = pipe.spawn({"printf", "%s-%s", "a b", 7})
        say(proc:stdout_read_all())
        say(pipe.spawn("echo $((20 + 22)) | cat"):stdout_read_line())
        say(pcall(pipe.spawn, {}))""")
    assert body.splitlines()[:2] == ["a b-7", "42"]
    assert "bad args arg: non-empty table expected" in body


def test_spawn_environ_replaces_the_environment(moongate):
    _, body = run(moongate, """
        say(pipe.spawn({"env"}, {environ = {"A=1", "B=two"}}):stdout_read_all())
        say(pcall(pipe.spawn, "env", {environ = {"nothing"}}))""")
    assert body.startswith("A=1\nB=two\n")
    assert "'name=[value]' format expected" in body


def test_spawn_of_a_missing_program_ends_with_1(moongate):
    gateway, body = run(moongate, """say(pipe.spawn({"/no/such/program"}):wait())""")
    assert body == "false|exit|1\n"
    assert "execvp() failed while executing /no/such/program (2: No such file or directory)" in gateway.error_log()


def test_merge_stderr(moongate):
    _, body = run(moongate, """
        local proc = pipe.spawn("echo out; echo err >&2", {merge_stderr = true})
        say(proc:stdout_read_all()) say(proc:stderr_read_all()) say(proc:shutdown("stderr"))""")
    assert body == "out\nerr\n\nnil|merged to stdout\nnil|merged to stdout\n"


def test_stdout_read_line_bytes_any_and_all(moongate):
    _, body = run(moongate, r"""
        local proc = pipe.spawn({"printf", "one\\r\\ntwo\\nthree456789"})
        say(proc:stdout_read_line()) say(proc:stdout_read_line()) say(proc:stdout_read_bytes(5))
        say(proc:stdout_read_bytes(0)) say(proc:stdout_read_any(3)) say(proc:stdout_read_all())
        say(proc:stdout_read_all()) say(proc:stdout_read_any(9))""")
    assert body == "one\ntwo\nthree\n\n456\n789\n\nnil|closed|\n"


def test_stderr_read_line_bytes_any_and_all(moongate):
    _, body = run(moongate, """
        local proc = pipe.spawn("printf 'line\\\\nbytesanyrest' >&2")
        say(proc:stderr_read_line()) say(proc:stderr_read_bytes(5)) say(proc:stderr_read_any(3))
        say(proc:stderr_read_all())""")
    assert body == "line\nbytes\nany\nrest\n"


def test_reading_waits_for_what_comes_later(moongate):
    _, body = run(moongate, """
        local proc = pipe.spawn("printf ab; sleep 0.05; printf 'c\\\\nd'; sleep 0.05; printf efgh; sleep 0.05; echo end")
        say(proc:stdout_read_line()) say(proc:stdout_read_bytes(5)) say(proc:stdout_read_any(10))
        say(proc:wait())""")
    assert body == "abc\ndefgh\nend\n\ntrue|exit|0\n"


def test_closed_gives_the_partial_data(moongate):
    _, body = run(moongate, """
        local proc = pipe.spawn("printf abc")
        say(proc:stdout_read_bytes(10))
        proc = pipe.spawn("printf abc")
        say(proc:stdout_read_line())""")
    assert body == "nil|closed|abc\nnil|closed|abc\n"


def test_large_output_and_small_buffers(moongate):
    _, body = run(moongate, """
        local proc = pipe.spawn("head -c 300000 /dev/zero | tr '\\\\0' x; printf ytail", {buffer_size = 7})
        local data = proc:stdout_read_bytes(300000)
        say(#data, data:sub(-1)) say(proc:stdout_read_all()) say(proc:wait())""")
    assert body == "300000|x\nytail\ntrue|exit|0\n"


def test_write_and_shutdown_stdin(moongate):
    _, body = run(moongate, """
        local proc = pipe.spawn({"tr", "a-z", "A-Z"})
        say(proc:write("hello ")) say(proc:write({"wor", "ld"})) say(proc:write(42)) say(proc:shutdown("stdin"))
        say(proc:write("more")) say(proc:stdout_read_all()) say(proc:wait())
        say(pcall(proc.shutdown, proc, "nothing"))""")
    assert body.startswith("6\n5\n2\ntrue\nnil|closed\nHELLO WORLD42\ntrue|exit|0\nfalse|")


def test_write_waits_for_room(moongate):
    _, body = run(moongate, """
        local proc = pipe.spawn("sleep 0.1; wc -c")
        local writer = ngx.thread.spawn(function() local sent = proc:write(("x"):rep(500000)) proc:shutdown("stdin") return sent end)
        local _, sent = ngx.thread.wait(writer)
        say(sent, (tonumber(proc:stdout_read_line())))""")
    assert body == "500000|500000\n"


def test_write_to_an_ended_process_is_closed(moongate):
    _, body = run(moongate, """
        local proc = pipe.spawn("exec 0<&-; sleep 5")
        ngx.sleep(0.1)
        say(proc:write("x"))""")
    assert body == "nil|closed\n"


def test_set_timeouts(moongate):
    _, body = run(moongate, """
        local proc = pipe.spawn("sleep 10")
        proc:set_timeouts(20, 30, 40, 50)
        local function timed(name, f, ...)
            local began = ngx.now() local a, b = f(proc, ...)
            ngx.update_time()
            say(name, a, b, ngx.now() - began < 1)
        end
        timed("write", proc.write, ("x"):rep(1000000))
        timed("stdout", proc.stdout_read_line)
        timed("stderr", proc.stderr_read_line)
        timed("wait", proc.wait)
        say(pcall(proc.set_timeouts, proc, -1))""")
    assert body.splitlines()[:4] == ["%s|nil|timeout|true" % name for name in ("write", "stdout", "stderr", "wait")]
    assert "bad write_timeout option" in body


def test_timeout_options_of_spawn(moongate):
    _, body = run(moongate, """
        local proc = pipe.spawn("printf part; sleep 10", {stdout_read_timeout = 100, wait_timeout = 10})
        say(proc:stdout_read_line()) say(proc:wait()) say(proc:kill(15)) proc:set_timeouts(nil, nil, nil, 5000)
        say(proc:wait())""")
    assert body == "nil|timeout|part\nnil|timeout\ntrue\nfalse|signal|15\n"


def test_wait_kill_and_pid(moongate):
    _, body = run(moongate, """
        local proc = pipe.spawn("exit 7") say(proc:wait()) say(proc:wait()) say(proc:kill(9))
        proc = pipe.spawn("true") say(proc:wait())
        proc = pipe.spawn("sleep 10") say(type(proc:pid()), proc:pid() > 0) say(proc:kill(12345)) say(proc:kill(9))
        say(proc:wait()) say(proc:stdout_read_all())""")
    assert body == ("false|exit|7\nnil|exited\nnil|exited\ntrue|exit|0\nnumber|true\nnil|invalid signal\ntrue\n"
                    "false|signal|9\nnil|closed\n")


def test_one_coroutine_an_operation(moongate):
    _, body = run(moongate, """
        local proc = pipe.spawn("sleep 10")
        local reader = ngx.thread.spawn(function() return proc:stdout_read_line() end)
        local waiter = ngx.thread.spawn(function() return proc:wait() end)
        say(proc:stdout_read_all()) say(proc:wait())
        say(proc:shutdown("stdout")) say(ngx.thread.wait(reader))
        proc:kill(15) say(ngx.thread.wait(waiter))""")
    assert body == ("nil|pipe busy reading\nnil|pipe busy waiting\ntrue\ntrue|nil|aborted|\n"
                    "true|false|signal|15\n")


def test_killed_with_its_request(moongate):
    gateway, body = run(moongate, """say(pipe.spawn({"sleep", "100"}):pid())""")
    harness.eventually(lambda: not alive(int(body)))
    harness.eventually(lambda: not os.path.exists("/proc/%d" % int(body)))


def test_killed_when_collected(moongate):
    gateway, body = run(moongate, """
        local pid = pipe.spawn({"sleep", "100"}):pid()
        collectgarbage() collectgarbage()
        for i = 1, 100 do
            if not io.open("/proc/" .. pid .. "/stat") then return say("gone") end
            ngx.sleep(0.01)
        end
        say("alive")""")
    assert body == "gone\n"


def test_killed_when_the_client_leaves(moongate):
    gateway = moongate(server="""lua_check_client_abort on; location / { content_by_lua_block {
        local proc = require "ngx.pipe".spawn({"sleep", "100"})
        ngx.say(proc:pid()) ngx.flush(true) proc:set_timeouts(nil, nil, nil, 60000) proc:wait() } }""")
    with gateway.connect() as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        connection.read_until(b"\r\n\r\n")
        connection.read_until(b"\r\n")  # the chunk's size
        pid = int(connection.read_until(b"\n"))
        assert alive(pid)
    harness.eventually(lambda: not alive(pid))


def test_signals_and_descriptors_are_the_childs_own(moongate):
    _, body = run(moongate, """
        say(pipe.spawn("grep -E 'SigIgn|SigBlk' /proc/self/status; ls /proc/self/fd"):stdout_read_all())""")
    lines = body.split()
    assert lines[lines.index("SigBlk:") + 1].strip("0") == ""
    assert lines[lines.index("SigIgn:") + 1].strip("0") == ""
    assert sorted(int(word) for word in lines[4:]) == [0, 1, 2, 3]  # 3: the directory itself


@pytest.mark.parametrize("phase", ["set", "server_rewrite", "rewrite", "access", "content", "header_filter",
                                   "body_filter", "log"])
def test_waits_in_every_phase(moongate, phase):
    code = """local proc = require "ngx.pipe".spawn("sleep 0.05; echo done")
              local line = proc:stdout_read_line() local ok = proc:wait()
              ngx.log(ngx.WARN, "line=", line, " ok=", tostring(ok))"""
    directive = "set_by_lua_block $a" if phase == "set" else phase + "_by_lua_block"
    content = "" if phase == "content" else "return 200 ok;" if phase in ("set", "log") else \
        "content_by_lua_block { ngx.print(\"ok\") }"
    if phase == "server_rewrite":
        gateway = moongate(server="%s { %s } location / { %s }" % (directive, code, content))
    else:
        gateway = moongate(server="location / { %s { %s } %s }" % (directive, code, content))
    assert gateway.get("/").status == 200
    harness.eventually(lambda: "line=done ok=true" in gateway.error_log())


def test_waits_in_init_worker_and_timers(moongate):
    gateway = moongate(http="""init_worker_by_lua_block {
        local function work(what)
            local proc = require "ngx.pipe".spawn("sleep 0.02; echo " .. what)
            ngx.log(ngx.WARN, "got ", proc:stdout_read_line())
        end
        work("worker")
        ngx.timer.at(0, function() work("timer") end) }""", server="location / { return 200; }")
    harness.eventually(lambda: "got worker" in gateway.error_log() and "got timer" in gateway.error_log())


def test_refused_in_init(moongate):
    gateway = moongate(http="""init_by_lua_block {
        package.loaded.outcome = tostring(select(2, pcall(require("ngx.pipe").spawn, "true"))) }""",
                       server="""location / { content_by_lua_block { ngx.print(package.loaded.outcome) } }""")
    assert b"API disabled in the current context" in gateway.get("/").body


def test_many_at_once(moongate):
    started = time.monotonic()
    _, body = run(moongate, """
        local threads = {}
        for i = 1, 60 do
            threads[i] = ngx.thread.spawn(function()
                local proc = pipe.spawn("sleep 0.1; cat; exit " .. i)
                proc:write(tostring(i)) proc:shutdown("stdin")
                local text = proc:stdout_read_all()
                local _, _, status = proc:wait()
                return tonumber(text) == i and status == i
            end)
        end
        local good = 0
        for i = 1, 60 do local _, ok = ngx.thread.wait(threads[i]) if ok then good = good + 1 end end
        say(good)""")
    assert body == "60\n"
    assert time.monotonic() - started < 10


def test_children_belong_to_lua_where_one_process_does_all(moongate):
    gateway = moongate("""master_process off; events {} http { access_log off; server { listen 127.0.0.1:%PORT%;
        location / { content_by_lua_block {
            local statuses = {}
            for i = 1, 10 do
                local _, _, status = require "ngx.pipe".spawn("exit " .. i):wait()
                statuses[i] = status
            end
            ngx.say(table.concat(statuses, " ")) } } } }""")
    assert gateway.get("/").body == b"1 2 3 4 5 6 7 8 9 10\n"
