"""Every row of the Lua API, in every phase: lua_api/rows.lua has a use of each, and what this engine allows must cover
what OpenResty documents (lua_api/openresty.tsv). docs/lua-api.md is written from these results:

    MOONGATE_BINARY=… WRITE_PAGES=1 /usr/bin/python3 -m pytest tests/e2e/test_lua_api_rows.py
"""
import os
import pathlib
import re
import socket
import subprocess
import threading

import pytest

import harness

pytestmark = pytest.mark.moongate_only

FOLDER = pathlib.Path(__file__).parent / "lua_api"
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "lua-api.md"

# In the order of a worker's and a request's life. `server` phases are written at server level.
REQUEST_PHASES = ["post_read", "server_rewrite", "find_config", "set", "rewrite", "post_rewrite", "preaccess", "access",
                  "post_access", "precontent", "content", "balancer", "header_filter", "body_filter", "log"]
PHASES = ["init", "init_worker", *REQUEST_PHASES, "timer", "exit_worker"]
TLS_PHASES = {"ssl_cert", "ssl_session_fetch", "ssl_session_store", "ssl_client_hello", "proxy_ssl_cert",
              "proxy_ssl_verify"}
WAITING = {"rewrite", "access", "content", "timer"}

# Documented for OpenResty and not possible here yet: the set functions work on a request's memory, and there is no
# privileged agent.
NOT_YET = {"ndk.set_var.DIRECTIVE": {"init_worker", "timer", "exit_worker"},
           "ngx.process.enable_privileged_agent": {"init"}}

# The client judges these: what it received when the row ran in a phase that may decide the response.
CLIENT = {
    "ngx.exec": lambda answer: answer.body == b"executed 9",
    "ngx.redirect": lambda answer: answer.status == 301 and answer.header("Location").endswith("/elsewhere"),
    "ngx.send_headers": lambda answer: answer.header("X-Sent") == "yes",
    "ngx.print": lambda answer: answer.body.startswith(b"printed"),
    "ngx.say": lambda answer: answer.body.startswith(b"said\n"),
    "ngx.flush": lambda answer: answer.body.startswith(b"first\n"),
    "ngx.exit": lambda answer: answer.status == 410 or answer.header("X-Always") == "yes",
    "ngx.eof": lambda answer: answer.body == b"last\n",
    "reqsock:send(raw only)": lambda answer: answer.body == b"raw",
}


def openresty():
    """{name: (phases as OpenResty's documentation has them, whether a TLS connection is needed)}"""
    rows = {}
    for line in (FOLDER / "openresty.tsv").read_text().splitlines():
        if not line.startswith("#"):
            name, phases, tls = (line.split("\t") + ["", ""])[:3]
            rows[name] = (phases, tls == "tls")
    return rows


ROWS = openresty()
TRIED = [name for name, (_, tls) in ROWS.items() if not tls]


def documented(name):
    """The phases in which OpenResty says that the row works, of those tried here. "any" means with a request and in
    timers."""
    phases = ROWS[name][0]
    if phases in ("any", "any-but-init"):
        return {"init_worker", "set", "rewrite", "access", "content", "header_filter", "body_filter", "log", "timer",
                "balancer"}
    if phases == "waiting":
        return WAITING
    return set(phases.split(",")) & set(PHASES)


class Peers:
    """A line echo over TCP and a unix socket, and a datagram echo."""

    def __init__(self, folder):
        self.path = str(folder / "echo.sock")
        self.tcp = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(self.path)
        self.unix.listen(512)
        os.chmod(self.path, 0o777)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        for listener in (self.tcp, self.unix):
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        threading.Thread(target=self._datagrams, daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(peer,), daemon=True).start()

    @staticmethod
    def _echo(peer):
        with peer:
            try:
                while data := peer.recv(4096):
                    peer.sendall(data)
            except OSError:
                pass

    def _datagrams(self):
        while True:
            try:
                data, sender = self.udp.recvfrom(4096)
                self.udp.sendto(data, sender)
            except OSError:
                return

    def close(self):
        for one in (self.tcp, self.unix, self.udp):
            one.close()


