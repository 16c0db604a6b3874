"""Servers and clients for the end-to-end tests: the gateway under test, scripted upstreams, raw connections.

Nothing here waits for a fixed time: `eventually` asks until a deadline, sockets have time-outs, and a time-out is
a failed test that says what had arrived. Ports come from below the kernel's ephemeral range and are locked for
the life of the test process, so that two test runs side by side never meet.
"""
import http.client
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("MOONGATE_BINARY") or ROOT / "build/release/moongate").absolute()
# Debian's nginx with ngx_lua: what Moongate is compared with.
IS_REFERENCE = BINARY.name == "nginx"
REFERENCE_MODULES = ("ndk_http_module", "ngx_http_echo_module", "ngx_http_lua_module",
                     "ngx_http_headers_more_filter_module", "ngx_http_set_misc_module")
# How long anything may take before the test fails. A sanitizer build on a busy machine is slow, not wrong.
TIMEOUT = 10.0

# What must not stand in a log unless the test said so. UBSan's line begins with a source position; Lua's own
# "runtime error" lines begin with a date.
FAULTS = re.compile(r"\[(?:alert|emerg)\]|AddressSanitizer|LeakSanitizer|ThreadSanitizer"
                    r"|^[^\s:]+\.(?:cc|h|c|cpp):\d+:\d+: runtime error:")


