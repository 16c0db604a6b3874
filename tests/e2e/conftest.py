"""The fixtures of the end-to-end tests; what they give out is in harness.py."""
import re

import pytest

import harness


def pytest_configure(config):
    config.addinivalue_line("markers", "moongate_only: not what nginx does; skipped against the reference")
    config.addinivalue_line("markers", "release_only: load or timing that means nothing under a sanitizer")


def pytest_report_header(config):
    return f"binary: {harness.BINARY}"


def pytest_sessionstart(session):
    if not harness.BINARY.exists():
        pytest.exit(f"{harness.BINARY} is missing; ./dev build makes it", returncode=3)


def pytest_collection_modifyitems(config, items):
    if harness.IS_REFERENCE:
        skip = pytest.mark.skip(reason="the reference does not do this")
        for item in items:
            if item.get_closest_marker("moongate_only"):
                item.add_marker(skip)


SERVER = """
events { worker_connections 1024; }
http {
    access_log off;
    %s
    server {
        listen 127.0.0.1:%%PORT%%;
        %s
    }
}
"""


@pytest.fixture
def moongate(tmp_path):
    """A factory of started gateways:

        gateway = moongate(config)                      a whole nginx.conf
        gateway = moongate(server="location / { … }")   the inside of one server block on %PORT%
        gateway = moongate(http="map …;", server="…")   and what stands before it in http

    %PORT%, %PORT2%, … become free ports (gateway.ports); %PREFIX% the prefix; %NAME% what is given as name=….
    `files={"html/a.txt": "…"}` are written under the prefix first. `start=False` leaves the starting to the test
    (gateway.start(), gateway.run("-t")). After the test each gateway must stop in order with status 0, and its log must
    hold no alert, emergency or sanitizer report that the test did not allow (gateway.allow("text")).
    """
    gateways = []

    def make(config=None, *, http="", server="", files=None, start=True, **values):
        prefix = tmp_path / f"gateway{len(gateways)}"
        for folder in ("conf", "logs", "html"):
            (prefix / folder).mkdir(parents=True)
        text = SERVER % (http, server) if config is None else config
        ports = {}
        for name in sorted(set(re.findall(r"%(PORT\d*)%", text)), key=lambda n: int(n[4:] or 1)):
            ports[name] = harness.free_port()
        values = {"PREFIX": prefix, **ports, **{name.upper(): value for name, value in values.items()}}
        text = re.sub(r"%([A-Z][A-Z0-9_]*)%", lambda m: str(values.get(m[1], m[0])), text)
        for name, content in (files or {}).items():
            path = prefix / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        gateway = harness.Gateway(prefix, text, list(ports.values()))
        gateways.append(gateway)
        return gateway.start() if start else gateway

    yield make

    problems = []
    for gateway in gateways:
        if gateway.process is None:
            continue
        try:
            status = gateway.stop()
            if status != gateway.expected_status:
                problems.append(f"the gateway ended with status {status}")
        except AssertionError as error:
            problems.append(str(error))
        finally:
            gateway.kill()
        problems += gateway.faults()
    if problems:
        logs = "\n".join(gateway.logs() for gateway in gateways)
        pytest.fail("\n".join(problems) + "\n--- logs\n" + logs, pytrace=False)


@pytest.fixture
def upstream():
    """A factory of scripted upstreams: upstream(), upstream(b"raw response"), upstream([first, second]),
    upstream(function); see harness.Upstream."""
    upstreams = []

    def make(script=None, **arguments):
        upstreams.append(harness.Upstream(script, **arguments))
        return upstreams[-1]

    yield make
    for each in upstreams:
        each.close()
    errors = [error for each in upstreams for error in each.errors]
    assert not errors, f"the upstream's script failed: {errors}"
