// ngx.req.read_body and all that reads or replaces the request's body. Source: lua-nginx-module's
// documentation of these functions.
#include "engine/core_settings.h"
#include "engine/request.h"
#include "engine/request_body.h"
#include "lua/api.h"
#include "lua/context.h"

namespace moongate::lua {
namespace {

void check_count(lua_State* L, int count) {
    if (lua_gettop(L) != count) {
        luaL_error(L, "expecting %d arguments but seen %d", count, lua_gettop(L));
    }
}

// A body that cannot be read ends the request with the status that says why.
Op read_body_op(Coroutine& waiting) {
    engine::Request& request = *waiting.context->request;
    ++waiting.context->body_readers;
    const Status read = co_await engine::read_request_body(request);
    --waiting.context->body_readers;
    if (!read) {
        waiting.run->request_exit(read.error().code >= 400 ? read.error().code : 500);
    }
    co_return 0;
}

int read_body(lua_State* L) {
    check_count(L, 0);
    Context& context = check_request(L);
    if (context.request->body != nullptr || context.discarded_body) {
        return 0;
    }
    if (const char* problem = why_not_wait(L)) {
        return luaL_error(L, "%s", problem);
    }
    const int results = wait(L, read_body_op(*context.run->current()));
    if (context.run->exited()) {
        return lua_yield(L, 0);
    }
    return results;
}

Op discard_op(Coroutine& waiting) {
    static_cast<void>(co_await engine::discard_request_body(*waiting.context->request));
    co_return 0;
}

int discard_body(lua_State* L) {
    check_count(L, 0);
    Context& context = check_request(L);
    if (context.request->body != nullptr || context.discarded_body) {
        return 0;
    }
    context.discarded_body = true;
    if (why_not_wait(L) != nullptr) {
        return 0;
    }
    return wait(L, discard_op(*context.run->current()));
}

int get_body_data(lua_State* L) {
    Context& context = check_request(L);
    const engine::RequestBody* body = context.request->body;
    if (body == nullptr || body->file >= 0 || body->memory.empty()) {
        lua_pushnil(L);
        return 1;
    }
    push(L, body->memory);
    return 1;
}

int get_body_file(lua_State* L) {
    check_count(L, 0);
    Context& context = check_request(L);
    const engine::RequestBody* body = context.request->body;
    if (body == nullptr || body->file < 0) {
        lua_pushnil(L);
        return 1;
    }
    if (body->file_name.empty()) {
        push(L, fmt::format("/proc/self/fd/{}", body->file));
    } else {
        push(L, body->file_name);
    }
    return 1;
}

// Replacing a body needs one that was read (or none that could be).
Context& check_read(lua_State* L) {
    Context& context = check_request(L);
    if (context.discarded_body) {
        luaL_error(L, "request body already discarded asynchronously");
    }
    if (context.request->body == nullptr) {
        luaL_error(L, "request body not read yet");
    }
    return context;
}

int set_body_data(lua_State* L) {
    check_count(L, 1);
    const std::string_view data = check_view(L, 1);
    Context& context = check_read(L);
    engine::set_request_body(*context.request, context.arena.copy(data));
    return 0;
}

int set_body_file(lua_State* L) {
    const int count = lua_gettop(L);
    if (count != 1 && count != 2) {
        return luaL_error(L, "expecting 1 or 2 arguments but seen %d", count);
    }
    const std::string path(check_view(L, 1));
    bool clean = false;
    if (count == 2) {
        luaL_checktype(L, 2, LUA_TBOOLEAN);
        clean = lua_toboolean(L, 2) != 0;
    }
    Context& context = check_read(L);
    const Status set = engine::set_request_body_file(*context.request, path, clean);
    if (!set) {
        return luaL_error(L, "open \"%s\" failed: %s", path.c_str(),
                          std::strerror(set.error().code));
    }
    return 0;
}

int init_body(lua_State* L) {
    if (lua_gettop(L) > 1) {
        return luaL_error(L, "expecting 0 or 1 argument but seen %d", lua_gettop(L));
    }
    const lua_Integer size = luaL_optinteger(L, 1, 0);
    if (size < 0) {
        return luaL_error(L, "bad size argument: %d", static_cast<int>(size));
    }
    Context& context = check_read(L);
    const std::size_t in_memory =
        lua_gettop(L) == 1
            ? static_cast<std::size_t>(size)
            : context.request->get<engine::CoreLocationSettings>().client_body_buffer_size;
    context.new_body = context.arena.make<engine::NewRequestBody>(*context.request, in_memory);
    return 0;
}

int append_body(lua_State* L) {
    check_count(L, 1);
    const std::string_view data = check_view(L, 1);
    Context& context = check_request(L);
    if (context.new_body == nullptr) {
        return luaL_error(L, "request_body not initialized");
    }
    if (!context.new_body->append(data)) {
        return luaL_error(L, "failed to write the request body to a temporary file");
    }
    return 0;
}

int finish_body(lua_State* L) {
    check_count(L, 0);
    Context& context = check_request(L);
    if (context.new_body == nullptr) {
        return luaL_error(L, "request_body not initialized");
    }
    if (!std::exchange(context.new_body, nullptr)->finish()) {
        return luaL_error(L, "failed to write the request body to a temporary file");
    }
    return 0;
}

}  // namespace

void install_request_body(lua_State* L) {
    set_function(L, "read_body", read_body);
    set_function(L, "discard_body", discard_body);
    set_function(L, "get_body_data", get_body_data);
    set_function(L, "get_body_file", get_body_file);
    set_function(L, "set_body_data", set_body_data);
    set_function(L, "set_body_file", set_body_file);
    set_function(L, "init_body", init_body);
    set_function(L, "append_body", append_body);
    set_function(L, "finish_body", finish_body);
}

}  // namespace moongate::lua
