// The modules of this binary, in the order in which their handlers and filters run.
#pragma once

#include <span>

#include "engine/module.h"

namespace moongate::app {

std::span<const engine::Module* const> modules();

}  // namespace moongate::app
