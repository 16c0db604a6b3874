"""cjson and cjson.safe: what lua-cjson 2.1.0 does (compared with Debian's C module in the same VM, and run on the
reference), and the additions of OpenResty's branch."""
import pytest

PRELUDE = r"""
    local cjson = require "cjson"
    local function say(...)
        local values = {...}
        for i = 1, select("#", ...) do values[i] = tostring(values[i]) end
        ngx.say(table.concat(values, "|"))
    end
    local function try(f, ...) local r = {pcall(f, ...)} for i = 1, #r do r[i] = tostring(r[i]) end say(unpack(r)) end
"""


def run(moongate, code):
    return moongate(server="location / { content_by_lua_block { %s %s } }" % (PRELUDE, code)).get("/").text.splitlines()


def test_encode_values(moongate):
    assert run(moongate, r"""
        for _, value in ipairs{true, false, 1, -1, 0, 1.5, 1e100, 12345678901234, 123456789012345678, 0.1, 1/3, "a", "",
                               "\"\\/\b\f\n\r\t\1\127\0é"} do say(cjson.encode(value)) end
        say(cjson.encode(cjson.null)) say(cjson.encode(nil)) say(cjson.encode({})) say(cjson.encode({1, 2, {3}}))
        say(cjson.encode({a = {b = {}}})) say(cjson.encode({[1] = 1, [3] = 3})) say(cjson.encode({[1.5] = "x"}))
        say(cjson.encode({[0] = "x"})) say(cjson.encode({1, nil, cjson.null, 4}))""") == [
            "true", "false", "1", "-1", "0", "1.5", "1e+100", "12345678901234", "1.2345678901235e+17", "0.1",
            "0.33333333333333", '"a"', '""', r'"\"\\\/\b\f\n\r\t\u0001\u007f\u0000é"', "null", "null", "{}", "[1,2,[3]]",
            '{"a":{"b":{}}}', "[1,null,3]", '{"1.5":"x"}', '{"0":"x"}', "[1,null,null,4]"]


def test_encode_errors(moongate):
    assert run(moongate, r"""
        try(cjson.encode, print) try(cjson.encode, {[true] = 1}) try(cjson.encode, 0/0) try(cjson.encode, {1/0})
        try(cjson.encode, {[1] = 1, [100] = 2}) try(cjson.encode) try(cjson.encode, 1, 2)
        local t = {} t[1] = t try(cjson.encode, t) say(cjson.encode({1}))""") == [
            "false|Cannot serialise function: type not supported",
            "false|Cannot serialise boolean: table key must be a number or string",
            "false|Cannot serialise number: must not be NaN or Inf",
            "false|Cannot serialise number: must not be NaN or Inf",
            "false|Cannot serialise table: excessively sparse array",
            "false|bad argument #1 to '?' (expected 1 argument)", "false|bad argument #1 to '?' (expected 1 argument)",
            "false|Cannot serialise, excessive nesting (1001)", "[1]"]


def test_decode_values(moongate):
    assert run(moongate, r"""
        local t = cjson.decode('{"a":[1,-2.5e3,true,false,null,"x",{}],"b":{"c":"d"}}')
        say(t.a[1], t.a[2], t.a[3], t.a[4], t.a[5] == cjson.null, t.a[6], type(t.a[7]), t.b.c)
        say(cjson.decode('"\\u00e9\\ud83d\\ude00\\n\\/"')) say(cjson.decode(' \t\r\n7 ')) say(#cjson.decode('[]'))
        say(cjson.decode('"a\tb"')) say(cjson.decode('0x10')) say(cjson.decode('Infinity')) say(cjson.decode('1e400'))
        say(cjson.decode('-0')) say(cjson.decode('1.') , cjson.decode('[01]')[1])""") == [
            "1|-2500|true|false|true|x|table|d", "é😀", "/", "7", "0", "a\tb", "16", "inf", "inf", "-0", "1|1"]


BAD = ["", "{", "[1,", "[1 2]", '{"a"}', '{"a":}', "{1:2}", '{"a":1,}', "[1,]", '"abc', '"\\x"', '"\\u12"', '"\\ud800"', "nul", "tru",
       "1 2", "[1]]", "@", "-", "}", '{"a":1 "b":2}', '"\\ud800\\u0041"', "[" * 1001]


