"""Request values that end up in headers, redirects, upstream requests and log lines must stay inside them."""
import json
import re

import pytest

import harness
from wire import PROXY, Recorder, exchange, request, status_of


def lines_of(answer):
    """The head's lines; a bare CR or LF within the head is a failure by itself."""
    head = answer.split(b"\r\n\r\n", 1)[0]
    assert b"\n" not in head.replace(b"\r\n", b"") and b"\r" not in head.replace(b"\r\n", b""), answer
    return head.split(b"\r\n")


INJECTED = b"a%0d%0aSet-Cookie:%20evil=1%0d%0a%0d%0aHTTP/1.1%20200%20OK"


def get(gateway, target):
    answer, closed = exchange(gateway, request(target, b"Connection: close\r\n", method=b"GET"))
    assert closed, answer
    return answer


# $1 of a location is a decoded piece of the URI: the way CR and LF reach a directive.
PLACES = {
    "add_header": "location ~ ^/x/(?s:(.*))$ { add_header X-Part $1; return 204; }",
    "add_header uri": "location /x/ { add_header X-Part $uri; return 204; }",
    "add_header document_uri": "location /x/ { add_header X-Part $document_uri always; return 403; }",
    "return url": "location ~ ^/x/(?s:(.*))$ { return 302 http://b/$1; }",
    "return local": "location /x/ { return 301 /y$uri; }",
    "rewrite redirect": "location /x/ { rewrite (?s)^/x/(.*)$ http://b/$1 redirect; }",
    "rewrite permanent": "location /x/ { rewrite (?s)^/x/(.*)$ /y/$1 permanent; }",
    "set then return": "location ~ ^/x/(?s:(.*))$ { set $v $1; return 302 /y?$v; }",
    "error_page url": "location ~ ^/x/(?s:(.*))$ { error_page 403 http://b/$1; deny all; }",
    "map": "location /x/ { add_header X-Part $mapped; return 204; }",
}


@pytest.mark.moongate_only
@pytest.mark.parametrize("place", PLACES)
def test_decoded_crlf_does_not_split_a_response(moongate, place):
    gateway = moongate(http="map $uri $mapped { ~(?s)^/x/(?<rest>.*)$ $rest; }", server=PLACES[place])
    answer = get(gateway, b"/x/" + INJECTED)
    assert status_of(answer) is not None, answer
    for line in lines_of(answer):
        assert not line.lower().startswith((b"set-cookie", b"http/1.1 200 ok")), answer
    assert answer.count(b"\r\n\r\n") <= 1 or b"<html>" in answer.split(b"\r\n\r\n", 1)[1], answer
    assert get(gateway, b"/x/fine")


UPSTREAM_PLACES = {
    "proxy_set_header": "location ~ ^/x/(?s:(.*))$ { proxy_set_header X-Part $1; proxy_pass http://127.0.0.1:%UPSTREAM%; }",
    "proxy_set_header host": "location ~ ^/x/(?s:(.*))$ { proxy_set_header Host $1; proxy_pass http://127.0.0.1:%UPSTREAM%; }",
    "proxy_set_header uri": "location /x/ { proxy_set_header X-Part $uri; proxy_pass http://127.0.0.1:%UPSTREAM%; }",
    "proxy_pass variable": "location ~ ^/x/(?s:(.*))$ { proxy_pass http://127.0.0.1:%UPSTREAM%/y/$1; }",
    "proxy_pass uri": "location /x/ { proxy_pass http://127.0.0.1:%UPSTREAM%/y/; }",
    "rewrite break": "location /x/ { rewrite (?s)^/x/(.*)$ /y/$1 break; proxy_pass http://127.0.0.1:%UPSTREAM%; }",
    "rewrite args": "location /x/ { rewrite (?s)^/x/(.*)$ /y?q=$1 break; proxy_pass http://127.0.0.1:%UPSTREAM%; }",
    "set args": "location ~ ^/x/(?s:(.*))$ { set $args $1; proxy_pass http://127.0.0.1:%UPSTREAM%; }",
    "proxy_method": "location ~ ^/x/(?s:(.*))$ { proxy_method $1; proxy_pass http://127.0.0.1:%UPSTREAM%; }",
}


@pytest.fixture
def recorder():
    recorder = Recorder()
    yield recorder
    recorder.close()


@pytest.mark.moongate_only
@pytest.mark.parametrize("place", UPSTREAM_PLACES)
def test_decoded_crlf_does_not_split_an_upstream_request(moongate, recorder, place):
    gateway = moongate(server=UPSTREAM_PLACES[place], upstream=recorder.port)
    answer = get(gateway, b"/x/a%0d%0aEvil:%20yes%0d%0a%0d%0aGET%20/second%20HTTP/1.1%0d%0aHost:%20a%0d%0a%0d%0a")
    assert status_of(answer) in (200, 400, 500, 502), answer
    received = recorder.received
    assert received.count(b"\r\n\r\n") <= 1, received
    for line in received.split(b"\r\n")[1:]:
        assert not line.startswith((b"Evil", b"GET /second")), received
    assert b"\n" not in received.replace(b"\r\n", b""), received
    if received:
        assert re.fullmatch(rb"[^ \r\n]+ [^ \r\n]+ HTTP/1\.[01]", received.split(b"\r\n", 1)[0]), received


