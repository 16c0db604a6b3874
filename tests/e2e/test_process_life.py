"""The supervisor and its engine: crashes, reloads and upgrades under load lose no request."""
import os
import pathlib
import pwd
import re
import signal
import subprocess
import threading
import time

import pytest

import harness
from load import Load
from wire import engine_pids

FINE = "location / { keepalive_requests 1000000; return 200 fine; }"


def engine_of(gateway):
    return harness.eventually(lambda: engine_pids(gateway), what="the engine runs")[0]


def reload(gateway, config):
    """HUP with another text; returns when it is in effect (Moongate) or its workers are being started (nginx)."""
    path = gateway.prefix / "conf/nginx.conf"
    whole = path.with_suffix(".new")
    whole.write_text(config)
    whole.chmod(path.stat().st_mode)
    os.replace(whole, path)  # a reload that still reads the file must not find half of it
    gateway.config = config
    mark = "reconfiguring" if harness.IS_REFERENCE else "reconfigured"
    before = gateway.error_log().count(mark)
    gateway.send_signal(signal.SIGHUP)
    harness.eventually(lambda: gateway.error_log().count(mark) > before, what=mark)


def resident_kb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


@pytest.mark.release_only
@pytest.mark.moongate_only
def test_a_killed_engine_is_back_within_100_ms_and_nothing_is_refused(moongate):
    gateway = moongate(server=FINE)
    gateway.allow("exited on signal 9")
    with Load(gateway.port, 4, reopen=True) as load:
        for _ in range(3):
            before = engine_of(gateway)
            begin = time.monotonic()
            os.kill(before, signal.SIGKILL)
            assert gateway.get("/").text == "fine"  # waits in the backlog until the new engine takes it
            took = time.monotonic() - begin
            assert took < 0.1, f"serving again after {took:.3f} s"
            assert engine_of(gateway) != before
            load.wait_for_more()
    # A request in the hand of the killed engine is lost, and no other: each client may see one close a kill.
    assert not load.failures, load.failures[:5]
    assert load.closed <= 12


@pytest.mark.moongate_only
def test_an_engine_that_aborts_is_replaced_too(moongate):
    gateway = moongate(server=FINE)
    gateway.allow("exited on signal 6")
    before = engine_of(gateway)
    os.kill(before, signal.SIGABRT)
    assert gateway.get("/").text == "fine"
    harness.eventually(lambda: "exited on signal 6" in gateway.error_log())
    assert engine_of(gateway) != before


@pytest.mark.moongate_only
def test_100_reloads_under_load_close_nothing_and_keep_memory_flat(moongate):
    gateway = moongate(server="keepalive_requests 1000000; location / { return 200 fine; } location /n { return 200 n0; }")
    engine = engine_of(gateway)
    sizes = {}
    with Load(gateway.port, 6) as load:
        for n in range(1, 101):
            reload(gateway, re.sub(r"return 200 n\d+", f"return 200 n{n}", gateway.config))
            if n in (20, 100):
                harness.eventually(lambda n=n: gateway.get("/n").text == f"n{n}")
                sizes[n] = resident_kb(engine)
    assert not load.failures, load.failures[:5]
    assert load.closed == 0
    assert engine_pids(gateway) == [engine], "an engine was started or replaced"
    if "ASAN" not in subprocess.run(["nm", "-D", str(harness.BINARY)], capture_output=True, text=True).stdout.upper():
        assert sizes[100] - sizes[20] < 1024, sizes


