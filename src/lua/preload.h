// Lua packages made in C++: what a module of the server offers to require(). Public: modules above
// this folder call add_preload() before the first worker starts (ngx_lua's
// ngx_http_lua_add_package_preload). Any thread.
#pragma once

#include <string_view>

struct lua_State;

namespace moongate::lua {

// Every VM made from now on has `name` in package.preload: the first require(name) calls `opener`
// with the name as its argument and takes its result. A second call for a name replaces the first.
void add_preload(std::string_view name, int (*opener)(lua_State* L));

}  // namespace moongate::lua
