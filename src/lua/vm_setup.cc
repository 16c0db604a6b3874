// What every VM contains before init_by_lua: the standard libraries, package paths, the ngx and ndk
// tables, lua-resty-core unmodified, and ngx_lua's warning about new globals.
#include <cstdlib>

#include "engine/snapshot.h"
#include "engine/worker_state.h"
#include "lua/api.h"
#include "lua/cjson.h"
#include "lua/context.h"
#include "lua/vm.h"

namespace moongate::lua {

void set_function(lua_State* L, const char* name, lua_CFunction function) {
    lua_pushcfunction(L, function);
    lua_setfield(L, -2, name);
}

namespace {

// `;;` stands for what was there before, `$prefix` and `${prefix}` for the server's prefix.
void set_package_path(lua_State* L, const char* field, std::string path,
                      const std::string& prefix) {
    lua_getglobal(L, "package");
    lua_getfield(L, -1, field);
    const std::string before(to_view(L, -1));
    lua_pop(L, 1);
    for (const std::string_view name : {"${prefix}", "$prefix"}) {
        std::size_t at = 0;
        while ((at = path.find(name, at)) != std::string::npos) {
            path.replace(at, name.size(), prefix);
            at += prefix.size();
        }
    }
    if (const std::size_t at = path.find(";;"); at != std::string::npos) {
        std::string middle = before;
        if (at > 0) {
            middle.insert(0, ";");
        }
        if (at + 2 < path.size()) {
            middle += ";";
        }
        path.replace(at, 2, middle);
    }
    push(L, path);
    lua_setfield(L, -2, field);
    lua_pop(L, 1);
}

// ngx_lua's warning names the place that wrote the variable.
int warn_about_global(lua_State* L) {
    Context* context = Context::of(L);
    if (context != nullptr && lua_type(L, 2) == LUA_TSTRING) {
        luaL_where(L, 1);
        const std::string where(to_view(L, -1));
        lua_pop(L, 1);
        luaL_traceback(L, L, nullptr, 1);
        context->log_line(
            LogLevel::Warn,
            fmt::format("[lua] {}writing a global Lua variable ('{}') which may lead to race "
                        "conditions between concurrent requests, so prefer the use of 'local' "
                        "variables\n{}",
                        where.empty() ? "" : where + " ", to_view(L, 2), to_view(L, -1)));
        lua_pop(L, 1);
    }
    lua_rawset(L, 1);
    return 0;
}

void install_ngx(lua_State* L, Vm& vm) {
    lua_createtable(L, 0, 128);
    install_constants(L);
    install_log(L);
    install_output(L);
    install_control(L);
    install_client_abort(L);
    install_encoding(L);
    install_config(L, vm.snapshot());
    lua_createtable(L, 0, 32);  // ngx.req
    install_request(L);
    install_request_body(L);
    install_request_socket(L);
    lua_setfield(L, -2, "req");
    install_threads(L);
    install_capture(L);
    install_timers(L);
    install_shared_dicts(L, vm.snapshot());
    install_worker_threads(L);
    install_sockets(L);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaded");
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "ngx");
    lua_pop(L, 2);
    lua_setglobal(L, "ngx");
    lua_createtable(L, 0, 1);
    lua_setglobal(L, "ndk");
}

}  // namespace

bool set_up_libraries(Vm& vm, std::string& error) {
    lua_State* L = vm.state();
    keep_ffi();
    lua_gc(L, LUA_GCSTOP, 0);
    luaL_openlibs(L);
    lua_gc(L, LUA_GCRESTART, 0);
    const LuaMainSettings& settings = vm.settings();
    lua_getglobal(L, "package");
    lua_pop(L, 1);
    const std::string& prefix = vm.settings().prefix;
    if (!settings.package_path.empty()) {
        set_package_path(L, "path", settings.package_path, prefix);
    }
    if (!settings.package_cpath.empty()) {
        set_package_path(L, "cpath", settings.package_cpath, prefix);
    }
    lua_pushcfunction(L, [](lua_State* in) {
        install_cjson(in);
        install_ngx(in, *static_cast<Vm*>(lua_touserdata(in, 1)));
        install_coroutines(in);
        install_preloads(in);
        return 0;
    });
    lua_pushlightuserdata(L, &vm);
    if (lua_pcall(L, 1, 0, 0) != 0) {
        error = fmt::format("failed to set up the Lua VM: {}", lua_tostring(L, -1));
        lua_settop(L, 0);
        return false;
    }
    lua_getglobal(L, "require");
    lua_pushliteral(L, "resty.core");
    if (lua_pcall(L, 1, 0, 0) != 0) {
        const char* message = lua_tostring(L, -1);
        error = fmt::format(
            "failed to load the 'resty.core' module (https://github.com/openresty/lua-resty-core); "
            "ensure lua-resty-core 0.1.25 is installed (reason: {})",
            message != nullptr ? message : "unknown");
        lua_settop(L, 0);
        return false;
    }
    lua_pushcfunction(L, [](lua_State* in) {
        install_coroutine_wrappers(in);
        install_prelude(in);
        return 0;
    });
    if (lua_pcall(L, 0, 0, 0) != 0) {
        error = fmt::format("failed to set up the Lua VM: {}", lua_tostring(L, -1));
        lua_settop(L, 0);
        return false;
    }
    lua_settop(L, 0);
    return true;
}

void guard_globals(lua_State* L) {
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    if (lua_getmetatable(L, -1) == 0) {
        lua_createtable(L, 0, 1);
    }
    set_function(L, "__newindex", warn_about_global);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

}  // namespace moongate::lua