def test_decode_errors_have_the_place(moongate):
    lines = run(moongate, "for _, text in ipairs{%s} do try(cjson.decode, text) end" % ", ".join("[==[%s]==]" % text for text in BAD))
    assert all(line.startswith("false|") for line in lines) and len(lines) == len(BAD)
    assert lines[0] == "false|Expected value but found T_END at character 1"
    assert lines[3] == "false|Expected comma or array end but found T_NUMBER at character 4"
    assert lines[4] == "false|Expected colon but found T_OBJ_END at character 5"
    assert lines[9] == "false|Expected value but found unexpected end of string at character 5"
    assert lines[-1] == "false|Found too many nested data structures (1001) at character 1001"


@pytest.mark.moongate_only
def test_as_the_module_of_debian(moongate):
    """Byte for byte over generated values and damaged texts."""
    lines = run(moongate, r"""
        local other = assert(package.loadlib("/usr/lib/x86_64-linux-gnu/lua/5.1/cjson.so", "luaopen_cjson"))()
        local plain = other.new() plain.encode_invalid_numbers(true) plain.encode_sparse_array(true)
        local differences = 0
        local function compare(what, ...)
            local a, b = {pcall(cjson[what], ...)}, {pcall(other[what], ...)}
            if what == "decode" and a[1] and b[1] then a[2], b[2] = plain.encode({a[2]}), plain.encode({b[2]}) end
            if a[1] ~= b[1] or tostring(a[2]) ~= tostring(b[2]) then
                differences = differences + 1
                if differences < 5 then say(what, tostring((...)), a[2], b[2]) end
            end
            return a[2]
        end
        math.randomseed(1)
        local random = math.random
        local function value(depth)
            local kind = random(depth > 4 and 6 or 9)
            if kind == 1 then return random(1e9) - 5e8
            elseif kind == 2 then return (random() - 0.5) * 10 ^ random(-20, 20)
            elseif kind == 3 then local t = {} for i = 1, random(0, 12) do t[i] = string.char(random(0, 255)) end return table.concat(t)
            elseif kind == 4 then return random() < 0.5
            elseif kind == 5 then return cjson.null
            elseif kind == 6 then return random(1e6) / 8
            elseif kind == 7 then local t = {} for i = 1, random(0, 5) do t[i] = value(depth + 1) end return t
            elseif kind == 8 then local t = {} for i = 1, random(0, 4) do t["k" .. random(99)] = value(depth + 1) end return t
            else local t = {} for i = 1, random(0, 3) do t[random(30)] = value(depth + 1) end return t end
        end
        local count = 0
        for i = 1, 2000 do
            local text = compare("encode", value(1))
            for j = 1, 4 do
                local at = random(#text)
                local damaged = text:sub(1, at - 1) .. string.char(random(0, 255)) .. text:sub(at + random(0, 2))
                compare("decode", damaged)
                count = count + 1
            end
            compare("decode", text)
        end
        for _, text in ipairs{"nan", "NaN", "-nan", "inf", "-Infinity", "+1", "0x1p3", "-0x1F", "1e", "1e+", "--1", "1-2", "00", "-01", "1.e5", ".5", "i", "I", "n"} do
            for _, setting in ipairs{true, false} do
                cjson.decode_invalid_numbers(setting) other.decode_invalid_numbers(setting)
                compare("decode", text) compare("decode", "[" .. text .. "]")
            end
        end
        for _, mode in ipairs{"on", "null", "off"} do
            cjson.encode_invalid_numbers(mode) other.encode_invalid_numbers(mode)
            for _, n in ipairs{0/0, 1/0, -1/0} do compare("encode", {n}) end
        end
        for precision = 1, 14 do
            cjson.encode_number_precision(precision) other.encode_number_precision(precision)
            for _, n in ipairs{1/3, 123456, 99999999999999, 1e14, 1e15, -0.0, 2^53, 1e-7, 100} do compare("encode", n) end
        end
        for _, call in ipairs{{"encode_sparse_array", true, 3, 4}, {"encode_sparse_array"}, {"encode_max_depth", 5}, {"decode_max_depth", 0},
                              {"encode_keep_buffer", false}, {"encode_keep_buffer", "maybe"},
                              {"encode_invalid_numbers", true}, {"encode_invalid_numbers", "null"}, {"encode_max_depth", 1, 2}} do
            compare(unpack(call))
        end
        compare("encode", {{{{{{1}}}}}}) compare("encode", {[1] = 1, [1000] = 2})
        say(count, differences)""")
    assert lines == ["8000|0"]


