// ngx.location.capture and capture_multi: subrequests whose responses become Lua tables. The
// options are read while the C function runs; the op makes the subrequests at once, while the
// strings are still on the Lua stack, and runs them after the Lua code has yielded. Source:
// lua-nginx-module's documentation of the two functions.
#include <memory>

#include "async/task_group.h"
#include "base/clock.h"
#include "conf/variables.h"
#include "engine/subrequest.h"
#include "engine/worker_state.h"
#include "http/method.h"
#include "http/uri.h"
#include "lua/api.h"
#include "lua/context.h"

namespace moongate::lua {
namespace {

using engine::CapturedSubrequest;
using Variables = engine::SubrequestOptions::Variables;

// The stack of the C functions.
constexpr int kQueries = 1;
constexpr int kKept = 2;  // strings and tables that the queries' views and numbers refer to
constexpr int kOptions = 3;

struct NewVariable {
    const conf::Variable* variable;
    std::string_view value;
};

// All of it lives in the parent's arena or is kept on the Lua stack.
struct Query {
    engine::SubrequestOptions options;
    std::string_view body;
    bool has_body = false;
    int ctx = 0;  // where it stands in the kept table; 0: none
    std::span<NewVariable> variables;
};

// Keeps the value at the top of the stack alive as long as the C function's frame, and pops it.
int keep(lua_State* L) {
    const int at = static_cast<int>(lua_objlen(L, kKept)) + 1;
    lua_rawseti(L, kKept, at);
    return at;
}

std::string_view keep_text(lua_State* L, int index) {
    lua_pushvalue(L, index);
    const std::string_view text = to_view(L, -1);
    keep(L);
    return text;
}

std::string_view read_args(lua_State* L, Context& context) {
    std::string_view args;
    lua_getfield(L, kOptions, "args");
    switch (lua_type(L, -1)) {
        case LUA_TTABLE:
            args = context.arena.copy(encode_args(L, lua_gettop(L)));
            break;
        case LUA_TNIL:
            break;
        case LUA_TNUMBER:
        case LUA_TSTRING:
            args = context.arena.copy(to_view(L, -1));
            break;
        default:
            luaL_error(L, "Bad args option value");
    }
    lua_pop(L, 1);
    return args;
}

bool read_flag(lua_State* L, const char* name) {
    lua_getfield(L, kOptions, name);
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1)) {
        luaL_error(L, "Bad %s option value", name);
    }
    const bool value = lua_toboolean(L, -1) != 0;
    lua_pop(L, 1);
    return value;
}

// A variable that may be given to a subrequest.
const conf::Variable* check_variable(lua_State* L, engine::Request& request,
                                     std::string_view name) {
    const conf::Variable* found = request.variable_table().find(name);
    if (found != nullptr && !has(found->flags, conf::VariableFlags::Changeable)) {
        request.log_error(LogLevel::Error, "variable \"{}\" not changeable", name);
        luaL_error(L, "failed to adjust the subrequest: 500");
    }
    if (found == nullptr || (found->set == nullptr && found->index < 0)) {
        request.log_error(LogLevel::Error,
                          "variable \"{}\" cannot be assigned a value (maybe you forgot to define "
                          "it first?) ",
                          name);
        luaL_error(L, "failed to adjust the subrequest: -1");
    }
    return found;
}

std::span<NewVariable> read_variables(lua_State* L, Context& context) {
    lua_getfield(L, kOptions, "vars");
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return {};
    }
    if (!lua_istable(L, -1)) {
        luaL_error(L, "Bad vars option value");
    }
    std::size_t count = 0;
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            luaL_error(L, "attempt to use a non-string key in the \"vars\" option table");
        }
        if (lua_isstring(L, -1) == 0) {
            luaL_error(L, "attempt to use bad variable value type %s", luaL_typename(L, -1));
        }
        ++count;
    }
    const auto variables = context.arena.make_array<NewVariable>(count);
    std::size_t n = 0;
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        const conf::Variable* variable = check_variable(L, *context.request, to_view(L, -2));
        variables[n++] = {variable, keep_text(L, -1)};
    }
    lua_pop(L, 1);
    return variables;
}

http::Method read_method(lua_State* L, Context& context) {
    http::Method method = http::Method::Get;
    lua_getfield(L, kOptions, "method");
    if (!lua_isnil(L, -1)) {
        if (lua_type(L, -1) != LUA_TNUMBER) {
            luaL_error(L, "Bad http request method");
        }
        const double number = lua_tonumber(L, -1);
        const auto bit =
            number >= 0 && number <= 0xffffffff ? static_cast<std::uint32_t>(number) : 0;
        method = http::method_of_bit(bit);
        if (method == http::Method::Other || method == http::Method::Connect) {
            context.request->log_error(LogLevel::Error, "unsupported HTTP method: {}", bit);
            luaL_error(L, "failed to adjust the subrequest: -1");
        }
    }
    lua_pop(L, 1);
    return method;
}

