// cjson.encode: which Lua tables are arrays, how numbers and strings are written, limits.
#include <fmt/compile.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdio>

#include "lua/cjson.h"

namespace moongate::lua {
namespace {

// What stands for each byte in a string; empty: the byte itself.
constexpr auto kEscapes = [] {
    std::array<std::array<char, 7>, 256> table{};
    constexpr char kHex[] = "0123456789abcdef";
    const auto code = [&](unsigned byte) {
        table[byte] = {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15], 0};
    };
    const auto letter = [&](unsigned char byte, char escaped) { table[byte] = {'\\', escaped}; };
    for (unsigned byte = 0; byte < 32; ++byte) {
        code(byte);
    }
    code(127);
    letter('\b', 'b');
    letter('\t', 't');
    letter('\n', 'n');
    letter('\f', 'f');
    letter('\r', 'r');
    letter('"', '"');
    letter('\\', '\\');
    letter('/', '/');
    return table;
}();

class Encoder {
public:
    Encoder(lua_State* L, CjsonSettings& settings) : L_(L), settings_(settings) {}

    // False: the value was left out (skip_unsupported), nothing was written.
    bool value(int depth) {
        switch (lua_type(L_, -1)) {
            case LUA_TSTRING:
                string(-1);
                return true;
            case LUA_TNUMBER:
                number(-1);
                return true;
            case LUA_TBOOLEAN:
                out().append(lua_toboolean(L_, -1) != 0 ? "true" : "false");
                return true;
            case LUA_TNIL:
                out().append("null");
                return true;
            case LUA_TTABLE:
                table(depth + 1);
                return true;
            case LUA_TLIGHTUSERDATA:
                if (const void* address = lua_touserdata(L_, -1); address == nullptr) {
                    out().append("null");
                    return true;
                } else if (address == cjson_empty_array_value()) {
                    out().append("[]");
                    return true;
                }
                break;
            default:
                break;
        }
        if (settings_.skip_unsupported != 0) {
            return false;
        }
        refuse(-1, "type not supported");
    }

private:
    std::string& out() const { return settings_.buffer; }

    [[noreturn]] void refuse(int index, const char* reason) const {
        luaL_error(L_, "Cannot serialise %s: %s", luaL_typename(L_, index), reason);
        __builtin_unreachable();
    }

    void string(int index) const {
        std::size_t size = 0;
        const char* text = lua_tolstring(L_, index, &size);
        std::string& to = out();
        to += '"';
        std::size_t from = 0;
        for (std::size_t i = 0; i < size; ++i) {
            const char* escape = kEscapes[static_cast<unsigned char>(text[i])].data();
            if (*escape == '\0' || (text[i] == '/' && settings_.escape_forward_slash == 0))
                [[likely]] {
                continue;
            }
            to.append(text + from, i - from).append(escape);
            from = i + 1;
        }
        to.append(text + from, size - from);
        to += '"';
    }

    void number(int index) const {
        const double value = lua_tonumber(L_, index);
        std::string& to = out();
        if (!std::isfinite(value)) {
            if (settings_.encode_invalid_numbers == 0) {
                refuse(index, "must not be NaN or Inf");
            }
            to.append(settings_.encode_invalid_numbers == 2 ? "null"
                      : std::isnan(value)                   ? "nan"
                      : value > 0                           ? "inf"
                                                            : "-inf");
            return;
        }
        constexpr double kExactDigits = 1e14;
        if (settings_.number_precision >= 14 && value > -kExactDigits && value < kExactDigits) {
            const auto whole = static_cast<std::int64_t>(value);
            if (static_cast<double>(whole) == value && (whole != 0 || !std::signbit(value))) {
                const fmt::format_int digits(whole);
                to.append(digits.data(), digits.size());
                return;
            }
        }
        char text[40];
        const int size =
            std::snprintf(text, sizeof text, "%.*g", settings_.number_precision, value);
        to.append(text, static_cast<std::size_t>(size));
    }

    bool has_metatable_of(const void* key) const {
        lua_pushlightuserdata(L_, const_cast<void*>(key));
        lua_rawget(L_, LUA_REGISTRYINDEX);
        const bool same = lua_rawequal(L_, -1, -2) != 0;
        lua_pop(L_, 1);
        return same;
    }

    // The length as an array; -1: an object.
    int array_length() const {
        double most = 0;
        int items = 0;
        lua_pushnil(L_);
        while (lua_next(L_, -2) != 0) {
            const double key = lua_type(L_, -2) == LUA_TNUMBER ? lua_tonumber(L_, -2) : 0;
            if (!(key >= 1) || std::floor(key) != key || key > 2147483647.0) {
                lua_pop(L_, 2);
                return -1;
            }
            most = std::max(most, key);
            ++items;
            lua_pop(L_, 1);
        }
        if (settings_.sparse_ratio > 0 &&
            most > static_cast<double>(items) * settings_.sparse_ratio &&
            most > settings_.sparse_safe) {
            if (settings_.sparse_convert == 0) {
                refuse(-1, "excessively sparse array");
            }
            return -1;
        }
        return static_cast<int>(most);
    }

    void table(int depth) {
        if (depth > settings_.encode_max_depth || lua_checkstack(L_, 5) == 0) {
            luaL_error(L_, "Cannot serialise, excessive nesting (%d)", depth);
        }
        bool as_array = false;
        bool empty_as_array = false;
        if (lua_getmetatable(L_, -1) != 0) {
            as_array = has_metatable_of(cjson_array_key());
            empty_as_array = has_metatable_of(cjson_empty_array_key());
            lua_pop(L_, 1);
        }
        if (as_array) {
            array(depth, static_cast<int>(lua_objlen(L_, -1)));
            return;
        }
        const int length = array_length();
        if (length > 0 || (length == 0 && settings_.empty_table_as_object == 0)) {
            array(depth, length);
        } else if (length == 0 && empty_as_array) {
            array(depth, 0);
        } else {
            object(depth);
        }
    }

    void array(int depth, int length) {
        out() += '[';
        bool first = true;
        for (int i = 1; i <= length; ++i) {
            const std::size_t before = out().size();
            if (!first) {
                out() += ',';
            }
            lua_rawgeti(L_, -1, i);
            if (value(depth)) {
                first = false;
            } else {
                out().resize(before);
            }
            lua_pop(L_, 1);
        }
        out() += ']';
    }

    void object(int depth) {
        out() += '{';
        bool first = true;
        lua_pushnil(L_);
        while (lua_next(L_, -2) != 0) {
            const std::size_t before = out().size();
            if (!first) {
                out() += ',';
            }
            switch (lua_type(L_, -2)) {
                case LUA_TNUMBER:
                    out() += '"';
                    number(-2);
                    out().append("\":");
                    break;
                case LUA_TSTRING:
                    string(-2);
                    out() += ':';
                    break;
                default:
                    refuse(-2, "table key must be a number or string");
            }
            if (value(depth)) {
                first = false;
            } else {
                out().resize(before);
            }
            lua_pop(L_, 1);
        }
        out() += '}';
    }

    lua_State* L_;
    CjsonSettings& settings_;
};

}  // namespace

void cjson_encode(lua_State* L, CjsonSettings& settings) {
    settings.buffer.clear();
    Encoder(L, settings).value(0);
}

}  // namespace moongate::lua
