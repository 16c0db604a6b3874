"""echo-nginx-module's directives and variables, one test a name, and the order of streamed subrequests."""
import re
import time

import pytest

import harness
from harness import answer

BIG = 300_000  # more than a subrequest may hold while it waits for its turn


def body(moongate, config, path="/t", method="GET", request_body=None, headers=None, **arguments):
    gateway = moongate(server=config, **arguments)
    reply = gateway.request(method, path, headers, request_body)
    assert reply.status == 200, gateway.logs()
    return reply.text


# --- output ---

@pytest.mark.parametrize("line, text", [
    ("echo a 'b c' $uri;", "a b c /t\n"),
    ("echo;", "\n"),
    ('echo "" b;', " b\n"),
    ("echo -n a b;", "a b"),
    ("echo -- -n;", "-n\n"),
    ('set $opt -n; echo $opt a;', "-n a\n"),
    ("echo a -n;", "a -n\n"),
    ("echo -; echo b;", "-\nb\n"),
])
def test_echo(moongate, line, text):
    assert body(moongate, "location /t { %s }" % line) == text


def test_echo_head_type_and_inheritance(moongate):
    gateway = moongate(server="""
        default_type text/x-echo;
        location /a { echo a; location /a/b { } location /a/c { echo c; } }
        location /if { echo outer; if ($arg_x) { echo inner; } if ($arg_y) { set $a b; } }""")
    reply = gateway.get("/a")
    assert reply.header("Content-Type") == "text/x-echo" and reply.header("Content-Length") is None
    assert gateway.get("/a/c").body == b"c\n" and gateway.get("/a/b").status == 404
    assert [gateway.get("/if" + q).body for q in ("", "?x=1", "?y=1")] == [b"outer\n", b"inner\n", b"outer\n"]
    head = gateway.request("HEAD", "/a")
    assert head.status == 200 and head.body == b""


def test_echo_replaces_no_other_handler_below(moongate, upstream):
    other = upstream(answer("proxied"))
    gateway = moongate(server="location / { echo a; } location /p { proxy_pass http://127.0.0.1:%d; }" % other.port)
    assert gateway.get("/p").body == b"proxied"


@pytest.mark.parametrize("count, text", [("3", "ababab"), ("1_0", "ab" * 10), ("0", ""), ("100_000", "ab" * 100_000)],
                         ids=["plain", "underscore", "none", "many"])
def test_echo_duplicate(moongate, count, text):
    assert body(moongate, "location /t { echo_duplicate %s ab; }" % count) == text


def test_echo_duplicate_refuses_what_is_no_count(moongate):
    gateway = moongate(server="location /t { echo_duplicate $arg_n ab; }")
    for count in ("x", "-1", ""):
        assert gateway.get("/t?n=" + count).status == 500
    assert 'invalid size specified: "x"' in gateway.error_log()


