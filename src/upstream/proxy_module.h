// The proxy module: `proxy_pass` and its family, and the variables $proxy_* and $upstream_*.
#pragma once

#include <span>

#include "conf/variables.h"
#include "engine/module.h"

namespace moongate::upstream {

extern const engine::Module proxy_module;

std::span<const conf::VariableRow> upstream_variables();

}  // namespace moongate::upstream
