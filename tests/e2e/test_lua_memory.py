"""lua_max_memory: a request that would cross the ceiling ends with 500; the worker and other requests go on."""
import pytest

pytestmark = pytest.mark.moongate_only

CONFIG = """worker_processes 1;
events { worker_connections 1024; }
http { access_log off; lua_max_memory 32m;
    server { listen 127.0.0.1:%PORT%;
        location /ok { content_by_lua_block { ngx.say("ok") } }
        location /grow { content_by_lua_block {
            local kept = {} for i = 1, 1e7 do kept[i] = ("x"):rep(1000) .. i end ngx.say("never") } }
        location /big { content_by_lua_block { local s = ("x"):rep(1e8) ngx.say("never") } }
        location /caught { content_by_lua_block {
            local done, problem = pcall(string.rep, "x", 1e8) ngx.say(tostring(done), " ", problem) } }
        location /garbage { content_by_lua_block {
            for i = 1, 300000 do local s = ("x"):rep(1000) .. i end ngx.say("done") } }
        location /half { content_by_lua_block {
            local kept = {} for i = 1, 16000 do kept[i] = ("x"):rep(1000) .. i end
            for i = 1, 100000 do local s = ("y"):rep(1000) .. i end ngx.say("done") } } } }"""


@pytest.mark.parametrize("path", ["/grow", "/big"])
def test_crossing_the_ceiling_is_a_500_and_a_log_line(moongate, path):
    gateway = moongate(CONFIG)
    for _ in range(5):
        assert gateway.get(path).status == 500
        assert gateway.get("/ok").body == b"ok\n"
    log = gateway.error_log()
    assert log.count("not enough memory") == 5
    assert "is replaced" not in log and "exited" not in log


def test_lua_may_catch_it(moongate):
    gateway = moongate(CONFIG)
    assert gateway.get("/caught").body == b"false not enough memory\n"


@pytest.mark.parametrize("path", ["/garbage", "/half"])
def test_garbage_does_not_count(moongate, path):
    gateway = moongate(CONFIG)
    for _ in range(3):
        assert gateway.get(path).body == b"done\n"


def test_init_by_lua_is_bounded_too(moongate):
    gateway = moongate(CONFIG.replace("server {", 'init_by_lua_block { kept = ("x"):rep(1e8) } server {', 1),
                       start=False)
    ended = gateway.run()
    gateway.allow("[emerg]", "[alert]")
    assert ended.returncode == 1
    assert "not enough memory" in ended.stderr + gateway.error_log()
