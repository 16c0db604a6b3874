// The access module: `allow` and `deny` by the client's address. Source: nginx's documentation of
// ngx_http_access_module.
#pragma once

#include "engine/module.h"

namespace moongate::modules {

extern const engine::Module access_module;

}  // namespace moongate::modules
