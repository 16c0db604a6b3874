"""Starts what ./dev bench compares: the floor programs, Debian's nginx, HAProxy and Moongate, each pinned to one
core, and reads what they used of it. Every server gets a prefix under build/bench and a port of its own; nginx and
Moongate get the same configuration text.
"""
import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
WORK = ROOT / "build/bench"
MOONGATE = pathlib.Path(os.environ.get("MOONGATE_BINARY") or ROOT / "build/release/moongate")
FLOOR = pathlib.Path(os.environ.get("MOONGATE_FLOOR") or ROOT / "build/release/bench")
SERVER_CORE, LOAD_CORE = 0, 1
TICK = os.sysconf("SC_CLK_TCK")

NAMES = {"floor": "floor (bare epoll)", "nginx": "nginx", "nginx-lua": "nginx with ngx_lua", "haproxy": "HAProxy", "moongate": "Moongate"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def missing(peer):
    """Why this peer cannot be measured here, or None."""
    program = {"floor": FLOOR / "floor_responder", "nginx": pathlib.Path("/usr/sbin/nginx"),
               "nginx-lua": pathlib.Path("/usr/lib/nginx/modules/ngx_http_lua_module.so"), "haproxy": pathlib.Path("/usr/sbin/haproxy"), "moongate": MOONGATE}[peer]
    return None if os.access(program, os.R_OK) else f"{program} is missing"


@dataclasses.dataclass
class Cpu:
    """Processor seconds in user space and in the kernel."""
    user: float
    system: float

    def __sub__(self, other):
        return Cpu(self.user - other.user, self.system - other.system)


class Server:
    """A running server: all processes of its session."""

    def __init__(self, name, command, port, core=SERVER_CORE, host=None):
        self.name, self.port, self.host = name, port, host
        self.log = WORK / f"{name}.log"
        with open(self.log, "wb") as log:
            self.started = time.perf_counter()
            self.process = subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        try:
            self.first_response = self._wait()
        except Exception:
            self.stop()
            raise

    def _answers(self):
        self.fetch("/")

    def _wait(self):
        """Seconds until the first complete response."""
        while time.perf_counter() - self.started < 60:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with status {self.process.returncode}: {self.said()}")
            try:
                self._answers()
                return time.perf_counter() - self.started
            except (ConnectionError, socket.timeout):
                time.sleep(0.002)
        raise RuntimeError(f"{self.name} does not answer on port {self.port} within 60 s: {self.said()}")

    def said(self):
        return self.log.read_text(errors="replace")[-2000:].strip() or "it said nothing"

    def fetch(self, path, headers=""):
        """The head and the body of one response."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as client:
            host = self.host or "localhost"
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n".encode())
            data = b""
            # The floor programs keep every connection, so the end of the body is found by its length.
            while chunk := client.recv(65536):
                data += chunk
                head, mark, body = data.partition(b"\r\n\r\n")
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                if mark and lengths and len(body) >= int(lengths[0].split(b":")[1]):
                    return head.decode("latin-1"), body
                if mark and body.endswith(b"0\r\n\r\n"):
                    return head.decode("latin-1"), body
        if not data:
            raise ConnectionError("closed without an answer")
        head, _, body = data.partition(b"\r\n\r\n")
        return head.decode("latin-1"), body

    def pids(self):
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                try:
                    fields = pathlib.Path(entry.path, "stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                if int(fields[3]) == self.process.pid:
                    found.append(int(entry.name))
        return found

    def cpu(self):
        """utime and stime of every process, all their threads included."""
        user = system = 0
        for pid in self.pids():
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            user, system = user + int(fields[11]), system + int(fields[12])
        return Cpu(user / TICK, system / TICK)

    def memory(self):
        """Bytes of resident memory, pages shared by its processes counted once."""
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Redis(Server):
    """A Redis without persistence, on the core of the load."""

    def __init__(self):
        super().__init__("redis", ["/usr/bin/redis-server", "--port", port := free_port(), "--bind", "127.0.0.1",
                                   "--save", "", "--appendonly", "no"], port, LOAD_CORE)

    def _answers(self):
        with socket.create_connection(("127.0.0.1", self.port), 5) as client:
            client.sendall(b"PING\r\n")
            if client.recv(64) != b"+PONG\r\n":
                raise ConnectionError("Redis does not answer")


def nginx_style(name, binary, config, port, core=SERVER_CORE, host=None, modules=()):
    """A server with nginx's command line. %PORT% in `config` is the port."""
    prefix = WORK / name
    (prefix / "logs").mkdir(parents=True, exist_ok=True)
    path = prefix / "nginx.conf"
    path.write_text(config.replace("%PORT%", str(port)))
    globals_ = "".join(f"load_module /usr/lib/nginx/modules/{m}.so; " for m in modules)
    globals_ += f"daemon off; pid {prefix}/logs/server.pid; error_log stderr warn;"
    if os.getuid() == 0:
        globals_ += " user root;"
    return Server(name, [binary, "-p", f"{prefix}/", "-e", "stderr", "-c", path, "-g", globals_], port, core, host)


def nginx(config, port, name="nginx", core=SERVER_CORE, host=None, lua=True):
    modules = ("ndk_http_module", "ngx_http_lua_module") if lua else ()
    return nginx_style(name, "/usr/sbin/nginx", config, port, core, host, modules)


def moongate(config, port, host=None):
    return nginx_style("moongate", MOONGATE, config, port, host=host)


def haproxy(config, port):
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / "haproxy.cfg"
    path.write_text(config.replace("%PORT%", str(port)))
    return Server("haproxy", ["/usr/sbin/haproxy", "-db", "-f", path], port)


def floor_responder(port, body):
    return Server("floor", [FLOOR / "floor_responder", str(port), body], port)


def floor_relay(port, upstream_port):
    return Server("floor", [FLOOR / "floor_relay", str(port), str(upstream_port)], port)
