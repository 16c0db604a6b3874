"""For the hardening tests: an upstream that records bytes instead of parsing them, and the check of a refusal.

A parser in the test's upstream would decide what a request is; here every byte that a gateway lets through is
kept as it came, so that "nothing of it was passed on" can be said exactly.
"""
import socket
import threading

import harness

PROXY = "location / { proxy_pass http://127.0.0.1:%UPSTREAM%; proxy_http_version 1.1; proxy_set_header Connection ''; }"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FOLLOWER = b"GET /follower HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Recorder:
    """Accepts, keeps all bytes in `received`, answers each end of a head with 200 and leaves connections open."""

    def __init__(self):
        self.received = b""
        self.connections = []
        self._lock = threading.Lock()
        self.port = harness.free_port()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        seen = b""
        try:
            while data := sock.recv(65536):
                with self._lock:
                    self.received += data
                seen += data
                while b"\r\n\r\n" in seen:
                    seen = seen.split(b"\r\n\r\n", 1)[1]
                    sock.sendall(OK)
        except OSError:
            pass
        finally:
            sock.close()

    def close(self):
        for sock in (self.listener, *self.connections):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


def exchange(gateway, data, timeout=3, close=False):
    """Sends, then reads until the gateway closes: (bytes, whether it closed)."""
    with gateway.connect(timeout=timeout) as connection:
        try:
            connection.send(data)
            if close:
                connection.finish_sending()
        except OSError:
            pass  # it had closed already
        try:
            return connection.read_all(), True
        except AssertionError:
            return connection.buffer, False


def status_of(answer):
    parts = answer.split(b" ", 2)
    return int(parts[1]) if answer.startswith(b"HTTP/1.") and len(parts) > 1 else None


def request(target=b"/", headers=b"", body=b"", method=b"POST", version=b"HTTP/1.1", host=b"Host: a\r\n"):
    return method + b" " + target + b" " + version + b"\r\n" + host + headers + b"\r\n" + body


def check_refused(gateway, recorder, cases, wanted=(400,), follower=True):
    """Each case is bytes, or (bytes, statuses). The gateway must answer one of the statuses (None: close without an
    answer), close, serve nothing behind the bad request, and pass not one byte of it on."""
    problems = []
    for case in cases:
        data, statuses = case if isinstance(case, tuple) else (case, wanted)
        before = len(recorder.received)
        answer, closed = exchange(gateway, data + (FOLLOWER if follower else b""))
        shown = data if len(data) < 160 else data[:120] + b"..." + data[-30:]
        if status_of(answer) not in statuses:
            problems.append(f"{shown!r}: answered {answer[:60]!r}, not one of {statuses}")
        elif answer.count(b"HTTP/1.1 ") > 1:
            problems.append(f"{shown!r}: something behind it was served: {answer!r}")
        if not closed:
            problems.append(f"{shown!r}: the connection stayed open")
        if len(recorder.received) != before:
            problems.append(f"{shown!r}: the upstream received {recorder.received[before:][:200]!r}")
    # What is good still comes through, in the same process.
    answer, _ = exchange(gateway, FOLLOWER)
    if status_of(answer) != 200 or not answer.endswith(b"ok"):
        problems.append(f"a good request afterwards: {answer!r}")
    assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems)


def engine_pids(gateway):
    """The processes the server has started: nginx's workers, Moongate's engine."""
    pids = []
    try:
        for task in harness.pathlib.Path(f"/proc/{gateway.pid}/task").iterdir():
            pids += [int(pid) for pid in (task / "children").read_text().split()]
    except FileNotFoundError:
        pass
    return sorted(pids)
