"""The set_* directives of set-misc, and ndk.set_var, which reaches them from Lua."""
import base64
import datetime
import hashlib
import hmac
import re

import pytest


def value_of(gateway, path="/"):
    answer = gateway.get(path)
    assert answer.status == 200, answer
    return answer.text


def evaluated(moongate, statements):
    """What $res is after `statements`, between brackets."""
    gateway = moongate(server='location / { %s return 200 "[$res]"; }' % statements)
    text = value_of(gateway, "/?esc=a%20b&name=Ada")
    assert text.startswith("[") and text.endswith("]")
    return text[1:-1]


# Inputs are nginx's quoted strings, so \n, \r and \t are characters.
@pytest.mark.parametrize("directive, text, result", [
    ("set_quote_sql_str", r"""it's \"a\" \\ \n\r\t""", r"""'it\'s \"a\" \\ \n\r\t'"""),
    ("set_quote_sql_str", "", "''"),
    ("set_quote_pgsql_str", r"a'b\n", r"E'a\'b\n'"),
    ("set_quote_pgsql_str", "", "''"),
    ("set_quote_pgsql_str", "äß€", "E'äß€'"),
    ("set_quote_json_str", r"""a\"b\\\n\r\t""", r'''"a\"b\\\n\r\t"'''),
    ("set_quote_json_str", "", "null"),
    ("set_quote_json_str", "grün", '"grün"'),
    ("set_escape_uri", "a b/c?d=e&f+g%", "a%20b%2Fc%3Fd%3De%26f%2Bg%25"),
    ("set_escape_uri", "aA0-_.~!*'()", "aA0-_.~!*'()"),
    ("set_escape_uri", "ä", "%C3%A4"),
    ("set_unescape_uri", "a%20b+c%2f%C3%A4", "a b c/ä"),
    ("set_unescape_uri", "100%", "100"),
    ("set_unescape_uri", "a%zb%4", "azb"),
    ("set_encode_hex", "abcde~", "61626364657e"),
    ("set_decode_hex", "61626364657E", "abcde~"),
    ("set_encode_base64", "abcde", "YWJjZGU="),
    ("set_encode_base64", "", ""),
    ("set_decode_base64", "YWJjZGU=", "abcde"),
    ("set_decode_base64", "YWJjZGU", "abcde"),
    ("set_encode_base64url", "a?>~~", "YT8-fn4"),
    ("set_decode_base64url", "YT8-fn4", "a?>~~"),
    ("set_encode_base32", "abcde", "c5h66p35"),
    ("set_encode_base32", "a", "c4======"),
    ("set_encode_base32", "ab", "c5h0===="),
    ("set_encode_base32", "abc", "c5h66==="),
    ("set_encode_base32", "abcd", "c5h66p0="),
    ("set_encode_base32", "", ""),
    ("set_decode_base32", "c5h66p35", "abcde"),
    ("set_decode_base32", "c4======", "a"),
    ("set_decode_base32", "c5h66p0=", "abcd"),
    ("set_decode_base32", "c5h", ""),
    ("set_md5", "hello", hashlib.md5(b"hello").hexdigest()),
    ("set_sha1", "hello", hashlib.sha1(b"hello").hexdigest()),
], ids=lambda value: value if str(value).startswith("set_") else "")
def test_one_value(moongate, directive, text, result):
    gateway = moongate(server=f"""
        location /to {{ {directive} $res "{text}"; return 200 "[$res]"; }}
        location /in-place {{ set $res "{text}"; {directive} $res; return 200 "[$res]"; }}
    """)
    assert value_of(gateway, "/to") == f"[{result}]"
    assert value_of(gateway, "/in-place") == f"[{result}]"


def test_set_quote_pgsql_str_escapes_what_is_not_utf8(moongate):
    assert evaluated(moongate, "set_unescape_uri $raw '%e4'; set_quote_pgsql_str $res $raw;") == r"E'\\344'"


def test_set_quote_json_str_escapes_control_characters(moongate):
    assert evaluated(moongate, "set_unescape_uri $raw 'a%01%1f%0c%08'; set_quote_json_str $res $raw;") == \
        r'"a\u0001\u001f\f\b"'


