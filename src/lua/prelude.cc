// What the server adds to lua-resty-core once it is loaded, in Lua: names for its own phases, and
// functions that newer versions of the library have. The library's files stay as they are. Runs
// once a VM, before init_by_lua.
#include "lua/api.h"

namespace moongate::lua {
namespace {

// resty.core's ngx.get_phase raises for bits that it does not know.
constexpr std::string_view kPhases = R"(
local get_request = require "resty.core.base".get_request
local known, raw = ngx.get_phase, ngx.get_raw_phase
local names = {
    [0x00100000] = "precontent",
    [0x00200000] = "post_read",
    [0x00400000] = "find_config",
    [0x00800000] = "post_rewrite",
    [0x01000000] = "preaccess",
    [0x02000000] = "post_access",
}
function ngx.get_phase()
    local r = get_request()
    return r and names[raw(r)] or known()
end
ngx.conn = require "ngx.conn"
)";

// Pushes the package that the file on package.path holds, as require would without a preload.
constexpr std::string_view kOriginal = R"(
local name = ...
local path = assert(package.searchpath(name, package.path))
return assert(loadfile(path))(name)
)";

// ngx.balancer of lua-resty-core 0.1.25, with what later versions and OpenResty's patches add.
constexpr std::string_view kBalancer = R"(
local balancer = ...
local base = require "resty.core.base"
local ffi = require "ffi"
local C, get_request, errmsg = ffi.C, base.get_request, base.get_errmsg_ptr()

ffi.cdef[[
int ngx_http_lua_ffi_balancer_enable_keepalive(ngx_http_request_t *r, unsigned long timeout,
    unsigned int max_requests, char **err);
int ngx_http_lua_ffi_balancer_bind_to_local_addr(ngx_http_request_t *r, const unsigned char *addr,
    size_t addr_len, unsigned char *err, size_t *errlen);
int ngx_http_lua_ffi_balancer_set_upstream_tls(ngx_http_request_t *r, int on, char **err);
int moongate_lua_ffi_balancer_identify(ngx_http_request_t *r, const unsigned char *host,
    size_t host_len, const unsigned char *pool, size_t pool_len, unsigned int pool_size,
    char **err);
]]

local function request()
    return get_request() or error("no request found", 3)
end
local function answer(rc)
    if rc == base.FFI_OK then
        return true
    end
    return nil, ffi.string(errmsg[0])
end
local function text(value, name)
    if value == nil then
        return ""
    elseif type(value) ~= "string" then
        error("bad " .. name .. ": string expected, got " .. type(value), 3)
    end
    return value
end

if not balancer.enable_keepalive then
    local set_current_peer = balancer.set_current_peer
    function balancer.set_current_peer(address, port, options)
        local ok, err = set_current_peer(address, port)
        if not ok or options == nil then
            return ok, err
        end
        local host, pool, size = options, "", 0
        if type(options) == "table" then
            host, pool, size = options.host, text(options.pool, "pool"), options.pool_size or 0
            if type(size) ~= "number" or size < 0 then
                error("bad pool_size", 2)
            end
        end
        host = text(host, "host")
        return answer(C.moongate_lua_ffi_balancer_identify(request(), host, #host, pool, #pool,
                                                           size, errmsg))
    end

    function balancer.enable_keepalive(idle_timeout, max_requests)
        if idle_timeout == nil then
            idle_timeout = 60
        elseif type(idle_timeout) ~= "number" then
            error("bad idle timeout type, number expected", 2)
        elseif idle_timeout < 0 then
            error("bad idle timeout", 2)
        end
        if max_requests == nil then
            max_requests = 100
        elseif type(max_requests) ~= "number" then
            error("bad max requests type, number expected", 2)
        elseif max_requests < 0 then
            error("bad max requests", 2)
        end
        return answer(C.ngx_http_lua_ffi_balancer_enable_keepalive(
            request(), math.min(idle_timeout * 1000, 0x7fffffff), max_requests, errmsg))
    end
end

if not balancer.set_upstream_tls then
    function balancer.set_upstream_tls(on)
        return answer(C.ngx_http_lua_ffi_balancer_set_upstream_tls(
            request(), (on == nil or on == false or on == 0) and 0 or 1, errmsg))
    end
end

if not balancer.bind_to_local_addr then
    local errors, size = ffi.new("unsigned char[128]"), ffi.new("size_t[1]")
    function balancer.bind_to_local_addr(address)
        if type(address) ~= "string" then
            error("bad address: string expected, got " .. type(address), 2)
        end
        size[0] = 128
        local rc = C.ngx_http_lua_ffi_balancer_bind_to_local_addr(request(), address, #address,
                                                                  errors, size)
        if rc == base.FFI_OK then
            return true
        end
        return nil, ffi.string(errors, size[0])
    end
end
return balancer
)";

constexpr std::string_view kResponse = R"(
local resp = ...
local base = require "resty.core.base"
local ffi = require "ffi"
local C, get_request = ffi.C, base.get_request

ffi.cdef[[
int ngx_http_lua_ffi_set_resp_status_and_reason(ngx_http_request_t *r, int status,
    const char *reason, size_t reason_len);
int ngx_http_lua_ffi_bypass_if_checks(ngx_http_request_t *r);
]]

local function check(rc)
    if rc == base.FFI_BAD_CONTEXT then
        error("API disabled in the current context", 3)
    elseif rc == base.FFI_ERROR then
        error("bad reason: control characters", 3)
    end
end

if not resp.set_status then
    function resp.set_status(status, reason)
        local r = get_request() or error("no request found", 2)
        if type(status) ~= "number" then
            status = tonumber(status) or error("bad status", 2)
        end
        reason = reason == nil and "" or tostring(reason)
        check(C.ngx_http_lua_ffi_set_resp_status_and_reason(r, status, reason, #reason))
    end
end

if not resp.bypass_if_checks then
    function resp.bypass_if_checks()
        check(C.ngx_http_lua_ffi_bypass_if_checks(get_request() or error("no request found", 2)))
    end
end
return resp
)";

int extended(lua_State* L, std::string_view additions, const char* name) {
    lua_settop(L, 1);
    run_own(L, kOriginal, name, 1, 1);
    run_own(L, additions, name, 1, 1);
    return 1;
}

}  // namespace

void run_own(lua_State* L, std::string_view code, const char* name, int arguments, int results) {
    if (luaL_loadbuffer(L, code.data(), code.size(), name) != 0) {
        lua_error(L);
    }
    lua_insert(L, -1 - arguments);
    lua_call(L, arguments, results);
}

void install_prelude(lua_State* L) {
    run_own(L, kPhases, "=phases", 0, 0);
}

int open_balancer(lua_State* L) {
    return extended(L, kBalancer, "=ngx.balancer");
}

int open_response(lua_State* L) {
    return extended(L, kResponse, "=ngx.resp");
}

}  // namespace moongate::lua
