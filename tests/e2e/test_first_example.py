"""examples/first as `./dev run` starts it, on other ports, in front of its upstream: every line that the example
invites to try does what it says."""
import os
import signal
import subprocess
import time

import pytest

import harness

EXAMPLE = harness.ROOT / "examples/first"


@pytest.fixture
def upstream_port(tmp_path):
    """Debian's nginx with the example's own upstream.conf."""
    port = harness.free_port()
    prefix = tmp_path / "upstream"
    (prefix / "logs").mkdir(parents=True)
    (prefix / "files").symlink_to(EXAMPLE / "files")
    config = prefix / "upstream.conf"
    config.write_text((EXAMPLE / "upstream.conf").read_text().replace(":8081", f":{port}"))
    user = " user root;" if os.getuid() == 0 else ""
    process = subprocess.Popen(["/usr/sbin/nginx", "-p", f"{prefix}/", "-c", config, "-e", "stderr",
                                "-g", "daemon off;" + user], start_new_session=True)

    def listens():
        assert process.poll() is None, "the example's upstream did not start"
        try:
            harness.Connection(port).close()
            return True
        except ConnectionRefusedError:
            return False

    harness.eventually(listens)
    yield port
    process.terminate()
    process.wait(harness.TIMEOUT)


@pytest.fixture
def first(moongate, upstream_port):
    config = (EXAMPLE / "nginx.conf").read_text()
    config = config.replace("127.0.0.1:8080", "127.0.0.1:%PORT%").replace("127.0.0.1:8081", "127.0.0.1:%UPSTREAM%")
    config = config.replace("worker_processes auto", "worker_processes 1")
    gateway = moongate(config, upstream=upstream_port, start=False)
    (gateway.prefix / "files").symlink_to(EXAMPLE / "files")
    return gateway.start()


def test_page_comes_from_the_upstream_with_a_header_from_lua(first):
    answer = first.get("/")
    assert answer.status == 200
    assert answer.body == (EXAMPLE / "files/index.html").read_bytes()
    assert answer.header("Content-Type") == "text/html"
    assert answer.header("X-From") == "upstream"
    assert answer.header("X-Served-By") == "Moongate"
    assert answer.header("X-Upstream-Status") == "200"


def test_missing_page_keeps_the_upstreams_status(first):
    answer = first.get("/nothing")
    assert answer.status == 404
    assert answer.header("X-Upstream-Status") == "404"


def test_lua_answers(first):
    assert first.get("/hello").body == b"Hello, world!\n"
    assert first.get("/hello?name=Ada%20L").body == b"Hello, Ada L!\n"
    assert first.get("/hello?name").body == b"Hello, world!\n"


def test_health_check_is_fixed(first):
    answer = first.get("/healthz")
    assert (answer.status, answer.body, answer.header("Content-Type")) == (200, b"ok\n", "text/plain")


def test_file_is_served_by_the_gateway_itself(first):
    answer = first.get("/files/about.txt")
    assert answer.status == 200
    assert answer.body == (EXAMPLE / "files/about.txt").read_bytes()
    assert answer.header("Last-Modified") and answer.header("ETag")
    assert answer.header("X-From") is None
    assert first.get("/files/../../../etc/passwd").status in (400, 404)


def test_slow_answer_sends_its_first_line_at_once(first):
    started = time.monotonic()
    with first.connect() as connection:
        connection.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        connection.read_until(b"one moment ...\n")
        assert time.monotonic() - started < 2
        # The worker is free meanwhile.
        assert first.get("/healthz").status == 200
    # TERM, since a graceful stop would wait for the rest of the answer.
    first.stop(signal.SIGTERM)


def test_private_needs_the_token(first):
    refused = first.get("/private/whoami")
    assert refused.status == 401
    assert refused.header("WWW-Authenticate") == 'Token realm="first"'
    assert first.get("/private/whoami", headers={"X-Token": "guess"}).status == 401
    allowed = first.get("/private/whoami", headers={"X-Token": "open-sesame"})
    assert allowed.status == 200
    assert allowed.body == b"user: Ada\ntoken: \n"
