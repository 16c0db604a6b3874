"""lua_code_cache off: every request runs on a Lua VM of its own, and changed files are read again."""
import re

import pytest

import harness

OFF = "lua_code_cache is off; this will hurt performance"


def start(moongate, **options):
    gateway = moongate(**options)
    gateway.allow(OFF)
    return gateway


def module(gateway, text):
    (gateway.prefix / "lua").mkdir(exist_ok=True)
    (gateway.prefix / "lua/changing.lua").write_text(text)


def test_the_alert_names_the_place(moongate):
    gateway = moongate(server="location / { lua_code_cache off; return 200 x; }", start=False)
    tested = gateway.run("-t")
    assert re.search(r"\[alert\] .*%s in \S*nginx\.conf:\d+" % OFF, tested.stderr)
    gateway.allow(OFF)


def test_on_says_nothing(moongate):
    gateway = moongate(server="lua_code_cache on; location / { return 200 x; }", start=False)
    assert OFF not in gateway.run("-t").stderr


@pytest.mark.parametrize("level", ["http", "server", "location"])
def test_every_level_and_the_inner_one_wins(moongate, level):
    off = "lua_code_cache off;"
    gateway = start(moongate, http=off if level == "http" else "", server="""%s
        location /inherits { %s content_by_lua_block { n = (n or 0) + 1 ngx.say(package.loaded.n) package.loaded.n = n } }
        location /on { lua_code_cache on;
            content_by_lua_block { local m = package.loaded m.n = (m.n or 0) + 1 ngx.say(m.n) } }""" % (
                off if level == "server" else "", off if level == "location" else ""))
    assert [gateway.get("/inherits").text for _ in range(3)] == ["nil\n"] * 3
    counts = [int(gateway.get("/on").text) for _ in range(3)]
    assert counts == sorted(set(counts))


def test_changed_files_are_read_again(moongate):
    gateway = start(moongate, http='lua_package_path "%PREFIX%/lua/?.lua;;";', files={
        "lua/changing.lua": "return 'first'", "lua/content.lua": "ngx.say('one ', require 'changing')"},
        server="""location /on { content_by_lua_file lua/content.lua; }
                  location /off { lua_code_cache off; content_by_lua_file lua/content.lua; }""")
    for path in ("/on", "/off"):
        assert gateway.get(path).text == "one first\n"
    module(gateway, "return 'second'")
    (gateway.prefix / "lua/content.lua").write_text("ngx.say('two ', require 'changing')")
    assert gateway.get("/on").text == "one first\n"
    assert gateway.get("/off").text == "two second\n"


def test_all_phases_of_a_request_share_its_vm(moongate):
    gateway = start(moongate, http="lua_code_cache off;", server="""location / {
        set_by_lua_block $a { package.loaded.seen = "set" return 1 }
        rewrite_by_lua_block { package.loaded.seen = package.loaded.seen .. " rewrite" }
        access_by_lua_block { package.loaded.seen = package.loaded.seen .. " access" }
        content_by_lua_block { ngx.say(package.loaded.seen, " content") }
        log_by_lua_block { ngx.log(ngx.WARN, "kept: ", package.loaded.seen, ".") } }""")
    for n in (1, 2):
        assert gateway.get("/").text == "set rewrite access content\n"
        harness.eventually(lambda n=n: gateway.error_log().count("kept: set rewrite access.") == n)


def test_a_timer_keeps_the_vm_of_its_request(moongate):
    gateway = start(moongate, http="lua_code_cache off;", server="""location / { content_by_lua_block {
        package.loaded.mine = ngx.var.arg_n
        ngx.timer.at(0.2, function() ngx.log(ngx.WARN, "timer of ", package.loaded.mine, ".") end)
        ngx.say("set") } }""")
    for n in (1, 2):
        assert gateway.get(f"/?n={n}").text == "set\n"
    harness.eventually(lambda: all(f"timer of {n}." in gateway.error_log() for n in (1, 2)))


def test_init_by_lua_runs_for_each(moongate):
    gateway = start(moongate, http="lua_code_cache off; init_by_lua_block { package.loaded.made = { count = 7 } }",
                    server="location / { content_by_lua_block { local m = require 'made' m.count = m.count + 1 ngx.say(m.count) } }")
    assert [gateway.get("/").text for _ in range(3)] == ["8\n"] * 3


def test_shared_dicts_outlive_the_vms(moongate):
    gateway = start(moongate, http="lua_code_cache off; lua_shared_dict d 1m;",
                    server="location / { content_by_lua_block { ngx.say((ngx.shared.d:incr('n', 1, 0))) } }")
    assert [gateway.get("/").text for _ in range(3)] == ["1\n", "2\n", "3\n"]
