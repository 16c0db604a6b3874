"""set, if, return, rewrite, break: what nginx does with them, quirks included."""
import pytest

import harness

SHOW = 'location /show { return 200 "uri=$uri args=$args\\n"; }'


def test_return_sends_text_with_the_location_s_type(moongate):
    gateway = moongate(server="""
        location /plain { default_type text/x-own; return 200 "hi $arg_name\\n"; }
        location /page.html { types { text/html html; } return 404 "<p>"; }
        location /none { return 204; }
        location /empty { return 200; }
    """)
    answer = gateway.get("/plain?name=Ada")
    assert (answer.status, answer.body, answer.header("Content-Type")) == (200, b"hi Ada\n", "text/x-own")
    answer = gateway.get("/page.html")
    assert (answer.status, answer.body, answer.header("Content-Type")) == (404, b"<p>", "text/html")
    answer = gateway.get("/none")
    assert (answer.status, answer.body, answer.header("Content-Length")) == (204, b"", None)
    assert gateway.get("/empty").header("Content-Length") == "0"
    head = gateway.request("HEAD", "/plain?name=Ada")
    assert (head.body, head.header("Content-Length")) == (b"", "7")


def test_nothing_runs_after_return(moongate):
    gateway = moongate(server='location / { root html; return 200 "x"; }')
    assert gateway.get("/missing").body == b"x"
    assert "open()" not in gateway.error_log()


def test_return_redirects(moongate):
    gateway = moongate(server="""
        location /a { return 301 /to?x=1; }
        location /b { return http://example.org$request_uri; }
        location /c { return 308 $scheme://example.org/; }
        location /d { absolute_redirect off; return 302 /to; }
    """)
    answer = gateway.get("/a")
    assert (answer.status, answer.header("Location")) == (301, f"http://127.0.0.1:{gateway.port}/to?x=1")
    assert b"301 Moved Permanently" in answer.body
    assert gateway.get("/b?q").header("Location") == "http://example.org/b?q"
    answer = gateway.get("/c")
    assert (answer.status, answer.header("Location")) == (308, "http://example.org/")
    assert gateway.get("/d").header("Location") == "/to"


def test_return_444_closes_without_a_word(moongate):
    gateway = moongate(server="return 444;")
    assert gateway.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == b""


