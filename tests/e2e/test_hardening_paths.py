"""URIs, paths and ranges: nothing outside root or alias is served, whatever the spelling."""
import pytest

from wire import exchange, request, status_of

SECRET = b"the secret"
FILES = {"secret.txt": SECRET, "html/index.html": b"index", "html/dir/a.txt": b"0123456789", "www/b.txt": b"b",
         "www-private/c.txt": SECRET}


@pytest.fixture
def files(moongate):
    return moongate(server="""
        root html;
        location /alias/ { alias %PREFIX%/www/; }
        location /bare { alias %PREFIX%/www; }
        location ~ ^/re/(.*)$ { alias %PREFIX%/www/$1; }
        location ~ ^/arg$ { try_files /$arg_f =404; }
        location /hidden { internal; root %PREFIX%; }
    """, files=FILES)


TRAVERSALS = [
    b"/../secret.txt", b"/dir/../../secret.txt", b"/%2e%2e/secret.txt", b"/%2e%2e%2fsecret.txt", b"/..%2fsecret.txt",
    b"/..%5csecret.txt", b"/dir/..%2f..%2fsecret.txt", b"/..%00/secret.txt", b"/.%2e/secret.txt", b"/%2e./secret.txt",
    b"/%252e%252e/secret.txt", b"/..;/secret.txt", b"/...//secret.txt", b"//../secret.txt", b"/./../secret.txt",
    b"/..//..//secret.txt", b"/dir/%2e%2e/%2e%2e/secret.txt", b"/dir/..%2f%2e%2e%2fsecret.txt", b"/\\..\\secret.txt",
    b"/%c0%ae%c0%ae/secret.txt", b"/%uff0e%uff0e/secret.txt", b"/../", b"/..", b"/%2e%2e", b"/dir/../..", b"/?/../secret.txt",
    b"/alias/../secret.txt", b"/alias/%2e%2e/secret.txt", b"/alias/..%2fsecret.txt", b"/alias../secret.txt",
    b"/alias../www-private/c.txt", b"/bare/../secret.txt", b"/bare../secret.txt", b"/bare%2f..%2fsecret.txt",
    b"/re/../secret.txt", b"/re/..%2fsecret.txt", b"/re/%2e%2e%2fsecret.txt", b"/re/%2e%2e/secret.txt",
    b"/hidden/../secret.txt", b"/hidden/secret.txt", b"/secret.txt", b"/hidden/../../secret.txt",
    b"http://a/../secret.txt", b"http://a/%2e%2e/secret.txt", b"/alias//../secret.txt", b"/alias/./../secret.txt",
]


def test_no_spelling_leaves_the_root(files):
    problems = []
    for target in TRAVERSALS:
        answer, closed = exchange(files, request(target, b"Connection: close\r\n", method=b"GET"))
        if not closed or SECRET in answer or status_of(answer) not in (200, 301, 400, 403, 404) or b"root:" in answer:
            problems.append((target, answer[:100]))
    assert not problems, problems
    assert files.get("/dir/a.txt").text == "0123456789" and files.get("/alias/b.txt").text == "b"


def test_the_bare_alias_gives_only_its_files_neighbours_by_name(files):
    """`location /bare { alias …/www; }` and /bare-private/: nginx appends the rest of the URI; documented."""
    assert files.get("/bare/b.txt").text == "b"


@pytest.mark.parametrize("target", [b"/a%00b", b"/%00", b"/dir/a.txt%00.html", b"/alias/b.txt%00"])
def test_encoded_nul_is_refused(files, target):
    answer, closed = exchange(files, request(target, method=b"GET"))
    assert closed and status_of(answer) == 400


@pytest.mark.parametrize("target", [b"/%", b"/%2", b"/%zz", b"/%2x/a", b"/dir/%g0"])
def test_broken_percent_encoding_is_refused(files, target):
    answer, closed = exchange(files, request(target, method=b"GET"))
    assert closed and status_of(answer) == 400


