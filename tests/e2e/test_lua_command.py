"""`moongate lua`: scripts on the command line, with the options and the manners of OpenResty's resty."""
import os
import signal
import subprocess
import time

import pytest

import harness
import peers

pytestmark = pytest.mark.moongate_only


@pytest.fixture
def lua(tmp_path):
    """lua("-e", "code", …) runs the command in a directory of its own: a finished process."""
    def run(*arguments, stdin="", env=None, **more):
        done = subprocess.run([str(harness.BINARY), "lua", *arguments], cwd=tmp_path, input=stdin, text=True,
                              capture_output=True, timeout=harness.TIMEOUT * 3,
                              env={**os.environ, **(env or {})}, **more)
        assert not harness.FAULTS.search(done.stderr) or "[emerg]" in done.stderr, done.stderr
        return done
    run.dir = tmp_path
    return run


def output(done):
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def write(lua, text, name="a.lua"):
    (lua.dir / name).write_text(text)
    return name


# --- what runs

def test_file_with_arguments(lua):
    name = write(lua, "print(arg[0], ' ', #arg, ' ', arg[1], ' ', arg[2]) print(select('#', ...), ...)")
    assert output(lua(name, "one", "-e")) == "a.lua 2 one -e\n2one-e\n"


def test_arg_has_what_stands_before_the_file(lua):
    name = write(lua, "print(arg[-1], '|', arg[-2], '|', arg[-3])")
    assert output(lua("-c", "8", name)) == "8|-c|moongate lua\n"


def test_first_line_may_name_the_interpreter(lua):
    assert output(lua(write(lua, "#!/usr/bin/env -S moongate lua\nprint('here')\n"))) == "here\n"


def test_script_from_standard_input(lua):
    assert output(lua("-", "x", stdin="print(arg[0], arg[1])")) == "-x\n"


def test_script_reads_standard_input(lua):
    script = "for line in io.lines() do print('<', line, '>') end"
    assert output(lua("-e", script, stdin="a\nb\n")) == "<a>\n<b>\n"


def test_no_file_is_left_behind(lua):
    output(lua("-e", "print(1)"))
    assert os.listdir(lua.dir) == []


def test_phase_and_console(lua):
    assert output(lua("-e", "print(ngx.get_phase(), ' ', ngx.config.is_console)")) == "timer true\n"


# --- output

@pytest.mark.parametrize("code, expected", [
    ("print('a', 1, nil, true)", "a1niltrue\n"),
    ("ngx.say('a', {'b', {1, ngx.null}}, nil)", "ab1nullnil\n"),
    ("ngx.print('a', 'b') ngx.print()", "ab"),
    ("io.write('x', 1)", "x1"),
    ("assert(ngx.say('a') == 1 and ngx.flush(true) == 1 and ngx.eof() == 1)", "a\n"),
    ("io.stdout:write('first ') ngx.say('second') io.write('third')", "first second\nthird"),
])
def test_output(lua, code, expected):
    assert output(lua("-e", code)) == expected


