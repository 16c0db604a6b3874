"""What a worker keeps and gives back: lua_malloc_trim, lua_thread_cache_max_entries, lua_sa_restart."""
import pathlib
import re
import time

import pytest

import harness
from wire import engine_pids

pytestmark = pytest.mark.moongate_only

CONFIG = """worker_processes 1; events {} http { access_log off; SETTING
    lua_max_run_time 300ms;
    server { listen 127.0.0.1:%PORT%;
        location /fill { lua_max_run_time 0; content_by_lua_block {
            local kept = {} for i = 1, 400000 do kept[i] = ("x"):rep(100) .. i end
            kept = nil collectgarbage() collectgarbage() ngx.say("filled") } }
        location /thread { content_by_lua_block { ngx.print(tostring(coroutine.running())) } }
        location /read { content_by_lua_block {
            local ffi = require "ffi"
            ffi.cdef "int pipe(int *); long read(int, void *, size_t);"
            local ends, byte = ffi.new("int[2]"), ffi.new("char[1]")
            ffi.C.pipe(ends)
            ffi.C.read(ends[0], byte, 1) ngx.say("read") } }
        location / { return 200 fine; } } }"""


def start(moongate, setting):
    return moongate(CONFIG.replace("SETTING", setting))


def resident_kb(gateway):
    status = pathlib.Path(f"/proc/{engine_pids(gateway)[0]}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


@pytest.mark.release_only
def test_lua_malloc_trim_returns_memory_with_the_nth_request(moongate):
    gateway = start(moongate, "lua_malloc_trim 10;")
    gateway.get("/")
    assert gateway.get("/fill").text == "filled\n"
    full = resident_kb(gateway)
    for _ in range(7):
        gateway.get("/")
    assert resident_kb(gateway) > full - 1000
    gateway.get("/")  # the tenth
    harness.eventually(lambda: resident_kb(gateway) < full - 4000, timeout=2)


def test_lua_thread_cache_max_entries(moongate):
    names = {}
    for entries in (0, 1024):
        gateway = start(moongate, f"lua_thread_cache_max_entries {entries}; init_by_lua_block {{ collectgarbage('stop') }}")
        with gateway.connect() as client:
            names[entries] = set()
            for _ in range(5):
                client.send(b"GET /thread HTTP/1.1\r\nHost: a\r\n\r\n")
                names[entries].add(client.read_response().text)
    assert len(names[0]) == 5 and len(names[1024]) == 1, names


def test_lua_sa_restart_off_ends_a_system_call(moongate):
    gateway = start(moongate, "lua_sa_restart off;")
    begun = time.monotonic()
    assert gateway.get("/read").status == 500
    assert time.monotonic() - begun < 2