def test_echo_flush_sends_at_once(moongate):
    gateway = moongate(server="location /t { echo first; echo_flush; echo_sleep 1; echo second; }")
    with gateway.connect() as client:
        client.send(b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_until(b"first\n")


def test_echo_status(moongate):
    gateway = moongate(server="location /t { echo_status 404; echo gone; } location /d { echo d; }")
    reply = gateway.get("/t")
    assert (reply.status, reply.body) == (404, b"gone\n") and gateway.get("/d").status == 200


# --- time ---

@pytest.mark.parametrize("directive", ["echo_sleep", "echo_blocking_sleep"])
def test_echo_sleep(moongate, directive):
    gateway = moongate(server="location /t { %s $arg_s; echo done; }" % directive)
    start = time.monotonic()
    assert gateway.get("/t?s=0.102").body == b"done\n"
    assert 0.1 <= time.monotonic() - start < 5
    assert gateway.get("/t?s=x").status == 400 and gateway.get("/t?s=-1").status == 400
    assert 'invalid sleep duration "x"' in gateway.error_log()


@pytest.mark.moongate_only
def test_echo_blocking_sleep_does_not_hold_the_worker(moongate):
    gateway = moongate("""worker_processes 1; events { } http { server { listen 127.0.0.1:%PORT%;
        location /t { echo_blocking_sleep 1; } location /q { echo quick; } } }""")
    with gateway.connect() as client:
        client.send(b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n")
        start = time.monotonic()
        assert gateway.get("/q").body == b"quick\n" and time.monotonic() - start < 0.9


def test_echo_timer_elapsed_and_echo_reset_timer(moongate):
    text = body(moongate, """location /t { echo_sleep 0.11; echo $echo_timer_elapsed; echo_reset_timer;
        echo_sleep 0.01; echo $echo_timer_elapsed; }""")
    first, second = text.splitlines()
    assert re.fullmatch(r"\d+\.\d{3}", first) and float(first) >= 0.1 and float(second) < float(first)


# --- the request's body ---

def test_echo_read_request_body_and_echo_request_body(moongate):
    config = "location /t { echo_read_request_body; echo_request_body; } location /n { echo_request_body; echo none; }"
    gateway = moongate(server="client_body_buffer_size 1k; " + config)
    assert gateway.request("POST", "/t", body="small").body == b"small"
    large = "x" * 50000  # in a file
    assert gateway.request("POST", "/t", body=large).text == large
    assert gateway.request("POST", "/n", body="unread").body == b"none\n"
    gateway.allow()


def test_echo_request_body_variable(moongate):
    config = "location /t { echo_read_request_body; echo [$echo_request_body]; }"
    gateway = moongate(server="client_body_buffer_size 1k; client_body_in_file_only off; " + config)
    assert gateway.request("POST", "/t", body="a b").text == "[a b]\n"
    assert gateway.get("/t").text == "[]\n"
    assert gateway.request("POST", "/t", body="x" * 50000).text == "[]\n"


# --- subrequests ---

SUB = """location /sub { echo "$echo_request_method $uri $args [$echo_request_body]"; }"""


def test_echo_location(moongate):
    text = body(moongate, SUB + """location /t { echo before; echo_location /sub; echo_location /sub?a=1;
        echo_location /sub b=2; echo_location /sub?a=1 c=3; echo after; }""")
    assert text == "before\nGET /sub  []\nGET /sub a=1 []\nGET /sub b=2 []\nGET /sub c=3 []\nafter\n"


def test_echo_location_waits_and_async_does_not(moongate):
    config = """location /sub { echo_sleep 0.1; echo sub; }
        location /sync { echo_reset_timer; echo_location /sub; echo_location /sub; echo $echo_timer_elapsed; }
        location /async { echo_reset_timer; echo_location_async /sub; echo_location_async /sub;
                          echo $echo_timer_elapsed; }"""
    gateway = moongate(server=config)
    for path, least, most in (("/sync", 0.2, 5), ("/async", 0, 0.09)):
        first, second, elapsed = gateway.get(path).text.splitlines()
        assert (first, second) == ("sub", "sub") and least <= float(elapsed) <= most


def test_echo_location_async_keeps_order(moongate):
    text = body(moongate, """
        location /sub { echo_sleep $arg_s; echo_flush; echo $arg_s; echo_sleep $arg_s; echo end; }
        location /t { echo a; echo_location_async /sub?s=0.05; echo b; echo_location_async /sub?s=0; echo c;
                      echo_location /sub?s=0.01; echo d; }""")
    assert text.split() == "a 0.05 end b 0 end c 0.01 end d".split()


@pytest.mark.parametrize("directive", ["echo_subrequest", "echo_subrequest_async"])
def test_echo_subrequest(moongate, directive):
    gateway = moongate(server=SUB + """
        location /t { DO POST /sub; DO GET '/sub?x=1'; DO PUT /sub -q a=1 -b 'a body'; DO PURGE /sub -b x;
                      DO POST /sub -f html/file.txt; DO POST /sub -f $document_root/file.txt; }
        location /h { DO HEAD /sub; echo end; }
        root html; location /bad { DO POST /sub -x 1; echo no; }
        location /none { DO POST /sub -f none; }
        """.replace("DO ", directive + " ") + """
        location /file { echo_subrequest POST /body -f html/file.txt; } location /body { echo_request_body; }""",
                       files={"html/file.txt": "from a file"})
    assert gateway.get("/t").text.splitlines() == [
        "POST /sub  []", "GET /sub x=1 []", "PUT /sub a=1 [a body]", "PURGE /sub  [x]", "POST /sub  []", "POST /sub  []"]
    assert gateway.get("/file").body == b"from a file"
    assert gateway.get("/h").body == b"end\n"
    for path in ("/bad", "/none"):
        assert b"no\n" not in gateway.raw(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
    assert "unknown option for echo_subrequest*: -x" in gateway.error_log()
    assert re.search(r'open\(\) "[^"]*none" failed \(2: No such file', gateway.error_log())


def test_echo_location_has_the_parents_body_and_headers(moongate, upstream):
    other = upstream()
    gateway = moongate(server="""location /t { echo_location /sub; echo_subrequest POST /sub -b own; }
        location /sub { proxy_pass http://127.0.0.1:%d; }""" % other.port)
    assert gateway.request("POST", "/t", {"X-A": "1"}, "parent's").status == 200
    first, second = other.requests
    assert (first.body, second.body) == (b"parent's", b"own")
    assert first.header("X-A") == second.header("X-A") == "1"


def test_echo_location_with_an_error_page(moongate):
    text = body(moongate, """error_page 404 /page; root html; location = /page { echo page; }
        location /t { echo_location /none; echo_location /deny; echo end; } location /deny { return 403; }""")
    lines = text.splitlines()
    assert lines[0] == "page" and "<h1>403 Forbidden</h1>" in text and lines[-1] == "end"


def test_echo_location_variables_are_its_own(moongate):
    text = body(moongate, """location /t { set $v main; echo_location /sub; echo $v; }
        location /sub { set $v sub; echo $v; }""")
    assert text == "sub\nmain\n"


def test_echo_location_unsafe_or_cyclic(moongate):
    gateway = moongate(server="location /up { echo_location /../x; echo no; } location /loop { echo x; echo_location /loop; }")
    for path in (b"/up", b"/loop"):
        reply = gateway.raw(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path)
        assert b"no\n" not in reply and not reply.endswith(b"0\r\n\r\n")
    assert 'subrequests cycle while processing "/loop"' in gateway.error_log()


def test_echo_location_nested_order(moongate):
    text = body(moongate, """
        location /t { echo_location_async /mid?n=1; echo a; echo_location_async /mid?n=2; echo b; }
        location /mid { echo "m$arg_n"; echo_location_async /leaf?n=$arg_n&s=0.03; echo "n$arg_n";
                        echo_location_async /leaf?n=$arg_n&s=0; }
        location /leaf { echo_sleep $arg_s; echo "l$arg_n"; }""")
    assert text.split() == "m1 l1 n1 l1 a m2 l2 n2 l2 b".split()


def test_echo_location_async_large_parts_keep_order(moongate):
    config = """location /sub { echo_sleep $arg_s; echo_duplicate %d $arg_c; }
        location /t { echo_location_async '/sub?s=0.05&c=a'; echo_location_async '/sub?s=0&c=b';
                      echo_location_async '/big.bin'; echo_duplicate %d d; }""" % (BIG, BIG)
    text = body(moongate, "root html; " + config, files={"html/big.bin": "c" * BIG})
    assert text == "a" * BIG + "b" * BIG + "c" * BIG + "d" * BIG


def test_echo_location_async_stops_with_a_slow_client(moongate, upstream):
    sent = []

    def pour(request, connection):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        for _ in range(500):
            connection.send(b"z" * 100_000)
            sent.append(100_000)

    other = upstream(pour)
    gateway = moongate(server="""proxy_buffering off;
        location /t { echo_location_async /slow; echo_location_async /p; } location /slow { echo_sleep 0.5; echo x; }
        location /p { proxy_pass http://127.0.0.1:%d; }""" % other.port)
    with gateway.connect() as client:
        client.send(b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_until(b"x\n")
        harness.eventually(lambda: sent)
        amount = -1
        while amount != sum(sent):
            amount = sum(sent)
            time.sleep(0.1)
        assert amount < 40_000_000  # what socket buffers took, and the rest waits


def test_echo_location_runs_the_subrequests_filters(moongate):
    text = body(moongate, """location /t { echo main; echo_location /sub; }
        location /sub { echo sub; body_filter_by_lua_block { ngx.arg[1] = string.upper(ngx.arg[1]) } }""")
    assert text == "main\nSUB\n"


def test_echo_location_to_lua_and_proxy(moongate, upstream):
    other = upstream(answer("proxied\n"))
    text = body(moongate, """location /t { echo_location_async /lua; echo_location_async /p; echo_location /named; }
        location /lua { content_by_lua_block { ngx.sleep(0.02) ngx.say("lua ", tostring(ngx.is_subrequest)) } }
        location /named { echo_exec @n; } location @n { echo named; }
        location /p { proxy_pass http://127.0.0.1:%d; }""" % other.port)
    assert text == "lua true\nproxied\nnamed\n"


def test_echo_location_444_cuts_the_response_off(moongate):
    gateway = moongate(server="location /t { echo a; echo_location /sub; echo b; } location /sub { return 444; }")
    reply = gateway.raw(b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"b\n" not in reply and not reply.endswith(b"0\r\n\r\n")


def test_echo_location_is_cancelled_with_its_client(moongate, upstream):
    state = []

    def wait(request, connection):
        state.append("asked")
        while connection._more():
            pass
        state.append("closed")

    other = upstream(wait)
    gateway = moongate(server="""location /t { echo a; echo_location_async /p; echo_sleep 0.01; echo b; }
        location /p { proxy_pass http://127.0.0.1:%d; }""" % other.port)
    with gateway.connect() as client:
        client.send(b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n")
        harness.eventually(lambda: state)
    harness.eventually(lambda: state == ["asked", "closed"])


@pytest.mark.moongate_only
def test_echo_location_may_be_captured(moongate):
    text = body(moongate, """location /t { content_by_lua_block { ngx.print(ngx.location.capture("/sub").body) } }
        location /sub { echo a; echo_location_async /leaf?s=0.02; echo_location_async /leaf?s=0; echo b; }
        location /leaf { echo_sleep $arg_s; echo $arg_s; }""")
    assert text == "a\n0.02\n0\nb\n"


@pytest.mark.moongate_only
def test_echo_abort_parent(moongate):
    text = body(moongate, """location /t { echo a; echo_location_async /first; echo_location_async /later; echo b; }
        location /first { echo first; echo_abort_parent; echo no; } location /later { echo later; }""")
    assert text == "a\nfirst\n"


# --- loops and jumps ---

@pytest.mark.parametrize("line, text", [
    ("echo_foreach_split '&' $args; echo [$echo_it]; echo_end; echo end;", "[a]\n[b=1]\n[c]\nend\n"),
    ("echo_foreach_split ', ' 'x, y, , z'; echo -n $echo_it; echo_end;", "xyz"),
    ("echo_foreach_split -- -- 1--2; echo $echo_it; echo_end;", "1\n2\n"),
    ("echo_foreach_split x $arg_none; echo $echo_it; echo_end; echo end;", "end\n"),
    ("echo_foreach_split , a,b; echo_location /sub?$echo_it; echo_sleep 0.001; echo_end;", "a\nb\n"),
])
def test_echo_foreach_split_and_echo_it(moongate, line, text):
    assert body(moongate, "location /t { %s } location /sub { echo $args; }" % line, "/t?a&b=1&c") == text


def test_echo_foreach_split_and_echo_end_misplaced(moongate):
    gateway = moongate(server="""
        location /nested { echo_foreach_split , a,b; echo_foreach_split , c,d; echo_end; echo_end; }
        location /end { echo_end; } location /few { echo_foreach_split -x a; echo $echo_it; echo_end; }""")
    assert gateway.get("/nested").status == 500 and gateway.get("/few").status == 500
    assert gateway.raw(b"GET /end HTTP/1.1\r\nHost: a\r\n\r\n") == b""
    log = gateway.error_log()
    assert "Nested echo_foreach not supported yet." in log
    assert "Found a echo_end that has no corresponding echo_foreach before it." in log


def test_echo_exec(moongate):
    gateway = moongate(server="""
        location /to { echo "$uri $args"; } location @named { echo "named $uri $args"; }
        location /a { echo_exec /to; } location /b { echo_exec /to?x=1; } location /c { echo_exec /to y=2; }
        location /d { echo_exec @named; } location /e { echo_exec @named z=3; } location /f { echo_exec $arg_none; }""")
    assert [gateway.get(f"/{name}?q=0").text for name in "abcd"] == [
        "/to \n", "/to x=1\n", "/to y=2\n", "named /d q=0\n"]
    assert gateway.get("/e").text == "named /e \n" and gateway.get("/f").status == 400
    assert "querystring z=3 ignored when exec'ing named location @named" in gateway.error_log()


# --- around other handlers' bodies ---

def test_echo_before_body_and_echo_after_body(moongate, upstream):
    other = upstream(answer("proxied\n"))
    gateway = moongate(server="""
        location /t { echo_before_body a $uri; echo_before_body -n b; echo -n '|'; echo_after_body -n c; echo_after_body d; }
        location /p { echo_before_body a; echo_after_body z; proxy_pass http://127.0.0.1:%d; }
        location /l { echo_before_body a; content_by_lua_block { ngx.say("lua") } }
        location /s { echo_before_body a; echo_location /sub; echo_after_body z; } location /sub { echo sub; }"""
                       % other.port)
    assert gateway.get("/t").text == "a /t\nb|cd\n"
    reply = gateway.get("/p")
    assert reply.body == b"a\nproxied\nz\n" and reply.header("Content-Length") is None
    assert gateway.get("/l").body == b"a\nlua\n" and gateway.get("/s").body == b"a\nsub\nz\n"
    assert gateway.request("HEAD", "/p").body == b""


# --- variables ---

def test_echo_request_method_and_echo_client_request_method(moongate):
    text = body(moongate, """location /t { echo_subrequest PUT /sub; }
        location /sub { echo $echo_request_method $echo_client_request_method $request_method; }""",
                method="POST", request_body="")
    assert text == "PUT POST POST\n"


def test_echo_request_uri_and_echo_cacheable_request_uri(moongate):
    text = body(moongate, """location /t { echo $echo_request_uri $echo_cacheable_request_uri; echo_location /sub; }
        location /sub { set $x $echo_request_uri; set $y $echo_cacheable_request_uri; rewrite ^ /end break;
                        echo $echo_request_uri $echo_cacheable_request_uri $request_uri; }""", path="/t?a=1")
    assert text == "/t /t\n/end /sub /t?a=1\n"


def test_echo_client_request_headers(moongate):
    gateway = moongate(server="""location /t { echo_location /sub; } location /sub { echo -n $echo_client_request_headers; }""")
    head = b"GET /t?a HTTP/1.1\r\nHost: a\r\nX-Odd:  two  words\r\nconnection: close\r\n\r\n"
    assert head in gateway.raw(head)
    assert head in gateway.raw(b"\r\n" + head)


def test_echo_incr(moongate):
    assert body(moongate, """location /t { echo $echo_incr; echo_location /sub; echo_location_async /sub; echo $echo_incr; }
        location /sub { echo $echo_incr; }""").split()[:2] == ["1", "2"]


def test_echo_response_status(moongate):
    gateway = moongate(http="log_format s '<$echo_response_status>';", server="""access_log logs/access.log s;
        location /t { echo [$echo_response_status]; } location /n { return 404; }""")
    assert gateway.get("/t").body == b"[]\n" and gateway.get("/n").status == 404
    harness.eventually(lambda: (gateway.prefix / "logs/access.log").read_text().split() == ["<200>", "<404>"])


def test_header_filter_refuses_what_echo_sends(moongate):
    gateway = moongate(server="""error_page 582 = /page;
        location /t { echo ok; header_filter_by_lua_block { return ngx.exit(582) } }
        location /page { echo page; header_filter_by_lua_block { return ngx.exit(302) } }""")
    assert gateway.get("/t").status == 302
