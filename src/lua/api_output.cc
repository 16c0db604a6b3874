// ngx.say, print, flush, eof, send_headers. Arguments are measured, then written straight into the
// output's buffer. Source: lua-nginx-module's documentation of these functions.
#include <cmath>

#include "engine/request.h"
#include "lua/api.h"
#include "lua/context.h"

namespace moongate::lua {
namespace {

constexpr char kOutputKinds[] = "string, number, boolean, nil, ngx.null, or array table";
constexpr int kMaxDepth = 100;  // of tables in tables

// LuaJIT's own text of a number at `index`, with integers as plain digits.
std::size_t format_number(lua_State* L, int index, char* to) {
    const double number = lua_tonumber(L, index);
    if (number == static_cast<double>(static_cast<std::int32_t>(number)) &&
        !(number == 0 && std::signbit(number))) {
        const auto [end, error] = std::to_chars(to, to + 32, static_cast<std::int32_t>(number));
        return static_cast<std::size_t>(end - to);
    }
    return static_cast<std::size_t>(std::snprintf(to, 64, "%.14g", number));
}

std::size_t measure(lua_State* L, int index, int argument, int depth, const char* kinds);

std::size_t measure_table(lua_State* L, int index, int argument, int depth, const char* kinds) {
    if (depth > kMaxDepth || lua_checkstack(L, 8) == 0) {
        luaL_argerror(L, argument, "table nested too deeply");
    }
    int last = 0;
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        if (lua_type(L, -2) == LUA_TNUMBER) {
            const double key = lua_tonumber(L, -2);
            if (std::floor(key) == key && key >= 1) {
                last = std::max(last, static_cast<int>(key));
                lua_pop(L, 1);
                continue;
            }
        }
        lua_pop(L, 2);
        luaL_argerror(L, argument, "non-array table found");
    }
    std::size_t size = 0;
    for (int i = 1; i <= last; ++i) {
        lua_rawgeti(L, index, i);
        size += measure(L, lua_gettop(L), argument, depth + 1, kinds);
        lua_pop(L, 1);
    }
    return size;
}

std::size_t measure(lua_State* L, int index, int argument, int depth, const char* kinds) {
    // Sockets take nil and booleans by themselves only, ngx.null never.
    const bool lenient = kinds == kOutputKinds;
    switch (lua_type(L, index)) {
        case LUA_TSTRING:
            return lua_objlen(L, index);
        case LUA_TNUMBER: {
            char text[64];
            return format_number(L, index, text);
        }
        case LUA_TNIL:
            if (depth == 0 || lenient) {
                return 3;
            }
            break;
        case LUA_TBOOLEAN:
            if (depth == 0 || lenient) {
                return lua_toboolean(L, index) != 0 ? 4 : 5;
            }
            break;
        case LUA_TTABLE:
            return measure_table(L, index, argument, depth, kinds);
        case LUA_TLIGHTUSERDATA:
            if (lenient && lua_touserdata(L, index) == nullptr) {
                return 4;
            }
            break;
        default:
            break;
    }
    const char* type = luaL_typename(L, index);
    const char* message =
        depth > 0 ? lua_pushfstring(L, "bad data type %s found", type)
                  : lua_pushfstring(L, "%s expected, %sgot %s", kinds, lenient ? "but " : "", type);
    luaL_argerror(L, argument, message);
    return 0;
}

char* append(char* to, std::string_view text) {
    std::memcpy(to, text.data(), text.size());
    return to + text.size();
}

char* write(lua_State* L, int index, char* to) {
    switch (lua_type(L, index)) {
        case LUA_TSTRING:
            return append(to, to_view(L, index));
        case LUA_TNUMBER: {
            char text[64];
            return append(to, {text, format_number(L, index, text)});
        }
        case LUA_TNIL:
            return append(to, "nil");
        case LUA_TBOOLEAN:
            return append(to, lua_toboolean(L, index) != 0 ? "true" : "false");
        case LUA_TLIGHTUSERDATA:
            return append(to, "null");
        default: {
            int last = 0;
            lua_pushnil(L);
            while (lua_next(L, index) != 0) {
                last = std::max(last, static_cast<int>(lua_tonumber(L, -2)));
                lua_pop(L, 1);
            }
            for (int i = 1; i <= last; ++i) {
                lua_rawgeti(L, index, i);
                to = write(L, lua_gettop(L), to);
                lua_pop(L, 1);
            }
            return to;
        }
    }
}

int fail(lua_State* L, const char* why) {
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

// Output is for the phases that may make a response.
Context& check_output(lua_State* L) {
    Context& context = check_request(L);
    if (!may_answer(context.phase())) {
        luaL_error(L, "API disabled in the context of %s", directive_of(context.phase()));
    }
    return context;
}

template <bool NewLine>
int say(lua_State* L) {
    Context& context = check_output(L);
    Output& output = context.output;
    if (output.taken_over()) [[unlikely]] {
        return fail(L, "raw request socket acquired");
    }
    if (context.request->header_only) {
        return fail(L, "header only");
    }
    if (output.eof()) {
        return fail(L, "seen eof");
    }
    const int count = lua_gettop(L);
    std::size_t size = NewLine ? 1 : 0;
    for (int i = 1; i <= count; ++i) {
        size += measure(L, i, i, 0, kOutputKinds);
    }
    if (!output.begin(context)) {
        return fail(L, "nginx output filter error");
    }
    if (size > 0) {
        char* to = output.reserve(context, size);
        for (int i = 1; i <= count; ++i) {
            to = write(L, i, to);
        }
        if (NewLine) {
            *to = '\n';
        }
        if (!output.commit(context)) {
            return fail(L, "nginx output filter error");
        }
    }
    lua_pushinteger(L, 1);
    return 1;
}

Op wait_for_output(Coroutine& waiting) {
    Context& context = *waiting.context;
    while (context.output.busy()) {
        co_await context.output.idle(context).wait();
    }
    if (context.output.failed()) {
        lua_pushnil(waiting.L);
        lua_pushliteral(waiting.L, "client aborted");
        co_return 2;
    }
    lua_pushinteger(waiting.L, 1);
    co_return 1;
}

int flush(lua_State* L) {
    if (lua_gettop(L) > 1) {
        return luaL_error(L, "attempt to pass %d arguments, but accepted 0 or 1", lua_gettop(L));
    }
    Context& context = check_output(L);
    Output& output = context.output;
    bool waits = false;
    if (lua_gettop(L) == 1) {
        luaL_checktype(L, 1, LUA_TBOOLEAN);
        waits = lua_toboolean(L, 1) != 0;
    }
    if (output.taken_over()) [[unlikely]] {
        return fail(L, "raw request socket acquired");
    }
    if (context.request->header_only) {
        return fail(L, "header only");
    }
    if (output.eof()) {
        return fail(L, "seen eof");
    }
    if (output.buffering()) {
        return fail(L, "buffering");
    }
    if (!output.head_started() || (!output.has_data() && !waits)) {
        return fail(L, "nothing to flush");
    }
    if (!output.flush(context)) {
        return fail(L, "nginx output filter error");
    }
    if (waits && output.busy()) {
        if (const char* problem = why_not_wait(L)) {
            return luaL_error(L, "%s", problem);
        }
        return wait(L, wait_for_output(*context.run->current()));
    }
    lua_pushinteger(L, 1);
    return 1;
}

int eof(lua_State* L) {
    Context& context = check_output(L);
    if (lua_gettop(L) != 0) {
        return luaL_error(L, "no argument is expected");
    }
    if (context.output.taken_over()) {
        return fail(L, "raw request socket acquired");
    }
    if (context.output.eof()) {
        return fail(L, "seen eof");
    }
    if (!context.output.start_finish(context)) {
        return fail(L, "nginx output filter error");
    }
    lua_pushinteger(L, 1);
    return 1;
}

int send_headers(lua_State* L) {
    Context& context = check_output(L);
    if (!context.output.head_started() && !context.output.begin(context)) {
        return fail(L, "nginx output filter error");
    }
    lua_pushinteger(L, 1);
    return 1;
}

}  // namespace

std::size_t measure_value(lua_State* L, int index, int argument, const char* kinds) {
    return measure(L, index, argument, 0, kinds);
}

char* write_value(lua_State* L, int index, char* to) {
    return write(L, index, to);
}

void install_output(lua_State* L) {
    set_function(L, "say", say<true>);
    set_function(L, "print", say<false>);
    set_function(L, "flush", flush);
    set_function(L, "eof", eof);
    set_function(L, "send_headers", send_headers);
}

}  // namespace moongate::lua
