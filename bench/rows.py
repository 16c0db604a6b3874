"""What is measured: the rows of the table and the configurations of the peers, one text for nginx and Moongate."""
import dataclasses

import peers

UPSTREAM_BODY = "The quick brown fox jumps over the lazy dog. " * 2 + "0123456789"

NGINX = """
worker_processes 1;
events { worker_connections 16384; }
http {
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
    default_type text/plain;
    upstream backend {
        server 127.0.0.1:%UPSTREAM%;
        keepalive 128;
        keepalive_requests 1000000000;
        keepalive_timeout 3600s;
    }
    server {
        listen 127.0.0.1:%PORT% backlog=4096;
        location / {
            %LOCATION%
        }
    }
}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 3600s
    timeout server 3600s
    timeout http-keep-alive 3600s
    option http-keep-alive
    http-reuse always
frontend front
    bind 127.0.0.1:%PORT%
    %FRONTEND%
"""

UPSTREAM = NGINX.replace("%UPSTREAM%", "1").replace("%LOCATION%", f'return 200 "{UPSTREAM_BODY}";')

PROXY = """proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";"""

PROXY_LUA = PROXY + """
            access_by_lua_block {
                if ngx.var.http_x_blocked then
                    return ngx.exit(403)
                end
                ngx.req.set_header("X-User", "ada")
            }
            header_filter_by_lua_block {
                ngx.header["X-Served-By"] = "gateway"
            }"""


# Ten round trips on a pooled connection, so that the request around them weighs little.
COSOCKET = """content_by_lua_block {
                local socket_tcp, line = ngx.socket.tcp, nil
                for _ = 1, 10 do
                    local socket = socket_tcp()
                    assert(socket:connect("127.0.0.1", %UPSTREAM%))
                    assert(socket:send("PING\\r\\n"))
                    line = assert(socket:receive())
                    assert(socket:setkeepalive(60000, 256))
                end
                ngx.say(line)
            }"""

# One question to Redis, in the phase that X-Phase names.
WAITING = """
            content_by_lua_block { ask("content") ngx.say("hello") }
            access_by_lua_block { ask("access") }
            header_filter_by_lua_block { ask("header_filter") }
            log_by_lua_block { ask("log") }"""
WAITING_INIT = """
    init_by_lua_block {
        function ask(phase)
            if ngx.var.http_x_phase ~= phase then
                return
            end
            local socket = ngx.socket.tcp()
            assert(socket:connect("127.0.0.1", %UPSTREAM%))
            assert(socket:send("PING\\r\\n"))
            assert(socket:receive() == "+PONG")
            assert(socket:setkeepalive(60000, 256))
        end
    }
    access_log off;"""


@dataclasses.dataclass
class Row:
    name: str
    title: str
    location: str
    body: str
    haproxy: str = ""            # empty: no such thing there
    proxied: bool = False
    redis: bool = False          # the upstream is a Redis; there is no floor for that
    header: str = ""             # must stand in nginx's and Moongate's answer
    bar_floor: float = 0
    bar_nginx: float = 0

    def peers(self):
        return ([] if self.redis else ["floor"]) + ["nginx"] + (["haproxy"] if self.haproxy else []) + ["moongate"]

    def start(self, peer, upstream_port):
        port = peers.free_port()
        config = NGINX.replace("%LOCATION%", self.location).replace("%UPSTREAM%", str(upstream_port or 1))
        if peer == "nginx":
            return peers.nginx(config, port)
        if peer == "moongate":
            return peers.moongate(config, port)
        if peer == "haproxy":
            frontend = self.haproxy.replace("%UPSTREAM%", str(upstream_port))
            return peers.haproxy(HAPROXY.replace("%FRONTEND%", frontend), port)
        return peers.floor_relay(port, upstream_port) if self.proxied else peers.floor_responder(port, self.body)

    def check(self, server):
        """Raises where the server does not do this row's work: a fast wrong answer is not a result."""
        head, body = server.fetch("/")
        if not head.startswith("HTTP/1.1 200") or self.body.encode() not in body:
            raise RuntimeError(f"{server.name} answers {head.splitlines()[0]!r} with {body[:80]!r}")
        if self.header and server.name in ("nginx", "moongate") and self.header.lower() not in head.lower():
            raise RuntimeError(f"{server.name} does not send {self.header!r}")


ROWS = [
    Row("return", "return 200", 'return 200 "ok\\n";', "ok\n", bar_floor=1.15,
        haproxy='http-request return status 200 content-type text/plain string "ok\\n"'),
    Row("lua", "content_by_lua hello", 'content_by_lua_block { ngx.say("hello") }', "hello\n", bar_floor=1.25),
    Row("proxy", "proxy, upstream keep-alive", PROXY, UPSTREAM_BODY, proxied=True, bar_floor=1.20, bar_nginx=0.85,
        haproxy="default_backend back\nbackend back\n    server s 127.0.0.1:%UPSTREAM%"),
    Row("proxy-lua", "proxy, access + header_filter Lua", PROXY_LUA, UPSTREAM_BODY, proxied=True,
        header="X-Served-By: gateway", bar_floor=1.40, bar_nginx=0.80),
    Row("cosocket", "Lua: 10 cosocket round trips", COSOCKET, "+PONG", redis=True, bar_nginx=0.85),
]


def many_servers(count):
    """A configuration of `count` tenants, each with a name, a proxied location and a health check."""
    server = """
    server {
        listen 127.0.0.1:%%PORT%%;
        server_name tenant%(n)d.example.com;
        location / {
            proxy_pass http://backend;
        }
        location = / {
            return 200 "tenant%(n)d\\n";
        }
    }"""
    head, _ = NGINX.replace("%UPSTREAM%", "1").split("    server {\n", 1)
    return (head + "    server_names_hash_max_size 65536;\n    server_names_hash_bucket_size 128;\n"
            + "".join(server % {"n": n} for n in range(count)) + "\n}\n")


def waiting(upstream_port):
    """A server whose Lua asks Redis in the phase that the client names."""
    return (NGINX.replace("    access_log off;", WAITING_INIT, 1).replace("%LOCATION%", WAITING)
            .replace("%UPSTREAM%", str(upstream_port)))