def test_an_encoded_uri_is_passed_as_it_came(moongate, recorder):
    gateway = moongate(server=PROXY, upstream=recorder.port)
    target = b"/x/%0d%0a%20%23%3f%25%2e./a//b?x=%0d%0a"
    assert status_of(get(gateway, target)) == 200
    assert recorder.received.startswith(b"GET " + target + b" HTTP/1.1\r\n"), recorder.received


def test_a_normalised_uri_is_escaped_again(moongate, recorder):
    gateway = moongate(server="location /x/ { proxy_pass http://127.0.0.1:%UPSTREAM%/y/; }", upstream=recorder.port)
    assert status_of(get(gateway, b"/x/%20%23%3f%25%0a%7f%e4")) == 200
    target = recorder.received.split(b" ", 2)[1]
    assert target.lower() in (b"/y/%20%23%3f%25%0a%7f%e4",), recorder.received


LOGGED = b'/x"%22%0a%5c\\%1b[31m%7f%c3%a4?q="\\%0aEVIL'


@pytest.mark.parametrize("escape, check", [
    ("default", lambda line: re.fullmatch(r'"[^"\x00-\x1f\x7f-\xff]*" "[^"\x00-\x1f]*"\n', line)),
    ("json", lambda line: json.loads(line)),
])
def test_a_log_line_stays_one_line(moongate, escape, check):
    form = '\'"$uri" "$http_user_agent"\'' if escape == "default" else '\'{"uri":"$uri","agent":"$http_user_agent"}\''
    gateway = moongate(http=f"log_format probe escape={escape} {form};",
                       server="access_log %PREFIX%/logs/a.log probe; location / { return 204; }")
    answer, _ = exchange(gateway, request(LOGGED, b'User-Agent: a"b\\c\r\nConnection: close\r\n', method=b"GET"))
    assert status_of(answer) == 204
    log = gateway.prefix / "logs/a.log"
    text = harness.eventually(lambda: log.read_bytes()).decode("latin-1")
    assert text.count("\n") == 1 and "\x1b" not in text, text
    assert check(text.encode("latin-1").decode("utf-8", "replace") if escape == "json" else text), text


@pytest.mark.moongate_only
def test_the_error_log_takes_no_terminal_controls(moongate):
    """CVE-2009-4487: escape sequences of a request written to a terminal."""
    gateway = moongate(server="root html;")
    get(gateway, b"/missing%1b[31m%0d2026/01/01 fake" .replace(b" ", b"%20"))
    exchange(gateway, b"GET /\x1b[31m HTTP/1.1\r\nHost: a\r\nX: \x1b]2;x\x07\r\n\r\n")
    exchange(gateway, b"\x1b]2;title\x07 / HTTP/1.1\r\n\r\n")
    log = harness.eventually(lambda: (gateway.prefix / "logs/error.log").read_bytes())
    harness.eventually(lambda: "missing" in gateway.error_log())
    log = (gateway.prefix / "logs/error.log").read_bytes()
    assert b"\x1b" not in log and b"\x07" not in log and b"\r" not in log, log
    for line in log.splitlines():
        assert re.match(rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\w+\] ", line), line


@pytest.mark.moongate_only
def test_the_error_log_stays_one_line_a_message(moongate):
    gateway = moongate(server="root html;")
    get(gateway, b"/missing%0afake")
    harness.eventually(lambda: "missing" in gateway.error_log())
    assert not any(line.startswith("fake") for line in gateway.error_log().splitlines())


def test_regexes_with_captures_at_the_edges(moongate):
    """CVE-2026-42945, -9256, -42533: lengths of captures that are escaped, overlapping, empty or absent."""
    gateway = moongate(http="""
        map $uri $tail { default none; ~^/m/(?<whole>(?<head>.)(?<rest>.*))$ $head-$rest-$whole; ~^/e/()(x)?$ "[$1$2]"; }
        map $arg_k $twice { default d; ~^(.*)$ $1$1; }
    """, server="""
        location /m/ { return 200 "$tail"; }
        location /e/ { return 200 "$tail"; }
        location /k { return 200 "$twice"; }
        location /r/ { rewrite ^/r/((.)(.*))$ /out?a=$1&b=$2&c=$3&d=$4 last; return 404; }
        location /q/ { rewrite ^/q/(.*)$ /out/$1?x=$1 last; return 404; }
        location /w/ { rewrite ^/w/(.*)$ http://b/$1$1$1?$1 redirect; }
        location ~ ^/n/(?<one>[^/]*)/(?<two>.*)$ { return 200 "$one|$two|$1|$2|$3"; }
        location /out { return 200 "$uri?$args"; }
    """)
    assert gateway.get("/m/abc").text == "a-bc-abc"
    assert gateway.get("/e/").text == "[]" and gateway.get("/e/x").text == "[x]"
    assert gateway.get("/k?k=" + "z" * 3000).text == "z" * 6000
    assert gateway.get("/r/abc").text == "/out?a=abc&b=a&c=bc&d="
    assert gateway.get("/q/a%2520b").text == "/out/a%20b?x=a%2520b"
    assert gateway.get("/n/x/").text == "x||x||"
    # Every byte grows to three when it is escaped in the redirect.
    for part in ("%25" * 500, "%20" * 900, "+" * 2000, "%ff" * 700):
        response = gateway.get("/w/" + part)
        assert response.status == 302 and response.header("Location").startswith("http://b/"), part[:9]
        location = response.header("Location")
        assert not re.search(r"[\x00-\x20\x7f]", location), location[:100]
    assert gateway.get("/k?k=1").text == "11"