def eventually(condition, timeout=TIMEOUT, what=None):
    """Calls `condition` until it returns something true, which is returned."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or getattr(condition, '__name__', 'condition')}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


_locks = []


def free_port():
    """A TCP port that nothing listens on and that no other test process will take."""
    for port in random.sample(range(10240, 32000), 2000):
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        probe = socket.socket()
        try:
            # An abstract name belongs to one process and disappears with it.
            lock.bind(f"\0moongate-test-port-{port}")
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        finally:
            probe.close()
        _locks.append(lock)
        return port
    raise AssertionError("no free port between 10240 and 32000")


class Closed(AssertionError):
    """The peer closed before all that was expected had come."""


class Response:
    """One HTTP response. `headers` keeps order and spelling; `header` looks a name up in any case."""

    def __init__(self, status, reason, headers, body, version="HTTP/1.1"):
        self.status, self.reason, self.headers, self.body, self.version = status, reason, headers, body, version

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def header(self, name, default=None):
        values = self.all(name)
        return values[0] if values else default

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __repr__(self):
        return f"<Response {self.status} {self.headers} {self.body[:200]!r}>"


class Connection:
    """A client's raw TCP connection: sends exactly these bytes, reads exactly what comes."""

    def __init__(self, port, host="127.0.0.1", timeout=TIMEOUT):
        self.sock = socket.create_connection((host, port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def finish_sending(self):
        self.sock.shutdown(socket.SHUT_WR)

    def _more(self):
        try:
            data = self.sock.recv(65536)
        except socket.timeout:
            raise AssertionError(f"time-out; received so far: {self.buffer!r}") from None
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return data

    def _take(self, count):
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def read_until(self, mark):
        """Everything up to and including `mark`."""
        while mark not in self.buffer:
            if not self._more():
                raise Closed(f"closed before {mark!r}; received: {self.buffer!r}")
        return self._take(self.buffer.index(mark) + len(mark))

    def read_exactly(self, count):
        while len(self.buffer) < count:
            if not self._more():
                raise Closed(f"closed before {count} bytes; received: {self.buffer!r}")
        return self._take(count)

    def read_all(self):
        """Everything until the peer closes."""
        while self._more():
            pass
        return self._take(len(self.buffer))

    def is_closed(self):
        """Waits for the peer's close; False where bytes come instead."""
        return not self.buffer and not self._more()

    def read_response(self, method="GET"):
        """One final response, framed as RFC 9112 section 6.3 says; 1xx responses before it are passed over."""
        while True:
            version, status, reason, headers = self._read_head()
            if status >= 200 or status == 101:
                break
        response = Response(status, reason, headers, b"", version)
        if method == "HEAD" or status in (101, 204, 304):
            return response
        if "chunked" in (response.header("Transfer-Encoding") or "").lower():
            while True:
                size = int(self.read_until(b"\r\n").split(b";")[0], 16)
                if size == 0:
                    break
                response.body += self.read_exactly(size)
                assert self.read_exactly(2) == b"\r\n"
            response.trailers = []
            while (line := self.read_until(b"\r\n")) != b"\r\n":
                name, _, value = line.decode("latin-1").strip().partition(":")
                response.trailers.append((name, value.strip()))
        elif response.header("Content-Length") is not None:
            response.body = self.read_exactly(int(response.header("Content-Length")))
        else:
            response.body = self.read_all()
        return response

    def _read_head(self):
        head = self.read_until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        version, status, *reason = first.split(" ", 2)
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        return version, int(status), reason[0] if reason else "", headers


class Gateway:
    """One started server under test with a prefix of its own."""

    def __init__(self, prefix, config, ports):
        self.prefix, self.ports = prefix, ports
        self.process = None
        self.allowed = []
        self.expected_status = 0
        self.write_config(config)

    # --- configuration and life ---

    @property
    def port(self):
        return self.ports[0]

    @property
    def pid(self):
        return self.process.pid

    def write_config(self, config):
        self.config = config
        # In one step: a server that reloads meanwhile sees the old file or the new one.
        written = self.prefix / "conf/nginx.conf.new"
        written.write_text(config)
        written.rename(self.prefix / "conf/nginx.conf")

    def command(self, *arguments):
        """The command line that starts this server; what the configuration leaves out is given with -g."""
        extra = ["daemon off;"]
        if os.getuid() == 0 and not re.search(r"^\s*user\s", self.config, re.MULTILINE):
            extra.append("user root;")
        if not re.search(r"^\s*pid\s", self.config, re.MULTILINE):
            extra.append(f"pid {self.prefix}/logs/moongate.pid;")
        if not re.search(r"^error_log\s", self.config, re.MULTILINE):
            extra.append(f"error_log {self.prefix}/logs/error.log info;")
        if IS_REFERENCE:
            extra[:0] = [f"load_module /usr/lib/nginx/modules/{name}.so;" for name in REFERENCE_MODULES]
        return [str(BINARY), "-p", f"{self.prefix}/", "-c", "conf/nginx.conf",
                "-e", f"{self.prefix}/logs/error.log", "-g", " ".join(extra), *arguments]

    @staticmethod
    def environment():
        return {"ASAN_OPTIONS": "detect_stack_use_after_return=1", "UBSAN_OPTIONS": "print_stacktrace=1",
                "ASAN_SYMBOLIZER_PATH": "/usr/bin/llvm-symbolizer-19", **os.environ}

    def start(self):
        with open(self.prefix / "logs/stderr.log", "ab") as stderr:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=stderr,
                                            stderr=stderr, env=self.environment(), start_new_session=True)
        for port in self.ports:
            if re.search(rf"listen\s[^;]*\b{port}\b", self.config):
                eventually(lambda port=port: self._answers(port), what=f"port {port} listens")
        return self

    def _answers(self, port):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with status {self.process.returncode}:\n{self.logs()}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except ConnectionRefusedError:
            return False

    def run(self, *arguments, timeout=TIMEOUT):
        """Runs the binary to its end with more arguments (-t, -s stop, …); returns the CompletedProcess."""
        return subprocess.run(self.command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env=self.environment(), timeout=timeout)

    def send_signal(self, number):
        self.process.send_signal(number)

    def reload(self, config=None):
        """HUP, with new text if given; returns when the server has read it. Old workers may still be serving
        then: ask with `eventually` for what the change brings."""
        if config is not None:
            self.write_config(config)
        before = self.error_log().count("reconfiguring")
        self.send_signal(signal.SIGHUP)
        eventually(lambda: self.error_log().count("reconfiguring") > before, what="reconfiguring")

    def stop(self, number=signal.SIGQUIT):
        """Stops the server and returns its exit status; a server that ignores the signal is ended harder, and
        the test fails."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.send_signal(number)
            try:
                self.process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"{number!r} did not stop the server within {TIMEOUT} s") from None
        return self.process.returncode

    def kill(self):
        """TERM, then KILL for the server and whatever it started (its session)."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                self.send_signal(number)
                try:
                    self.process.wait(2)
                except subprocess.TimeoutExpired:
                    pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    # --- logs ---

    def error_log(self):
        path = self.prefix / "logs/error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stderr(self):
        path = self.prefix / "logs/stderr.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def logs(self):
        return self.error_log()[-8000:] + self.stderr()[-8000:]

    def allow(self, *texts):
        """Log lines that contain one of these do not fail the test."""
        self.allowed += texts

    def faults(self):
        return [line for line in (self.error_log() + "\n" + self.stderr()).splitlines()
                if FAULTS.search(line) and not any(text in line for text in self.allowed)]

    # --- clients ---

    def connect(self, port=None, timeout=TIMEOUT):
        return Connection(port or self.port, timeout=timeout)

    def raw(self, data, port=None):
        """Sends these bytes and returns all that comes until the server closes."""
        with self.connect(port) as connection:
            connection.send(data)
            return connection.read_all()

    def request(self, method, path, headers=None, body=None, port=None):
        client = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=TIMEOUT)
        try:
            client.request(method, path, body=body, headers=headers or {})
            answer = client.getresponse()
            version = "HTTP/1.0" if answer.version == 10 else "HTTP/1.1"
            return Response(answer.status, answer.reason, answer.getheaders(), answer.read(), version)
        finally:
            client.close()

    def get(self, path, **arguments):
        return self.request("GET", path, **arguments)