def test_reader_that_leaves_ends_the_script(lua):
    process = subprocess.Popen([str(harness.BINARY), "lua", "-e", "while true do print('line') end"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.wait(harness.TIMEOUT) == 141
    process.stderr.close()


# --- exit codes

@pytest.mark.parametrize("code, status", [
    ("os.exit(7)", 7), ("os.exit()", 0), ("os.exit(true)", 0), ("os.exit(false)", 1), ("ngx.exit(3)", 3),
    ("ngx.exit(ngx.ERROR)", 255), ("ngx.sleep(0.001) os.exit(4)", 4),
    ("ngx.thread.spawn(function() ngx.sleep(0.001) os.exit(5) end) ngx.sleep(30)", 5),
    ("ngx.timer.at(0, function() os.exit(6) end) ngx.sleep(30)", 6),
])
def test_exit_code(lua, code, status):
    done = lua("-e", "io.write('kept') " + code)
    assert (done.returncode, done.stdout, done.stderr) == (status, "kept", "")


def test_open_files_are_written_at_os_exit(lua):
    lua("-e", "f = io.open('out', 'w') f:write('text') os.exit(0)")
    assert (lua.dir / "out").read_text() == "text"


def test_error_prints_traceback(lua):
    name = write(lua, "local function inner()\n  error('broken')\nend\ninner()\n")
    done = lua(name)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("ERROR: a.lua:2: broken\nstack traceback:\n"), done.stderr
    assert "\ta.lua:4: in main chunk\n" in done.stderr


def test_error_after_waiting(lua):
    done = lua("-e", "print('before') ngx.sleep(0.001)\nlocal t = nil + 1")
    assert (done.returncode, done.stdout) == (1, "before\n")
    assert done.stderr.startswith("ERROR: (command line -e):2: attempt to perform arithmetic on a nil value\nstack")


def test_error_that_is_no_string(lua):
    done = lua("-e", "error(setmetatable({}, {__tostring = function() return 'an object' end}))")
    assert done.returncode == 1 and done.stderr.startswith("ERROR: an object\n")


@pytest.mark.parametrize("arguments", [("-e", "local x ="), ("bad.lua",)])
def test_syntax_error(lua, arguments):
    write(lua, "local x =", "bad.lua")
    done = lua(*arguments)
    where = "(command line -e)" if arguments[0] == "-e" else "bad.lua"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"ERROR: {where}:1: unexpected symbol near '<eof>'\n"


@pytest.mark.parametrize("number, status", [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, -signal.SIGTERM)])
def test_signals_end_it(lua, number, status):
    process = subprocess.Popen([str(harness.BINARY), "lua", "-e", "print('up') ngx.flush() ngx.sleep(60)"],
                               stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    process.send_signal(number)
    assert process.wait(harness.TIMEOUT) == status
    process.stdout.close()


# --- the environment of the script

def test_cosocket_talks_to_a_peer(lua):
    def echo(connection, _):
        connection.sendall(b"hello " + connection.recv(100))
    with peers.Peer(echo) as peer:
        assert output(lua("-e", f"""
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", {peer.port}))
            assert(sock:send("you\\n"))
            print((assert(sock:receive())))
        """)) == "hello you\n"


def test_cosocket_error_is_not_logged(lua):
    port = harness.free_port()
    assert output(lua("-e", f"print(select(2, ngx.socket.tcp():connect('127.0.0.1', {port})))")) \
        == "connection refused\n"


def test_light_threads_are_waited_for(lua):
    assert output(lua("-e", """
        ngx.thread.spawn(function() ngx.sleep(0.02) print("late") end)
        local t = ngx.thread.spawn(function() ngx.sleep(0.001) return "joined" end)
        print(select(2, ngx.thread.wait(t)))
    """)) == "joined\nlate\n"


def test_timers_run_beside_the_script(lua):
    assert output(lua("-e", """
        local done
        ngx.timer.at(0.001, function(premature, x) done = x end, "fired")
        while not done do ngx.sleep(0.001) end
        print(done)
    """)) == "fired\n"


def test_timer_that_waits_is_called_prematurely(lua):
    begin = time.monotonic()
    assert output(lua("-e", "ngx.timer.at(600, function(p) print(p, ngx.worker.exiting()) end) "
                            "ngx.timer.every(600, function(p) print(p) end)")) == "truetrue\ntrue\n"
    assert time.monotonic() - begin < 60


def test_end_waits_for_no_running_timer(lua):
    assert output(lua("-e", "ngx.timer.at(0, function() print('in') ngx.sleep(600) print('no') end) "
                            "ngx.sleep(0.01) print('end')")) == "in\nend\n"


def test_timer_started_at_the_end_runs(lua):
    assert output(lua("-e", "ngx.timer.at(60, function() ngx.timer.at(0, function(p) print(p) end) end)")) == "true\n"


def test_long_computation_is_not_ended(lua):
    # lua_max_run_time, which protects a worker's other requests, does not apply.
    assert "lua_max_run_time 0;" in output(lua("--dump-nginx-conf"))


@pytest.mark.release_only  # the record of a child that is not waited for is left to the end of the process
def test_pipe(lua):
    assert output(lua("-e", """
        local p = require("ngx.pipe").spawn({"echo", "from a child"})
        print((p:stdout_read_line()))
    """)) == "from a child\n"


def test_environment_is_kept(lua):
    assert output(lua("-e", "print(os.getenv('A_NAME'))", env={"A_NAME": "value"})) == "value\n"


def test_ngx_log_goes_to_standard_error(lua):
    done = lua("-e", "ngx.log(ngx.WARN, 'seen') ngx.log(ngx.NOTICE, 'unseen')")
    assert done.returncode == 0 and "[warn]" in done.stderr and "seen" in done.stderr
    assert "unseen" not in done.stderr and done.stdout == ""


# --- options

@pytest.mark.parametrize("option", [("-e", "print(1)"), ("-eprint(1)",), ("-e=print(1)",)])
def test_option_e(lua, option):
    assert output(lua(*option)) == "1\n"


def test_option_e_several_and_before_the_file(lua):
    name = write(lua, "print('file')")
    assert output(lua("-e", "local a = 1 print(a)", "-e", "print(a + 1)", name)) == "1\n2\nfile\n"


@pytest.mark.parametrize("option", [["-I", "lib"], ["-Ilib"], ["-I=lib"]])
def test_option_I(lua, option):
    (lua.dir / "lib/inner").mkdir(parents=True)
    write(lua, "return {name = 'found'}", "lib/own.lua")
    write(lua, "return {name = 'init'}", "lib/inner/init.lua")
    assert output(lua(*option, "-e", "print(require('own').name, require('inner').name)")) == "foundinit\n"


def test_option_l(lua):
    write(lua, "print('loaded ', ...)", "lib]]own.lua")
    assert output(lua("-I", ".", "-l", "lib]]own")) == "loaded lib]]own\n"


def test_option_shdict(lua):
    assert output(lua("--shdict", "cats 100k", "--shdict=dogs 1m", "-e", """
        ngx.shared.cats:set("a", 1)
        print(ngx.shared.cats:get("a"), " ", ngx.shared.dogs:capacity())
    """)) == "1 1048576\n"


def test_option_c(lua):
    assert "worker_connections 128;" in output(lua("-c", "128", "--dump-nginx-conf"))
    assert output(lua("-c128", "-e", "print(1)")) == "1\n"


def test_option_ns(lua):
    text = output(lua("--ns", "127.0.0.9", "--ns=[::1]", "--dump-nginx-conf"))
    assert "resolver 127.0.0.9 [::1] ipv6=off;" in text


def test_option_ns_is_asked(lua):
    """Nothing answers at the name servers' port of this address, so that the lookup fails in time."""
    code = "print(select(2, ngx.socket.tcp():connect('name.example', 80)))"
    done = lua("--ns", "127.0.0.1", "--http-conf", "resolver_timeout 50ms;", "-e", code)
    assert done.returncode == 0 and "name.example could not be resolved" in done.stdout


def test_option_resolve_ipv6(lua):
    assert "ipv6=off" not in output(lua("--resolve-ipv6", "--dump-nginx-conf"))


def test_option_http_conf(lua):
    conf = "lua_shared_dict x 64k; init_by_lua_block { from_init = 'init' }"
    assert output(lua("--http-conf", conf, "-e", "print(ngx.shared.x:set('a', 1), from_init)")) == "trueinit\n"


def test_option_http_conf_exit_worker(lua):
    conf = "exit_worker_by_lua_block { print('exit') }"
    assert output(lua("--http-conf", conf, "-e", "print('script')")) == "script\nexit\n"


def test_option_http_include(lua):
    write(lua, "lua_shared_dict y 64k;", "extra.conf")
    assert output(lua("--http-include", "extra.conf", "-e", "print(ngx.shared.y ~= nil)")) == "true\n"


def test_option_main_conf(lua):
    assert output(lua("--main-conf", "env SET_HERE=yes;", "-e", "print(os.getenv('SET_HERE'))")) == "yes\n"


def test_option_main_include(lua):
    write(lua, "env SET_HERE=yes;", "extra main.conf")
    assert output(lua("--main-include=extra main.conf", "-e", "print(os.getenv('SET_HERE'))")) == "yes\n"


def test_option_errlog_level(lua):
    done = lua("--errlog-level", "notice", "-e", "ngx.log(ngx.NOTICE, 'seen')")
    assert "[notice]" in done.stderr and "seen" in done.stderr


def test_option_j_off(lua):
    assert output(lua("-j", "off", "-e", "print((jit.status()))")) == "false\n"


def test_option_no_stream(lua):
    assert output(lua("--no-stream", "-e", "print(1)")) == "1\n"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_option_h(lua, option):
    text = output(lua(option))
    for name in ("-c", "-e", "-I", "-j", "-l", "--http-conf", "--http-include", "--main-include", "--ns", "--shdict"):
        assert f"\n  {name} " in text


def test_option_V(lua):
    assert "nginx version:" in output(lua("-V"))


def test_two_dashes_end_the_options(lua):
    write(lua, "print(arg[1])", "-odd.lua")
    assert output(lua("--", "-odd.lua", "x")) == "x\n"


def test_command_is_in_the_help():
    done = subprocess.run([str(harness.BINARY), "help"], capture_output=True, text=True, timeout=harness.TIMEOUT)
    assert "  lua [OPTIONS] [FILE [ARGUMENTS]]" in done.stdout


@pytest.mark.parametrize("arguments, message", [
    ((), "neither a Lua input file nor the -e option was given"),
    (("missing.lua",), "Lua input file missing.lua not found"),
    (("-e",), "option -e takes an argument but found none"),
    (("--shdict", "x", "-e", ""), "invalid --shdict option value: x (expecting NAME SIZE)"),
    (("--shdict", "x 1m; lua_y", "-e", ""), "invalid --shdict option value"),
    (("--ns", "host", "-e", ""), "invalid --ns option value: host (expecting an IP address)"),
    (("-c", "1;", "-e", ""), 'option -c value must be a number but found "1;"'),
    (("-j", "on", "-e", ""), "unknown -j option value: on"),
    (("--http-include", "no.conf", "-e", ""), 'could not find http include file "no.conf"'),
    (("--main-include", "no.conf", "-e", ""), 'could not find main include file "no.conf"'),
    (("--gdb", "-e", ""), "unknown option --gdb"),
])
def test_mistakes_on_the_command_line(lua, arguments, message):
    done = lua(*arguments)
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith(f"ERROR: {message}")


def test_mistakes_in_directives_are_named(lua):
    done = lua("--http-conf", "nonsense on;", "-e", "print(1)")
    assert (done.returncode, done.stdout) == (1, "")
    assert '[emerg]' in done.stderr and 'unknown directive "nonsense" in ' in done.stderr


def test_failing_init_by_lua(lua):
    done = lua("--http-conf", "init_by_lua_block { error('no') }", "-e", "print(1)")
    assert (done.returncode, done.stdout) == (1, "") and "init_by_lua error: " in done.stderr
