"""Keep-alive clients that ask without pause, for tests that change the server under load."""
import threading
import time

import harness

REQUEST = b"GET /load HTTP/1.1\r\nHost: a\r\n\r\n"


class Load:
    """`connections` clients. A request that gets no whole 200, a connection that is refused or that closes is kept
    in `failures`; `reopen` counts a close between two requests (before any byte of a response) as allowed, and as
    `closed`, and asks again on a new connection: what nginx's own reload does to keep-alive clients."""

    def __init__(self, port, connections=4, reopen=False, fresh=False):
        self.port, self.reopen, self.fresh = port, reopen, fresh
        self.failures, self.answered, self.closed, self.longest = [], 0, 0, 0.0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        harness.eventually(lambda: self.answered > 20, what="load")
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(harness.TIMEOUT)

    def wait_for_more(self, count=40):
        goal = self.answered + count
        harness.eventually(lambda: self.answered >= goal or self.failures, what="more answers")

    def _run(self):
        client = None
        while not self._stop.is_set():
            begin = time.monotonic()
            try:
                if client is None:
                    client = harness.Connection(self.port)
                client.send(REQUEST)
                response = client.read_response()
                if response.status != 200:
                    raise AssertionError(f"status {response.status}")
                with self._lock:
                    self.answered += 1
                    self.longest = max(self.longest, time.monotonic() - begin)
                if self.fresh or response.header("Connection") == "close":
                    if not self.fresh:
                        self.closed += 1
                    client.close()
                    client = None
            except (AssertionError, OSError) as error:
                quiet = isinstance(error, (harness.Closed, BrokenPipeError, ConnectionResetError)) and not client.buffer
                with self._lock:
                    if self.reopen and client is not None and quiet:
                        self.closed += 1
                    else:
                        self.failures.append(repr(error))
                if client is not None:
                    client.close()
                client = None
                if len(self.failures) > 50:
                    return
