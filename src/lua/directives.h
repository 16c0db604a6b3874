// The directive rows of the Lua module: code (directives_code.cc) and plain settings
// (directives.cc).
#pragma once

#include <span>

#include "conf/directive.h"

namespace moongate::lua {

// All of them.
std::span<const conf::Directive> lua_directives();
// directives_tls.cc
std::span<const conf::Directive> lua_tls_directives();
conf::Applied finish_lua_settings(conf::Compiler& compiler, conf::Level& level);

}  // namespace moongate::lua
