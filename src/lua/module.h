// The Lua module as the application lists it. Everything else in this folder is its own business.
#pragma once

#include "engine/module.h"

namespace moongate::lua {

extern const engine::Module lua_module;

}  // namespace moongate::lua