def test_set_quote_sql_str_escapes_what_no_text_has(moongate):
    assert evaluated(moongate, "set_unescape_uri $raw 'a%00%1a%08%24'; set_quote_sql_str $res $raw;") == r"'a\0\Z\b\$'"


@pytest.mark.parametrize("directive, text", [
    ("set_decode_hex", "abc"), ("set_decode_hex", "zz"), ("set_decode_base64", "a"), ("set_decode_base64", "a*b"),
    ("set_decode_base64url", "a+b="),
], ids=lambda value: value)
def test_what_cannot_be_decoded_is_500(moongate, directive, text):
    gateway = moongate(server=f"location / {{ {directive} $res '{text}'; return 200 x; }}")
    assert gateway.get("/").status == 500
    assert f"{directive}: invalid value" in gateway.error_log()


def test_set_if_empty(moongate):
    gateway = moongate(server="""
        location / { set $a $arg_a; set_if_empty $a "56 $arg_b"; return 200 "$a"; }
    """)
    assert value_of(gateway, "/?a=32") == "32"
    assert value_of(gateway, "/?a=&b=x") == "56 x"
    assert value_of(gateway, "/") == "56 "


def test_arguments_can_be_targets(moongate):
    gateway = moongate(server="""
        location / { set_if_empty $arg_a 15; set_encode_hex $arg_b; return 200 "$arg_a $arg_b"; }
    """)
    assert value_of(gateway, "/?a=71&b=x") == "71 78"
    assert value_of(gateway, "/?b=xy") == "15 7879"


@pytest.mark.parametrize("name", ["set_hmac_sha1", "set_hmac_sha256"])
def test_hmac(moongate, name):
    result = evaluated(moongate, f"{name} $raw 'thisisverysecret' 'some text'; set_encode_base64 $res $raw;")
    digest = hmac.new(b"thisisverysecret", b"some text", name[9:]).digest()
    assert result == base64.b64encode(digest).decode()
    result = evaluated(moongate, f"{name} $raw '' ''; set_encode_hex $res $raw;")
    assert result == hmac.new(b"", b"", name[9:]).hexdigest()


def test_set_base32_padding(moongate):
    statements = "set_base32_padding off; set_encode_base32 $a abcd; set_decode_base32 $b $a; set $res '$a $b';"
    assert evaluated(moongate, statements) == "c5h66p0 abcd"


def test_set_misc_base32_padding(moongate):
    assert evaluated(moongate, "set_misc_base32_padding off; set_encode_base32 $res a;") == "c4"


def test_set_base32_alphabet(moongate):
    gateway = moongate(server="""
        set_base32_alphabet "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        location / { set_encode_base32 $a abcd; set_decode_base32 $b $a; return 200 "$a $b"; }
        location /own { set_base32_alphabet "0123456789abcdefghijklmnopqrstuv";
            set_encode_base32 $a abcd; return 200 "$a"; }
    """)
    assert value_of(gateway) == "MFRGGZA= abcd"
    assert value_of(gateway, "/own") == "c5h66p0="


@pytest.mark.moongate_only
def test_set_decode_base32_of_foreign_letters_is_empty(moongate):
    assert evaluated(moongate, "set_decode_base32 $res 'c5h66p3!';") == ""


def test_set_base32_alphabet_must_have_32_letters(moongate):
    gateway = moongate(server="set_base32_alphabet abc;", start=False)
    tried = gateway.run("-t")
    assert tried.returncode == 1
    assert '"set_base32_alphabet" directive takes an alphabet of 3 bytes but 32 expected' in tried.stdout + tried.stderr


def test_set_random(moongate):
    gateway = moongate(server="""
        location / { set_random $a 10 5; set_random $b 7 7; return 200 "$a $b"; }
        location /bad { set_random $a x 5; return 200 "$a"; }
        location /negative { set_random $a 1 -5; return 200 "$a"; }
    """)
    drawn = {tuple(map(int, value_of(gateway).split())) for _ in range(60)}
    assert {a for a, _ in drawn} <= set(range(5, 11)) and len({a for a, _ in drawn}) > 2
    assert {b for _, b in drawn} == {7}
    assert gateway.get("/bad").status == 500
    assert 'set_random: bad "from" argument: x' in gateway.error_log()
    assert gateway.get("/negative").status == 500