def test_pipelined_returns_answer_in_order(moongate):
    gateway = moongate(server='return 200 "$arg_n;";')
    with gateway.connect() as connection:
        connection.send(b"".join(b"GET /?n=%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(20)))
        assert b"".join(connection.read_response().body for _ in range(20)) == b"".join(b"%d;" % n for n in range(20))


@pytest.mark.parametrize("query, body", [
    ("x=a", "equal"), ("x=b", "b"), ("", "not b"), ("n=0", "zero"), ("n=1", "one"),
])
def test_if_compares(moongate, query, body):
    gateway = moongate(server="""
        set $zero zero;
        if ($arg_n = 1) { return 200 one; }
        if ($arg_n) { set $zero nonzero; }
        if ($arg_n = 0) { return 200 $zero; }
        if ($arg_x = a) { return 200 equal; }
        if ($arg_x != b) { return 200 "not b"; }
        return 200 b;
    """)
    assert gateway.get("/?" + query).text == body


def test_captures_outlive_if_and_a_mismatch_clears_them(moongate):
    gateway = moongate(server="""
        location / {
            set $named -;
            if ($arg_x ~ ^(\\d+)-(?<named>\\d+)$) { set $kept "$2/$1"; }
            set $after "$1";
            if ($arg_x ~* ^AB(.)) { set $kept "caseless $1"; }
            return 200 "$kept|$named|$after|$1";
        }
    """)
    assert gateway.get("/?x=12-34").text == "34/12|34|12|"
    assert gateway.get("/?x=abC").text == "caseless C|-||C"


def test_if_tests_files(moongate):
    gateway = moongate(files={"html/file": "x", "html/folder/x": "x"}, server="""
        set $is "";
        if (-f %PREFIX%/html/$arg_x) { set $is "$is f"; }
        if (-d %PREFIX%/html/$arg_x) { set $is "$is d"; }
        if (-e %PREFIX%/html/$arg_x) { set $is "$is e"; }
        if (!-f %PREFIX%/html/$arg_x) { set $is "$is !f"; }
        if (!-d %PREFIX%/html/$arg_x) { set $is "$is !d"; }
        if (!-e %PREFIX%/html/$arg_x) { set $is "$is !e"; }
        return 200 $is;
    """)
    assert gateway.get("/?x=file").text == " f e !d"
    assert gateway.get("/?x=folder").text == " d e !f"
    assert gateway.get("/?x=none").text == " !f !d !e"


def test_if_changes_settings_and_inherits_the_rest(moongate):
    gateway = moongate(files={"html/f": "outer", "other/f": "inner"}, server="""
        location / {
            root html;
            add_header X-Out 1;
            if ($arg_a) { add_header X-In 1; }
            if ($arg_r) { root other; }
        }
    """)
    plain, added, moved = gateway.get("/f"), gateway.get("/f?a=1"), gateway.get("/f?r=1")
    assert (plain.header("X-Out"), plain.header("X-In")) == ("1", None)
    assert (added.header("X-Out"), added.header("X-In")) == (None, "1")
    assert (plain.body, added.body, moved.body) == (b"outer", b"outer", b"inner")


def test_rewrite_last_searches_again_and_break_does_not(moongate):
    gateway = moongate(files={"html/file": "file"}, server="""
        root html;
        location /last { rewrite ^/last/(.*)$ /show/$1 last; return 200 never; }
        location /break { rewrite ^ /file break; return 200 never; }
        location /chain { rewrite ^/chain/(.*)$ /x/$1; rewrite ^/x/(.*)$ /show/[$1]; }
    """ + SHOW)
    assert gateway.get("/last/a?k=v").text == "uri=/show/a args=k=v\n"
    assert gateway.get("/break/a").text == "file"
    assert gateway.get("/chain/a").text == "uri=/show/[a] args=\n"


def test_rewrite_of_arguments(moongate):
    gateway = moongate(server="""
        location /add { rewrite ^/add/(.*)$ /show?p=$1 last; }
        location /drop { rewrite ^ /show? last; }
        location /replace { rewrite ^/replace/(.*)$ /show?p=$1? last; }
        location /out { rewrite ^/out/(.*)$ /to/$1?p=$1 permanent; }
        location /http { rewrite ^/http/(.*)$ http://example.org/$1; }
    """ + SHOW)
    assert gateway.get("/add/a?k=v").text == "uri=/show args=p=a&k=v\n"
    assert gateway.get("/drop?k=v").text == "uri=/show args=\n"
    assert gateway.get("/replace/a?k=v").text == "uri=/show args=p=a\n"
    answer = gateway.get("/out/a?k=v")
    assert (answer.status, answer.header("Location")) == (301, f"http://127.0.0.1:{gateway.port}/to/a?p=a&k=v")
    answer = gateway.get("/http/x?k")
    assert (answer.status, answer.header("Location")) == (302, "http://example.org/x?k")


def test_captures_of_an_escaped_uri_are_escaped_in_arguments(moongate):
    gateway = moongate(server="""
        location /args { rewrite ^/args/(.*)$ /show/$1?q=$1 last; }
        location /out { rewrite ^/out/(.*)$ /to/$1 redirect; }
    """ + SHOW)
    assert gateway.get("/args/a%20b%26c").text == "uri=/show/a b&c args=q=a%20b%26c\n"
    assert gateway.get("/out/a%20b").header("Location").endswith("/to/a%20b")
    # HARDENING 13: overlapping and repeated captures, each longer escaped than not.
    part = "%25" * 300
    assert gateway.get(f"/args/{part}").text == f"uri=/show/{'%' * 300} args=q={part}\n"


def test_a_rewrite_cycle_ends(moongate):
    gateway = moongate(server="location / { rewrite ^ /x last; }")
    assert gateway.get("/").status == 500
    assert 'rewrite or internal redirection cycle while processing "/x"' in gateway.error_log()


def test_server_level_scripts_run_first(moongate):
    gateway = moongate(server="""
        set $from server;
        rewrite ^/old/(.*)$ /new/$1;
        location /new { set $from "$from+location"; return 200 "$uri $from"; }
    """)
    assert gateway.get("/old/a").text == "/new/a server+location"


def test_an_empty_uri_and_an_uninitialized_variable_are_logged(moongate):
    gateway = moongate(server="""
        location /empty { rewrite ^ $arg_none? last; }
        location /unset { if ($arg_x) { set $later 1; } return 200 "[$later]"; }
    """)
    assert gateway.get("/empty").status == 500
    assert "the rewritten URI has a zero length" in gateway.error_log()
    assert gateway.get("/unset").text == "[]"
    assert 'using uninitialized "later" variable' in gateway.error_log()


def test_rewrite_log_tells_what_matched(moongate):
    gateway = moongate(server="rewrite_log on; rewrite ^/(a)$ /b?c=$1; rewrite no /x; return 200 x;")
    gateway.get("/a")
    log = gateway.error_log()
    assert '"^/(a)$" matches "/a"' in log
    assert 'rewritten data: "/b", args: "c=a"' in log
    assert '"no" does not match "/b"' in log


@pytest.mark.parametrize("directives, message", [
    ("if ($x", 'invalid condition "$x"'),
    ("if (x) { }", 'invalid condition "x"'),
    ("set $x 1; if ($x == 1) { }", 'unexpected "==" in condition'),
    ("set $x 1; if ($x = 1 2) { }", 'invalid condition "$x"'),
    ("if (-q /x) { }", 'invalid condition "-q"'),
    ("if ($nobody) { }", 'unknown "nobody" variable'),
    ("return 1000;", 'invalid return code "1000"'),
    ("return x;", 'invalid return code "x"'),
    ("set x 1;", 'invalid variable name "x"'),
    ("set $uri 1;", 'the duplicate "uri" variable'),
    ("rewrite a b c;", 'invalid parameter "c"'),
    ('rewrite a "";', "empty replacement"),
    ("rewrite ( /;", "pcre2_compile() failed: missing closing parenthesis"),
])
def test_bad_directives_are_refused_with_nginx_s_words(moongate, directives, message):
    if directives == "if ($x":
        directives = "if ($x { }"
    gateway = moongate(server=directives, start=False)
    result = gateway.run("-t")
    assert result.returncode == 1
    assert message in result.stderr
