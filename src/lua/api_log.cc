// ngx.log, print, and the functions of ngx.errlog. A line begins with the place in Lua that logs,
// as ngx_lua's: "[lua] content_by_lua(nginx.conf:12):3: message".
#include "base/clock.h"
#include "engine/main_settings.h"
#include "engine/request.h"
#include "engine/snapshot.h"
#include "lua/api.h"
#include "lua/context.h"
#include "lua/ffi.h"
#include "lua/thread_vm.h"

namespace moongate::lua {
namespace {

constexpr std::size_t kMaxLine = 4096;  // as with the nginx that OpenResty builds

// `first`: the value that messages call argument 1.
void append_value(lua_State* L, int index, int first, std::string& to) {
    switch (lua_type(L, index)) {
        case LUA_TNIL:
            to += "nil";
            return;
        case LUA_TBOOLEAN:
            to += lua_toboolean(L, index) != 0 ? "true" : "false";
            return;
        case LUA_TNUMBER:
        case LUA_TSTRING:
            // A copy is converted: the argument itself must stay a number.
            lua_pushvalue(L, index);
            to += to_view(L, -1);
            lua_pop(L, 1);
            return;
        case LUA_TTABLE:
            if (luaL_callmeta(L, index, "__tostring") != 0) {
                to += to_view(L, -1);
                lua_pop(L, 1);
                return;
            }
            luaL_argerror(L, index - first + 1, "expected table to have __tostring metamethod");
            return;
        case LUA_TLIGHTUSERDATA:
            if (lua_touserdata(L, index) == nullptr) {
                to += "null";
                return;
            }
            [[fallthrough]];
        default:
            luaL_argerror(L, index - first + 1,
                          lua_pushfstring(L, "string, number, boolean, or nil expected, got %s",
                                          luaL_typename(L, index)));
    }
}

// Of init_by_lua, or of a thread that has no worker.
const Log& log_without_context() {
    const Vm* vm = Vm::current();
    return vm != nullptr ? vm->log() : *ThreadVm::log_of_thread();
}

int write_log(lua_State* L, int level, int first) {
    Context* context = Context::of(L);
    const auto wanted = static_cast<LogLevel>(level);
    const Log& log = context != nullptr ? context->log() : log_without_context();
    if (!log.enabled(wanted)) {
        return 0;
    }
    std::string line = "[lua] ";
    lua_Debug caller{};
    for (int depth = 1; lua_getstack(L, depth, &caller) != 0; ++depth) {
        lua_getinfo(L, "Snl", &caller);
        if (caller.currentline > 0 || depth > 6) {
            break;
        }
    }
    if (caller.currentline > 0) {
        std::string_view source = caller.short_src;
        if (const std::size_t slash = source.rfind('/'); slash != std::string_view::npos) {
            source.remove_prefix(slash + 1);
        }
        fmt::format_to(std::back_inserter(line), "{}:{}: ", source, caller.currentline);
        if (*caller.namewhat != '\0') {
            fmt::format_to(std::back_inserter(line),
                           "{}(): ", caller.name != nullptr ? caller.name : "?");
        }
    }
    const int count = lua_gettop(L);
    for (int i = first; i <= count; ++i) {
        append_value(L, i, first, line);
    }
    if (line.size() > kMaxLine) {
        line.resize(kMaxLine);
    }
    if (context != nullptr) {
        context->log_line(wanted, line);
    } else {
        log.write(wanted, 0, line);
    }
    return 0;
}

int ngx_log(lua_State* L) {
    const int level = static_cast<int>(luaL_checkint(L, 1));
    if (level < 0 || level > 8) {
        return luaL_argerror(L, 1, lua_pushfstring(L, "bad log level: %d", level));
    }
    return write_log(L, level, 2);
}

int print(lua_State* L) {
    return write_log(L, static_cast<int>(LogLevel::Notice), 1);
}

constexpr std::pair<const char*, LogLevel> kLevels[] = {
    {"STDERR", LogLevel::Stderr}, {"EMERG", LogLevel::Emerg}, {"ALERT", LogLevel::Alert},
    {"CRIT", LogLevel::Crit},     {"ERR", LogLevel::Error},   {"WARN", LogLevel::Warn},
    {"NOTICE", LogLevel::Notice}, {"INFO", LogLevel::Info},   {"DEBUG", LogLevel::Debug},
};

}  // namespace

void install_log(lua_State* L) {
    for (const auto& [name, level] : kLevels) {
        lua_pushinteger(L, static_cast<int>(level));
        lua_setfield(L, -2, name);
    }
    set_function(L, "log", ngx_log);
    lua_pushcfunction(L, print);
    lua_setglobal(L, "print");
}

}  // namespace moongate::lua

using namespace moongate::lua;
using moongate::LogLevel;

MOONGATE_FFI int ngx_http_lua_ffi_raw_log(Context* context, int level, const unsigned char* text,
                                          std::size_t size) {
    if (level < 0 || level > 8) {
        return kFfiError;
    }
    const std::string_view line(reinterpret_cast<const char*>(text), size);
    const auto wanted = static_cast<LogLevel>(level);
    if (context != nullptr) {
        context->log_line(wanted, line);
    } else if (const auto& log = log_without_context(); log.enabled(wanted)) {
        log.write(wanted, 0, line);
    }
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_errlog_get_sys_filter_level(Context* context) {
    return static_cast<int>(context != nullptr ? context->log().level()
                                               : log_without_context().level());
}
