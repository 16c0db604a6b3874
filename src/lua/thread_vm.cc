// ThreadVm: what Lua code in a thread of ngx.run_worker_thread finds: the standard libraries, and
// of ngx what needs no event loop: constants, log, time, encodings, hashes, regular expressions,
// shared dictionaries.
#include "lua/thread_vm.h"

#include "engine/core_settings.h"
#include "engine/snapshot.h"
#include "lua/api.h"
#include "lua/cjson.h"
#include "lua/vm.h"

namespace moongate::lua {
namespace {

thread_local const Log* log_of_this_thread = nullptr;

int install(lua_State* L) {
    const auto& snapshot = *static_cast<const engine::Snapshot*>(lua_touserdata(L, 1));
    install_cjson(L);
    lua_createtable(L, 0, 128);
    install_constants(L);
    install_log(L);
    install_encoding(L);
    install_config(L, snapshot);
    lua_createtable(L, 0, 0);
    lua_setfield(L, -2, "req");
    install_shared_dicts(L, snapshot);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaded");
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "ngx");
    lua_pop(L, 2);
    lua_setglobal(L, "ngx");
    for (const char* module : {"resty.core.regex", "resty.core.hash", "resty.core.base64",
                               "resty.core.uri", "resty.core.shdict"}) {
        lua_getglobal(L, "require");
        lua_pushstring(L, module);
        lua_call(L, 1, 0);
    }
    return 0;
}

void set_package_field(lua_State* L, const char* name, const std::string& value) {
    push(L, value);
    lua_setfield(L, -2, name);
}

// find_function(module, name)
int find_function(lua_State* L) {
    lua_getglobal(L, "require");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    if (!lua_istable(L, -1)) {
        lua_pushliteral(L, "invalid lua module");
        return lua_error(L);
    }
    lua_pushvalue(L, 2);
    lua_gettable(L, -2);
    if (!lua_isfunction(L, -1)) {
        lua_pushliteral(L, "invalid function");
        return lua_error(L);
    }
    return 1;
}

// The error at the top becomes all that is on the stack.
bool fail_with_top(lua_State* L) {
    if (lua_isstring(L, -1) == 0) {
        lua_pushliteral(L, "unknown reason");
    }
    lua_insert(L, 1);
    lua_settop(L, 1);
    return false;
}

}  // namespace

const Log* ThreadVm::log_of_thread() {
    return log_of_this_thread;
}

std::unique_ptr<ThreadVm> ThreadVm::create(const Vm& vm, lua_State* from) {
    std::unique_ptr<ThreadVm> made(new ThreadVm);
    made->L_ = luaL_newstate();
    if (made->L_ == nullptr) {
        return nullptr;
    }
    made->snapshot_ = vm.shared_snapshot();
    lua_getglobal(from, "package");
    lua_getfield(from, -1, "path");
    made->path_ = to_view(from, -1);
    lua_getfield(from, -2, "cpath");
    made->cpath_ = to_view(from, -1);
    lua_pop(from, 3);
    return made;
}

ThreadVm::~ThreadVm() {
    if (L_ != nullptr) {
        lua_close(L_);
    }
}

bool ThreadVm::prepare() {
    lua_State* L = L_;
    lua_gc(L, LUA_GCSTOP, 0);
    luaL_openlibs(L);
    lua_gc(L, LUA_GCRESTART, 0);
    lua_getglobal(L, "package");
    set_package_field(L, "path", path_);
    set_package_field(L, "cpath", cpath_);
    lua_pop(L, 1);
    lua_pushcfunction(L, install);
    lua_pushlightuserdata(L, const_cast<engine::Snapshot*>(snapshot_.get()));
    ready_ = lua_pcall(L, 1, 0, 0) == 0;
    return ready_;
}

bool ThreadVm::run(const std::string& module, const std::string& function) {
    log_of_this_thread = snapshot_->http().get<engine::CoreLocationSettings>().error_log.get();
    lua_State* L = L_;
    const int arguments = lua_gettop(L);
    if (!ready_ && !prepare()) {
        broken_ = true;
        return fail_with_top(L);
    }
    lua_pushcfunction(L, find_function);
    push(L, module);
    push(L, function);
    if (lua_pcall(L, 2, 1, 0) != 0) {
        return fail_with_top(L);
    }
    lua_insert(L, 1);
    if (lua_pcall(L, arguments, LUA_MULTRET, 0) != 0) {
        return fail_with_top(L);
    }
    return true;
}

}  // namespace moongate::lua