// The options table stands at kOptions. Returns the arguments that it adds.
std::string_view read_options(lua_State* L, Context& context, Query& query) {
    const std::string_view args = read_args(L, context);
    query.variables = read_variables(L, context);
    if (read_flag(L, "copy_all_vars")) {
        query.options.variables = Variables::Copied;
    }
    if (read_flag(L, "share_all_vars")) {
        query.options.variables = Variables::Shared;
    }
    lua_getfield(L, kOptions, "always_forward_body");
    const bool forward = lua_toboolean(L, -1) != 0;
    lua_pop(L, 1);
    const http::Method method = read_method(L, context);
    query.options.method = method;
    query.options.pass_body =
        forward || method == http::Method::Post || method == http::Method::Put;

    lua_getfield(L, kOptions, "ctx");
    if (lua_istable(L, -1)) {
        query.ctx = keep(L);
    } else if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
    } else {
        luaL_error(L, "Bad ctx option value type %s, expected a Lua table", luaL_typename(L, -1));
    }
    lua_getfield(L, kOptions, "body");
    if (!lua_isnil(L, -1)) {
        if (lua_isstring(L, -1) == 0) {
            luaL_error(L, "Bad http request body");
        }
        query.has_body = true;
        query.body = keep_text(L, -1);
    }
    lua_pop(L, 1);
    return args;
}

// The query at the top of the stack; leaves the stack as it was.
void read_query(lua_State* L, Context& context, int index, Query& query) {
    if (lua_isnil(L, -1)) {
        luaL_error(L, "only array-like tables are allowed");
    }
    if (!lua_istable(L, -1)) {
        luaL_error(L, "the query argument %d is not a table, but a %s", index,
                   luaL_typename(L, -1));
    }
    const std::size_t values = lua_objlen(L, -1);
    if (values != 1 && values != 2) {
        luaL_error(L, "query argument %d expecting one or two arguments", index);
    }
    query.options.pass_body = false;
    std::string_view more;
    if (values == 2) {
        lua_rawgeti(L, -1, 2);
        if (!lua_istable(L, -1)) {
            luaL_error(L, "expecting table as the 2nd argument for subrequest %d, but got %s",
                       index, luaL_typename(L, -1));
        }
        lua_insert(L, kOptions);
        more = read_options(L, context, query);
        lua_remove(L, kOptions);
    }
    lua_rawgeti(L, -1, 1);
    if (lua_isstring(L, -1) == 0) {
        luaL_argerror(L, 3, lua_pushfstring(L, "string expected, got %s", luaL_typename(L, -1)));
    }
    const std::string_view target = context.arena.copy(to_view(L, -1));
    const auto uri = http::parse_unsafe_uri(target, context.arena);
    if (!uri) {
        luaL_error(L, "unsafe uri in argument #1: %s", target.data());
    }
    query.options.uri = uri->path;
    query.options.args = uri->args.empty() ? more
                         : more.empty()    ? uri->args
                                           : context.arena.concat(uri->args, "&", more);
    lua_pop(L, 1);
    if (!engine::Subrequest::allowed(*context.request, query.options.uri, "lua ")) {
        luaL_error(L, "failed to issue subrequest: -1");
    }
}

// --- results -------------------------------------------------------------------------------------

// One more value of a field: the second makes the value a table.
void add_field(lua_State* L, std::string_view name, std::string_view value) {
    push(L, name);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        push(L, value);
        lua_rawset(L, -3);
        return;
    }
    if (!lua_istable(L, -1)) {
        lua_createtable(L, 4, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
    }
    push(L, value);
    lua_rawseti(L, -2, static_cast<int>(lua_objlen(L, -2)) + 1);
    lua_rawset(L, -3);
}

void set_field(lua_State* L, const char* name, std::string_view value) {
    push(L, value);
    lua_setfield(L, -2, name);
}

void push_headers(lua_State* L, const engine::Response& response) {
    lua_createtable(L, 0, static_cast<int>(response.headers.size()) + 4);
    for (const http::Header& header : response.headers) {
        add_field(L, header.name, header.value);
    }
    if (!response.content_type.empty()) {
        set_field(L, "Content-Type", response.content_type);
    }
    if (response.content_length >= 0) {
        lua_pushnumber(L, static_cast<lua_Number>(response.content_length));
        lua_setfield(L, -2, "Content-Length");
    }
    if (!response.location.empty()) {
        set_field(L, "Location", response.location);
    }
    const int status = response.status;
    if (response.last_modified >= 0 &&
        (status == 200 || status == 206 || status == 304 || status == 204)) {
        char date[32];
        format_http_date(response.last_modified, date);
        set_field(L, "Last-Modified", {date, 29});
    }
}

