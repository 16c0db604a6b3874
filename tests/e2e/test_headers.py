"""add_header, add_trailer, expires, allow and deny."""
import email.utils
import time

import pytest


def test_add_header_goes_to_successful_responses_and_always_to_all(moongate):
    gateway = moongate(server="""
        add_header X-Some "v $arg_x";
        add_header X-All all always;
        add_header X-Empty $arg_none;
        location /ok { return 200 x; }
        location /bad { return 404 x; }
    """)
    good, bad = gateway.get("/ok?x=1"), gateway.get("/bad?x=1")
    assert (good.header("X-Some"), good.header("X-All"), good.header("X-Empty")) == ("v 1", "all", None)
    assert (bad.header("X-Some"), bad.header("X-All")) == (None, "all")


def test_a_level_with_headers_of_its_own_inherits_none(moongate):
    gateway = moongate(http="add_header X-Http 1;", server="""
        location /inherits { return 200 x; }
        location /own { add_header X-Own 1; return 200 x; }
    """)
    assert gateway.get("/inherits").header("X-Http") == "1"
    own = gateway.get("/own")
    assert (own.header("X-Http"), own.header("X-Own")) == (None, "1")


@pytest.mark.moongate_only
def test_add_header_inherit(moongate):
    gateway = moongate(http="add_header X-Http 1;", server="""
        location /merge { add_header_inherit merge; add_header X-Own 1; return 200 x; }
        location /off { add_header_inherit off; return 200 x; }
    """)
    merged = gateway.get("/merge")
    assert (merged.header("X-Http"), merged.header("X-Own")) == ("1", "1")
    assert gateway.get("/off").header("X-Http") is None


def test_fields_with_a_meaning_are_replaced_others_added(moongate):
    gateway = moongate(files={"html/f": "x"}, server="""
        root html;
        location = /f { add_header ETag '"mine"'; add_header Last-Modified "";
                        add_header Cache-Control a; add_header Cache-Control b; }
    """)
    answer = gateway.get("/f")
    assert answer.all("ETag") == ['"mine"']
    assert answer.header("Last-Modified") is None
    assert answer.all("Cache-Control") == ["a", "b"]


def seconds_until(answer):
    return email.utils.parsedate_to_datetime(answer.header("Expires")).timestamp() - time.time()


@pytest.mark.parametrize("value, control, seconds", [
    ("1h", "max-age=3600", 3600), ("-1", "no-cache", -1), ("0", "max-age=0", 0), ("modified +1h", "max-age=3600", 3600),
    ("$arg_e", "max-age=86400", 86400),
])
def test_expires(moongate, value, control, seconds):
    gateway = moongate(server=f"expires {value}; return 200 x;")
    answer = gateway.get("/?e=1d")
    assert answer.header("Cache-Control") == control
    assert abs(seconds_until(answer) - seconds) < 3


def test_fixed_and_daily_expires(moongate):
    gateway = moongate(server="""
        location /epoch { expires epoch; return 200 x; }
        location /max { expires max; return 200 x; }
        location /off { expires off; return 200 x; }
        location /daily { expires @23h59m; return 200 x; }
        location /error { expires 1h; return 404 x; }
    """)
    epoch = gateway.get("/epoch")
    assert (epoch.header("Expires"), epoch.header("Cache-Control")) == ("Thu, 01 Jan 1970 00:00:01 GMT", "no-cache")
    assert gateway.get("/max").header("Cache-Control") == "max-age=315360000"
    assert gateway.get("/off").header("Expires") is None
    assert gateway.get("/error").header("Expires") is None
    daily = gateway.get("/daily")
    assert 0 <= int(daily.header("Cache-Control").removeprefix("max-age=")) <= 86400
    assert daily.header("Expires").endswith(":59:00 GMT")


def test_trailers_come_behind_a_chunked_body(moongate):
    gateway = moongate(server="""
        location /ok { add_trailer X-End "t $arg_x"; return 200 body; }
        location /bad { add_trailer X-End t; return 404 body; }
    """)
    with gateway.connect() as connection:
        connection.send(b"GET /ok?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = connection.read_response()
        assert answer.header("Transfer-Encoding") == "chunked"
        assert (answer.body, answer.trailers) == (b"body", [("X-End", "t 1")])
        connection.send(b"GET /bad HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = connection.read_response()
        assert (answer.header("Content-Length"), answer.body) == ("4", b"body")
    assert b"X-End" not in gateway.raw(b"GET /ok HTTP/1.0\r\n\r\n")


def test_allow_and_deny(moongate):
    gateway = moongate(files={"html/f": "x", "html/in/f": "in"}, server="""
        root html;
        location /f { deny all; }
        location /in { allow 127.0.0.0/8; deny all; }
        location /none { allow ::1; allow 10.0.0.0/8; deny 127.0.0.1; }
    """)
    assert gateway.get("/f").status == 403
    assert "access forbidden by rule" in gateway.error_log()
    assert gateway.get("/in/f").body == b"in"
    assert gateway.get("/none").status == 403


@pytest.mark.parametrize("directive, message", [
    ("expires x;", '"expires" directive invalid value'),
    ("expires modified @1h;", '"expires" directive daily time cannot be used with "modified" parameter'),
    ("expires @25h;", '"expires" directive daily time value must be less than 24 hours'),
    ("expires 1h; expires 2h;", '"expires" directive is duplicate'),
    ("add_header A b c;", 'invalid parameter "c"'),
    ("allow 1.2.3.4/33;", 'invalid parameter "1.2.3.4/33"'),
    ("deny example.org;", 'invalid parameter "example.org"'),
])
def test_bad_values_are_refused_with_nginx_s_words(moongate, directive, message):
    result = moongate(server=directive, start=False).run("-t")
    assert result.returncode == 1
    assert message in result.stderr
