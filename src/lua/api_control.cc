// ngx.exit's C side, exec, redirect, sleep, on_abort. Source: lua-nginx-module's documentation.
#include "engine/request.h"
#include "engine/worker_state.h"
#include "http/uri.h"
#include "lua/api.h"
#include "lua/context.h"
#include "lua/ffi.h"
#include "lua/uri_component.h"

namespace moongate::lua {
namespace {

Context& check_redirect(lua_State* L) {
    Context& context = check_request(L);
    if (!may_answer(context.phase())) {
        luaL_error(L, "API disabled in the context of %s", directive_of(context.phase()));
    }
    if (const char* problem = why_not_wait(L)) {
        luaL_error(L, "%s", problem);
    }
    return context;
}

int exec(lua_State* L) {
    const int count = lua_gettop(L);
    if (count != 1 && count != 2) {
        return luaL_error(L, "expecting one or two arguments, but got %d", count);
    }
    Context& context = check_redirect(L);
    const std::string_view target = check_view(L, 1);
    if (target.empty()) {
        return luaL_error(L, "The uri argument is empty");
    }
    std::string_view args;
    const auto safe = http::parse_unsafe_uri(context.arena.copy(target), context.arena);
    if (!safe) {
        context.request->log_error(LogLevel::Error, "unsafe URI \"{}\" was detected", target);
        return luaL_error(L, "unsafe uri");
    }
    context.exec_uri = safe->path;
    args = safe->args;
    if (count == 2) {
        std::string_view more;
        switch (lua_type(L, 2)) {
            case LUA_TNUMBER:
            case LUA_TSTRING:
                more = context.arena.copy(to_view(L, 2));
                break;
            case LUA_TTABLE:
                more = context.arena.copy(encode_args(L, 2));
                break;
            case LUA_TNIL:
                break;
            default:
                return luaL_argerror(
                    L, 2,
                    lua_pushfstring(L, "string, number, or table expected, but got %s",
                                    luaL_typename(L, 2)));
        }
        if (!more.empty()) {
            args = args.empty() ? more : context.arena.concat(args, "&", more);
        }
    }
    if (context.output.head_started() || context.request->response.head_sent) {
        return luaL_error(L, "attempt to call ngx.exec after sending out response headers");
    }
    context.exec_args = args;
    context.run->request_exec();
    return lua_yield(L, 0);
}

// Control characters in a Location would split the head.
const char* unsafe_byte(std::string_view uri) {
    for (const char& c : uri) {
        const auto byte = static_cast<unsigned char>(c);
        if ((byte < 0x20 && c != '\t') || byte == 0x7f) {
            return &c;
        }
    }
    return nullptr;
}

int redirect(lua_State* L) {
    const int count = lua_gettop(L);
    if (count != 1 && count != 2) {
        return luaL_error(L, "expecting one or two arguments");
    }
    const std::string_view target = check_view(L, 1);
    int status = 302;
    if (count == 2) {
        status = static_cast<int>(luaL_checknumber(L, 2));
        if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308) {
            return luaL_error(L,
                              "only ngx.HTTP_MOVED_TEMPORARILY, ngx.HTTP_MOVED_PERMANENTLY, "
                              "ngx.HTTP_PERMANENT_REDIRECT, ngx.HTTP_SEE_OTHER, and "
                              "ngx.HTTP_TEMPORARY_REDIRECT are allowed");
        }
    }
    Context& context = check_redirect(L);
    engine::Request& request = *context.request;
    if (context.output.head_started() || request.response.head_sent) {
        return luaL_error(L, "attempt to call ngx.redirect after sending out the headers");
    }
    if (const char* bad = unsafe_byte(target)) {
        push(L, fmt::format("unsafe byte \"0x{:02x}\" in redirect uri \"{}\"",
                            static_cast<unsigned char>(*bad), escape_for_log(target)));
        return luaL_error(L, "%s", lua_tostring(L, -1));
    }
    const std::string_view location = request.arena().copy(target);
    if (!location.empty() && location.front() == '/') {
        // Sent as it is: absolute_redirect does not apply, as in ngx_lua.
        request.response.location = {};
        request.response.headers.set(http::HeaderId::Location, location);
    } else {
        request.response.location = location;
    }
    request.response.status = status;
    context.run->request_exit(status);
    return lua_yield(L, 0);
}

Op sleep_op(Coroutine& waiting, Milliseconds time) {
    if (time == Milliseconds::zero()) {
        co_await async::yield(waiting.context->worker.reactor());
    } else {
        co_await async::sleep(waiting.context->worker.reactor(), time);
    }
    co_return 0;
}

int sleep(lua_State* L) {
    if (lua_gettop(L) != 1) {
        return luaL_error(L, "attempt to pass %d arguments, but accepted 1", lua_gettop(L));
    }
    const double seconds = luaL_checknumber(L, 1) * 1000;
    if (!(seconds >= 0)) {
        return luaL_error(L, "invalid sleep duration \"%d\"", static_cast<int>(seconds));
    }
    Context& context = check_context(L);
    if (const char* problem = why_not_wait(L)) {
        return luaL_error(L, "%s", problem);
    }
    return wait(L, sleep_op(*context.run->current(),
                            Milliseconds(static_cast<std::int64_t>(std::min(seconds, 1e15)))));
}

}  // namespace

void install_control(lua_State* L) {
    set_function(L, "exec", exec);
    set_function(L, "redirect", redirect);
    set_function(L, "sleep", sleep);
}

}  // namespace moongate::lua

using namespace moongate::lua;

namespace {

int ffi_fail(unsigned char* error, std::size_t* size, std::string_view text) {
    *size = std::min(*size, text.size());
    std::memcpy(error, text.data(), *size);
    return kFfiError;
}

}  // namespace

MOONGATE_FFI int ngx_http_lua_ffi_exit(Context* context, int status, unsigned char* error,
                                       std::size_t* error_size) {
    if (status == kFfiAgain || status == kFfiDone) {
        return ffi_fail(error, error_size,
                        "bad argument to 'ngx.exit': does not accept NGX_AGAIN or NGX_DONE");
    }
    if (context->run == nullptr) {
        return ffi_fail(error, error_size, "no request ctx found");
    }
    const Phase phase = context->phase();
    switch (phase) {
        case Phase::Set:
            return ffi_fail(error, error_size, "API disabled in the context of set_by_lua*");
        case Phase::BodyFilter:
            return ffi_fail(error, error_size,
                            "API disabled in the context of body_filter_by_lua*");
        case Phase::Log:
            return ffi_fail(error, error_size, "API disabled in the context of log_by_lua*");
        case Phase::InitWorker:
            return ffi_fail(error, error_size,
                            "API disabled in the context of init_worker_by_lua*");
        default:
            break;
    }
    if (context->request != nullptr &&
        (context->request->response.head_sent || context->output.head_started()) &&
        phase != Phase::HeaderFilter && status >= 300 && status != 408 && status != 499 &&
        status != 444) {
        if (status != context->request->response.status) {
            context->log_line(
                moongate::LogLevel::Error,
                fmt::format("attempt to set status {} via ngx.exit after sending out the response "
                            "status {}",
                            status, context->request->response.status));
        }
        status = 200;
    }
    context->run->request_exit(status);
    return phase == Phase::HeaderFilter || phase == Phase::Balancer ? kFfiDone : kFfiOk;
}
