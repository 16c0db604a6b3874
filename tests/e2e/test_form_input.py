"""form-input: fields of urlencoded request bodies in variables."""
import pytest

pytestmark = pytest.mark.moongate_only  # Debian has no package of the module

FORM = "application/x-www-form-urlencoded"
CONFIG = """
    client_body_buffer_size 1k;
    client_max_body_size 4k;
    location / {
        set $before set;
        set_form_input $foo;
        set_form_input $other "b$arg_ar";
        set $all "$before|$foo|$other";
        return 200 "$all";
    }
    location /multi {
        set_form_input_multi $foo;
        array_join "+" $foo;
        set_form_input_multi $list bar;
        array_join "+" $list;
        return 200 "$foo|$list";
    }
    location /body { set_form_input $foo; content_by_lua_block {
        ngx.req.read_body() ngx.print(ngx.var.foo, " of ", ngx.req.get_body_data())
    } }
"""


def post(gateway, path, body, method="POST", content_type=FORM):
    headers = {} if content_type is None else {"Content-Type": content_type}
    return gateway.request(method, path, headers=headers, body=body)


@pytest.mark.parametrize("body, expected", [
    (b"foo=1&bar=2", "set|1|2"), (b"bar=2&foo=1", "set|1|2"), (b"xfoo=3&foo=1", "set|1|"), (b"FOO=x&Bar=y", "set|x|y"),
    (b"foo=a%20b+c", "set|a%20b+c|"), (b"foo=&bar", "set||"), (b"foo=1&foo=2", "set|1|"), (b"foo=a=b", "set|a=b|"),
    (b"", "set||"), (b"&&foo=1&", "set|1|"),
])
def test_set_form_input(moongate, body, expected):
    gateway = moongate(server=CONFIG)
    assert post(gateway, "/?ar=ar", body).text == expected
    assert post(gateway, "/?ar=ar", body, "PUT", FORM + "; charset=utf-8").text == expected


@pytest.mark.parametrize("body, expected", [
    (b"foo=1&bar=2&foo=3", "1+3|2"), (b"foo=&foo=x", "+x|"), (b"a=b", "|"),
])
def test_set_form_input_multi(moongate, body, expected):
    gateway = moongate(server=CONFIG)
    assert post(gateway, "/multi", body).text == expected


def test_other_requests_have_no_fields(moongate):
    gateway = moongate(server=CONFIG)
    assert post(gateway, "/?ar=ar", b"foo=1", content_type="text/plain").text == "set||"
    assert post(gateway, "/?ar=ar", b"foo=1", content_type=None).text == "set||"
    assert post(gateway, "/?ar=ar", b"foo=1", "PATCH").text == "set||"
    assert gateway.get("/?foo=1").text == "set||"


def test_the_request_waits_for_its_body(moongate):
    gateway = moongate(server=CONFIG)
    with gateway.connect() as connection:
        connection.send(b"POST /?ar=ar HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\nContent-Length: 11\r\n\r\nfo"
                        % FORM.encode())
        with gateway.connect() as other:
            other.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert other.read_response().status == 200
        connection.send(b"o=1&ba")
        connection.send(b"r=2")
        assert connection.read_response().text == "set|1|2"
        connection.send(b"POST /?ar=ar HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
                        b"3\r\nfoo\r\n2\r\n=7\r\n0\r\n\r\n" % FORM.encode())
        assert connection.read_response().text == "set|7|"


def test_the_body_stays_for_others(moongate):
    gateway = moongate(server=CONFIG)
    assert post(gateway, "/body", b"foo=1").text == "1 of foo=1"


def test_bodies_in_files_and_too_large_ones(moongate):
    gateway = moongate(server=CONFIG)
    assert post(gateway, "/", b"foo=1&x=" + b"y" * 2000).text == "set||"
    assert "form-input: in-file buffer found" in gateway.error_log()
    assert post(gateway, "/", b"foo=1&x=" + b"y" * 5000).status == 413


def test_not_allowed_in_if(moongate):
    tried = moongate(server="location / { if ($arg_a) { set_form_input $a; } }", start=False).run("-t")
    assert tried.returncode == 1
    assert '"set_form_input" directive is not allowed here' in tried.stdout + tried.stderr