def test_settings(moongate):
    assert run(moongate, r"""
        say(cjson.encode_sparse_array()) say(cjson.encode_max_depth()) say(cjson.decode_max_depth())
        say(cjson.encode_number_precision()) say(cjson.encode_keep_buffer()) say(cjson.encode_invalid_numbers())
        say(cjson.decode_invalid_numbers())
        local own = cjson.new() own.encode_max_depth(2) own.decode_max_depth(2) own.encode_number_precision(3)
        say(own.encode(1/3), cjson.encode(1/3)) try(own.encode, {{{1}}}) try(own.decode, "[[[1]]]")
        own.encode_sparse_array(true) say(own.encode({[100] = 1})) own.encode_invalid_numbers("null") say(own.encode(0/0))
        own.decode_invalid_numbers(false) try(own.decode, "0x10")
        say(cjson._NAME, cjson._VERSION, type(cjson.null))""") == [
            "false|2|10", "1000", "1000", "14", "true", "false", "true", "0.333|0.33333333333333",
            "false|Cannot serialise, excessive nesting (3)", "false|Found too many nested data structures (3) at character 3", '{"100":1}', "null",
            "false|Expected value but found invalid number at character 1", "cjson|2.1.0|userdata"]


def test_safe(moongate):
    assert run(moongate, r"""
        local safe = require "cjson.safe"
        say(safe.decode("[")) say(safe.encode(print)) say(safe.encode({1})) say(safe.decode("[7]")[1])
        say(safe.new().decode("{")) say(safe.null == cjson.null)""") == [
            "nil|Expected value but found T_END at character 2", "nil|Cannot serialise function: type not supported", "[1]", "7",
            "nil|Expected object key string but found T_END at character 2", "true"]


@pytest.mark.moongate_only
def test_array_mt_and_empty_array_mt_and_empty_array(moongate):
    assert run(moongate, r"""
        local array = setmetatable({}, cjson.array_mt) say(cjson.encode(array))
        array[1] = 1 array[2] = 3 array.x = "left out" say(cjson.encode({a = array}))
        say(cjson.encode(setmetatable({}, cjson.empty_array_mt))) say(cjson.encode(setmetatable({1}, cjson.empty_array_mt)))
        say(cjson.encode(setmetatable({a = 1}, cjson.empty_array_mt)):sub(1, 1)) say(cjson.encode({list = cjson.empty_array}))
        say(cjson.empty_array_mt == require("cjson.safe").empty_array_mt, cjson.new().array_mt == cjson.array_mt)""") == [
            "[]", '{"a":[1,3]}', "[]", "[1]", "{", '{"list":[]}', "true|true"]


@pytest.mark.moongate_only
def test_encode_empty_table_as_object(moongate):
    assert run(moongate, r"""
        say(cjson.encode_empty_table_as_object()) cjson.encode_empty_table_as_object(false)
        say(cjson.encode({a = {}}))""") == ["true", '{"a":[]}']


@pytest.mark.moongate_only
def test_decode_array_with_array_mt(moongate):
    assert run(moongate, r"""
        say(cjson.decode_array_with_array_mt(), getmetatable(cjson.decode("[]"))) cjson.decode_array_with_array_mt(true)
        local t = cjson.decode('{"a":[],"b":{}}') say(getmetatable(t.a) == cjson.array_mt, getmetatable(t.b))
        say(cjson.encode(t.a))""") == ["false|nil", "true|nil", "[]"]


@pytest.mark.moongate_only
def test_encode_escape_forward_slash(moongate):
    assert run(moongate, r"""
        say(cjson.encode_escape_forward_slash(), cjson.encode("a/b")) cjson.encode_escape_forward_slash(false)
        say(cjson.encode("a/b\"")) cjson.encode_escape_forward_slash(true) say(cjson.encode("/"))""") == [
            r'true|"a\/b"', r'"a/b\""', r'"\/"']


@pytest.mark.moongate_only
def test_encode_skip_unsupported_value_types(moongate):
    assert run(moongate, r"""
        cjson.encode_skip_unsupported_value_types(true) say(cjson.encode({1, print, 2})) say(cjson.encode({a = print}))""") == [
            "[1,2]", "{}"]


@pytest.mark.moongate_only
def test_number_precision_up_to_16(moongate):
    assert run(moongate, r"""cjson.encode_number_precision(16) say(cjson.encode(0.1234567890123456)) say(cjson.encode(123456789012345678))
        try(cjson.encode_number_precision, 17)""") == [
            "0.1234567890123456", "1.234567890123457e+17",
            "false|bad argument #1 to '?' (expected integer between 1 and 16)"]
