"""Servers that cosockets talk to: scripted TCP and unix peers, and real Redis and memcached."""
import contextlib
import os
import shutil
import socket
import subprocess
import threading

import harness


class Peer:
    """Accepts connections and runs `script(connection, number)` for each in a thread of its own; then closes it."""

    def __init__(self, script, path=None, backlog=64):
        self.script, self.count, self.open = script, 0, 0
        self.failures = []
        if path is None:
            self.listener = socket.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.port = harness.free_port()
            self.listener.bind(("127.0.0.1", self.port))
        else:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(path))
            os.chmod(path, 0o666)
        self.listener.listen(backlog)
        self._lock = threading.Lock()
        self._connections = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self._lock:
                self.count += 1
                self.open += 1
                number = self.count
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection, number):
        connection.settimeout(harness.TIMEOUT)
        try:
            self.script(connection, number)
        except (OSError, ValueError):
            pass
        finally:
            connection.close()
            with self._lock:
                self.open -= 1
                self._connections.discard(connection)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def echo_lines(connection, _):
    """Answers each line with itself."""
    for line in connection.makefile("rb"):
        connection.sendall(line)


def sends(data, then_waits=True):
    """A script that sends `data` and (unless told otherwise) waits for the other side's end."""
    def script(connection, _):
        connection.sendall(data)
        if then_waits:
            while connection.recv(65536):
                pass
    return script


class Program:
    """A real server for the time of a test."""

    def __init__(self, arguments, port):
        self.port = port
        self.process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        harness.eventually(self._answers, what=f"{arguments[0]} listens")

    def _answers(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(harness.TIMEOUT)


def redis():
    port = harness.free_port()
    return Program([shutil.which("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                    "--appendonly", "no", "--dir", "/tmp"], port)


def memcached():
    port = harness.free_port()
    return Program([shutil.which("memcached"), "-l", "127.0.0.1", "-p", str(port), "-u", "nobody", "-m", "8"], port)