@pytest.mark.parametrize("name, letters", [
    ("set_secure_random_alphanum", r"[a-zA-Z0-9]"), ("set_secure_random_lcalpha", r"[a-z]"),
], ids=["set_secure_random_alphanum", "set_secure_random_lcalpha"])
def test_secure_random(moongate, name, letters):
    gateway = moongate(server=f"""
        location / {{ {name} $a 64; return 200 "$a"; }}
        location /one {{ {name} $a 1; return 200 "$a"; }}
        location /long {{ {name} $a 65; return 200 "$a"; }}
        location /none {{ {name} $a 0; return 200 "$a"; }}
        location /word {{ {name} $a bob; return 200 "$a"; }}
    """)
    texts = {value_of(gateway) for _ in range(8)}
    assert len(texts) == 8 and all(re.fullmatch(letters + "{64}", text) for text in texts)
    assert re.fullmatch(letters, value_of(gateway, "/one"))
    assert [gateway.get(path).status for path in ("/long", "/none", "/word")] == [500, 500, 500]


def test_set_rotate(moongate):
    gateway = moongate(server="""
        location / { set_rotate $n 1 3; return 200 "$n"; }
        location /given { set $n $arg_n; set_rotate $n 3 1; return 200 "$n"; }
        location /bad { set_rotate $n 1 x; return 200 "$n"; }
    """)
    assert [value_of(gateway) for _ in range(7)] == ["1", "2", "3", "1", "2", "3", "1"]
    assert [value_of(gateway, f"/given?n={n}") for n in (1, 2, 3, 9, 0)] == ["2", "3", "1", "1", "1"]
    assert value_of(gateway, "/given?n=2") == "3"
    assert value_of(gateway, "/given?n=x") == "1"
    assert 'bad current value: "x"' in gateway.error_log()
    assert gateway.get("/bad").status == 500
    assert 'set_rotate: bad "to" argument value: "x"' in gateway.error_log()


def test_set_local_today(moongate):
    before = datetime.date.today()
    text = evaluated(moongate, "set_local_today $res;")
    assert text in (str(before), str(datetime.date.today()))


def test_set_formatted_gmt_time(moongate):
    text = evaluated(moongate, "set_formatted_gmt_time $res '%Y-%m-%dT%H:%M:%S ${arg_name}';")
    stamp, name = text.split()
    age = datetime.datetime.utcnow() - datetime.datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S")
    assert name == "Ada" and abs(age.total_seconds()) < 20
    assert evaluated(moongate, "set_formatted_gmt_time $res '';") == ""


def test_set_formatted_local_time(moongate):
    text = evaluated(moongate, "set_formatted_local_time $res '%a %b %d %H:%M %Y';")
    age = datetime.datetime.now() - datetime.datetime.strptime(text, "%a %b %d %H:%M %Y")
    assert -20 < age.total_seconds() < 100


def test_set_hashed_upstream_and_upstream_list(moongate):
    gateway = moongate(
        http="upstream_list universe moon sun earth; upstream_list alone one;", server="""
        location / { set_hashed_upstream $backend universe $arg_id; return 200 "$backend"; }
        location /alone { set_hashed_upstream $backend alone $arg_id; return 200 "$backend"; }
        location /named { set_hashed_upstream $backend $arg_list $arg_id; return 200 "$backend"; }
    """)
    chosen = [value_of(gateway, f"/?id={name}") for name in ("", "abc", "ABC", "x", "hello", "1", "2")]

    def expected(name):
        value = 0
        for c in name.lower().encode():
            value = (value * 31 + c) & (2 ** 64 - 1)
        return ["moon", "sun", "earth"][(value & 0xffffffff) % 3]

    assert chosen == [expected(name) for name in ("", "abc", "ABC", "x", "hello", "1", "2")]
    assert len(set(chosen)) > 1
    assert value_of(gateway, "/alone?id=7") == "one"
    assert value_of(gateway, "/named?list=universe&id=x") == expected("x")
    assert gateway.get("/named?list=nowhere&id=x").status == 500
    assert 'upstream list "nowhere" not defined yet' in gateway.error_log()


def test_set_hashed_upstream_of_an_unknown_list_is_refused(moongate):
    gateway = moongate(server="location / { set_hashed_upstream $a nowhere $arg_id; }", start=False)
    tried = gateway.run("-t")
    assert tried.returncode == 1
    assert 'set_hashed_upstream: upstream list "nowhere" not defined yet' in tried.stdout + tried.stderr


