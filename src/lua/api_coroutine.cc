// coroutine.* and ngx.thread.*. The coroutine functions replace Lua's where a request (or timer)
// runs: resume and yield become events of the scheduler, so that a coroutine may wait. Source:
// lua-nginx-module's documentation of coroutine.* and ngx.thread.*.
#include "lua/api.h"
#include "lua/context.h"

namespace moongate::lua {
namespace {

Context& check_run(lua_State* L) {
    Context& context = check_context(L);
    if (context.run->current() == nullptr) {
        luaL_error(L, "no co ctx found");
    }
    return context;
}

Coroutine& create_coroutine(lua_State* L) {
    Context& context = check_run(L);
    luaL_argcheck(L, lua_isfunction(L, 1) != 0 && lua_iscfunction(L, 1) == 0, 1,
                  "Lua function expected");
    lua_State* made = lua_newthread(L);
    Coroutine& coroutine = context.run->make_coroutine(made);
    lua_pushvalue(L, 1);
    lua_xmove(L, made, 1);
    return coroutine;
}

int create(lua_State* L) {
    create_coroutine(L);
    return 1;
}

int resume(lua_State* L) {
    lua_State* target = lua_tothread(L, 1);
    luaL_argcheck(L, target != nullptr, 1, "coroutine expected");
    Context& context = check_run(L);
    if (const char* problem = why_not_wait(L)) {
        return luaL_error(L, "%s", problem);
    }
    Coroutine* coroutine = context.vm.find_coroutine(target);
    if (coroutine == nullptr) {
        lua_pushboolean(L, 0);
        lua_pushliteral(L, "cannot resume dead coroutine");
        return 2;
    }
    if (coroutine->context != &context) {
        return luaL_error(L, "no co ctx found");
    }
    return context.run->resume(L, *coroutine);
}

int run_wrapped(lua_State* L) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    return resume(L);
}

int wrap(lua_State* L) {
    create_coroutine(L).is_wrap = true;
    lua_pushcclosure(L, run_wrapped, 1);
    return 1;
}

int yield(lua_State* L) {
    Context& context = check_run(L);
    if (const char* problem = why_not_wait(L)) {
        return luaL_error(L, "%s", problem);
    }
    return context.run->yield(L);
}

int status(lua_State* L) {
    lua_State* target = lua_tothread(L, 1);
    luaL_argcheck(L, target != nullptr, 1, "coroutine expected");
    Context& context = check_run(L);
    const Coroutine* coroutine = context.vm.find_coroutine(target);
    push(L, coroutine == nullptr ? "dead" : status_name(coroutine->status));
    return 1;
}

int spawn(lua_State* L) {
    Context& context = check_run(L);
    luaL_argcheck(L, lua_isfunction(L, 1) != 0 && lua_iscfunction(L, 1) == 0, 1,
                  "Lua function expected");
    if (const char* problem = why_not_wait(L)) {
        return luaL_error(L, "%s", problem);
    }
    return context.run->spawn(L, lua_gettop(L));
}

int wait_threads(lua_State* L) {
    Context& context = check_run(L);
    if (const char* problem = why_not_wait(L)) {
        return luaL_error(L, "%s", problem);
    }
    return context.run->wait_children(L);
}

int kill(lua_State* L) {
    return check_run(L).run->kill(L);
}

constexpr const char* kReplaced[] = {"create", "wrap", "resume", "yield", "status"};

// Chooses between the two sets as resty.core does, in every phase.
constexpr std::string_view kWrappers = R"(
local exdata = require "thread.exdata"
for _, name in ipairs { "create", "wrap", "resume", "yield", "status" } do
    local std, ours = coroutine["_" .. name], coroutine["__" .. name]
    coroutine[name] = function (...)
        if exdata() ~= nil then
            return ours(...)
        end
        return std(...)
    end
end
package.loaded.coroutine = coroutine
)";

}  // namespace

void install_coroutines(lua_State* L) {
    lua_getglobal(L, "coroutine");
    for (const char* name : kReplaced) {
        lua_getfield(L, -1, name);
        lua_setfield(L, -2, (std::string("_") + name).c_str());
    }
    set_function(L, "__create", create);
    set_function(L, "__wrap", wrap);
    set_function(L, "__resume", resume);
    set_function(L, "__yield", yield);
    set_function(L, "__status", status);
    lua_pop(L, 1);
    install_coroutine_wrappers(L);
}

void install_coroutine_wrappers(lua_State* L) {
    if (luaL_loadbuffer(L, kWrappers.data(), kWrappers.size(), "=coroutine_api") != 0) {
        lua_error(L);
    }
    lua_call(L, 0, 0);
}

void install_threads(lua_State* L) {
    lua_createtable(L, 0, 3);
    set_function(L, "spawn", spawn);
    set_function(L, "wait", wait_threads);
    set_function(L, "kill", kill);
    lua_setfield(L, -2, "thread");
}

}  // namespace moongate::lua
