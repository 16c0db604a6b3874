"""nginx's command line and signals: switches, messages, exit codes. Holds for the reference too."""
import os
import pathlib
import re
import signal

import pytest

import harness

FINE = "location / { return 200 fine; }"


@pytest.fixture
def idle(moongate):
    """A configured server that has not been started."""
    return lambda server=FINE, **more: moongate(server=server, start=False, **more)


def test_t_says_that_the_configuration_is_fine(idle):
    gateway = idle()
    done = gateway.run("-t")
    assert done.returncode == 0
    path = gateway.prefix / "conf/nginx.conf"
    assert f"the configuration file {path} syntax is ok" in done.stderr
    assert f"configuration file {path} test is successful" in done.stderr


def test_t_with_q_is_silent_about_success(idle):
    done = idle().run("-t", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_capital_t_prints_the_files_too(idle):
    gateway = idle("include extra.conf;")
    (gateway.prefix / "conf/extra.conf").write_text("location /extra { return 204; }\n")
    done = gateway.run("-T")
    assert done.returncode == 0
    assert f"# configuration file {gateway.prefix}/conf/nginx.conf:" in done.stdout
    assert f"# configuration file {gateway.prefix}/conf/extra.conf:\nlocation /extra {{ return 204; }}" in done.stdout


@pytest.mark.parametrize("server, message", [
    ("nonsense on;", 'unknown directive "nonsense"'),
    ("listen 1 2 3 4;", 'invalid parameter "2"'),
    ("location / { return 200; ", 'unexpected end of file, expecting "}"'),
    ("location / { root }", 'unexpected "}"'),
    ("worker_processes 1;", '"worker_processes" directive is not allowed here'),
    ("location / { root a; root b; }", '"root" directive is duplicate'),
    ("location / { root a b; }", 'invalid number of arguments in "root" directive'),
    ("include missing.conf;", "missing.conf\" failed (2: No such file or directory)"),
    ("location / { proxy_pass http://no-such-host.invalid; }", 'host not found in upstream "no-such-host.invalid"'),
])
def test_mistakes_are_named_with_their_place(idle, server, message):
    gateway = idle(server)
    done = gateway.run("-t")
    assert done.returncode == 1
    assert "[emerg]" in done.stderr and message in done.stderr
    assert re.search(re.escape(f"{gateway.prefix}/conf/nginx.conf") + r":\d+\n", done.stderr), done.stderr
    assert "test failed" in done.stderr


def test_a_bad_configuration_does_not_start(idle):
    gateway = idle("nonsense on;")
    done = gateway.run()
    assert done.returncode == 1
    assert 'unknown directive "nonsense"' in done.stderr


def test_an_occupied_port_is_named(moongate):
    first = moongate(server=FINE)
    second = moongate(first.config, start=False)
    done = second.run(timeout=30)
    assert done.returncode == 1
    assert f"bind() to 127.0.0.1:{first.port} failed (98: Address already in use)" in done.stderr


def test_v_names_the_version(idle):
    done = idle().run("-v")
    assert done.returncode == 0
    assert re.search(r"^nginx version: nginx/\d+\.\d+\.\d+", done.stderr, re.MULTILINE)


def test_capital_v_lists_how_it_was_built(idle):
    done = idle().run("-V")
    assert done.returncode == 0
    assert re.search(r"^configure arguments: ", done.stderr, re.MULTILINE)


def test_unknown_switch_is_refused(idle):
    done = idle().run("-Z")
    assert done.returncode == 1
    assert 'invalid option: "Z"' in done.stderr


def test_pid_file_comes_and_goes(moongate):
    gateway = moongate(server=FINE)
    path = gateway.prefix / "logs/moongate.pid"
    assert int(path.read_text()) == gateway.pid
    assert gateway.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize("how", ["stop", "quit"])
def test_s_stops_the_running_server(moongate, how):
    gateway = moongate(server=FINE)
    assert gateway.run("-s", how).returncode == 0
    assert gateway.process.wait(harness.TIMEOUT) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signals_end_the_server_with_status_0(moongate, number):
    gateway = moongate(server=FINE)
    assert gateway.get("/").text == "fine"
    assert gateway.stop(number) == 0


def test_quit_finishes_the_request_in_hand(moongate, upstream):
    held = []

    def slow(request, connection):
        held.append(connection)
        harness.eventually(lambda: len(held) > 1)
        return harness.answer(b"finished")

    server = upstream(slow)
    gateway = moongate(server="location / { proxy_pass http://127.0.0.1:%UPSTREAM%; }", upstream=server.port)
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        harness.eventually(lambda: held)
        gateway.send_signal(signal.SIGQUIT)

        def refused():
            try:
                harness.Connection(gateway.port).close()
            except ConnectionRefusedError:
                return True

        harness.eventually(refused, what="the listener closes")
        held.append(None)
        assert client.read_response().body == b"finished"
    assert gateway.process.wait(harness.TIMEOUT) == 0


def test_hup_serves_the_new_text(moongate):
    gateway = moongate(server="location / { return 200 before; }")
    assert gateway.get("/").text == "before"
    gateway.reload(gateway.config.replace("before", "after"))
    harness.eventually(lambda: gateway.get("/").text == "after")


def test_hup_with_a_mistake_changes_nothing(moongate):
    gateway = moongate(server="location / { return 200 before; }")
    gateway.allow('unknown directive "nonsense"')
    gateway.reload(gateway.config.replace("location", "nonsense; location"))
    harness.eventually(lambda: 'unknown directive "nonsense"' in gateway.error_log())
    assert gateway.get("/").text == "before"


@pytest.mark.moongate_only
def test_hup_keeps_connections_open(moongate):
    gateway = moongate(server="location / { return 200 before; }")
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().body == b"before"
        gateway.reload(gateway.config.replace("before", "after"))
        harness.eventually(lambda: gateway.get("/").text == "after")
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().body == b"after"


def test_usr1_opens_the_logs_again(moongate):
    gateway = moongate(http="log_format plain '$uri';",
                       server="access_log %PREFIX%/logs/access.log plain; " + FINE)
    access = gateway.prefix / "logs/access.log"
    gateway.get("/one")
    harness.eventually(lambda: access.read_text() == "/one\n")
    access.rename(gateway.prefix / "logs/access.log.1")
    gateway.send_signal(signal.SIGUSR1)
    harness.eventually(access.exists)

    def written_to_the_new_file():
        gateway.get("/two")
        return "/two\n" in access.read_text()

    harness.eventually(written_to_the_new_file)
    assert (gateway.prefix / "logs/access.log.1").read_text().startswith("/one\n")


@pytest.mark.moongate_only
def test_a_killed_engine_is_replaced_and_no_connection_refused(moongate):
    gateway = moongate(server=FINE)
    gateway.allow("exited on signal 9")
    def children():
        return [int(pid) for path in pathlib.Path(f"/proc/{gateway.pid}/task").glob("*/children")
                for pid in path.read_text().split()]

    # The port answers as soon as the supervisor listens, which may be before it has forked.
    harness.eventually(children)
    os.kill(children()[0], signal.SIGKILL)
    # The listener never closed: this connection is accepted by the new engine.
    assert gateway.get("/").text == "fine"
