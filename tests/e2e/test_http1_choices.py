"""Which server, which location, which answer: nginx's rules asked from outside. Holds for the reference."""
import re

import pytest

import harness
from wire import exchange, request, status_of


def test_server_names(moongate):
    gateway = moongate("""
    events {} http { access_log off;
        server { listen 127.0.0.1:%PORT%; server_name exact.example; return 200 exact; }
        server { listen 127.0.0.1:%PORT%; server_name *.example; return 200 before; }
        server { listen 127.0.0.1:%PORT%; server_name *.long.example; return 200 longer; }
        server { listen 127.0.0.1:%PORT%; server_name www.*; return 200 after; }
        server { listen 127.0.0.1:%PORT%; server_name .dot.test; return 200 dot; }
        server { listen 127.0.0.1:%PORT%; server_name ~^(?<who>\\w+)\\.re\\.test$; return 200 re-$who; }
        server { listen 127.0.0.1:%PORT%; server_name ~re; return 200 second-re; }
        server { listen 127.0.0.1:%PORT% default_server; server_name _; return 200 default; }
        server { listen 127.0.0.1:%PORT%; server_name ""; return 200 empty; }
        server { listen 127.0.0.1:%PORT2%; server_name other; return 200 other; }
    }""")
    for host, want in (("exact.example", "exact"), ("EXACT.Example", "exact"), ("exact.example.", "exact"), ("exact.example:99", "exact"),
                       ("a.example", "before"), ("a.b.example", "before"), ("a.long.example", "longer"), ("long.example", "before"),
                       ("example", "default"), ("www.com", "after"), ("www.a.b", "after"), ("www.example", "before"),
                       ("dot.test", "dot"), ("a.dot.test", "dot"), ("joe.re.test", "re-joe"), ("x.joe.re.test", "second-re"),
                       ("nothing", "default")):
        assert gateway.get("/", headers={"Host": host}).text == want, host
    assert exchange(gateway, b"GET / HTTP/1.0\r\n\r\n")[0].endswith(b"empty")
    assert gateway.get("/", headers={"Host": "exact.example"}, port=gateway.ports[1]).text == "other"


def test_locations(moongate):
    gateway = moongate(server="""
        location = / { return 200 exact-root; }
        location / { return 200 root; }
        location /a/ { return 200 a; location /a/b/ { return 200 nested; location ~ \\.x$ { return 200 nested-re; } } }
        location ^~ /images/ { return 200 images; }
        location ~* \\.(gif|JPG)$ { return 200 "re-$1"; }
        location ~ ^/case { return 200 case; }
        location = /exact { return 200 exact; }
        location ~ ^/exact { return 200 never; }
        location /ex { return 200 ex; }
    """)
    for target, want in (("/", "exact-root"), ("/z", "root"), ("/a/", "a"), ("/a/z", "a"), ("/a/b/", "nested"), ("/a/b/c.x", "nested-re"),
                         ("/a/b/c.gif", "re-gif"), ("/images/a.gif", "images"), ("/z.GIF", "re-GIF"), ("/z.jpg", "re-jpg"),
                         ("/case", "case"), ("/CASE", "root"), ("/exact", "exact"), ("/exacter", "never"), ("/exa", "ex"), ("/a", "root"),
                         ("//", "exact-root"), ("/z/../a/", "a"), ("/%61/", "a"), ("/a/b/../c", "a")):
        assert gateway.get(target).text == want, target


def test_merge_slashes(moongate):
    for value, want in (("on", "/a/b"), ("off", "//a///b")):
        gateway = moongate(http=f"merge_slashes {value};", server='location / { return 200 "$uri"; }')
        assert exchange(gateway, request(b"//a///b", b"Connection: close\r\n", method=b"GET"))[0].endswith(b"\r\n\r\n" + want.encode())


