"""map: keys, wildcards, regular expressions, values with variables."""
import pytest


def answers(gateway, *queries):
    return [gateway.get("/?" + query).text for query in queries]


def test_exact_keys_ignore_case_and_regexes_come_after_them_in_order(moongate):
    gateway = moongate(http="""
        map $arg_k $value {
            default other;
            ""      empty;
            one     1;
            ~^o     "starts with o";
            "~^n(?<number>\\d+)x(\\d)"  "$number,$2";
            ~*^CASE "any case";
            \\default "the word";
        }""", server="return 200 $value;")
    assert answers(gateway, "k=one", "k=ONE", "k=oh", "k=n42x7", "k=cAsE", "k=default", "k=z", "") == [
        "1", "1", "starts with o", "42,7", "any case", "the word", "other", "empty"]


def test_host_names_and_wildcards(moongate):
    gateway = moongate(http="""
        map $arg_h $value {
            hostnames;
            default          none;
            www.example.com  exact;
            *.example.com    front;
            *.a.example.com  longer;
            .both.org        both;
            www.example.*    back;
        }""", server="return 200 $value;")
    assert answers(gateway, "h=www.example.com", "h=x.example.com", "h=x.y.a.example.com", "h=a.example.com",
                   "h=example.com", "h=both.org", "h=x.both.org", "h=www.example.net", "h=WWW.Example.Com.") == [
        "exact", "front", "longer", "front", "none", "both", "both", "back", "exact"]


def test_sources_and_values_have_variables_and_maps_feed_maps(moongate):
    gateway = moongate(http="""
        map $arg_a-$arg_b $joined { x-y "both $arg_c"; default "neither"; }
        map $joined $second { "both z" yes; }
    """, server='return 200 "$joined|$second";')
    assert answers(gateway, "a=x&b=y&c=z", "a=x&b=y&c=q", "a=x") == ["both z|yes", "both q|", "neither|"]


def test_volatile_values_are_looked_up_again(moongate):
    maps = "map $key $value { %s a 1; b 2; }"
    server = 'set $key a; set $first $value; set $key b; return 200 "$first$value";'
    assert moongate(http=maps % "volatile;", server=server).get("/").text == "12"
    assert moongate(http=maps % "", server=server).get("/").text == "11"


def test_included_entries(moongate):
    gateway = moongate(files={"conf/entries": "a 1;\nb 2;\n"}, http="map $arg_k $value { include entries; default 0; }",
                       server="return 200 $value;")
    assert answers(gateway, "k=a", "k=b", "k=c") == ["1", "2", "0"]


def test_a_big_map(moongate):
    entries = "".join(f"key{n} value{n};\n" for n in range(5000))
    gateway = moongate(http=f"map_hash_max_size 20000; map_hash_bucket_size 128; map $arg_k $value {{ {entries} }}",
                       server="return 200 $value;")
    assert answers(gateway, "k=key0", "k=key4999", "k=key5000") == ["value0", "value4999", ""]


@pytest.mark.parametrize("entries, message", [
    ("a 1; A 2;", 'conflicting parameter "a"'),
    ("default 1; default 2;", "duplicate default map parameter"),
    ("a;", "invalid number of the map parameters"),
    ("hostnames; a*b 1;", 'invalid hostname or wildcard "a*b"'),
    ("a $nobody;", 'unknown "nobody" variable'),
    ("~( 1;", "pcre2_compile() failed"),
])
def test_bad_entries_are_refused_with_nginx_s_words(moongate, entries, message):
    gateway = moongate(http=f"map $arg_k $value {{\n{entries}\n}}", server="return 200 $value;", start=False)
    result = gateway.run("-t")
    assert result.returncode == 1
    assert message in result.stderr
