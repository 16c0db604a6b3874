// Files below `root`: the content handlers `index` and `static`, and `try_files` before them.
// Opening and asking for attributes are synchronous system calls, as in nginx without aio; the
// bytes go out as a range of the open file. Source: nginx's documentation of ngx_http_index_module
// and of try_files.
#pragma once

#include "engine/module.h"

namespace moongate::modules {

// In this order in the list: index before static.
extern const engine::Module try_files_module;
extern const engine::Module index_module;
extern const engine::Module static_module;

}  // namespace moongate::modules
