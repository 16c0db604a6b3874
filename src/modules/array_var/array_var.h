// array-var: array_split, array_join, array_map and array_map_op, in order with `set`. Source: the
// documentation of OpenResty's array-var-nginx-module. Compiling thread; the work is done on the
// request's worker.
#pragma once

#include "engine/module.h"

namespace moongate::modules {

extern const engine::Module array_var_module;

}  // namespace moongate::modules
