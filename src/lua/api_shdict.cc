// ngx.shared: the table of dictionaries, the operations that are C functions (lists, keys, expired
// ones) and those that resty/core/shdict binds.
#include "engine/snapshot.h"
#include "lua/api.h"
#include "lua/context.h"
#include "lua/ffi.h"
#include "lua/shared_dict.h"

namespace moongate::lua {
namespace {

SharedDict& check_dict(lua_State* L) {
    if (!lua_istable(L, 1)) {
        luaL_argerror(L, 1, "bad \"zone\" argument");
    }
    lua_rawgeti(L, 1, 1);
    auto* dict = static_cast<SharedDict**>(lua_touserdata(L, -1));
    lua_pop(L, 1);
    if (dict == nullptr) {
        luaL_error(L, "bad \"zone\" argument");
    }
    return **dict;
}

int fail(lua_State* L, const char* why) {
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

// The key at index 2; null with the message pushed where it cannot be one.
const char* bad_key(lua_State* L, std::string_view& key) {
    if (lua_isnoneornil(L, 2)) {
        return "nil key";
    }
    key = check_view(L, 2);
    return key.empty() ? "empty key" : key.size() > 65535 ? "key too long" : nullptr;
}

template <bool Front>
int push_item(lua_State* L) {
    SharedDict& dict = check_dict(L);
    if (lua_gettop(L) != 3) {
        return luaL_error(L, "expecting 3 arguments, but only seen %d", lua_gettop(L));
    }
    std::string_view key;
    if (const char* problem = bad_key(L, key)) {
        return fail(L, problem);
    }
    std::int64_t length = 0;
    DictResult result;
    if (lua_type(L, 3) == LUA_TSTRING) {
        result = dict.push(key, DictType::String, to_view(L, 3), 0, Front, length);
    } else if (lua_type(L, 3) == LUA_TNUMBER) {
        result = dict.push(key, DictType::Number, {}, lua_tonumber(L, 3), Front, length);
    } else {
        return fail(L, "bad value type");
    }
    if (!result.ok) {
        return fail(L, result.error);
    }
    lua_pushnumber(L, static_cast<double>(length));
    return 1;
}

template <bool Front>
int pop_item(lua_State* L) {
    SharedDict& dict = check_dict(L);
    std::string_view key;
    if (const char* problem = bad_key(L, key)) {
        return fail(L, problem);
    }
    DictValue value;
    const DictResult result = dict.pop(key, Front, value);
    if (!result.ok) {
        return fail(L, result.error);
    }
    switch (value.type) {
        case DictType::String:
            push(L, value.text);
            break;
        case DictType::Number:
            lua_pushnumber(L, value.number);
            break;
        default:
            lua_pushnil(L);
    }
    return 1;
}

int list_length(lua_State* L) {
    SharedDict& dict = check_dict(L);
    std::string_view key;
    if (const char* problem = bad_key(L, key)) {
        return fail(L, problem);
    }
    std::int64_t length = 0;
    const DictResult result = dict.length(key, length);
    if (!result.ok) {
        return fail(L, result.error);
    }
    lua_pushnumber(L, static_cast<double>(length));
    return 1;
}

int get_keys(lua_State* L) {
    SharedDict& dict = check_dict(L);
    const int max = static_cast<int>(luaL_optinteger(L, 2, 1024));
    if (max < 0) {
        return luaL_error(L, "bad \"max_count\" argument value");
    }
    const std::vector<std::string> keys = dict.keys(max);
    lua_createtable(L, static_cast<int>(keys.size()), 0);
    int index = 0;
    for (const std::string& key : keys) {
        push(L, key);
        lua_rawseti(L, -2, ++index);
    }
    return 1;
}

int flush_expired(lua_State* L) {
    SharedDict& dict = check_dict(L);
    const int max = static_cast<int>(luaL_optinteger(L, 2, 0));
    if (max < 0) {
        return luaL_error(L, "bad \"max_count\" argument value");
    }
    lua_pushnumber(L, dict.flush_expired(max));
    return 1;
}

}  // namespace

void install_shared_dicts(lua_State* L, const engine::Snapshot& snapshot) {
    const SharedDicts* dicts = snapshot.get<SharedDicts>();
    const int count = dicts == nullptr ? 0 : static_cast<int>(dicts->size());
    lua_createtable(L, 0, count);
    if (count > 0) {
        lua_createtable(L, 0, 1);  // the metatable that resty.core patches
        lua_createtable(L, 0, 24);
        set_function(L, "lpush", push_item<true>);
        set_function(L, "rpush", push_item<false>);
        set_function(L, "lpop", pop_item<true>);
        set_function(L, "rpop", pop_item<false>);
        set_function(L, "llen", list_length);
        set_function(L, "get_keys", get_keys);
        set_function(L, "flush_expired", flush_expired);
        lua_setfield(L, -2, "__index");
        for (const std::shared_ptr<SharedDict>& dict : *dicts) {
            lua_createtable(L, 1, 0);
            // The snapshot, which the VM keeps, owns the dictionary.
            auto* holder = static_cast<SharedDict**>(lua_newuserdata(L, sizeof(SharedDict*)));
            *holder = dict.get();
            lua_rawseti(L, -2, 1);
            lua_pushvalue(L, -2);
            lua_setmetatable(L, -2);
            lua_setfield(L, -3, dict->name().c_str());
        }
        lua_pop(L, 1);
    }
    lua_setfield(L, -2, "shared");
}

}  // namespace moongate::lua

using namespace moongate::lua;

namespace {
std::string_view view(const unsigned char* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), data == nullptr ? 0 : size};
}
}  // namespace

