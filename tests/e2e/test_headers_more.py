"""headers-more: more_set_headers, more_clear_headers and their _input_ relatives."""
import pytest

import harness


def refused(moongate, statement):
    tried = moongate(server=f"location / {{ {statement} }}", start=False).run("-t")
    assert tried.returncode == 1
    return tried.stdout + tried.stderr


# --- responses

def test_more_set_headers(moongate):
    gateway = moongate(server="""
        location / {
            default_type text/plain;
            more_set_headers 'X-Foo: Blah' "X-Bar:  $arg_name " 'x-foo: again' 'X-None:';
            return 200 hello;
        }
    """)
    answer = gateway.get("/?name=a%20b")
    assert (answer.all("X-Foo"), answer.header("X-Bar").strip(), answer.header("X-None")) == (["again"], "a%20b", None)
    assert [name for name, _ in answer.headers if name.lower() == "x-foo"] == ["X-Foo"]
    assert gateway.get("/").header("X-Bar", "").strip() == ""


def test_more_clear_headers(moongate, upstream):
    server = upstream(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\nY: 4\r\nContent-Length: 2\r\n\r\nok")
    gateway = moongate(server=f"""
        location / {{ proxy_pass http://127.0.0.1:{server.port}; more_clear_headers x-a Missing; }}
    """)
    answer = gateway.get("/")
    assert (answer.all("X-A"), answer.all("X-B"), answer.all("Y"), answer.body) == ([], ["2"], ["4"], b"ok")


def test_more_clear_headers_with_a_wildcard(moongate, upstream):
    server = upstream(b"HTTP/1.1 200 OK\r\nX-Hidden-One: 1\r\nx-hidden-two: 2\r\nX-Hidden: 3\r\nX-Hid: 4\r\n"
                      b"Content-Length: 2\r\n\r\nok")
    gateway = moongate(server=f"""
        location / {{ proxy_pass http://127.0.0.1:{server.port}; more_clear_headers 'X-Hidden-*'; }}
    """)
    answer = gateway.get("/")
    assert [answer.header(name) for name in ("X-Hidden-One", "X-Hidden-Two", "X-Hidden", "X-Hid")] == \
        [None, None, "3", "4"]


def test_several_fields_become_one(moongate, upstream):
    server = upstream(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\nContent-Length: 2\r\n\r\nok")
    gateway = moongate(server=f"""
        location / {{ proxy_pass http://127.0.0.1:{server.port}; more_set_headers 'X-a: new'; }}
    """)
    answer = gateway.get("/")
    assert [(k, v) for k, v in answer.headers if k in ("X-A", "X-a", "X-B")] == [("X-A", "new"), ("X-B", "2")]


@pytest.mark.moongate_only  # newer than Debian's package
def test_more_set_headers_appends_with_a(moongate, upstream):
    server = upstream(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok")
    gateway = moongate(server=f"""
        location / {{ proxy_pass http://127.0.0.1:{server.port}; more_set_headers -a 'X-A: 2' 'X-A: 3' 'X-A:'; }}
    """)
    assert gateway.get("/").all("X-A") == ["1", "2", "3"]
    assert 'can not append builtin headers "Server"' in refused(moongate, "more_set_headers -a 'Server: x';")
    assert 'invalid option name: "-a"' in refused(moongate, "more_clear_headers -a X;")


def test_only_these_statuses(moongate):
    gateway = moongate(server="""
        more_set_headers -s 404 -s '500 403' 'X-Foo: error';
        location /ok { return 200; }
        location /forbidden { return 403; }
        location /broken { return 500; }
        location /gone { return 410; }
    """)
    found = {path: gateway.get(path).header("X-Foo") for path in ("/ok", "/forbidden", "/broken", "/gone", "/missing")}
    assert found == {"/ok": None, "/forbidden": "error", "/broken": "error", "/gone": None, "/missing": "error"}


def test_only_these_types(moongate):
    gateway = moongate(server="""
        more_set_headers -t 'text/plain text/css' 'X-Foo: text';
        location /plain { default_type text/plain; return 200 x; }
        location /css { default_type text/css; return 200 x; }
        location /html { default_type text/html; return 200 x; }
        location /both { default_type text/css; more_set_headers -s 200 -t 'text/css' 'X-Foo: both'; return 200 x; }
        location /charset { content_by_lua_block { ngx.header["Content-Type"] = "text/css; charset=utf-8" ngx.say("x") } }
    """)
    found = {path: gateway.get(path).header("X-Foo") for path in ("/plain", "/css", "/html", "/both", "/charset")}
    assert found == {"/plain": "text", "/css": "text", "/html": None, "/both": "both", "/charset": "text"}


def test_outer_statements_run_first(moongate):
    gateway = moongate(http="more_set_headers 'X-A: http' 'X-H: http';", server="""
        more_set_headers 'X-A: server' 'X-S: server';
        location / { more_set_headers 'X-A: location'; return 200 x; }
        location /inherits { return 200 x; }
        location /if {
            more_set_headers 'X-A: location';
            if ($arg_x) { more_set_headers 'X-A: if' 'X-I: if'; }
            return 200 x;
        }
        location /clear { more_clear_headers X-A X-H; return 200 x; }
    """)

    def found(path):
        answer = gateway.get(path)
        return [answer.header(name) for name in ("X-A", "X-H", "X-S", "X-I")]

    assert found("/") == ["location", "http", "server", None]
    assert found("/inherits") == ["server", "http", "server", None]
    assert found("/if") == ["location", "http", "server", None]
    assert found("/if?x=1") == ["if", "http", "server", "if"]
    assert found("/clear") == [None, None, "server", None]


@pytest.mark.parametrize("name", ["Server", "Date", "Cache-Control", "Expires", "Refresh", "WWW-Authenticate",
                                  "Content-Range", "Accept-Ranges", "Last-Modified", "ETag"])
def test_builtin_fields_are_set_and_cleared(moongate, name):
    gateway = moongate(server=f"""
        location /set {{ more_set_headers '{name}: my value'; return 200 hello; }}
        location /clear {{ alias %PREFIX%/html/a.txt; add_header X-Y 1; more_clear_headers '{name}'; }}
        location /empty {{ alias %PREFIX%/html/a.txt; more_set_headers '{name}: $arg_nothing'; }}
    """, files={"html/a.txt": "hello"})
    answer = gateway.get("/set")
    assert (answer.all(name), answer.body) == (["my value"], b"hello")
    for path in ("/clear", "/empty"):
        answer = gateway.get(path)
        # The reference sends an empty Cache-Control where there was none to clear.
        expected = [""] if harness.IS_REFERENCE and name == "Cache-Control" else []
        assert (answer.all(name), answer.body) == (expected, b"hello")


def test_content_encoding(moongate):
    gateway = moongate(server="location / { more_set_headers 'Content-Encoding: zebra'; return 200 x; }")
    assert gateway.get("/").all("Content-Encoding") == ["zebra"]


def test_content_type(moongate):
    gateway = moongate(server="""
        default_type text/plain;
        location /set { more_set_headers 'Content-Type: text/css; charset=utf-8'; return 200 x; }
        location /clear { more_clear_headers Content-Type; return 200 x; }
        location /error { more_set_headers 'Content-Type: text/x-own'; return 404; }
    """)
    assert gateway.get("/set").all("Content-Type") == ["text/css; charset=utf-8"]
    assert gateway.get("/clear").all("Content-Type") == []
    assert gateway.get("/error").all("Content-Type") == ["text/x-own"]


def test_content_length(moongate):
    gateway = moongate(server="""
        location /clear { more_clear_headers Content-Length; return 200 hello; }
        location /set { more_set_headers 'Content-Length: 2'; return 200 hi; }
        location /short { more_set_headers 'Content-Length: 3'; return 200 hello; }
    """)
    answer = gateway.get("/clear")
    assert (answer.header("Content-Length"), answer.header("Transfer-Encoding"), answer.body) == \
        (None, "chunked", b"hello")
    assert gateway.get("/set").all("Content-Length") == ["2"]
    # More would be read as the next response.
    answer = gateway.get("/short")
    assert (answer.header("Content-Length"), answer.body) == ("3", b"hel")


@pytest.mark.moongate_only
def test_a_body_longer_than_its_content_length_ends_the_connection(moongate):
    gateway = moongate(server="location / { more_set_headers 'Content-Length: 3'; return 200 hello; }")
    assert gateway.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").endswith(b"\r\n\r\nhel")


def test_location(moongate):
    gateway = moongate(server="""
        location /set { more_set_headers 'Location: http://example.org/x'; return 302 /y; }
        location /clear { more_clear_headers Location; return 301 /y; }
        location /path { more_set_headers 'Location: /z'; return 200 x; }
    """)
    assert gateway.get("/set").all("Location") == ["http://example.org/x"]
    assert gateway.get("/clear").all("Location") == []
    assert gateway.get("/path").all("Location") == [f"http://127.0.0.1:{gateway.port}/z"]


def test_error_pages_have_them(moongate):
    gateway = moongate(server="""
        more_set_headers 'X-Foo: $status';
        error_page 404 /page;
        location = /page { return 200 page; }
        location /bad { return 502; }
    """)
    assert gateway.get("/missing").header("X-Foo") is not None
    assert gateway.get("/bad").header("X-Foo") == "502"


def test_lua_s_header_filter_sees_them(moongate):
    gateway = moongate(server="""
        location / { more_set_headers 'X-A: more';
            header_filter_by_lua_block { ngx.header["X-B"] = ngx.header["X-A"] }
            return 200 x; }
    """)
    assert gateway.get("/").header("X-B") == "more"


def test_a_value_cannot_begin_another_field(moongate):
    gateway = moongate(server="location / { more_set_headers 'X-A: $uri'; return 200 x; }")
    answer = gateway.get("/a%0d%0aX-Evil:%201")
    assert harness.IS_REFERENCE or answer.header("X-Evil") is None


# --- requests

def seen(gateway, path, **headers):
    answer = gateway.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.status == 200, answer
    return answer.text


def show(statements):
    # The rewrite phase is over when content is made.
    return f"""
        {statements}
        content_by_lua_block {{
            local h = ngx.req.get_headers()
            ngx.print(h["X-A"] or "-", "|", h["X-B"] or "-", "|", ngx.var.http_x_a or "-")
        }}
    """


def test_more_set_input_headers(moongate):
    gateway = moongate(server="""
        location / { %s }
        location /var { %s }
        location /empty { %s }
    """ % (show("more_set_input_headers 'X-A: new' 'x-b:  b $arg_c';"),
           show("set $v late; more_set_input_headers 'X-A: $v'; set $v later;"),
           show("more_set_input_headers 'X-A:';")))
    assert seen(gateway, "/?c=1") == "new|b 1|new"
    assert seen(gateway, "/?c=1", X_A="old", X_B="old") == "new|b 1|new"
    assert seen(gateway, "/var") == "later|-|later"
    assert seen(gateway, "/empty", X_A="old") == "-|-|-"


def test_more_clear_input_headers(moongate):
    gateway = moongate(server="location / { %s }" % show("more_clear_input_headers x-a Missing;"))
    assert seen(gateway, "/", X_A="1", X_B="2") == "-|2|-"


def test_more_clear_input_headers_with_a_wildcard(moongate):
    gateway = moongate(server="""
        location / { more_clear_input_headers 'X-Hidden*';
            content_by_lua_block { for name in pairs(ngx.req.get_headers()) do ngx.say(name) end } }
    """)
    names = set(seen(gateway, "/", X_Hidden_One="1", X_Hidden="2", X_Hid="3", Y_Hidden="4").split())
    assert names & {"x-hidden-one", "x-hidden", "x-hid", "y-hidden"} == {"x-hid", "y-hidden"}


def test_repeated_request_fields_become_one(moongate):
    gateway = moongate(server="""
        location / { more_set_input_headers 'X-A: new';
            content_by_lua_block { local a = ngx.req.get_headers()["X-A"] ngx.print(type(a), a) } }
        location /clear { more_clear_input_headers X-A;
            content_by_lua_block { ngx.print(tostring(ngx.req.get_headers()["X-A"])) } }
    """)
    for path, expected in (("/", b"stringnew"), ("/clear", b"nil")):
        with gateway.connect() as connection:
            connection.send(b"GET %s HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-B: 2\r\nx-a: 3\r\n\r\n" % path.encode())
            assert connection.read_response().body == expected


def test_r_changes_only_what_is_there(moongate):
    gateway = moongate(server="location / { %s }" % show("more_set_input_headers -r 'X-A: new' 'X-B: new';"))
    assert seen(gateway, "/", X_B="old") == "-|new|-"


def test_t_looks_at_the_request_s_type(moongate):
    gateway = moongate(server="location / { %s }" % show("more_set_input_headers -t 'text/plain text/css' 'X-A: new';"))
    assert seen(gateway, "/", Content_Type="text/css") == "new|-|new"
    assert seen(gateway, "/", Content_Type="text/html") == "-|-|-"
    assert seen(gateway, "/") == "-|-|-"


def test_input_statements_of_all_levels_run(moongate):
    gateway = moongate(http="more_set_input_headers 'X-A: http';", server="""
        location / { %s }
        location /if { if ($arg_x) { more_set_input_headers 'X-B: if'; } %s }
    """ % (show("more_set_input_headers 'X-B: $http_x_a';"), show("")))
    assert seen(gateway, "/") == "http|http|http"
    assert seen(gateway, "/if?x=1").startswith("http|if")
    assert seen(gateway, "/if").startswith("http|-")


def test_host(moongate):
    gateway = moongate(server="""
        location / { more_set_input_headers 'Host: Example.ORG:8080';
            content_by_lua_block { ngx.print(ngx.var.host, "|", ngx.var.http_host) } }
        location /clear { more_clear_input_headers Host;
            content_by_lua_block { ngx.print(ngx.var.http_host or "none") } }
        location /bad { more_set_input_headers 'Host: a/b'; content_by_lua_block { ngx.print("content") } }
    """)
    assert seen(gateway, "/") == "example.org|Example.ORG:8080"
    assert seen(gateway, "/clear") == "none"
    assert b"content" not in gateway.raw(b"GET /bad HTTP/1.0\r\nHost: x\r\n\r\n")


def test_the_upstream_gets_them(moongate, upstream):
    server = upstream()
    gateway = moongate(server=f"""
        location / {{
            more_set_input_headers 'X-A: new' 'User-Agent: faked' 'Cookie: a=b' 'Referer: r';
            more_clear_input_headers X-Secret Accept;
            proxy_pass http://127.0.0.1:{server.port};
        }}
    """)
    gateway.get("/", headers={"X-Secret": "s", "User-Agent": "real", "Cookie": "c=d", "Accept": "x/y"})
    request = server.requests[0]
    assert [request.header(name) for name in ("X-A", "User-Agent", "Cookie", "Referer", "X-Secret", "Accept")] == \
        ["new", "faked", "a=b", "r", None, None]


@pytest.mark.moongate_only  # newer than Debian's package
def test_connection_close(moongate):
    gateway = moongate(server="""
        location /close { more_set_input_headers 'Connection: CLOSE'; content_by_lua_block { ngx.print("x") } }
        location /keep { more_set_input_headers 'X: y'; content_by_lua_block { ngx.print("x") } }
    """)
    with gateway.connect() as connection:
        connection.send(b"GET /keep HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.read_response().header("Connection") == "keep-alive"
        connection.send(b"GET /close HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.read_response().header("Connection") == "close"
        assert connection.is_closed()


# --- what is refused

@pytest.mark.parametrize("statement, complaint", [
    ("more_set_headers -t;", "more_set_headers: option -t takes an argument."),
    ("more_set_headers -s;", "more_set_headers: option -s takes an argument."),
    ("more_set_headers -s 4x4 'A: b';", 'invalid digit "x" found in the status code list "4x4"'),
    ("more_set_headers -x 'A: b';", 'more_set_headers: invalid option name: "-x"'),
    ("more_clear_headers -r A;", 'more_clear_headers: invalid option name: "-r"'),
    ("more_set_input_headers -s 404 'A: b';", 'more_set_input_headers: invalid option name: "-s"'),
    ("more_clear_input_headers -x A;", 'more_clear_input_headers: invalid option name: "-x"'),
    ("more_set_headers ' ';", "more_set_headers: no key found in the header argument:"),
    ("more_clear_headers '*';", "more_clear_headers: wildcard key too short: *"),
    ("more_set_headers;", 'invalid number of arguments in "more_set_headers" directive'),
])
def test_wrong_arguments_are_refused(moongate, statement, complaint):
    assert complaint in refused(moongate, statement)


def test_not_allowed_in_a_server_s_if(moongate):
    tried = moongate(server="if ($arg_x) { more_set_headers 'A: b'; }", start=False).run("-t")
    assert tried.returncode == 1
    assert '"more_set_headers" directive is not allowed here' in tried.stdout + tried.stderr
