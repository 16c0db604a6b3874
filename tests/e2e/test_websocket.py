"""Upgraded connections: WebSocket frames in both directions, only after 101, with half-close."""
import base64
import hashlib
import os

import pytest

import harness

LOCATION = """location / { proxy_pass http://127.0.0.1:%UP%; proxy_http_version 1.1; proxy_read_timeout 2s;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; }"""
HELLO = (b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n")


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


def echo(request, connection):
    key = request.header("Sec-WebSocket-Key").encode()
    assert request.header("Upgrade") == "websocket" and request.header("Connection") == "upgrade"
    connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Accept: " + accept_of(key).encode() + b"\r\n\r\n" + b"first")
    connection.send(connection.buffer)
    while data := connection.sock.recv(65536):
        connection.send(data)
    connection.send(b"bye")
    return None


def shake(gateway, extra=b""):
    client = gateway.connect()
    key = base64.b64encode(os.urandom(16))
    client.send(HELLO % key + extra)
    head = client.read_until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"upgrade: websocket" in head.lower() and b"connection: upgrade" in head.lower()
    assert accept_of(key).encode() in head
    return client


def test_bytes_pass_both_ways_and_half_close_is_kept(moongate, upstream):
    gateway = moongate(server=LOCATION, up=upstream(echo).port)
    with shake(gateway) as client:
        assert client.read_exactly(5) == b"first"
        for size in (1, 1000, 300000):
            data = os.urandom(size)
            client.send(data)
            assert client.read_exactly(size) == data
        client.finish_sending()
        assert client.read_exactly(3) == b"bye"
        assert client.is_closed()


def test_refused_upgrade_is_an_ordinary_response(moongate, upstream):
    gateway = moongate(server=LOCATION, up=upstream(harness.answer(b"no", "403 Forbidden")).port)
    with gateway.connect() as client:
        client.send(HELLO % b"AAAAAAAAAAAAAAAAAAAAAA==")
        got = client.read_response()
        assert (got.status, got.body) == (403, b"no")
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().status == 403


def test_upgrade_is_not_asked_for_unless_configured(moongate, upstream):
    server = upstream()
    gateway = moongate(server="location / { proxy_pass http://127.0.0.1:%UP%; }", up=server.port)
    with gateway.connect() as client:
        client.send(HELLO % b"AAAAAAAAAAAAAAAAAAAAAA==")
        assert client.read_response().status == 200
    assert server.requests[0].header("Upgrade") is None


def test_idle_tunnel_ends(moongate, upstream):
    server = upstream(echo)
    gateway = moongate(server=LOCATION.replace("2s", "100ms"), up=server.port)
    with shake(gateway) as client:
        assert client.read_exactly(5) == b"first"
        assert client.is_closed()
    harness.eventually(lambda: server.open_connections == 0)


def test_server_that_closes_ends_the_tunnel(moongate, upstream):
    def once(request, connection):
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\ndone")
        return None
    gateway = moongate(server=LOCATION, up=upstream(once).port)
    with gateway.connect() as client:
        client.send(HELLO % b"AAAAAAAAAAAAAAAAAAAAAA==")
        assert client.read_all().endswith(b"\r\n\r\ndone")


def test_websocket_library(moongate):
    websockets = pytest.importorskip("websockets")
    import asyncio

    async def run():
        async def handler(socket, *_):
            async for message in socket:
                await socket.send(message)
        async with websockets.serve(handler, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            loop = asyncio.get_running_loop()
            gateway = await loop.run_in_executor(None, lambda: moongate(server=LOCATION, up=port))
            async with websockets.connect(f"ws://127.0.0.1:{gateway.port}/") as socket:
                for message in ("hello", b"\x00" * 70000, "x" * 200000):
                    await socket.send(message)
                    assert await socket.recv() == message
    asyncio.run(asyncio.wait_for(run(), 20))
