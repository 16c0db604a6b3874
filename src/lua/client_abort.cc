// ngx.on_abort and what happens when the client leaves while Lua code with lua_check_client_abort
// runs: the callback is a light thread of the phase that set it, started at most once; without one
// the engine destroys the phase. Source: lua-nginx-module's documentation of ngx.on_abort. The
// request's worker.
#include "engine/request.h"
#include "lua/api.h"
#include "lua/context.h"

namespace moongate::lua {

bool Run::set_abort_callback(lua_State* from) {
    if (on_abort_ != nullptr || abort_seen_) {
        return false;
    }
    const Thread thread = context_.vm.new_thread();
    Coroutine& callback = make_coroutine(thread.L);
    callback.thread = thread;
    callback.is_light = true;
    callback.status = CoStatus::Suspended;  // it counts once it is started
    lua_xmove(from, thread.L, 1);
    on_abort_ = &callback;
    return true;
}

bool Run::client_left() {
    if (on_abort_ == nullptr || end_ != End::Waiting) {
        return abort_seen_;
    }
    context_.request->log_error(LogLevel::Info, "client prematurely closed connection");
    abort_seen_ = true;
    Coroutine& callback = *std::exchange(on_abort_, nullptr);
    callback.status = CoStatus::Running;
    callback.parent = entry_->status == CoStatus::Dead ? nullptr : entry_;
    ++light_count_;
    make_ready(callback, 0);
    if (const std::coroutine_handle<> bridge = take_bridge()) {
        bridge.resume();
    }
    return true;
}

namespace {

int on_abort(lua_State* L) {
    Context& context = check_request(L);
    if (!may_answer(context.phase())) {
        return luaL_error(L, "API disabled in the context of %s", directive_of(context.phase()));
    }
    const char* problem = nullptr;
    if (!context.settings().check_client_abort || context.abortable == nullptr) {
        problem = "lua_check_client_abort is off";
    } else {
        luaL_argcheck(L, lua_isfunction(L, 1) != 0 && lua_iscfunction(L, 1) == 0, 1,
                      "Lua function expected");
        lua_settop(L, 1);
        if (!context.abortable->set_abort_callback(L)) {
            problem = "duplicate call";
        }
    }
    if (problem != nullptr) {
        lua_pushnil(L);
        lua_pushstring(L, problem);
        return 2;
    }
    lua_pushinteger(L, 1);
    return 1;
}

}  // namespace

void install_client_abort(lua_State* L) {
    set_function(L, "on_abort", on_abort);
}

}  // namespace moongate::lua
