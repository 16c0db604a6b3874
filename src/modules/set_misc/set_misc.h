// set-misc: set_* directives that quote, code, hash, count and draw values, in order with `set`.
// Source: the documentation of OpenResty's set-misc-nginx-module, and of ngx_devel_kit for
// upstream_list. Compiling thread; what runs for requests is in functions.h.
#pragma once

#include "engine/module.h"

namespace moongate::modules {

extern const engine::Module set_misc_module;

}  // namespace moongate::modules