@pytest.mark.moongate_only
def test_idle_connections_survive_a_reload(moongate):
    gateway = moongate(server="location / { return 200 before; }")
    clients = [gateway.connect() for _ in range(50)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().body == b"before"
    for n in range(5):
        reload(gateway, re.sub(r"return 200 \w+", f"return 200 after{n}", gateway.config))
    harness.eventually(lambda: gateway.get("/").text == "after4")
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().body == b"after4"
        client.close()


# The reference takes no USR2 while its parent lives, as it does in the foreground here.
@pytest.mark.moongate_only
def test_upgrade_of_the_binary_under_load(moongate):
    """USR2 to the old, then QUIT to the old: nginx's way to a new executable."""
    gateway = moongate(server=FINE)
    pid_file = gateway.prefix / "logs/moongate.pid"
    old = gateway.pid
    new = 0
    try:
        with Load(gateway.port, 4, reopen=True) as load:
            os.kill(old, signal.SIGUSR2)
            harness.eventually(lambda: (gateway.prefix / "logs/moongate.pid.oldbin").exists() and pid_file.exists()
                               and pid_file.read_text().strip() not in ("", str(old)), what="the new binary's pid file")
            new = int(pid_file.read_text())
            assert int((gateway.prefix / "logs/moongate.pid.oldbin").read_text()) == old
            load.wait_for_more()
            os.kill(old, signal.SIGQUIT)
            assert gateway.process.wait(harness.TIMEOUT) == 0
            load.wait_for_more()
        assert not load.failures, load.failures[:5]
        assert gateway.get("/").text == "fine"
        assert not (gateway.prefix / "logs/moongate.pid.oldbin").exists()
        assert int(pid_file.read_text()) == new
    finally:
        if new:
            os.kill(new, signal.SIGQUIT)
            harness.eventually(lambda: not pid_file.exists(), what="the new server stops")


@pytest.mark.moongate_only
def test_an_upgrade_that_is_taken_back(moongate):
    """WINCH rests the old engine, HUP wakes it, QUIT ends the new server."""
    gateway = moongate(server=FINE)
    pid_file = gateway.prefix / "logs/moongate.pid"
    old = gateway.pid
    os.kill(old, signal.SIGUSR2)
    oldbin = gateway.prefix / "logs/moongate.pid.oldbin"
    harness.eventually(lambda: oldbin.exists() and pid_file.exists() and pid_file.read_text().strip() not in ("", str(old)))
    new = int(pid_file.read_text())
    try:
        with Load(gateway.port, 3, reopen=True) as load:
            harness.eventually(lambda: len(pathlib.Path(f"/proc/{new}/task/{new}/children").read_text().split()) > 0)
            engines = set(engine_pids(gateway)) - {new}
            os.kill(old, signal.SIGWINCH)
            harness.eventually(lambda: not engines & set(engine_pids(gateway)), what="the old engine rests")
            load.wait_for_more()
            os.kill(old, signal.SIGHUP)
            harness.eventually(lambda: set(engine_pids(gateway)) - {new}, what="the old server serves again")
            os.kill(new, signal.SIGQUIT)
            harness.eventually(lambda: not oldbin.exists() and pid_file.exists() and int(pid_file.read_text()) == old,
                               what="the old pid file is back")
            load.wait_for_more()
        assert not load.failures, load.failures[:5]
    finally:
        if pathlib.Path(f"/proc/{new}").exists() and b"Z" not in pathlib.Path(f"/proc/{new}/stat").read_bytes().split(b")")[1][:3]:
            os.kill(new, signal.SIGTERM)


def test_s_reload_and_s_reopen(moongate):
    gateway = moongate(server="access_log %PREFIX%/logs/a.log combined; location / { return 200 before; }")
    gateway.write_config(gateway.config.replace("before", "after"))
    assert gateway.run("-s", "reload").returncode == 0
    harness.eventually(lambda: gateway.get("/").text == "after")
    (gateway.prefix / "logs/a.log").rename(gateway.prefix / "logs/a.1")
    (gateway.prefix / "logs/error.log").rename(gateway.prefix / "logs/error.1")
    assert gateway.run("-s", "reopen").returncode == 0
    harness.eventually(lambda: (gateway.prefix / "logs/a.log").exists() and (gateway.prefix / "logs/error.log").exists())

    def in_the_new_file():
        gateway.get("/new")
        return "/new" in (gateway.prefix / "logs/a.log").read_text()

    harness.eventually(in_the_new_file)


def test_s_without_a_server(moongate):
    gateway = moongate(server=FINE, start=False)
    done = gateway.run("-s", "stop")
    assert done.returncode == 1
    assert re.search(r'\[error\].*open\(\) "[^"]*moongate.pid" failed \(2: No such file or directory\)', done.stderr), done.stderr
    assert gateway.run("-s", "nonsense").returncode == 1


def slow_upstream(upstream):
    held, release = [], threading.Event()

    def script(request, connection):
        held.append(connection)
        release.wait(8)
        return harness.answer(b"slow")

    return upstream(script), held, release


def test_worker_shutdown_timeout_ends_what_lasts_too_long(moongate, upstream):
    server, held, release = slow_upstream(upstream)
    gateway = moongate("worker_shutdown_timeout 300ms; events {} http { access_log off; server { listen 127.0.0.1:%PORT%; "
                       "location / { proxy_pass http://127.0.0.1:%UPSTREAM%; } } }", upstream=server.port)
    gateway.allow("open socket")
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        harness.eventually(lambda: held)
        begin = time.monotonic()
        gateway.send_signal(signal.SIGQUIT)
        client.read_all()
        assert 0.2 < time.monotonic() - begin < 2
    release.set()


def test_quit_closes_idle_connections_at_once(moongate):
    gateway = moongate(server=FINE)
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.read_response()
        gateway.send_signal(signal.SIGQUIT)
        assert client.is_closed()
    assert gateway.process.wait(harness.TIMEOUT) == 0


def test_term_does_not_wait_for_requests(moongate, upstream):
    server, held, release = slow_upstream(upstream)
    gateway = moongate(server="location / { proxy_pass http://127.0.0.1:%UPSTREAM%; }", upstream=server.port)
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        harness.eventually(lambda: held)
        begin = time.monotonic()
        assert gateway.stop(signal.SIGTERM) == 0
        assert time.monotonic() - begin < 2
    release.set()


def refused(port):
    try:
        harness.Connection(port).close()
        return False
    except ConnectionRefusedError:
        return True


def test_reload_with_another_set_of_addresses(moongate):
    gateway = moongate("events {} http { access_log off; server { listen 127.0.0.1:%PORT%; %EXTRA% return 200 fine; } "
                       "server { listen 127.0.0.1:%PORT2%; return 200 second; } } # %PORT3%", extra="")
    first, second, third = gateway.ports
    assert gateway.get("/", port=second).text == "second" and refused(third)
    with_third = gateway.config.replace(f"listen 127.0.0.1:{first};", f"listen 127.0.0.1:{first}; listen 127.0.0.1:{third};")
    idle = gateway.connect(port=first)
    reload(gateway, with_third)
    harness.eventually(lambda: not refused(third))
    harness.eventually(lambda: gateway.get("/", port=third).text == "fine")
    without_second = re.sub(r"server \{ listen 127.0.0.1:%d.*?\} " % second, "", with_third)
    reload(gateway, without_second)
    harness.eventually(lambda: refused(second))
    assert gateway.get("/", port=first).text == "fine" and gateway.get("/", port=third).text == "fine"
    idle.close()


@pytest.mark.moongate_only
def test_connections_of_an_address_that_stays_survive_the_removal_of_another(moongate):
    gateway = moongate("events {} http { access_log off; server { listen 127.0.0.1:%PORT%; return 200 fine; } "
                       "server { listen 127.0.0.1:%PORT2%; return 200 second; } }")
    first, second = gateway.ports
    with gateway.connect(port=first) as kept, gateway.connect(port=second) as gone:
        for client in (kept, gone):
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.read_response().status == 200
        reload(gateway, re.sub(r"server \{ listen 127.0.0.1:%d.*?\} " % second, "", gateway.config))
        harness.eventually(lambda: refused(second))
        kept.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert kept.read_response().text == "fine"
        assert gone.is_closed()


@pytest.mark.parametrize("mistake, message", [
    ("nonsense;", 'unknown directive "nonsense"'),
    ("location /x { return 200; ", "unexpected end of file"),
    ("listen 192.0.2.1:1;", "failed (99: Cannot assign requested address)"),
    ("include nowhere.conf;", "No such file or directory"),
])
def test_reload_with_a_mistake_keeps_serving(moongate, mistake, message):
    gateway = moongate(server=FINE + "\n#MISTAKE\n")
    gateway.allow(message, "[emerg]")
    gateway.reload(gateway.config.replace("#MISTAKE", mistake))
    harness.eventually(lambda: message in gateway.error_log(), timeout=5)
    assert "[emerg]" in next(line for line in gateway.error_log().splitlines() if message in line)
    assert gateway.get("/").text == "fine"
    gateway.reload(gateway.config.replace(mistake, "").replace("200 fine", "200 mended"))
    harness.eventually(lambda: gateway.get("/").text == "mended")


def test_master_process_off(moongate):
    gateway = moongate("master_process off; events {} http { access_log off; server { listen 127.0.0.1:%PORT%; return 200 $pid; } }")
    assert gateway.get("/").text == str(gateway.pid)
    assert engine_pids(gateway) == []
    assert gateway.stop(signal.SIGTERM) == 0


def test_daemon(moongate, tmp_path):
    gateway = moongate("daemon on; user root; pid %PREFIX%/logs/d.pid; error_log %PREFIX%/logs/error.log info;\n"
                       "events {} http { access_log off; server { listen 127.0.0.1:%PORT%; return 200 fine; } }", start=False)
    command = [str(harness.BINARY), "-p", f"{gateway.prefix}/", "-c", "conf/nginx.conf", "-e", f"{gateway.prefix}/logs/error.log"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = int(harness.eventually(lambda: (gateway.prefix / "logs/d.pid").exists() and (gateway.prefix / "logs/d.pid").read_text()))
    try:
        assert gateway.get("/").text == "fine"
        assert os.getsid(pid) == pid, "the daemon leads its own session"
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
        again = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        assert again.returncode == 1 and "Address already in use" in again.stderr
    finally:
        subprocess.run([*command, "-s", "quit"], timeout=10, check=True)
        harness.eventually(lambda: not (gateway.prefix / "logs/d.pid").exists())


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give up root")
def test_the_engine_runs_as_user_and_reload_reads_what_only_root_may(moongate):
    gateway = moongate("user nobody nogroup;\nevents {} http { server { access_log %PREFIX%/logs/a.log combined; listen 127.0.0.1:%PORT%; "
                       "include %PREFIX%/conf/private.conf; } }", files={"conf/private.conf": "return 200 before;"})
    for path in ("conf/private.conf", "conf/nginx.conf", "logs/error.log"):
        os.chmod(gateway.prefix / path, 0o600)
    os.chmod(gateway.prefix, 0o700)
    gateway.get("/")  # served, so the engine has given up root
    status = pathlib.Path(f"/proc/{engine_of(gateway)}/status").read_text()
    nobody = pwd.getpwnam("nobody")
    assert re.search(r"^Uid:\s+" + r"\s+".join([str(nobody.pw_uid)] * 4), status, re.M), status
    assert re.search(r"^Gid:\s+" + r"\s+".join([str(nobody.pw_gid)] * 4), status, re.M), status  # nogroup
    (gateway.prefix / "conf/private.conf").write_text("return 200 after;")
    reload(gateway, gateway.config.replace("logs/a.log", "logs/b.log"))
    harness.eventually(lambda: gateway.get("/").text == "after")
    harness.eventually(lambda: "GET / HTTP" in (gateway.prefix / "logs/b.log").read_text())


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give up root")
@pytest.mark.moongate_only
@pytest.mark.xfail(strict=True, reason="the engine opens the file itself on USR1, and keeps the old one without a word")
def test_usr1_opens_logs_where_only_root_may(moongate):
    gateway = moongate("user nobody nogroup;\nevents {} http { server { access_log %PREFIX%/logs/b.log combined; "
                       "listen 127.0.0.1:%PORT%; return 200 fine; } }")
    os.chmod(gateway.prefix, 0o700)
    gateway.get("/")
    (gateway.prefix / "logs/b.log").rename(gateway.prefix / "logs/b.1")
    gateway.send_signal(signal.SIGUSR1)

    def written():
        gateway.get("/")
        return (gateway.prefix / "logs/b.log").exists() and (gateway.prefix / "logs/b.log").read_text()

    harness.eventually(written, timeout=1)


@pytest.mark.release_only
@pytest.mark.moongate_only
def test_2000_idle_connections_hold_at_most_1_kb_each(moongate):
    gateway = moongate("worker_processes 1; events { worker_connections 4096; } http { access_log off; "
                       "server { listen 127.0.0.1:%PORT%; keepalive_timeout 60; return 200 fine; } }")
    engine = engine_of(gateway)

    def ask(count):
        clients = [gateway.connect() for _ in range(count)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        for client in clients:
            assert client.read_response().body == b"fine"
        return clients

    for client in ask(100):
        client.close()
    before = resident_kb(engine)
    clients = ask(2000)
    grown = resident_kb(engine) - before
    for client in clients:
        client.close()
    assert grown <= 2000, f"{grown * 1024 / 2000:.0f} bytes a connection"


BROKEN = {
    "missing file": (None, r'open\(\) "[^"]*nginx.conf" failed \(2: No such file or directory\)'),
    "empty": ("", r'no "events" section in configuration'),
    "directory": ("include ../conf;\nevents {}", r"(Is a directory|failed \(21)"),
    "binary": ("\x00\x01\x02", r"\[emerg\]"),
    "open brace": ("events {", r'unexpected end of file, expecting "}" in [^ ]*nginx.conf:1'),
    "no semicolon": ("worker_processes 1", r'unexpected end of file, expecting ";" or "}" in [^ ]*nginx.conf:1'),
    "quote": ('error_log "a;\nevents {}', r"unexpected end of file"),
    "twice": ("pid a; pid b; events {}", r'"pid" directive is duplicate in [^ ]*nginx.conf:1'),
    "user": ("user no-such-user-x;\nevents {}", r'getpwnam\("no-such-user-x"\) failed'),
    "block": ("events;", r'directive "events" has no opening "{" in [^ ]*nginx.conf:1'),
    "number": ("worker_processes x; events {}", r'invalid number|invalid value'),
}


@pytest.mark.parametrize("name", BROKEN)
def test_t_names_what_is_broken(moongate, name):
    text, message = BROKEN[name]
    gateway = moongate(text or "", start=False)
    if text is None:
        (gateway.prefix / "conf/nginx.conf").unlink()
    if name in ("twice", "user"):
        done = subprocess.run([str(harness.BINARY), "-p", f"{gateway.prefix}/", "-c", "conf/nginx.conf", "-t"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    else:
        done = gateway.run("-t")
    assert done.returncode == 1, done
    assert re.search(r"\[(emerg|crit)\]", done.stderr) and re.search(message, done.stderr), done.stderr
    assert re.search(r"configuration file [^ ]*nginx.conf test failed", done.stderr), done.stderr


@pytest.mark.moongate_only
def test_a_changed_number_of_workers_takes_effect_with_a_reload(moongate):
    text = ("worker_processes %s; events {} http { server { listen 127.0.0.1:%%PORT%%; location / { "
            "content_by_lua_block { ngx.print(ngx.worker.count()) } } } }")
    gateway = moongate(text % 1)
    assert gateway.get("/").text == "1"
    with Load(gateway.port, 2, reopen=True) as load:
        path = gateway.prefix / "conf/nginx.conf"
        changed = path.with_suffix(".new")
        changed.write_text(path.read_text().replace("worker_processes 1;", "worker_processes 3;"))
        os.replace(changed, path)
        gateway.send_signal(signal.SIGHUP)
        harness.eventually(lambda: gateway.get("/").text == "3", what="three workers answer")
    assert load.failures == []
