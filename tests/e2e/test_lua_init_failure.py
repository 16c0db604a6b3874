"""A start that fails in init_by_lua: the command that starts the server says so, in the background too."""
import pathlib
import subprocess

import pytest

import harness


def start(gateway, *extra):
    """Runs the start command to its end, with `daemon on` unless more is given."""
    command = gateway.command()
    at = command.index("-g") + 1
    command[at] = command[at].replace("daemon off;", " ".join(extra) or "daemon on;")
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env=gateway.environment(), timeout=20)


def pid_file(gateway):
    return pathlib.Path(gateway.prefix, "logs/moongate.pid")


@pytest.mark.parametrize("extra", [["daemon on;"], ["daemon off;"], ["daemon on;", "master_process off;"]],
                         ids=["daemon", "foreground", "single_process"])
def test_a_failing_init_by_lua_fails_the_start(moongate, extra):
    gateway = moongate(http='init_by_lua_block { error("no such luck") }', server="location / { return 200 fine; }",
                       start=False)
    gateway.allow("no such luck|init_by_lua failed|could not start")
    done = start(gateway, *extra)
    assert done.returncode == 1
    assert "nginx: [error] init_by_lua error: init_by_lua(nginx.conf" in done.stderr and "no such luck" in done.stderr
    assert done.stderr.count("no such luck") == 1
    assert "no such luck" in gateway.error_log()
    assert "terminate called" not in gateway.error_log()  # standard error of the process by then
    harness.eventually(lambda: not pid_file(gateway).exists(), what="nothing is left running")


def test_a_daemon_serves_when_its_start_command_ends(moongate):
    gateway = moongate(http='init_by_lua_block { ngx.log(ngx.WARN, "a word of warning") answer = "fine" '
                       "local till = os.clock() + 0.3 while os.clock() < till do end }",
                       server="location / { content_by_lua_block { ngx.say(answer) } }", start=False)
    done = start(gateway)
    try:
        assert done.returncode == 0, done.stderr
        assert "a word of warning" in done.stderr
        assert gateway.get("/").text == "fine\n"
        assert pid_file(gateway).read_text().strip().isdigit()
    finally:
        gateway.run("-s", "stop")
    harness.eventually(lambda: not pid_file(gateway).exists(), what="the server has ended")