void push_result(lua_State* L, CapturedSubrequest& subrequest) {
    const engine::Response& response = subrequest.request().response;
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, response.status != 0 ? response.status : 500);
    lua_setfield(L, -2, "status");
    lua_pushboolean(L, subrequest.truncated() || !response.ended ? 1 : 0);
    lua_setfield(L, -2, "truncated");
    set_field(L, "body", subrequest.body());
    push_headers(L, response);
    lua_setfield(L, -2, "header");
}

// --- the subrequests -----------------------------------------------------------------------------

void assign(engine::Request& request, const NewVariable& given) {
    const std::string_view value = request.arena().copy(given.value);
    if (given.variable->set != nullptr) {
        given.variable->set(request, given.variable->data, value);
        if (given.variable->index >= 0) {
            request.forget(given.variable->index);
        }
    } else {
        request.store(given.variable->index, value);
    }
}

std::unique_ptr<CapturedSubrequest> make_subrequest(lua_State* L, Context& context,
                                                    const Query& query) {
    auto made = std::make_unique<CapturedSubrequest>(*context.request, query.options);
    engine::Request& request = made->request();
    if (query.has_body) {
        made->set_body(query.body);
    }
    for (const NewVariable& variable : query.variables) {
        assign(request, variable);
    }
    Context& own = make_context(request, context.vm);
    if (query.ctx != 0) {
        lua_rawgeti(L, kKept, query.ctx);
        own.ctx_ref = context.vm.make_ctx(L);
        own.ctx_epoch = own.vm.epoch();
    }
    return made;
}

Op capture_op(Coroutine& waiting, std::span<const Query> queries) {
    Context& context = *waiting.context;
    std::vector<std::unique_ptr<CapturedSubrequest>> subrequests;
    subrequests.reserve(queries.size());
    for (const Query& query : queries) {
        subrequests.push_back(make_subrequest(waiting.L, context, query));
    }
    async::Reactor& reactor = context.worker.reactor();
    co_await async::yield(reactor);
    {
        async::TaskGroup tasks(reactor);
        for (const auto& subrequest : subrequests) {
            tasks.spawn("subrequest", subrequest->run());
        }
        co_await tasks.drained();
    }
    for (const auto& subrequest : subrequests) {
        if (const int status = subrequest->fatal_status(); status != 0) {
            waiting.run->request_exit(status);
            co_return 0;
        }
    }
    for (const auto& subrequest : subrequests) {
        push_result(waiting.L, *subrequest);
    }
    co_return static_cast<int>(subrequests.size());
}

int capture_multi(lua_State* L) {
    if (lua_gettop(L) != 1) {
        return luaL_error(L, "only one argument is expected, but got %d", lua_gettop(L));
    }
    luaL_checktype(L, kQueries, LUA_TTABLE);
    const std::size_t count = lua_objlen(L, kQueries);
    if (count == 0) {
        return luaL_error(L, "at least one subrequest should be specified");
    }
    Context& context = check_request(L);
    if (const char* problem = why_not_wait(L)) {
        return luaL_error(L, "%s", problem);
    }
    luaL_checkstack(L, static_cast<int>(std::min<std::size_t>(count, 100000)) + 20,
                    "too many subrequests");
    lua_createtable(L, 4, 0);
    const auto queries = context.arena.make_array<Query>(count);
    for (std::size_t i = 0; i < count; ++i) {
        lua_rawgeti(L, kQueries, static_cast<int>(i) + 1);
        read_query(L, context, static_cast<int>(i), queries[i]);
        lua_pop(L, 1);
    }
    return wait(L, capture_op(*context.run->current(), queries));
}

int capture(lua_State* L) {
    const int count = lua_gettop(L);
    if (count != 1 && count != 2) {
        return luaL_error(L, "expecting one or two arguments");
    }
    lua_createtable(L, count, 0);
    lua_insert(L, 1);
    for (int i = count; i >= 1; --i) {
        lua_rawseti(L, 1, i);
    }
    lua_createtable(L, 1, 0);
    lua_insert(L, 1);
    lua_rawseti(L, 1, 1);
    return capture_multi(L);
}

}  // namespace

void install_capture(lua_State* L) {
    lua_createtable(L, 0, 2);
    set_function(L, "capture", capture);
    set_function(L, "capture_multi", capture_multi);
    lua_setfield(L, -2, "location");
}

}  // namespace moongate::lua
