// The map module: variables whose value is looked up by the value of others. Source: nginx's
// documentation of ngx_http_map_module.
#pragma once

#include "engine/module.h"

namespace moongate::modules {

extern const engine::Module map_module;

}  // namespace moongate::modules
