"""A worker that C code holds, where no script can be ended: the process ends, and a new one serves."""
import concurrent.futures
import signal
import time

import pytest

import harness
from load import Load
from wire import engine_pids

# The time that a stuck worker is given means nothing under a sanitizer.
pytestmark = [pytest.mark.moongate_only, pytest.mark.release_only]

# lua_max_run_time is 200 ms, the bound four times that, and five seconds at least.
BOUND, SLACK = 5, 2

CONFIG = """MAIN worker_processes 1;
events { worker_connections 1024; }
http { access_log off; lua_max_run_time 200ms;
    server { listen 127.0.0.1:%PORT%;
        location /ok { content_by_lua_block { ngx.say("ok") } }
        location /load { content_by_lua_block { ngx.print("fine") } }
        MORE } }"""

HOLD = {
    "os_execute": "os.execute('exec sleep 9')",
    # Unlike sleep() and poll(), read() goes on after a signal.
    "ffi": """local ffi = require 'ffi'
              ffi.cdef 'int pipe(int *); long read(int, void *, size_t);'
              local ends = ffi.new('int[2]') ffi.C.pipe(ends)
              local byte = ffi.new('char[1]') ffi.C.read(ends[0], byte, 1)""",
}


def start(moongate, more, main="", **options):
    gateway = moongate(CONFIG.replace("MAIN", main).replace("MORE", more), **options)
    gateway.allow("is stuck in C code", "exceeded")
    return gateway


@pytest.mark.parametrize("hold", HOLD)
def test_the_engine_is_replaced_and_the_line_says_why(moongate, hold):
    gateway = start(moongate, "location /x { access_by_lua_block { %s } content_by_lua_block { ngx.say(1) } }" % HOLD[hold])
    assert gateway.get("/ok").body == b"ok\n"
    before = engine_pids(gateway)
    begun = time.monotonic()
    with gateway.connect() as held, concurrent.futures.ThreadPoolExecutor() as pool:
        held.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        waiting = pool.submit(gateway.get, "/ok")  # in the listen queue until the new engine takes it
        assert waiting.result().body == b"ok\n"
        assert BOUND - 0.5 < time.monotonic() - begun < BOUND + SLACK
        assert held.is_closed()
    assert engine_pids(gateway) != before
    log = gateway.error_log()
    line = next(line for line in log.splitlines() if "is stuck" in line)
    assert "[alert]" in line
    assert "worker 0 is stuck in C code called by access_by_lua* for" in line
    assert "lua_max_run_time is 200 ms: the process ends" in line
    assert f"worker process {before[0]} exited with code 3" in log


def test_nothing_is_refused_under_load(moongate):
    gateway = start(moongate, "location /x { content_by_lua_block { %s } }" % HOLD["os_execute"])
    with Load(gateway.port, 4, reopen=True) as load, gateway.connect() as held:
        load.wait_for_more()
        held.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        harness.eventually(lambda: "exited with code 3" in gateway.error_log(), timeout=BOUND + SLACK)
        load.wait_for_more()
    assert not load.failures, load.failures[:5]


def test_a_shorter_hold_ends_only_the_script(moongate):
    gateway = start(moongate, "location /x { content_by_lua_block { os.execute('exec sleep 2') ngx.say(1) } }")
    before = engine_pids(gateway)
    assert gateway.get("/x").status == 500
    assert engine_pids(gateway) == before
    assert "is stuck" not in gateway.error_log()


def test_a_timer_is_named(moongate):
    gateway = start(moongate, """location /x { content_by_lua_block {
        ngx.timer.at(0, function() os.execute('exec sleep 9') end) ngx.say("x") } }""")
    assert gateway.get("/x").body == b"x\n"
    assert gateway.get("/ok").body == b"ok\n"
    assert "called by ngx.timer for" in harness.eventually(
        lambda: "is stuck" in gateway.error_log() and gateway.error_log(), timeout=BOUND + SLACK)


def test_without_a_limit_nothing_ends(moongate):
    gateway = start(moongate, "location /x { lua_max_run_time 0; content_by_lua_block { "
                              "os.execute('exec sleep 7') ngx.say('woke') } }")
    assert gateway.get("/x").body == b"woke\n"
    assert "is stuck" not in gateway.error_log()


def test_init_by_lua_of_a_reload_is_only_reported(moongate):
    gateway = start(moongate, "")
    before = engine_pids(gateway)
    gateway.allow("init_by_lua")
    path = gateway.prefix / "conf/nginx.conf"
    path.write_text(path.read_text().replace("access_log off;", "access_log off; init_by_lua_block { "
                                             "os.execute('exec sleep 7') }"))
    gateway.send_signal(signal.SIGHUP)
    line = harness.eventually(lambda: "is stuck" in gateway.error_log() and gateway.error_log(), timeout=BOUND + SLACK)
    assert "called by init_by_lua* for" in line and "the process ends" not in line
    assert gateway.get("/ok").body == b"ok\n"
    assert engine_pids(gateway) == before


def test_without_a_supervisor_the_process_ends(moongate):
    gateway = start(moongate, "location /x { content_by_lua_block { %s } }" % HOLD["os_execute"],
                    main="master_process off;")
    assert gateway.get("/ok").body == b"ok\n"
    with gateway.connect() as held:
        held.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert gateway.process.wait(BOUND + SLACK) == 3
    gateway.process = None  # nothing is left to stop
    assert "worker 0 is stuck in C code called by content_by_lua* for" in gateway.error_log()
