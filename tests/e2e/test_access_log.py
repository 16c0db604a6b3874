"""access_log and log_format."""
import json
import re
import signal

import pytest

import harness


def lines(gateway, name="access.log", count=1):
    path = gateway.prefix / "logs" / name
    return harness.eventually(lambda: path.exists() and (found := path.read_text().splitlines())
                              and len(found) >= count and found, what=f"{count} lines in {name}")


HTTP = """
    events { }
    http {
        %s
        server { listen 127.0.0.1:%%PORT%%; %s location / { return 200 "body\\n"; } }
    }
"""


def test_combined_is_the_default(moongate):
    gateway = moongate(HTTP % ("access_log logs/access.log;", ""))
    gateway.get("/a?b", headers={"User-Agent": "test", "Referer": "http://r/"})
    assert re.fullmatch(r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /a\?b HTTP/1\.1" 200 5 '
                        r'"http://r/" "test"', lines(gateway)[0])


@pytest.mark.moongate_only
def test_without_any_access_log_there_is_one(moongate):
    gateway = moongate(HTTP % ("", ""))
    gateway.get("/a")
    assert '"GET /a HTTP/1.1" 200 5 "-"' in lines(gateway)[0]


def test_off_makes_no_file(moongate):
    gateway = moongate(HTTP % ("access_log off;", ""))
    gateway.get("/a")
    gateway.stop()
    assert not (gateway.prefix / "logs/access.log").exists()


def test_escaping(moongate):
    gateway = moongate(HTTP % ("""
        log_format plain  '[$http_x] [$http_none] ${arg_a}z';
        log_format json   escape=json '{"x":"$http_x","none":"$http_none"}';
        log_format none   escape=none '$http_x|$http_none|';
        access_log logs/plain plain; access_log logs/json json; access_log logs/none none;
    """, ""))
    gateway.get("/?a=1", headers={"X": 'q"b\\t\tu\xe9'.encode("latin-1")})
    assert lines(gateway, "plain")[0] == '[q\\x22b\\x5Ct\\x09u\\xE9] [-] 1z'
    raw = (gateway.prefix / "logs/json").read_bytes().decode("latin-1")
    assert json.loads(raw) == {"x": 'q"b\\t\tu\xe9', "none": ""}
    assert (gateway.prefix / "logs/none").read_bytes() == b'q"b\\t\tu\xe9||\n'


def test_figures_of_a_request(moongate):
    gateway = moongate(HTTP % ("""
        log_format f '$status $body_bytes_sent $bytes_sent $request_length $request_time $msec';
        access_log logs/access.log f;
    """, "location /missing { return 404 gone; }"))
    request = b"GET /missing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = gateway.raw(request)
    status, body, sent, length, seconds, now = lines(gateway)[0].split()
    assert (status, body, int(sent), int(length)) == ("404", "4", len(answer), len(request))
    assert re.fullmatch(r"\d+\.\d{3}", seconds) and re.fullmatch(r"\d{10}\.\d{3}", now)


def test_conditions_and_levels(moongate):
    gateway = moongate(HTTP % ("log_format uri $uri; access_log logs/outer uri if=$arg_log;", """
        location /own { access_log logs/own uri; return 200 x; }
        location /off { access_log off; return 200 x; }
    """))
    for path in ("/a?log=0", "/b?log=", "/c", "/own", "/off?log=1", "/d?log=1"):
        gateway.get(path)
    assert lines(gateway, "outer") == ["/d"]
    assert lines(gateway, "own") == ["/own"]


def test_buffered_lines_come_when_the_buffer_is_full_or_the_time_is_up_or_at_the_end(moongate):
    gateway = moongate(HTTP % ("""
        log_format uri $uri;
        access_log logs/full uri buffer=32;
        access_log logs/timed uri buffer=4k flush=50ms;
        access_log logs/end uri buffer=4k;
    """, ""))
    for n in range(10):
        gateway.get(f"/{n:07}")
    # Three lines of nine bytes fit; the tenth line pushes the ninth out at the latest.
    assert len(lines(gateway, "full", 9)) == 9
    assert len(lines(gateway, "timed", 10)) == 10
    assert (gateway.prefix / "logs/end").read_text() == ""
    gateway.stop()
    expected = [f"/{n:07}" for n in range(10)]
    assert [lines(gateway, name, 10) for name in ("full", "timed", "end")] == [expected] * 3


def test_variables_in_the_name(moongate):
    gateway = moongate(files={"html/x": ""}, config=HTTP % ("""
        log_format uri $uri;
        open_log_file_cache max=2;
        access_log logs/$arg_who.log uri;
    """, "root html;"))
    for who in ("ada", "bob", "cyd", "ada"):
        gateway.get(f"/{who}?who={who}")
    assert lines(gateway, "ada.log", 2) == ["/ada", "/ada"]
    assert lines(gateway, "bob.log") == ["/bob"]


def test_files_are_opened_again_on_usr1(moongate):
    gateway = moongate(HTTP % ("log_format uri $uri; access_log logs/access.log uri;", ""))
    gateway.get("/before")
    lines(gateway)
    log = gateway.prefix / "logs/access.log"
    log.rename(gateway.prefix / "logs/old")
    gateway.send_signal(signal.SIGUSR1)
    harness.eventually(log.exists, what="the new file")

    def arrives():
        gateway.get("/after")
        return log.read_text()
    assert harness.eventually(arrives).startswith("/after")
    assert (gateway.prefix / "logs/old").read_text().startswith("/before\n")


@pytest.mark.parametrize("directives, message", [
    ("access_log logs/a nope;", 'unknown log format "nope"'),
    ("log_format a x; log_format a y;", 'duplicate "log_format" name "a"'),
    ("log_format combined x;", 'duplicate "log_format" name "combined"'),
    ("log_format a escape=x y;", 'unknown log format escaping "x"'),
    ("log_format a $;", 'invalid parameter "$"'),
    ("log_format a ${x;", 'the closing bracket in "x" variable is missing'),
    ("log_format a $nobody; access_log logs/a a;", 'unknown "nobody" variable'),
    ("access_log off x;", 'invalid parameter "x"'),
    ("access_log logs/a combined buffer=x;", 'invalid buffer size "x"'),
    ("access_log logs/a combined flush=1s;", 'no buffer is defined for access_log "logs/a"'),
    ("access_log logs/$host combined buffer=1k;", "buffered logs cannot have variables in name"),
    ("access_log logs/a combined buffer=1k; access_log logs/a combined buffer=2k;",
     'access_log "logs/a" already defined with conflicting parameters'),
    ("access_log logs/a combined what;", 'invalid parameter "what"'),
    ("access_log nowhere/a;", 'nowhere/a" failed (2: No such file or directory)'),
    ("open_log_file_cache valid=1;", '"open_log_file_cache" must have "max" parameter'),
    ("open_log_file_cache x;", 'invalid "open_log_file_cache" parameter "x"'),
])
def test_bad_directives_are_refused_with_nginx_s_words(moongate, directives, message):
    result = moongate(HTTP % (directives, ""), start=False).run("-t")
    assert result.returncode == 1
    assert message in result.stderr
