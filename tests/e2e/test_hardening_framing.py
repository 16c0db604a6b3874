"""Requests whose framing is in doubt: refused, closed, and not one byte of them reaches the upstream.

RFC 9112 sections 2 to 7, and the variants published with request smuggling findings (conflicting lengths,
obfuscated Transfer-Encoding, bare CR and LF, chunk sizes and extensions).
"""
import pytest

import harness
from wire import FOLLOWER, PROXY, Recorder, check_refused, engine_pids, exchange, request, status_of

pytestmark = pytest.mark.moongate_only


@pytest.fixture
def recorder():
    recorder = Recorder()
    yield recorder
    recorder.close()


@pytest.fixture
def proxy(moongate, recorder):
    """A gateway that passes everything on to the recorder; after the test it must be the same processes."""
    gateway = moongate(http="proxy_request_buffering on;", server=PROXY, upstream=recorder.port)
    pids = harness.eventually(lambda: engine_pids(gateway), what="the engine runs")
    yield gateway
    assert engine_pids(gateway) == pids, "the engine was replaced"


def test_content_length_must_be_one_decimal_number(proxy, recorder):
    values = [b"", b" ", b"-1", b"+5", b"0x5", b"5x", b"5 ", b"1_0", b"5,5", b"5, 5", b"5;5", b"\x005", b"5.0", b"5e0",
              b"\xd9\xa5", b"'5'", b"\"5\"", b"5 5", b"00x5", b"0b101", b"1e1", b"\t-5", b",5", b"5,", b"NaN",
              b"9223372036854775808", b"18446744073709551616", b"18446744073709551621", b"99999999999999999999999999"]
    cases = [request(headers=b"Content-Length: " + v + b"\r\n", body=b"hello") for v in values if v != b"5 "]
    check_refused(proxy, recorder, cases)


def test_repeated_content_length_is_refused_even_when_equal(proxy, recorder):
    check_refused(proxy, recorder, [
        request(headers=b"Content-Length: 5\r\nContent-Length: 5\r\n", body=b"hello"),
        request(headers=b"Content-Length: 5\r\nContent-Length: 6\r\n", body=b"hello"),
        request(headers=b"Content-Length: 6\r\nContent-Length: 5\r\n", body=b"hello"),
        request(headers=b"Content-Length: 0\r\nContent-Length: 5\r\n", body=b"hello"),
        request(headers=b"content-length: 5\r\nCONTENT-LENGTH: 0\r\n", body=b"hello"),
        request(headers=b"Content-Length:\r\nContent-Length: 5\r\n", body=b"hello"),
        request(headers=b"Content-Length: 5\r\nX: y\r\nContent-Length: 0\r\n", body=b"hello"),
    ])


