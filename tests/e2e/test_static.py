"""Files: types, directories, index, try_files, conditions and ranges."""
import os

import pytest

DIGITS = "".join(str(n % 10) for n in range(100))
FILES = {"html/a.txt": DIGITS, "html/b.HTML": "<p>", "html/none": "x", "html/empty.txt": "",
         "html/dir/index.html": "index", "html/bare/x": "x", "html/with space/index.html": "s"}
TYPES = "default_type text/plain; types { text/html html; text/x-t txt; }"
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
LATER = "Tue, 14 Nov 2024 22:13:20 GMT"
EARLIER = "Mon, 14 Nov 2022 22:13:20 GMT"
ETAG = '"6553f100-64"'


@pytest.fixture
def files(moongate):
    def make(server="root html;", **arguments):
        gateway = moongate(http=TYPES, server=server, files=FILES, **arguments)
        os.utime(gateway.prefix / "html/a.txt", (1700000000, 1700000000))
        return gateway
    return make


def test_file_with_its_head(files):
    answer = files().get("/a.txt")
    assert (answer.status, answer.text) == (200, DIGITS)
    assert [answer.header(name) for name in ("Content-Type", "Content-Length", "Last-Modified", "ETag", "Accept-Ranges")
            ] == ["text/x-t", "100", DATE, ETAG, "bytes"]


def test_head_empty_files_and_types(files):
    gateway = files()
    head = gateway.request("HEAD", "/a.txt")
    assert (head.body, head.header("Content-Length")) == (b"", "100")
    empty = gateway.get("/empty.txt")
    assert (empty.status, empty.body, empty.header("Content-Length")) == (200, b"", "0")
    assert gateway.get("/b.HTML").header("Content-Type") == "text/html"
    assert gateway.get("/none").header("Content-Type") == "text/plain"


def test_a_big_file_arrives_whole(files):
    gateway = files("root html; sendfile on;")
    content = os.urandom(3_000_000)
    (gateway.prefix / "html/big").write_bytes(content)
    assert gateway.get("/big").body == content
    (gateway.prefix / "html/big").unlink()


def test_refusals(files):
    gateway = files()
    assert gateway.get("/missing").status == 404
    assert f'open() "{gateway.prefix}/html/missing" failed (2: No such file or directory), client: 127.0.0.1' \
        in gateway.error_log()
    assert gateway.get("/a.txt/below").status == 404
    assert gateway.get("/bare/").status == 403
    assert f'directory index of "{gateway.prefix}/html/bare/" is forbidden' in gateway.error_log()
    assert gateway.get("/nowhere/").status == 404
    assert gateway.get("/" + "x" * 300).status == 404
    for method in ("POST", "PUT", "DELETE"):
        assert gateway.request(method, "/a.txt").status == 405
    os.mkfifo(gateway.prefix / "html/fifo")
    assert gateway.get("/fifo").status == 404


def test_nothing_above_the_root_is_reached(files):
    gateway = files("root html; location /by { rewrite ^ /$arg_f break; }")
    (gateway.prefix / "secret").write_text("secret")
    for path in ("/../secret", "/dir/../../secret", "/%2e%2e/secret", "/..%2fsecret", "/dir%00/../secret"):
        answer = gateway.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        assert b"400 Bad Request" in answer or b"404 Not Found" in answer
        assert not answer.endswith(b"secret")


@pytest.mark.moongate_only
def test_a_rewritten_path_does_not_lead_upwards_either(files):
    gateway = files("root html; location /by { rewrite ^ /$arg_f break; }")
    (gateway.prefix / "secret").write_text("secret")
    assert gateway.get("/by?f=../secret").status == 404
    assert "unsafe path" in gateway.error_log()


def test_links_are_followed(files):
    gateway = files()
    (gateway.prefix / "html/link.txt").symlink_to("a.txt")
    assert gateway.get("/link.txt").text == DIGITS


def test_directories_redirect_with_a_slash(files):
    gateway = files()
    base = f"http://127.0.0.1:{gateway.port}"
    answer = gateway.get("/dir?x=1")
    assert (answer.status, answer.header("Location")) == (301, base + "/dir/?x=1")
    assert gateway.get("/with%20space").header("Location") == base + "/with%20space/"


def test_index(files):
    gateway = files("""
        root html;
        location /absolute/ { index none /show; }
        location /var/ { alias html/; index $arg_i none; }
        location /show { return 200 "$uri"; }
    """)
    assert gateway.get("/dir/").text == "index"
    assert gateway.get("/var/?i=a.txt").text == DIGITS
    assert gateway.get("/var/?i=/show").text == "/show"
    os.mkdir(gateway.prefix / "html/absolute")
    assert gateway.get("/absolute/").text == "/show"


def test_try_files(files):
    gateway = files("""
        root html;
        location /chain { try_files /none-such $uri/x /a.txt =404; }
        location /code { try_files /none-such =410; }
        location /named { try_files $uri $uri/ @fallback; }
        location /uri { try_files /none-such /show?from=$uri; }
        location /folder { try_files /a.txt/ /dir/ =404; }
        location /alias/ { alias html/dir/; try_files $uri =404; }
        location @fallback { return 200 "fallback $uri $args"; }
        location /show { return 200 "$uri $args"; }
    """)
    assert gateway.get("/chain").text == DIGITS
    assert gateway.get("/code").status == 410
    assert gateway.get("/named/x?q=1").text == "fallback /named/x q=1"
    assert gateway.get("/uri?q=1").text == "/show from=/uri"
    assert gateway.get("/alias/index.html").text == "index"
    assert gateway.get("/alias/none").status == 404