class Request:
    """What an upstream received."""

    def __init__(self, head, body):
        self.head, self.body = head, body
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.method, self.target, self.version = first.split(" ", 2)
        self.headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def header(self, name, default=None):
        return next((value for key, value in self.headers if key.lower() == name.lower()), default)

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __repr__(self):
        return f"<Request {self.method} {self.target} {self.headers} {self.body[:200]!r}>"


def answer(body=b"", status="200 OK", headers=()):
    """The bytes of an HTTP/1.1 response with a Content-Length."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Upstream:
    """An HTTP/1 server that does what the test says.

    `script` is the bytes of every response; a list of such bytes, one a request, the last one again and again;
    or a function of (request, connection) that returns bytes, or None to have the connection closed. It may also
    use `connection` (send, read_until, sock) itself. A response that says `Connection: close` closes.
    `requests` and `accepted` are what has arrived so far.
    """

    def __init__(self, script=None, port=None):
        self.script = answer(b"upstream\n") if script is None else script
        self.requests, self.accepted = [], 0
        self._open, self._lock = set(), threading.Lock()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port = port or free_port()
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(512)
        self.errors = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def open_connections(self):
        with self._lock:
            return len(self._open)

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self._lock:
                self.accepted += 1
                self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        connection = Connection.__new__(Connection)
        sock.settimeout(60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock, connection.buffer = sock, b""
        try:
            while (request := self._read(connection)) is not None:
                with self._lock:
                    index = len(self.requests)
                    self.requests.append(request)
                script = self.script
                if isinstance(script, list):
                    script = script[min(index, len(script) - 1)]
                data = script(request, connection) if callable(script) else script
                if data is None:
                    break
                connection.send(data)
                if b"\r\nconnection: close" in data.split(b"\r\n\r\n", 1)[0].lower():
                    break
        except (OSError, Closed):
            pass  # the gateway closed, which a test may want
        except Exception as error:  # shown when the test ends
            self.errors.append(repr(error))
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    @staticmethod
    def _read(connection):
        while b"\r\n\r\n" not in connection.buffer:
            if not connection._more():
                return None
        head = connection.read_until(b"\r\n\r\n")
        request = Request(head, b"")
        if "chunked" in (request.header("Transfer-Encoding") or "").lower():
            while (size := int(connection.read_until(b"\r\n").split(b";")[0], 16)) != 0:
                request.body += connection.read_exactly(size)
                connection.read_exactly(2)
            while connection.read_until(b"\r\n") != b"\r\n":
                pass
        else:
            request.body = connection.read_exactly(int(request.header("Content-Length", "0")))
        return request

    def close(self):
        """Stops listening and drops every connection."""
        # shutdown wakes the thread in accept(), which close alone does not.
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        with self._lock:
            open_now = list(self._open)
        for sock in open_now:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