def test_internal_locations_and_named_ones(moongate):
    gateway = moongate(server="""
        root html;
        location /internal/ { internal; return 200 "inside $uri"; }
        location /go { rewrite ^ /internal/x last; }
        location /try { try_files /nothing @fallback; }
        location @fallback { return 200 "fallback $uri"; }
        location /err { error_page 404 /internal/404; return 404; }
    """)
    assert gateway.get("/internal/").status == 404
    assert gateway.get("/@fallback").status == 404
    assert gateway.get("/go").text == "inside /internal/x"
    assert gateway.get("/try").text == "fallback /try"
    assert (gateway.get("/err").status, gateway.get("/err").text) in ((404, "inside /internal/404"), (200, "inside /internal/404"))


def test_error_page_forms(moongate, upstream):
    server = upstream(harness.answer(b"from upstream", status="503 Busy"))
    gateway = moongate(server="""
        root html; error_page 404 /404.html;
        location /same { return 404; }
        location /code { error_page 404 =200 /404.html; return 404; }
        location /taken { error_page 404 = /ok; return 404; }
        location /ok { return 202 ok; }
        location /named { error_page 403 502 = @named; return 403; }
        location @named { return 201 "named"; }
        location /url { error_page 403 http://b/away; return 403; }
        location /url301 { error_page 403 =301 http://b/away; return 403; }
        location /two { error_page 403 /again; return 403; }
        location /again { error_page 404 /ok; return 404; }
        location /rec { recursive_error_pages on; error_page 403 /recagain; return 403; }
        location /recagain { recursive_error_pages on; error_page 404 =200 /404.html; return 404; }
        location /var { error_page 403 /404.html?$arg_x; return 403; }
        location /up { proxy_pass http://127.0.0.1:%UPSTREAM%; error_page 503 /404.html; }
        location /upi { proxy_pass http://127.0.0.1:%UPSTREAM%; proxy_intercept_errors on; error_page 503 =404 /404.html; }
        location /loop { recursive_error_pages on; error_page 404 /loop; return 404; }
    """, files={"html/404.html": "custom"}, upstream=server.port)
    gateway.allow("rewrite or internal redirection cycle")
    for target, want in (("/same", (404, "custom")), ("/missing", (404, "custom")), ("/code", (200, "custom")), ("/taken", (202, "ok")),
                         ("/named", (201, "named")), ("/rec", (200, "custom")), ("/up", (503, "from upstream")),
                         ("/upi", (404, "custom")), ("/var", (403, "custom"))):
        response = gateway.get(target)
        assert (response.status, response.text) == want, target
    response = gateway.get("/url")
    assert (response.status, response.header("Location")) == (302, "http://b/away")
    response = gateway.get("/url301")
    assert (response.status, response.header("Location")) == (301, "http://b/away")
    assert gateway.get("/two").status == 404 and "404 Not Found" in gateway.get("/two").text
    assert gateway.get("/loop").status in (404, 500)
    response = gateway.request("POST", "/same", body=b"x")
    assert (response.status, response.text) == (404, "custom")
    assert gateway.request("HEAD", "/same").status == 404


def test_satisfy_and_limit_except(moongate):
    gateway = moongate(server="""
        location /all { satisfy all; allow 127.0.0.1; deny all; return_ok; }
        location /deny { deny 127.0.0.1; allow all; root html; }
        location /allow { allow 127.0.0.0/8; deny all; root html; }
        location /methods { limit_except GET { deny all; } root html; }
        location /any { satisfy any; deny all; root html; }
    """.replace("return_ok;", "root html;"), files={f"html/{n}": "x" for n in ("all", "deny", "allow", "methods", "any")})
    gateway.allow("access forbidden by rule")
    for target, status in (("/all", 200), ("/deny", 403), ("/allow", 200), ("/methods", 200), ("/any", 403)):
        assert gateway.get(target).status == status, target
    assert gateway.request("HEAD", "/methods").status == 200
    assert gateway.request("POST", "/methods", body=b"").status == 403
    assert gateway.request("DELETE", "/methods").status == 403


def test_server_tokens(moongate):
    for value, server in (("on", r"(nginx|moongate)/[\d.]+"), ("off", "(nginx|moongate)")):
        gateway = moongate(http=f"server_tokens {value};", server="location / { return 404; }")
        response = gateway.get("/")
        assert re.fullmatch(server, response.header("Server"))
        assert re.search(f"<center>{server}</center>", response.text)