@pytest.mark.parametrize("headers, status", [
    ({"If-Modified-Since": DATE}, 304), ({"If-Modified-Since": LATER}, 200), ({"If-Modified-Since": "junk"}, 200),
    ({"If-None-Match": ETAG}, 304), ({"If-None-Match": "W/" + ETAG}, 304), ({"If-None-Match": f'"x", {ETAG}'}, 304),
    ({"If-None-Match": '"x"'}, 200), ({"If-None-Match": "*"}, 304),
    ({"If-None-Match": ETAG, "If-Modified-Since": EARLIER}, 200),
    ({"If-Match": ETAG}, 200), ({"If-Match": "W/" + ETAG}, 412), ({"If-Match": '"x"'}, 412), ({"If-Match": "*"}, 200),
    ({"If-Unmodified-Since": EARLIER}, 412), ({"If-Unmodified-Since": LATER}, 200),
])
def test_conditions(files, headers, status):
    answer = files().get("/a.txt", headers=headers)
    assert answer.status == status
    if status == 304:
        assert (answer.body, answer.header("Content-Length"), answer.header("ETag")) == (b"", None, ETAG)


def test_if_modified_since_before_and_off(files):
    gateway = files("location /b/ { alias html/; if_modified_since before; } "
                    "location /o/ { alias html/; if_modified_since off; }")
    assert gateway.get("/b/a.txt", headers={"If-Modified-Since": LATER}).status == 304
    assert gateway.get("/o/a.txt", headers={"If-Modified-Since": DATE}).status == 200


@pytest.mark.parametrize("value, first, last", [
    ("bytes=0-9", 0, 9), ("bytes=90-", 90, 99), ("bytes=-5", 95, 99), ("bytes=-500", 0, 99), ("bytes=99-200", 99, 99),
    ("bytes=0-9223372036854775807", 0, 99), ("bytes= 3 - 4", 3, 4), ("bytes=200-,0-1", 0, 1),
])
def test_one_range(files, value, first, last):
    answer = files().get("/a.txt", headers={"Range": value})
    assert (answer.status, answer.text) == (206, DIGITS[first:last + 1])
    assert answer.header("Content-Range") == f"bytes {first}-{last}/100"


@pytest.mark.parametrize("value", ["bytes=100-", "bytes=9-5", "bytes=a", "bytes=0-9,", "bytes=9223372036854775808-",
                                   "bytes=-9223372036854775808,1-9223372036854775807,-18446744073709551000"])
def test_ranges_that_cannot_be_satisfied(files, value):
    answer = files().get("/a.txt", headers={"Range": value})
    assert (answer.status, answer.header("Content-Range")) == (416, "bytes */100")
    assert DIGITS.encode() not in answer.body


@pytest.mark.parametrize("value", [
    "chunks=0-1", "bytes=0-99,0-99",
    # More bytes of part heads than the body has.
    pytest.param("bytes=" + "0-0," * 50 + "0-1", id="many small ones", marks=pytest.mark.moongate_only),
])
def test_ranges_that_are_not_worth_it_give_the_whole(files, value):
    answer = files().get("/a.txt", headers={"Range": value})
    assert (answer.status, answer.text) == (200, DIGITS)


def test_several_ranges(files):
    answer = files().get("/a.txt", headers={"Range": "bytes=0-1,50-52,-1"})
    assert answer.status == 206
    kind, _, boundary = answer.header("Content-Type").partition("; boundary=")
    assert kind == "multipart/byteranges"
    expected = ""
    for first, last in ((0, 1), (50, 52), (99, 99)):
        expected += (f"\r\n--{boundary}\r\nContent-Type: text/x-t\r\nContent-Range: bytes {first}-{last}/100\r\n\r\n"
                     + DIGITS[first:last + 1])
    assert answer.text == expected + f"\r\n--{boundary}--\r\n"
    assert answer.header("Content-Length") == str(len(answer.body))


def test_if_range_and_max_ranges(files):
    gateway = files("root html; location /one/ { alias html/; max_ranges 1; } "
                    "location /no/ { alias html/; max_ranges 0; }")

    def status(path="/a.txt", **headers):
        return gateway.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()}).status
    assert status(Range="bytes=0-1", If_Range=ETAG) == 206
    assert status(Range="bytes=0-1", If_Range='"x"') == 200
    assert status(Range="bytes=0-1", If_Range=DATE) == 206
    assert status(Range="bytes=0-1", If_Range=LATER) == 200
    assert status("/one/a.txt", Range="bytes=0-1") == 206
    assert status("/one/a.txt", Range="bytes=0-1,5-6") == 200
    assert status("/no/a.txt", Range="bytes=0-1") == 200
    assert gateway.get("/no/a.txt").header("Accept-Ranges") is None