def test_they_run_in_order_with_set_if_and_rewrite(moongate):
    gateway = moongate(server=r"""
        set_sha1 $early $arg_x;
        location / {
            set $a "b c";
            set_escape_uri $a;
            set $b "<$a>";
            if ($arg_x) { set_encode_hex $b $arg_x; }
            set_unescape_uri $a;
            return 200 "$early|$a|$b";
        }
        location ~ ^/re/(.*)$ { set_encode_hex $a $1; return 200 "$a"; }
    """)
    empty, some = hashlib.sha1(b"").hexdigest(), hashlib.sha1(b"1").hexdigest()
    assert value_of(gateway) == f"{empty}|b c|<b%20c>"
    assert value_of(gateway, "/?x=1") == f"{some}|b c|31"
    assert value_of(gateway, "/re/a%20b") == b"a%20b".hex()


@pytest.mark.parametrize("statement, complaint", [
    ("set_md5 a b;", 'invalid variable name "a"'),
    ("set_md5 $host b;", 'the duplicate "host" variable'),
    ("set_md5;", 'invalid number of arguments in "set_md5" directive'),
])
def test_a_wrong_target_is_refused(moongate, statement, complaint):
    gateway = moongate(server=f"location / {{ {statement} }}", start=False)
    tried = gateway.run("-t")
    assert tried.returncode == 1 and complaint in tried.stdout + tried.stderr


@pytest.mark.parametrize("name, argument, result", [
    ("set_escape_uri", " :", "%20%3A"), ("set_unescape_uri", "a%20b", "a b"), ("set_quote_sql_str", "a'b", r"'a\'b'"),
    ("set_quote_pgsql_str", "a'b", r"E'a\'b'"), ("set_quote_json_str", 'a"b', r'"a\"b"'),
    ("set_encode_base32", "abcde", "c5h66p35"), ("set_decode_base32", "c5h66p35", "abcde"),
    ("set_encode_base64", "a", "YQ=="), ("set_decode_base64", "YQ==", "a"),
    ("set_encode_base64url", "a", "YQ"), ("set_decode_base64url", "YQ", "a"),
    ("set_encode_hex", "ab", "6162"), ("set_decode_hex", "6162", "ab"),
    ("set_md5", "a", hashlib.md5(b"a").hexdigest()), ("set_sha1", "a", hashlib.sha1(b"a").hexdigest()),
    ("set_formatted_gmt_time", "x%%", "x%"), ("set_formatted_local_time", "x%%", "x%"),
], ids=lambda value: value if str(value).startswith("set_") else "")
def test_ndk_set_var(moongate, name, argument, result):
    gateway = moongate(server=f"""
        location / {{ content_by_lua_block {{ ngx.print(ndk.set_var.{name}([==[{argument}]==])) }} }}
    """)
    assert value_of(gateway) == result


def test_ndk_set_var_of_drawn_and_dated_values(moongate):
    gateway = moongate(server="""
        location / { content_by_lua_block {
            ngx.say(ndk.set_var.set_secure_random_alphanum(20))
            ngx.say(ndk.set_var.set_secure_random_lcalpha(5))
            ngx.say(ndk.set_var.set_local_today())
        } }
    """)
    alphanum, lcalpha, today = value_of(gateway).split()
    assert re.fullmatch("[a-zA-Z0-9]{20}", alphanum) and re.fullmatch("[a-z]{5}", lcalpha)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", today)


def test_ndk_set_var_tells_errors(moongate):
    gateway = moongate(server="""
        location / { content_by_lua_block {
            ngx.say(select(2, pcall(function() return ndk.set_var.set_nothing("a") end)))
            ngx.say(select(2, pcall(function() return ndk.set_var.set_decode_hex("zz") end)))
            ngx.say(select(2, pcall(function() ndk.set_var.x = 1 end)))
        } }
    """)
    lines = value_of(gateway).splitlines()
    assert 'ndk.set_var: directive "set_nothing" not found or does not use ndk_set_var_value' in lines[0]
    assert "calling directive set_decode_hex failed with code -1" in lines[1]
    assert "not allowed" in lines[2]
