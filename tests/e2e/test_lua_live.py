"""New Lua code without a lost request: HUP builds a new VM, what began on the old one ends there."""
import signal

import pytest

import harness

CONFIG = """events { worker_connections 1024; }
http { access_log off; lua_package_path "%PREFIX%/lib/?.lua;;"; lua_shared_dict kept 1m;
    init_by_lua_block { package.loaded.version = VERSION }
    server { listen 127.0.0.1:%PORT%;
        location / { content_by_lua_block { ngx.say(require("version"), " ", require("own")) } }
        location /slow { content_by_lua_block { ngx.say(require("version")) ngx.flush() ngx.sleep(1)
                                                ngx.say(require("version")) } }
        location /set { content_by_lua_block { ngx.shared.kept:set("k", "kept") ngx.say("ok") } }
        location /get { content_by_lua_block { ngx.say(ngx.shared.kept:get("k")) } } } }"""


def test_reload_runs_new_code_and_finishes_old(moongate):
    gateway = moongate(CONFIG.replace("VERSION", "1"), files={"lib/own.lua": "return 'old'"})
    assert gateway.get("/").body == b"1 old\n"
    gateway.get("/set")
    with gateway.connect() as connection:
        connection.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        connection.read_until(b"1\n")
        (gateway.prefix / "lib/own.lua").write_text("return 'new'")
        gateway.reload(gateway.config.replace("loaded.version = 1", "loaded.version = 2"))
        harness.eventually(lambda: gateway.get("/").body == b"2 new\n")
        connection.read_until(b"1\n")
    assert gateway.get("/get").body == b"kept\n"


@pytest.mark.moongate_only
def test_init_that_fails_keeps_the_old_code(moongate):
    gateway = moongate(CONFIG.replace("VERSION", "1"), files={"lib/own.lua": "return 'old'"})
    gateway.reload(gateway.config.replace("loaded.version = 1", "loaded.version = nil + 1"))
    harness.eventually(lambda: "init_by_lua error" in gateway.error_log())
    assert gateway.get("/").body == b"1 old\n"


@pytest.mark.moongate_only
@pytest.mark.release_only
def test_memory_stays_flat_over_reloads(moongate):
    gateway = moongate(CONFIG.replace("VERSION", "1"), files={"lib/own.lua": "return 'old'"})

    def engine_kilobytes():
        children = (f"/proc/{gateway.pid}/task/{gateway.pid}/children")
        worker = open(children).read().split()[0]
        return int(next(line for line in open(f"/proc/{worker}/status") if line.startswith("VmRSS")).split()[1])

    served = 1

    def reload_times(count):
        nonlocal served
        for _ in range(count):
            before, served = served, served + 1
            gateway.write_config(gateway.config.replace(f"version = {before} ", f"version = {served} "))
            gateway.send_signal(signal.SIGHUP)
            harness.eventually(lambda: gateway.get("/").body == f"{served} old\n".encode())

    reload_times(20)
    before = engine_kilobytes()
    reload_times(80)
    assert engine_kilobytes() < before * 1.15 + 1024


def test_a_failing_init_by_lua_refuses_to_start(moongate):
    gateway = moongate("events {} http { init_by_lua_block { error('no good') } "
                       "server { listen 127.0.0.1:%PORT%; } }", start=False)
    ended = gateway.run()
    assert ended.returncode == 1
    gateway.allow("[emerg]")
    gateway.allow("[alert]")
    assert "no good" in ended.stdout + ended.stderr + gateway.error_log()