def test_space_before_nul_does_not_skip_the_internal_check(files):
    """CVE-2013-4547: `/a \\0` must be refused, not matched against other locations."""
    for target in (b"/hidden/../secret.txt \x00x", b"/x \x00.txt", b"/foo \x00.php"):
        answer, closed = exchange(files, request(target, method=b"GET"))
        assert closed and status_of(answer) == 400, answer


def test_put_move_and_copy_do_not_write(files):
    for method in (b"PUT", b"DELETE", b"MOVE", b"COPY", b"MKCOL"):
        answer, _ = exchange(files, request(b"/dir/a.txt", b"Destination: http://a/new\r\nConnection: close\r\nContent-Length: 0\r\n",
                                            method=method))
        assert status_of(answer) == 405, (method, answer)
    assert (files.prefix / "html/dir/a.txt").read_bytes() == b"0123456789"


def test_a_long_uri_of_many_segments(files):
    for target in (b"/" + b"a/" * 3500, b"/" + b"../" * 2000, b"/" + b"./" * 3500, b"/" + b"/" * 7000, b"/dir/" + b"a/../" * 1200 + b"a.txt",
                   b"/" + b"%2e" * 2000, b"/" + b"a" * 5000):
        answer, closed = exchange(files, request(target, b"Connection: close\r\n", method=b"GET"))
        assert closed and status_of(answer) in (200, 400, 403, 404), (target[:20], answer[:60])


RANGES = [
    (b"bytes=0-0", 206, b"0"), (b"bytes=-1", 206, b"9"), (b"bytes=9-", 206, b"9"), (b"bytes=0-99999", 206, b"0123456789"),
    (b"bytes=-99999", 206, b"0123456789"), (b"bytes=10-", 416, None), (b"bytes=10-20", 416, None),
    (b"bytes=18446744073709551615-", 416, None), (b"bytes=0-18446744073709551615", None, None),
    (b"bytes=9223372036854775807-9223372036854775807", 416, None), (b"bytes=-9223372036854775808", None, None),
    (b"bytes=-18446744073709551616", None, None), (b"bytes=9223372036854775798-,-9223372036854775608", None, None),
    (b"bytes=5-2", None, None), (b"bytes=--1", None, None), (b"bytes=", None, None), (b"bytes=a-b", None, None),
    (b"bytes=0-0,", None, None), (b"bytes=,0-0", None, None), (b"bytes=0x0-1", None, None), (b"bytes", None, None),
    (b"lines=0-1", 200, b"0123456789"), (b"bytes=-0", None, None), (b"bytes=1-1,-0", None, None),
    (b"bytes=0-0,2-2," * 1 + b"4-4", 206, None),
]


def test_ranges_never_show_more_than_the_file(files):
    problems = []
    for value, status, body in RANGES:
        answer, closed = exchange(files, request(b"/dir/a.txt", b"Range: " + value + b"\r\nConnection: close\r\n", method=b"GET"))
        head, _, got = answer.partition(b"\r\n\r\n")
        if not closed or status_of(answer) not in ((status,) if status else (200, 206, 416, 400)):
            problems.append((value, head[:60]))
        elif body is not None and got != body:
            problems.append((value, got))
        elif b"multipart" not in head and status_of(answer) in (200, 206) and got not in b"0123456789":
            problems.append((value, got))
    assert not problems, problems


def test_many_overlapping_ranges_do_not_multiply_the_file(files):
    """CVE-2011-3192's pattern: the sum of the ranges is larger than the file, so the whole file is the answer."""
    value = b"bytes=" + b",".join(b"0-" for _ in range(500))
    answer, _ = exchange(files, request(b"/dir/a.txt", b"Range: " + value + b"\r\nConnection: close\r\n", method=b"GET"))
    assert len(answer) < 2000 and status_of(answer) in (200, 416)


def test_max_ranges(moongate):
    gateway = moongate(server="root html; location /none { max_ranges 0; } location /one { max_ranges 1; }",
                       files={"html/none": b"0123456789", "html/one": b"0123456789"})
    assert gateway.get("/none", headers={"Range": "bytes=0-1"}).status == 200
    assert gateway.get("/one", headers={"Range": "bytes=0-1"}).text == "01"
    assert gateway.get("/one", headers={"Range": "bytes=0-1,3-4"}).text == "0123456789"