def test_absolute_redirect(moongate):
    location = "location /r { return 301 /to; } location /d { root html; } "
    for directives, prefix in (("", "http://b:%d"), ("absolute_redirect off;", ""), ("port_in_redirect off;", "http://b"),
                               ("server_name named; server_name_in_redirect on;", "http://named:%d")):
        gateway = moongate(server=directives + location, files={"html/d/a": "x"})
        want = prefix % gateway.port if "%d" in prefix else prefix
        for target, to in (("/r", "/to"), ("/d", "/d/")):
            response = gateway.get(target, headers={"Host": "b"})
            assert (response.status, response.header("Location")) == (301, want + to), directives
    answer, _ = exchange(moongate(server=location), b"GET /r HTTP/1.0\r\n\r\n")
    assert re.search(rb"\r\nLocation: http://[^/]*/to\r\n", answer), answer


def test_return_forms(moongate):
    gateway = moongate(server="""
        default_type text/x;
        location /code { return 204; }
        location /text { return 200 "a $uri"; }
        location /url { return http://b/; }
        location /303 { return 303 /x; }
        location /307 { return 307 https://c/; }
        location /close { return 444; }
        location /418 { return 418; }
        location /body403 { return 403 "no"; }
    """)
    assert gateway.get("/code").status == 204
    response = gateway.get("/text")
    assert (response.text, response.header("Content-Type")) == ("a /text", "text/x")
    assert (gateway.get("/url").status, gateway.get("/url").header("Location")) == (302, "http://b/")
    assert (gateway.get("/303").status, gateway.get("/307").status) == (303, 307)
    assert (gateway.get("/body403").status, gateway.get("/body403").text) == (403, "no")
    assert exchange(gateway, b"GET /close HTTP/1.1\r\nHost: a\r\n\r\n") == (b"", True)
    assert gateway.get("/418").status == 418


def test_rewrite_flags_and_limits(moongate):
    gateway = moongate(server="""
        rewrite ^/old/(.*)$ /new/$1;
        location /new/ { return 200 "$uri?$args"; }
        location /last { rewrite ^ /new/last?a=1 last; }
        location /drop { rewrite ^ /new/drop? last; }
        location /loop { rewrite ^ /loop last; }
        location /if { set $x 0; if ($request_method = POST) { set $x 1; } if ($arg_a ~ ^(\\d+)$) { return 200 "n$1"; } return 200 "x$x"; }
        location /esc { rewrite ^/esc/(.*)$ /new/?q=$1 last; }
        location /red { rewrite ^/red/(?s:(.*))$ http://b/$1 redirect; }
    """)
    gateway.allow("rewrite or internal redirection cycle")
    assert gateway.get("/old/x?y=1").text == "/new/x?y=1"
    assert gateway.get("/last?b=2").text == "/new/last?a=1&b=2"
    assert gateway.get("/drop?b=2").text == "/new/drop?"
    assert gateway.get("/loop").status == 500
    assert gateway.get("/if").text == "x0" and gateway.request("POST", "/if", body=b"").text == "x1"
    assert gateway.get("/if?a=42").text == "n42" and gateway.get("/if?a=b").text == "x0"
    # Captures are escaped where they enter arguments or a redirect.
    assert gateway.get("/esc/a%26b%20c%25").text == "/new/?q=a%26b%20c%25"
    assert gateway.get("/red/a%20b%0d%0aX").header("Location") == "http://b/a%20b%0D%0AX"


def test_variables_of_the_request(moongate):
    gateway = moongate(server="""location / { return 200 "$request_method|$request_uri|$uri|$args|$arg_A|$http_x_y|$cookie_c|$is_args|$host|$server_port|$server_protocol|$content_length"; }""")
    answer, _ = exchange(gateway, request(b"/p%20q?a=1&b", b"X-Y: h\r\nCookie: b=1; c=2\r\nConnection: close\r\nContent-Length: 0\r\n",
                                          method=b"GET"))
    assert answer.split(b"\r\n\r\n", 1)[1].decode() == f"GET|/p%20q?a=1&b|/p q|a=1&b|1|h|2|?|a|{gateway.port}|HTTP/1.1|0", answer
