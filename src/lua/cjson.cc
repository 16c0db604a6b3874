// cjson: the module's table, its settings and the protected functions of cjson.safe (cjson.h).
#include "lua/cjson.h"

#include <climits>
#include <new>

#include "lua/api.h"

namespace moongate::lua {
namespace {

const char array_marker = 0;
const char empty_array_marker = 0;
const char empty_array_value_marker = 0;

CjsonSettings& settings_of(lua_State* L) {
    return *static_cast<CjsonSettings*>(lua_touserdata(L, lua_upvalueindex(1)));
}

// The settings, and room for `most` arguments, the missing ones nil.
CjsonSettings& arguments(lua_State* L, int most) {
    luaL_argcheck(L, lua_gettop(L) <= most, most + 1, "found too many arguments");
    lua_settop(L, most);
    return settings_of(L);
}

// Sets `setting` where there is an argument, and pushes what it is then.
int integer_option(lua_State* L, int index, int& setting, int least, int most) {
    if (!lua_isnil(L, index)) {
        const auto value = luaL_checkinteger(L, index);
        luaL_argcheck(L, least <= value && value <= most, index,
                      lua_pushfstring(L, "expected integer between %d and %d", least, most));
        setting = static_cast<int>(value);
    }
    lua_pushinteger(L, setting);
    return 1;
}

constexpr const char* kOffOn[] = {"off", "on", nullptr};
constexpr const char* kOffOnNull[] = {"off", "on", "null", nullptr};

int enum_option(lua_State* L, int index, int& setting, const char* const* names = kOffOn) {
    if (lua_isboolean(L, index)) {
        setting = lua_toboolean(L, index);
    } else if (!lua_isnil(L, index)) {
        setting = luaL_checkoption(L, index, nullptr, names);
    }
    if (setting == 0 || setting == 1) {
        lua_pushboolean(L, setting);
    } else {
        lua_pushstring(L, names[setting]);
    }
    return 1;
}

template <int CjsonSettings::* setting>
int flag(lua_State* L) {
    return enum_option(L, 1, arguments(L, 1).*setting);
}

template <int CjsonSettings::* setting, int least, int most>
int integer(lua_State* L) {
    return integer_option(L, 1, arguments(L, 1).*setting, least, most);
}

int encode_sparse_array(lua_State* L) {
    CjsonSettings& settings = arguments(L, 3);
    return enum_option(L, 1, settings.sparse_convert) +
           integer_option(L, 2, settings.sparse_ratio, 0, INT_MAX) +
           integer_option(L, 3, settings.sparse_safe, 0, INT_MAX);
}

int encode_invalid_numbers(lua_State* L) {
    return enum_option(L, 1, arguments(L, 1).encode_invalid_numbers, kOffOnNull);
}

int encode(lua_State* L) {
    luaL_argcheck(L, lua_gettop(L) == 1, 1, "expected 1 argument");
    CjsonSettings& settings = settings_of(L);
    cjson_encode(L, settings);
    push(L, settings.buffer);
    if (settings.keep_buffer == 0) {
        settings.buffer = {};
    }
    return 1;
}

int decode(lua_State* L) {
    luaL_argcheck(L, lua_gettop(L) == 1, 1, "expected 1 argument");
    const std::string_view text = check_view(L, 1);
    cjson_decode(L, settings_of(L), text);
    return 1;
}

// cjson.safe: nil and the message instead of an error.
int guarded(lua_State* L) {
    luaL_argcheck(L, lua_gettop(L) == 1, 1, "expected 1 argument");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    const int result = lua_pcall(L, 1, 1, 0);
    if (result == 0) {
        return 1;
    }
    if (result != LUA_ERRRUN) {
        return luaL_error(L, "Memory allocation error in CJSON protected call");
    }
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

constexpr luaL_Reg kFunctions[] = {
    {"encode", encode},
    {"decode", decode},
    {"encode_sparse_array", encode_sparse_array},
    {"encode_max_depth", integer<&CjsonSettings::encode_max_depth, 1, INT_MAX>},
    {"decode_max_depth", integer<&CjsonSettings::decode_max_depth, 1, INT_MAX>},
    {"encode_number_precision", integer<&CjsonSettings::number_precision, 1, 16>},
    {"encode_keep_buffer", flag<&CjsonSettings::keep_buffer>},
    {"encode_invalid_numbers", encode_invalid_numbers},
    {"decode_invalid_numbers", flag<&CjsonSettings::decode_invalid_numbers>},
    {"encode_empty_table_as_object", flag<&CjsonSettings::empty_table_as_object>},
    {"decode_array_with_array_mt", flag<&CjsonSettings::decode_array_with_array_mt>},
    {"encode_escape_forward_slash", flag<&CjsonSettings::escape_forward_slash>},
    {"encode_skip_unsupported_value_types", flag<&CjsonSettings::skip_unsupported>},
};

void push_settings(lua_State* L) {
    new (lua_newuserdata(L, sizeof(CjsonSettings))) CjsonSettings;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, [](lua_State* in) {
        static_cast<CjsonSettings*>(lua_touserdata(in, 1))->~CjsonSettings();
        return 0;
    });
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
}

// The table that the registry holds for `key`, made at the first use.
void push_shared_metatable(lua_State* L, const void* key) {
    lua_pushlightuserdata(L, const_cast<void*>(key));
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushlightuserdata(L, const_cast<void*>(key));
        lua_pushvalue(L, -2);
        lua_rawset(L, LUA_REGISTRYINDEX);
    }
}

int new_module(lua_State* L) {
    lua_createtable(L, 0, 24);
    push_settings(L);
    for (const luaL_Reg& function : kFunctions) {
        lua_pushvalue(L, -1);
        lua_pushcclosure(L, function.func, 1);
        lua_setfield(L, -3, function.name);
    }
    lua_pop(L, 1);
    set_function(L, "new", new_module);
    lua_pushlightuserdata(L, nullptr);
    lua_setfield(L, -2, "null");
    push_shared_metatable(L, cjson_empty_array_key());
    lua_setfield(L, -2, "empty_array_mt");
    push_shared_metatable(L, cjson_array_key());
    lua_setfield(L, -2, "array_mt");
    lua_pushlightuserdata(L, const_cast<void*>(cjson_empty_array_value()));
    lua_setfield(L, -2, "empty_array");
    lua_pushliteral(L, "cjson");
    lua_setfield(L, -2, "_NAME");
    lua_pushliteral(L, "2.1.0");
    lua_setfield(L, -2, "_VERSION");
    return 1;
}

int new_safe_module(lua_State* L) {
    new_module(L);
    set_function(L, "new", new_safe_module);
    for (const char* name : {"encode", "decode"}) {
        lua_getfield(L, -1, name);
        lua_pushcclosure(L, guarded, 1);
        lua_setfield(L, -2, name);
    }
    return 1;
}

}  // namespace

const void* cjson_array_key() {
    return &array_marker;
}
const void* cjson_empty_array_key() {
    return &empty_array_marker;
}
const void* cjson_empty_array_value() {
    return &empty_array_value_marker;
}

void install_cjson(lua_State* L) {
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    set_function(L, "cjson", new_module);
    set_function(L, "cjson.safe", new_safe_module);
    lua_pop(L, 2);
}

}  // namespace moongate::lua
