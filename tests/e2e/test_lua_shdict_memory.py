"""What fits in a lua_shared_dict, and the C functions that Lua libraries reach through ffi.C beside resty.core."""
import pytest

CDEF = """local ffi = require "ffi"
    pcall(ffi.cdef, [[ typedef struct { size_t len; const unsigned char *data; } ngx_str_t; ]])
    pcall(ffi.cdef, [[
        intptr_t ngx_atoi(const unsigned char *line, size_t n);
        intptr_t ngx_hextoi(const unsigned char *line, size_t n);
        unsigned char *ngx_hex_dump(unsigned char *dst, const unsigned char *src, size_t len);
        intptr_t ngx_parse_time(ngx_str_t *line, uintptr_t is_sec);
        typedef struct { uint8_t type;
            union { int b; double n; struct { size_t len; char *data; } s; } value; } figure_value_t;
        void *ngx_http_lua_find_zone(const char *data, size_t len);
        intptr_t ngx_http_lua_shared_dict_get(void *zone, const char *k, size_t n, figure_value_t *v);
    ]])
    local C = ffi.C
"""


def lines(moongate, code, **arguments):
    gateway = moongate(server="location / { content_by_lua_block { %s } }" % code, **arguments)
    answer = gateway.get("/")
    assert answer.status == 200, gateway.logs()
    return answer.text.splitlines()


def test_shdict_one_value_of_half_the_dictionary(moongate):
    assert lines(moongate, """
        local d = ngx.shared.dogs
        ngx.say(d:set("small", "x"))
        local ok, err, forcible = d:set("big", ("x"):rep(3 * 1024 * 1024))
        ngx.say(ok, " ", err, " ", forcible, " ", #d:get("big"), " ", d:get("small"))
        ok, err, forcible = d:set("other", ("y"):rep(4 * 1024 * 1024))
        ngx.say(ok, " ", err, " ", forcible, " ", d:get("big"), " ", #d:get("other"))
        ngx.say((select(2, d:safe_set("third", ("z"):rep(3 * 1024 * 1024)))))
        ngx.say(#d:get("other"), " ", d:get("third"))
        """, http="lua_shared_dict dogs 6m;") == [
            "truenilfalse", "true nil false 3145728 x", "true nil true nil 4194304",
            "no memory", "4194304 nil"]


@pytest.mark.parametrize("operation", ["add", "replace"])
def test_shdict_nil_is_neither_added_nor_replaced(moongate, operation):
    assert lines(moongate, 'local d = ngx.shared.d d:set("key", 1) ngx.say((select(2, d:%s("key", nil)))) ngx.say(d:get("key"))'
                 % operation, http="lua_shared_dict d 1m;") == ["attempt to add or replace nil values", "1"]


@pytest.mark.parametrize("size, pages", [("16k", (1,)), ("100k", (22, 23))])
def test_shdict_free_space_of_an_empty_dictionary(moongate, size, pages):
    free, capacity = lines(moongate, 'ngx.say(ngx.shared.d:free_space()) ngx.say(ngx.shared.d:capacity())',
                           http=f"lua_shared_dict d {size};")
    assert int(free) / 4096 in pages
    assert int(capacity) == int(size[:-1]) * 1024


@pytest.mark.parametrize("text, expected", [
    ("0", 0), ("123", 123), ("9223372036854775807", 2**63 - 1), ("9223372036854775808", -1), ("", -1), ("-1", -1),
    ("12x", -1)])
def test_ffi_ngx_atoi(moongate, text, expected):
    assert lines(moongate, CDEF + f'ngx.say(tostring(C.ngx_atoi("{text}", {len(text)})))') == [f"{expected}LL"]


@pytest.mark.parametrize("text, expected", [
    ("0", 0), ("fF", 255), ("7fffffffffffffff", 2**63 - 1), ("8000000000000000", -1), ("", -1), ("g", -1)])
def test_ffi_ngx_hextoi(moongate, text, expected):
    assert lines(moongate, CDEF + f'ngx.say(tostring(C.ngx_hextoi("{text}", {len(text)})))') == [f"{expected}LL"]


def test_ffi_ngx_hex_dump(moongate):
    assert lines(moongate, CDEF + r"""
        local to = ffi.new("unsigned char[9]")
        local stop = C.ngx_hex_dump(to, "\0\171\255z", 4)
        ngx.say(ffi.string(to, 8), " ", stop - to, " ", to[8])""") == ["00abff7a 8 0"]


@pytest.mark.parametrize("text, seconds, expected", [
    ("30", 1, 30), ("1h 30m", 1, 5400), ("1y", 1, 31536000), ("10ms", 1, -1), ("x", 1, -1), ("", 1, -1),
    ("30", 0, 30000), ("1s500ms", 0, 1500), ("1y", 0, -1)])
def test_ffi_ngx_parse_time(moongate, text, seconds, expected):
    assert lines(moongate, CDEF + f"""
        local text = "{text}"
        local str = ffi.new("ngx_str_t[1]")
        str[0].len, str[0].data = #text, ffi.cast("const unsigned char *", text)
        ngx.say(tostring(C.ngx_parse_time(str, {seconds})))""") == [f"{expected}LL"]


def test_ffi_find_zone_and_shared_dict_get(moongate):
    assert lines(moongate, CDEF + """
        local d = ngx.shared.dogs
        d:set("number", 2.5) d:set("yes", true) d:set("text", "hello world") d:set("old", 1, 0.001)
        d:lpush("list", 1)
        ngx.sleep(0.01)
        local zone = C.ngx_http_lua_find_zone("dogs", 4)
        ngx.say(zone == C.ngx_http_lua_find_zone("cats", 4), " ", C.ngx_http_lua_find_zone("none", 4) == nil)
        local v = ffi.new("figure_value_t")
        local function get(key) return tonumber(C.ngx_http_lua_shared_dict_get(zone, key, #key, v)) end
        ngx.say(get("number"), " ", v.type, " ", v.value.n)
        ngx.say(get("yes"), " ", v.type, " ", v.value.b)
        v.value.s.len = 0
        ngx.say(get("text"))
        local room = ffi.new("char[5]")
        v.value.s.len, v.value.s.data = 5, room
        ngx.say(get("text"), " ", v.type, " ", ffi.string(room, v.value.s.len))
        ngx.say(get("old"), " ", get("absent"), " ", get("list"))
        """, http="lua_shared_dict dogs 1m; lua_shared_dict cats 1m;") == [
            "false true", "0 3 2.5", "0 1 1", "-1", "0 4 hello", "-4 -5 -1"]