def certificates(folder):
    """A CA, and a leaf that names an OCSP responder: (leaf, key, leaf and CA)."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key",
            "-out", "ca.pem", "-subj", "/CN=ca", "-days", "30")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "leaf.key", "-out",
            "leaf.csr", "-subj", "/CN=leaf")
    (folder / "leaf.ext").write_text("authorityInfoAccess = OCSP;URI:http://127.0.0.1/ocsp\n")
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
            "leaf.pem", "-days", "30", "-extfile", "leaf.ext")
    leaf, key = (folder / "leaf.pem").read_text(), (folder / "leaf.key").read_text()
    return leaf, key, leaf + (folder / "ca.pem").read_text()


CONFIG = """
worker_processes 1;
error_log logs/error.log notice;
events { worker_connections 1024; }
thread_pool rows threads=1;
http {
    access_log off;
    lua_package_path "%LUA%/?.lua;%PREFIX%/?.lua;;";
    lua_shared_dict results 8m;
    lua_shared_dict rows 1m;
    lua_shared_dict flushed 1m;
    lua_capture_error_log 1m;
    lua_check_client_abort on;
    lua_max_pending_timers 100000;
    lua_socket_log_errors off;
    init_by_lua_block { driver = require "driver" driver.run_all("init") }
    init_worker_by_lua_block {
        driver.run_all("init_worker")
        ngx.timer.at(0, function() driver.run_all("timer") end)
        ngx.timer.at(0, function()
            ngx.shared.results:set("timer:ngx.exit", "ok")
            ngx.exit(ngx.OK)
            ngx.shared.results:set("timer:ngx.exit", "the timer went on")
        end)
    }
    exit_worker_by_lua_block {
        driver.run_all("exit_worker")
        local file = io.open("%PREFIX%/report", "w")
        file:write(driver.report())
        file:close()
    }
    upstream balanced {
        server 0.0.0.1;
        balancer_by_lua_block {
            require("ngx.balancer").set_current_peer("127.0.0.1", %PORT2%)
            driver.run("balancer")
        }
    }
    server {
        listen 127.0.0.1:%PORT2%;
        location / { return 200 proxied; }
    }
    server {
        listen 127.0.0.1:%PORT%;
        add_header X-Always yes always;
        %SERVERPHASES%
        location / {
            set $row "";
            set_by_lua $from_set 'driver.run("set")' $uri;
            %LOCATIONPHASES%
            content_by_lua_block { driver.run("content") if not ngx.headers_sent then pcall(ngx.print, "-") end }
        }
        location /balancer {
            set $row "";
            proxy_pass http://balanced;
        }
        location /sub { return 200 "sub $arg_x"; }
        location /executed { content_by_lua_block { ngx.print("executed ", ngx.var.arg_x) } }
        location /report { content_by_lua_block { ngx.print(driver.report()) } }
    }
}
"""


def lines_of(phases):
    return "\n".join(f'{phase}_by_lua_block {{ driver.run("{phase}") }}' for phase in phases)


class Results:
    def __init__(self, text, client):
        self.by_row = {}
        for line in text.splitlines():
            phase, name, result = line.split("\t", 2)
            self.by_row.setdefault(name, {})[phase] = result
        for (phase, name), passed in client.items():
            result = self.by_row.setdefault(name, {}).get(phase, "did not run")
            if passed and not result.startswith(("raised", "did")):
                self.by_row[name][phase] = "ok"
            elif result == "ok" or result == "ended the phase":
                self.by_row[name][phase] = "the client saw nothing of it"

    def works(self, name):
        return {phase for phase, result in self.by_row.get(name, {}).items() if result == "ok"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    peers = Peers(folder)
    cert, key, chain = certificates(folder)
    for name in ("conf", "logs", "html"):
        (folder / name).mkdir()
    (folder / "body").write_text("from a file")
    ports = [harness.free_port(), harness.free_port()]
    (folder / "peers.lua").write_text(
        f"return {{ tcp = {peers.tcp.getsockname()[1]}, udp = {peers.udp.getsockname()[1]}, unix = '{peers.path}', "
        f"http = {ports[1]}, body_file = '{folder}/body', cert = [[{cert}]], key = [[{key}]], chain = [[{chain}]] }}")
    (folder / "in_thread.lua").write_text("return { double = function(value) return 2 * value end }")
    for path in (folder, *folder.iterdir()):
        path.chmod(0o777)
    known = subprocess.run([harness.BINARY, "directives"], capture_output=True, text=True).stdout
    at_server = ["post_read", "server_rewrite", "find_config"]
    in_location = ["rewrite", "post_rewrite", "preaccess", "access", "post_access", "precontent", "header_filter",
                   "body_filter", "log"]
    phases = [lines_of(p for p in group if f"\n{p}_by_lua_block" in known) for group in (at_server, in_location)]
    config = CONFIG
    for mark, value in {"PORT2": ports[1], "PORT": ports[0], "LUA": FOLDER, "PREFIX": folder,
                        "SERVERPHASES": phases[0], "LOCATIONPHASES": phases[1]}.items():
        config = config.replace(f"%{mark}%", str(value))
    gateway = harness.Gateway(folder, config, ports)
    client = {}
    try:
        gateway.start()
        for phase in REQUEST_PHASES:
            for name in TRIED:
                path = "/balancer?q=1" if phase == "balancer" else "/set?q=1"
                try:
                    with gateway.connect(timeout=2) as connection:
                        connection.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nX-Phase: {phase}\r\nX-Row: {name}\r\n"
                                        "X-Plain: p\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                                        "Content-Length: 7\r\n\r\na=1&b=2".encode())
                        answer = connection.read_response("POST")
                except (AssertionError, OSError):  # closed, or no answer in time
                    answer = None
                if name in CLIENT:
                    client[phase, name] = answer is not None and CLIENT[name](answer)
        harness.eventually(lambda: "timer\tdone\tok" in gateway.get("/report").text, timeout=30)
        gateway.stop()
        report = (folder / "report").read_text()
    finally:
        gateway.kill()
        peers.close()
    return Results(report, client)


@pytest.mark.parametrize("name", TRIED)
def test_row(name, results):
    wanted = documented(name) - NOT_YET.get(name, set())
    works = results.works(name)
    assert works >= wanted, {phase: results.by_row.get(name, {}).get(phase, "did not run") for phase in wanted - works}
    assert works or name in NOT_YET, results.by_row.get(name)


def page(results):
    lines = [
        "# The Lua API, and where it works",
        "",
        "Generated by tests/e2e/test_lua_api_rows.py from what the tests saw; do not edit. *More* are the phases that",
        "OpenResty does not document for the row. Rows that need a TLS connection are listed below.",
        "",
        "| row | OpenResty | more in Moongate |",
        "|---|---|---|",
    ]
    for name in TRIED:
        works, known = results.works(name), documented(name)
        more = [phase for phase in PHASES if phase in works - known]
        if set(more) >= set(PHASES) - known - {"init", "exit_worker"} and known:
            missing = [phase for phase in PHASES if phase not in works]
            text = "everywhere" + (f" but {', '.join(missing)}" if missing else "")
        else:
            text = ", ".join(more)
        if lacking := [phase for phase in PHASES if phase in NOT_YET.get(name, ())]:
            text = f"{text}; not yet: {', '.join(lacking)}".removeprefix("; ")
        lines.append(f"| `{name}` | {', '.join(p for p in PHASES if p in known) or 'undocumented'} | {text} |")
    lines += ["", "## With TLS", "", "These act on a TLS connection, which this engine does not have yet:",
              ", ".join(f"`{name}`" for name, (_, tls) in ROWS.items() if tls) + "."]
    return "\n".join(lines) + "\n"


def test_page_is_fresh(results):
    text = page(results)
    if os.environ.get("WRITE_PAGES"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text
