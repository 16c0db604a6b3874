// The headers module: add_header, add_trailer, expires. Its filter stands behind those of Lua, so
// that it sees the status they leave. Source: nginx's documentation of ngx_http_headers_module.
#pragma once

#include "engine/module.h"

namespace moongate::modules {

extern const engine::Module headers_module;

}  // namespace moongate::modules