def test_content_length_with_transfer_encoding_is_refused(proxy, recorder):
    chunked = b"0\r\n\r\n"
    check_refused(proxy, recorder, [
        request(headers=b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", body=chunked),
        request(headers=b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", body=chunked),
        request(headers=b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", body=chunked),
        request(headers=b"Transfer-Encoding: Chunked\r\nContent-Length: 6\r\n", body=chunked + b"G"),
        request(headers=b"Content-Length: 5\r\nTransfer-Encoding: identity\r\n", body=b"hello"),
        request(headers=b"Content-Length: 5\r\nTransfer-Encoding: \r\n", body=b"hello"),
        request(headers=b"Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n", body=b"hello"),
    ])


# What has been seen to make one hop find "chunked" and another not.
OBFUSCATED = [
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunkedx", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked,", b"Transfer-Encoding: ,chunked", b"Transfer-Encoding: , chunked",
    b"Transfer-Encoding:", b"Transfer-Encoding: ", b"Transfer-Encoding: \t", b"Transfer-Encoding: 'chunked'",
    b'Transfer-Encoding: "chunked"', b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding: chunked; foo",
    b"Transfer-Encoding: chunk", b"Transfer-Encoding: chunke\x64\x00", b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: \x0cchunked", b"Transfer-Encoding: chunked\x0b", b"Transfer-Encoding: \x00chunked",
    b"Transfer-Encoding: \xa0chunked", b"Transfer-Encoding: chunked\xa0", b"Transfer-Encoding: \xffchunked",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: gzip", b"Transfer-Encoding: deflate, chunked",
    b"Transfer-Encoding: cow", b"Transfer-Encoding: chunked cow", b"Transfer-Encoding: chunked\tcow",
    b"Transfer-Encoding: chunked\rX: y", b"Transfer-Encoding: chunked\nX: y", b"Transfer-Encoding: chunked\r",
    b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b" Transfer-Encoding: chunked",
    b"\tTransfer-Encoding: chunked", b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding:\n chunked",
    b"X: y\r\n Transfer-Encoding: chunked", b"X: y\r\n\tTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked", b"X: y\n\nTransfer-Encoding: chunked", b"Transfer-Encoding\x00: chunked",
    b"Transfer-\x00Encoding: chunked", b"Transfer-Encoding\r\n: chunked", b"Transfer-Encoding", b":Transfer-Encoding: chunked",
    b": chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow", b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
    b"Transfer-encoding: chunked\r\ntransfer-Encoding: x", b"Transfer-Encoding;chunked", b"Transfer-Encoding chunked",
    b"Transfer-Encoding=chunked", b"\x00Transfer-Encoding: chunked", b"\x0bTransfer-Encoding: chunked",
    b"\xefTransfer-Encoding: chunked\x01", b"Transfer-Encoding: chunked\x7f", b"Transfer-Encoding: [chunked]",
    b"Transfer-Encoding: {chunked}", b"Transfer-Encoding: chunked#", b"Transfer-Encoding: chunked?",
    b"Transfer-Encoding: ch\xc3\xbcnked", b"Transfer-Encoding: chun\x6bed\x08", b"Transfer-Encoding: compress, gzip",
]


def test_obfuscated_transfer_encoding_is_refused(proxy, recorder):
    body = b"5\r\nhello\r\n0\r\n\r\n"
    cases = [request(headers=line + b"\r\n", body=body) for line in OBFUSCATED]
    check_refused(proxy, recorder, cases, wanted=(400, 501))


def test_names_that_only_look_like_transfer_encoding_are_not_passed_as_framing(proxy, recorder):
    """Dropped as nginx drops them (underscore, dot), or passed as an ordinary field; the body is Content-Length's."""
    for name in (b"Transfer_Encoding", b"Transfer.Encoding", b"Transfer-Encoding-", b"X-Transfer-Encoding", b"Content_Length",
                 b"Content-Length2", b"Content.Length"):
        before = len(recorder.received)
        answer, _ = exchange(proxy, request(headers=name + b": chunked\r\nContent-Length: 5\r\nConnection: close\r\n",
                                            body=b"hello"))
        passed = recorder.received[before:]
        assert status_of(answer) == 200, (name, answer)
        head, body = passed.split(b"\r\n\r\n", 1)
        assert body == b"hello" and b"Content-Length: 5" in head, (name, passed)
        assert b"\r\ntransfer-encoding:" not in head.lower() and b"_" not in head.split(b"\r\n", 1)[1], (name, head)


def test_transfer_encoding_in_http_10_is_refused(proxy, recorder):
    chunked = b"5\r\nhello\r\n0\r\n\r\n"
    check_refused(proxy, recorder, [
        request(version=b"HTTP/1.0", headers=b"Transfer-Encoding: chunked\r\n", body=chunked),
        request(version=b"HTTP/1.0", headers=b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n", body=chunked),
        request(version=b"HTTP/1.0", headers=b"Transfer-Encoding: identity\r\n"),
        request(version=b"HTTP/1.0", headers=b"Transfer-Encoding: chunked\r\nContent-Length: 20\r\n", body=chunked),
    ], wanted=(400, 501))


def test_chunk_lines_are_read_strictly(proxy, recorder):
    bodies = [
        b"5\nhello\r\n0\r\n\r\n", b"5\rhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"5\r\nhello\r\n0\n\n", b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r\n0\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n", b"\t5\r\nhello\r\n0\r\n\r\n", b"5_\r\nhello\r\n0\r\n\r\n", b"\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n", b"5g\r\nhello\r\n0\r\n\r\n", b"5\x00\r\nhello\r\n0\r\n\r\n", b"5;\x00\r\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"5;a\rb\r\nhello\r\n0\r\n\r\n", b"5;\n\r\nhello\r\n0\r\n\r\n", b"5\r\r\nhello\r\n0\r\n\r\n",
        b"5\n\r\nhello\r\n0\r\n\r\n", b"\xd9\xa5\r\nhello\r\n0\r\n\r\n", b"5,5\r\nhello\r\n0\r\n\r\n", b"5 5\r\nhello\r\n0\r\n\r\n",
        b";a\r\nhello\r\n0\r\n\r\n", b"\n5\r\nhello\r\n0\r\n\r\n", b"5;\x7f\r\nhello\r\n0\r\n\r\n",
    ]
    check_refused(proxy, recorder,
                  [request(headers=b"Transfer-Encoding: chunked\r\n", body=body) for body in bodies])


def test_chunk_sizes_do_not_overflow(proxy, recorder):
    sizes = [b"8000000000000000", b"ffffffffffffffff", b"fffffffffffffffb", b"10000000000000005", b"100000000000000000000005",
             b"f" * 40, b"0" * 100 + b"5", b"1" * 5000]
    check_refused(proxy, recorder,
                  [request(headers=b"Transfer-Encoding: chunked\r\n", body=size + b"\r\nhello\r\n0\r\n\r\n")
                   for size in sizes], wanted=(400, 413))


def test_chunk_extensions_are_bounded(proxy, recorder):
    """One long extension, and many short ones around one byte of data each (CVE-2023-39326)."""
    one = b"5;" + b"a" * 70000 + b"\r\nhello\r\n0\r\n\r\n"
    many = (b"1;" + b"x" * 200 + b"\r\na\r\n") * 2000 + b"0\r\n\r\n"
    check_refused(proxy, recorder, [request(headers=b"Transfer-Encoding: chunked\r\n", body=body) for body in (one, many)])


def test_a_few_chunk_extensions_are_read_and_not_passed_on(proxy, recorder):
    before = len(recorder.received)
    answer, _ = exchange(proxy, request(headers=b"Transfer-Encoding: chunked\r\nConnection: close\r\n",
                                        body=b'5;name=value;q="a b"\r\nhello\r\n0;last\r\n\r\n'))
    assert status_of(answer) == 200
    head, body = recorder.received[before:].split(b"\r\n\r\n", 1)
    assert b"name=value" not in body and b"hello" in body


def test_trailers_are_bounded_and_strict(proxy, recorder):
    trailers = [b"X y\r\n", b": y\r\n", b"X: a\rb\r\n", b"X: a\nb\r\n", b"X : y\r\n", b" X: y\r\n", b"X: \x00\r\n", b"X\r\n",
                b"X: a\r\n b\r\n", b"X: " + b"a" * 70000 + b"\r\n", b"".join(b"X%d: y\r\n" % n for n in range(5000)),
                b"X: y\n"]
    check_refused(proxy, recorder, [request(headers=b"Transfer-Encoding: chunked\r\n", body=b"5\r\nhello\r\n0\r\n" + t + b"\r\n")
                                    for t in trailers], wanted=(400, 431))


def test_trailers_never_become_headers(proxy, recorder):
    before = len(recorder.received)
    answer, _ = exchange(proxy, request(
        headers=b"Transfer-Encoding: chunked\r\nConnection: close\r\nTrailer: Content-Length\r\n",
        body=b"5\r\nhello\r\n0\r\nContent-Length: 1000\r\nHost: evil\r\nTransfer-Encoding: x\r\nAuthorization: x\r\n\r\n"))
    passed = recorder.received[before:]
    assert status_of(answer) in (200, 400), answer
    assert b"evil" not in passed and b"1000" not in passed and b"Authorization" not in passed, passed


@pytest.mark.parametrize("body", [
    b"5\r\nhello\r\nZ\r\n", b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello\r\n5\nworld\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nX\r\n\r\n",
])
def test_a_streamed_bad_body_never_ends_in_order(moongate, recorder, body):
    """proxy_request_buffering off: what went before may be on its way, but the end must not be, and the
    connection must not serve anybody else."""
    gateway = moongate(server="proxy_request_buffering off;" + PROXY, upstream=recorder.port)
    answer, closed = exchange(gateway, request(headers=b"Transfer-Encoding: chunked\r\n", body=body) + FOLLOWER)
    assert closed and status_of(answer) in (None, 400, 502), answer
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert b"follower" not in recorder.received
    assert b"0\r\n\r\n" not in recorder.received, recorder.received
    bad = list(recorder.connections)
    answer, _ = exchange(gateway, FOLLOWER)
    assert status_of(answer) == 200
    assert len(recorder.connections) > len(bad), "the connection with the unfinished request was used again"


def test_a_body_cut_short_is_not_passed_on(proxy, recorder):
    for data in (request(headers=b"Content-Length: 50\r\n", body=b"hello"),
                 request(headers=b"Transfer-Encoding: chunked\r\n", body=b"5\r\nhel"),
                 request(headers=b"Transfer-Encoding: chunked\r\n", body=b"5\r\nhello\r\n"),
                 request(headers=b"Transfer-Encoding: chunked\r\n", body=b"5\r\nhello\r\n0\r\n")):
        answer, closed = exchange(proxy, data, close=True)
        assert closed and status_of(answer) in (None, 400), answer
        assert recorder.received == b"", recorder.received
    assert proxy.get("/").status == 200


def test_the_body_of_a_refused_request_is_not_a_request(moongate, recorder):
    """return and proxied error answers leave the body unread: it must be drained, or the connection closed."""
    gateway = moongate(server="location /r { return 200 r; } location /403 { deny all; }" + PROXY, upstream=recorder.port)
    inner = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    for target in (b"/r", b"/403"):
        for data in (request(target, b"Content-Length: %d\r\n" % len(inner), inner),
                     request(target, b"Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner))):
            answer, _ = exchange(gateway, data + FOLLOWER)
            assert b"smuggled" not in recorder.received
            assert answer.count(b"HTTP/1.1 ") == 2, answer  # its own and the follower's
            assert answer.endswith(b"ok"), answer


def test_get_and_head_with_bodies_keep_the_framing(moongate, recorder):
    gateway = moongate(server=PROXY, upstream=recorder.port)
    inner = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    answer, _ = exchange(gateway, request(headers=b"Content-Length: %d\r\n" % len(inner), body=inner, method=b"GET") + FOLLOWER)
    heads = [head for head in recorder.received.split(b"\r\n\r\n") if head.startswith(b"GET ")]
    first = recorder.received.split(b"\r\n\r\n", 1)[0]
    assert b"Content-Length: %d" % len(inner) in first
    assert answer.count(b"HTTP/1.1 200") >= 2 and any(head.startswith(b"GET /follower") for head in heads)
