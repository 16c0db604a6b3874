"""array-var: arrays in variables, made, mapped and joined in order with `set`."""
import pytest

pytestmark = pytest.mark.moongate_only  # Debian has no package of the module


def result(moongate, statements, query="names=bob,marry,nomas"):
    gateway = moongate(server='location / { %s return 200 "[$res]"; }' % statements)
    answer = gateway.get("/?" + query)
    assert answer.status == 200, gateway.error_log()
    return answer.text[1:-1]


@pytest.mark.parametrize("separator, text, most, joined", [
    (",", "bob,marry,nomas", "", "bob|marry|nomas"),
    (",", "bob", "", "bob"),
    (",", "", "", ""),
    (",", ",a,,b,", "", "|a||b|"),
    (", ", "a, b,c", "", "a|b,c"),
    ("", "abc", "", "a|b|c"),
    ("", "", "", ""),
    (",", "a,b,c", "2", "a|b,c"),
    (",", "a,b,c", "1", "a,b,c"),
    (",", "a,b,c", "0", "a|b|c"),
    (",", "a,b,c", "9", "a|b|c"),
    ("", "abcd", "3", "a|b|cd"),
])
def test_array_split(moongate, separator, text, most, joined):
    assert result(moongate, f"array_split '{separator}' '{text}' {most} to=$a; array_join '|' $a to=$res;") == joined
    in_place = f"set $res '{text}'; array_split '{separator}' $res {most}; array_join '|' $res;"
    assert result(moongate, in_place) == joined


def test_array_join(moongate):
    assert result(moongate, "array_split , $arg_names to=$res; array_join + $res;") == "bob+marry+nomas"
    assert result(moongate, "array_split , $arg_names to=$a; array_join '' $a to=$res;") == "bobmarrynomas"
    assert result(moongate, "array_split , a,b to=$a; array_join $arg_sep $a to=$res;", "sep=<>") == "a<>b"


def test_array_map(moongate):
    statements = "array_split , $arg_names to=$a; array_map '[$array_it $arg_x]' $a; array_join '' $a to=$res;"
    assert result(moongate, statements, "names=a,b&x=1") == "[a 1][b 1]"
    statements = """array_split , $arg_names to=$a; array_map '<$array_it>' $a to=$b;
        array_join ' ' $a; array_join ' ' $b; set $res "$a $b";"""
    assert result(moongate, statements) == "bob marry nomas <bob> <marry> <nomas>"
    assert result(moongate, "array_split , a,b to=$a; array_map '' $a; array_join - $a to=$res;") == "-"


@pytest.mark.parametrize("function, joined", [
    ("set_quote_sql_str", "'bob'|'m\\'y'"), ("set_quote_json_str", '"bob"|"m\'y"'), ("set_encode_hex", "626f62|6d2779"),
])
def test_array_map_op(moongate, function, joined):
    query = "names=bob,m'y"
    statements = f"array_split , $arg_names to=$a; array_map_op {function} $a; array_join | $a to=$res;"
    assert result(moongate, statements, query) == joined
    statements = f"""array_split , $arg_names to=$a; array_map_op {function} $a to=$b;
        array_join | $a; array_join | $b to=$res;"""
    assert result(moongate, statements, query) == joined


def test_an_array_can_be_copied(moongate):
    assert result(moongate, "array_split , a,b to=$a; set $c $a; array_map x$array_it $a; array_join - $c to=$res;") == "a-b"


@pytest.mark.parametrize("statements, complaint", [
    ("array_join , $arg_x to=$a;", 'array_join: invalid array variable value in the 2nd argument: "1234"'),
    ("array_map x $arg_x to=$a;", 'array_map: invalid array variable value in the 2nd argument: "1234"'),
    ("array_map_op set_md5 $arg_x to=$a;", "array_map_op: invalid array variable value"),
    ("array_split , a to=$a; array_map_op set_nothing $a;", 'array_map_op: directive "set_nothing" not found'),
    ("array_split , a to=$a; array_map_op set_hmac_sha1 $a;", 'array_map_op: directive "set_hmac_sha1" not found'),
    ("array_split , zz to=$a; array_map_op set_decode_hex $a;", "set_decode_hex: invalid value"),
    ("array_split , a x to=$a;", 'array_split: invalid max items: "x"'),
])
def test_what_makes_no_sense_is_500(moongate, statements, complaint):
    gateway = moongate(server="location / { %s return 200 x; }" % statements)
    assert gateway.get("/?x=1234").status == 500
    assert complaint in gateway.error_log()


@pytest.mark.parametrize("text", [
    b"%00array%00", b"%00array%00%01%00%00%00", b"%00array%00%ff%ff%ff%ff", b"%00array%00%01%00%00%00%ff%ff%ff%7f",
    b"%00array%00%01%00%00%00%01%00%00%00", b"%00array%00%00%00%00%00x", b"x" * 40,
])
def test_a_client_cannot_forge_an_array_that_is_none(moongate, text):
    gateway = moongate(server="location / { set_unescape_uri $a $arg_a; array_join , $a; return 200 x; }")
    assert gateway.get("/?a=" + text.decode()).status == 500


@pytest.mark.parametrize("statement, complaint", [
    ("array_split , $arg_a to=$b x;", 'array_split: unexpected argument "x"'),
    ("array_split , $arg_a 3 $b;", 'array_split: expecting the "to" option at the 4th argument: "$b"'),
    ("array_split , $arg_a 3 to=$b x;", 'array_split: unexpected argument "x"'),
    ("array_split ,;", 'invalid number of arguments in "array_split" directive'),
    ("array_join , $a $b;", 'array_join: unexpected argument "$b"'),
    ("array_map x $a $b;", 'array_map: expecting the "to" option at the 3rd argument: "$b"'),
    ("array_map_op set_md5 $a $b;", 'array_map_op: unexpected argument "$b"'),
    ("array_join , $a to=b;", 'invalid variable name "b"'),
])
def test_wrong_arguments_are_refused(moongate, statement, complaint):
    tried = moongate(server=f"location / {{ set $a 1; {statement} }}", start=False).run("-t")
    assert tried.returncode == 1 and complaint in tried.stdout + tried.stderr
