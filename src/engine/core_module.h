// The engine's own modules for app/modules.cc: the main level, events {}, and nginx's
// ngx_http_core_module with the core variables. They come first in the list.
#pragma once

#include "engine/module.h"

namespace moongate::engine {

extern const Module main_module;
extern const Module events_module;
extern const Module core_module;

}  // namespace moongate::engine