MOONGATE_FFI void* ngx_http_lua_ffi_shdict_udata_to_zone(void* holder) {
    return holder == nullptr ? nullptr : *static_cast<SharedDict**>(holder);
}

MOONGATE_FFI int ngx_http_lua_ffi_shdict_get(SharedDict* dict, const unsigned char* key,
                                             std::size_t key_size, int* type,
                                             unsigned char** buffer, std::size_t* size,
                                             double* number, int* flags, int stale, int* is_stale,
                                             const char** error) {
    *error = nullptr;
    auto* room = reinterpret_cast<char*>(*buffer);
    const SharedDict::Got got = dict->get(view(key, key_size), room, *size, stale != 0);
    *type = static_cast<int>(got.type);
    *flags = got.flags;
    *is_stale = got.stale ? 1 : 0;
    switch (got.type) {
        case DictType::String:
            *buffer = reinterpret_cast<unsigned char*>(got.text);
            *size = got.size;
            break;
        case DictType::Number:
            *number = got.number;
            *size = sizeof(double);
            break;
        case DictType::Boolean:
            (*buffer)[0] = got.number != 0 ? 1 : 0;
            *size = 1;
            break;
        case DictType::List:
            *error = "value is a list";
            return kFfiError;
        case DictType::Nil:
            break;
    }
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_shdict_store(SharedDict* dict, int op, const unsigned char* key,
                                               std::size_t key_size, int type,
                                               const unsigned char* text, std::size_t size,
                                               double number, long ttl_ms, int flags,
                                               const char** error, int* forcible) {
    const DictResult result = dict->store(op, view(key, key_size), static_cast<DictType>(type),
                                          view(text, size), number, ttl_ms, flags);
    *forcible = result.forcible ? 1 : 0;
    *error = result.error;
    return result.ok ? kFfiOk : result.declined ? kFfiDeclined : kFfiError;
}

MOONGATE_FFI int ngx_http_lua_ffi_shdict_incr(SharedDict* dict, const unsigned char* key,
                                              std::size_t key_size, double* value,
                                              const char** error, int has_init, double init,
                                              long init_ttl, int* forcible) {
    const DictResult result =
        dict->increment(view(key, key_size), *value, has_init != 0, init, init_ttl);
    *forcible = result.forcible ? 1 : 0;
    *error = result.error;
    return result.ok ? kFfiOk : kFfiError;
}

MOONGATE_FFI int ngx_http_lua_ffi_shdict_flush_all(SharedDict* dict) {
    dict->flush_all();
    return kFfiOk;
}

MOONGATE_FFI long ngx_http_lua_ffi_shdict_get_ttl(SharedDict* dict, const unsigned char* key,
                                                  std::size_t key_size) {
    const auto ttl = dict->ttl(view(key, key_size));
    return ttl ? static_cast<long>(*ttl) : kFfiDeclined;
}

MOONGATE_FFI int ngx_http_lua_ffi_shdict_set_expire(SharedDict* dict, const unsigned char* key,
                                                    std::size_t key_size, long ttl_ms) {
    return dict->expire(view(key, key_size), ttl_ms) ? kFfiOk : kFfiDeclined;
}

MOONGATE_FFI std::size_t ngx_http_lua_ffi_shdict_capacity(SharedDict* dict) {
    return dict->capacity();
}

MOONGATE_FFI std::size_t ngx_http_lua_ffi_shdict_free_space(SharedDict* dict) {
    return dict->free_space();
}
